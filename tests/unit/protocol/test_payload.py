"""User data in several parts, and the sizes of both kinds of payloads."""

from __future__ import annotations

import array
from typing import Any

import pytest

from gdispy.protocol.payload import ABSENT, MemoryPayload, Payload, bulk_size, joined, release_all, total_size
from tests.unit.builders import Announced

PARTS = [b"abc", b"", bytearray(b"d"), memoryview(b"efgh")]


@pytest.mark.parametrize("offset", range(9))
@pytest.mark.parametrize("length", [1, 2, 8, 100])
def test_any_part_of_a_payload_can_be_read_again_and_again(offset: int, length: int) -> None:
    payload = MemoryPayload(PARTS)
    for _ in range(2):
        found = bytes(payload.read(offset, length))
        assert b"abcdefgh"[offset:].startswith(found) and len(found) <= length
        assert bool(found) is (offset < 8)


def test_payload_is_as_long_as_all_its_parts() -> None:
    assert MemoryPayload(PARTS).size == 8 and MemoryPayload([]).size == 0
    assert MemoryPayload([array.array("d", [1.0, 2.0])]).size == 16
    assert joined(MemoryPayload(PARTS)) == b"abcdefgh" and joined(b"abc") == b"abc" and joined(MemoryPayload([])) == b""


def test_parts_are_not_copied() -> None:
    data = bytearray(b"abc")
    (part,) = MemoryPayload([data]).parts()
    data[0:1] = b"x"
    assert bytes(part) == b"xbc"


class InSteps(Payload):
    """A payload that gives two bytes at a time."""

    __slots__ = ()

    def __init__(self) -> None:
        self.size = 5

    def read(self, offset: int, length: int) -> Any:
        return b"12345"[offset : offset + min(2, length)]


def test_payload_that_is_read_in_steps_is_joined() -> None:
    assert joined(InSteps()) == b"12345"


def test_sizes_of_both_kinds_are_added() -> None:
    assert bulk_size(b"abc") == 3 and bulk_size(Announced(5)) == 5 and bulk_size(ABSENT) == 0
    assert total_size([]) == 0 and total_size([b"a", b"bc"]) == 3 and total_size([b"a", Announced(5), b"bc"]) == 8


def test_all_payloads_in_a_message_are_released_once() -> None:
    payloads = [Announced(1) for _ in range(4)]
    release_all([payloads[0], b"x", None, (payloads[1], [payloads[2]]), "text", {"not": payloads[3]}])
    assert [each.released for each in payloads] == [1, 1, 1, 0]
