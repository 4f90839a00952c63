"""What a caller of Python sets, as the configuration that the command would have had."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eulernet.cli import compose
from eulernet.cli.explain import meant
from eulernet.errors import UserError, require, require_known

OWN_MODULES = "train it in a loop of yours, or give it a name in a checkout (docs/guide/plain_models.md)"
Settings = str | Mapping[str, Any]  # a name in conf, or settings of which one may be that name


def configuration(
    sections: Mapping[str, Settings | None], values: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """The configuration of ``eulernet.train``, and what one would type to have it.

    ``sections`` are those that a name chooses (dataset, model, train), each a name or settings; ``values`` are others
    by their dotted keys. None leaves what conf says; ``overrides``, spelt as on the command line, come first.
    UserError for a key that there is not.
    """
    several = isinstance(overrides, Sequence) and not isinstance(overrides, str)
    require(several and all(isinstance(one, str) for one in overrides), "overrides: give a list, as ['train.lr=1e-3']")
    given = {override.partition("=")[0] for override in overrides}
    chosen, found = [], dict[str, Any]()
    for section, settings in sections.items():
        module = f"{section}: a module of your own is not taken here, but the name of a model; {OWN_MODULES}"
        require(not hasattr(settings, "state_dict"), module)
        named = isinstance(settings, str | Mapping) or settings is None
        require(named, f"{section}={settings!r}: give a name, or a dictionary of settings")
        own = {"name": settings} if isinstance(settings, str) else dict(settings or {})
        name = own.pop("name", None)
        if name is not None and section not in given:
            chosen.append(f"{section}={name}")
        found.update({f"{section}.{key}": value for key, value in own.items()})
    seed = values.get("seed")  # other values are made of it
    if seed is not None:
        require(type(plain(seed, "seed")) is int, f"seed={seed!r}: give a whole number")
        chosen.append(f"seed={plain(seed, 'seed')}")
    cfg = compose("train", [*chosen, *overrides])
    found.update({key: value for key, value in values.items() if value is not None and key != "seed"})
    for key, value in found.items():
        put(cfg, key, plain(value, key))
    return cfg, [*chosen, *overrides, *(f"{key}={spelt(plain(value, key))}" for key, value in found.items())]


def put(cfg: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted ``key``. UserError for one that there is not."""
    section, _, last = key.rpartition(".")
    there = cfg[section] if section else cfg
    prefix = f"{section}." if section else ""
    wanted = f"unknown key {prefix}{last}"
    other = None if last in there else meant(last, there)
    require(other is None, f"{wanted}; did you mean {other!r}?")
    require_known(last, there, wanted)
    there[last] = value


def plain(value: Any, key: str) -> Any:
    """``value`` as YAML has it: numpy's numbers become Python's, tuples lists, paths text. UserError for others."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): plain(one, f"{key}.{name}") for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one, key) for one in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(f"{key}: a {type(value).__name__} is no setting; give a number, text, a list or a dictionary")


def spelt(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "'")
