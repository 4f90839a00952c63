"""EulerNet and click-through-rate models in PyTorch: data, training and evaluation that reproduce published tables."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eulernet.runs.predictor import Predictor as Predictor

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``Predictor``, imported when it is asked for: preparing data needs none of what it takes."""
    if name == "Predictor":
        from eulernet.runs.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
