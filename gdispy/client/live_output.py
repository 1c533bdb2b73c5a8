"""What jobs print while they run: `job.follow()`, and `echo=True` of a cluster.

A node reports the output of followed jobs in pieces, which may be lost; the rest is taken from the complete output when
the job ends. `LiveOutput` runs in the hub, `OutputLines` is used in the user's threads.

Invariants:
1. Each line is shown once, in the order of its stream; what is left out is counted in a separate line.
2. A reader that is slow, or was dropped, costs bounded memory, and delays nothing.
"""

from __future__ import annotations

import re
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gdispy.errors import ConfigError
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Printed
from gdispy.protocol.payload import Bulk, bulk_size, joined
from gdispy.runtime.gate import Gate

if TYPE_CHECKING:
    from gdispy.client.job import DispyJob

#: The streams, by the numbers that `Printed` has.
STREAMS = {1: "stdout", 2: "stderr"}
#: Lines that wait for a reader; further ones replace the oldest.
LINES_LIMIT = 10_000
#: Bytes of an unfinished line that are kept, and bytes that are shown of the output that had not arrived when the job
#: ended.
LINE_LIMIT = 16 * 1024
REST_LIMIT = 1024 * 1024

_LEFT_OUT = re.compile(rb"\n\[gdispy: (\d+) bytes of output left out here\]\n")


class OutputLines:
    """The lines that a job prints, without their line ends, as an iterator that ends with the job."""

    def __init__(self, streams: tuple[str, ...]) -> None:
        self._streams = streams
        self._lines: deque[str] = deque()
        self._left_out = 0
        self._is_over = False
        #: Opened when there is something new.
        self._gate = Gate()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            left_out, self._left_out = self._left_out, 0
            if left_out:
                return f"[gdispy: {left_out} lines left out here, which were not read fast enough]"
            if self._lines:
                return self._lines.popleft()
            if self._is_over:
                raise StopIteration
            # First the gate, then the look: the hub adds first, and then opens the gate that it finds.
            gate = self._gate = Gate()
            if not self._lines and not self._is_over:
                gate.wait()

    def add(self, stream: str, lines: list[str]) -> None:
        """More lines have arrived. In the hub."""
        if stream not in self._streams:
            return
        self._lines.extend(lines)
        while len(self._lines) > LINES_LIMIT:
            self._lines.popleft()
            self._left_out += 1
        self._gate.open()

    def finish(self) -> None:
        """The job has ended. In the hub."""
        self._is_over = True
        self._gate.open()


class _Stream:
    """One output stream of a job."""

    __slots__ = ("_rest", "_shown")

    def __init__(self) -> None:
        #: The number of bytes that have arrived, or were left out; and those of them that are not a whole line yet.
        self._shown = 0
        self._rest = b""

    def add(self, offset: int, content: bytes) -> list[str]:
        """The lines that a piece of the stream completes."""
        found: list[str] = []
        if offset > self._shown:
            found = [*self.end(), _note(offset - self._shown)]
        data = self._rest + content[max(0, self._shown - offset) :]
        self._shown = max(self._shown, offset + len(content))
        *lines, self._rest = data.split(b"\n")
        if len(self._rest) > LINE_LIMIT:
            lines.append(self._rest)
            self._rest = b""
        return [*found, *map(_text, lines)]

    def end(self) -> list[str]:
        """The last line, if it has no line end."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []

    def take_rest(self, output: Bulk, limit: int) -> list[str]:
        """The lines that had not arrived when the job ended; `output` is all that was kept."""
        found: list[str] = []
        if bulk_size(output):
            for offset, content in _kept_parts(joined(output), limit):
                content = content[max(0, self._shown - offset) :]
                offset = max(offset, self._shown)
                if len(content) > REST_LIMIT:
                    offset += len(content) - REST_LIMIT
                    content = content[-REST_LIMIT:]
                if content:
                    found += self.add(offset, content)
        return [*found, *self.end()]


def _kept_parts(data: bytes, limit: int) -> list[tuple[int, bytes]]:
    """What was kept of a stream, with the offsets in it: all, or its first and last parts (see `output_capture.py`)."""
    first = limit - limit // 2
    note = _LEFT_OUT.match(data, first) if len(data) > limit else None
    if note is None:
        return [(0, data)]
    return [(0, data[:first]), (first + int(note[1]), data[note.end() :])]


def _note(count: int) -> str:
    return f"[gdispy: {count} bytes of output not shown here]"


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")


class _Followed:
    """A followed job that has not ended."""

    __slots__ = ("attempt", "readers", "streams")

    def __init__(self) -> None:
        self.attempt = 0
        self.streams = {number: _Stream() for number in STREAMS}
        #: A reader that the program has dropped is gone here too.
        self.readers: weakref.WeakSet[OutputLines] = weakref.WeakSet()

    def begin(self, attempt: int) -> None:
        """The job runs for the first time, or again: it prints from the beginning."""
        if attempt > self.attempt:
            self.attempt, self.streams = attempt, {number: _Stream() for number in STREAMS}


class LiveOutput:
    """The followed jobs of one cluster."""

    def __init__(self, echo: Callable[[DispyJob, bytes, str, list[str]], None] | None, limit: int) -> None:
        """`echo` is called with a job, its node, a stream and lines, if they are to be printed; `limit` is the number
        of bytes that are kept of a stream."""
        self._echo, self._limit = echo, limit
        self._followed: dict[int, _Followed] = {}

    @property
    def is_active(self) -> bool:
        """Whether the output of any job is wanted."""
        return self._echo is not None or bool(self._followed)

    def follow(self, job: DispyJob, lines: OutputLines) -> None:
        """Pass the lines of a job that has not ended to this reader, from now on."""
        self._followed.setdefault(job._number, _Followed()).readers.add(lines)

    def wanted(self, jobs: list[JobId]) -> list[JobId]:
        """Those of these jobs, which have started, whose output is wanted."""
        if self._echo is not None:
            for job in jobs:
                self._followed.setdefault(job, _Followed())
        return [job for job in jobs if job in self._followed] if self._followed else []

    def take(self, job: DispyJob, printed: Printed) -> None:
        """A piece of output has arrived."""
        followed = self._followed.get(printed.job)
        if followed is None or printed.attempt < followed.attempt or printed.stream not in STREAMS:
            return
        followed.begin(printed.attempt)
        lines = followed.streams[printed.stream].add(printed.offset, joined(printed.content))
        self._show(job, printed.node, followed, printed.stream, lines)

    def end(self, job: DispyJob, node: bytes, attempt: int, outputs: tuple[Bulk, Bulk]) -> None:
        """A job has ended on a node, with this output."""
        followed = self._followed.pop(job._number, None)
        if followed is None:
            if self._echo is None or not any(map(bulk_size, outputs)):
                return
            followed = _Followed()
        followed.begin(attempt)
        for number, output in zip(STREAMS, outputs, strict=True):
            self._show(job, node, followed, number, followed.streams[number].take_rest(output, self._limit))
        for each in followed.readers:
            each.finish()

    def end_all(self) -> None:
        """The jobs that have not ended will not be reported any more."""
        followed, self._followed = self._followed, {}
        for each in followed.values():
            for reader in each.readers:
                reader.finish()

    def _show(self, job: DispyJob, node: bytes, followed: _Followed, stream: int, lines: list[str]) -> None:
        if not lines:
            return
        for reader in followed.readers:
            reader.add(STREAMS[stream], lines)
        if self._echo is not None:
            self._echo(job, node, STREAMS[stream], lines)


def wanted_streams(stream: object) -> tuple[str, ...]:
    """The streams that the parameter `stream` of `follow` means. Raises ConfigError."""
    if stream is None:
        return tuple(STREAMS.values())
    if stream not in STREAMS.values():
        raise ConfigError(f"stream must be 'stdout', 'stderr' or None for both, not {stream!r}")
    return (str(stream),)


def print_lines(stream: str, prefix: str, lines: list[str]) -> None:
    """Print lines of a job to the stream of the same name, in one write."""
    target = sys.stderr if stream == "stderr" else sys.stdout
    if target is not None:  # As of a program without a console.
        target.write("".join(f"{prefix}{line}\n" for line in lines))
        target.flush()


def ended_lines(job: DispyJob, streams: tuple[str, ...]) -> OutputLines:
    """The lines of a job that has ended."""
    lines = OutputLines(streams)
    for stream in streams:
        output = getattr(job, stream)
        data = output.encode("utf-8", "surrogatepass") if isinstance(output, str) else joined(output or b"")
        lines.add(stream, [_text(each) for each in data.removesuffix(b"\n").split(b"\n")] if data else [])
    lines.finish()
    return lines
