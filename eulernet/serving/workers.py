"""Several worker processes on one socket, and their supervisor, which keeps as many as were asked for.

The two talk by lines of JSON over a pair of sockets. A worker whose supervisor is gone reads the end of it and ends.

    supervisor:  {"load": path}                a worker answers it with {"loaded": null} or {"loaded": what is wrong}
                 {"reloaded": path} or {"refused": message}, the answer to {"reload": name}
    worker:      {"ready": true} when it serves, {"alive": true} from then on, {"reload": name} that it was asked for
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from eulernet.errors import UserError
from eulernet.files import locked_folder
from eulernet.serving.app import Limits, Service
from eulernet.serving.backends import load
from eulernet.serving.observed import FOLDER
from eulernet.serving.server import LATE, Reloads, Server, Serving, line_of, make_server
from eulernet.training.device import pick_device

BEAT = 2.0  # seconds from one sign of life to the next
SILENCE = 60.0  # seconds without one after which a worker is ended
PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a worker is started that has failed to start so many times


def run(path: Path, listening: socket.socket, serving: Serving, limits: Limits) -> None:
    """Serve with several workers, each of which loads ``path`` for itself, until SIGINT or SIGTERM."""
    threads = max((os.cpu_count() or 1) // serving.workers, 1)
    os.environ.setdefault("POLARS_MAX_THREADS", str(threads))
    told = {"threads": threads, "serving": asdict(serving), "limits": asdict(limits)}
    with locked_folder(Path(tempfile.gettempdir()) / "eulernet-metrics") as folder:
        os.environ[FOLDER] = str(folder)  # the workers': each answers /metrics for all
        asyncio.run(Supervisor(path.absolute(), listening, serving, told).run())


class Worker:
    """A worker process, as its supervisor sees it."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: socket.socket) -> None:
        self.process = process
        self.pipe = pipe
        self.ready = False
        self.loading: asyncio.Future[str | None] | None = None
        self.asked: asyncio.Future[None]

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(sock=self.pipe)

    def tell(self, **message: Any) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def load(self, path: Path) -> str | None:
        """Let it load ``path``; what is wrong, if it could not."""
        self.loading = asyncio.get_running_loop().create_future()
        self.tell(load=str(path))
        return await self.loading

    def loaded(self, wrong: str | None) -> None:
        if self.loading is not None and not self.loading.done():
            self.loading.set_result(wrong)


class Supervisor:
    """Starts the workers, starts those anew that end or fall silent, and lets all of them load a new run."""

    def __init__(self, path: Path, listening: socket.socket, serving: Serving, told: dict[str, Any]) -> None:
        self.listening = listening
        self.serving = serving
        self.told = told
        self.workers = set[Worker]()
        self.reloads = Reloads(path, serving, self.load)
        self.ending = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(stop, self.ending.set)
        self.reloads.on_hangup(self.ending.set)
        keepers = [asyncio.create_task(self.keep()) for _ in range(self.serving.workers)]
        await self.ending.wait()
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                worker.process.terminate()
        _, running = await asyncio.wait(keepers, timeout=self.serving.shutdown_seconds + LATE)
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()
        if running:
            await asyncio.wait(running)

    async def keep(self) -> None:
        """Keep one worker running."""
        failed = 0
        while not self.ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), PAUSES[min(failed, len(PAUSES) - 1)])
                return
            try:
                worker = await self.start()
            except OSError as error:  # the system has no process or no memory to give now
                failed += 1
                print(f"no worker could be started: {line_of(error)}; tried again", file=sys.stderr, flush=True)
                continue
            self.workers.add(worker)
            # A machine that is too slow for one start would be too slow for the next: each has twice the time.
            why = await self.watch(worker, self.serving.start_seconds * 2 ** min(failed, len(PAUSES)))
            self.workers.discard(worker)
            worker.loaded("it ended")
            failed = 0 if worker.ready else failed + 1
            if not self.ending.is_set():
                print(f"worker {worker.process.pid} {why}; another is started", file=sys.stderr, flush=True)

    async def start(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            fds = (theirs.fileno(), self.listening.fileno())
            command = (sys.executable, "-m", "eulernet.serving.workers", *map(str, fds))
            process = await asyncio.create_subprocess_exec(*command, pass_fds=fds, start_new_session=True)
        worker = Worker(process, ours)
        await worker.connect()
        worker.tell(**self.told, path=str(self.reloads.path))
        return worker

    async def watch(self, worker: Worker, patience: float) -> str:
        """Hear ``worker`` until it ends, or end it when it is silent too long, at first ``patience``; how it ended."""
        why = ""
        try:
            while line := await asyncio.wait_for(worker.reader.readline(), patience):
                patience = SILENCE
                self.hear(worker, json.loads(line))
        except (TimeoutError, OSError):
            why = f"gave no sign of life for {patience:g} seconds, "
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()
        worker.writer.close()
        return f"{why}ended with {await worker.process.wait()}"

    def hear(self, worker: Worker, said: dict[str, Any]) -> None:
        if "ready" in said:
            worker.ready = True
            print(f"worker {worker.process.pid} serves", flush=True)
        if "loaded" in said:
            worker.loaded(said["loaded"])
        if "reload" in said:
            worker.asked = asyncio.ensure_future(self.reload(worker, said["reload"]))

    async def reload(self, worker: Worker, name: str | None) -> None:
        """Answer a worker that was asked to load a run."""
        try:
            worker.tell(reloaded=await self.reloads(name))
        except Exception as error:  # whatever it is, the client of that worker waits for an answer
            worker.tell(refused=line_of(error))

    async def load(self, path: Path) -> None:
        """Let all workers load ``path``, once it has been loaded here. UserError where that failed."""
        await asyncio.to_thread(load, path, torch.device("cpu"), self.serving.backend)
        self.reloads.path = path
        workers = list(self.workers)
        found = await asyncio.gather(*(worker.load(path) for worker in workers))
        for worker, wrong in zip(workers, found, strict=True):
            if wrong is not None:
                print(f"worker {worker.process.pid} did not load {path}: {wrong}", file=sys.stderr, flush=True)
                with contextlib.suppress(ProcessLookupError):  # else it would go on with the old model
                    worker.process.terminate()


class Link:
    """A worker's side of the line to its supervisor."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.asked = asyncio.Lock()
        self.answer: asyncio.Future[dict[str, Any]]

    def tell(self, **message: Any) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def reload(self, name: str | None) -> str:
        """Ask the supervisor to let all workers load a run."""
        async with self.asked:
            self.answer = asyncio.get_running_loop().create_future()
            self.tell(reload=name)
            said = await self.answer
        if "refused" in said:
            raise UserError(said["refused"])
        return str(said["reloaded"])

    async def listen(self, service: Service, server: Server) -> None:
        """Do what the supervisor says, and stop when it is gone."""
        with contextlib.suppress(ConnectionError):  # a killed one that had not read all resets the line
            while line := await self.reader.readline():
                said = json.loads(line)
                if "load" in said:
                    try:
                        await service.load(Path(said["load"]))
                        self.tell(loaded=None)
                    except Exception as error:  # too little memory, for example: the supervisor waits for an answer
                        self.tell(loaded=line_of(error))
                elif not self.answer.done():
                    self.answer.set_result(said)
        server.stop()

    async def live(self, server: Server) -> None:
        """Say that this worker serves, and that it lives."""
        while not server.started:
            await asyncio.sleep(0.05)
        self.tell(ready=True)
        while True:
            await asyncio.sleep(BEAT)
            self.tell(alive=True)


async def work(pipe: socket.socket, listening: socket.socket) -> None:
    """Serve as one worker."""
    reader, writer = await asyncio.open_connection(sock=pipe)
    told = json.loads(await reader.readline())
    torch.set_num_threads(told["threads"])
    limits, serving = Limits(**told["limits"]), Serving(**told["serving"])
    link = Link(reader, writer)
    device, backend = pick_device(serving.device), serving.backend
    predictor = await asyncio.to_thread(load, Path(told["path"]), device, backend)
    service = Service(predictor, limits, serving.hosts, serving.access_log, backend)
    service.reload = link.reload
    server = make_server(service, serving)
    beside = [asyncio.create_task(link.listen(service, server)), asyncio.create_task(link.live(server))]
    await server.serve([listening])
    for task in beside:
        task.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # for the supervisor
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(work(*(socket.socket(fileno=int(fd)) for fd in sys.argv[1:])))
        except UserError as error:
            sys.exit(f"error: {error}")
