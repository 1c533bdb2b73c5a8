"""Several calls of a function in one job, so that short calls are cheap.

`client/map_results.py` writes and reads them in the client, `runner.call_function` works them off. Each call travels as
the arguments of a job do, and each result as the result of one, so that what goes wrong with one of them, be it that
it cannot be unpickled, spoils no other.

The arguments of such a job are `MARK`, which no pickle begins with, and `[seconds, calls]` in msgpack. A worker begins
no further call when it has worked for `seconds` (0: no limit): the first calls may have been much quicker than those
that follow. Its result is `MARK` and `[results, failures]`: the result of each call that was begun, empty where it is
None, and `[place, text]` for each that failed, whose result is what it raised (`pickling.dumps_failure`).
"""

from __future__ import annotations

from typing import Any

from gdispy.worker.originals import msgpack
from gdispy.worker.pickling import Payload
from gdispy.worker.plain import unpacked

MARK = 1

_MARK = bytes([MARK])
#: Calls -> payload of a job.
Calls = list[bytes]


def pack_calls(calls: Calls, seconds: float) -> bytes:
    return _MARK + _packed([seconds, calls])


def unpack_calls(data: Any) -> tuple[float, Calls]:
    seconds, calls = _unpacked(data)
    return seconds, calls


def pack_results(results: list[Payload], failures: list[tuple[int, str]]) -> bytes:
    joined = [result if isinstance(result, bytes) else b"".join(result) for result in results]
    return _MARK + _packed([joined, failures])


def unpack_results(data: Any) -> tuple[list[bytes], dict[int, str]]:
    """The results, and what went wrong by place."""
    results, failures = _unpacked(data)
    return results, dict(failures)


def checked_results(data: bytes, most: int) -> tuple[list[bytes], dict[int, str]]:
    """The same of bytes that somebody may have made up, for at most so many calls. Raises ValueError, or what msgpack
    raises."""
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


def _unpacked(data: Any) -> Any:
    with memoryview(data) as view, view[1:] as body:
        return msgpack.unpackb(body)
