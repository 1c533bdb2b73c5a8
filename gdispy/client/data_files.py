"""Finds the files that match the patterns in `data`, and their paths on a node. Runs in the user's thread."""

from __future__ import annotations

import fnmatch
import glob
import os
import sys
from collections.abc import Iterable, Iterator, Mapping

from gdispy.client.module_sources import Content, regular, relative, walk
from gdispy.errors import ConfigError
from gdispy.worker import own_modules

#: The part of a pattern that matches directories of any depth.
_ANY_DEPTH = "**"


def data_files(patterns: Iterable[str], base: str, sent: Mapping[str, Content] | None = None) -> dict[str, str]:
    """Files that match patterns of `glob` ('templates/*.txt', 'data/**'): path on the node -> path here.

    Patterns are relative to the directory `base`, and to that of each own package that is loaded or among the files
    that are `sent`: on the node a file has the same path relative to the package. A directory name matches all files
    below it. A file that is neither below `base` nor in a package keeps only its name. Raises ConfigError for a pattern
    without a match, and for two files with the same path.
    """
    found: dict[str, str] = {}
    packages: list[tuple[str, str]] = []
    for pattern in patterns:
        packages = packages or list(dict.fromkeys([*_loaded_packages(), *_sent_packages(sent or {})]))
        number = 0
        for goal, path in _matches(pattern, base, packages):
            number += 1
            known = found.setdefault(goal, path)
            if known != path and not os.path.samefile(known, path):
                raise ConfigError(f"two files of data would be one file on the nodes: {known} and {path}")
        if not number:
            raise ConfigError(f"data: no file matches {pattern!r}, in {base} or in a package of the program")
    return found


def _sent_packages(sent: Mapping[str, Content]) -> Iterator[tuple[str, str]]:
    for goal, content in sent.items():
        place, _, name = goal.rpartition("/")
        if name == "__init__.py" and place and isinstance(content, str):
            yield os.path.dirname(content), place


def _loaded_packages() -> Iterator[tuple[str, str]]:
    """The directories of own packages, and their paths on a node."""
    for name in sorted(name.decode() for name in own_modules.own_names()):
        for portion in own_modules.portions_of(sys.modules.get(name)):
            if os.path.isdir(portion) and not own_modules.is_installed_file(os.path.join(portion, "__init__.py")):
                yield os.path.abspath(portion), name.replace(".", "/")


def _matches(pattern: str, base: str, packages: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for path in _files(base, pattern):
        yield _place(path, base), path
    if os.path.isabs(pattern):
        return
    for directory, place in packages:
        inner = pattern.removeprefix("./").removeprefix(f"{place}/")
        for each in dict.fromkeys((pattern, inner)):
            found = ((relative(path, directory), path) for path in _files(directory, each))
            yield from ((f"{place}/{shown}", path) for shown, path in found if not _is_outside(shown))


def _place(path: str, base: str) -> str:
    shown = relative(path, base)
    return os.path.basename(path) if _is_outside(shown) else shown


def _is_outside(shown: str) -> bool:
    return shown.split("/")[0] == os.pardir


def _files(base: str, pattern: str) -> Iterator[str]:
    """The absolute paths of the files that match a pattern."""
    parts = os.path.join(glob.escape(base), pattern).split(os.sep)
    if _ANY_DEPTH in parts:
        place = parts.index(_ANY_DEPTH)
        yield from _at_any_depth(os.sep.join(parts[:place]) or os.sep, parts[place:])
        return
    for path in sorted(glob.glob(os.sep.join(parts))):
        if not os.path.isdir(path):
            yield from regular(os.path.abspath(path))
        elif not glob.has_magic(pattern):
            yield from walk(path, lambda name: False)


def _at_any_depth(above: str, wanted: list[str]) -> Iterator[str]:
    """As `glob`, which does not terminate if links lead back to a parent directory."""
    sees_hidden = any(part.startswith(".") for part in wanted)
    for directory in sorted(glob.glob(above)):
        for path in walk(directory, lambda name: name.startswith(".") and not sees_hidden):
            if _fits(relative(path, os.path.abspath(directory)).split("/"), wanted):
                yield path


def _fits(parts: list[str], wanted: list[str]) -> bool:
    if not wanted or not parts:
        return parts == wanted or wanted == [_ANY_DEPTH]
    if wanted[0] == _ANY_DEPTH:
        return len(wanted) == 1 or any(_fits(parts[skipped:], wanted[1:]) for skipped in range(len(parts)))
    return fnmatch.fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])
