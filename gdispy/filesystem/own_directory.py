"""Which directory gdispy may use as its own, and that nobody else can write there.

Called by `execution/state_directory.py` and `cli/scheduler.py` at the start of a daemon, before it opens any port.

A directory is gdispy's own where it holds the marker file. It is made where the directory was empty, or held only names
of the form that gdispy gives. Where a user names a directory that holds other files, or one that all may write to and
that protects each one's files (the sticky bit, as /tmp has it), a directory of its own is made below it: so whatever is
in a directory of gdispy's own was put there by gdispy.

Invariant: of no directory that leads to one of gdispy's own can another user (but for the superuser) rename or replace
what is in it.
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

#: In a directory of gdispy's own; and what is written in it.
MARKER = ".gdispy-own"
_EXPLANATION = b"This directory is used by gdispy, which removes from it what ended nodes have left.\n"
#: The directory that is made below one that holds files of others.
BELOW = "gdispy-nodes"
#: What gdispy names in a directory of its own: nodes and their locks, what all share, and journals of schedulers.
_OWN_NAME = re.compile(r"[0-9a-f]{32}(\.lock)?|kept|spool|scheduler-[0-9]{1,5}|\.gdispy-own")
_COMMON_NAMES = frozenset(("kept", "spool"))
#: Symbolic links on the way to one directory at most, as in the kernel.
_LINKS = 40


def own_directory(path: str, option: str) -> str:
    """The directory to use where the user has named `path` by `option`; it is made if need be, with its marker.

    Raises ConfigError, in words for the user: where others could change what is in it, and where it cannot be used.
    """
    try:
        return _prepared(safe_directory(path, option), option)
    except OSError as error:
        raise ConfigError(f"{path} cannot be used: {error.strerror}") from error


def private_directory(path: str, option: str) -> None:
    """Make a directory if need be, into which nobody else may write. Raises ConfigError, in words for the user."""
    try:
        _refuse_shared(safe_directory(path, option), option)
    except OSError as error:
        raise ConfigError(f"{path} cannot be used: {error.strerror}") from error


def is_own(path: str) -> bool:
    """Whether a directory holds the marker."""
    try:
        about = os.lstat(os.path.join(path, MARKER))
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()


def safe_directory(path: str, option: str) -> str:
    """Make a directory if need be, for this user alone; where it really is. Others may be able to write to the
    directory itself; see `shared_with`.

    Raises ConfigError where others could put another directory in its place, and OSError.
    """
    try:
        for step, about in _steps(os.path.abspath(path)):
            _refuse_replaceable(path, step, about, option)
    except ValueError as error:  # It holds a NUL byte.
        raise ConfigError(f"{path!r} is not a valid directory name: {error}") from error
    return os.path.realpath(path)


def _prepared(path: str, option: str, is_below: bool = False) -> str:
    """The directory itself, marked, or one below it."""
    about = os.stat(path)
    # Where the sticky bit protects what is in it, a directory below is safe, but the directory itself is not: another
    # could have made there what gdispy looks for.
    if shared_with(about) and not is_below and about.st_mode & stat.S_ISVTX:
        return _below(path, option)
    _refuse_shared(path, option)
    if is_own(path):
        return path
    found = os.listdir(path)
    others = sorted(name for name in found if not _OWN_NAME.fullmatch(name))
    # A user may well call a directory so; gdispy makes those only beside others of its own.
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
    with contextlib.suppress(FileExistsError):  # Another node that starts was faster.
        fd = os.open(os.path.join(path, MARKER), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, _EXPLANATION)
        finally:
            os.close(fd)


def shared_with(about: os.stat_result) -> str:
    """Which others may write to a directory, in words; '' for nobody. A group counts, whoever is in it now, unless it
    is this user's own: many systems give each user one, and let it write to what the user makes."""
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
    """Each directory and symbolic link on the way to a directory, and itself; what is not there is made. Raises
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
    """Raise ConfigError where others decide what is at `step`, or what a name in it stands for."""
    trusted = {0, os.geteuid(), os.lstat("/").st_uid}
    where = path if step == os.path.abspath(path) else f"{step}, on the way to {path},"
    if about.st_uid not in trusted:
        raise ConfigError(f"{where} belongs to another user: choose another {option}")
    writers = shared_with(about) if stat.S_ISDIR(about.st_mode) else ""
    if writers and not about.st_mode & stat.S_ISVTX:
        advice = f"run chmod go-w {step} (or chmod +t, where all are to write there), or choose another {option}"
        raise ConfigError(f"{writers} can write to {where} and so replace it: {advice}")
