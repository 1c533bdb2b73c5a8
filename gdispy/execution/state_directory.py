"""The directory in which the nodes of a user keep their files, and the cleanup after previous nodes.

Must be called at the start of a node, before anything else.

    PREFIX/.gdispy-own       marks the directory as created by gdispy; see `filesystem/own_directory.py`
    PREFIX/<instance>.lock   locked as long as the node lives
    PREFIX/<instance>/       its files; the processes of its jobs have this name in their environment
    PREFIX/kept/             directories that outlive their computations, shared by all nodes; see `kept_directories.py`
    PREFIX/spool/            results that wait for their clients; see `journal/node_spool.py`

Invariant: files are removed only from a directory that gdispy created, and there only files with a name of this form.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile

from gdispy.errors import ConfigError
from gdispy.filesystem.own_directory import is_own, own_directory
from gdispy.worker.process_tree import end_marked
from gdispy.worker.trees import remove_tree

#: The name of a node's directory: its instance.
_NODE_NAME = re.compile("[0-9a-f]{32}")
_OPTION = "--dest_path_prefix"
_OPEN_LOCK = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def default_prefix() -> str:
    """The default directory for files of computations: a directory of this user in the one for temporary files."""
    return os.path.join(tempfile.gettempdir(), f"gdispy-{os.geteuid()}")


def find_prefix(given: str) -> str:
    """The directory that nodes use if the user has given this one, or none ('').

    Raises ConfigError if other users can write to it, and if it cannot be used.
    """
    return own_directory(given or default_prefix(), _OPTION if given else f"TMPDIR, or give {_OPTION}")


def claim(prefix: str, name: str) -> int:
    """Remove what dead nodes left below a prefix returned by `find_prefix`, and claim a directory for this node.

    Returns an open file that is locked as long as the node lives. Raises ConfigError.
    """
    lock = os.path.join(prefix, f"{name}.lock")
    try:
        _clear_dead(prefix)
        while True:
            fd = os.open(lock, os.O_CREAT | _OPEN_LOCK, 0o600)
            # Before that, another starting node may take it for that of a dead one, and remove it.
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, lock):
                return fd
            os.close(fd)
    except OSError as error:
        raise ConfigError(f"{prefix} cannot be used: {error.strerror}") from error


def unclaim(prefix: str, name: str, fd: int) -> None:
    """The node has ended and left no files."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(prefix, f"{name}.lock"))
    os.close(fd)


def is_alive(prefix: str, name: str) -> bool:
    """Whether the node that has claimed a directory lives."""
    try:
        fd = os.open(os.path.join(prefix, f"{name}.lock"), _OPEN_LOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def clean(prefix: str) -> None:
    """Remove everything that previous nodes left below a prefix returned by `find_prefix`: in addition to `claim`, kept
    directories of computations, and directories without locks. Files of living nodes stay. Raises ConfigError."""
    try:
        living = _clear_dead(prefix)
        for entry in os.listdir(prefix):
            is_of_node = _NODE_NAME.fullmatch(entry) is not None and entry not in living
            if is_of_node or (entry in ("kept", "spool") and not living):
                _remove(prefix, entry)
    except OSError as error:
        raise ConfigError(f"{prefix} cannot be cleaned: {error.strerror}") from error


def _clear_dead(prefix: str) -> set[str]:
    """Remove what dead nodes left; returns the names of living ones."""
    if not is_own(prefix):
        raise ConfigError(f"{prefix} was not created by gdispy: nothing is removed there")
    names = [entry.removesuffix(".lock") for entry in os.listdir(prefix) if entry.endswith(".lock")]
    return {name for name in names if _NODE_NAME.fullmatch(name) and not _clear(prefix, name)}


def _clear(prefix: str, name: str) -> bool:
    """Remove files and processes of a node, unless it lives."""
    lock = os.path.join(prefix, f"{name}.lock")
    try:
        fd = os.open(lock, _OPEN_LOCK)
    except FileNotFoundError:  # Another process was faster.
        return True
    except OSError:  # A link, or a file that gdispy has not created.
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Locked until it is removed: a file that gets the name afterwards is different, perhaps of a starting node.
        if _is_at(fd, lock):
            _remove(prefix, name)
            os.unlink(lock)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _is_at(fd: int, path: str) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove(prefix: str, name: str) -> None:
    end_marked("GDISPY_NODE", name)
    remove_tree(os.path.join(prefix, name))
