"""How the C library of a daemon keeps its memory, and how new memory is asked for.

A daemon calls `keep_freed_memory` once, at its start; `heap_sink.py` calls `populate` while a payload arrives.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from typing import Any

# Options of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

#: Of madvise(2), since Linux 5.14: have these pages there, to be written.
_MADV_POPULATE_WRITE = 23

_madvise: Any = None
try:
    _madvise = ctypes.CDLL(None).madvise
    _madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
except (OSError, AttributeError, TypeError):  # Windows, and C libraries that hide it.
    pass


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, instead of giving pages back and asking for them again.

    With glibc's defaults that costs as much as sealing does: 64 KiB boxes were measured at 0.56 GB/s
    with them and at 1.09 GB/s with these.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, 64 << 20), (_M_TRIM_THRESHOLD, 256 << 20), (_M_TOP_PAD, 16 << 20)):
            mallopt(option, value)


def populate(address: int, size: int) -> None:
    """Have the pages of new memory there before it is written. One call takes two thirds of the time of the page faults
    that it saves (measured at 1.4 and 2.1 ms for 4 MiB). Where the system does not know it, nothing happens."""
    begin = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if _madvise is not None and sys.platform == "linux" and begin < end:
        _madvise(begin, end - begin, _MADV_POPULATE_WRITE)


def memory_size() -> int:
    """The bytes of memory of this machine; 0 where that is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
