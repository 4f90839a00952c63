"""Layers: the paper's own, and what at least two models share."""
