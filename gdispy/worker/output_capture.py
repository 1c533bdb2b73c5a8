"""Captures the output of a job at file descriptors 1 and 2.

The node creates the first two files, checks their size while the job runs, and frees parts that will not be kept, so a
job with endless output uses bounded memory. C code and child processes write to the same descriptors, so their output
is included.

The files are in memory if little is kept, and else on disk, without names. Small output is sent in the frame; for large
output the file itself is passed, and replaced by a new one, so nothing is copied and no memory is needed for it.

On disk, writes fail when the disk is full, and many programs do not notice. So a job whose output may be incomplete has
failed: at its end there must be room for more output, and the node must not have found the disk full while it ran.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import sys
import tempfile
from typing import NamedTuple, TextIO

from gdispy.worker import control
from gdispy.worker.frames import INLINE
from gdispy.worker.originals import os
from gdispy.worker.process_tree import flush_c_output, free_memory
from gdispy.worker.shared_page import FULL

#: If more than this many bytes of a stream may be kept, its file is on disk.
MEMORY_LIMIT = 64 * 1024 * 1024
#: Bytes that are copied at once.
_STEP = 1024 * 1024


class Output(NamedTuple):
    """One output stream of a job."""

    #: Its bytes; or the size of the first of the files. With a negative size, there is no second file, which replaces
    #: it for later jobs.
    shown: bytes | int
    files: tuple[int, ...] = ()
    #: Number of dropped bytes.
    left_out: int = 0


_NOTHING = Output(b"")


def is_on_disk(limit: int) -> bool:
    """Whether the files are on disk if this number of bytes of a stream may be kept."""
    return limit > MEMORY_LIMIT


def capture_file(limit: int, directory: str) -> int:
    """A file for a stream of which `limit` bytes may be kept; writes append. Raises OSError."""
    if not is_on_disk(limit):
        return control.memory_file("gdispy-output")
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(directory, flags | os.O_TMPFILE, 0o600)
    except OSError:  # The file system does not support it.
        fd, path = tempfile.mkstemp(dir=directory)
        os.close(fd)
        fd = os.open(path, flags)
        os.unlink(path)
        return fd


class Capture:
    """The files behind descriptors 1 and 2 of this process."""

    def __init__(self, out: int, err: int, limit: int, directory: str, words: memoryview) -> None:
        """`words` are those of the page that is shared with the node."""
        #: `sys.stdout` and `sys.stderr` for jobs.
        self.out: TextIO
        self.err: TextIO
        # Duplicates: a job may close or redirect 1 and 2.
        self.files = (out, err)
        self._limit = limit
        self._directory = directory
        self._words = words
        self._is_on_disk = is_on_disk(limit)
        #: Why the output of the last job may be incomplete, or ''.
        self.flaw = ""
        #: Whether each line is written at once, for a client that follows jobs.
        self._is_live = False
        self._restore_streams()

    def begin(self) -> None:
        """Restore 1 and 2, after any change by the last job."""
        os.dup2(self.files[0], 1)
        os.dup2(self.files[1], 2)
        if sys.stdout is not self.out or sys.stderr is not self.err:
            self.put_streams_back()

    def put_streams_back(self) -> None:
        """Undo assignments of a job to `sys.stdout` and `sys.stderr`. A replaced object is flushed."""
        sys.stdout, sys.stderr = self.out, self.err

    def go_live(self) -> None:
        """Write what is buffered, and from now on each line at once. Raises RuntimeError if a signal has interrupted
        such a write."""
        if not self._is_live:
            self.out.reconfigure(line_buffering=True)  # type: ignore[attr-defined]
            self.err.reconfigure(line_buffering=True)  # type: ignore[attr-defined]
            self._is_live = True

    def end(self) -> tuple[Output, Output]:
        """The output since `begin`: stdout and stderr."""
        try:
            self.out.flush()
            self.err.flush()
        except (ValueError, OSError):
            self._mend()
        flush_c_output()
        if self._is_on_disk:
            self.flaw = self._find_flaw()
        lseek = os.lseek
        out, err = self.files
        if not lseek(out, 0, os.SEEK_END) and not lseek(err, 0, os.SEEK_END):
            return _NOTHING, _NOTHING
        return self._take(out), self._take(err)

    def _find_flaw(self) -> str:
        reason = no_room(self.files[0])
        if not reason and self._words[FULL]:
            reason = "No space left on device, while the job was running"
        self._words[FULL] = 0
        if not reason:
            return ""
        return f"The output of the job is incomplete: it cannot be written to {self._directory} on its node: {reason}\n"

    def drop(self) -> None:
        """Output of threads after `end` is discarded."""
        for stream in (self.out, self.err):
            with contextlib.suppress(ValueError, OSError):
                stream.flush()
        for fd in self.files:
            _empty(fd)

    def _take(self, fd: int) -> Output:
        size = os.lseek(fd, 0, os.SEEK_END)
        if size <= min(INLINE, self._limit):
            data = os.pread(fd, size, 0)
            _empty(fd)
            return Output(data)
        if size <= self._limit:
            return self._hand_over(fd, size)
        left_out = size - self._limit
        parts = capture_file(self._limit, self._directory)
        length = self._copy_parts(fd, size, parts)
        _empty(fd)
        if length > INLINE:
            return Output(-length, (parts,), left_out)
        data = os.pread(parts, length, 0)
        os.close(parts)
        return Output(data, (), left_out)

    def _hand_over(self, fd: int, size: int) -> Output:
        """Hand the file over, and use another for its descriptor."""
        given = os.dup(fd)
        try:
            fresh = capture_file(self._limit, self._directory)
        except OSError:  # No room for one more file. The next job needs some.
            fresh = control.memory_file("gdispy-output")
        os.dup2(fresh, fd, inheritable=False)
        for standard, own in zip((1, 2), self.files, strict=True):
            if own == fd:  # What it holds on disk or in memory is not to be kept for its sake.
                os.dup2(fd, standard)
        return Output(size, (given, fresh))

    def _copy_parts(self, fd: int, size: int, goal: int) -> int:
        """Copy the first and last parts, with a note about dropped bytes; returns their size."""
        last = self._limit // 2
        note = left_out_note(size - self._limit)
        _copy(fd, 0, self._limit - last, goal)
        os.write(goal, note)
        _copy(fd, size - last, last, goal)
        return self._limit + len(note)

    def _mend(self) -> None:
        """The job has closed its descriptors or streams; its earlier output is still included."""
        os.dup2(self.files[0], 1)
        os.dup2(self.files[1], 2)
        for stream in (self.out, self.err):
            with contextlib.suppress(ValueError, OSError):
                stream.flush()
        self._restore_streams()

    def _restore_streams(self) -> None:
        self.out = _stream(1, self._is_live)
        self.err = _stream(2, self._is_live)
        sys.stdout, sys.stderr = self.out, self.err
        # Typed as constants, but what is printed at exit or by pdb goes there.
        setattr(sys, "__stdout__", self.out)  # noqa: B010
        setattr(sys, "__stderr__", self.err)  # noqa: B010


def left_out_note(count: int) -> bytes:
    """The text in place of bytes that are not kept."""
    return b"\n[gdispy: %d bytes of output left out here]\n" % count


def _stream(fd: int, is_live: bool) -> TextIO:
    return open(fd, "w", 1 if is_live else -1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _empty(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)


def _copy(fd: int, offset: int, length: int, goal: int) -> None:
    while length > 0:
        data = os.pread(fd, min(length, _STEP), offset)
        if not data:
            return
        offset += len(data)
        length -= len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(goal, view) :]


def no_room(fd: int) -> str:
    """Why no more can be written to a file that is appended to, or ''.

    Writes a page: the end of the last page is writable on a full disk, too, and only a write meets quotas.
    """
    size = os.lseek(fd, 0, os.SEEK_END)
    try:
        if os.write(fd, bytes(mmap.PAGESIZE)) < mmap.PAGESIZE:
            return os.strerror(errno.ENOSPC)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.ftruncate(fd, size)
    return ""


def keep_within_limit(fd: int, limit: int) -> None:
    """Free the memory, or disk space, of parts that will be dropped of a running job's output; for the node.

    The file keeps its length, so concurrent writes of the job keep their offsets.
    """
    size = os.fstat(fd).st_size
    if size > 2 * limit:
        last = limit // 2
        free_memory(fd, limit - last, size - limit)
