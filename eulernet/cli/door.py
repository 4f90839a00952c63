"""A command: a function that takes a configuration, as a program with an exit code and at most one line of error."""

import atexit
import errno
import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from eulernet.cli.explain import explain, out_of_memory, refuse_options
from eulernet.cli.folders import FAILED, discard_unless_started
from eulernet.cli.keys import to_plain
from eulernet.cli.words import as_hydra_takes
from eulernet.errors import UserError
from eulernet.settings import conf_dir

STOPPED, NO_READER = 130, 141  # exit codes: of a Ctrl-C, and of a program whose output nobody reads any more
Task = Callable[[dict[str, Any]], float | None]


def command(config: str) -> Callable[[Task], Callable[[], None]]:
    """Make ``task(given)`` a program configured by ``conf/<config>.yaml``; ``given`` are its plain values, checked.

    A UserError, a configuration that Hydra refuses and a file that the system refuses each end as one line on
    stderr and exit code 1, Ctrl-C with 130; anything else that ``task`` raises is a bug and shows its traceback. In
    a sweep a failed run is reported, the others go on, and the sweep exits with 1.

    Help, and the answer to a name that does not exist, come before ``task`` is called: what is slow to import, torch
    above all, belongs within it.
    """

    def decorate(task: Task) -> Callable[[], None]:
        def guarded(cfg: DictConfig) -> float | None:
            try:
                return task(checked(cfg))
            except Exception as error:
                if unread(error):
                    sys.exit(NO_READER)
                known = isinstance(error, UserError | OSError | OmegaConfBaseException)
                line = complaint(error, config) if known or out_of_memory(error) else traceback.format_exc()
            job = HydraConfig.get()
            if job.mode != RunMode.MULTIRUN:
                sys.exit(line)
            line = f"run {job.job.num} ({job.job.override_dirname}): {line}"
            print(line, file=sys.stderr)
            with (Path(job.sweep.dir) / FAILED).open("a") as file:  # a launcher may run us in any process or machine
                print(line, file=file)
            return float("nan")

        guarded.__module__ = f"eulernet.{config}"  # by which Hydra names the program

        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing lines of its own
            code: Any = 0
            stop_once()
            with no_logging_tracebacks():
                try:
                    if (text := told(config, sys.argv[1:])) is not None:
                        print(text)
                    else:
                        sys.argv[1:] = as_hydra_takes(sys.argv[1:])
                        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config)(guarded)()
                except SystemExit as end:
                    code = end.code
                except KeyboardInterrupt:
                    code = STOPPED
                except Exception as error:  # Hydra's: those of the task do not come out of ``guarded``
                    code = NO_READER if unread(error) else complaint(error, config)
                code = flushed(code)
            sys.exit(code)

        return main

    return decorate


def told(config: str, argv: Sequence[str]) -> str | None:
    """What to print instead of running: help, or versions. UserError for an option that should be a key."""
    if {"-h", "--help"} & set(argv):
        from eulernet.cli.help import page

        return page(config, argv)
    if "--version" in argv:
        from eulernet.cli.front import version

        return version()
    refuse_options(config, argv)
    return None


def checked(cfg: DictConfig) -> dict[str, Any]:
    """The plain values of ``cfg``. Where it is refused, the folder that Hydra made for the run is taken back."""
    try:
        return to_plain(cfg)
    except Exception:
        discard_unless_started(Path(HydraConfig.get().runtime.output_dir), "config.yaml")
        raise


def stop_once() -> None:
    """Let Ctrl-C, and the SIGTERM of a job scheduler, raise KeyboardInterrupt in this process, but only once.

    Both often come twice within moments, to a process and to its group: the second is the same stop. One that comes
    a second later ends the process at once.
    """
    first: list[float] = []

    def stop(*_: Any) -> None:
        first.append(time.monotonic())
        if len(first) == 1:
            raise KeyboardInterrupt
        if first[-1] > first[0] + 1:
            os._exit(STOPPED)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
        atexit.register(signal.signal, number, signal.SIG_IGN)  # Python ends with the system's handlers, which kill


@contextmanager
def no_logging_tracebacks() -> Iterator[None]:
    """A line of the log that cannot be written is an OSError; logging would print a traceback and go on."""
    usual = logging.Handler.handleError

    def handle(self: logging.Handler, record: logging.LogRecord) -> None:
        if isinstance(error := sys.exc_info()[1], OSError):
            raise error
        usual(self, record)

    logging.Handler.handleError = handle  # type: ignore[method-assign]
    try:
        yield
    finally:
        logging.Handler.handleError = usual  # type: ignore[method-assign]


def unread(error: Exception) -> bool:
    """Whether ``error`` says that nobody reads standard output any more, as after ``| head -1``."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return isinstance(error, BrokenPipeError) and any(event & select.POLLERR for _, event in poll.poll(0))


def flushed(code: Any) -> Any:
    """``code``, or another if what is left of the standard output cannot be written."""
    try:
        if sys.stdout is not None:  # closed by who started this process
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try again when it ends
        return NO_READER if error.errno == errno.EPIPE else f"error: standard output: {error.strerror}"
    return code


def complaint(error: Exception, config: str) -> str:
    """The one line that this program ends with."""
    return "error: " + explain(error, config, sys.argv[1:])
