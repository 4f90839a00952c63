"""Several processes (ranks): how they start and end, and what they exchange."""
