"""Distinguishes the program's own modules from those that nodes have: Python's, and installed ones.

Standard library. The location of a module's file decides, not its name; an editable install is elsewhere, and counts as
the program's own. There are thousands of modules: paths are compared as text, and links are resolved once for each
directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import site
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any

#: Matches a directory of installed packages, of this Python or of another environment.
_PACKAGES = re.compile(r".*?[/\\][Ll]ib(?:32|64)?[/\\](?:(?:python|pypy)[^/\\]*[/\\])?(?:site|dist)-packages(?=[/\\])")
#: Modules without a file that compiled extensions create: those of Cython and of SWIG.
_OF_EXTENSIONS = re.compile(r"_?cython_|swig_runtime_data|__mypyc_runtime__")
#: `__main__` is the program's own, too, but is sent in another way.
_MAIN = frozenset(("__main__", "__mp_main__"))
_SELF = __name__.partition(".")[0]
_NOT_FILES = ("built-in", "frozen")
_LOADERS_OF_PYTHON = ("BuiltinImporter", "FrozenImporter")


class InstalledPlaces:
    """The directories of Python's library and of installed packages."""

    def __init__(self, library: Iterable[str], packages: Iterable[str]) -> None:
        self._library = _as_prefixes(library)
        self._packages = _as_prefixes(packages)
        #: Directory -> whether its files were installed.
        self._known: dict[str, bool] = {}
        #: Directories of packages among them, but not below one.
        self._roots: set[str] = set()

    def hold(self, file: str) -> bool:
        """Whether a file of this path was installed, or belongs to Python."""
        directory = file.rpartition(os.sep)[0]
        found = self._known.get(directory)
        if found is None:
            found = self._known[directory] = self._look(directory)
        # A module that is a single file may be a link to a file under development.
        if directory in self._roots and os.path.islink(file):
            return self._hold_real(os.path.realpath(file))
        return found

    def _look(self, given: str) -> bool:
        directory = os.path.abspath(given)
        root = self._packages_root(directory)
        if root == directory:
            self._roots.add(given)
            return True
        if root:
            top = directory[len(root) + 1 :].partition(os.sep)[0]
            return not os.path.islink(os.path.join(root, top)) or self._hold_real(os.path.realpath(directory))
        if _is_below(directory, self._library):
            return True
        real = os.path.realpath(directory)
        return real != directory and self._hold_real(real)

    def _hold_real(self, path: str) -> bool:
        return bool(self._packages_root(path)) or _is_below(path, self._library)

    def _packages_root(self, path: str) -> str:
        """The directory of installed packages that holds a path, or is it; '' if there is none."""
        path += os.sep
        found = _PACKAGES.match(path)
        if found:
            return found[0]
        return next((prefix[:-1] for prefix in self._packages if path.startswith(prefix)), "")


def _as_prefixes(directories: Iterable[str]) -> tuple[str, ...]:
    both = (path for each in directories for path in (os.path.abspath(each), os.path.realpath(each)))
    return tuple(dict.fromkeys(path.rstrip(os.sep) + os.sep for path in both))


def _is_below(path: str, prefixes: tuple[str, ...]) -> bool:
    return (path + os.sep).startswith(prefixes)


def places_of_this_python() -> InstalledPlaces:
    """The library and package directories of this interpreter."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    roots = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    library = [os.path.join(root, folder, version) for root in sorted(roots) for folder in {"lib", sys.platlibdir}]
    packages = list(site.getsitepackages())
    user = site.getusersitepackages()
    return InstalledPlaces([os.path.dirname(os.__file__), *library], [*packages, user] if user else packages)


class OwnModules:
    """Whether each module in `sys.modules` is the program's own."""

    def __init__(self, places: InstalledPlaces) -> None:
        self.places = places
        #: Name -> the module that was checked, and the result. Another module may take the name.
        self._known: dict[str, tuple[weakref.ref[Any], bool]] = {}
        self._number = -1
        #: Name and identity of the last imported module when the names were collected.
        self._last_name, self._last = "", 0
        self._names: frozenset[bytes] = frozenset()

    def is_own(self, name: str) -> bool:
        """Whether the module of this name is the program's own. False for one that is not in `sys.modules`, and for
        `__main__`."""
        module = sys.modules.get(name)
        known = self._known.get(name)
        if known is not None and known[0]() is module:
            return known[1] and module is not None
        if module is None or name in _MAIN or name.partition(".")[0] == _SELF:
            return False
        found = self._look(name, module)
        with contextlib.suppress(TypeError):  # A program may replace a module by any object.
            self._known[name] = weakref.ref(module), found
        return found

    def names(self) -> frozenset[bytes]:
        """The names of all own modules at present, in UTF-8."""
        modules = sys.modules
        last = next(reversed(modules))
        if len(modules) != self._number or last != self._last_name or id(modules.get(last)) != self._last:
            self._number, self._last_name, self._last = len(modules), last, id(modules.get(last))
            self._names = frozenset(name.encode("utf-8", "replace") for name in [*modules] if self.is_own(name))
        return self._names

    def _look(self, name: str, module: object) -> bool:
        about = attributes_of(module)
        file = about.get("__file__")
        if isinstance(file, str):
            return not self.places.hold(file)
        portions = portions_of(module)
        if portions:
            return any(not self.places.hold(os.path.join(portion, "__init__.py")) for portion in portions)
        if _is_part_of_python(about):
            return False
        parent = name.rpartition(".")[0]
        while parent and parent not in sys.modules:
            parent = parent.rpartition(".")[0]
        if parent:
            return self.is_own(parent)
        file = None if isinstance(module, types.ModuleType) else _file_of_class(type(module))
        return not self.places.hold(file) if file else not _OF_EXTENSIONS.match(name)


def portions_of(module: object) -> list[str]:
    """The directories of a package; a namespace package may have several. None for a module."""
    try:
        portions = attributes_of(module).get("__path__") or ()
        return [each for each in dict.fromkeys(portions) if isinstance(each, str)]
    except Exception:  # A namespace package without its parent cannot tell.
        return []


def attributes_of(module: object) -> dict[str, Any]:
    """The attributes of a module. Other ways would load a lazy module."""
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_part_of_python(about: dict[str, object]) -> bool:
    if getattr(about.get("__spec__"), "origin", None) in _NOT_FILES:
        return True
    return getattr(about.get("__loader__"), "__name__", "") in _LOADERS_OF_PYTHON


def _file_of_class(owner: type) -> str | None:
    """The file in which a class was defined, as far as its methods tell."""
    for each in vars(owner).values():
        code = getattr(each, "__code__", None)
        if isinstance(code, types.CodeType):
            return code.co_filename
    return None


_of_this_process = OwnModules(places_of_this_python())
is_own = _of_this_process.is_own
own_names = _of_this_process.names
is_installed_file = _of_this_process.places.hold
