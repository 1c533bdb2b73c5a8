"""Hardens a daemon's process at its start: hides secrets, protects its memory, raises the limit of open files.

Must be called when the secret is known and before any port is opened, in the main greenlet. Linux; the daemon works
even if a step fails.

- The secret is overwritten in `/proc/PID/environ` and `/proc/PID/cmdline`, and removed from `os.environ`. Removing it
  only there does not change `/proc`.
- The process leaves no core file, and no other process of its user can read its memory or trace it (root can).
- It may open as many files as the hard limit allows. Its child processes get the previous limits: `open_files_before`.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator

from gdispy.worker.limits import no_core_dumps
from gdispy.worker.originals import resource

logger = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4
#: Upper bound for open files of a daemon; a hard limit can be infinite.
FILES = 1 << 20
#: Variables that contain secrets.
_SECRET_VARIABLE = re.compile("GDISPY_([A-Z]+_)?SECRET")
#: Fields of `/proc/self/stat` after the name: start and end of arguments, and of variables.
_PLACES = slice(45, 49)

_open_files: int | None = None


def harden(secrets: Iterable[str]) -> None:
    """Apply all hardening; `secrets` are those that the command line may contain."""
    _hide_variables()
    _hide_arguments([text for text in secrets if text])
    no_core_dumps()
    _forbid_dumps()
    _raise_open_files()


def is_secret_variable(name: str) -> bool:
    """Whether a variable of this name contains a secret, or the path of one."""
    return _SECRET_VARIABLE.fullmatch(name.removesuffix("_FILE")) is not None


def open_files_before() -> int:
    """The soft limit of open files with which this process was started."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] if _open_files is None else _open_files


# Secrets


def _hide_variables() -> None:
    names = [name for name in os.environ if _SECRET_VARIABLE.fullmatch(name) and os.environ[name]]
    for name in names:
        try:
            _overwrite_variable(name.encode())
        except OSError:
            _overwrite_by_pointer(name.encode())
        del os.environ[name]
    if any(_shows(name.encode() + b"=") for name in names):
        logger.warning("%s is visible in /proc to processes of this user: use a file for the secret", ", ".join(names))


def _overwrite_variable(name: bytes) -> None:
    """Raises OSError."""
    _, (begin, end) = _variables_and_arguments()
    for place, text in _texts(begin, end):
        if text.startswith(name + b"="):
            _write(place + len(name) + 1, bytes(len(text) - len(name) - 1))


def _overwrite_by_pointer(name: bytes) -> None:
    """The same if the memory cannot be written as a file: at the address where the C library has the variable."""
    with contextlib.suppress(AttributeError, OSError):
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        place = getenv(name)
        if place:
            ctypes.memset(place, 0, len(ctypes.string_at(place)))


def _hide_arguments(secrets: list[str]) -> None:
    hidden = [os.fsencode(text) for text in secrets]
    try:
        (begin, end), _ = _variables_and_arguments()
        for place, text in _texts(begin, end):
            for secret in hidden:
                if _is_argument(text, secret):
                    _write(place + len(text) - len(secret), b"*" * len(secret))
    except OSError:
        if any(_is_argument(os.fsencode(word), secret) for word in sys.argv[1:] for secret in hidden):
            logger.warning("the secret is visible in the process list of this machine: use a file for the secret")


def _is_argument(word: bytes, secret: bytes) -> bool:
    """Whether an argument is the secret, alone or after an option."""
    return word == secret or (word.startswith(b"-") and word.endswith(secret))


def _variables_and_arguments() -> tuple[tuple[int, int], tuple[int, int]]:
    """The addresses of this process's arguments and variables in its memory. Raises OSError."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    first, last, begin, end = (int(field) for field in fields[_PLACES])
    return (first, last), (begin, end)


def _texts(begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The strings in a range of memory, with their addresses. Raises OSError."""
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        data = os.pread(memory.fileno(), end - begin, begin)
    offset = 0
    for text in data.split(b"\0"):
        yield begin + offset, text
        offset += len(text) + 1


def _write(place: int, data: bytes) -> None:
    """Write to the memory; empty ranges are skipped. Raises OSError."""
    fd = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, data, place)
    finally:
        os.close(fd)


def _shows(beginning: bytes) -> bool:
    """Whether `/proc` shows a variable with this prefix and a value."""
    try:
        with open("/proc/self/environ", "rb") as file:
            return any(text.startswith(beginning) and text != beginning for text in file.read().split(b"\0"))
    except OSError:
        return False


# Core files, tracing, open files


def _forbid_dumps() -> None:
    # A core handler that is a program gets core files regardless of the limit.
    with contextlib.suppress(AttributeError, OSError):
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _raise_open_files() -> None:
    global _open_files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if goal <= soft or soft == resource.RLIM_INFINITY:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
    except (OSError, ValueError) as error:
        logger.debug("the limit of open files remains %d: %s", soft, error)
        return
    _open_files = soft
