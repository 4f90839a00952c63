"""Files that are there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from eulernet.distributed.ranks import rank
from eulernet.errors import UserError


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary)``, then move the temporary over ``file``: a reader sees the old file or the new one.

    Of the processes of a run, only the first writes.
    What ``write`` raises for a full disk reaches the user: OSError as it is, torch's and safetensors' own as UserError.
    """
    if rank() != 0:
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read
        temporary.replace(file)
    except (RuntimeError, SafetensorError) as error:
        raise UserError(f"{file} cannot be written ({str(error).splitlines()[0]}); is the disk full?") from None
    finally:
        temporary.unlink(missing_ok=True)
