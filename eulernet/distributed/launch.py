"""How the ranks of a run start and end. torchrun starts all of them with the same command.

Rank 0 alone reads the command line, prepares the data and writes the run folder. Then it puts the path of that folder
into torchrun's key-value store. Every other rank builds the same model from the config.yaml there and reports ready.

torchrun may start all of them again, in other numbers, when one has died, and its store then has the words of those
before them. So each rank names itself anew, and what it hears and says bears these names.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from eulernet.errors import UserError, require

STORE_TIMEOUT = timedelta(minutes=5)  # to connect to the key-value store
EXIT_TIMEOUT = timedelta(seconds=10)  # for the other ranks to end
PREPARE_TIMEOUT = timedelta(days=1)  # for another rank to prepare its data
SIGN = ".torchrun"  # in the folder of an unfinished run: the command that began it
LOOK_EVERY = 0.05  # seconds
NAME = uuid4().hex  # of this process


def env_world_size() -> int:
    """How many ranks torchrun started, on all machines."""
    return _number("WORLD_SIZE", 1)


def others() -> range:
    """The ranks above 0."""
    return range(1, env_world_size())


def env_local_world_size() -> int:
    """How many of them it started on this machine."""
    return _number("LOCAL_WORLD_SIZE", env_world_size())


def env_rank() -> int:
    """The rank that torchrun gave this process."""
    return _number("RANK", 0)


def _number(name: str, otherwise: int) -> int:
    value = os.environ.get(name, str(otherwise))
    require(value.isdigit(), f"{name}={value} in the environment: should be a whole number, as torchrun sets it")
    return int(value)


def device_of_rank(name: str) -> str:
    """``device=`` for this rank: with several ranks on a machine each takes a GPU of its own."""
    if env_world_size() == 1:
        return name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    require(
        name in ("cpu", "cuda"),
        f"device={name}: each of {env_world_size()} processes has its own; give cuda, cpu or auto",
    )
    return f"cuda:{_number('LOCAL_RANK', 0)}" if name == "cuda" else name


def resume_command(folder: object) -> str:
    """The command that resumes the run in ``folder`` with as many ranks."""
    here = env_local_world_size()
    nodes = "--standalone" if here == env_world_size() else "--nnodes ... --rdzv-endpoint ..."
    return f"torchrun {nodes} --nproc-per-node {here} -m eulernet.train resume={folder}"


@cache
def rendezvous_store() -> dist.Store:  # type: ignore[name-defined]
    """torchrun's key-value store. UserError if it cannot be reached."""
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    require(not missing, f"WORLD_SIZE is set but not {', '.join(missing)}: start with torchrun (see README.md)")
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        return next(rendezvous("env://", env_rank(), env_world_size(), timeout=STORE_TIMEOUT))[0]
    except (dist.DistError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"no meeting at {where} ({line}); is the port free, and the same for all processes?") from None


def begun(argv: Sequence[str]) -> str | None:
    """The folder of the run that an earlier rank 0 of this torchrun began; None at the first start.

    Where torchrun forgot it, which it does when the first machine is lost, it is the one in ``hydra.run.dir=``, if
    ``sign`` was called there with the same ``argv``: any other run in that folder is none of ours.
    """
    if not from_torchrun():
        return None
    if rendezvous_store().check(["run"]):
        return rendezvous_store().get("run").decode()
    folder = next((word.partition("=")[2] for word in argv if word.startswith("hydra.run.dir=")), None)
    if folder is None or not was_restarted():
        return None
    with suppress(OSError, ValueError):
        return folder if (Path(folder) / SIGN).read_text(encoding="utf-8") == _signature(argv) else None
    return None


def sign(run: Path, argv: Sequence[str]) -> None:
    """Note in the folder of an unfinished run which command of which torchrun began it."""
    if from_torchrun() and not (run / SIGN).exists():
        (run / SIGN).write_text(_signature(argv), encoding="utf-8")


def _signature(argv: Sequence[str]) -> str:
    return json.dumps([os.environ["TORCHELASTIC_RUN_ID"], *argv])


def from_torchrun() -> bool:
    """Whether torchrun started this process, and may start it again."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def was_restarted() -> bool:
    """Whether torchrun started this process in the place of one that ended."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0) > 0


def lead(job: Mapping[str, Any], device: torch.device) -> None:
    """In rank 0: have the other ranks build ``job``, and start together. UserError of the first that cannot."""
    if from_torchrun():
        rendezvous_store().set("run", job["run"])
    if env_world_size() == 1:
        return
    store, group = rendezvous_store(), uuid4().hex
    answers = _dictate(json.dumps({**job, "group": group}), lambda name: f"ready {group} {name}", PREPARE_TIMEOUT)
    refused = [f"process {other}: {answers.get(other, 'no answer')}" for other in others() if answers.get(other, "?")]
    store.set(f"begin {group}", "no" if refused else "yes")
    if refused:
        raise UserError(refused[0])
    _connect(device, job["rank_timeout"], group)


def _dictate(job: str, answer: Callable[[str], str], patience: timedelta) -> dict[int, str]:
    """Give every other rank the ``job``, by the name that it has now, and wait for its ``answer``: their words by rank.

    A rank that does not answer in time has none.
    """
    store, names, answers = rendezvous_store(), dict[int, str](), dict[int, str]()
    end = time.monotonic() + patience.total_seconds()
    while len(answers) < len(others()) and time.monotonic() < end:
        for other in set(others()).difference(answers):
            if not store.check([f"name {other}"]):
                continue
            name = store.get(f"name {other}").decode()
            if name != names.get(other):  # before, it was that of a rank that has ended
                store.set(f"job {name}", job)
                names[other] = name
            if store.check([answer(name)]):
                answers[other] = store.get(answer(name)).decode()
        time.sleep(LOOK_EVERY)
    return answers


def follow(build: Callable[[dict[str, Any]], tuple[Any, torch.device]]) -> Any:
    """In the other ranks: wait for the job, and return what ``build`` makes of it when all start.

    Ends the process without a message when they do not start: rank 0 has said why.
    """
    store = rendezvous_store()
    store.set(f"name {env_rank()}", NAME)
    store.wait([f"job {NAME}"], PREPARE_TIMEOUT)
    job = json.loads(store.get(f"job {NAME}"))
    if job is None:
        sys.exit(1)
    ready, begin = f"ready {job['group']} {NAME}", f"begin {job['group']}"
    try:
        built, device = build(job)
    except Exception as error:  # whatever it is, rank 0 waits for a word
        store.set(ready, (str(error) or type(error).__name__).splitlines()[0])
        if not isinstance(error, UserError | OSError):
            raise
        sys.exit(1)
    store.set(ready, "")
    store.wait([begin], PREPARE_TIMEOUT)
    if store.get(begin) != b"yes":
        sys.exit(1)
    _connect(device, job["rank_timeout"], job["group"])
    return built


def _connect(device: torch.device, rank_timeout: float, group: str) -> None:
    """Form the group of all ranks. A rank that dies is noticed at once, one that does not answer after the timeout."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(group, rendezvous_store()),  # type: ignore[attr-defined]
        rank=env_rank(),
        world_size=env_world_size(),
        timeout=timedelta(seconds=rank_timeout),
    )


class RankLost(UserError):
    """Another rank of this run ended, or did not answer."""


class Terminated(KeyboardInterrupt):
    """This rank was told to end: torchrun does so when another one died."""


def terminate(*_: object) -> NoReturn:
    """A signal handler."""
    raise Terminated


def is_lost_rank(error: BaseException) -> bool:
    """Whether ``error`` says that another rank has ended, or does not answer."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "Connection closed by peer" in str(error)


def run(task: Callable[[], None]) -> NoReturn:
    """Run ``task`` in this rank, then end the interpreter at once: gloo's threads may abort an orderly exit.

    When rank 0 ends early it first tells the ranks that still wait for its job.
    """
    code: Any = 1
    try:
        rendezvous_store()
        task()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except KeyboardInterrupt:
        code = 130
    except UserError as error:
        code = f"error: {error}"
    except Exception as error:
        if env_rank() == 0 or not is_lost_rank(error):  # rank 0 says which rank ended
            traceback.print_exc()
    with suppress(UserError, dist.DistError, RuntimeError):  # a rank that has ended needs no message
        if not dist.is_initialized():
            if env_rank() == 0:  # without torchrun the store lives in this process: the others read it before it ends
                _dictate("null", lambda name: f"left {name}", EXIT_TIMEOUT)
            else:
                rendezvous_store().set(f"left {NAME}", "")
        elif code == 0:
            dist.barrier()  # no rank ends while another still sends to it
            dist.destroy_process_group()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code))
