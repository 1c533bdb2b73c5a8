"""The bytes of a journal that is not intact, or of another version. Writing and reading one: `test_file.py`."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import msgpack
import pytest

from gdispy.errors import JournalError, ProtocolError
from gdispy.journal import format as module
from gdispy.journal.format import (
    HEAD,
    HEADER_BYTES,
    LARGE,
    MAGIC,
    Facts,
    StoredPayload,
    arrays,
    packed,
    read,
)
from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Cancel, Open, Progress, Release, Run
from gdispy.protocol.payload import MemoryPayload, Payload, joined
from gdispy.rules.history.facts import Announced
from tests.unit.builders import C, D, ended, outcome, unpack

OPEN = Open(C, ["*"], False, token=b"t" * 16, epoch=3)
HEADER = MAGIC + bytes(range(16))


def cancel(*jobs: int, computation: ComputationId = C) -> Cancel:
    return Cancel(computation, [JobId(job) for job in jobs], [0] * len(jobs))


def run(*arguments: Any) -> Run:
    return Run(C, [JobId(number) for number in range(1, len(arguments) + 1)], [1] * len(arguments), list(arguments))


def journal(*records: bytes) -> bytes:
    """The bytes of a journal, made as its description says."""
    data, crc = HEADER, zlib.crc32(HEADER)
    for record in records:
        crc = zlib.crc32(record, crc)
        data += struct.pack(">QI", len(record), crc) + record
    return data


def bytes_of(*facts: Message) -> bytes:
    return b"".join(map(bytes, packed(facts)))


FIRST, SECOND, THIRD = bytes_of(OPEN), bytes_of(run(b"a", b"b")), bytes_of(cancel(1))
WHOLE = journal(FIRST, SECOND, THIRD)


class Kept:
    """A journal of these bytes."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = str(path / "journal")
        Path(self.path).write_bytes(data)

    def read(self) -> Any:
        return read(self.path)

    def facts(self) -> list[Message]:
        return list(Facts(self.path))


def test_facts_are_read_in_their_order(tmp_path: Path) -> None:
    kept = Kept(tmp_path, WHOLE)
    assert kept.facts() == [OPEN, run(b"a", b"b"), cancel(1)]
    reading = kept.read()
    assert (reading.fault, reading.end) == ("", len(WHOLE))
    assert reading.remembered.histories[C].jobs[JobId(1)].cancelled


@pytest.mark.parametrize("size", range(len(journal(FIRST, SECOND)) + 1, len(WHOLE)))
def test_beginning_of_a_record_is_torn_and_those_before_it_count(tmp_path: Path, size: int) -> None:
    reading = Kept(tmp_path, WHOLE[:size]).read()
    assert (reading.fault, reading.end) == ("torn", len(journal(FIRST, SECOND)))


@pytest.mark.parametrize("size", [1, 12, 100, 10_000])
def test_zeros_after_the_last_record_are_torn(tmp_path: Path, size: int) -> None:
    assert Kept(tmp_path, WHOLE + bytes(size)).read().fault == "torn"


@pytest.mark.parametrize("offset", range(HEADER_BYTES, len(journal(FIRST, SECOND))))
def test_any_other_byte_that_changed_is_damage(tmp_path: Path, offset: int) -> None:
    data = bytearray(WHOLE)
    data[offset] ^= 0x40
    reading = Kept(tmp_path, bytes(data)).read()
    assert reading.fault == "damaged" and reading.end <= offset


@pytest.mark.parametrize(
    "data",
    [
        journal(FIRST) + journal(FIRST, SECOND, THIRD)[len(journal(FIRST, SECOND)) :],
        journal(FIRST, SECOND) + journal(FIRST, SECOND)[len(journal(FIRST)) :],
        MAGIC + bytes(16) + WHOLE[HEADER_BYTES:],
    ],
    ids=["moved", "repeated", "of another file"],
)
def test_record_counts_only_after_the_record_before_it_in_its_file(tmp_path: Path, data: bytes) -> None:
    reading = Kept(tmp_path, data).read()
    assert reading.fault == "damaged" and reading.end < len(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"something else", "is not a journal of gdispy"),
        (b"gdispyJ2" + bytes(16), "was written by another version of gdispy"),
        (journal(msgpack.packb([99999])), "was written by another version of gdispy: "),
        (journal(msgpack.packb(msgpack.ExtType(7, b"x"))), "was written by another version of gdispy: "),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, text: str) -> None:
    with pytest.raises(JournalError, match=text):
        Kept(tmp_path, data).read()


@pytest.mark.parametrize("size", range(HEADER_BYTES))
def test_file_whose_writer_died_at_once_is_empty(tmp_path: Path, size: int) -> None:
    reading = Kept(tmp_path, HEADER[:size]).read()
    assert (reading.fault, reading.end) == ("torn" if size else "", 0)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"none cannot be read: No such file or directory"):
        read(str(tmp_path / "none"))


def test_fact_that_is_no_longer_valid_sets_aside_its_computation_only(tmp_path: Path) -> None:
    other = Open(D, ["*"], False)
    wrong = msgpack.packb([run().tag, C, [1], [1, 1], [b"a"], []])
    reading = Kept(tmp_path, journal(FIRST, bytes_of(other), wrong, THIRD)).read()
    assert list(reading.remembered.histories) == [D] and reading.fault == ""
    assert "ProtocolError: the columns of Run differ in length" in reading.set_aside[C]


def test_released_computation_is_set_aside_no_more(tmp_path: Path) -> None:
    wrong = msgpack.packb([run().tag, C, [1], [1, 1], [b"a"], []])
    reading = Kept(tmp_path, journal(FIRST, wrong, bytes_of(Release(C)), FIRST)).read()
    assert reading.set_aside == {} and list(reading.remembered.histories) == [C]


# Payloads


class Counted(MemoryPayload):
    """A payload that is read in pieces of 1000 bytes."""

    __slots__ = ()

    def read(self, offset: int, length: int) -> Any:
        return super().read(offset, min(length, 1000))


@pytest.mark.parametrize("size", [1, LARGE, LARGE + 1, 3 * LARGE])
def test_payloads_of_any_size_are_written_as_bytes(size: int) -> None:
    data = os.urandom(size)
    fact = run(b"small", Counted([data]), b"")
    assert list(unpack(bytes_of(fact))) == [run(b"small", data, b"")]


def test_large_payload_is_not_copied() -> None:
    data = bytes(LARGE + 1)
    pieces = packed([run(MemoryPayload([data]))])
    assert len(pieces) > 1
    assert any(isinstance(piece, memoryview) and piece.obj is data for piece in pieces)


def test_payload_in_a_file_is_written_by_its_name() -> None:
    (fact,) = unpack(bytes_of(run(StoredPayload("1-2", 1 << 40, 77))))
    assert isinstance(fact, Run)
    (stored,) = fact.arguments
    assert isinstance(stored, StoredPayload) and (stored.name, stored.size, stored.crc) == ("1-2", 1 << 40, 77)


@pytest.mark.parametrize(
    "data", [msgpack.ExtType(2, bytes(20)), msgpack.ExtType(1, bytes(12)), msgpack.ExtType(1, b"")]
)
def test_unknown_extension_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="an unknown extension"):
        list(arrays(msgpack.packb(data)))


class TooLong(Payload):
    """A payload that no value of a journal can hold."""

    __slots__ = ()

    def __init__(self) -> None:
        self.size = module.LONGEST + 1


def test_arguments_that_are_too_long_are_announced_so_that_the_client_sends_them_again() -> None:
    assert list(unpack(bytes_of(run(TooLong())))) == [Announced(C, [JobId(1)], [])]
    facts = list(unpack(bytes_of(run(b"a", TooLong(), b"c"))))
    assert facts[0] == Announced(C, [JobId(2)], [])
    assert (
        isinstance(facts[1], Run) and facts[1].jobs == [1, 3] and list(map(joined, facts[1].arguments)) == [b"a", b"c"]
    )


def test_result_that_is_too_long_is_lost_with_the_reason() -> None:
    (fact,) = unpack(bytes_of(ended(outcome(1), outcome(2, result=TooLong()))))
    assert (fact.results, fact.statuses[1]) == ([b"result", b""], TERMINATED)
    assert fact.exceptions[0] == "" and fact.exceptions[1].startswith("The result of 4,294,967,296 bytes was lost")


def test_provisional_result_that_is_too_long_is_left_out() -> None:
    progress = Progress(C, JobId(1), 1, 0, TooLong(), "", b"")
    assert list(unpack(bytes_of(progress, cancel(1)))) == [cancel(1)]


def test_texts_that_are_no_unicode_survive() -> None:
    fact = Open(C, ["caf\udce9"], False)
    assert list(unpack(bytes_of(fact))) == [fact]


def test_fact_of_no_computation_that_is_invalid_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        module.Reading().take([99999])


def test_head_of_a_record_is_its_length_and_its_crc() -> None:
    assert HEAD.unpack(WHOLE[HEADER_BYTES : HEADER_BYTES + HEAD.size]) == (len(FIRST), zlib.crc32(HEADER + FIRST))
