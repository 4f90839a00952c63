"""EulerNet and click-through-rate models in PyTorch: data, training and evaluation that reproduce published tables."""

__version__ = "0.1.0"
