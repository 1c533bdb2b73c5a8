"""Finds the files that a node needs to import modules of the user's program.

Runs in the user's thread. Nothing of the program is imported or run: modules that are not loaded are located as Python
would do it, and the imports of a file are read from its compiled code.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import io
import logging
import os
import pkgutil
import stat
import sys
import tokenize
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from gdispy.errors import ConfigError
from gdispy.worker import own_modules
from gdispy.worker.imported_names import imports_of_code, submodules_offered

__all__ = ["Content", "Sources", "find", "imports_of_code", "source_of", "whole"]

#: The content of a module's file: the path of a file here, or the source itself.
Content = str | bytes
_SOURCE = tuple(importlib.machinery.SOURCE_SUFFIXES)
_EXTENSION = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_COMPILED = tuple(importlib.machinery.BYTECODE_SUFFIXES)

logger = logging.getLogger(__name__)


@dataclass
class Sources:
    """The files found."""

    #: Path on the node, with '/' -> path here, or the source itself.
    files: dict[str, Content] = field(default_factory=dict)
    #: Path on the node -> why this file is needed.
    reasons: dict[str, str] = field(default_factory=dict)
    #: All modules that can be imported from the files, packages without a file included.
    modules: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Module:
    """A module of the program, loaded or not."""

    name: str
    #: The directories of its submodules; None if it is not a package.
    portions: list[str] | None
    #: None for a module without a file that can be sent, such as a package without `__init__.py`.
    content: Content | None
    #: It has no file because it was created at run time.
    is_made: bool = False

    @property
    def package(self) -> str:
        """The package that its relative imports refer to."""
        return self.name if self.portions is not None else self.name.rpartition(".")[0]

    @property
    def path(self) -> str:
        """Its file on the node."""
        stem = self.name.replace(".", "/") + ("/__init__" if self.portions is not None else "")
        path = self.content if isinstance(self.content, str) else ""
        return stem + next((each for each in (*_EXTENSION, *_COMPILED) if path.endswith(each)), ".py")


def find(names: Iterable[str]) -> Sources:
    """The files of these modules, of their packages, and of all own modules that they import anywhere in their code.

    Modules that are installed or cannot be found are left out. Raises ConfigError for a module among `names` that
    is loaded here but has no source.
    """
    asked = sorted(set(names))
    found, modules = Sources(), _Modules()
    waiting = deque((name, "it is imported by the computation") for name in asked)
    seen: set[str] = set()
    covered: set[str] = set()
    while waiting:
        name, reason = waiting.popleft()
        for each in _with_parents(name):
            module = None if each in seen else modules.look(each)
            seen.add(each)
            if module is None:
                continue
            if module.content is None and not module.portions:
                modules.report_missing(module, is_asked=each in asked)
                continue
            covered.add(each)
            if module.content is not None:
                found.files[module.path] = module.content
                found.reasons[module.path] = reason
                waiting.extend((more, f"{each} imports it") for more in sorted(_imports_of(module)) if more not in seen)
    found.modules = frozenset(covered)
    return found


def source_of(name: str, module: types.ModuleType) -> tuple[str, Content] | None:
    """The path on the node and the content of a module that is loaded here; None if it has no source."""
    found = _Modules.of_loaded(name, module)
    return None if found.content is None else (found.path, found.content)


def whole(name: str, module: types.ModuleType) -> dict[str, Content]:
    """All files of a module that is loaded here, or of all directories of a package, including data files: path on the
    node -> content. Installed directories of a package are left out; a module without a file has none."""
    portions = own_modules.portions_of(module)
    own = [each for each in portions if not own_modules.is_installed_file(os.path.join(each, "__init__.py"))]
    place = name.replace(".", "/")
    found: dict[str, Content] = {}
    for portion in own or portions:
        for shown, content in _files_below(portion):
            found.setdefault(f"{place}/{shown}", content)  # Python uses the first of equal names.
    if not portions:
        source = source_of(name, module)
        file = own_modules.attributes_of(module).get("__file__")
        if source is not None:
            found[source[0]] = source[1]
        elif isinstance(file, str) and os.path.isfile(file):  # Compiled: usable by the same version of Python.
            found[place + os.path.splitext(file)[1]] = os.path.abspath(file)
    return found


def _files_below(directory: str) -> Iterator[tuple[str, Content]]:
    """The files of a package, with their relative paths, without hidden files and files that Python generates."""
    if not os.path.isdir(directory):
        yield from _files_in_archive(directory)
        return
    for path in walk(directory, _is_left_out):
        yield relative(path, os.path.abspath(directory)), path


def _files_in_archive(directory: str) -> Iterator[tuple[str, Content]]:
    """The same for a directory in a zip file."""
    archive = directory
    while archive and not os.path.exists(archive):
        archive = archive.rpartition(os.sep)[0]
    if not os.path.isfile(archive):
        return
    import zipfile  # Imported on demand, since it is slow to load.

    prefix = directory[len(archive) + 1 :].replace(os.sep, "/") + "/"
    with zipfile.ZipFile(archive) as opened:
        for path in sorted(opened.namelist()):
            shown = path.removeprefix(prefix)
            if path.startswith(prefix) and shown and not any(map(_is_left_out, shown.split("/"))):
                yield shown, opened.read(path)


def _is_left_out(name: str) -> bool:
    """Also for '', the last part of a directory in an archive."""
    return name in ("", "__pycache__") or name.startswith(".") or name.endswith((".pyc", ".pyo"))


def _with_parents(name: str) -> Iterator[str]:
    """The packages that contain a module, outermost first, and the module."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _imports_of(module: _Module) -> frozenset[str]:
    if isinstance(module.content, bytes):
        return _imports_of_source(module.content, module.package, module.portions is not None)
    path = module.content or ""
    if not path.endswith(_SOURCE):
        return frozenset()
    try:
        about = os.stat(path)
        return _imports_of_file(path, about.st_mtime_ns, about.st_size, module.package, module.portions is not None)
    except OSError as error:  # Reported when the file is read for sending.
        logger.debug("the imports of %s are not known: %s", path, error)
        return frozenset()


@functools.lru_cache(1024)
def _imports_of_file(path: str, changed: int, size: int, package: str, is_package: bool) -> frozenset[str]:
    try:
        return _imports_of_code(_code_of_file(path), package, is_package)
    except (
        SyntaxError,
        ValueError,
        EOFError,
    ) as error:  # It may be for another version of Python and never imported here.
        logger.debug("the imports of %s are not known: %s", path, error)
        return frozenset()


def _code_of_file(path: str) -> types.CodeType:
    """The compiled file, from Python's cache if possible, which is much faster than compiling."""
    with contextlib.suppress(NotImplementedError):
        if os.path.exists(importlib.util.cache_from_source(path)):
            return cast(types.CodeType, importlib.machinery.SourceFileLoader(path, path).get_code(path))
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def _imports_of_source(source: bytes, package: str, is_package: bool) -> frozenset[str]:
    try:
        return _imports_of_code(compile(source, "<source>", "exec", dont_inherit=True), package, is_package)
    except (SyntaxError, ValueError) as error:
        logger.debug("the imports of a module of %s are not known: %s", package, error)
        return frozenset()


def _imports_of_code(code: types.CodeType, package: str, is_package: bool) -> frozenset[str]:
    offered = submodules_offered(code, package) if is_package else set()
    return frozenset(imports_of_code(code, package) | offered)


class _Modules:
    """The modules of the program, by name, as one search finds them."""

    def __init__(self) -> None:
        self._known: dict[str, _Module | None] = {}

    def look(self, name: str) -> _Module | None:
        """The module of this name, if it belongs to the program."""
        if name not in self._known:
            if name in sys.modules:  # None stands for a module that cannot be imported.
                own = own_modules.is_own(name)
                self._known[name] = self.of_loaded(name, sys.modules[name]) if own else None
            else:
                self._known[name] = self._not_loaded(name)
        return self._known[name]

    @staticmethod
    def of_loaded(name: str, module: object) -> _Module:
        about = own_modules.attributes_of(module)
        spec = about.get("__spec__")
        loader = about.get("__loader__") or getattr(spec, "loader", None)
        portions = own_modules.portions_of(module) if about.get("__path__") is not None else None
        own_name = getattr(spec, "name", None) or name
        file = about.get("__file__")
        return _Module(name, portions, _content(own_name, file, loader), is_made=file is None)

    def _not_loaded(self, name: str) -> _Module | None:
        parent = name.rpartition(".")[0]
        above = self.look(parent) if parent else None
        if parent and (above is None or not above.portions):
            return None
        if name.partition(".")[0] == __name__.partition(".")[0]:
            return None
        spec = _spec(name, above.portions if above is not None else None)
        if spec is None or spec.origin in ("built-in", "frozen"):
            return None
        portions = spec.submodule_search_locations
        portions = None if portions is None else list(portions)
        file = spec.origin if spec.has_location else None
        places = [file] if file else [os.path.join(each, "__init__.py") for each in portions or ()]
        if places and all(map(own_modules.is_installed_file, places)):
            return None
        return _Module(name, portions, _content(name, file, spec.loader))

    def report_missing(self, module: _Module, is_asked: bool) -> None:
        """Warn that a module has no source. Raises ConfigError if the computation itself needs it."""
        above = map(self.look, _with_parents(module.name.rpartition(".")[0]))
        if module.is_made and any(each is not None and each.content is not None for each in above):
            return  # Its parent package creates it, also on the nodes.
        text = f"the module {module.name} has no source that can be sent to nodes"
        if is_asked:
            raise ConfigError(f"{text}: save it in a file, or install it on the nodes")
        logger.warning("%s: jobs find it only if another module creates it", text)


def _spec(name: str, path: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    """The spec of a module that is not loaded. Unlike `importlib.util.find_spec`, it does not import the package."""
    for finder in sys.meta_path:
        try:
            is_by_path = finder is importlib.machinery.PathFinder and path is not None
            spec = _spec_below(name, path or []) if is_by_path else finder.find_spec(name, path)
        except Exception as error:  # From a finder of the program or of a package.
            logger.debug("%r cannot find %s: %s", finder, name, error)
            continue
        if spec is not None:
            return spec
    return None


def _spec_below(name: str, path: list[str]) -> importlib.machinery.ModuleSpec | None:
    """As PathFinder, which needs a loaded package for a part of a namespace package."""
    portions: list[str] = []
    for entry in path:
        finder = pkgutil.get_importer(entry)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        portions += (spec.submodule_search_locations or []) if spec is not None else []
    if not portions:
        return None
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = portions
    return spec


def _content(name: str, file: object, loader: Any) -> Content | None:
    """The file of a module if it can be sent, or its source from an archive or its loader."""
    if isinstance(file, str):
        path = _source_beside(file) if file.endswith(_COMPILED) else file
        if path.endswith((*_SOURCE, *_EXTENSION)) and os.path.isfile(path):
            return os.path.abspath(path)
        if file.endswith(_COMPILED) and os.path.isfile(
            file
        ):  # For nodes with the same version of Python, without a source.
            return os.path.abspath(file)
        if path.endswith(_SOURCE) and hasattr(loader, "get_data"):
            try:
                return bytes(loader.get_data(path))
            except Exception as error:
                logger.debug("%s cannot be read by %r: %s", path, loader, error)
    try:
        text = loader.get_source(name)
    except Exception as error:  # Loaders may raise anything.
        logger.debug("%r has no source for %s: %s", loader, name, error)
        return None
    if not isinstance(text, str) or not (text or file):  # A package without `__init__.py` has an empty source.
        return None
    return _encoded(text)


def _source_beside(compiled: str) -> str:
    """The path where the source of a compiled file should be."""
    try:
        return importlib.util.source_from_cache(compiled)
    except (ValueError, NotImplementedError):
        return compiled[:-1]


def _encoded(text: str) -> bytes:
    """Source text as bytes, in the encoding that its first lines declare."""
    raw = text.encode("utf-8", "surrogatepass")
    try:
        return text.encode(tokenize.detect_encoding(io.BytesIO(raw).readline)[0])
    except (SyntaxError, UnicodeError):
        return raw


# Directories


def walk(directory: str, is_left_out: Callable[[str], bool], above: tuple[str, ...] = ()) -> Iterator[str]:
    """The absolute paths of the files below a directory, sorted. Links are followed, as imports follow them, except
    those to a directory that contains them (`above`)."""
    within = (*above, os.path.realpath(directory))
    names = [name for name in _listed(directory) if not is_left_out(name)]
    paths = [os.path.abspath(os.path.join(directory, name)) for name in names]
    folders = dict.fromkeys(filter(os.path.isdir, paths))
    for path in paths:
        if path not in folders:
            yield from regular(path)
    for path in folders:
        if os.path.islink(path) and os.path.realpath(path) in within:
            logger.warning("%s is left out: it is a link to a directory that contains it", path)
        else:
            yield from walk(path, is_left_out, within)


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        logger.warning("%s is left out: %s", directory, error.strerror)
        return []


def regular(path: str) -> Iterator[str]:
    """The path if it is a regular file; else nothing, with a warning."""
    if os.path.isfile(path):
        yield path
    else:
        logger.warning("%s is left out: it is %s", path, kind_of(path))


def kind_of(path: str) -> str:
    """A description of a path that is not a regular file."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return "a broken link" if os.path.islink(path) else f"not accessible ({error.strerror})"
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def relative(path: str, base: str) -> str:
    """A path relative to a directory, with '/' as on nodes."""
    return os.path.relpath(path, base).replace(os.sep, "/")
