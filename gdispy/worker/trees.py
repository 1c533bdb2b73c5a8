"""Directory trees of computations and jobs: copying one with shared files, and removing one completely.

Standard library. For workers, the spawner and the node.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import NamedTuple

from gdispy.worker.originals import fcntl, os

#: Maximum size of files that are copied if the file system cannot share their blocks; larger ones are linked.
COPY_LIMIT = 16 * 1024 * 1024
#: Of Linux: share the blocks of another file until one of them is written.
_FICLONE = 0x40049409
#: Prefix of the names of files that have arrived at the node and have no final name yet.
ARRIVED = ".gdispy-"
#: Python's compiled files are of no use elsewhere.
_LEFT_OUT = "__pycache__"


class Link(NamedTuple):
    """A file that another tree only refers to, with its state at that time."""

    path: str
    size: int
    modified: int


class Arrivals:
    """Temporary files of arrivals at the node; those of a job are links to them while they exist."""

    def __init__(self, directory: str = "") -> None:
        self._directory = directory
        self._known: frozenset[int] | None = None

    def has(self, entry: os.DirEntry[str]) -> bool:
        """Whether this is such a link."""
        about = entry.stat(follow_symlinks=False)
        if about.st_nlink < 2 or not self._directory:
            return False
        if self._known is None:  # Imported on demand, since it is rarely needed.
            with os.scandir(self._directory) as entries:
                self._known = frozenset(each.inode() for each in entries if each.name.startswith(ARRIVED))
        return about.st_ino in self._known


_NONE = Arrivals()


def mirror(origin: str, goal: str, linked: str = "", others: Arrivals = _NONE) -> list[Link]:
    """Give the directory `goal` the contents of `origin`, except existing names. Writes in `goal` do not affect
    `origin`: files are copied, and large ones are links to read-only files. Those are returned. The file `linked` of
    the top directory is always linked, and is not returned. Files of `others`, other jobs, are left out.

    Raises OSError.
    """
    links: list[Link] = []
    with os.scandir(origin) as entries:
        for entry in entries:
            place = os.path.join(goal, entry.name)
            if entry.name == _LEFT_OUT:
                continue
            if entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place, 0o700)
                links += mirror(entry.path, place, "", others)
            elif os.path.lexists(place) or others.has(entry):
                continue
            elif entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)
            elif entry.name == linked or not entry.is_file():
                os.symlink(entry.path, place)
            elif not _copied(entry.path, place):
                links.append(_link(entry.path, place))
    return links


def _copied(path: str, goal: str) -> bool:
    """Whether a file could be copied at a reasonable cost."""
    about = os.stat(path)
    with open(path, "rb") as source, open(goal, "xb") as copy:
        try:
            fcntl.ioctl(copy, _FICLONE, source.fileno())
        except OSError:
            if about.st_size > COPY_LIMIT:
                os.unlink(goal)
                return False
            shutil.copyfileobj(source, copy, 1024 * 1024)
        os.fchmod(copy.fileno(), about.st_mode & 0o777)
    os.utime(goal, ns=(about.st_atime_ns, about.st_mtime_ns))
    return True


def _link(path: str, goal: str) -> Link:
    about = os.stat(path)
    if about.st_mode & 0o222:
        os.chmod(path, about.st_mode & 0o555)
    os.symlink(path, goal)
    return Link(path, about.st_size, about.st_mtime_ns)


def changed(links: list[Link]) -> list[str]:
    """Paths of those files that have changed: the superuser may write to any."""
    found = []
    for link in links:
        try:
            about = os.stat(link.path)
        except OSError:
            continue  # It was replaced or removed as a whole, which does not affect processes that have it open.
        if (about.st_size, about.st_mtime_ns) != (link.size, link.modified):
            found.append(link.path)
    return found


def remove_tree(path: str) -> None:
    """Remove a directory with its contents, also against permissions. What cannot be removed stays."""
    if os.path.islink(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    shutil.rmtree(path, ignore_errors=True)
    if not os.path.lexists(path):
        return
    _open_up(path)
    for folder, folders, _ in os.walk(path):
        for name in folders:
            _open_up(os.path.join(folder, name))
    shutil.rmtree(path, ignore_errors=True)


def _open_up(folder: str) -> None:
    """Let the owner remove the contents of a directory; targets of symbolic links are not changed."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
        finally:
            os.close(fd)
