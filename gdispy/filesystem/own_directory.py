"""Selects directories for gdispy's files, and ensures that no other user can write there.

Must be called at the start of a daemon, before it opens any port.

A directory belongs to gdispy if it contains the marker file, which is created if the directory was empty, or contained
only names of the form that gdispy uses. If a user names a directory with other files, or one that all users may write
to and that protects their files (the sticky bit, as in /tmp), a subdirectory is created: so everything in a directory
that belongs to gdispy was put there by gdispy.

Invariant: no other user (except the superuser) can rename or replace anything on the path to a directory that belongs
to gdispy.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import logging
import os
import pwd
import re
import stat
from collections import deque
from collections.abc import Iterator

from gdispy.errors import ConfigError

logger = logging.getLogger(__name__)

#: In a directory that belongs to gdispy; and its contents.
MARKER = ".gdispy-own"
_EXPLANATION = b"This directory is used by gdispy, which removes from it what ended nodes have left.\n"
#: The subdirectory that is created in one with other files.
BELOW = "gdispy-nodes"
#: Names that gdispy uses in its directories: nodes and their locks, shared directories, and journals of schedulers.
_OWN_NAME = re.compile(r"[0-9a-f]{32}(\.lock)?|kept|spool|scheduler-[0-9]{1,5}|\.gdispy-own")
_COMMON_NAMES = frozenset(("kept", "spool"))
#: Maximum number of symbolic links on a path, as in the kernel.
_LINKS = 40


def own_directory(path: str, option: str) -> str:
    """The directory to use if the user has named `path` by `option`; it is created if necessary, with its marker.

    Raises ConfigError, with a text for the user, if others could change its contents, and if it cannot be used.
    """
    try:
        return _prepared(safe_directory(path, option), option)
    except OSError as error:
        raise ConfigError(f"{path} cannot be used: {error.strerror}") from error


def private_directory(path: str, option: str) -> None:
    """Create a directory if necessary, to which no other user may write. Raises ConfigError, with a text for the
    user."""
    try:
        _refuse_shared(safe_directory(path, option), option)
    except OSError as error:
        raise ConfigError(f"{path} cannot be used: {error.strerror}") from error


def is_own(path: str) -> bool:
    """Whether a directory contains the marker."""
    try:
        about = os.lstat(os.path.join(path, MARKER))
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()


def safe_directory(path: str, option: str) -> str:
    """Create a directory if necessary, for this user alone; returns its real path. Others may be able to write to the
    directory itself; see `shared_with`.

    Raises ConfigError if others could replace the directory, and OSError.
    """
    try:
        for step, about in _steps(os.path.abspath(path)):
            _refuse_replaceable(path, step, about, option)
    except ValueError as error:  # It contains a NUL byte.
        raise ConfigError(f"{path!r} is not a valid directory name: {error}") from error
    return os.path.realpath(path)


def _prepared(path: str, option: str, is_below: bool = False) -> str:
    """The directory itself, marked, or one below it."""
    about = os.stat(path)
    # If the sticky bit protects its contents, a subdirectory is safe, but the directory itself is not: others could
    # have created the names that gdispy looks for.
    if shared_with(about) and not is_below and about.st_mode & stat.S_ISVTX:
        return _below(path, option)
    _refuse_shared(path, option)
    if is_own(path):
        return path
    found = os.listdir(path)
    others = sorted(name for name in found if not _OWN_NAME.fullmatch(name))
    # A user's directory may have such a name; gdispy creates it only beside its other names.
    others = others or (sorted(found) if _COMMON_NAMES.issuperset(found) else [])
    if others and is_below:
        raise ConfigError(
            f"{path} contains files that gdispy did not create, such as {others[0]!r}: choose another {option}"
        )
    if others:
        return _below(path, option)
    _mark(path)
    return path


def _refuse_shared(path: str, option: str) -> None:
    about = os.stat(path)
    if not stat.S_ISDIR(about.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if about.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to another user: choose another {option}")
    writers = shared_with(about)
    if writers:
        raise ConfigError(f"{writers} can write to {path}: run chmod go-w {path}, or choose another {option}")


def _below(path: str, option: str) -> str:
    logger.info("%s contains other files, or other users can write to it: nodes use %s in it", path, BELOW)
    return _prepared(safe_directory(os.path.join(path, BELOW), option), option, is_below=True)


def _mark(path: str) -> None:
    with contextlib.suppress(FileExistsError):  # Another starting node was faster.
        fd = os.open(os.path.join(path, MARKER), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, _EXPLANATION)
        finally:
            os.close(fd)


def shared_with(about: os.stat_result) -> str:
    """The others who may write to a directory, as text; '' for none. A group counts, whatever its members, unless it is
    this user's primary group: many systems give each user a private group with write permission."""
    if about.st_mode & stat.S_IWOTH:
        return "all users"
    return "a group" if about.st_mode & stat.S_IWGRP and not _is_own_group(about.st_gid) else ""


def _is_own_group(gid: int) -> bool:
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    is_private = user.pw_uid != 0 and user.pw_gid == gid and group.gr_name == user.pw_name
    return is_private and not set(group.gr_mem) - {user.pw_name}


def _steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Each directory and symbolic link on the path to a directory, and the directory; missing ones are created. Raises
    OSError."""
    rest = deque(part for part in path.split("/") if part)
    here, links = "/", 0
    while True:
        yield here, os.lstat(here)
        while rest and rest[0] in (".", ".."):
            here = os.path.dirname(here) if rest.popleft() == ".." else here
        if not rest:
            return
        step = os.path.join(here, rest.popleft())
        with contextlib.suppress(FileExistsError):
            if not os.path.lexists(step):
                os.mkdir(step, 0o700)
        about = os.lstat(step)
        if not stat.S_ISLNK(about.st_mode):
            here = step
            continue
        yield step, about
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink(step)
        rest.extendleft(reversed([part for part in target.split("/") if part]))
        here = "/" if target.startswith("/") else here


def _refuse_replaceable(path: str, step: str, about: os.stat_result, option: str) -> None:
    """Raise ConfigError if others can replace `step`, or names in it."""
    trusted = {0, os.geteuid(), os.lstat("/").st_uid}
    where = path if step == os.path.abspath(path) else f"{step}, on the way to {path},"
    if about.st_uid not in trusted:
        raise ConfigError(f"{where} belongs to another user: choose another {option}")
    writers = shared_with(about) if stat.S_ISDIR(about.st_mode) else ""
    if writers and not about.st_mode & stat.S_ISVTX:
        advice = f"run chmod go-w {step} (or chmod +t, where all are to write there), or choose another {option}"
        raise ConfigError(f"{writers} can write to {where} and so replace it: {advice}")
