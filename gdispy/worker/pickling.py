"""Python objects <-> payload bytes: arguments, results, provisional results, computations.

Floor 1: standard library, dill and msgpack. The client calls it in the thread that submits or that
asks for a result; a worker calls it in its only thread. Daemons never import it.

Three ways, tried in this order:

1. C pickle, protocol 5. Large buffers (arrays, and `bytes` that are arguments themselves) are left
   out of the stream and follow it, so that they are not copied once more.
2. Classes that the user's program defines in `__main__` cannot be found by name in a worker. They
   travel by value, once per definition (name and digest): every object of that class, and the
   function that uses it, meet the same class there, so `isinstance` holds. On the way back they
   travel by name, and become objects of the program's own class again.
3. dill, for what pickle refuses: lambdas, closures, functions of `__main__`, ... But no open files: dill would open
   them anew at the other end, by path and mode, which empties what is open for writing.

Compiled code is understood by one minor version of Python only, and another may crash on it, so it carries its version
and, where that is to be had, its source text, which other versions compile (`source.py`); without, they refuse it. What
came to a node as source text is used there in its place.

What a job raised travels in the place of its result: 0x02, and a pickle.

A payload is a pickle (first byte 0x80), or 0x00, u32 length of a head, the head
`[pickle length, [[kind, offset, size], ...]]` in msgpack, zeros up to a multiple of 64, the pickle,
and the buffers at offsets counted from where the pickle begins. Kind 0 is `bytes`, 1 any other
buffer, handed out writable.
"""

from __future__ import annotations

import functools
import hashlib
import io
import marshal
import pickle
import struct
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import dill

from gdispy.worker.originals import msgpack, os

#: Buffers below this many bytes stay inside the pickle: a copy is cheaper than an entry of its own.
OUT_OF_BAND = 32 * 1024
#: Buffers begin at multiples of this, so that arrays of any element type are aligned.
ALIGNMENT = 64
#: A payload in one piece, or in parts that follow each other.
Payload = bytes | list[Any]
#: The first byte of what stands in the place of a result where the job raised: a pickle of the exception follows.
FAILURE = 2
#: Bytes that it has at most.
FAILURE_LIMIT = 32 * 1024

#: As they are before any job runs, which may replace them.
_dumps, _loads = pickle.dumps, pickle.loads
_MAIN = b"__main__"
#: Values of these types need neither buffers nor classes.
_PLAIN = frozenset((int, float, bool, str, type(None), complex))
#: Locks arrive unlocked, whoever held them: at the other end nobody would release them.
LOCKS: dict[type, Callable[[], Any]] = {type(make()): make for make in (threading.Lock, threading.RLock)}
LOCKS[threading._PyRLock] = threading.RLock  # type: ignore[attr-defined]
#: What refers to a file of the operating system, or holds what does.
_FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
#: Files that are there at the other end, too.
_STANDARD = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_HEAD = struct.Struct(">BI")
_VERSION = sys.version_info[:2]

#: Classes defined from a definition by value: (qualified name, digest) -> class. In workers only.
_defined: dict[tuple[str, bytes], type] = {}
_known: set[type] = set()
#: Classes that came as source text: qualified name -> class.
_from_source: dict[str, type] = {}
#: What the client has pickled by value before: class -> (digest, pickle of the class).
_definitions: dict[type, tuple[bytes, bytes]] = {}
_in_progress: set[type] = set()


class OpenFile(pickle.PicklingError):
    """An open file cannot travel."""


def dumps(value: object) -> Payload:
    """Serialise `value`. Raises OpenFile, and what pickle and dill raise for an object that neither can take."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        stream = _dumps(value, 5, buffer_callback=_collector(buffers))
    except Exception:
        return _by_value(value)
    if _MAIN in stream and not _found_by_name(value):
        return _by_value(value)
    return _container(stream, [(1, buffer) for buffer in buffers]) if buffers else stream


def dumps_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
    """Serialise the arguments of a call. Large `bytes` among `args` are not copied."""
    if not kwargs and _PLAIN.issuperset(map(type, args)):
        return _dumps((args, kwargs), 5)
    for arg in args:
        if type(arg) is bytes and len(arg) >= OUT_OF_BAND:
            return _with_bytes_aside(args, kwargs)
    return dumps((args, kwargs))


def dumps_result(value: object) -> Payload:
    """Serialise what a job returned. A large `bytes` is not copied."""
    if type(value) in _PLAIN:
        return _dumps(value, 5)
    if type(value) is bytes and len(value) >= OUT_OF_BAND:
        stream = _dumps(pickle.PickleBuffer(value), 5, buffer_callback=lambda buffer: None)
        return _container(stream, [(0, value)])
    return dumps(value)


def dumps_failure(error: BaseException) -> bytes:
    """What a job raised, as it travels; nothing where it cannot, or is large."""
    try:
        payload = dumps(error)
    except Exception:
        return b""
    is_small = type(payload) is bytes and len(payload) < FAILURE_LIMIT
    return bytes([FAILURE]) + payload if is_small else b""  # type: ignore[operator]


def loads(data: Any) -> Any:
    """The object in a payload: any buffer, or a list of buffers that follow each other.

    Arrays come out as views of `data` where that is one writable buffer, so it must stay as it is.
    """
    if type(data) is not list and data[0]:
        return _loads(data)
    if type(data) is list:
        return _loads_pieces(data)
    view = memoryview(data)
    base, length, entries = _read_head(view)
    buffers: list[Any] = []
    for kind, offset, size in entries:
        piece = view[base + offset : base + offset + size]
        if len(piece) != size:
            raise pickle.UnpicklingError("the payload is shorter than its head says")
        buffers.append(bytes(piece) if kind == 0 else piece)
    return _loads(view[base : base + length], buffers=buffers)


def serialize(value: object) -> bytes:
    """As dispy's function of this name."""
    return _dumps(value)


def deserialize(data: bytes) -> Any:
    return _loads(data)


def _loads_pieces(pieces: list[memoryview]) -> Any:
    """A payload in pieces. One large `bytes`, a frequent case, is put together in one step, or is there already, and so
    is what has come in one piece that may be written: whoever unpickles it, has it to himself."""
    first = pieces[0]
    if len(pieces) == 1 and type(first.obj) is bytearray and len(first.obj) == len(first):
        return loads(first.obj)
    if first[0] == 0 and _holds_head(first):
        base, length, entries = _read_head(first)
        if len(entries) == 1 and entries[0][0] == 0 and base + entries[0][1] <= len(first):
            _, offset, size = entries[0]
            value = pieces[-1].obj
            if len(pieces) != 2 or base + offset != len(first) or type(value) is not bytes or len(value) != size:
                value = b"".join([first[base + offset :], *pieces[1:]])
            if len(value) != size:
                raise pickle.UnpicklingError("the payload has another size than its head says")
            return _loads(first[base : base + length], buffers=[value])
    # Writable, so that arrays which are views of it may be changed.
    whole = bytearray().join(pieces)
    return loads(whole)


def begin_of_bytes(first: memoryview, size: int) -> int | None:
    """Where the one large `bytes` begins that a payload of so many bytes ends with, by its first piece; None where it
    is made otherwise, or the piece does not tell."""
    try:
        if first[0] != 0 or not _holds_head(first):
            return None
        base, _, entries = _read_head(first)
        ((kind, offset, length),) = entries
        begin = int(base + offset)
        return begin if kind == 0 and begin + length == size and 0 < begin <= len(first) else None
    except (ValueError, TypeError, IndexError):  # It is no payload of ours, which will be told where it is opened.
        return None


def _holds_head(view: memoryview) -> bool:
    return len(view) >= _HEAD.size and len(view) >= _HEAD.size + int(_HEAD.unpack_from(view)[1])


def _read_head(view: memoryview) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Where the pickle begins, its length, and the buffers."""
    _, head_length = _HEAD.unpack_from(view)
    length, entries = msgpack.unpackb(view[_HEAD.size : _HEAD.size + head_length])
    return _aligned(_HEAD.size + head_length), length, entries


def _collector(buffers: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    def collect(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            if view.nbytes < OUT_OF_BAND or not view.contiguous:
                return True
        buffers.append(buffer)
        return False

    return collect


def _with_bytes_aside(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
    # A PickleBuffer around a bytes object comes back as whatever the reader supplies in its place,
    # which `loads` makes a bytes object again.
    aside: list[tuple[int, Any]] = []
    shown: list[Any] = []
    for arg in args:
        if type(arg) is bytes and len(arg) >= OUT_OF_BAND:
            arg = pickle.PickleBuffer(arg)
        shown.append(arg)

    def collect(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            owned = type(view.obj) is bytes
            if view.nbytes < OUT_OF_BAND or not view.contiguous:
                return True
        aside.append((0 if owned else 1, buffer))
        return False

    try:
        stream = _dumps((tuple(shown), kwargs), 5, buffer_callback=collect)
    except Exception:
        return dumps((args, kwargs))
    if _MAIN in stream and not _found_by_name((args, kwargs)):
        return dumps((args, kwargs))
    return _container(stream, aside)


def _container(stream: bytes, buffers: list[tuple[int, Any]]) -> list[Any]:
    entries: list[tuple[int, int, int]] = []
    parts: list[Any] = [b"", stream]
    offset = len(stream)
    for kind, buffer in buffers:
        view = memoryview(buffer) if type(buffer) is bytes else buffer.raw()
        parts += [bytes(_aligned(offset) - offset), view]
        offset = _aligned(offset)
        entries.append((kind, offset, view.nbytes))
        offset += view.nbytes
    head = msgpack.packb([len(stream), entries])
    head = _HEAD.pack(0, len(head)) + head
    parts[0] = head + bytes(_aligned(len(head)) - len(head))
    return parts


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _is_of_main(cls: type) -> bool:
    return cls.__module__ == "__main__" and cls is not types.FunctionType


class _ByName(pickle.Pickler):
    """Finds out whether all that a stream refers to in `__main__` is known by name over there."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and _is_of_main(obj) and obj not in _known:
            raise pickle.PicklingError("not known by name")
        if isinstance(obj, types.FunctionType) and obj.__module__ == "__main__":
            raise pickle.PicklingError("not known by name")
        return NotImplemented


def _found_by_name(value: object) -> bool:
    # In the client nothing is known by name at the other end, so the first object of a class of
    # __main__ answers; text that only happens to hold the word passes.
    try:
        _ByName(io.BytesIO(), 5).dump(value)
    except Exception:
        return False
    return True


class _ByValue(dill.Pickler):  # type: ignore[misc]
    """dill, with the classes of `__main__` defined once at the other end (see the module's head)."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.CodeType):
            from gdispy.worker import source  # It imports this module.

            return _load_code, (_VERSION, marshal.dumps(obj), obj.co_name, source.text_of_code(obj))
        if type(obj) in LOCKS:
            return LOCKS[type(obj)], ()
        if isinstance(obj, _FILES):
            return _reduce_file(obj)
        if not isinstance(obj, type) or not _is_of_main(obj) or obj in _in_progress:
            return NotImplemented
        if obj in _known:
            return _class_by_name, (obj.__qualname__,)
        digest, definition = _definition(obj)
        return _define_class, (obj.__qualname__, digest, definition)


def _by_value(value: object) -> bytes:
    # recurse: only those globals of a function travel which it refers to. Without it a function
    # drags along every global of its module, megabytes of them where the program holds data. But
    # some functions, such as nested ones that call themselves, travel only without it.
    try:
        return _written_by_dill(value, recurse=True)
    except OpenFile:  # The other way a function of `__main__` would travel without the file that it needs.
        raise
    except Exception as first:
        try:
            return _written_by_dill(value, recurse=False)
        except Exception:
            raise first from None


def _written_by_dill(value: object, recurse: bool) -> bytes:
    sink = io.BytesIO()
    _ByValue(sink, protocol=5, recurse=recurse).dump(value)
    return sink.getvalue()


def _reduce_file(file: Any) -> tuple[Any, ...]:
    """How a standard stream, or a closed file, travels. Raises OpenFile for any other one."""
    for name in _STANDARD:
        stream = getattr(sys, name, None)
        for layers in ((), ("buffer",), ("buffer", "raw")):
            try:
                found = functools.reduce(getattr, layers, stream)
            except (AttributeError, ValueError):  # It is another kind of stream, or detached.
                break
            if found is file:
                return _standard_stream, (name, *layers)
    try:
        is_closed = file.closed
    except ValueError:  # It is detached from what it was open for.
        is_closed = True
    if is_closed:
        return _closed_file, (isinstance(file, io.TextIOWrapper),)
    name = getattr(file, "name", type(file).__name__)
    shown = f"descriptor {name}" if isinstance(name, int) else str(name)
    mode = getattr(file, "mode", "")
    raise OpenFile(f"an open file ({shown}, mode {mode!r}) cannot be sent: open it in the function")


def _standard_stream(name: str, *layers: str) -> Any:
    """Called by unpickling: the stream of this process."""
    return functools.reduce(getattr, layers, getattr(sys, name))


def _closed_file(is_text: bool) -> Any:
    """Called by unpickling: a file that is closed."""
    with open(os.devnull, "r" if is_text else "rb") as file:
        return file


def _definition(cls: type) -> tuple[bytes, bytes]:
    found = _definitions.get(cls)
    if found is None:
        # While its own definition is written, a class is pickled as dill does it; methods that
        # mention the class are then part of that definition.
        _in_progress.add(cls)
        try:
            pickled = _by_value(cls)
        finally:
            _in_progress.discard(cls)
        found = _definitions[cls] = (hashlib.blake2b(pickled, digest_size=16).digest(), pickled)
    return found


def _define_class(name: str, digest: bytes, definition: bytes) -> type:
    """Called by unpickling: the class of that name and digest, made at most once per process."""
    cls = _defined.get((name, digest)) or _from_source.get(name)
    if cls is None:
        cls = _defined[name, digest] = _loads(definition)
        _known.add(cls)
        main = sys.modules["__main__"]
        if "." not in name:
            setattr(main, name, cls)
    return cls


def know(cls: type) -> None:
    """A class of the user's program that came as source text, is here under its own name, and so travels by that."""
    _known.add(cls)
    _from_source[cls.__qualname__] = cls


def _load_code(version: tuple[int, int], code: bytes, name: str, text: str) -> Any:
    """Called by unpickling: compiled code, or, where this Python does not understand that, its source text compiled."""
    if version == _VERSION:
        return marshal.loads(code)
    if text:
        from gdispy.worker import source

        return source.kept_code(text, name)
    made, here = (".".join(map(str, each)) for each in (version, _VERSION))
    raise pickle.UnpicklingError(
        f"it holds code that Python {made} has compiled, and this is Python {here}, and there is no source text of it"
    )


def _class_by_name(name: str) -> Any:
    """Called by unpickling at the client: its own class of that name."""
    found: Any = sys.modules["__main__"]
    for part in name.split("."):
        found = getattr(found, part)
    return found
