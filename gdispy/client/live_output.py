"""What jobs print while they run: `job.follow()`, and `echo=True` of a cluster.

A node reports the output of followed jobs in pieces, from its beginning, which may be lost or come again; the rest is
taken from the complete output when the job ends. `LiveOutput` runs in the hub; `OutputLines` is filled there, and read
in the user's threads.

Invariants:
1. Each line is shown once, in the order of its stream; what is left out is counted in a separate line.
2. A reader that is slow, or was dropped, costs bounded memory, and delays nothing.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from gdispy.buffers.memory_file import OpenFile
from gdispy.client.output_parts import kept_parts
from gdispy.errors import ConfigError
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Printed
from gdispy.protocol.payload import Bulk, bulk_size, joined
from gdispy.runtime.gate import Gate

if TYPE_CHECKING:
    from gdispy.client.job import DispyJob

logger = logging.getLogger("gdispy")

#: The streams, by the numbers that `Printed` has.
STREAMS = {1: "stdout", 2: "stderr"}
#: Lines that wait for a reader while the job runs; further ones replace the oldest.
LINES_LIMIT = 100_000
#: Bytes of an unfinished line that are kept; a longer line is shown in parts.
LINE_LIMIT = 1024 * 1024


class _Stream:
    """What has arrived of one output stream of a job."""

    __slots__ = ("_rest", "_shown")

    def __init__(self) -> None:
        #: The number of bytes that have arrived, or were left out; and those of them that are not a whole line yet.
        self._shown = 0
        self._rest = b""

    def add(self, offset: int, content: bytes) -> list[str]:
        """The lines that a piece of the stream completes."""
        found: list[str] = []
        if offset > self._shown:
            found = [*self._last_line(), _note(offset - self._shown)]
        data = self._rest + content[max(0, self._shown - offset) :]
        self._shown = max(self._shown, offset + len(content))
        *lines, self._rest = data.split(b"\n")
        if len(self._rest) > LINE_LIMIT:
            end = _whole_characters(self._rest)
            lines.append(self._rest[:end])
            self._rest = self._rest[end:]
        return [*found, *map(_text, lines)]

    def rest(self, output: bytes, limit: int) -> Iterator[str]:
        """The lines that had not arrived when the job ended; `output` is all that was kept of `limit` bytes."""
        for offset, content in kept_parts(output, limit):
            begin = max(0, self._shown - offset)
            if offset > self._shown:
                yield from self._last_line()
                yield _note(offset - self._shown)
            self._shown = max(self._shown, offset + len(content))
            before, self._rest = self._rest, b""
            for line in io.BytesIO(before + content[begin:]):
                if line.endswith(b"\n"):
                    yield _text(line[:-1])
                else:
                    self._rest = line
        yield from self._last_line()

    def _last_line(self) -> list[str]:
        """The last line, if it has no line end."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


class _Streams:
    """The streams of the latest attempt of a job."""

    def __init__(self) -> None:
        self._attempt = 0
        self._streams = {number: _Stream() for number in STREAMS}

    def of(self, attempt: int) -> dict[int, _Stream]:
        """Those of this attempt, which prints from the beginning; none of an attempt before the latest."""
        if attempt > self._attempt:
            self._attempt, self._streams = attempt, {number: _Stream() for number in STREAMS}
        return self._streams if attempt == self._attempt else {}


class Follower(Protocol):
    """Who gets the output of a job. In the hub."""

    def take(self, printed: Printed) -> None:
        """A piece has arrived."""

    def end(self, attempt: int, outputs: dict[int, bytes], limit: int) -> None:
        """The job has ended, with these outputs by stream, of which `limit` bytes were kept."""

    def finish(self) -> None:
        """The end of the job is visible."""


class OutputLines:
    """The lines that a job prints, without their line ends, as an iterator that ends with the job. Several threads may
    take from it; each line goes to one of them."""

    def __init__(self, streams: tuple[str, ...]) -> None:
        self._wanted = [number for number, name in STREAMS.items() if name in streams]
        self._streams = _Streams()
        self._lines: deque[str] = deque()
        self._left_out = 0
        #: The lines that had not arrived when the job ended: split when they are read.
        self._tail: Iterator[str] | None = None
        self._is_over = False
        #: Opened when there is something new.
        self._gates: list[Gate] = []
        #: Held by readers, never while they wait, and never by the hub.
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            # First the gate, then the look: the hub adds first, and then opens the gates that it finds.
            gate = Gate()
            self._gates.append(gate)
            try:
                line = self._next_line()
                if line is not None:
                    return line
                gate.wait()
            finally:
                self._gates.remove(gate)

    def _next_line(self) -> str | None:
        """The next line; None if it has not arrived. Raises StopIteration at the end."""
        with self._lock:
            left_out, self._left_out = self._left_out, 0
            if left_out:
                return f"[gdispy: {left_out:,} lines left out here, which were not read fast enough]"
            is_over = self._is_over
            if self._lines:
                return self._lines.popleft()
            if not is_over:
                return None
            if self._tail is None:
                raise StopIteration
            return next(self._tail)

    # In the hub

    def take(self, printed: Printed) -> None:
        if printed.stream in self._wanted and (streams := self._streams.of(printed.attempt)):
            self._lines.extend(streams[printed.stream].add(printed.offset, joined(printed.content)))
            while len(self._lines) > LINES_LIMIT:
                self._lines.popleft()
                self._left_out += 1
            self._wake()

    def end(self, attempt: int, outputs: dict[int, bytes], limit: int) -> None:
        streams = self._streams.of(attempt)
        found = [streams[each].rest(outputs[each], limit) for each in self._wanted if streams and each in outputs]
        self._tail = (line for each in found for line in each)

    def finish(self) -> None:
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        for gate in list(self._gates):
            gate.open()


class Echo:
    """Prints lines of jobs to the streams of the same names. Runs outside the hub."""

    def __init__(self) -> None:
        self._is_broken = False

    def print(self, stream: str, prefix: str, lines: list[str]) -> None:
        """Print lines of a job in one write. After an error of the stream nothing is printed any more."""
        target = sys.stderr if stream == "stderr" else sys.stdout
        if self._is_broken or target is None:  # A program may have no console.
            return
        text = "".join(f"{prefix}{line}\n" for line in lines)
        try:
            try:
                target.write(text)
            except UnicodeEncodeError:
                encoding = target.encoding or "ascii"
                target.write(text.encode(encoding, "backslashreplace").decode(encoding))
            target.flush()
        except (OSError, ValueError) as error:  # The reader of a pipe has ended, or the program has closed the stream.
            self._is_broken = True
            logger.warning("the output of jobs is not printed any more: %s", error)


class _Echoed:
    """A job whose lines are printed."""

    def __init__(self, show: Callable[[bytes, str, list[str]], None]) -> None:
        self._show = show
        self._streams = _Streams()
        #: Where it runs.
        self.node = b""

    def take(self, printed: Printed) -> None:
        self.node = printed.node
        streams = self._streams.of(printed.attempt)
        if printed.stream in streams:
            self._pass_on(printed.stream, streams[printed.stream].add(printed.offset, joined(printed.content)))

    def end(self, attempt: int, outputs: dict[int, bytes], limit: int) -> None:
        for number, stream in self._streams.of(attempt).items():
            if number in outputs:
                self._pass_on(number, list(stream.rest(outputs[number], limit)))

    def finish(self) -> None:
        pass

    def _pass_on(self, stream: int, lines: list[str]) -> None:
        if lines:
            self._show(self.node, STREAMS[stream], lines)


class LiveOutput:
    """The followed jobs of one cluster."""

    def __init__(self, echo: Callable[[DispyJob, bytes, str, list[str]], None] | None, limit: int) -> None:
        """`echo` is called with a job, its node, a stream and lines, if they are to be printed; `limit` is the number
        of bytes that are kept of a stream."""
        self._echo, self._limit = echo, limit
        #: A reader that the program has dropped is not here any more.
        self._readers: dict[int, weakref.WeakSet[OutputLines]] = {}
        self._echoed: dict[int, _Echoed] = {}

    @property
    def is_active(self) -> bool:
        """Whether the output of any job is wanted."""
        return self._echo is not None or bool(self._readers)

    def follow(self, job: DispyJob, lines: OutputLines) -> None:
        """Pass the lines of a job that has not ended to this reader."""
        self._readers.setdefault(job._number, weakref.WeakSet()).add(lines)

    def wanted(self, jobs: list[JobId]) -> list[JobId]:
        """Those of these jobs, which have started, whose output is wanted."""
        return jobs if self._echo is not None else [job for job in jobs if job in self._readers]

    def take(self, job: DispyJob, printed: Printed) -> None:
        """A piece of output has arrived."""
        for each in self._followers(job):
            each.take(printed)

    def end(self, job: DispyJob, node: bytes, attempt: int, outputs: tuple[Bulk, Bulk]) -> None:
        """A job is about to end on a node, with this output; `finish` must follow."""
        if self._echo is None and job._number not in self._readers:
            return
        # Output on disk is shown by those who have asked for files.
        pairs = zip(STREAMS, outputs, strict=True)
        shown = {number: joined(each) if bulk_size(each) else b"" for number, each in pairs if not _is_on_disk(each)}
        if any(shown.values()) or job._number in self._readers or job._number in self._echoed:
            for each in self._followers(job):
                if isinstance(each, _Echoed):
                    each.node = node
                each.end(attempt, shown, self._limit)

    def finish(self, jobs: list[JobId]) -> None:
        """The ends of these jobs are visible."""
        for job in jobs:
            self._echoed.pop(job, None)
            for each in self._readers.pop(job, ()):
                each.finish()

    def end_all(self) -> None:
        """The jobs that have not ended will not be reported any more."""
        for readers in self._readers.values():
            for each in readers:
                each.finish()
        self._readers.clear()
        self._echoed.clear()

    def _followers(self, job: DispyJob) -> list[Follower]:
        followers: list[Follower] = list(self._readers.get(job._number, ()))
        if self._echo is not None:
            echo = self._echo
            own = _Echoed(lambda node, stream, lines: echo(job, node, stream, lines))
            followers.append(self._echoed.setdefault(job._number, own))
        return followers


def wanted_streams(stream: object) -> tuple[str, ...]:
    """The streams that the parameter `stream` of `follow` means. Raises ConfigError."""
    if stream is None:
        return tuple(STREAMS.values())
    if stream not in STREAMS.values():
        raise ConfigError(f"stream must be 'stdout', 'stderr' or None for both, not {stream!r}")
    return (str(stream),)


def ended_lines(job: DispyJob, streams: tuple[str, ...]) -> OutputLines:
    """The lines of a job that has ended."""
    lines, outputs = OutputLines(streams), {}
    for number, name in STREAMS.items():
        output = getattr(job, name)
        outputs[number] = output.encode("utf-8", "surrogatepass") if isinstance(output, str) else joined(output or b"")
    lines.end(1, outputs, sys.maxsize)
    lines.finish()
    return lines


def _is_on_disk(output: Bulk) -> bool:
    return isinstance(output, OpenFile)


def _note(count: int) -> str:
    return f"[gdispy: {count:,} bytes of output not shown here]"


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")


def _whole_characters(data: bytes) -> int:
    """The number of bytes up to the last character of UTF-8 that may be incomplete."""
    end = len(data)
    for back in range(1, min(4, end) + 1):
        first = data[end - back]
        if first & 0xC0 != 0x80:  # The first byte of a character.
            return end - back if first >= 0xC0 else end
    return end
