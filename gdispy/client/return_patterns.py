"""Patterns of the files that a program's job returns to the client when it has ended (`worker/returned_files.py`).

Pure. The node finds the files; the client checks again that their paths match, before they replace any file.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from fnmatch import translate

from gdispy.errors import ConfigError

_WILD = re.compile(r"[*?[]")
#: Stands for directories of any depth.
_ANY_DEPTH = "**"


class ReturnPatterns:
    """The patterns of one job, relative to its directory. The last argument of `submit`."""

    __slots__ = ("patterns",)

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises ConfigError for a pattern that leaves the directory."""
        self.patterns = tuple(map(_checked, patterns))

    def match(self, path: str) -> bool:
        """Whether a path is that of a file that the job may return."""
        parts = path.split("/")
        return any(_match(pattern.split("/"), parts) for pattern in self.patterns)


def _checked(pattern: str) -> str:
    """A pattern in its shortest form."""
    if "\0" in pattern:
        raise ConfigError(f"the file to return must not contain a zero character: {pattern!r}")
    if os.path.isabs(pattern):
        raise ConfigError(
            f"the file to return {pattern!r} is absolute: write its path in the directory of the job, as with the "
            "templates {/} and {/.}"
        )
    short = os.path.normpath(pattern) if pattern else os.curdir
    if short == os.curdir or short.split("/")[0] == os.pardir:
        raise ConfigError(f"the file to return {pattern!r} is not the name of a file below the directory of the job")
    return short


def _match(pattern: list[str], parts: list[str]) -> bool:
    if not pattern:  # A directory stands for all files below it.
        return True
    if not parts:
        return pattern == [_ANY_DEPTH]
    first, *rest = pattern
    if first == _ANY_DEPTH:
        is_hidden = parts[0].startswith(".")  # As in `glob`.
        return (bool(rest) and _match(rest, parts)) or (not is_hidden and _match(pattern, parts[1:]))
    return _matches_name(first, parts[0]) and _match(rest, parts[1:])


def _matches_name(pattern: str, name: str) -> bool:
    if not _WILD.search(pattern):
        return pattern == name
    if name.startswith(".") and not pattern.startswith("."):
        return False
    return _compiled(pattern).match(name) is not None


@functools.lru_cache(64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
