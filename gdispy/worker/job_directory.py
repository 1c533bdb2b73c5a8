"""A directory for one job: its working directory, with the files of the computation and of the job, removed after it.

Standard library. For jobs of computations with `job_directory`, and for jobs whose files would conflict with those of
others. The node removes the directories of workers that were killed.
"""

from __future__ import annotations

from typing import NamedTuple

from gdispy.worker.originals import os
from gdispy.worker.setup_globals import Namespaces
from gdispy.worker.trees import Arrivals, Link, changed, mirror, remove_tree


class Place(NamedTuple):
    """The working directories of the jobs of a worker."""

    #: The directory of the computation.
    shared: str
    #: The parent of separate directories of jobs; '' if jobs normally have none.
    base: str = ""
    #: Whether the directory of a job is kept.
    is_kept: bool = False
    #: The name of the program's file, for a program.
    program: str = ""
    #: Bytes kept of each output stream of a job, and the directory for its files.
    output_limit: int = 8 * 1024 * 1024
    files: str = ""
    #: Files of modules in the directory of the computation that existed before the first job.
    modules: frozenset[str] = frozenset()
    #: A directory of the worker, which contains those of its jobs; created when it is needed.
    private: str = ""


class JobDirectory:
    """The directory of the running job."""

    def __init__(self, place: Place, path: str, namespaces: Namespaces) -> None:
        self.path = path
        self._shared = place.shared
        self._program = place.program
        self._is_kept = place.is_kept
        self._files = place.files
        self._links: list[Link] = []
        self._namespaces = namespaces

    def enter(self) -> list[str]:
        """Make it the working directory; it already contains the job's own files. Raises OSError."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        own = _files_below(self.path)
        self._links = mirror(self._shared, self.path, self._program, Arrivals(self._files))
        os.chdir(self.path)
        self._namespaces.replace("dispy_job_path", self._shared, self.path)
        os.environ.update(dispy_job_path=self.path)
        return own

    def leave(self) -> str:
        """The job has ended: remove the directory, unless it is kept. Returns its violation, or ''."""
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
