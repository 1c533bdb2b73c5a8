"""A directory for one job: its working directory, with the files of the computation and its own, gone after it.

Standard library. Used by a worker around jobs of computations with `job_directory`, and around jobs whose own
files would otherwise be in the way of others. The node removes those of workers that were killed.
"""

from __future__ import annotations

from typing import NamedTuple

from gdispy.worker.originals import os
from gdispy.worker.setup_globals import Namespaces
from gdispy.worker.trees import Arrivals, Link, changed, mirror, remove_tree


class Place(NamedTuple):
    """Where the jobs of a worker run."""

    #: The directory of the computation.
    shared: str
    #: Below it each job has a directory of its own; '' where as a rule none has.
    base: str = ""
    #: Whether that of a job stays after it.
    is_kept: bool = False
    #: The name of the program's file, where it is one.
    program: str = ""
    #: Bytes of each stream of a job's output that are kept, and the directory for files of it.
    output_limit: int = 8 * 1024 * 1024
    files: str = ""
    #: Files of modules in the directory of the computation that were there before the first job.
    modules: frozenset[str] = frozenset()


class JobDirectory:
    """The directory of the job that runs."""

    def __init__(self, place: Place, path: str, namespaces: Namespaces) -> None:
        self.path = path
        self._shared = place.shared
        self._program = place.program
        self._is_kept = place.is_kept
        self._files = place.files
        self._links: list[Link] = []
        self._namespaces = namespaces

    def enter(self) -> list[str]:
        """Make it the working directory; the job's own files, which are there already. Raises OSError."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        own = _files_below(self.path)
        self._links = mirror(self._shared, self.path, self._program, Arrivals(self._files))
        os.chdir(self.path)
        self._namespaces.replace("dispy_job_path", self._shared, self.path)
        os.environ.update(dispy_job_path=self.path)
        return own

    def leave(self) -> str:
        """The job has ended: remove the directory, unless it is to stay. What it did wrong, or ''."""
        self._namespaces.replace("dispy_job_path", self.path, self._shared)
        names = [os.path.relpath(path, self._shared) for path in changed(self._links)]
        if not self._is_kept:
            remove_tree(self.path)
        if not names:
            return ""
        return (
            f"The job has changed {', '.join(names)}, a large file that all jobs of the computation share, so their "
            "results may be wrong: let it work on a private copy.\n"
        )


def _files_below(path: str) -> list[str]:
    """Relative paths of all files."""
    return [os.path.relpath(os.path.join(folder, name), path) for folder, _, names in os.walk(path) for name in names]
