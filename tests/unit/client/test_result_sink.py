"""Large results lie where they will stay, whatever pieces they come in."""

from __future__ import annotations

import os
import pickle
from typing import Any

import pytest

from gdispy import DispyJob
from gdispy.client.result_sink import ResultSink
from gdispy.protocol.payload import MemoryPayload
from gdispy.worker import pickling

LARGE = os.urandom(300_000)


def arrived(payload: pickling.Payload, piece: int, size: int | None = None) -> MemoryPayload:
    """A payload after it has come in pieces of this size."""
    whole = payload if isinstance(payload, bytes) else b"".join(payload)
    sink = ResultSink(len(whole) if size is None else size)
    for begin in range(0, len(whole), piece):
        sink.write(memoryview(whole[begin : begin + piece]))
    return sink.finish()


@pytest.mark.parametrize("piece", [64, 4096, 65536, 1 << 20])
@pytest.mark.parametrize(
    "value", [LARGE, (LARGE, 1), [LARGE, LARGE], bytearray(LARGE), {"a": LARGE}, "text" * 50_000, None, 7]
)
def test_result_is_what_was_returned(value: Any, piece: int) -> None:
    assert pickling.loads(arrived(pickling.dumps_result(value), piece).parts()) == value


def test_large_bytes_are_taken_as_they_lie() -> None:
    payload = arrived(pickling.dumps_result(LARGE), 65536)
    assert len(payload.parts()) == 2
    assert pickling.loads(payload.parts()) is payload.parts()[1].obj
    assert payload.size == sum(map(len, pickling.dumps_result(LARGE)))
    assert b"".join(bytes(part) for part in payload.parts()) == b"".join(pickling.dumps_result(LARGE))


def test_anything_else_is_unpickled_where_it_lies() -> None:
    value = [pickle.PickleBuffer(bytearray(LARGE)), pickle.PickleBuffer(bytearray(LARGE[::-1]))]
    payload = arrived(pickling.dumps_result(value), 65536)
    (part,) = payload.parts()
    first, second = pickling.loads(payload.parts())
    assert (first, second) == (LARGE, LARGE[::-1])
    first[0] ^= 1
    assert bytes(part).count(bytes(first)) == 1


@pytest.mark.parametrize("field", ["_payload", "late"])
def test_result_that_is_unpickled_anew_each_time_is_not_what_somebody_has_changed(field: str) -> None:
    payload = arrived(pickling.dumps_result([pickle.PickleBuffer(bytearray(LARGE)), 1]), 65536)
    job = DispyJob._new(1, 0.0, b"")
    setattr(job if field == "_payload" else job._use_rare(), field, payload)
    look = (lambda: job.result) if field == "_payload" else (lambda: job.late_result)
    look()[0][0] ^= 1
    assert look()[0] == LARGE


@pytest.mark.parametrize(
    "damaged", [b"\0", b"\0\0\0\0\xff", b"\0\0\0\0\1\xc1" + bytes(200), b"\x80" + bytes(70_000), bytes(90)]
)
def test_what_is_no_payload_is_kept_as_it_is(damaged: bytes) -> None:
    assert b"".join(bytes(part) for part in arrived(damaged, 50).parts()) == damaged


def test_a_size_that_no_machine_has_takes_no_memory() -> None:
    head, *rest = pickling.dumps_result(LARGE)
    lying = bytes(head).replace((300_000).to_bytes(4, "big"), (1 << 31).to_bytes(4, "big"))
    whole = lying + b"".join(rest)
    assert b"".join(bytes(part) for part in arrived(whole, 65536, size=1 << 62).parts()) == whole
