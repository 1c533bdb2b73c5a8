"""Prints jobs that have ended: their output unchanged, with the arguments before each line, or as JSON.

Invariants:
1. With `keep_order`, jobs are printed in the order in which they were submitted, whatever the order of their ends.
2. The output of one job is never mixed with that of another.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TextIO

from gdispy.cli.command_template import shown
from gdispy.cli.job_outcome import JobLine, JobOutcome
from gdispy.cli.job_output import Output, OutputIncomplete, OutputSpool, parts, release
from gdispy.cli.standard_streams import is_lost
from gdispy.errors import GdispyError
from gdispy.protocol.limits import printable_lines
from gdispy.protocol.payload import Buffer


class Form(Protocol):
    """How a job is printed."""

    def print(self, outcome: JobOutcome, command: tuple[str, ...]) -> None: ...


class PlainForm:
    """The output of the job; with `tags`, each line after the job's arguments and a tabulator."""

    def __init__(self, tags: bool = False) -> None:
        self._tags = tags

    def print(self, outcome: JobOutcome, command: tuple[str, ...]) -> None:
        tag = tag_of(outcome.line) if self._tags else b""
        for stream, output in ((sys.stdout, outcome.stdout), (sys.stderr, outcome.stderr)):
            if output:
                write(stream, tagged(parts(output), tag) if tag else parts(output))
        if outcome.error:
            # A program's output is printed unchanged; this line is gdispy's.
            complain(outcome)


class JsonForm:
    """One line of JSON a job. Output that is not UTF-8 is shown with replacement characters."""

    def print(self, outcome: JobOutcome, command: tuple[str, ...]) -> None:
        row: dict[str, Any] = {
            "number": outcome.line.number,
            "arguments": [_shown(argument) for argument in outcome.line.arguments],
            "command": [_shown(word) for word in command],
            "host": outcome.host,
            "start": round(outcome.start, 3),
            "seconds": round(outcome.seconds, 3),
            "exit_code": outcome.exit_code,
            "signal": outcome.signal,
            "attempts": outcome.attempts,
            "error": outcome.error,
            "stdout": _text(outcome.stdout),
            "stderr": _text(outcome.stderr),
        }
        write(sys.stdout, [json.dumps(row).encode() + b"\n"])


def _text(output: Output) -> str:
    return b"".join(parts(output)).decode("utf-8", "replace")


def _shown(word: str) -> str:
    return _encoded(word).decode("utf-8", "replace")


def _encoded(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")


def tag_of(line: JobLine) -> bytes:
    """What `--tag` prints before each line of a job."""
    return _encoded(" ".join(line.arguments) + "\t")


def complain(outcome: JobOutcome) -> None:
    """Print why a job has failed."""
    print(f"gdispy: {outcome.line.name}: {printable_lines(outcome.error)}", file=sys.stderr)


def write(stream: TextIO, pieces: Iterable[Buffer]) -> None:
    """Write bytes to standard output or error."""
    stream.flush()
    for piece in pieces:
        stream.buffer.write(piece)
    stream.flush()


def tagged(pieces: Iterable[Buffer], tag: bytes) -> Iterator[bytes]:
    """The pieces with `tag` before each line."""
    begins = True
    for piece in pieces:
        data = bytes(piece)
        if not data:
            continue
        ends = data.endswith(b"\n")
        body = data[:-1] if ends else data
        yield (tag if begins else b"") + body.replace(b"\n", b"\n" + tag) + (b"\n" if ends else b"")
        begins = ends


class JobPrinter:
    """Prints each job in its turn. Jobs that end earlier wait; their output is spooled."""

    def __init__(
        self,
        program: str,
        form: Form,
        keeps_order: bool,
        on_printed: Callable[[JobOutcome], None] = lambda outcome: None,
    ) -> None:
        """`on_printed`: the output of a job was written completely."""
        self._on_printed = on_printed
        self._program, self._form, self._keeps_order = program, form, keeps_order
        self._next = 0
        self._waiting: dict[int, JobOutcome] = {}
        self._spool = OutputSpool()

    @property
    def waiting(self) -> int:
        """The number of jobs that have ended and are not printed yet."""
        return len(self._waiting)

    def add(self, place: int, outcome: JobOutcome) -> None:
        """The job at `place`, counted from 0 in the order of submission, has ended."""
        if not self._keeps_order:
            self._print(outcome)
        elif place != self._next:
            kept = outcome._replace(stdout=self._spool.keep(outcome.stdout), stderr=self._spool.keep(outcome.stderr))
            self._waiting[place] = kept
        else:
            self._print(outcome)
            self._next += 1
            self._print_next()

    def _print_next(self) -> None:
        if not self._waiting:
            return
        while (outcome := self._waiting.pop(self._next, None)) is not None:
            self._print(outcome)
            self._next += 1
        if not self._waiting:
            self._spool.clear()

    def print_rest(self) -> None:
        """Print the waiting jobs, although jobs before them will not end any more."""
        for place in sorted(self._waiting):
            self._print(self._waiting.pop(place))

    def _print(self, outcome: JobOutcome) -> None:
        try:
            self._form.print(outcome, (self._program, *shown(outcome.line.words)))
            if not (outcome.stderr and is_lost(sys.stderr)):
                self._on_printed(outcome)
        except OutputIncomplete as error:
            raise GdispyError(f"{outcome.line.name}: {error}") from None
        finally:
            release(outcome.stdout)
            release(outcome.stderr)

    def close(self) -> None:
        self._spool.close()
