"""Modules that a job brings, or creates: they exist while it runs.

Standard library. `JobModules` is for a job with files (`dispy_job_depends`). Modules imported under the names of these
files, also those of the computation, are removed meanwhile, and restored. `MadeModules` are those that a job has
written to its working directory, and imported.
"""

from __future__ import annotations

import contextlib
import sys
import types
import zipimport
from collections.abc import Callable, Iterable

from gdispy.worker.changes import Changes, nothing_brought
from gdispy.worker.originals import os

_MISSING = object()
_ARCHIVES = (".zip", ".egg", ".whl", ".pyz")


class JobModules:
    """The modules among a job's files, relative to their directory."""

    def __init__(self, directory: str, files: Iterable[str], changes: Changes, owns_all: bool) -> None:
        self._directory = directory
        #: The directory belongs to the job: all modules imported from there are removed with it.
        self._owns_all = owns_all
        self._changes = changes
        self._paths = frozenset(os.path.join(directory, path) for path in files)
        self._names = _module_names(files)
        #: Files that may contain modules, such as zip archives that a job adds to `sys.path`.
        self._archives = tuple(path for path in self._paths if path.endswith(_ARCHIVES))
        #: Whether there is anything to do: a job may bring only data.
        self._is_needed = bool(owns_all or self._names or self._archives)
        self._tops = frozenset(name.partition(".")[0] for name in self._names)
        self._before: dict[str, types.ModuleType] = {}
        self._aside: dict[str, types.ModuleType] = {}
        self._wrote_bytecode = sys.dont_write_bytecode
        self._was_brought: Callable[[object], bool] = nothing_brought

    def __enter__(self) -> None:
        if not self._is_needed:
            return
        for name, module in list(sys.modules.items()):
            if self._is_in_the_way(name):
                self._aside[name] = module
                _detach(name, sys.modules.pop(name))
        self._before = dict(sys.modules)
        # A compiled file would be used for the next file of this name with the same second and length.
        self._wrote_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        self._was_brought, self._changes.is_brought = self._changes.is_brought, self._is_brought_file
        self._forget_listings()

    def __exit__(self, *_: object) -> None:
        if not self._is_needed:
            return
        self._changes.is_brought = self._was_brought
        sys.dont_write_bytecode = self._wrote_bytecode
        for name, module in list(sys.modules.items()):
            if self._before.get(name) is not module and self._is_brought(module):
                _detach(name, sys.modules.pop(name))
        for name, module in self._aside.items():
            sys.modules[name] = module
            _attach(name, module)
        self._forget_listings()

    def _is_in_the_way(self, name: str) -> bool:
        """Whether this module must not be used instead of one of the job's; Python's own are kept."""
        parts = name.split(".")
        if parts[0] in sys.stdlib_module_names:
            return False
        if self._owns_all:  # Also packages to which the job only adds: they are found by their parts.
            return parts[0] in self._tops
        return any(".".join(parts[: place + 1]) in self._names for place in range(len(parts)))

    def _is_brought_file(self, file: object) -> bool:
        if not isinstance(file, str):
            return False
        path = os.path.abspath(file)
        if self._owns_all:
            return path.startswith(self._directory + os.sep)
        return path in self._paths or any(path.startswith(archive + os.sep) for archive in self._archives)

    def _is_brought(self, module: object) -> bool:
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            return self._is_brought_file(file)
        try:  # A directory without __init__.py.
            places = [os.path.abspath(each) for each in getattr(module, "__path__", ())]
        except Exception:
            return False
        if self._owns_all:
            return any((place + os.sep).startswith(self._directory + os.sep) for place in places)
        return any(path.startswith(place + os.sep) for place in places for path in self._paths)

    def _forget_listings(self) -> None:
        """The cache of the import system for its directory."""
        for place, finder in list(sys.path_importer_cache.items()):
            path = os.path.abspath(place)
            if path.startswith(self._archives) and self._archives:
                del sys.path_importer_cache[place]
                zipimport._zip_directory_cache.pop(path, None)  # type: ignore[attr-defined]
            elif finder is not None and path.startswith(self._directory):
                finder.invalidate_caches()  # type: ignore[attr-defined]


class MadeModules:
    """Modules that jobs have created: their files are in the directories of jobs, and did not come with the
    computation. Later jobs with different modules of the same names would find them."""

    def __init__(self, directories: Iterable[str], came: frozenset[str], changes: Changes) -> None:
        paths = {path for each in directories if each for path in (os.path.abspath(each), os.path.realpath(each))}
        self._directories = tuple(path + os.sep for path in paths)
        #: Files that came with the computation, relative to its directory.
        self._came = came
        self._archives = tuple(path + os.sep for path in came if path.endswith(_ARCHIVES))
        self._changes = changes
        self._known: frozenset[str] = frozenset()
        #: The number of modules at the last check.
        self.number = 0

    def begin(self) -> None:
        """Modules imported now are for all jobs."""
        self._changes.is_brought = self._is_made_file
        self._know()

    def forget(self) -> None:
        """A job has ended: remove the modules that it has created and imported."""
        made = {name: sys.modules[name] for name in sys.modules.keys() - self._known}
        made = {name: module for name, module in made.items() if self._is_made(module)}
        for name, module in made.items():
            _detach(name, sys.modules.pop(name))
            self._remove_bytecode(module)
        if made:
            self._forget_listings()
        self._know()

    def _know(self) -> None:
        self._known = frozenset(sys.modules)
        self.number = len(self._known)

    def _relative(self, path: str) -> str | None:
        """A path relative to one of the directories; None if it is elsewhere."""
        path = os.path.abspath(path)
        for each in self._directories:
            if path.startswith(each):
                return path[len(each) :]
        return None

    def _is_made_file(self, file: object) -> bool:
        path = self._relative(file) if isinstance(file, str) else None
        return path is not None and path not in self._came and not path.startswith(self._archives)

    def _is_made(self, module: object) -> bool:
        try:
            file = getattr(module, "__file__", None)
            if isinstance(file, str):
                return self._is_made_file(file)
            places = [self._relative(each) for each in getattr(module, "__path__", ())]
        except Exception:  # It is another object that a job has put there.
            return False
        # Directories without __init__.py.
        found = [place for place in places if place is not None]
        return bool(found) and not any(path.startswith(place + os.sep) for place in found for path in self._came)

    def _remove_bytecode(self, module: object) -> None:
        """It would be used for the next file of this name with the same second and length."""
        path = getattr(module, "__cached__", None)
        if isinstance(path, str) and self._relative(path) is not None:
            with contextlib.suppress(OSError, ValueError):
                os.unlink(path)

    def _forget_listings(self) -> None:
        for place in list(sys.path_importer_cache):
            if (os.path.abspath(place) + os.sep).startswith(self._directories):
                sys.path_importer_cache.pop(place, None)
                zipimport._zip_directory_cache.pop(os.path.abspath(place), None)  # type: ignore[attr-defined]


def module_files(directory: str) -> frozenset[str]:
    """Files below it that can be imported as modules, relative to it."""
    found: set[str] = set()
    for folder, folders, names in os.walk(directory):
        folders[:] = [each for each in folders if each != "__pycache__"]
        paths = [os.path.join(folder, name) for name in names if name.endswith((".py", ".pyc", ".so", *_ARCHIVES))]
        found.update(os.path.relpath(path, directory) for path in paths)
    return frozenset(found)


def _module_names(files: Iterable[str]) -> frozenset[str]:
    """The names under which they can be imported, from any of their directories in `sys.path`."""
    found = set()
    for path in files:
        *folders, name = path.split("/")
        stem, _, suffix = name.partition(".")
        if suffix not in ("py", "pyc") and not suffix.endswith("so"):
            continue
        parts = folders if stem == "__init__" else [*folders, stem]
        found |= {".".join(parts[place:]) for place in range(len(parts))}
    return frozenset(found)


def _detach(name: str, module: types.ModuleType) -> None:
    """Remove a module from the attributes of its package."""
    package, _, last = name.rpartition(".")
    owner = sys.modules.get(package)
    if owner is not None and getattr(owner, last, _MISSING) is module:
        delattr(owner, last)


def _attach(name: str, module: types.ModuleType) -> None:
    package, _, last = name.rpartition(".")
    owner = sys.modules.get(package)
    if owner is not None:
        setattr(owner, last, module)
