"""Where tensors live, and how the machine is set up for them."""

import ctypes
import sys

import torch

from eulernet.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto is CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name}: no such device; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name}: not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise UserError(f"device={name}: this machine has {found} CUDA devices that torch can use; try device=cpu")
    return device


def keep_freed_memory() -> None:
    """Let glibc reuse the large temporaries of each step instead of returning them to the system and asking again.

    By default large blocks are mapped and unmapped anew, a page fault per 4 KiB, and a training step on a CPU makes
    dozens of them. The parameters are those of mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # Older versions of glibc refuse a threshold above 32 MiB; without one, the rest would only do harm.
    if mallopt is not None and (mallopt(-3, 1 << 30) or mallopt(-3, 32 << 20)):
        mallopt(-1, (1 << 31) - 1)
        mallopt(-2, 64 << 20)
