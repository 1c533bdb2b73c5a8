"""What users' bytes hold: section 6.1 and 6.2 of docs/protocol.md. Python only, since pickles are.

Plain results are read without unpickling anything.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

import msgpack

from tests.independent.keys import Refused

PICKLED_WITH_BUFFERS, CHUNK_OF_CALLS, RAISED, PLAIN = range(4)
_DATA = (type(None), bool, int, float, str, bytes)


def _aligned(offset: int) -> int:
    return (offset + 63) // 64 * 64


# Section 6.1


def load(payload: bytes, loads: Callable[..., Any] = pickle.loads) -> Any:
    """The object in a payload."""
    if payload[0] != PICKLED_WITH_BUFFERS:
        return loads(payload)
    body = _aligned(5 + int.from_bytes(payload[1:5], "big"))
    length, entries = msgpack.unpackb(payload[5 : 5 + int.from_bytes(payload[1:5], "big")])
    buffers = []
    for kind, offset, size in entries:
        piece = payload[body + offset : body + offset + size]
        buffers.append(piece if kind == 0 else bytearray(piece))
    return loads(payload[body : body + length], buffers=buffers)


def dump(value: object) -> bytes:
    return pickle.dumps(value, 5)


def dump_aside(value: bytes) -> bytes:
    """A payload of bytes that lie outside of the pickle."""
    pickled = pickle.dumps(pickle.PickleBuffer(value), 5, buffer_callback=lambda buffer: None)
    offset = _aligned(len(pickled))
    head = msgpack.packb([len(pickled), [[0, offset, len(value)]]])
    begin = struct.pack(">BI", PICKLED_WITH_BUFFERS, len(head)) + head
    begin += bytes(_aligned(len(begin)) - len(begin))
    return begin + pickled.ljust(offset, b"\0") + value


# Section 6.2


def load_plain(payload: bytes) -> Any:
    """The value of a plain result. Raises Refused for anything else."""
    try:
        return _Plain(payload).value()
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"no plain result: {type(error).__name__}") from None


class _Plain:
    def __init__(self, payload: bytes) -> None:
        if len(payload) < 5 or payload[0] != PLAIN:
            raise Refused("no plain result")
        self._payload = payload
        self._place = 5 + int.from_bytes(payload[1:5], "big")
        self._arrays: list[Any] = []

    def value(self) -> Any:
        head = self._payload[5 : self._place]
        values = msgpack.unpackb(
            head, ext_hook=self._extension, strict_map_key=False, unicode_errors="surrogatepass", max_ext_len=len(head)
        )
        if self._place != len(self._payload):
            raise Refused("another length than the head says")
        return self._whole(values, 0)

    def _extension(self, code: int, data: bytes) -> Any:
        if code in (1, 2, 3) and not data:
            return (tuple, set, frozenset)[code - 1]
        if code == 4:
            return bytearray(data)
        if code == 5:
            return int.from_bytes(data, "big", signed=True)
        if code == 6:
            return complex(*struct.unpack(">dd", data))
        if code == 7:
            return self._array(*msgpack.unpackb(data))
        raise Refused("an unknown extension in a plain result")

    def _array(self, dtype: str, shape: list[int], order: Any, is_scalar: bool) -> Any:
        import numpy

        begin = _aligned(self._place)
        array = numpy.ndarray(shape, numpy.dtype(dtype), bytearray(self._payload), begin, order=order)
        self._place = begin + array.nbytes
        return array[()] if is_scalar else array

    def _whole(self, value: Any, depth: int) -> Any:
        if depth > 100 and isinstance(value, list | dict):
            raise Refused("containers too deep")
        if isinstance(value, dict):
            return {_key(key): self._whole(each, depth + 1) for key, each in value.items()}
        if not isinstance(value, list):
            if isinstance(value, type | msgpack.Timestamp):
                raise Refused("an extension out of its place")
            return value
        if not value or not isinstance(value[0], type):
            return [self._whole(each, depth + 1) for each in value]
        items = [self._whole(each, depth + 1) for each in value[1:]]
        return tuple(items) if value[0] is tuple else value[0](map(_key, items))


def _key(value: Any) -> Any:
    if type(value) not in _DATA or (type(value) is int and not -(1 << 63) <= value < 1 << 64):
        raise Refused("a key, or an element of a set, that is none")
    return value
