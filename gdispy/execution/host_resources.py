"""Free resources of this machine: CPU, memory, disk, swap; and whether there is enough disk space for more jobs.

`measure` needs psutil (extra `net`); without it nothing is reported.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from types import ModuleType

_psutil: ModuleType | None = None


def load() -> None:
    """Import psutil. This takes as long as a short job, so the node does it when it is ready for jobs."""
    global _psutil
    with contextlib.suppress(ImportError):
        _psutil = importlib.import_module("psutil")


def measure(path: str) -> list[float]:
    """Free CPU since the last call (percent), memory (bytes), disk at `path` (bytes), swap (percent); [] if that is not
    known."""
    if _psutil is None:
        return []
    try:
        swap = _psutil.swap_memory()
        return [
            100.0 - float(_psutil.cpu_percent()),
            float(_psutil.virtual_memory().available),
            float(_psutil.disk_usage(path).free),
            100.0 - float(swap.percent) if swap.total else 0.0,
        ]
    except (OSError, RuntimeError):
        return []


#: Free disk space required for files of jobs, and the share of a smaller disk.
DISK_FLOOR = 256 * 1024 * 1024
DISK_SHARE = 0.05


def usable_cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_disk_full(path: str, floor: int | None) -> bool:
    """Whether less than `floor` bytes are free at `path`; None for the default."""
    try:
        about = os.statvfs(path)
    except OSError:  # The first job will report the error better.
        return False
    least = min(DISK_FLOOR, DISK_SHARE * about.f_blocks * about.f_frsize) if floor is None else floor
    return about.f_bavail * about.f_frsize < least
