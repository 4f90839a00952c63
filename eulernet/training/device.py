"""Where tensors live."""

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


def device_of_job(name: str, job: int) -> str:
    """The device of number ``job`` of the jobs that run side by side: auto distributes them over the GPUs."""
    count = torch.cuda.device_count()
    return f"cuda:{job % count}" if name == "auto" and count else name
