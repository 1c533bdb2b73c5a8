"""Standard input, output and error of a command, with handling for closed streams, full disks and closed pipes.

Set up before a command opens any file.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from gevent.monkey import get_original

from gdispy.cli.options import EXIT_FAILED, fail
from gdispy.errors import GdispyError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_CLOSED = "standard output was closed before all output was written"


class OutputLost(GdispyError):
    """Standard output could not be written."""


class _Output(io.RawIOBase):
    """Output of a command to a file descriptor. After a failed write, all further output is dropped."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        #: The reason of the failed write, or ''.
        self.failure = ""

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        if not self.failure:
            try:
                return self._write(data)
            except BrokenPipeError:
                self.failure = _CLOSED
            except OSError as error:
                self.failure = f"standard output cannot be written: {error.strerror}"
            self.failed()
        return memoryview(data).nbytes

    def _write(self, data: ReadableBuffer) -> int:
        while True:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:  # Another process that shares the terminal made it non-blocking.
                # Blocks all greenlets on purpose: one that prints meanwhile would find the buffer in use.
                get_original("select", "select")([], [self._fd], [])

    def failed(self) -> None:
        """Output was lost for the first time."""


class _StandardOutput(_Output):
    """Standard output: losing it is an error."""

    def check_reader(self) -> None:
        """Raises OutputLost if it is a pipe without a reader, so that the next write will fail."""
        if not self.failure and has_no_reader(self._fd):
            self.failure = _CLOSED
            self.failed()

    def failed(self) -> None:
        raise OutputLost(self.failure)


def has_no_reader(fd: int) -> bool:
    """Whether this is a pipe or socket whose other end is closed."""
    poll = get_original("select", "poll")()
    poll.register(fd, 0)  # Errors are always reported.
    mode = os.fstat(fd).st_mode
    return (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and bool(poll.poll(0))


def check_standard_output() -> None:
    """Raises OutputLost if standard output has no reader any more."""
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(output, _StandardOutput):
        output.check_reader()


def is_lost(stream: TextIO) -> bool:
    """Whether what is written to `sys.stderr` is dropped, since a write has failed."""
    output = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(output, _Output) and bool(output.failure)


def guarded(program: str, command: Callable[[], int]) -> int:
    """Run a command; returns its exit code. Lost output is reported in one line on standard error and is a failure."""
    has_output = sys.stdout is not None
    _open_closed_ones()
    output, errors = _StandardOutput(1), _Output(2)
    sys.stdout, sys.stderr = _text(output, sys.stdout), _text(errors, sys.stderr)
    if not has_output:
        return fail(program, OutputLost("standard output is closed: redirect it, for example to /dev/null"))
    code: object = EXIT_FAILED
    try:
        code = command()
    except SystemExit as end:  # From argparse, which has printed its message.
        code = end.code or 0
    except OutputLost as error:
        return fail(program, error)
    try:
        sys.stdout.flush()
    except OutputLost as error:
        return fail(program, error)
    number = code if isinstance(code, int) else EXIT_FAILED
    return EXIT_FAILED if not number and (output.failure or errors.failure) else number


def _open_closed_ones() -> None:
    """Open closed standard streams on /dev/null, so that no later file gets their descriptors."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            found = os.open(os.devnull, os.O_RDWR)  # Gets the lowest free descriptor, which is `fd`.
            os.set_inheritable(found, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)


def _text(output: _Output, former: TextIO | None) -> io.TextIOWrapper:
    # A character that the encoding lacks is written as an escape, which is better than losing the line.
    by_lines = output.isatty() or output.fileno() == 2
    encoding = former.encoding if former is not None else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(output), encoding, errors="backslashreplace", line_buffering=by_lines)
