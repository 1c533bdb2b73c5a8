"""The sources of the arguments of jobs: the command line, files, and standard input.

A source yields rows, the arguments of one job each. Sources are read while jobs run, in the main thread, so a source
whose next argument has not arrived yet yields None instead of blocking: the caller tries again later.

Invariants:
1. The first source is read row by row; all others are kept in memory, since they are repeated.
2. A file is opened when its source is created, so that a missing file is reported before any job runs.
"""

from __future__ import annotations

import itertools
import os
import select
import shlex
import stat
from collections.abc import Iterator, Sequence
from typing import Protocol

from gevent.monkey import get_original

from gdispy.errors import ConfigError

#: The arguments of a job that come from the sources.
Row = tuple[str, ...]
#: Yielded while the next argument has not arrived.
NOT_YET = None

STDIN = 0
#: Bytes that are read from a file at once.
READ_STEP = 64 * 1024
#: Seconds between two attempts to read from a source that has yielded None.
INPUT_LOOK = 0.05


class Source(Protocol):
    """A sequence of rows, read once."""

    def rows(self) -> Iterator[Row | None]:
        """The rows; None while the next has not arrived."""

    def width(self) -> int:
        """The number of arguments that every row has at least."""

    def count(self) -> int | None:
        """The number of rows; None if it is not known in advance."""


class CommandLineSource:
    """The arguments after a `:::`, one for each job."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments

    def rows(self) -> Iterator[Row | None]:
        return ((argument,) for argument in self._arguments)

    def width(self) -> int:
        return 1

    def count(self) -> int | None:
        return len(self._arguments)


class TextSource:
    """The texts of `-a`, each split into the arguments of one job as in a shell."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._rows = [_split(text) for text in texts]

    def rows(self) -> Iterator[Row | None]:
        return iter(self._rows)

    def width(self) -> int:
        return min(map(len, self._rows), default=0)

    def count(self) -> int | None:
        return len(self._rows)


def _split(text: str) -> Row:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"-a {text!r} cannot be read: {error}") from None


class StreamSource:
    """The lines of a file or of standard input, one argument each; with `nul`, texts that end with a NUL character."""

    def __init__(self, fd: int, name: str, nul: bool = False) -> None:
        self._fd, self._name = fd, name
        self._end = b"\0" if nul else b"\n"
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)

    @classmethod
    def of_file(cls, path: str, nul: bool) -> StreamSource:
        """Raises ConfigError if the file cannot be opened."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise ConfigError(_no_file(path, getattr(error, "strerror", None) or str(error))) from None
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.close(fd)
            raise ConfigError(_no_file(path, "it is a directory"))
        return cls(fd, path, nul)

    def width(self) -> int:
        return 1

    def count(self) -> int | None:
        if not self._is_file:
            return None
        offset, found, last = os.lseek(self._fd, 0, os.SEEK_CUR), 0, self._end
        while data := os.pread(self._fd, READ_STEP, offset):
            offset += len(data)
            found += data.count(self._end)
            last = data[-1:]
        return found + (last != self._end)

    def rows(self) -> Iterator[Row | None]:
        number, rest = 0, b""
        while True:
            if not self._is_file and not select.select([self._fd], [], [], 0)[0]:
                yield NOT_YET
                continue
            data = self._read()
            *lines, rest = (rest + data).split(self._end)
            if not data and rest:
                lines.append(rest)
            for line in lines:
                number += 1
                yield (self._argument(line, number),)
            if not data:
                break
        if self._fd != STDIN:
            os.close(self._fd)

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, READ_STEP)
        except OSError as error:
            raise ConfigError(f"the arguments in {self._name} cannot be read: {error.strerror}") from None

    def _argument(self, line: bytes, number: int) -> str:
        if b"\0" in line:
            raise ConfigError(
                f"line {number} of {self._name} contains a NUL character, which an argument cannot contain; "
                "with --null (-0), NUL characters separate the arguments"
            )
        return os.fsdecode(line)


def _no_file(path: str, reason: str) -> str:
    return f"the file of arguments {path!r} cannot be read: {reason}"


class SourceGroups:
    """Several sources. Each group is one source, or sources that are linked: their n-th rows belong together, and the
    shortest determines the length. The rows of different groups are combined in all ways."""

    def __init__(self, groups: Sequence[Sequence[Source]]) -> None:
        self._groups = groups

    def width(self) -> int:
        """The number of arguments that every row has at least."""
        return sum(source.width() for group in self._groups for source in group)

    def count(self) -> int | None:
        """The number of rows; None if it is not known in advance."""
        total = 1
        for group in self._groups:
            counts = [source.count() for source in group]
            if None in counts:
                return None
            total *= min(count for count in counts if count is not None)
        return total

    def rows(self) -> Iterator[Row | None]:
        """All combinations; the last group changes first. None while the next row has not arrived."""
        if not self._groups:
            return
        first, *others = self._groups
        if not others:
            yield from _linked(first)
            return
        repeated: list[list[Row]] = []
        for group in others:
            kept: list[Row] = []
            for row in _linked(group):
                if row is NOT_YET:
                    yield NOT_YET
                else:
                    kept.append(row)
            repeated.append(kept)
        for row in _linked(first):
            if row is NOT_YET:
                yield NOT_YET
            else:
                for rest in itertools.product(*repeated):
                    yield sum(rest, row)


def _linked(group: Sequence[Source]) -> Iterator[Row | None]:
    if len(group) == 1:
        yield from group[0].rows()
        return
    iterators = [source.rows() for source in group]
    while True:
        whole: Row = ()
        for iterator in iterators:
            row: Row | None = NOT_YET
            while row is NOT_YET:
                try:
                    row = next(iterator)
                except StopIteration:
                    return
                if row is NOT_YET:
                    yield NOT_YET
            whole += row
        yield whole


def wait_for_input() -> None:
    """Wait a moment after a source has yielded None, before there are other greenlets: with gevent's `sleep`, Ctrl-C
    would be reported by gevent's hub as well."""
    get_original("time", "sleep")(INPUT_LOOK)
