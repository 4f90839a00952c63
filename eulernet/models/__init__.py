"""The models by name: ``model.name`` in a configuration picks a class from ``MODELS``."""

from eulernet.models.base import CTRModel
from eulernet.models.eulernet import EulerNet

MODELS: dict[str, type[CTRModel]] = {"eulernet": EulerNet}
