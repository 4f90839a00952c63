"""Several processes: who they are, how they begin and end, and what they exchange."""
