"""Packages a computation for sending: the function or program and its dependencies.

Runs in the user's thread, once for each cluster, so that errors in a computation are raised in its constructor.
"""

from __future__ import annotations

import functools
import glob
import logging
import os
import re
import secrets
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gdispy import config
from gdispy.buffers.memory_file import DiskFile, FileInMemory, digest_of, digest_of_bytes
from gdispy.client import module_sources
from gdispy.client.data_files import data_files
from gdispy.client.function_packing import Packed, pack, size_of
from gdispy.client.module_sources import Content
from gdispy.client.transfer_report import LARGE, Entry, report
from gdispy.errors import ConfigError, ProtocolError
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.limits import COLUMN_LIMIT, INLINE, file_date, short_name
from gdispy.protocol.messages import OUTPUT_LIMIT, UNLIMITED, Prepare
from gdispy.protocol.payload import Bulk, MemoryPayload
from gdispy.protocol.rows import FileFields, FileRow
from gdispy.protocol.safe_path import safe_parts
from gdispy.worker import own_modules, pickling
from gdispy.worker.manner import Manner
from gdispy.worker.paths_to import heaviest

logger = logging.getLogger(__name__)


@dataclass
class Bundle:
    """The parts of a computation while they are collected."""

    #: Path on the node -> path here, or the contents.
    files: dict[str, Content] = field(default_factory=dict)
    #: Path on the node -> why the file is sent.
    reasons: dict[str, str] = field(default_factory=dict)
    #: Functions, classes and values that are given to the computation by name.
    names: dict[str, Any] = field(default_factory=dict)
    #: Names of modules that are sent with all their files.
    modules: set[str] = field(default_factory=set)

    def put(self, goal: str, content: Content, reason: str) -> None:
        """Add a file. Raises ConfigError for an invalid path, and for a different file with the same path."""
        goal = goal.replace(os.sep, "/")
        try:
            safe_parts(goal)
        except ProtocolError as error:
            raise ConfigError(f"a dependency cannot be sent: {error}") from None
        content = content if isinstance(content, bytes) else os.path.abspath(content)
        known = self.files.setdefault(goal, content)
        if known != content:
            shown = [each if isinstance(each, str) else f"the source of {goal}" for each in (known, content)]
            raise ConfigError(f"two dependencies would be one file on the nodes: {shown[0]} and {shown[1]}")
        self.reasons.setdefault(goal, reason)


def bulk(payload: pickling.Payload) -> Bulk:
    """A payload as a field of a message."""
    if isinstance(payload, bytes):
        return payload if len(payload) <= INLINE else MemoryPayload([payload])
    return MemoryPayload(payload)


#: As in `inspect`, which takes 5 ms to import.
_CO_COROUTINE = 0x80
_CO_GENERATORS = 0x20 | 0x200


def is_program(computation: Any) -> bool:
    """Whether this is the path of a program. Raises ConfigError if it is neither a path nor callable."""
    if isinstance(computation, str | os.PathLike):
        return True
    if callable(computation):
        _check_result(computation)
        return False
    raise ConfigError(
        "computation must be a function (or another callable) or the path of a program, "
        f"not {type(computation).__name__}"
    )


def _check_result(computation: Any) -> None:
    """Raise ConfigError for a function whose results can never be pickled."""
    while isinstance(computation, functools.partial):
        computation = computation.func
    flags = getattr(getattr(computation, "__code__", None), "co_flags", 0)  # Of a bound method, too.
    if flags & _CO_COROUTINE:
        raise ConfigError(
            f"{computation.__name__} is a coroutine function: use a function that runs it, for example with asyncio.run"
        )
    if flags & _CO_GENERATORS:
        raise ConfigError(f"{computation.__name__} is a generator function: use a function that returns a list")


@dataclass
class ComputationOptions:
    """How the jobs of a computation run on a node."""

    #: '' or 'job': every job runs in a new process.
    isolation: str = ""
    #: A directory on the nodes that later computations reuse, or ''.
    directory: str = ""
    #: Called once on each node, before the first job and after the last.
    setup: Callable[..., object] | None = None
    cleanup: Callable[..., object] | None = None
    #: Whether files are removed at the end.
    removes: bool = True
    #: Whether each job runs in a new directory.
    job_directory: bool = False
    #: Maximum number of bytes kept of each output stream of a job; None: no limit.
    output_limit: int | None = OUTPUT_LIMIT
    #: Patterns of data files to send.
    data: tuple[str, ...] = ()


def checked_outputs(job_directory: object, output_limit: object) -> tuple[bool, int | None]:
    """Check these two parameters of a cluster. Raises ConfigError."""
    if not isinstance(job_directory, bool):
        raise ConfigError(f"job_directory must be True or False, not {job_directory!r}")
    if output_limit is None:
        return job_directory, None
    if isinstance(output_limit, bool) or not isinstance(output_limit, int) or not 0 <= output_limit < UNLIMITED:
        raise ConfigError(f"output_limit must be a number of bytes, or None for no limit, not {output_limit!r}")
    return job_directory, output_limit


def computation_options(
    isolation: str,
    dest_path: str | None,
    setup: Callable[..., object] | None,
    cleanup: bool | Callable[..., object],
    job_directory: object,
    output_limit: object,
    data: object,
) -> ComputationOptions:
    """The options of a computation, from the parameters of a cluster. `cleanup` is a function, or whether files are
    removed. Raises ConfigError."""
    own = cleanup if callable(cleanup) else None
    outputs = checked_outputs(job_directory, output_limit)
    return ComputationOptions(isolation, dest_path or "", setup, own, bool(cleanup), *outputs, checked_data(data))


def prepare(
    computation: Any, depends: object, options: ComputationOptions, manner: Manner | None = None
) -> tuple[Prepare, Manner]:
    """The message with which a node loads a computation, and how arguments of its jobs are encoded. Raises
    ConfigError."""
    parts = Bundle()
    gather(parts, depends)
    number = ComputationId(secrets.token_bytes(8))
    if is_program(computation):
        name, kind, function = _add_program(parts, os.fspath(computation)), "program", None
    else:
        name, kind, function = _name(computation), "function", computation
    packed = Packed(manner=_with_files(manner or Manner(), parts))
    python = ""
    if function is not None or options.setup is not None or options.cleanup is not None or parts.names:
        packed = pack(name, (function, parts.names, options.setup, options.cleanup), packed.manner)
        python = config.PYTHON
        for goal, content in packed.files.items():
            parts.put(goal, content, packed.reasons.get(goal, ""))
    for goal, path in data_files(options.data, os.getcwd(), parts.files).items():
        parts.put(goal, path, "it is in data")
    rows, contents = read_files(parts.files)
    _report(name, function, packed, rows, parts.reasons)
    where = "/".join(_directory(options.directory)) if options.directory else ""
    sent = (bulk(packed.body), rows, contents, b"", bulk(packed.source))
    limit = UNLIMITED if options.output_limit is None else options.output_limit
    about = (number, name, kind, options.isolation, python, where, options.removes)
    return Prepare(*about, *sent, job_directory=options.job_directory, output_limit=limit), packed.manner


def _with_files(manner: Manner, parts: Bundle) -> Manner:
    """The manner with the modules that are sent as files: nodes import those by name."""
    paths = {content for content in parts.files.values() if isinstance(content, str)}
    found: set[str] = set()
    for each in own_modules.own_names():
        name = each.decode("utf-8", "replace")
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str) and os.path.abspath(file) in paths:
            found.add(name)
    return replace(manner, as_files=manner.as_files | found, by_name=manner.by_name | parts.modules)


def _report(name: str, function: Any, packed: Packed, rows: list[FileFields], reasons: dict[str, str]) -> None:
    """Log what is sent to each node, and warn if that is large."""
    size, text = size_of(packed.body), len(packed.source)
    title = "the function with everything it refers to"
    if size > LARGE:
        title += f", most of it {heaviest(function, packed.manner, name)[0]}"
    entries = [
        Entry(title, size, f"by value: {', '.join(packed.titles) or 'nothing'}") if size else None,
        Entry("its source text", text, "for nodes with other versions of Python", is_rare=True) if text else None,
        *(Entry(row.path, row.size, reasons.get(row.path, "")) for row in map(FileRow._make, rows)),
    ]
    report(name, [each for each in entries if each is not None])


def gather(parts: Bundle, depends: object, name: str = "depends") -> None:
    """Add everything in the parameter `depends`; `name` is what the user calls it. Raises ConfigError."""
    for each in _as_list(depends, name):
        _add(parts, each)


def checked_data(data: object) -> tuple[str, ...]:
    """Check the parameter `data`. Raises ConfigError."""
    patterns: list[str] = []
    for each in _as_list(data, "data"):
        pattern = os.fspath(each) if isinstance(each, str | os.PathLike) else None
        if not isinstance(pattern, str):
            raise ConfigError(f"data must list patterns such as 'templates/*.txt', not {type(each).__name__}: {each!r}")
        if not pattern or "\0" in pattern:
            raise ConfigError(f"data: {pattern!r} is not a valid pattern")
        patterns.append(pattern)
    return tuple(patterns)


def _as_list(given: Any, name: str = "depends") -> list[object]:
    if given is None:
        return []
    if isinstance(given, str | os.PathLike):
        raise ConfigError(f"{name} must be a list; write {name}=[{os.fspath(given)!r}]")
    try:
        return list(given)
    except TypeError:
        raise ConfigError(f"{name} must be a list, not {type(given).__name__}") from None


def _directory(directory: str) -> list[str]:
    if not isinstance(directory, str):
        raise ConfigError(f"dest_path must be text, not {type(directory).__name__}")
    relative = directory.strip("/")
    try:
        parts = safe_parts(relative)
    except ProtocolError as error:
        raise ConfigError(f"dest_path must be a relative directory: {error}") from None
    if directory.startswith("/"):  # As dispy does.
        logger.warning("dest_path %r is used as %r: it is relative to the directory of each node", directory, relative)
    return parts


def _name(computation: Any) -> str:
    if isinstance(computation, functools.partial):
        return _name(computation.func)
    return short_name(str(getattr(computation, "__name__", type(computation).__name__)))


def _add(parts: Bundle, depend: object) -> None:
    if isinstance(depend, str | os.PathLike):
        _add_file(parts, os.fspath(depend))
    elif isinstance(depend, types.ModuleType):
        if not _add_module(parts, depend):
            raise ConfigError(f"the module {depend.__name__} has no file that can be sent")
    elif isinstance(depend, functools.partial):
        _add(parts, depend.func)
    elif isinstance(depend, types.FunctionType | type):
        parts.names[depend.__name__] = depend
    elif isinstance(depend, types.MethodType):
        _add(parts, _class_of(depend))
    elif type(depend).__module__ not in ("builtins", "types") and not callable(depend):
        _add(parts, type(depend))  # An instance stands for its class.
    else:
        raise ConfigError(
            "a dependency must be a file's path, a module, a function or a class, "
            f"not {type(depend).__name__}: {depend!r}"
        )


def _add_file(parts: Bundle, path: str) -> None:
    if not os.path.exists(path):
        raise ConfigError(f"the dependency {path} does not exist")
    if not os.path.isfile(path):
        raise ConfigError(f"the dependency {path} is not a file: list its files individually")
    here = os.path.relpath(os.path.abspath(path))
    outside = here.split(os.sep)[0] == os.pardir or os.path.isabs(here)
    parts.put(os.path.basename(path) if outside else here, path, "it is in depends")


def _add_module(parts: Bundle, module: types.ModuleType, reason: str = "it is in depends") -> bool:
    """Add all files of a module's top-level package; False if it has none."""
    name = module.__name__.partition(".")[0]
    top = sys.modules.get(name, module)
    if name == "__main__":
        name = os.path.splitext(os.path.basename(getattr(top, "__file__", None) or name))[0]
    else:
        parts.modules.add(name)
    found = module_sources.whole(name, top)
    for goal, content in found.items():
        parts.put(goal, content, reason)
    return bool(found)


def _class_of(method: types.MethodType) -> type:
    owner = method.__self__
    return owner if isinstance(owner, type) else type(owner)


def _add_program(parts: Bundle, path: str) -> str:
    found = path if os.path.isfile(path) else shutil.which(path)
    if found is None and os.path.exists(path):
        raise ConfigError(f"the program {path} is not a file")
    if found is None:
        raise ConfigError(f"the program {path} does not exist, here or in PATH")
    if _is_interpreter(found):
        return os.path.abspath(found)
    if not os.access(found, os.X_OK) and not found.endswith(".py"):
        raise ConfigError(f"the program {path} is not executable: run chmod +x {path}")
    name = os.path.basename(found)
    parts.put(name, found, "it is the program")
    return name


def _is_interpreter(path: str) -> bool:
    """Whether this is a Python interpreter with its own library beside it, which a copy elsewhere would not find. Such
    a program is not sent but run in place on the nodes."""
    if not re.fullmatch(r"(python|pypy)[0-9.]*[a-z]*", os.path.basename(path)):
        return False
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(path)))
    if os.path.isfile(os.path.join(prefix, "pyvenv.cfg")):
        return True
    return bool(glob.glob(os.path.join(glob.escape(prefix), "lib*", "py*", "os.py")))


def read_files(files: dict[str, Content]) -> tuple[list[FileFields], list[Bulk]]:
    """Rows and contents, as in `Prepare`, of files: path on the node -> path here, or the contents.

    Raises ConfigError.
    """
    if len(files) > COLUMN_LIMIT:
        raise ConfigError(
            f"{len(files):,} files are too many to send (at most {COLUMN_LIMIT:,}): put them into an archive"
        )
    rows: list[FileFields] = []
    contents: list[Bulk] = []
    for goal, content in files.items():
        row, payload = _read_file(goal, content) if isinstance(content, str) else _from_memory(goal, content)
        rows.append(row)
        contents.append(payload)
    return rows, contents


def _read_file(goal: str, path: str) -> tuple[FileFields, Bulk]:
    try:
        about = os.stat(path)
        digest = digest_of(path)
    except OSError as error:
        raise ConfigError(f"the dependency {path} cannot be read: {error.strerror}") from error
    row = [goal, about.st_mode & 0o777, file_date(about.st_mtime), about.st_size, digest]
    return row, DiskFile(path, about.st_size)


def _from_memory(goal: str, content: bytes) -> tuple[FileFields, Bulk]:
    digest = digest_of_bytes(content)
    # Python uses date and size to check whether a compiled file matches its source. A date derived from the contents
    # makes that check exact, and is the same for equal files.
    date = int.from_bytes(digest[:4], "big") >> 2
    return [goal, 0o644, file_date(date), len(content), digest], FileInMemory(content)
