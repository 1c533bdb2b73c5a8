"""The directory below which the nodes of a user keep their files, and what former nodes left there.

Called by `node.py` before anything else, and by `cli/node.py` for `--clean`.

    PREFIX/.gdispy-own       says that the directory is gdispy's own; see `filesystem/own_directory.py`
    PREFIX/<instance>.lock   locked as long as the node lives PREFIX/<instance>/       its files; the processes of its
    jobs carry the same name PREFIX/kept/             directories of computations that outlive them, shared by all
    nodes; see `kept_directories.py` PREFIX/spool/            results that wait for their clients; see
    `journal/node_spool.py`

Invariant: nothing is removed but from a directory of gdispy's own, and there only what has a name of this form.
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
    """Where files of computations go: a directory of this user below the one for temporary files."""
    return os.path.join(tempfile.gettempdir(), f"gdispy-{os.geteuid()}")


def find_prefix(given: str) -> str:
    """The directory that nodes use where the user has given this one, or none ('').

    Raises ConfigError where others can write to it, and where it cannot be used.
    """
    return own_directory(given or default_prefix(), _OPTION if given else f"TMPDIR, or give {_OPTION}")


def claim(prefix: str, name: str) -> int:
    """Remove what dead nodes left below a prefix that `find_prefix` has found, and claim a directory for this one.

    Returns an open file that is locked as long as the node lives. Raises ConfigError.
    """
    lock = os.path.join(prefix, f"{name}.lock")
    try:
        _clear_dead(prefix)
        while True:
            fd = os.open(lock, os.O_CREAT | _OPEN_LOCK, 0o600)
            # Before that, another node that starts may take it for a dead one's, and remove it.
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, lock):
                return fd
            os.close(fd)
    except OSError as error:
        raise ConfigError(f"{prefix} cannot be used: {error.strerror}") from error


def unclaim(prefix: str, name: str, fd: int) -> None:
    """The node has ended and left nothing."""
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
    """Remove all that former nodes left below a prefix that `find_prefix` has found: besides what `claim` removes, what
    computations wanted to keep, and directories that lost their locks. What belongs to nodes that live stays. Raises
    ConfigError."""
    try:
        living = _clear_dead(prefix)
        for entry in os.listdir(prefix):
            is_of_node = _NODE_NAME.fullmatch(entry) is not None and entry not in living
            if is_of_node or (entry in ("kept", "spool") and not living):
                _remove(prefix, entry)
    except OSError as error:
        raise ConfigError(f"{prefix} cannot be cleaned: {error.strerror}") from error


def _clear_dead(prefix: str) -> set[str]:
    """Remove what dead nodes left; the names of those that live."""
    if not is_own(prefix):
        raise ConfigError(f"{prefix} was not created by gdispy: nothing is removed there")
    names = [entry.removesuffix(".lock") for entry in os.listdir(prefix) if entry.endswith(".lock")]
    return {name for name in names if _NODE_NAME.fullmatch(name) and not _clear(prefix, name)}


def _clear(prefix: str, name: str) -> bool:
    """Remove files and processes of a node; not, if it lives."""
    lock = os.path.join(prefix, f"{name}.lock")
    try:
        fd = os.open(lock, _OPEN_LOCK)
    except FileNotFoundError:  # Somebody else was faster.
        return True
    except OSError:  # A link, or something else that gdispy has not made.
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Locked until it is gone: what has the name afterwards is another file, perhaps of a node that starts.
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
