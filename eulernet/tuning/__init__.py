"""Searching for settings: the space, the study that many workers share, the processes that try, and what is found."""
