"""EulerNet and click-through-rate models in PyTorch: data, training and evaluation that reproduce published tables."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eulernet.errors import UserError as UserError
    from eulernet.python.models import create_model as create_model
    from eulernet.python.models import list_models as list_models
    from eulernet.python.models import model_defaults as model_defaults
    from eulernet.runs.predictor import Predictor as Predictor

__version__ = "0.1.0"

# Where each name lives. It is imported when it is asked for: ``import eulernet`` takes neither torch nor polars.
_PLACES = {
    "Predictor": "runs.predictor",
    "UserError": "errors",
    "create_model": "python.models",
    "list_models": "python.models",
    "model_defaults": "python.models",
}
__all__ = ["Predictor", "UserError", "__version__", "create_model", "list_models", "model_defaults"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return __all__
