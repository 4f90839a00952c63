"""The model of a run with its best weights, from a file that may come from anywhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from eulernet.errors import UserError, require
from eulernet.features import FieldSize
from eulernet.models import make_model
from eulernet.models.base import CTRModel

LAYERS = 256  # of any list of widths, and of any count in the settings that is called layers
TENSORS = 10_000  # in a file of weights


def load_model(weights: Path, settings: Mapping[str, Any], sizes: Sequence[FieldSize]) -> CTRModel:
    """The model that ``settings`` describe, in evaluation mode. UserError if ``weights`` are not of it.

    Shapes are compared before any memory is taken for them.
    """
    check_layers(settings)
    shapes = shapes_of(weights)
    try:
        with torch.random.fork_rng(devices=[]):  # starting weights, which are thrown away, draw from it
            with torch.device("meta"):
                described = make_model(settings, sizes)
            wanted = {name: tuple(value.shape) for name, value in described.state_dict().items()}
            wanted |= {name: shapes[name] for name in getattr(described, "elastic", ()) if name in shapes}
            require(shapes == wanted, f"{weights} does not fit the model that the configuration describes")
            model = make_model(settings, sizes)
        given = load_file(weights)
        model.load_state_dict(given)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{weights} cannot be read ({error})") from None
    except UserError:
        raise
    except (TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise UserError(f"the configuration does not describe a model ({' '.join(str(error).split())[:200]})") from None
    wrong = [name for name, values in given.items() if not bool(values.isfinite().all())]
    require(not wrong, f"{weights} holds numbers that are not finite, in {', '.join(wrong[:3])}; get it again")
    return model.eval().requires_grad_(False)


def shapes_of(weights: Path) -> dict[str, tuple[int, ...]]:
    """The name and shape of each tensor, from the header of the file alone."""
    require(weights.is_file(), f"there is no {weights}")
    try:
        with safe_open(weights, "pt") as file:
            names = list(file.keys())
            require(len(names) <= TENSORS, f"{weights} holds {len(names):,} tensors; the limit is {TENSORS:,}")
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{weights} cannot be read ({error})") from None


def check_layers(settings: Mapping[str, Any]) -> None:
    """UserError for more layers than any model here was ever given: each takes time before weights are compared."""
    for key, value in settings.items():
        count = len(value) if isinstance(value, list) else value if key.endswith("layers") else 0
        wrong = isinstance(count, int) and count > LAYERS
        require(not wrong, f"model.{key} describes {count:,} layers; the limit is {LAYERS}")
