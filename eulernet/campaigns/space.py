"""What is searched: the tree of a conf/sweep file as Optuna's distributions, and a draw as a configuration."""

import copy
import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial

from eulernet.errors import UserError, nearest, require

SEARCHED = ("model", "train")  # the data stays the same, so that trials compare
RANGE = ("low", "high", "log", "step")


def read_space(tree: Mapping[str, Any], cfg: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """The distribution of every key that ``tree`` has a range for, by its name in ``cfg``, as in ``train.lr``.

    A range is ``{choices: [...]}`` or ``{low: ..., high: ...}`` with ``log: true`` or a ``step``, whole numbers if both
    ends are; null takes a key out. UserError for what is no range, and for a key that ``cfg`` does not have.
    """
    space = {}
    for section, ranges in tree.items():
        require(section in SEARCHED, f"sweep.{section}: only keys of {' and '.join(SEARCHED)} can be searched")
        for key, given in (ranges or {}).items():
            if key not in cfg[section]:
                raise UserError(
                    f"sweep.{section}.{key}: {cfg['model']['name']} has no {section}.{key}; "
                    f"{nearest(key, cfg[section])}; leave it out with sweep.{section}.{key}=null or take another sweep="
                )
            if given is not None:
                space[f"{section}.{key}"] = _distribution(given, f"sweep.{section}.{key}")
    require(bool(space), "the sweep has no range; give sweep= a file of conf/sweep that has")
    return space


def _distribution(given: Any, name: str) -> BaseDistribution:
    keys = set(given) if isinstance(given, Mapping) else set()
    listed = keys == {"choices"} and isinstance(given["choices"], list) and given["choices"]
    require(
        bool(listed) or {"low", "high"} <= keys <= set(RANGE),
        f"{name}={given}: give {{choices: [...]}} or {{low: ..., high: ...}}, with log: true or step: ... if wanted",
    )
    if listed:
        return CategoricalDistribution([as_param(choice) for choice in given["choices"]])
    whole = all(isinstance(given[end], int) for end in ("low", "high"))
    try:
        if whole:
            return IntDistribution(**{"step": 1, **given})
        return FloatDistribution(**given)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name}={dict(given)}: {str(error).splitlines()[0]}") from None


def as_param(value: Any) -> Any:
    """A value of the configuration as Optuna stores it: lists as text."""
    return json.dumps(value) if isinstance(value, list) else value


def including(of: BaseDistribution, value: Any, name: str) -> BaseDistribution:
    """``of``, widened where it lacks ``value``, which is tried whatever the space says. UserError if it cannot be."""
    if isinstance(of, CategoricalDistribution):
        param = as_param(value)
        return of if param in of.choices else CategoricalDistribution([*of.choices, param])
    assert isinstance(of, FloatDistribution | IntDistribution)
    possible = isinstance(value, int | float) and (value > 0 or not of.log)
    require(possible, f"the space of {name} cannot hold {value}, which is shipped; give it choices")
    return type(of)(min(of.low, value), max(of.high, value), log=of.log, step=of.step)  # type: ignore[arg-type]


def drawn(trial: Trial | FrozenTrial) -> dict[str, Any]:
    """The values of a trial as the configuration has them: lists out of text, and four digits of what is continuous."""
    values: dict[str, Any] = {}
    for name, value in trial.params.items():
        if isinstance(trial.distributions[name], FloatDistribution):
            values[name] = float(f"{value:.4g}")
        else:
            values[name] = json.loads(value) if isinstance(value, str) and value.startswith("[") else value
    return values


def apply(values: Mapping[str, Any], cfg: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``cfg`` with the drawn values in their places."""
    cfg = copy.deepcopy(cfg)
    for name, value in values.items():
        section, key = name.split(".", 1)
        cfg[section][key] = value
    return cfg


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """The drawn values as one would type them."""
    shown = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return [f"{name}={text.replace(' ', '')}" for name, text in shown.items()]
