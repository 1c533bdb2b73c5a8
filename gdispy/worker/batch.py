"""Several calls of a function in one job, so that short calls are cheap.

Each call is encoded like the arguments of a job, and each result like the result of one, so that an error in one of
them, even in its unpickling, does not affect the others.

The arguments of such a job are `MARK`, which no pickle begins with, and `[seconds, calls]` in msgpack. A worker starts
no further call when it has worked for `seconds` (0: no limit), since the following calls may take much longer than the
first. Its result is `MARK` and `[results, failures]`: the result of each started call, empty for None, and `[index,
text]` for each failed call, whose result is its exception (`pickling.dumps_failure`).
"""

from __future__ import annotations

from typing import Any

from gdispy.worker.originals import msgpack
from gdispy.worker.pickling import Payload, ReceivedPayload
from gdispy.worker.plain import unpacked

MARK = 1

_MARK = bytes([MARK])
#: Calls -> payload of a job.
Calls = list[bytes]


def pack_calls(calls: Calls, seconds: float) -> bytes:
    return _MARK + _packed([seconds, calls])


def unpack_calls(data: ReceivedPayload) -> tuple[float, Calls]:
    seconds, calls = _unpacked(data)
    return seconds, calls


def pack_results(results: list[Payload], failures: list[tuple[int, str]]) -> bytes:
    joined = [result if isinstance(result, bytes) else b"".join(result) for result in results]
    return _MARK + _packed([joined, failures])


def unpack_results(data: ReceivedPayload) -> tuple[list[bytes], dict[int, str]]:
    """The results, and the failures by index."""
    results, failures = _unpacked(data)
    return results, dict(failures)


def checked_results(data: bytes, most: int) -> tuple[list[bytes], dict[int, str]]:
    """The same for untrusted bytes, for at most `most` calls. Raises ValueError, or any exception of msgpack."""
    if data[:1] != _MARK:
        raise ValueError("they are not as a worker writes them")
    results, failures = unpacked(data[1:])
    if type(results) is not list or not 0 < len(results) <= most or any(type(each) is not bytes for each in results):
        raise ValueError("they are not as a worker writes them")
    found = dict(failures)
    if any(type(place) is not int or type(text) is not str for place, text in found.items()):
        raise ValueError("they are not as a worker writes them")
    return results, found


def _packed(value: object) -> bytes:
    return msgpack.packb(value, unicode_errors="backslashreplace")  # type: ignore[no-any-return]


def _unpacked(data: ReceivedPayload) -> Any:
    with memoryview(data) as view, view[1:] as body:
        return msgpack.unpackb(body)
