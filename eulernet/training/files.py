"""Files of a run that several processes make: the first one writes them."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from eulernet import files
from eulernet.distributed.ranks import rank
from eulernet.errors import UserError


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """``eulernet.files.write_atomically`` in the process of rank 0, nothing in the others.

    torch and safetensors raise errors of their own when they cannot write: they become UserErrors here.
    """
    if rank() != 0:
        return
    try:
        files.write_atomically(file, write, place="hydra.run.dir=")
    except (RuntimeError, SafetensorError) as error:
        raise UserError(f"{file} cannot be written ({str(error).splitlines()[0]}); is the disk full?") from None
