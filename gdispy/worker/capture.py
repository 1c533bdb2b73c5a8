"""What a job prints, caught at the level of file descriptors 1 and 2.

Floor 1. Used by a worker around each job. The two files are made by the node, which looks at
their size while the job runs and frees what will not be kept, so a job that prints without end costs
no memory without end. C code and child processes write to the same descriptors, so their output is here too.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from gdispy.worker.processes import flush_c_output, free_memory

#: Of each stream, this many bytes from its beginning and as many from its end are kept.
KEPT = 4 * 1024 * 1024


class Capture:
    """The files behind descriptors 1 and 2 of this process."""

    def __init__(self, out: int, err: int) -> None:
        # Private copies: a job may close 1 and 2, or point them elsewhere.
        self.files = (out, err)
        self._restore_streams()

    def begin(self) -> None:
        """Point 1 and 2 at the files again, whatever the last job did to them."""
        os.dup2(self.files[0], 1)
        os.dup2(self.files[1], 2)
        if sys.stdout is not self._out or sys.stderr is not self._err:
            sys.stdout, sys.stderr = self._out, self._err

    def end(self) -> tuple[bytes, bytes, bool]:
        """What was printed since `begin`: stdout, stderr, and whether something was left out."""
        try:
            self._out.flush()
            self._err.flush()
        except (ValueError, OSError):
            self._mend()
        flush_c_output()
        lseek = os.lseek
        out, err = self.files
        if not lseek(out, 0, os.SEEK_END) and not lseek(err, 0, os.SEEK_END):
            return b"", b"", False
        printed, cut_out = _take(out)
        complained, cut_err = _take(err)
        return printed, complained, cut_out or cut_err

    def _mend(self) -> None:
        """The job has closed its descriptors, or what writes to them; what it had printed before is still to come."""
        os.dup2(self.files[0], 1)
        os.dup2(self.files[1], 2)
        for stream in (self._out, self._err):
            with contextlib.suppress(ValueError, OSError):
                stream.flush()
        self._restore_streams()

    def _restore_streams(self) -> None:
        self._out = _stream(1)
        self._err = _stream(2)
        sys.stdout, sys.stderr = self._out, self._err
        # Typed as constants, but what is printed at exit or by pdb goes there.
        setattr(sys, "__stdout__", self._out)  # noqa: B010
        setattr(sys, "__stderr__", self._err)  # noqa: B010


def _stream(fd: int) -> TextIO:
    return open(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _take(fd: int) -> tuple[bytes, bool]:
    size = os.lseek(fd, 0, os.SEEK_END)
    if size <= 2 * KEPT:
        data, cut = os.pread(fd, size, 0), False
    else:
        left_out = size - 2 * KEPT
        note = b"\n[gdispy: %d bytes of output left out here]\n" % left_out
        data = os.pread(fd, KEPT, 0) + note + os.pread(fd, KEPT, size - KEPT)
        cut = True
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
    return data, cut


def keep_within_limit(fd: int) -> None:
    """Give back the memory of what will be left out of a file that a running job fills; for the node.

    The file keeps its length, so what the job writes meanwhile stays where it is.
    """
    size = os.fstat(fd).st_size
    if size > 4 * KEPT:
        free_memory(fd, KEPT, size - 2 * KEPT)
