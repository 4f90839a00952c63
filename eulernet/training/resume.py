"""What a run says when it stops before its end."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eulernet.distributed import launch
from eulernet.errors import DiskFull, Diverged
from eulernet.training.checkpoint import LAST
from eulernet.training.history import epochs_of

log = logging.getLogger(__name__)


@contextmanager
def saying_how_to_resume(run: Path, command: str) -> Iterator[None]:
    """Within it, ``run`` trains. Where that stops, every rank that is left says with which ``command`` it goes on.

    A Ctrl-C reaches all ranks: then rank 0 alone says it. Nothing is said before there is a checkpoint. A run that
    diverged can end with the epochs before.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if (run / LAST).exists():
            if launch.env_rank() == 0:
                log.info("stopped; go on with: %s", command)
            elif isinstance(stop, launch.Terminated):
                print(f"process {launch.env_rank()}: stopped; go on with: {command}", file=sys.stderr)
        raise
    except DiskFull as full:
        if (run / LAST).exists():
            raise DiskFull(f"{str(full).partition('; free')[0]}; free some space, then go on with: {command}") from None
        raise
    except Diverged:
        if (ended := epochs_of(run)) and launch.env_rank() == 0:
            log.info("the epochs before are kept; to end with the best of them: %s train.max_epochs=%d", command, ended)
        raise
    except Exception as error:
        if launch.is_lost_rank(error) and (run / LAST).exists():
            why = f"process {launch.env_rank()}: another process of this run ended, or did not answer"
            raise launch.RankLost(f"{why}; go on with: {command}") from None
        raise
