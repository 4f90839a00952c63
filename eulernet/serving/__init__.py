"""A trained run behind HTTP: JSON rows in, click probabilities out."""
