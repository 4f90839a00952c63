"""The configuration of a command without its command line: for Python, and for commands that start other runs."""

from collections.abc import Sequence
from threading import RLock
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from eulernet.cli.explain import explain
from eulernet.cli.keys import searching_conf, to_plain
from eulernet.cli.words import readable
from eulernet.errors import UserError

_ONE_AT_A_TIME = RLock()  # Hydra keeps what it composes in places of the process


def compose(command: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What ``eulernet.<command>`` would be given with ``overrides`` on its command line, as plain values.

    UserError, as on the command line, for a key or a choice that does not exist. Any thread may call it, in a program
    with a Hydra of its own, too.

    >>> compose("train", ["model=deepfm", "train.lr=1e-3"])["model"]["name"]
    'deepfm'
    """
    return _compose(command, overrides, [])[0]


def compose_with_seeds(command: str, overrides: Sequence[str], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The same for each of the ``seeds``; faster than as many calls. What is made of the seed follows it."""
    return _compose(command, overrides, seeds)[1:]


def _compose(command: str, overrides: Sequence[str], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """What was asked for, and then the same with each of the ``seeds``."""
    with _ONE_AT_A_TIME:
        before = HydraConfig.instance().cfg
        try:
            with searching_conf():
                cfg = hydra.compose(command, readable(overrides), return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            with open_dict(cfg):
                del cfg["hydra"]
            found = [to_plain(cfg)]
            for seed in seeds:
                cfg.seed = seed
                found.append(to_plain(cfg))
            return found
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, command, overrides)) from None
        finally:
            HydraConfig.instance().cfg = before
