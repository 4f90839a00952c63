"""How good scores are: exact measures, their intervals, and tests between models."""
