"""Finished runs: what is in their folder, checked and packed, and their model applied to raw rows."""
