"""The training loop: takes any module with ``calculate_loss`` and plain numbers, knows nothing of Hydra."""
