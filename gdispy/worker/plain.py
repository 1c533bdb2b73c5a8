"""Encodes values that are data only, for `results='plain'`: decoding runs no code of the sender.

Standard library and msgpack; numpy if a value has its arrays. A worker encodes, the client decodes, in the thread that
accesses a result.

A decoded value is equal to the original, with the same types: None, bool, int, float, complex, str, bytes, bytearray;
list, tuple, and dict, set and frozenset whose keys and elements are None, bool, int of 64 bits, float, str or bytes;
arrays and scalars of numpy without Python objects in them. Everything else is refused, including subclasses of these.
Keys of other types are refused since a sender could make decoding extremely slow (hash collisions).

    0x03 | u32 length | head in msgpack | zeros up to a multiple of 64, and the bytes of an array; for each array

A tuple, set or frozenset is an array of msgpack that begins with an empty extension of its code. Of an array of numpy
the head has an extension with `[dtype, shape, order, is a scalar]`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from gdispy.worker import plain_arrays
from gdispy.worker.originals import msgpack

#: The first byte of such a payload; no pickle begins with it.
MARK = 3
#: Maximum nesting of containers; a container in itself exceeds it.
DEPTH = 100
#: Alignment of arrays, for any element type.
ALIGNMENT = 64
#: Maximum length of a path in an error message.
_PATH_LIMIT = 200

_HEAD = struct.Struct(">BI")
_COMPLEX = struct.Struct(">dd")
#: Codes of extensions.
_TUPLE, _SET, _FROZENSET, _BYTEARRAY, _INT, _COMPLEX_NUMBER, _ARRAY = range(1, 8)
#: Types that msgpack supports directly; int within 64 bits.
_ATOMS = frozenset((type(None), bool, int, float, str, bytes))
#: msgpack decodes this as a date, which is not a supported type.
_DATES = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")

#: A position in a value: its parent, and its key or index there.
_Path = tuple[Any, str] | None


class NotPlain(TypeError):
    """A value is not data only, or bytes are not a valid encoding. The message describes the problem and its
    position."""


def dumps(value: object, what: str = "result") -> bytes | list[Any]:
    """The encoded value, in one piece or in consecutive parts. `what` names the value in errors. Raises NotPlain."""
    writer = _Writer(what)
    try:
        head = _packed(value if type(value) in _ATOMS else writer.convert(value, None, 0))
    except (OverflowError, ValueError) as error:
        raise NotPlain(f"{what} is too large: {error}") from error
    if len(head) >= 1 << 32:
        raise NotPlain(f"{what} is too large: {len(head):,} bytes besides its arrays")
    head = _HEAD.pack(MARK, len(head)) + head
    return _with_arrays(head, writer.arrays) if writer.arrays else head


def loads(data: Any) -> Any:
    """The value of an encoding: any buffer, or a list of consecutive buffers. Arrays are views of `data` if that is one
    writable buffer. Raises NotPlain for everything that `dumps` does not write."""
    try:
        return _Reader(data).read()
    except NotPlain:
        raise
    except Exception as error:  # From msgpack and numpy, for untrusted bytes.
        raise NotPlain(f"not valid plain data: {type(error).__name__}: {error}") from error


def is_plain(data: bytes) -> bool:
    """Whether bytes claim to be such an encoding."""
    return data[:1] == bytes([MARK])


def unpacked(data: Any, extension: Callable[[int, bytes], Any] = msgpack.ExtType) -> Any:
    """A value of msgpack, from untrusted bytes: memory use is proportional to their length. Raises exceptions of
    msgpack."""
    # The reader allocates as many items as a list announces, before they have arrived. Skipping over them first proves
    # that they exist.
    scan = msgpack.Unpacker(max_buffer_size=max(1, len(data)), strict_map_key=False)
    scan.feed(data)
    scan.skip()
    return msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass", ext_hook=extension)


def _packed(value: object) -> bytes:
    packer = msgpack.Packer(strict_types=True, default=_large_int, unicode_errors="surrogatepass")
    return packer.pack(value)  # type: ignore[no-any-return]


def _large_int(value: Any) -> Any:
    """Everything else was converted before."""
    return msgpack.ExtType(_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _with_arrays(head: bytes, arrays: list[Any]) -> list[Any]:
    parts, length = [head], len(head)
    for data in arrays:
        gap = -length % ALIGNMENT
        parts += [bytes(gap), data]
        length += gap + len(data)
    return parts


class _Writer:
    """Converts one value into types that msgpack supports."""

    def __init__(self, what: str) -> None:
        self._what = what
        #: The bytes of arrays.
        self.arrays: list[Any] = []
        self._writers: dict[type, Any] = {
            list: self._list,
            tuple: self._tuple,
            dict: self._dict,
            set: self._set,
            frozenset: self._set,
        }

    def convert(self, value: Any, path: _Path, depth: int) -> Any:
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind is bytearray:
            return msgpack.ExtType(_BYTEARRAY, bytes(value))
        if kind is complex:
            return msgpack.ExtType(_COMPLEX_NUMBER, _COMPLEX.pack(value.real, value.imag))
        if depth >= DEPTH:
            raise NotPlain(f"{self._shown(path)} is in more than {DEPTH} containers, or contains itself")
        write = self._writers.get(kind)
        return write(value, path, depth + 1) if write is not None else self._other(value, path)

    def _items(self, values: Any, path: _Path, depth: int) -> list[Any]:
        return [
            each if type(each) in _ATOMS else self.convert(each, (path, f"[{place}]"), depth)
            for place, each in enumerate(values)
        ]

    def _list(self, value: list[Any], path: _Path, depth: int) -> list[Any]:
        return value if _ATOMS.issuperset(map(type, value)) else self._items(value, path, depth)

    def _tuple(self, value: tuple[Any, ...], path: _Path, depth: int) -> list[Any]:
        return [msgpack.ExtType(_TUPLE, b""), *self._items(value, path, depth)]

    def _set(self, value: Any, path: _Path, depth: int) -> list[Any]:
        self._check_keys(value, path, "an element")
        return [msgpack.ExtType(_SET if type(value) is set else _FROZENSET, b""), *value]

    def _dict(self, value: dict[Any, Any], path: _Path, depth: int) -> dict[Any, Any]:
        self._check_keys(value, path, "a key")
        if _ATOMS.issuperset(map(type, value.values())):
            return value
        return {
            key: each if type(each) in _ATOMS else self.convert(each, (path, f"[{key!r}]"), depth)
            for key, each in value.items()
        }

    def _check_keys(self, keys: Any, path: _Path, what: str) -> None:
        for key in keys:
            if type(key) not in _ATOMS:
                raise NotPlain(f"{what} of {self._shown(path)} is {_kind(key)}")
            if type(key) is int and not _is_short(key):
                raise NotPlain(f"{what} of {self._shown(path)} is an int of more than 64 bits")

    def _other(self, value: Any, path: _Path) -> Any:
        written = plain_arrays.described(value)
        if written is None:
            raise NotPlain(f"{self._shown(path)} is {_kind(value)}")
        row, data = written
        if data is None:
            raise NotPlain(f"{self._shown(path)} is {_kind(value)} {row}")
        self.arrays.append(data)
        return msgpack.ExtType(_ARRAY, msgpack.packb(row))

    def _shown(self, path: _Path) -> str:
        steps = []
        while path is not None:
            path, step = path
            steps.append(step)
        text = self._what + "".join(reversed(steps))
        return text if len(text) <= _PATH_LIMIT else f"{text[:_PATH_LIMIT]}[...]"


def _kind(value: object) -> str:
    """A type as text: 'a decimal.Decimal', 'an int'."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


class _Marker:
    """Marks the kind of a container, as its first item."""

    def __init__(self, make: Any) -> None:
        self.make = make


_MARKERS = {_TUPLE: _Marker(tuple), _SET: _Marker(set), _FROZENSET: _Marker(frozenset)}


class _Reader:
    """Decodes one value."""

    def __init__(self, data: Any) -> None:
        if type(data) is list:
            data = data[0] if len(data) == 1 else bytearray().join(data)
        self._view = memoryview(data).cast("B")
        #: Minimum offset of the next array.
        self._place = 0
        self._has_extensions = False

    def read(self) -> Any:
        mark, length = _HEAD.unpack_from(self._view) if len(self._view) >= _HEAD.size else (0, 0)
        if mark != MARK:
            raise NotPlain("it is a pickle, or something else that is not plain data")
        self._place = _HEAD.size + length
        if len(self._view) < self._place:
            raise NotPlain("it is cut short")
        head = self._view[_HEAD.size : self._place]
        value = unpacked(head, self._extension)
        if self._place != len(self._view):
            raise NotPlain("there is more than it says")
        if not self._has_extensions:
            data = bytes(head)
            if not any(mark in data for mark in _DATES):
                return value
        return _finished(value, 0)

    def _extension(self, code: int, data: bytes) -> Any:
        self._has_extensions = True
        if code in _MARKERS and not data:
            return _MARKERS[code]
        if code == _BYTEARRAY:
            return bytearray(data)
        if code == _INT:
            return _checked_int(int.from_bytes(data, "big", signed=True))
        if code == _COMPLEX_NUMBER:
            return complex(*_COMPLEX.unpack(data))
        if code == _ARRAY:
            return self._array(data)
        raise NotPlain(f"it has an extension of code {code}")

    def _array(self, data: bytes) -> Any:
        row = unpacked(data)
        begin = self._place + -self._place % ALIGNMENT
        size = plain_arrays.size_of(row)
        if size > len(self._view) - begin:
            raise NotPlain("an array of it is cut short")
        self._place = begin + size
        piece: Any = self._view[begin : self._place]
        return plain_arrays.made(row, bytearray(piece) if piece.readonly else piece)


def _checked_int(value: int) -> int:
    if _is_short(value):
        raise NotPlain("a number of it is written as a larger one")
    return value


def _is_short(value: int) -> bool:
    """Whether msgpack supports the value directly."""
    return -(1 << 63) <= value < 1 << 64


def _finished(value: Any, depth: int) -> Any:
    """The value, with containers instead of arrays of msgpack that begin with a marker."""
    kind = type(value)
    if kind is list:
        _check_depth(depth)
        if value and type(value[0]) is _Marker:
            items = [_finished(each, depth + 1) for each in value[1:]]
            make = value[0].make
            return make(items) if make is tuple else make(map(_key, items))
        return [_finished(each, depth + 1) for each in value]
    if kind is dict:
        _check_depth(depth)
        return {_key(key): _finished(each, depth + 1) for key, each in value.items()}
    if kind in _ATOMS or kind in (bytearray, complex) or plain_arrays.is_one(value):
        return value
    raise NotPlain(f"it has {_kind(value)}")


def _check_depth(depth: int) -> None:
    if depth > DEPTH:
        raise NotPlain(f"it has more than {DEPTH} containers in each other")


def _key(key: Any) -> Any:
    if type(key) not in _ATOMS or (type(key) is int and not _is_short(key)):
        raise NotPlain("it has a key, or an element of a set, of a type that has none")
    return key
