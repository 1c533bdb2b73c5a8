"""The command line of each job: words with templates such as `{}` that are replaced by the job's arguments.

No shell is involved: a replaced text stays in its word, whatever characters it contains. Words without any template
get the arguments appended. Immutable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gdispy.cli.argument_sources import Row
from gdispy.errors import ConfigError

_TEMPLATE = re.compile(r"\{(?:(?P<number>#)|(?P<source>[1-9][0-9]*)?(?P<form>//|/\.|/|\.)?)\}")

#: What follows the number of the source in a template -> the form of the argument.
_FORMS: dict[str, Callable[[str], str]] = {
    "": lambda argument: argument,
    ".": lambda argument: os.path.splitext(argument)[0],
    "/": os.path.basename,
    "//": lambda argument: os.path.dirname(argument) or ".",
    "/.": lambda argument: os.path.splitext(os.path.basename(argument))[0],
}


class _Field(NamedTuple):
    """A template within a word."""

    #: As written.
    text: str
    #: The number of the source from 1; 0 for all sources, -1 for the number of the job.
    source: int
    form: Callable[[str], str]

    def values(self, number: int, row: Row) -> list[str]:
        if self.source < 0:
            return [str(number)]
        if not self.source:
            return [self.form(argument) for argument in row]
        if self.source > len(row):
            raise ConfigError(f"{self.text}: job {number} has only {len(row)} arguments")
        return [self.form(row[self.source - 1])]


class CommandTemplate:
    """The words of a command line, some of which may contain templates."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [_parts(word) for word in words]
        self._fields = [part for word in self._words for part in word if isinstance(part, _Field)]
        self._plain = tuple(words)

    @property
    def has_fields(self) -> bool:
        """Whether any word contains a template."""
        return bool(self._fields)

    def check(self, sources: int) -> None:
        """Raises ConfigError if a template names a source that does not exist."""
        for field in self._fields:
            if field.source > sources:
                there = "there is only 1" if sources == 1 else f"there are only {sources}"
                raise ConfigError(f"{field.text} stands for an argument of source {field.source}, but {there}")

    def append(self, number: int, row: Row) -> tuple[str, ...]:
        """The words for a job; the arguments are appended if no word contains a template."""
        return self.fill(number, row) if self._fields else self._plain + row

    def fill(self, number: int, row: Row) -> tuple[str, ...]:
        """The words for a job. A word that is only a template becomes one word for each argument."""
        filled: list[str] = []
        for word in self._words:
            if len(word) == 1 and isinstance(word[0], _Field):
                filled += word[0].values(number, row)
            else:
                filled.append("".join(part if isinstance(part, str) else _joined(part, number, row) for part in word))
        return tuple(filled)


def _joined(field: _Field, number: int, row: Row) -> str:
    return " ".join(field.values(number, row))


def _parts(word: str) -> list[str | _Field]:
    parts: list[str | _Field] = []
    place = 0
    for match in _TEMPLATE.finditer(word):
        if match.start() > place:
            parts.append(word[place : match.start()])
        source = -1 if match["number"] else int(match["source"] or 0)
        parts.append(_Field(match[0], source, _FORMS[match["form"] or ""]))
        place = match.end()
    if place < len(word) or not parts:
        parts.append(word[place:])
    return parts
