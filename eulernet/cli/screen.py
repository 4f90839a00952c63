"""Lines on the screen: the best epochs are green where that is a terminal."""

import logging
import os
import sys


class Screen(logging.Formatter):
    """Colours the records whose attribute ``best`` is true. NO_COLOR in the environment turns it off."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"\033[32m{text}\033[0m" if getattr(record, "best", False) and colours() else text


def colours() -> bool:
    """Whether standard output is a terminal that shows colours, and nobody asked for none (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stdout is not None and sys.stdout.isatty()
