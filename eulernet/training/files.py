"""Files that are there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary)``, then move the temporary over ``file``: a reader sees the old file or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
