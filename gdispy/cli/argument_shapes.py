"""Sources whose rows are made from those of other sources: columns, a header, several arguments for one job.

Read in the main thread, lazily, like the sources in `argument_sources.py`: None means that the next row has not come.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator

from gdispy.cli.argument_sources import NOT_YET, Row, Source, wait_for_input
from gdispy.errors import ConfigError

#: The number of columns in a line is not known in advance.
ANY_WIDTH = 1 << 30
#: Bytes of the command line of a job, up to which arguments are packed into it; as with xargs.
LINE_LIMIT = 128 * 1024


class ColumnSource:
    """The columns of each row, which are separated by a regular expression; spaces around a column are removed."""

    def __init__(self, source: Source, separator: re.Pattern[str]) -> None:
        self._source, self._separator = source, separator

    def rows(self) -> Iterator[Row | None]:
        for row in self._source.rows():
            if row is NOT_YET:
                yield NOT_YET
            else:
                yield tuple(column.strip() for text in row for column in self._separator.split(text))

    def width(self) -> int:
        return ANY_WIDTH

    def count(self) -> int | None:
        return self._source.count()


def separator(text: str) -> re.Pattern[str]:
    """The regular expression of `--colsep`. Raises ConfigError."""
    try:
        found = re.compile(text)
    except re.error as error:
        raise ConfigError(f"--colsep {text!r} is not a regular expression: {error}") from None
    if found.groups:  # Their texts would become columns.
        raise ConfigError(f"--colsep {text!r}: write (?:...) instead of (...)")
    if found.match(""):
        raise ConfigError(f"--colsep {text!r} matches the empty text, which separates nothing")
    return found


class HeadedSource:
    """The rows after the first, which has the names of the columns."""

    def __init__(self, source: Source) -> None:
        """Waits for the first row. Raises ConfigError if there is none."""
        count = source.count()  # Before the first row is read.
        self._count = None if count is None else max(0, count - 1)
        self._rows = source.rows()
        first: Row | None = NOT_YET
        while first is NOT_YET:
            first = next(self._rows, ())
            if first is NOT_YET:
                wait_for_input()
        if not first:
            raise ConfigError("--header : takes names from the first argument or line of each source, but one is empty")
        #: Without the byte order mark with which spreadsheets on Windows begin a file.
        self.names: Row = (first[0].removeprefix("\ufeff"), *first[1:])

    def rows(self) -> Iterator[Row | None]:
        return self._rows

    def width(self) -> int:
        return len(self.names)

    def count(self) -> int | None:
        return self._count


class GroupedSource:
    """A fixed number of arguments in each row, except in the last, which may have fewer. With 0, each argument makes a
    row without arguments."""

    def __init__(self, source: Source, size: int) -> None:
        self._source, self._size = source, size

    def rows(self) -> Iterator[Row | None]:
        whole: Row = ()
        for row in self._source.rows():
            if row is NOT_YET:
                yield NOT_YET
            elif not self._size:
                yield ()
            else:
                whole += row
                if len(whole) == self._size:
                    yield whole
                    whole = ()
        if whole:
            yield whole

    def width(self) -> int:
        return self._size

    def count(self) -> int | None:
        count = self._source.count()
        return None if count is None else math.ceil(count / max(1, self._size))


class PackedSource:
    """As many arguments in each row as fit into a command line; at least one, and at most `most`."""

    def __init__(self, source: Source, most: int | None, jobs: int | None) -> None:
        """With `jobs`, the arguments are distributed evenly among this number of rows, if their number is known."""
        self._source, self._most = source, most or ANY_WIDTH
        count = source.count() if jobs else None
        if count and jobs:
            self._most = min(self._most, math.ceil(count / jobs))
        #: Returns the bytes that an argument adds to the command line of a job; and the bytes without any.
        self.cost: Callable[[str], int] = lambda argument: len(os.fsencode(argument)) + 1
        self.base = 0

    def rows(self) -> Iterator[Row | None]:
        whole: list[str] = []
        size = self.base
        for row in self._source.rows():
            if row is NOT_YET:
                yield NOT_YET
                continue
            for argument in row:
                cost = self.cost(argument)
                if whole and (len(whole) == self._most or size + cost > LINE_LIMIT):
                    yield tuple(whole)
                    whole, size = [], self.base
                whole.append(argument)
                size += cost
        if whole:
            yield tuple(whole)

    def width(self) -> int:
        return 0

    def count(self) -> int | None:
        return None
