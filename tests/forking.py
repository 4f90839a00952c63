"""``python -m eulernet.train ...`` in a few hundredths of a second: forked from one process that has torch loaded.

``install`` puts a client into the place of ``sys.executable``, for the tests and for what the code under test starts.
The client hands its command line, working folder, environment and open files to the server, which forks a process that
runs them; then it passes signals on, and ends as that process does. When the client is killed, so is that process.
Whatever is not a command of this repository goes to the real Python (``PYTHON``).
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

REPOSITORY = str(Path(__file__).parents[1])
CLIENT = "EULERNET_TESTS_CLIENT"  # the environment variable with its path
PYTHON = os.environ.setdefault("EULERNET_TESTS_PYTHON", sys.executable)
COMMANDS = ("campaigns.worker", "evaluate", "export", "predict", "reproduce", "train", "tune")
FORKED = {"processes", *(f"eulernet.{name}" for name in COMMANDS)}
PRELOADED = (
    "torch", "torch.distributed.tensor.parallel", "scipy.stats", "eulernet.train", "eulernet.campaigns.worker",
    "eulernet.predict", "eulernet.tune",
)  # fmt: skip
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def install() -> None:
    """Put the client into the place of ``sys.executable``, here and in the xdist workers of this process."""
    import atexit
    import multiprocessing
    import shutil
    import tempfile

    if CLIENT not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="eulernet-tests-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        program = folder / "python"
        program.write_text(
            f"#!{PYTHON} -ISB\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport forking\n"
            f"forking.main({str(folder)!r}, {os.getpid()})\n"
        )
        program.chmod(0o755)
        os.environ[CLIENT] = str(program)
    os.environ.update(PYTHONPATH=REPOSITORY, OMP_NUM_THREADS="1")  # of the processes that tests start
    multiprocessing.set_executable(PYTHON)
    sys.executable = os.environ[CLIENT]


# The client


def main(folder: str, tests: int) -> None:
    args, environment = sys.argv[1:], dict(os.environ)
    environment.pop("LC_CTYPE", None)
    here = environment.get("PYTHONPATH", "").split(os.pathsep)[0] == REPOSITORY
    if not (here and is_forked(args)):
        os.execv(PYTHON, [PYTHON, *args])
    files = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    files = [file for file in files if os.path.exists(f"/proc/self/fd/{file}")]  # noqa: PTH110  # not that of the listing
    server = connect(folder, tests)
    waiting: list[int] = []
    for number in FORWARDED:
        signal.signal(number, lambda number, _: waiting.append(number))
    asked = json.dumps({"args": args, "cwd": str(Path.cwd()), "env": environment, "files": files}).encode()
    socket.send_fds(server, [len(asked).to_bytes(4, "big")], files)
    server.sendall(asked)
    forked = int.from_bytes(server.recv(4), "big")

    def forward(number: int, _: object) -> None:
        os.kill(forked, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    for number in waiting:
        os.kill(forked, number)
    ended = server.recv(4)
    status = int.from_bytes(ended, "big") if ended else 70 << 8  # the server is gone
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def is_forked(args: list[str]) -> bool:
    if args[:1] == ["-m"]:
        return args[1] in FORKED
    return bool(args) and os.path.dirname(args[0]) in (f"{REPOSITORY}/scripts", f"{REPOSITORY}/benchmarks")  # noqa: PTH120


def connect(folder: str, tests: int) -> socket.socket:
    """To the server in ``folder``, which is started if nobody has."""
    import fcntl
    import subprocess

    with open(f"{folder}/lock", "w") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(f"{folder}/socket"):  # noqa: PTH110
            command = [PYTHON, __file__, folder, str(tests)]
            environment = {**os.environ, "PYTHONPATH": REPOSITORY, "OMP_NUM_THREADS": "1"}
            with open(f"{folder}/log", "w") as log:  # noqa: PTH123
                started = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd="/",
                    start_new_session=True,
                )  # fmt: skip
            assert started.stdout is not None
            started.stdout.readline()
            started.returncode = 0  # nobody waits for it
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{folder}/socket")
    return connection


# The server


def serve(folder: str, tests: int) -> None:
    """Fork what clients ask for until the process ``tests`` is gone."""
    import gc
    import importlib
    import selectors

    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{folder}/socket")
    listening.listen(128)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.write(1, b"ready\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    clients: dict[int, socket.socket] = {}  # of the processes at work
    with selectors.DefaultSelector() as selector:
        for file in (listening, wake):
            selector.register(file, selectors.EVENT_READ)
        while os.path.exists(f"/proc/{tests}"):  # noqa: PTH110
            for key, _ in selector.select(2):
                if key.fileobj is listening:
                    client, _ = listening.accept()
                    forked = answer(client)
                    if forked:
                        clients[forked] = client
                        selector.register(client, selectors.EVENT_READ, forked)
                elif key.fileobj == wake:
                    os.read(wake, 4096)
                elif key.data in clients:  # the client is gone
                    os.kill(key.data, signal.SIGKILL)
                    selector.unregister(key.fileobj)
            bury(clients, selector)
    for forked in clients:
        os.kill(forked, signal.SIGKILL)


def bury(clients: dict[int, socket.socket], selector) -> None:
    """Tell the clients of the processes that have ended."""
    while clients:
        forked, status = os.waitpid(-1, os.WNOHANG)
        if not forked:
            break
        client = clients.pop(forked)
        if client in {key.fileobj for key in selector.get_map().values()}:
            selector.unregister(client)
            with suppress(OSError):
                client.sendall(status.to_bytes(4, "big"))
        client.close()


def answer(client: socket.socket) -> int:
    """Fork the process that ``client`` asks for; its number, or 0 if the client is gone already."""
    length, files, _, _ = socket.recv_fds(client, 4, 250)
    asked = b""
    while length and len(asked) < int.from_bytes(length, "big"):
        part = client.recv(1 << 20)
        length = length if part else b""
        asked += part
    forked = 0
    if length:
        forked = os.fork()
        if not forked:
            become(json.loads(asked), files)
        with suppress(OSError):  # the next look at it finds out
            client.sendall(forked.to_bytes(4, "big"))
    for file in files:
        os.close(file)
    return forked


def become(asked: dict, files: list[int]) -> None:
    """End as ``python args`` does with the client's open files."""
    import atexit
    import fcntl
    import multiprocessing
    import threading
    import traceback

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 500) for file in files]
    os.closerange(3, 500)
    for file, number in zip(moved, asked["files"], strict=True):
        os.dup2(file, number, inheritable=True)
        os.close(file)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.executable = asked["env"].get(CLIENT, PYTHON)
    multiprocessing.set_executable(PYTHON)
    code = 1
    try:
        import torch

        torch.set_num_threads(int(asked["env"].get("OMP_NUM_THREADS", "1")))
        run(asked["args"])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 130
    except BaseException:
        traceback.print_exc()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may abort an orderly exit


def run(args: list[str]) -> None:
    import runpy

    if args[0] == "-m":
        sys.argv, sys.path[0] = args[1:], str(Path.cwd())
        if args[1] == "processes":
            sys.path.insert(1, str(Path(__file__).parent))
        sys.modules.pop(args[1], None)
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = args, str(Path(args[0]).parent)
        runpy.run_path(args[0], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
