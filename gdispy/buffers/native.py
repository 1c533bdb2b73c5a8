"""Shortcuts to C by ctypes, each with a plain fallback, so that nothing depends on them but speed.

Called in any thread. Each takes its C function when the module is imported; where that is missing, the fallback does
the same more slowly, or does nothing where nothing is needed."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

# Options of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

#: Of madvise(2), since Linux 5.14: have these pages there, to be written.
_MADV_POPULATE_WRITE = 23


def _find_write_short() -> Callable[[int, bytes, int, int], int]:
    """The system's `pwrite`, called with the GIL: -1 for an error.

    With Python's own functions each job that is submitted would hand the GIL to the hub and wait for it, which takes
    far longer than to write a short record into the system's memory."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        write = ctypes.PyDLL(None).pwrite
        write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64)
        write.restype = ctypes.c_ssize_t
        if ctypes.sizeof(ctypes.c_long) == 8:  # Else offsets in files are shorter than this.
            return write
    return lambda fd, record, size, offset: -1


#: Writes so many bytes of a record at an offset of a file; how many were written, -1 where the caller is to do it.
write_short = _find_write_short()


def _find_madvise() -> Any:
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Other systems, and C libraries that hide it.
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        return madvise
    return None


_madvise = _find_madvise()


def populate(address: int, size: int) -> None:
    """Have the pages of new memory there before it is written: one call costs less than the page faults that it saves.
    Where the system does not know it, the page faults do it."""
    begin = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if _madvise is not None and sys.platform == "linux" and begin < end:
        _madvise(begin, end - begin, _MADV_POPULATE_WRITE)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, instead of giving pages back and asking for them again, which costs as
    much as sealing does. Where it has no mallopt, nothing happens. For the whole process."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, 64 << 20), (_M_TRIM_THRESHOLD, 256 << 20), (_M_TOP_PAD, 16 << 20)):
            mallopt(option, value)


def memory_size() -> int:
    """The bytes of memory of this machine; 0 where that is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _find_makers() -> dict[type, tuple[Any, Any]]:
    """How Python's C interface makes an object of a kind that is not written yet, and says where its bytes are."""
    found: dict[type, tuple[Any, Any]] = {}
    with contextlib.suppress(AttributeError):
        for kind, name in ((bytes, "PyBytes"), (bytearray, "PyByteArray")):
            make = getattr(ctypes.pythonapi, f"{name}_FromStringAndSize")
            place = getattr(ctypes.pythonapi, f"{name}_AsString")
            make.argtypes, make.restype = (ctypes.c_char_p, ctypes.c_ssize_t), ctypes.py_object
            place.argtypes, place.restype = (ctypes.py_object,), ctypes.c_void_p
            found[kind] = make, place
    return found


_makers = _find_makers()


def unwritten(kind: type[bytes] | type[bytearray], size: int) -> tuple[Any, int] | None:
    """A new object of `size` bytes that are not written yet, and its address; None where there is no memory for it, or
    no way to make one: then the caller keeps what it has in pieces."""
    functions = _makers.get(kind)
    if functions is None:
        return None
    make, place = functions
    try:
        value = make(None, size)
    except (MemoryError, OverflowError, SystemError):
        return None
    return value, place(value)


def view(address: int, size: int) -> memoryview:
    """Memory at an address, to be written. Whoever writes keeps the object that it belongs to."""
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")
