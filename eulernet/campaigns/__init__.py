"""Many runs at once: searches for a setting, and the runs of a table."""
