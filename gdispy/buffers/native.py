"""C functions called by ctypes, each with a Python fallback, so that only speed depends on them.

Callable in any thread. Each C function is resolved on import; if it is missing, the fallback does the same more slowly,
or nothing if it is only an optimisation."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Callable

# Options of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

#: Of madvise(2), since Linux 5.14: populate these pages for writing.
_MADV_POPULATE_WRITE = 23


def _find_write_short() -> Callable[[int, bytes, int, int], int]:
    """The system's `pwrite`, called with the GIL: -1 for an error.

    With Python's own functions, each submitted job would pass the GIL to the hub and wait for it, which takes much
    longer than writing a short record to the page cache."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        write = ctypes.PyDLL(None).pwrite
        write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64)
        write.restype = ctypes.c_ssize_t
        if ctypes.sizeof(ctypes.c_long) == 8:  # Otherwise offsets in files are limited.
            return write
    return lambda fd, record, size, offset: -1


#: Writes bytes of a record at an offset of a file; returns the number of bytes written, or -1 if the caller must do it.
write_short = _find_write_short()


def _find_madvise() -> Callable[[int, int, int], int] | None:
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Other systems, and C libraries that hide it.
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        return madvise
    return None


_madvise = _find_madvise()


def populate(address: int, size: int) -> None:
    """Populate the pages of new memory before it is written: one call is cheaper than the page faults that it saves. If
    the system does not support it, the page faults occur."""
    begin = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if _madvise is not None and sys.platform == "linux" and begin < end:
        _madvise(begin, end - begin, _MADV_POPULATE_WRITE)


def _find_tgkill() -> Callable[[int, int, int], int] | None:
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Before glibc 2.30, and in other C libraries.
        tgkill = ctypes.CDLL(None).tgkill
        tgkill.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
        return tgkill
    return None


_tgkill = _find_tgkill()


def signal_main_thread(pid: int, number: int) -> bool:
    """Send a signal to the main thread of a process; whether that was possible."""
    return _tgkill is not None and pid > 0 and _tgkill(pid, pid, number) == 0


def keep_freed_memory() -> None:
    """Make the C library keep freed memory, instead of returning pages to the system and requesting them again, which
    costs as much as encryption. No effect without mallopt. For the whole process."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, 64 << 20), (_M_TRIM_THRESHOLD, 256 << 20), (_M_TOP_PAD, 16 << 20)):
            mallopt(option, value)


def memory_size() -> int:
    """The size of this machine's memory in bytes; 0 if that is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


#: Creates an object of a size from None, and returns the address of an object.
_Makers = tuple[Callable[[None, int], bytes | bytearray], Callable[[bytes | bytearray], int]]


def _find_makers() -> dict[type, _Makers]:
    """Creates an uninitialised object of a type through Python's C interface, and returns the address of its bytes."""
    found: dict[type, _Makers] = {}
    with contextlib.suppress(AttributeError):
        for kind, name in ((bytes, "PyBytes"), (bytearray, "PyByteArray")):
            make = getattr(ctypes.pythonapi, f"{name}_FromStringAndSize")
            place = getattr(ctypes.pythonapi, f"{name}_AsString")
            make.argtypes, make.restype = (ctypes.c_char_p, ctypes.c_ssize_t), ctypes.py_object
            place.argtypes, place.restype = (ctypes.py_object,), ctypes.c_void_p
            found[kind] = make, place
    return found


_makers = _find_makers()


def unwritten(kind: type[bytes] | type[bytearray], size: int) -> tuple[bytes | bytearray, int] | None:
    """A new object of `size` uninitialised bytes, and its address; None if there is no memory for it, or no way to
    create one: then the data is kept in pieces."""
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
    """Writable memory at an address. The writer must keep the object that owns it alive."""
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")
