"""Shortcuts to C, and what happens where they are missing."""

from __future__ import annotations

import ctypes
import os
import tempfile
from typing import Any

import pytest

from gdispy.buffers import native
from gdispy.buffers.heap_sink import HeapSink
from gdispy.protocol.payload import joined


def _missing(*_: Any, **__: Any) -> Any:
    raise OSError("no such library")


def test_short_record_is_written_at_its_offset() -> None:
    with tempfile.TemporaryFile() as file:
        assert native.write_short(file.fileno(), b"record", 6, 3) == 6
        assert os.pread(file.fileno(), 20, 0) == b"\0\0\0record"


def test_caller_writes_where_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "PyDLL", _missing)
    with tempfile.TemporaryFile() as file:
        assert native._find_write_short()(file.fileno(), b"record", 6, 0) == -1
        assert os.fstat(file.fileno()).st_size == 0


def test_memory_is_not_made_ready_where_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", _missing)
    assert native._find_madvise() is None
    monkeypatch.setattr(native, "_madvise", None)
    native.populate(0, 1 << 30)  # No memory of this process: with the call it would be an error, or worse.
    native.keep_freed_memory()


def test_only_whole_pages_are_made_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(native, "_madvise", lambda address, size, advice: asked.append((address, size)))
    page = native.mmap.PAGESIZE
    native.populate(page + 1, page)
    assert asked == []
    native.populate(page + 1, 3 * page)
    assert asked == [(2 * page, 2 * page)]


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_unwritten_object_is_written_through_its_view(kind: Any) -> None:
    made = native.unwritten(kind, 5)
    assert made is not None
    value, address = made
    native.view(address, 5)[:] = b"12345"
    assert type(value) is kind and value == b"12345"


def test_more_memory_than_there_is_is_not_made() -> None:
    assert native.unwritten(bytearray, 1 << 62) is None


@pytest.mark.parametrize("has_makers", [True, False])
def test_payload_arrives_whole_with_the_shortcut_and_without(has_makers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_makers:
        monkeypatch.setattr(native, "_makers", {})
    data = os.urandom(300_000)
    sink = HeapSink(len(data))
    for begin in range(0, len(data), 70_000):
        sink.write(memoryview(data)[begin : begin + 70_000])
    payload = sink.finish()
    assert joined(payload) == data
    assert len(payload.parts()) == (1 if has_makers else 5)


def test_functions_of_python_that_are_missing_leave_the_makers_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "pythonapi", object())
    assert native._find_makers() == {}
    monkeypatch.setattr(native, "_makers", {})
    assert native.unwritten(bytes, 5) is None


def test_memory_of_this_machine_is_known_or_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.memory_size() > 1 << 20
    monkeypatch.setattr(os, "sysconf", lambda name: (_ for _ in ()).throw(ValueError(name)))
    assert native.memory_size() == 0
