"""What runs the model behind a server."""

from collections.abc import Callable
from pathlib import Path

import torch

from eulernet.errors import choose, require
from eulernet.runs.predictor import Predictor


def with_torch(predictor: Predictor, _: Path) -> Predictor:
    return predictor


def with_onnx(predictor: Predictor, path: Path) -> Predictor:
    from eulernet.exporting import backend  # takes half a second

    return backend.with_onnx(predictor, path)


BACKENDS: dict[str, Callable[[Predictor, Path], Predictor]] = {"torch": with_torch, "onnx": with_onnx}


def load(path: Path, device: torch.device, backend: str) -> Predictor:
    """The predictor in ``path`` for one of BACKENDS. UserErrors as ``Predictor.load`` and ``backend.with_onnx`` say."""
    apply = choose(BACKENDS, backend, "backend")
    require(backend == "torch" or device.type == "cpu", f"backend={backend} runs on the CPU; give device=cpu")
    return apply(Predictor.load(path, device), path)
