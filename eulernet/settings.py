"""Plain configurations: checked against the code that takes them, read from YAML and written to it, without Hydra."""

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from eulernet.errors import UserError, choose, require, require_known

T = TypeVar("T")
LONGEST = 1 << 20  # bytes of a configuration
WORDS = {**dict.fromkeys(("yes", "y", "on", "true"), True), **dict.fromkeys(("no", "n", "off", "false"), False)}


def conf_dir() -> Path:
    """The folder ``conf``: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if (inside / "train.yaml").is_file() else package.parent / "conf"


def construct(make: Callable[..., T], settings: Mapping[str, Any], section: str, **given: Any) -> T:
    """Call ``make(**settings, **given)`` after checking ``settings`` against the annotations of its parameters.

    Unknown keys, missing keys and values of another type are UserErrors that name the key, which is in ``section``
    unless that is empty; whether a value is possible is for ``make`` to check.
    """
    prefix = f"{section}." if section else ""
    hints = typing.get_type_hints(make.__init__ if inspect.isclass(make) else make)
    parameters = inspect.signature(make).parameters
    names = [name for name in parameters if name not in given]
    for key in settings:
        require_known(key, names, f"unknown key {prefix}{key}")
    checked = {}
    for name in names:
        if name not in settings and parameters[name].default is not inspect.Parameter.empty:
            continue  # younger than the run that this is the configuration of
        require(name in settings, f"{prefix}{name} is missing")
        try:
            checked[name] = _converted(settings[name], hints[name])
        except (TypeError, ValueError, OverflowError):
            kind = hints[name].__name__ if inspect.isclass(hints[name]) else str(hints[name])
            kind = kind.replace("collections.abc.Sequence", "list").replace("collections.abc.Mapping", "dict")
            raise UserError(f"{prefix}{name}={settings[name]}: should be of type {kind}") from None
        if typing.get_origin(hints[name]) is typing.Literal:
            choose(dict.fromkeys(typing.get_args(hints[name])), checked[name], f"{prefix}{name}")
    return make(**checked, **given)


def _converted(value: Any, hint: Any) -> Any:
    """``value`` as the annotation ``hint`` wants it: text becomes a number, a number becomes text.

    TypeError or ValueError where that would lose something, as 1.5 for an int would.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or (value is None and type(None) in inner):
        return value
    if origin in (types.UnionType, typing.Union):
        (only,) = (part for part in inner if part is not type(None))
        return _converted(value, only)
    if origin in (list, collections.abc.Sequence) and isinstance(value, list | tuple):
        return [_converted(item, inner[0]) for item in value]
    if origin in (dict, collections.abc.Mapping) and isinstance(value, Mapping):
        found = {_key(key): _converted(item, inner[1]) for key, item in value.items()}
        if len(found) < len(value):  # as in {1: category, "1": number}
            raise ValueError(value)
        return found
    if hint is bool and isinstance(value, bool | int):
        return bool(value)
    if hint is bool and isinstance(value, str):
        return WORDS[value.lower()] if value.lower() in WORDS else bool(int(value))
    if (hint is int and type(value) in (int, str)) or (hint is float and type(value) in (float, int, str)):
        return hint(value)
    if (hint is str or origin is typing.Literal) and isinstance(value, str | int | float):
        return str(value)
    raise TypeError(value)


def _key(key: Any) -> str:
    """A name as it stands in YAML: ``{1: category}`` is of a column called 1."""
    return str(key).lower() if key is None or isinstance(key, bool) else str(key)


@cache
def machine_keys() -> tuple[str, ...]:
    """Keys that say where a command runs and where its files are: no result depends on them."""
    files = [read_config(conf_dir() / f"{name}.yaml") for name in ("machine", "store")]
    return tuple(key for file in files for key in file if key != "defaults")


class _Loader(yaml.SafeLoader):
    """Plain values only: an alias (*name) lets a small file describe more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases, which a saved configuration never has")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(cfg: Mapping[str, Any], *, allow_unicode: bool) -> str:
    return yaml.dump(dict(cfg), Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode)


def read_config(file: Path) -> dict[str, Any]:
    """What the saved configuration ``file`` says. It holds plain values: ``${...}`` is text and is never resolved.

    UserError if it cannot be read, or is too large, or is not a mapping of names to values.
    """
    try:
        require(file.stat().st_size <= LONGEST, f"{file}: a configuration has at most {LONGEST >> 20} MiB")
        found = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except UserError:
        raise
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:200]})") from None
    require(isinstance(found, dict), f"{file} is damaged: it should hold names and values")
    return found


def dump_config(cfg: Mapping[str, Any]) -> str:
    """A plain configuration as YAML, in its own order."""
    text = _dump(cfg, allow_unicode=True)
    return text if yaml.safe_load(text) == cfg else _dump(cfg, allow_unicode=False)  # PyYAML folds odd line ends
