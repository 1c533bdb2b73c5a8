"""The files that a program's job brings to the client when it has ended: those that match its patterns.

Runs in the worker, in the job's directory. Standard library.

Patterns are relative, as in `glob`, with `**` for directories of any depth. A directory stands for all files below it.
A pattern with wildcards means what the job has made: files that existed before it, and that it has not changed, such as
its input and the program, are left out. A plain name means that file in any case.

A link that the job has made, and that leads out of its directory, is not followed: it would return a file of the node.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gdispy.worker.originals import os


class _State(NamedTuple):
    """Identifies the contents of a file."""

    device: int
    inode: int
    size: int
    modified: int


class Found(NamedTuple):
    """The files of a job that has ended."""

    #: The paths of the files to return.
    paths: list[str]
    #: The patterns that match none of them.
    missing: list[str]
    #: Paths that match, and lead out of the directory of the job.
    outside: list[str]


class ReturnedFiles:
    """The patterns of one job, and the state of its directory before it."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Before the program starts."""
        self._patterns = patterns
        self._home = os.path.realpath(os.curdir)
        #: Those of gdispy, which lead to files that all jobs share: path -> where it leads.
        self._links = {path: os.path.realpath(path) for path in _links_below(os.curdir)}
        wild = any(glob.has_magic(each) for each in patterns)
        #: None for what is not a file. `.` is the directory of the job.
        self._before = {path: _state(path) for path in _files_below(os.curdir)} if wild else {}

    def find(self) -> Found:
        """After its end."""
        found: dict[str, None] = {}
        outside: dict[str, None] = {}
        missing: list[str] = []
        for pattern in self._patterns:
            paths = list(self._matches(pattern))
            leading = [path for path in paths if self._leads_outside(path)]
            outside.update(dict.fromkeys(leading))
            found.update(dict.fromkeys(path for path in paths if path not in leading and not os.path.isdir(path)))
            if not paths:
                missing.append(pattern)
        return Found(list(found), missing, list(outside))

    def _matches(self, pattern: str) -> Iterator[str]:
        """The files, and links to directories outside."""
        is_wild = glob.has_magic(pattern)
        for match in sorted(glob.glob(pattern, recursive=True)) if is_wild else [pattern]:
            if os.path.isdir(match) and self._leads_outside(match):
                yield match
                continue
            for path in _files_below(match) if os.path.isdir(match) else [match]:
                state = _state(path)
                if state is not None and not (is_wild and self._before.get(path) == state):
                    yield path

    def _leads_outside(self, path: str) -> bool:
        place = os.path.realpath(path)
        return not f"{place}/".startswith(f"{self._home}/") and self._links.get(os.path.normpath(path)) != place


def _files_below(directory: str) -> Iterator[str]:
    for folder, _, names in os.walk(directory):
        for name in sorted(names):
            yield os.path.normpath(os.path.join(folder, name))


def _links_below(directory: str) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = os.path.normpath(os.path.join(folder, name))
            if os.path.islink(path):
                yield path


def _state(path: str) -> _State | None:
    """The state of the file, or of the file that a link leads to; None if there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    if not os.path.isfile(path):
        return None
    return _State(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
