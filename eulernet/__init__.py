"""EulerNet and click-through-rate models in PyTorch: data, training and evaluation that reproduce published tables."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eulernet.errors import UserError as UserError
    from eulernet.python.classifier import CTRClassifier as CTRClassifier
    from eulernet.python.fit import fit as fit
    from eulernet.python.fit import load as load
    from eulernet.python.models import create_model as create_model
    from eulernet.python.models import list_models as list_models
    from eulernet.python.models import model_defaults as model_defaults
    from eulernet.python.run import Run as Run
    from eulernet.runs.predictor import Predictor as Predictor

__version__ = "0.2.0"

# Where each name lives. It is imported when it is asked for: ``import eulernet`` takes neither torch nor polars.
_PLACES = {
    "CTRClassifier": "python.classifier",
    "Predictor": "runs.predictor",
    "Run": "python.run",
    "UserError": "errors",
    "create_model": "python.models",
    "fit": "python.fit",
    "list_models": "python.models",
    "load": "python.fit",
    "model_defaults": "python.models",
}
__all__ = [
    "CTRClassifier", "Predictor", "Run", "UserError", "__version__", "create_model", "fit", "list_models", "load",
    "model_defaults",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return __all__
