"""``last.ckpt``, what a run needs to go on as if it had never stopped, and ``model.safetensors``, its best weights."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from eulernet.distributed.ranks import gather_whole, load_whole
from eulernet.errors import UserError, require
from eulernet.training.files import write_atomically

FORMAT = 3
WEIGHTS, LAST = "model.safetensors", "last.ckpt"


def save_weights(model: nn.Module, run: Path) -> None:
    """Write the weights of ``model``, whole whether or not they are divided: all processes of the run call it."""
    weights = gather_whole(model.state_dict())

    def write(file: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)

    write_atomically(run / WEIGHTS, write)


def load_weights(model: nn.Module, run: Path) -> None:
    """Put the best weights of ``run`` into ``model``. UserError if they are damaged or of another model."""
    file = run / WEIGHTS
    try:
        load_whole(model, load_file(file))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({error})") from None
    except RuntimeError as error:
        raise UserError(f"{file} does not fit the model of this run ({_first_line(error)})") from None


def save_last(state: dict[str, Any], run: Path) -> None:
    write_atomically(run / LAST, lambda file: torch.save({"format": FORMAT, **state}, file))


def load_last(run: Path, *, model_name: str, dataset: str) -> dict[str, Any]:
    """The state in ``run``/last.ckpt. UserError if it is missing, damaged, or of another model or dataset."""
    file = run / LAST
    require(file.is_file(), f"resume={run}: no {LAST} there; give the folder of a run that was started")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever unpickling the damaged bytes led to
        raise UserError(f"{file} is damaged ({_first_line(error)}); start the run anew") from None
    found = state.get("format") if isinstance(state, dict) else None
    require(found == FORMAT, f"{file}: format {found}, this version reads format {FORMAT}; start the run anew")
    other = state.get("model_name")
    require(other == model_name, f"{file} is of model {other}, this run trains {model_name}")
    require(
        state.get("dataset") == dataset,
        f"{file} is of dataset {state.get('dataset')}, this run's data is {dataset}; give the raw= it was trained on",
    )
    return state


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
