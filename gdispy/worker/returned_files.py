"""The files that a program's job brings to the client when it has ended: those that match its patterns.

Runs in the worker, in the job's directory. Standard library.

Patterns are relative, as in `glob`, with `**` for directories of any depth. A directory stands for all files below it.
A pattern with wildcards means what the job has made: files that existed before it, and that it has not changed, such as
its input and the program, are left out. A plain name means that file in any case.
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


class ReturnedFiles:
    """The patterns of one job, and the state of its directory before it."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Before the program starts."""
        self._patterns = patterns
        wild = any(glob.has_magic(each) for each in patterns)
        #: None for what is not a file. `.` is the directory of the job.
        self._before = {path: _state(path) for path in _files_below(os.curdir)} if wild else {}

    def find(self) -> tuple[list[str], list[str]]:
        """After its end: the paths of the files to return, and the patterns that match none of them."""
        found: dict[str, None] = {}
        missing: list[str] = []
        for pattern in self._patterns:
            paths = list(self._matches(pattern))
            found.update(dict.fromkeys(paths))
            if not paths:
                missing.append(pattern)
        return list(found), missing

    def _matches(self, pattern: str) -> Iterator[str]:
        is_wild = glob.has_magic(pattern)
        for match in sorted(glob.glob(pattern, recursive=True)) if is_wild else [pattern]:
            for path in _files_below(match) if os.path.isdir(match) else [match]:
                state = _state(path)
                if state is not None and not (is_wild and self._before.get(path) == state):
                    yield path


def _files_below(directory: str) -> Iterator[str]:
    for folder, _, names in os.walk(directory):
        for name in sorted(names):
            yield os.path.normpath(os.path.join(folder, name))


def _state(path: str) -> _State | None:
    """The state of the file, or of the file that a link leads to; None if there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    if not os.path.isfile(path):
        return None
    return _State(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
