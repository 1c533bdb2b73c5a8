"""Stores files of computations and of single jobs in the directory of a computation.

Arrived files are on the node's disk already, under a temporary name (`buffers/memory_file.py`); here they are checked
against the announcement, and moved.

Invariant: a file of a job exists from before the job starts until it has ended; one that also belongs to the
computation, or to another job, exists as long as they do. If their contents differ, the job runs in a separate
directory (`worker/job_directory.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence

from gdispy.buffers.memory_file import DIGEST_BYTES, ReceivedFile, digest_of_file
from gdispy.errors import ProtocolError
from gdispy.filesystem.no_follow import open_file, opened_folder
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import FileFields, FileRow
from gdispy.protocol.safe_path import safe_parts

#: Size of the names of a job's files that are sent to a worker with the job.
NAMES_LIMIT = 16 * 1024


def lacking(directory: str, rows: Sequence[FileFields]) -> list[int]:
    """The indices of the files that do not exist in the directory with the announced contents."""
    return [place for place, row in enumerate(rows) if not _is_there(directory, row)]


def _is_there(directory: str, row: FileFields) -> bool:
    path, _, _, size, digest = FileRow._make(row)
    *folders, name = safe_parts(path)
    try:
        with opened_folder(directory, folders) as folder, open(open_file(folder, name), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size != size:
                return False
            return bool(digest_of_file(file) == digest)
    except OSError:
        return False


def refusal(rows: Sequence[FileFields], contents: list[Bulk]) -> str:
    """Why arrived files are not accepted, or ''."""
    for row, content in zip(rows, contents, strict=False):  # Contents may follow their rows later.
        if isinstance(content, ReceivedFile) and content.error:
            return f"the file {FileRow._make(row).path!r} is refused: {content.error}"
    return ""


def place(directory: str, row: FileFields, content: Bulk, again: bool = False) -> str:
    """Move one file to its path, and check that it has the announced contents; returns the path. With `again`, the same
    contents can be stored another time.

    Raises ProtocolError, with a text for the user, and OSError.
    """
    path, mode, modified, size, digest = FileRow._make(row)
    parts = safe_parts(path)
    if not isinstance(content, ReceivedFile):
        raise ProtocolError(f"{path!r}: it was not received as a file")
    if content.error:
        raise ProtocolError(refusal([row], [content]))
    if content.size != size or content.digest != digest or len(digest) != DIGEST_BYTES:
        raise ProtocolError(f"the file {path!r} changed while it was sent")
    try:
        with opened_folder(directory, parts[:-1], 0o700) as folder:
            _move(content.path, folder, parts[-1], mode & 0o700, modified, again)
    except NotADirectoryError:
        raise ProtocolError(f"{path!r}: a file or symbolic link is in the way") from None
    return os.path.join(directory, *parts)


def _move(path: str, folder: int, name: str, mode: int, modified: float, again: bool) -> None:
    """Move a file into a folder; with `again` the source is kept, too. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(fd, mode)
        os.utime(fd, (modified, modified))
    finally:
        os.close(fd)
    if not again:
        os.replace(path, name, dst_dir_fd=folder)
        return
    link = f"{path}.link"
    os.link(path, link, follow_symlinks=False)
    try:
        os.replace(link, name, dst_dir_fd=folder)
    finally:
        with contextlib.suppress(FileNotFoundError):  # The source already has that name.
            os.unlink(link)


def place_all(directory: str, rows: Sequence[FileFields], contents: Sequence[Bulk]) -> str:
    """Store the files of a job in a separate directory; returns the error, or ''."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for row, content in zip(rows, contents, strict=True):
            place(directory, row, content, again=True)
    except (OSError, ProtocolError) as error:
        return _cannot_be_placed(error)
    return ""


def _cannot_be_placed(error: Exception) -> str:
    return f"The files of the job cannot be stored: {error}\n"


class JobFiles:
    """The files of single jobs of one computation, in the directory that all of its jobs share."""

    def __init__(self, directory: str, kept: Sequence[FileFields], is_used: Callable[[str], bool]) -> None:
        self._directory = directory
        #: Whether a computation needs a file.
        self._is_used = is_used
        #: Files of the computation itself, which the end of a job does not remove, with their digests.
        self._kept = {os.path.join(directory, *safe_parts(row.path)): row.digest for row in map(FileRow._make, kept)}
        #: The same for unfinished jobs.
        self._contents: dict[str, bytes] = {}
        self._users: Counter[str] = Counter()
        self._of_job: dict[tuple[int, int], list[str]] = {}

    def fit(self, rows: Sequence[FileFields]) -> bool:
        """Whether these files can be stored now: their names are not in use, and fit into a message."""
        for path, _, _, _, digest in map(FileRow._make, rows):
            try:
                goal = os.path.join(self._directory, *safe_parts(path))
            except ProtocolError:  # `place` reports the error.
                return True
            there = self._kept.get(goal) or self._contents.get(goal)
            if there is None and os.path.lexists(goal):
                return False
            if there not in (None, digest):
                return False
        return sum(len(row.path) + 8 for row in map(FileRow._make, rows)) <= NAMES_LIMIT

    def place(self, key: tuple[int, int], rows: Sequence[FileFields], contents: Sequence[Bulk]) -> str:
        """Store the files of a job; returns the error, or ''."""
        mine = self._of_job.setdefault(key, [])
        try:
            for row, content in zip(rows, contents, strict=True):
                goal = place(self._directory, row, content, again=True)
                mine.append(goal)
                self._users[goal] += 1
                self._contents[goal] = FileRow._make(row).digest
        except (OSError, ProtocolError) as error:
            return _cannot_be_placed(error)
        return ""

    def check(self, directory: str, rows: Sequence[FileFields]) -> None:
        """Raise ProtocolError if files of another computation conflict with those of jobs."""
        for path, _, _, _, digest in map(FileRow._make, rows if self._contents else ()):
            if self._contents.get(os.path.join(directory, *safe_parts(path)), digest) != digest:
                raise ProtocolError(
                    f"the file {path!r} already exists with different contents, for a job in the same dest_path"
                )

    def remove(self, key: tuple[int, int]) -> None:
        """The job has ended."""
        for goal in self._of_job.pop(key, ()):
            self._users[goal] -= 1
            if self._users[goal] <= 0:
                del self._users[goal], self._contents[goal]
                if goal not in self._kept and not self._is_used(goal):
                    remove_file(self._directory, goal)


def remove_file(directory: str, goal: str) -> None:
    """Remove a file below a directory, its compiled file, and the directories in between that become empty."""
    folder, name = os.path.split(goal)
    compiled = os.path.join(folder, "__pycache__")
    with contextlib.suppress(OSError):
        os.unlink(goal)
    if name.endswith(".py"):
        with contextlib.suppress(OSError):
            for each in os.listdir(compiled):
                if each.startswith(f"{name[:-3]}."):
                    os.unlink(os.path.join(compiled, each))
            os.rmdir(compiled)
    with contextlib.suppress(OSError):
        while folder != directory:
            os.rmdir(folder)
            folder = os.path.dirname(folder)


#: Numbers renamed directories.
_removals = itertools.count()


def under_another_name(directory: str) -> str:
    """Rename a directory to be removed: the same computation may arrive again meanwhile. Raises OSError."""
    gone = f"{directory}.gone-{os.getpid()}-{next(_removals)}"
    os.rename(directory, gone)
    return gone
