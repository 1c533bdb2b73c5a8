"""`--line-buffer`: whole lines of running jobs are printed as they arrive, those of different jobs between each other.

Pieces of output arrive in the hub, which must not write; all else runs in the main thread.

Invariants:
1. Nothing is lost or printed twice: pieces may be lost, so a stream with a gap waits for the end of the job, when its
   complete output is there, and continues with the byte after the last that was printed.
2. Only whole lines are printed, a last line without a line end gets one.
3. Memory is bounded: pieces that wait for the main thread, and unfinished lines, above a limit are dropped (1).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from gdispy.cli.job_outcome import JobLine, JobOutcome
from gdispy.cli.job_output import parts
from gdispy.cli.job_printer import complain, tag_of, tagged, write
from gdispy.client.job import DispyJob
from gdispy.client.live_output import STREAMS, LiveOutput
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Printed
from gdispy.protocol.payload import Buffer, joined

#: Bytes that wait for the main thread, and bytes of an unfinished line.
WAITING_LIMIT = 16 * 1024 * 1024
LINE_LIMIT = 1024 * 1024


class _Stream:
    """What was printed of one stream of a job."""

    def __init__(self) -> None:
        #: Bytes that were printed; they end with a line.
        self.shown = 0
        self._rest = b""
        self._has_gap = False

    def add(self, offset: int, content: bytes) -> bytes:
        """The whole lines that a piece of the stream completes."""
        expected = self.shown + len(self._rest)
        if self._has_gap or offset > expected:
            self._has_gap, self._rest = True, b""
            return b""
        data = self._rest + content[expected - offset :]
        end = data.rfind(b"\n") + 1
        self.shown, self._rest = self.shown + end, data[end:]
        if len(self._rest) > LINE_LIMIT:
            self._has_gap, self._rest = True, b""
        return data[:end]


class _Running:
    """A job that may print."""

    def __init__(self, line: JobLine, tags: bool) -> None:
        self.tag = tag_of(line) if tags else b""
        self.streams = {number: _Stream() for number in STREAMS}


class LiveLines(LiveOutput):
    """The lines of all jobs of a run; also the form in which a job that has ended is printed."""

    def __init__(self, tags: bool, wake: Callable[[], None]) -> None:
        """With `tags`, each line begins with the arguments of its job. `wake`: there are pieces for `print_arrived`."""
        super().__init__(None, 0)
        self._tags, self._wake = tags, wake
        self._jobs: dict[JobId, _Running] = {}
        #: By the numbers of the jobs in the run.
        self._lines: dict[int, _Running] = {}
        self._arrived: deque[tuple[_Running, int, int, bytes]] = deque()
        self._waiting = 0

    # In the hub

    def wanted(self, jobs: list[JobId]) -> list[JobId]:
        return jobs

    def take(self, job: DispyJob, printed: Printed) -> None:
        running = self._jobs.get(printed.job)
        content = joined(printed.content)
        if running is None or printed.stream not in STREAMS or self._waiting + len(content) > WAITING_LIMIT:
            return
        self._waiting += len(content)
        self._arrived.append((running, printed.stream, printed.offset, content))
        self._wake()

    # In the main thread

    def begin(self, job: int, line: JobLine) -> None:
        """A job was submitted."""
        self._jobs[JobId(job)] = self._lines[line.number] = _Running(line, self._tags)

    def forget(self, job: int) -> None:
        """A job of the cluster has ended; it may be submitted again under another number."""
        self._jobs.pop(JobId(job), None)

    @property
    def have_arrived(self) -> bool:
        """Whether there are pieces to print."""
        return bool(self._arrived)

    def print_arrived(self) -> None:
        """Print the lines that have arrived."""
        while self._arrived:
            running, stream, offset, content = self._arrived.popleft()
            self._waiting -= len(content)
            lines = running.streams[stream].add(offset, content)
            if lines:
                write(getattr(sys, STREAMS[stream]), tagged([lines], running.tag) if running.tag else [lines])

    def print(self, outcome: JobOutcome, command: tuple[str, ...]) -> None:
        """Print the rest of a job that has ended."""
        self.print_rest(outcome)
        if outcome.error:
            complain(outcome)

    def print_rest(self, outcome: JobOutcome) -> None:
        """Print the rest of an attempt that has ended."""
        running = self._lines.pop(outcome.line.number, None) or _Running(outcome.line, self._tags)
        self._arrived = deque(each for each in self._arrived if each[0] is not running)
        self._waiting = sum(len(each[-1]) for each in self._arrived)
        for number, output in zip(STREAMS, (outcome.stdout, outcome.stderr), strict=True):
            rest = _ended(parts(output, running.streams[number].shown))
            write(getattr(sys, STREAMS[number]), tagged(rest, running.tag) if running.tag else rest)


def _ended(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    """The pieces, and a line end if the last line has none."""
    last = b"\n"
    for piece in pieces:
        data = bytes(piece)
        last = data[-1:] or last
        yield data
    if last != b"\n":
        yield b"\n"
