"""How the ranks of a run start and end. torchrun starts all of them with the same command.

Rank 0 alone reads the command line, prepares the data and writes the run folder. Then it puts the path of that folder
into torchrun's key-value store. Every other rank builds the same model from the config.yaml there and reports ready.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from eulernet.errors import UserError, require

STORE_TIMEOUT = timedelta(minutes=5)  # to connect to the key-value store
EXIT_TIMEOUT = timedelta(seconds=10)  # for the other ranks to end
PREPARE_TIMEOUT = timedelta(days=1)  # for another rank to prepare its data


def env_world_size() -> int:
    """How many ranks torchrun started, on all machines."""
    return _number("WORLD_SIZE", 1)


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


def lead(job: Mapping[str, Any], device: torch.device) -> None:
    """In rank 0: have the other ranks build ``job``, and start together. UserError of the first that cannot."""
    if env_world_size() == 1:
        return
    rendezvous_store().set("job", json.dumps(job))
    refused = []
    for other in range(1, env_world_size()):
        rendezvous_store().wait([f"ready {other}"], PREPARE_TIMEOUT)
        if error := rendezvous_store().get(f"ready {other}").decode():
            refused.append(f"process {other}: {error}")
    rendezvous_store().set("begin", "no" if refused else "yes")
    if refused:
        raise UserError(refused[0])
    _connect(device, job["rank_timeout"])


def follow(build: Callable[[dict[str, Any]], tuple[Any, torch.device]]) -> Any:
    """In the other ranks: wait for the job, and return what ``build`` makes of it when all start.

    Ends the process without a message when they do not start: rank 0 has said why.
    """
    rendezvous_store().wait(["job"], PREPARE_TIMEOUT)
    job = json.loads(rendezvous_store().get("job") or "null")
    if job is None:
        sys.exit(1)
    try:
        built, device = build(job)
    except Exception as error:  # whatever it is, rank 0 waits for a word
        rendezvous_store().set(f"ready {env_rank()}", (str(error) or type(error).__name__).splitlines()[0])
        if not isinstance(error, UserError | OSError):
            raise
        sys.exit(1)
    rendezvous_store().set(f"ready {env_rank()}", "")
    rendezvous_store().wait(["begin"], PREPARE_TIMEOUT)
    if rendezvous_store().get("begin") != b"yes":
        sys.exit(1)
    _connect(device, job["rank_timeout"])
    return built


def _connect(device: torch.device, rank_timeout: float) -> None:
    """Form the group of all ranks. A rank that dies is noticed at once, one that does not answer after the timeout."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore("group", rendezvous_store()),  # type: ignore[attr-defined]
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
                rendezvous_store().set("job", "")
                rendezvous_store().wait([f"left {other}" for other in range(1, env_world_size())], EXIT_TIMEOUT)
            else:
                rendezvous_store().set(f"left {env_rank()}", "")
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
