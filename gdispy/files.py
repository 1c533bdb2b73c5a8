"""Files of computations and of single jobs, put in place in the directory of a computation.

Floor 2. Called by `workers.py`. What arrives lies on the node's disk already, under a name of its own (`blobs.py`);
here it is checked against what was announced, and moved.

Invariant: a file of a job is there from before the job begins until it has ended, and no longer; one that also
belongs to the computation, or to another job, stays as long as they do.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gdispy.blobs import DIGEST_BYTES, ReceivedFile, digest_of
from gdispy.core.paths import safe_parts
from gdispy.core.payloads import Bulk
from gdispy.errors import ProtocolError


def lacking(directory: str, rows: Sequence[list[Any]]) -> list[int]:
    """The places of the files that are not in the directory with the contents that were announced."""
    return [place for place, row in enumerate(rows) if not _is_there(directory, row)]


def _is_there(directory: str, row: list[Any]) -> bool:
    path, _, _, size, digest = row
    goal = os.path.join(directory, *safe_parts(path))
    try:
        if os.path.islink(goal) or os.lstat(goal).st_size != size:
            return False
        return bool(digest_of(goal) == digest)
    except OSError:
        return False


def refusal(rows: list[list[Any]], contents: list[Bulk]) -> str:
    """Why files are not taken that have arrived, or ''."""
    for row, content in zip(rows, contents, strict=False):  # Contents may follow their rows later.
        if isinstance(content, ReceivedFile) and content.error:
            return f"the file {row[0]!r} is refused: {content.error}"
    return ""


def place(directory: str, row: list[Any], content: Bulk, again: bool = False) -> str:
    """Put one file where it belongs, and check that it is what was announced; returns where it is. With `again`,
    the same contents can be put in place another time.

    Raises ProtocolError, in words for the user, and OSError.
    """
    path, mode, modified, size, digest = row
    parts = safe_parts(path)
    folder = directory
    for part in parts[:-1]:
        folder = os.path.join(folder, part)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        if os.path.islink(folder) or not os.path.isdir(folder):
            raise ProtocolError(f"{path!r}: something is in the way")
    goal = os.path.join(folder, parts[-1])
    if not isinstance(content, ReceivedFile):
        raise ProtocolError(f"{path!r}: it did not arrive as a file")
    if content.error:
        raise ProtocolError(refusal([row], [content]))
    if content.size != size or content.digest != digest or len(digest) != DIGEST_BYTES:
        raise ProtocolError(f"the file {path!r} changed while it was sent")
    os.chmod(content.path, mode & 0o777 & ~0o077)
    os.utime(content.path, (modified, modified))
    name = content.path
    if again:
        name += ".link"
        os.link(content.path, name)
    os.replace(name, goal)
    return goal


class JobFiles:
    """The files that belong to single jobs of one computation."""

    def __init__(self, directory: str, kept: Sequence[list[Any]]) -> None:
        self._directory = directory
        #: Files of the computation itself, which no job's end removes.
        self._kept = {os.path.join(directory, *safe_parts(row[0])) for row in kept}
        self._users: Counter[str] = Counter()
        self._of_job: dict[tuple[int, int], list[str]] = {}

    def place(self, key: tuple[int, int], rows: Sequence[list[Any]], contents: Sequence[Bulk]) -> str:
        """Put the files of a job in place; what went wrong, or ''."""
        mine = self._of_job.setdefault(key, [])
        try:
            for row, content in zip(rows, contents, strict=True):
                goal = place(self._directory, row, content, again=True)
                mine.append(goal)
                self._users[goal] += 1
        except (OSError, ProtocolError) as error:
            return f"The files of the job cannot be put in place: {error}\n"
        return ""

    def remove(self, key: tuple[int, int]) -> None:
        """The job has ended."""
        for goal in self._of_job.pop(key, ()):
            self._users[goal] -= 1
            if self._users[goal] <= 0:
                del self._users[goal]
                if goal not in self._kept:
                    self._unlink(goal)

    def _unlink(self, goal: str) -> None:
        """Remove a file, what Python has compiled of it, and the directories that have nothing else."""
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
            while folder != self._directory:
                os.rmdir(folder)
                folder = os.path.dirname(folder)
