"""The parts of a command line `gdispy [options] program [words] [::: args ...]`.

The options of gdispy end at the program: later words belong to the program. If all of them are options of gdispy, and
no source of arguments is given but `-a TEXT` after the program, they are options nevertheless. Pure.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from gdispy.errors import ConfigError

#: Words that begin a source of arguments -> whether it names files, and whether it is linked to the source before it.
SEPARATORS = {":::": (False, False), ":::+": (False, True), "::::": (True, False), "::::+": (True, True)}


class SourceWords(NamedTuple):
    """A source of arguments as written."""

    separator: str
    words: tuple[str, ...]

    @property
    def names_files(self) -> bool:
        return SEPARATORS[self.separator][0]

    @property
    def is_linked(self) -> bool:
        return SEPARATORS[self.separator][1]


class CommandLine(NamedTuple):
    """A command line in three parts."""

    #: The options of gdispy and the program.
    options: list[str]
    #: The words of the program.
    words: list[str]
    sources: list[SourceWords]

    @classmethod
    def split(cls, parser: argparse.ArgumentParser, words: Sequence[str]) -> CommandLine:
        """Raises ConfigError."""
        before = _Options(parser, words)
        begin = before.end + (words[before.end : before.end + 1] == ["--"])
        program, rest = list(words[begin : begin + 1]), list(words[begin + 1 :])
        if program and program[0] in SEPARATORS:
            raise ConfigError(f"the program is missing before {program[0]}: gdispy [options] program ::: arguments")
        count = next((place for place, word in enumerate(rest) if word in SEPARATORS), len(rest))
        own, sources = rest[:count], _sources(rest[count:])
        if own and not sources and begin == before.end and _Options(parser, own).are_all and not before.has_source:
            if before.has_texts:
                raise ConfigError(
                    f"{own[0]} after the program could be an option of gdispy or a word of {program[0]}: write it "
                    f"before the program, or write -- before {program[0]} to pass it on"
                )
            return cls([*words[:begin], *program, *own], [], [])
        return cls([*words[:begin], *program], own, sources)


def _sources(words: Sequence[str]) -> list[SourceWords]:
    sources: list[SourceWords] = []
    for word in words:
        if word in SEPARATORS:
            if not sources and SEPARATORS[word][1]:
                raise ConfigError(f"{word} links a source of arguments to the one before it, but there is none")
            sources.append(SourceWords(word, ()))
        elif sources:
            sources[-1] = sources[-1]._replace(words=(*sources[-1].words, word))
    return sources


class _Options:
    """The options of gdispy at the beginning of some words."""

    def __init__(self, parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
        #: Whether there are jobs as `-a TEXT`, and another source of arguments, as `-a @FILE` or `-a -`.
        self.has_texts = self.has_source = False
        #: Whether there are only options that exist.
        self.are_all = True
        #: The index of the first word that is neither an option nor the value of an option.
        self.end = 0
        while self.end < len(words) and _is_option(words[self.end]):
            following = words[self.end + 1] if self.end + 1 < len(words) else None
            self._take(parser, words[self.end], following)
        self.are_all = self.are_all and self.end == len(words)

    def _take(self, parser: argparse.ArgumentParser, word: str, following: str | None) -> None:
        action, value = _action_of(parser, word)
        self.end += 1
        if action is None:
            self.are_all = False
        elif action.nargs != 0 and value is None:
            value = following
            self.end += 1
        if action is not None and action.option_strings == ["-a"]:
            is_source = is_source_text(value or "")
            self.has_source = self.has_source or is_source
            self.has_texts = self.has_texts or not is_source


def _is_option(word: str) -> bool:
    return word.startswith("-") and word not in ("-", "--")


def is_source_text(text: str) -> bool:
    """Whether a value of `-a` names a source of arguments instead of being the arguments of one job."""
    return text == "-" or text.startswith("@")


def _action_of(parser: argparse.ArgumentParser, word: str) -> tuple[argparse.Action | None, str | None]:
    """The option that a word is, and its value if the word contains it; the option is None if there is no such."""
    known = parser._option_string_actions
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        names = {name, "--" + name[2:].replace("-", "_"), "--" + name[2:].replace("_", "-")}
        found = {known[each].dest: known[each] for each in names if each in known}
        if not found:  # Argparse accepts unique beginnings.
            found = {known[each].dest: known[each] for each in known if each.startswith(tuple(names))}
        actions = list(found.values())
        return (actions[0] if len(actions) == 1 else None), (value if equals else None)
    for place in range(1, len(word)):
        action = known.get(f"-{word[place]}")
        if action is None:
            return None, None
        if action.nargs != 0:
            rest = word[place + 1 :]
            return action, (rest.removeprefix("=") if rest else None)
    return known.get(word[:2]), None
