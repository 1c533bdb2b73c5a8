"""Files that a job sends to its client (`dispy_send_file`): written below the client's working directory.

Floor 2. Called by `client.py` in the hub; files are written apart from it. A file is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from typing import Any

from gdispy.core.messages import JobId, Upload
from gdispy.core.paths import safe_parts
from gdispy.core.payloads import Bulk, bulk_size
from gdispy.errors import ForkedError, ProtocolError
from gdispy.hub import Hub

#: Bytes copied at once.
_PIECE = 1 << 20


def store(root: str, row: list[Any], content: Bulk) -> str:
    """Write a file to its path below `root`; what went wrong, or ''. `row` as in `Prepare.files`."""
    path, mode, modified, size, _ = row
    if bulk_size(content) != size:
        return f"the file {path} changed while it was sent"
    try:
        folder = root
        for part in safe_parts(path)[:-1]:
            folder = os.path.join(folder, part)
            if os.path.islink(folder):
                return f"the file {path} would leave the client's directory"
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
        _write(os.path.join(folder, safe_parts(path)[-1]), content, mode, modified)
    except ProtocolError as error:
        return str(error)
    except OSError as error:
        return f"the file {path} cannot be written at the client: {error.strerror}"
    return ""


def _write(goal: str, content: Bulk, mode: int, modified: float) -> None:
    fd, name = tempfile.mkstemp(prefix=".gdispy-", dir=os.path.dirname(goal))
    try:
        with open(fd, "wb") as file:
            _copy(content, file)
        os.chmod(name, mode & 0o777)
        os.utime(name, (modified, modified))
        os.replace(name, goal)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _copy(content: Bulk, file: Any) -> None:
    if isinstance(content, bytes):
        file.write(content)
        return
    offset = 0
    while offset < content.size:
        piece = content.read(offset, _PIECE)
        if not len(piece):
            return
        file.write(piece)
        offset += len(piece)


class ReceivedFiles:
    """The files that the jobs of one cluster send. Taken in the hub, and written apart from it."""

    def __init__(self, hub: Hub, answer: Callable[[JobId, int, int, str], None]) -> None:
        self._hub = hub
        #: Called in the hub with what identifies a file, and what is wrong, or ''.
        self._answer = answer
        #: Those that are written: (job, attempt, number).
        self._stored: set[tuple[int, int, int]] = set()

    def take(self, upload: Upload) -> None:
        """Write a file below the working directory, once, also where it is sent again after a break."""
        if (upload.job, upload.attempt, upload.number) in self._stored:
            self._answer(upload.job, upload.attempt, upload.number, "")
            return
        self._hub.prepare_errands()
        self._hub.errand(self._store, upload)

    def _store(self, upload: Upload) -> None:
        error = store(os.getcwd(), upload.files[0], upload.contents[0]) if upload.files else "no file came"
        if not error:
            self._stored.add((upload.job, upload.attempt, upload.number))
        with contextlib.suppress(ForkedError):
            self._hub.post(self._answer, upload.job, upload.attempt, upload.number, error)
