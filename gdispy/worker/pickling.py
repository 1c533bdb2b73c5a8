"""Python objects <-> payload bytes: arguments, results, provisional results, computations.

Standard library, dill and msgpack. Runs in the thread that submits or accesses a result, and in a worker's only thread.
Daemons never import it.

Three ways, tried in this order:

1. C pickle, protocol 5. Large buffers (arrays, and `bytes` that are arguments themselves) are kept out of the stream
   and follow it, so that they are not copied once more.
2. Definitions of the user's program cannot be found by name in a worker. They are sent by value (`by_value.py`): if C
   pickle cannot pickle a value, or names a module of the program in its output.
3. dill, if both refuse. Open files are refused: dill would open them again at the other end, by path and mode, which
   truncates files opened for writing.

Compiled code is valid for one minor version of Python only, and can crash another, so it includes its version and, if
available, its source text, which other versions compile (`source.py`); without it, they refuse the code.

The exception of a job is sent instead of its result: 0x02, and a pickle.

A payload is a pickle (first byte 0x80), or 0x00, u32 length of a head, the head
`[pickle length, [[kind, offset, size], ...]]` in msgpack, zeros up to a multiple of 64, the pickle,
and the buffers at offsets counted from where the pickle begins. Kind 0 is `bytes`, 1 any other
buffer, handed out writable.
"""

from __future__ import annotations

import contextlib
import io
import marshal
import mmap
import pickle
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from gdispy.worker import by_value, rebuild
from gdispy.worker.codes import with_sets
from gdispy.worker.definitions import definitions, returnable
from gdispy.worker.manner import Findings, Manner
from gdispy.worker.moved_modules import know_moved_modules
from gdispy.worker.originals import msgpack
from gdispy.worker.own_modules import own_names

#: Smaller buffers stay inside the pickle: a copy is cheaper than a separate entry.
OUT_OF_BAND = 32 * 1024
#: Alignment of buffers, for arrays of any element type.
ALIGNMENT = 64
#: A payload in one piece, or in consecutive parts.
Payload = bytes | list[Any]
#: A payload in a worker: from a message, or in a file.
ReceivedPayload = bytes | mmap.mmap
#: First byte of a payload that is an exception instead of a result: a pickle follows.
FAILURE = 2
#: Its maximum size.
FAILURE_LIMIT = 1 << 28

know_moved_modules()
#: In their state before any job, which may replace them.
_dumps, _loads = pickle.dumps, pickle.loads
#: Further names in a pickle for which C pickle is wrong: see `reductions.library_method`.
_MAIN = frozenset((b"__main__", b"__mp_main__", b"random"))
#: The opcode without which a pickle loads nothing by name.
STACK_GLOBAL = b"\x93"
#: Values of these types need neither buffers nor classes.
_PLAIN = frozenset((int, float, bool, str, type(None), complex))
_HEAD = struct.Struct(">BI")
_VERSION = sys.version_info[:2]

#: The names of modules whose definitions are sent by value, in UTF-8.
_own_names: Callable[[], frozenset[bytes]] = own_names


def dumps(value: object, manner: Manner | None = None) -> Payload:
    """Serialise `value`. Raises OpenFile, and exceptions of pickle and dill for an object that neither can pickle."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        stream = _dumps(value, 5, buffer_callback=_collector(buffers))
    except Exception:
        return dumps_by_value(value, manner)
    if STACK_GLOBAL in stream and names_own(stream, manner):
        return dumps_by_value(value, manner)
    return _container(stream, [(1, buffer) for buffer in buffers]) if buffers else stream


def dumps_by_value(value: object, manner: Manner | None = None, findings: Findings | None = None) -> Payload:
    """The same for a value that may refer to definitions of the program. `findings` collects findings."""
    buffers: list[pickle.PickleBuffer] = []
    stream = by_value.dumps(value, manner, _collector(buffers), findings)
    return _container(stream, [(1, buffer) for buffer in buffers]) if buffers else stream


def dumps_with_stand_ins(value: object, stand_in: Callable[[Any], Any], manner: Manner | None) -> bytes:
    """Serialise `value`, and instead of each object in it that `stand_in` returns another for, that other one, which
    must have `__reduce__`."""

    def replaced(obj: Any) -> Any:
        found = stand_in(obj)
        return NotImplemented if found is obj else found.__reduce__()

    class Fast(pickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            return replaced(obj)

    class Rules(by_value.Reducer):
        def reducer_override(self, obj: Any) -> Any:
            found = replaced(obj)
            return super().reducer_override(obj) if found is NotImplemented else found

    class ByValue(Rules, pickle.Pickler):
        def __init__(self, sink: io.BytesIO, manner: Manner, collect: object = None, findings: Any = None) -> None:
            pickle.Pickler.__init__(self, sink, 5)
            Rules.__init__(self, manner, findings)

    sink = io.BytesIO()
    try:
        Fast(sink, 5).dump(value)
        stream = sink.getvalue()
        if not names_own(stream, manner):
            return stream
    except Exception:  # Definitions that cannot be found by name.
        pass
    return by_value.written(value, ByValue, manner)


class Pickled:
    """A value that has been pickled already; unpickled, it is that value."""

    def __init__(self, stream: bytes) -> None:
        self._stream = stream

    def __reduce__(self) -> Any:
        return pickle.loads, (self._stream,)


def names_own(stream: bytes, manner: Manner | None) -> bool:
    """Whether a pickle may name a definition of the program; a text with such a name is a harmless false positive."""
    names = _own_names() | _MAIN
    if manner is not None and manner.by_value:
        names |= {name.encode("utf-8", "replace") for name in manner.by_value}
    return any(name in stream for name in names)


def dumps_call(args: tuple[Any, ...], kwargs: dict[str, Any], manner: Manner | None = None) -> Payload:
    """Serialise the arguments of a call. Large `bytes` among `args` are not copied."""
    if not kwargs and _PLAIN.issuperset(map(type, args)):
        return _dumps((args, kwargs), 5)
    for arg in args:
        if type(arg) is bytes and len(arg) >= OUT_OF_BAND:
            return _with_bytes_aside(args, kwargs, manner)
    return dumps((args, kwargs), manner)


def dumps_result(value: object) -> Payload:
    """Serialise the result of a job. A large `bytes` is not copied."""
    if type(value) in _PLAIN:
        return _dumps(value, 5)
    if type(value) is bytes and len(value) >= OUT_OF_BAND:
        stream = _dumps(pickle.PickleBuffer(value), 5, buffer_callback=lambda buffer: None)
        return _container(stream, [(0, value)])
    return dumps(value)


def dumps_failure(error: BaseException) -> bytes:
    """The encoded exception of a job; empty if it cannot be pickled, or is very large."""
    try:
        payload = dumps(error)
    except Exception:
        return b""
    data = payload if isinstance(payload, bytes) else b"".join(payload)
    return bytes([FAILURE]) + data if len(data) < FAILURE_LIMIT else b""


def loads(data: Any) -> Any:
    """The object in a payload: any buffer, or a list of consecutive buffers.

    Arrays come out as views of `data` where that is one writable buffer, so it must stay as it is.
    """
    if type(data) is not list and data[0]:
        return _loads(data)
    if type(data) is list:
        return _loads_pieces(data)
    view = memoryview(data)
    base, length, entries = read_head(view)
    buffers: list[Any] = []
    for kind, offset, size in entries:
        piece = view[base + offset : base + offset + size]
        if len(piece) != size:
            raise pickle.UnpicklingError("the payload is shorter than its head says")
        buffers.append(bytes(piece) if kind == 0 else piece)
    return _loads(view[base : base + length], buffers=buffers)


def serialize(value: object) -> bytes:
    """The function of this name in dispy."""
    return _dumps(value)


def deserialize(data: bytes) -> Any:
    return _loads(data)


def _loads_pieces(pieces: list[memoryview]) -> Any:
    """A payload in pieces. A single large `bytes`, a frequent case, is joined in one step, or is complete already; so
    is a payload in one writable piece, which belongs to the caller."""
    first = pieces[0]
    if len(pieces) == 1 and type(first.obj) is bytearray and len(first.obj) == len(first):
        return loads(first.obj)
    if first[0] == 0 and _holds_head(first):
        base, length, entries = read_head(first)
        if len(entries) == 1 and entries[0][0] == 0 and base + entries[0][1] <= len(first):
            _, offset, size = entries[0]
            value = pieces[-1].obj
            if len(pieces) != 2 or base + offset != len(first) or type(value) is not bytes or len(value) != size:
                value = b"".join([first[base + offset :], *pieces[1:]])
            if len(value) != size:
                raise pickle.UnpicklingError("the payload has another size than its head says")
            return _loads(first[base : base + length], buffers=[value])
    # Writable, since arrays that are views of it may be changed.
    whole = bytearray().join(pieces)
    return loads(whole)


def begin_of_bytes(first: memoryview, size: int) -> int | None:
    """The offset of the single large `bytes` that ends a payload of this size, from its first piece; None if the
    payload has another structure, or the piece is too short."""
    try:
        if first[0] != 0 or not _holds_head(first):
            return None
        base, _, entries = read_head(first)
        ((kind, offset, length),) = entries
        begin = int(base + offset)
        return begin if kind == 0 and begin + length == size and 0 < begin <= len(first) else None
    except (ValueError, TypeError, IndexError):  # Not a valid payload, which is reported when it is opened.
        return None


def _holds_head(view: memoryview) -> bool:
    return len(view) >= _HEAD.size and len(view) >= _HEAD.size + int(_HEAD.unpack_from(view)[1])


def read_head(view: memoryview) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Offset and length of the pickle, and the buffers."""
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


def _with_bytes_aside(args: tuple[Any, ...], kwargs: dict[str, Any], manner: Manner | None) -> Payload:
    # A PickleBuffer around a bytes object is unpickled as whatever the reader supplies instead,
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
        return dumps((args, kwargs), manner)
    if STACK_GLOBAL in stream and names_own(stream, manner):
        return dumps((args, kwargs), manner)
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


@contextlib.contextmanager
def loading_computation() -> Iterator[None]:
    """Objects unpickled meanwhile are the computation of this process, and of those forked from it."""
    global _own_names
    definitions.be_worker()
    # Its modules are those sent by value; definitions in files are found by name at both ends.
    by_value.default = Manner(known=returnable, is_own=rebuild.spaces.__contains__)
    with rebuild.loading_computation():
        yield
    names = frozenset(name.encode("utf-8", "replace") for name in rebuild.spaces)
    _own_names = lambda: names  # noqa: E731


def _load_code(version: tuple[int, int], code: bytes, name: str, text: str) -> Any:
    """For unpickling: compiled code, or, if this Python cannot run that, its source text compiled."""
    if version == _VERSION:
        return with_sets(marshal.loads(code))
    if text:
        from gdispy.worker import source

        return source.kept_code(text, name)
    made, here = (".".join(map(str, each)) for each in (version, _VERSION))
    raise pickle.UnpicklingError(
        f"it holds code that Python {made} has compiled, and this is Python {here}, and there is no source text of "
        f"{name}"
    )
