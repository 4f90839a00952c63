"""Models by name, as plain modules: ``create_model``, ``list_models``, ``model_defaults``."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from eulernet.cli import compose
from eulernet.errors import require, require_known
from eulernet.features import Bag, FieldSize, Number, Pretrained
from eulernet.models import make_model
from eulernet.models.base import CTRModel
from eulernet.settings import conf_dir


def list_models(pattern: str = "*") -> list[str]:
    """The names of all models and variants, in order, or of those that match ``pattern``.

    >>> list_models("gdcn*")
    ['gdcn_parallel', 'gdcn_stacked']
    """
    require(isinstance(pattern, str), f"list_models takes a pattern such as 'dcn*', got {pattern!r}")
    names = sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))
    return [name for name in names if fnmatchcase(name, pattern)]


def model_defaults(name: str) -> dict[str, Any]:
    """What ``conf/model/<name>.yaml`` says: each setting of the model ``name`` with its value.

    UserError for a name that there is not.

    >>> model_defaults("deepfm")["hidden_units"]
    [400, 400, 400]
    """
    require_model(name)
    settings = deepcopy(_defaults(name))
    settings.pop("name")
    return settings


def create_model(name: str, field_sizes: Sequence[FieldSize], **settings: Any) -> CTRModel:
    """A new model with starting weights, a ``torch.nn.Module`` that maps ids [B, F] to logits [B].

    ``field_sizes`` has one entry a field: how many ids it has, id 0 (rare or missing) included, or an
    ``eulernet.features.Number``, ``Bag``, ``History`` or ``Pretrained``. ``settings`` change what
    ``model_defaults(name)`` says. The starting weights are drawn from torch's random numbers: ``torch.manual_seed``
    fixes them.

    UserError for a model or a setting that there is not, and for values that cannot be.

    >>> model = create_model("deepfm", field_sizes=[6041, 3707, 22], dropout=0.2)
    >>> model.predict(torch.tensor([[17, 4, 2]])).shape
    torch.Size([1])
    """
    require_model(name)
    require("name" not in settings, "create_model(name, ...): the name of the model is the first argument")
    return make_model({**_defaults(name), **settings}, checked_sizes(field_sizes))


def checked_sizes(field_sizes: Sequence[FieldSize]) -> list[FieldSize]:
    """UserError unless each of ``field_sizes`` describes a field."""
    what = "field_sizes: give a list with the number of ids of each field, as [6041, 3707]"
    several = hasattr(field_sizes, "__iter__") and not isinstance(field_sizes, str | bytes | Mapping)
    require(several, f"{what}; got {field_sizes!r}")
    sizes = [size.item() if hasattr(size, "item") else size for size in field_sizes]  # numpy's whole numbers
    require(bool(sizes), f"{what}; it is empty")
    for i, size in enumerate(sizes):
        counts = [] if isinstance(size, Number) else [size.size, size.length] if isinstance(size, Bag) else [size]
        counts = [size.size, size.width] if isinstance(size, Pretrained) else counts
        for count in counts:
            whole = type(count) is int and 1 <= count < 2**31
            require(whole, f"field_sizes[{i}] is {size!r}; give a whole number from 1, or one of eulernet.features")
    return sizes


def require_model(name: str) -> None:
    """UserError unless ``name`` is one of ``list_models()``."""
    require(isinstance(name, str), f"model: give a name of eulernet.list_models(), got {type(name).__name__}")
    require_known(name, list_models(), f"unknown model {name!r}")


@cache
def _defaults(name: str) -> dict[str, Any]:
    return dict(compose("train", ["dataset=table", f"model={name}"])["model"])
