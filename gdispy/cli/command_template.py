"""The command line of each job: words with templates such as `{}` that are replaced by the job's arguments.

No shell is involved: a replaced text stays in its word, whatever characters it contains. Words without any template
get the arguments appended. Immutable.

The number in `{%}` is known only when a job is submitted: until then `SLOT` stands for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gdispy.cli.argument_sources import Row
from gdispy.errors import ConfigError

#: In a word: the number of the job's slot. An argument cannot contain it.
SLOT = "\0%"
_TEMPLATE = re.compile(r"\{(?:(?P<number>[#%])|(?P<source>-?[1-9][0-9]*)?(?P<form>//|/\.|/|\.)?)\}")

#: An extension. A name that only consists of one, as `.profile`, has none.
_EXTENSION = re.compile(r"(?<=[^/])\.[^/.]+\Z")


def _stem(argument: str) -> str:
    return _EXTENSION.sub("", argument)


def _directory(argument: str) -> str:
    bare = argument.rstrip("/")
    return os.path.dirname(bare) or ("/" if argument.startswith("/") else ".")


#: What follows the number of the source in a template -> the form of the argument.
_FORMS: dict[str, Callable[[str], str]] = {
    "": lambda argument: argument,
    ".": _stem,
    "/": os.path.basename,
    "//": _directory,
    "/.": lambda argument: _stem(os.path.basename(argument)),
}


class _Field(NamedTuple):
    """A template within a word."""

    #: As written.
    text: str
    #: The number of the source from 1, or from -1 for the last; 0 for all.
    source: int
    form: Callable[[str], str]
    #: `#` for the number of the job and `%` for its slot, instead of arguments; or ''.
    number: str = ""

    @property
    def is_all(self) -> bool:
        """Whether it stands for the arguments of all sources."""
        return not self.source and not self.number

    def values(self, number: int, row: Row, pads: bool) -> list[str]:
        if self.number:
            return [str(number) if self.number == "#" else SLOT]
        if self.is_all:
            return [self.form(argument) for argument in row]
        if abs(self.source) <= len(row):
            return [self.form(row[self.source - (self.source > 0)])]
        if pads:
            return [""]
        raise ConfigError(f"{self.text}: job {number} has only {len(row)} arguments")


class CommandTemplate:
    """The words of a command line, some of which may contain templates."""

    def __init__(self, words: Sequence[str], pads: bool = False, repeats: bool = False) -> None:
        """With `pads`, an argument that a job does not have is empty, and no error. With `repeats`, also a word that
        has more than `{}` becomes one word for each argument."""
        self._pads, self._repeats = pads, repeats
        self._words = [_parts(word) for word in words]
        self._fields = [part for word in self._words for part in word if isinstance(part, _Field)]
        self._plain = tuple(words)

    @property
    def has_fields(self) -> bool:
        """Whether any word contains a template."""
        return bool(self._fields)

    @property
    def has_slot(self) -> bool:
        """Whether any word contains `{%}`."""
        return any(field.number == "%" for field in self._fields)

    def check(self, sources: int) -> None:
        """Raises ConfigError if a template names a source that does not exist."""
        for field in self._fields:
            if abs(field.source) > sources:
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
                filled += word[0].values(number, row, self._pads)
            elif self._repeats and _has_all(word):
                filled += [self._joined(word, number, row, argument) for argument in row]
            else:
                filled.append(self._joined(word, number, row))
        return tuple(filled)

    def _joined(self, word: list[str | _Field], number: int, row: Row, single: str | None = None) -> str:
        """A word with its fields replaced; with `single`, that is the only argument for `{}`."""
        texts: list[str] = []
        for part in word:
            if isinstance(part, str):
                texts.append(part)
            elif part.is_all and single is not None:
                texts.append(part.form(single))
            else:
                texts.append(" ".join(part.values(number, row, self._pads)))
        return "".join(texts)

    def cost(self, argument: str) -> int:
        """The bytes that one more argument adds to a command line, at most."""
        size = len(os.fsencode(argument)) + 1
        if not self._fields:
            return size
        found = 0
        for word in self._words:
            fields = sum(isinstance(part, _Field) and part.is_all for part in word)
            if fields:
                found += fields * size + sum(len(os.fsencode(part)) for part in word if isinstance(part, str)) + 1
        return found


def _has_all(word: list[str | _Field]) -> bool:
    return any(isinstance(part, _Field) and part.is_all for part in word)


def _parts(word: str) -> list[str | _Field]:
    parts: list[str | _Field] = []
    place = 0
    for match in _TEMPLATE.finditer(word):
        if match.start() > place:
            parts.append(word[place : match.start()])
        form = _FORMS[match["form"] or ""]
        parts.append(_Field(match[0], int(match["source"] or 0), form, match["number"] or ""))
        place = match.end()
    if place < len(word) or not parts:
        parts.append(word[place:])
    return parts


def shown(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a job for people and logs: the slot as in the template, since it may differ in the next run."""
    return tuple(word.replace(SLOT, "{%}") for word in words)
