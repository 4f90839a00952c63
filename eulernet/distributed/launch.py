"""How the processes of a run begin and end: torchrun starts them all alike, the first leads, the others follow.

The leader alone reads the command line, prepares data and writes the run folder. Then it tells the others, through
torchrun's store, where that folder is; each builds the same model from the config.yaml there and says that it is ready.
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

MEETING = timedelta(minutes=5)  # the longest wait for the store
FAREWELL = timedelta(seconds=10)
PREPARING = timedelta(days=1)  # the longest that the others wait for the leader's data, and it for theirs
SILENCE = timedelta(minutes=30)  # the longest wait for a living process; the end of one is noticed at once


def processes() -> int:
    """How many processes torchrun started, on all machines."""
    return _number("WORLD_SIZE", 1)


def number() -> int:
    """Which of them this is, from 0, the leader."""
    return _number("RANK", 0)


def _number(name: str, otherwise: int) -> int:
    value = os.environ.get(name, str(otherwise))
    require(value.isdigit(), f"{name}={value} in the environment: should be a whole number, as torchrun sets it")
    return int(value)


def own_device(name: str) -> str:
    """``device=`` for this process: of several each takes its own GPU."""
    if processes() == 1:
        return name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    require(
        name in ("cpu", "cuda"), f"device={name}: each of {processes()} processes has its own; give cuda, cpu or auto"
    )
    return f"cuda:{_number('LOCAL_RANK', 0)}" if name == "cuda" else name


def again(folder: object) -> str:
    """What to type to go on with the run in ``folder``."""
    here = _number("LOCAL_WORLD_SIZE", processes())
    nodes = "--standalone" if here == processes() else "--nnodes ... --rdzv-endpoint ..."
    return f"torchrun {nodes} --nproc-per-node {here} -m eulernet.train resume={folder}"


@cache
def store() -> dist.Store:  # type: ignore[name-defined]
    """Where the processes leave each other notes. UserError if it cannot be reached."""
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    require(not missing, f"WORLD_SIZE is set but not {', '.join(missing)}: start with torchrun (see README.md)")
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        return next(rendezvous("env://", number(), processes(), timeout=MEETING))[0]
    except (dist.DistError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"no meeting at {where} ({line}); is the port free, and the same for all processes?") from None


def lead(job: Mapping[str, Any], device: torch.device) -> None:
    """Have the others build ``job``, and begin together. UserError of the first one that cannot."""
    if processes() == 1:
        return
    store().set("job", json.dumps(job))
    refused = []
    for other in range(1, processes()):
        store().wait([f"ready {other}"], PREPARING)
        if error := store().get(f"ready {other}").decode():
            refused.append(f"process {other}: {error}")
    store().set("begin", "no" if refused else "yes")
    if refused:
        raise UserError(refused[0])
    _connect(device)


def follow(build: Callable[[dict[str, Any]], tuple[Any, torch.device]]) -> Any:
    """Wait for the leader's job and give what ``build`` makes of it once all begin; ends quietly if they do not."""
    store().wait(["job"], PREPARING)
    job = json.loads(store().get("job") or "null")
    if job is None:
        sys.exit(1)
    try:
        built, device = build(job)
    except (UserError, OSError) as error:
        store().set(f"ready {number()}", str(error))
        sys.exit(1)
    store().set(f"ready {number()}", "")
    store().wait(["begin"], PREPARING)
    if store().get("begin") != b"yes":
        sys.exit(1)
    _connect(device)
    return built


def _connect(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore("group", store()),  # type: ignore[attr-defined]
        rank=number(),
        world_size=processes(),
        timeout=SILENCE,
    )


def lost(error: BaseException) -> bool:
    """Whether ``error`` says that another process is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "Connection closed by peer" in str(error)


def run(task: Callable[[], None]) -> NoReturn:
    """Do what this process of several is here for, and end the interpreter as ``task`` ends.

    At once, because gloo's threads may abort an orderly exit. The leader first lets go those that still wait for it.
    """
    code: Any = 1
    try:
        store()
        task()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except KeyboardInterrupt:
        code = 130
    except UserError as error:
        code = f"error: {error}"
    except Exception as error:
        if number() == 0 or not lost(error):  # the leader says who is gone
            traceback.print_exc()
    with suppress(UserError, dist.DistError, RuntimeError):  # whoever is gone needs no word
        if not dist.is_initialized():
            if number() == 0:  # where there is no torchrun the store lives here, so all read it before this ends
                store().set("job", "")
                store().wait([f"left {other}" for other in range(1, processes())], FAREWELL)
            else:
                store().set(f"left {number()}", "")
        elif dist.is_initialized() and code == 0:
            dist.barrier()  # nobody leaves while another still talks
            dist.destroy_process_group()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code))
