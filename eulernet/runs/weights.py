"""The model of a run with its best weights, from a file that may come from anywhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eulernet.errors import UserError, require
from eulernet.features import FieldSize
from eulernet.models import make_model
from eulernet.models.base import CTRModel
from eulernet.training.tiny import clear_tiny, unsigned_weights
from eulernet.training.weights import Weights

LAYERS = 256  # of any list of widths, and of any count in the settings that is called layers


def load_model(weights: Path, settings: Mapping[str, Any], sizes: Sequence[FieldSize]) -> CTRModel:
    """The model that ``settings`` describe, in evaluation mode. UserError if ``weights`` are not of it.

    ``weights`` is model.safetensors, which may be in parts (training/weights.py). Shapes are compared before any memory
    is taken for them.
    """
    check_layers(settings)
    found = Weights(weights)
    shapes = found.shapes
    try:
        with torch.random.fork_rng(devices=[]):  # starting weights, which are thrown away, draw from it
            with torch.device("meta"):
                described = make_model(settings, sizes)
            wanted = {name: tuple(value.shape) for name, value in described.state_dict().items()}
            wanted |= {name: shapes[name] for name in getattr(described, "elastic", ()) if name in shapes}
            require(shapes == wanted, f"{weights} does not fit the model that the configuration describes")
            model = make_model(settings, sizes)
        given = found.all()
        model.load_state_dict(given)
    except UserError:
        raise
    except (TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise UserError(f"the configuration does not describe a model ({' '.join(str(error).split())[:200]})") from None
    wrong = [name for name, values in given.items() if not bool(values.isfinite().all())]
    require(not wrong, f"{weights} holds numbers that are not finite, in {', '.join(wrong[:3])}; get it again")
    model.eval().requires_grad_(False)
    clear_tiny(unsigned_weights(model))  # a GPU leaves some, and so did older versions
    return model


def check_layers(settings: Mapping[str, Any]) -> None:
    """UserError for more layers than any model here was ever given: each takes time before weights are compared."""
    for key, value in settings.items():
        count = len(value) if isinstance(value, list) else value if key.endswith("layers") else 0
        wrong = isinstance(count, int) and count > LAYERS
        require(not wrong, f"model.{key} describes {count:,} layers; the limit is {LAYERS}")
