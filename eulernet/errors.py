"""The one exception that reaches a user as a line instead of a traceback."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
SHOWN = 50  # names in a message


class UserError(ValueError):
    """A mistake in what the user gave: its message is one line that says what, where, and what to do."""


class Diverged(UserError):
    """Training ran into numbers that are not finite."""


class DiskFull(UserError):
    """What was to be written did not fit: the setting is not to blame."""


def require(ok: bool, message: str) -> None:
    """Raise UserError with ``message`` unless ``ok``. A message that is not cheap to build belongs behind an ``if``."""
    if not ok:
        raise UserError(message)


def require_count(value: int, key: str) -> None:
    """UserError unless the hyperparameter ``key`` counts something: 1 or more."""
    require(value >= 1, f"model.{key} must be at least 1, got {value}")


def require_counts(values: Sequence[int], key: str) -> None:
    """UserError unless each of the hyperparameter ``key`` is 1 or more."""
    require(all(value >= 1 for value in values), f"model.{key} must be at least 1 each, got {list(values)}")


def require_rate(value: float, key: str) -> None:
    """UserError unless the hyperparameter ``key`` is a dropout rate: 0 or more and below 1."""
    require(0 <= value < 1, f"model.{key} must lie in [0, 1), got {value}")


def require_option(value: str, options: Iterable[str], key: str) -> None:
    """UserError unless the hyperparameter ``key`` is one of ``options``."""
    choose(dict.fromkeys(options), value, f"model.{key}")


def close(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that is spelt most like ``name``, and is not ``name``; None if none is like it."""
    found = difflib.get_close_matches(name, [one for one in known if one != name], n=1, cutoff=0.5)
    return found[0] if found else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of ``known`` the user may have meant by ``name``."""
    known = list(map(str, known))
    if found := close(name, known):
        return f"did you mean {found!r}?"
    more = f" and {len(known) - SHOWN:,} more" if len(known) > SHOWN else ""
    return f"known: {', '.join(known[:SHOWN])}{more}"


def require_known(name: str, known: Collection[str], wrong: str) -> None:
    """UserError unless ``name`` is one of ``known``: ``wrong``, and the nearest name.

    The nearest name takes time to find, so it is looked for only when the name is wrong.
    """
    if name not in known:
        raise UserError(f"{wrong}; {nearest(str(name), known)}")


def require_there(wanted: Collection[str], there: Collection[str], where: str) -> None:
    """UserError unless all columns ``wanted`` are ``there``. It names the first that is missing, and one spelt like it.

    A column that is wanted itself is not offered as the right spelling of another.
    """
    for name in wanted:
        if name not in there:
            found = close(name, [one for one in there if one not in wanted])
            columns = f"{', '.join([*there][:SHOWN])}{', ...' * (len(there) > SHOWN)}"
            more = f"did you mean {found!r}?" if found else f"the columns are {columns}"
            raise UserError(f"{where}: no column {name!r}; {more}")


def choose(known: Mapping[str, T], name: str, what: str) -> T:
    """``known[name]``, or a UserError with the nearest name."""
    require_known(name, known, f"unknown {what} {name!r}")
    return known[name]
