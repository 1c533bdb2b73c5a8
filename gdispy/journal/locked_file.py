"""A file that belongs to one process at a time, and to no other user of the machine.

The lock is the kernel's and ends with the process. A file that was replaced or removed between opening and locking
is opened again. Called in any thread; never blocks.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable

from gdispy.errors import JournalError


def open_locked(path: str, holder: Callable[[str], str]) -> int:
    """Open a file for this process alone, and return its descriptor; it is created if it does not exist. `holder`
    returns, for the error, the process that has the file of a path. Raises JournalError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(10):
        try:
            fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise JournalError(f"{path} cannot be used: {error.strerror}") from error
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
                raise JournalError(f"{path} cannot be used: it is not a file of this user")
            os.fchmod(fd, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, about):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise JournalError(f"{path} is in use by {holder(path)}") from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # It was replaced or removed between two steps.
    raise JournalError(f"{path} cannot be used: it keeps being replaced")


def _is_at(path: str, about: os.stat_result) -> bool:
    try:
        return os.stat(path).st_ino == about.st_ino
    except FileNotFoundError:
        return False
