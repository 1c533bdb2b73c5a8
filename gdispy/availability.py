"""What is free on this machine: CPU, memory, disk, swap.

Floor 2. Asked by `node.py` at intervals. Needs psutil (extra `net`); without it nothing is told.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

_psutil: Any = None


def load() -> None:
    """Import what is needed. It takes as long as a short job, so the node does it when it is ready for those."""
    global _psutil
    with contextlib.suppress(ImportError):
        _psutil = importlib.import_module("psutil")


def measure(path: str) -> list[float]:
    """Free CPU since the last call (percent), memory (bytes), disk at `path` (bytes), swap (percent); [] where
    that cannot be found out."""
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
