"""The memory of this process: its peak, what is available, and how freed memory is reused."""

import ctypes
import mmap
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def peak_resident() -> int:
    """Bytes: the largest resident memory of this process since the last reset."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> None:
    """Forget the peak until now, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def read_ahead(part: Any) -> None:
    """Have the system begin to read ``part``, a tensor in a mapped file, from the disk. Returns at once."""
    advise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None
    if advise is not None and part.nbytes:
        start = part.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
        length = part.data_ptr() + part.nbytes - start
        advise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_WILLNEED)


def whole() -> int:
    """Bytes of memory that this machine, or the container, has."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):  # "max" when there is no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found)


def available() -> int:
    """Bytes that new data can take before the system must swap: what the kernel says, within a container's limit."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024)
    with suppress(OSError, ValueError, StopIteration):  # "max" when there is no limit
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
        cache = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file"))
        free.append(max(limit - used + cache, 0))
    return min(free)


def keep_freed_memory() -> None:
    """Let glibc reuse the large temporaries instead of returning them to the system and asking again.

    By default large blocks are mapped and unmapped anew, a page fault per 4 KiB: a training step on a CPU makes dozens
    of them, reading text several per block. The parameters are those of mallopt(3): M_MMAP_THRESHOLD,
    M_TRIM_THRESHOLD, M_TOP_PAD.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # Older versions of glibc refuse a threshold above 32 MiB; without one, the rest would only do harm.
    if mallopt is not None and (mallopt(-3, 1 << 30) or mallopt(-3, 32 << 20)):
        mallopt(-1, (1 << 31) - 1)
        mallopt(-2, 64 << 20)


def return_freed_memory() -> None:
    """Let glibc return what is free to the system, also where it lies between blocks that are in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
