"""The files into which a worker's jobs print, as the node sees them.

Used in the node's loop. The worker has the same files behind its descriptors 1 and 2 (`worker/output_capture.py`): it
empties them after each job, or hands them over and gets others.

Invariant: what is not kept of a job's output is freed at each `trim`, so a job with endless output uses bounded memory.
"""

from __future__ import annotations

import os
from collections import deque

from gdispy.buffers.memory_file import in_memory_file, printed_file
from gdispy.execution.followed_job import FollowedJob
from gdispy.protocol.ids import JobId
from gdispy.protocol.payload import Bulk
from gdispy.rules.node.outcome import Printout
from gdispy.worker import control
from gdispy.worker.frames import INLINE
from gdispy.worker.output_capture import capture_file, is_on_disk, keep_within_limit, left_out_note
from gdispy.worker.shared_page import FULL, Page

#: Free bytes below which a write may fail.
_NO_ROOM = 64 * 1024


class WorkerOutput:
    """The output of one worker."""

    def __init__(self, limit: int, directory: str) -> None:
        self._limit, self.directory = limit, directory
        self._is_on_disk = is_on_disk(limit)
        #: Bytes on disk at the last look.
        self._size = 0
        self.out, self.err = (capture_file(limit, directory) for _ in range(2))
        #: The file into which the worker writes its Python stacks on a signal.
        self.stacks = control.memory_file("gdispy-stacks")
        #: Its job whose output is reported, or the last that was.
        self.followed: FollowedJob | None = None

    def files(self) -> list[int]:
        """The descriptors for the worker."""
        return [self.out, self.err, self.stacks]

    def close(self) -> None:
        control.close_all(self.files())

    def follow(self, job: JobId, attempt: int, page: Page) -> None:
        """Report the output of the running job, from its beginning."""
        self.followed = FollowedJob(job, attempt, page, self._limit)

    def trim(self) -> None:
        """Free what will not be kept of the output of the running job."""
        keep_within_limit(self.out, self._limit)
        keep_within_limit(self.err, self._limit)

    def grown_to(self) -> int:
        """The bytes on disk of the output of the running job, if they are more than at the last call; else 0."""
        if not self._is_on_disk:
            return 0
        before, self._size = self._size, sum(512 * os.fstat(fd).st_blocks for fd in (self.out, self.err))
        return self._size if self._size > before else 0

    def look_for_room(self, page: Page) -> None:
        """Tell the worker if what its job prints now may be lost."""
        if self._is_on_disk:
            about = os.statvfs(self.out)
            free = about.f_bavail if os.geteuid() else about.f_bfree  # Root may use what is reserved for it.
            if about.f_blocks and free * about.f_frsize < _NO_ROOM:
                page.words[FULL] = 1

    def take(self, out: bytes | int, err: bytes | int, fds: deque[int]) -> tuple[Bulk, Bulk]:
        """The streams of a job that has ended, as in its frame; `fds` came with the frame."""
        taken_out, self.out = _taken(out, self.out, fds)
        taken_err, self.err = _taken(err, self.err, fds)
        return taken_out, taken_err

    def kept(self) -> Printout:
        """What a job has printed whose worker has exited."""
        sizes = [os.fstat(fd).st_size for fd in (self.out, self.err)]
        left_out = sum(max(0, size - self._limit) for size in sizes)
        return Printout(_read(self.out, self._limit), _read(self.err, self._limit), left_out)


def _taken(shown: bytes | int, capture: int, fds: deque[int]) -> tuple[Bulk, int]:
    """A stream as a payload, and the file for those of later jobs."""
    if isinstance(shown, bytes):
        return shown, capture
    output = printed_file(fds.popleft(), abs(shown))
    if shown > 0:
        os.close(capture)
        capture = fds.popleft()
    return output, capture


def _read(fd: int, limit: int) -> Bulk:
    """All of a stream; or its first and last parts, as the worker would have sent it."""
    size = os.fstat(fd).st_size
    if size > limit:
        last = limit // 2
        parts = [os.pread(fd, limit - last, 0), left_out_note(size - limit), os.pread(fd, last, size - last)]
        data = b"".join(parts)
        return data if len(data) <= INLINE else in_memory_file(data)
    return os.pread(fd, size, 0) if size <= INLINE else printed_file(os.dup(fd), size)
