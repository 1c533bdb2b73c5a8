"""Journals: what is appended is read again, whatever happens to the file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdispy.errors import JournalError
from gdispy.journal import file as journal_module
from gdispy.journal import format as records_module
from gdispy.journal.file import Journal
from gdispy.journal.format import HEAD, LARGE, Facts, first_record, packed, read, records
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.job_status import FINISHED, TERMINATED
from gdispy.protocol.message import Message
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    JobNames,
    Open,
    OutcomesAcked,
    Progress,
    Release,
    Run,
    ended_without_node,
)
from gdispy.protocol.payload import MemoryPayload, Payload, joined
from gdispy.protocol.rows import JobOptions
from gdispy.rules.history.facts import Began, Met, Owned, Placed, Told, Unplaced
from gdispy.rules.history.replay import JournalState
from tests.unit.builders import unpack

C = ComputationId(b"computat")
NODE, CLIENT = Instance(b"n" * 16), Instance(b"c" * 16)


def jobs(*numbers: int) -> list[JobId]:
    return [JobId(number) for number in numbers]


def ended(*numbers: int) -> Ended:
    return ended_without_node(C, jobs(*numbers), FINISHED, "", "10.0.0.1")


OPEN = Open(C, ["*"], False, token=b"t" * 16, epoch=3)
MET = Met(C, NODE, "n", ["10.0.0.1"], 51348, "3.11", "linux", 2)
FACTS: list[Message] = [
    OPEN,
    Owned(C, CLIENT, "compute", ""),
    Run(C, jobs(1, 2, 3), [1, 1, 1], [b"one", b"two", b"three"]),
    Run(C, jobs(4, 5), [1, 1], [b"four", b"five"], [None, JobOptions(b"", 1.0, 0.0, 1, 0, b"", [], [], 0.0)]),
    JobNames(C, jobs(2), [b"name"]),
    MET,
    Placed(C, NODE, jobs(1, 2), [1, 1]),
    Placed(C, NODE, jobs(3), [1]),
    Unplaced(C, jobs(3), [2], [1]),
    ended(1),
    Told(C, jobs(1)),
    Cancel(C, jobs(5), [0]),
]


def written(path: Path, facts: list[Message]) -> None:
    journal, _ = Journal.open(str(path))
    journal.begin("client", CLIENT, 3)
    for fact in facts:
        assert journal.append([fact])
    journal.close()


def places_of_records(path: Path) -> list[int]:
    with open(path, "rb") as file:
        begin, crc = first_record(file.fileno())
        return [begin, *(end for _, end, _ in records(file.fileno(), begin, crc))][:-1]


def remembered(facts: list[Message]) -> JournalState:
    found = JournalState()
    for fact in facts:
        found.take(fact)
    return found


def told(known: JournalState) -> list[object]:
    """All that is known, as something that can be compared."""
    found: list[object] = []
    for history in known.histories.values():
        found.append((history.open, history.owned, history.prepare, history.nodes))
        for number, job in history.jobs.items():
            outcome = (
                None
                if job.outcome is None
                else [getattr(job.outcome[0], name)[job.outcome[1]] for name in Ended.columns]
            )
            about = (
                joined(job.arguments),
                job.options,
                job.name,
                job.cancelled,
                job.node,
                job.attempt,
                outcome,
                job.told,
            )
            found.append((number, about))
    return found


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written(tmp_path / "j", FACTS)
    reading = read(str(tmp_path / "j"))
    assert reading.fault == ""
    assert told(reading.remembered) == told(remembered(FACTS))
    assert reading.remembered.began is not None
    assert (reading.remembered.began.epoch, reading.remembered.began.pid) == (3, os.getpid())
    assert list(Facts(str(tmp_path / "j")))[1:] == FACTS
    assert stat.S_IMODE(os.stat(tmp_path / "j").st_mode) == 0o600


def test_the_shortest_way_says_the_same() -> None:
    known = remembered(FACTS)
    again = remembered(list(known.facts()))
    assert told(again) == told(known)


def test_what_is_collected_or_released_is_forgotten() -> None:
    known = remembered([*FACTS, OutcomesAcked(C, jobs(1, 3), [1, 2])])
    assert list(known.histories[C].jobs) == jobs(2, 4, 5)
    assert remembered([*FACTS, Release(C)]).histories == {}


def test_large_arguments_are_payloads_again(tmp_path: Path) -> None:
    large = os.urandom(200_000)
    written(tmp_path / "j", [OPEN, Run(C, jobs(1), [1], [MemoryPayload([large])])])
    job = read(str(tmp_path / "j")).remembered.histories[C].jobs[JobId(1)]
    assert isinstance(job.arguments, MemoryPayload)
    assert joined(job.arguments) == large


def test_a_file_cut_anywhere_gives_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, FACTS)
    whole = path.read_bytes()
    facts = list(Facts(str(path)))
    before = 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        journal, reading = Journal.open(str(path))
        assert reading.fault in ("", "torn")
        found = list(Facts(str(path)))
        assert found == facts[: len(found)]
        assert len(found) >= before
        before = len(found)
        # And it can be written on.
        assert journal.append([Told(C, jobs(9))])
        journal.close()
        assert list(Facts(str(path)))[-1] == Told(C, jobs(9))
    assert before == len(facts) - 1


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_never_gives_a_wrong_fact(tmp_path: Path, bit: int) -> None:
    path = tmp_path / "j"
    written(path, FACTS)
    whole = path.read_bytes()
    facts = list(Facts(str(path)))
    last = places_of_records(path)[-1]
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        try:
            reading = read(str(path))
        except JournalError:
            assert place < 8
            continue
        found = list(Facts(str(path)))
        assert found == facts[: len(found)]
        assert len(found) < len(facts)
        # Nothing that was good once goes without a copy; but a last record that seems longer seems torn.
        assert reading.fault == "damaged" or last <= place < last + 8


@pytest.mark.parametrize("behind", [0, 1, 2, len(FACTS)])
def test_damage_is_kept_and_told_whatever_is_behind_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, behind: int
) -> None:
    path = tmp_path / "j"
    written(path, FACTS[:behind])
    # In the record of `begin`.
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    path.write_bytes(damaged)
    journal, reading = Journal.open(str(path))
    journal.close()
    assert reading.fault == "damaged"
    assert "is damaged at byte 24" in caplog.text
    assert (tmp_path / "j.corrupt").read_bytes() == damaged


def test_a_damaged_file_that_cannot_be_copied_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, FACTS)
    damaged = bytearray(path.read_bytes())
    damaged[400] ^= 1
    path.write_bytes(damaged)
    (tmp_path / "j.corrupt").mkdir()
    with pytest.raises(JournalError, match=r"left as it is: .*j\.corrupt cannot be written: Is a directory"):
        Journal.open(str(path))
    assert path.read_bytes() == damaged


def test_a_torn_end_that_looks_like_many_records_is_kept_and_found_soon(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, FACTS)
    with open(path, "ab") as file:
        file.write(HEAD.pack(8 << 20, 1) + (1 << 20).to_bytes(8, "big") * (1 << 19))
    assert read(str(path)).fault == "damaged"


def test_what_is_written_while_one_reads_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    written(path, FACTS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    found = records_module.records

    def then_the_rest_comes(fd: int, end: int, crc: int) -> Iterator[tuple[bytes, int, int]]:
        yield from found(fd, end, crc)
        path.write_bytes(whole)

    monkeypatch.setattr(records_module, "records", then_the_rest_comes)
    assert read(str(path)).fault == "torn"
    monkeypatch.undo()
    assert read(str(path)).fault == ""


def test_zeros_at_the_end_are_no_facts(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, FACTS)
    with open(path, "ab") as file:
        file.write(bytes(4096))
    assert read(str(path)).fault == "torn"
    assert told(read(str(path)).remembered) == told(remembered(FACTS))


def test_records_of_another_file_are_no_facts(tmp_path: Path) -> None:
    written(tmp_path / "a", FACTS[:3])
    written(tmp_path / "b", FACTS)
    longer = (tmp_path / "b").read_bytes()
    size = (tmp_path / "a").stat().st_size
    with open(tmp_path / "a", "ab") as file:
        file.write(longer[size:])
    assert told(read(str(tmp_path / "a")).remembered) == told(remembered(FACTS[:3]))


@pytest.mark.parametrize("content", [b"hello, I am a text", b"gdispyJ2" + bytes(40), bytes(100)])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"is not a journal|another version"):
        Journal.open(str(path))
    assert path.read_bytes() == content


def test_only_one_process_has_it(tmp_path: Path) -> None:
    journal, _ = Journal.open(str(tmp_path / "j"))
    journal.begin("client", CLIENT, 1)
    with pytest.raises(JournalError, match=f"in use by process {os.getpid()}"):
        Journal.open(str(tmp_path / "j"))
    journal.close()
    Journal.open(str(tmp_path / "j"))[0].close()


def test_a_link_or_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for name in ("link", "."):
        with pytest.raises(JournalError, match="cannot be used"):
            Journal.open(str(tmp_path / name))
    assert not (tmp_path / "other").exists()


class FullDisk:
    """Takes so many bytes more, then parts, then nothing."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.pwrite

    def pwritev(self, fd: int, pieces: list[bytes], offset: int) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = self._write(fd, b"".join(pieces)[: self.room], offset)
        self.room -= done
        return done

    def write_short(self, fd: int, record: bytes, size: int, offset: int) -> int:
        try:
            return self.pwritev(fd, [record], offset)
        except OSError:
            return -1

    def insert(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "pwritev", self.pwritev)
        monkeypatch.setattr(journal_module, "write_short", self.write_short)


def test_a_full_disk_keeps_facts_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "j")
    journal, _ = Journal.open(path)
    disk = FullDisk(150)
    disk.insert(monkeypatch)
    assert journal.append([OPEN])
    assert not journal.append([Run(C, jobs(1), [1], [bytes(100)])])
    assert "No space left" in journal.stuck
    assert not journal.append([Placed(C, NODE, jobs(1), [1])])
    with pytest.raises(JournalError, match="No space left"):
        journal.append_or_raise([Run(C, jobs(2), [1], [b""])])
    assert list(Facts(path)) == [OPEN]  # Nothing torn is left.
    disk.room = 10_000
    journal.append_or_raise([Run(C, jobs(3), [1], [b""])])
    assert journal.stuck == ""
    journal.close()
    assert list(read(path).remembered.histories[C].jobs) == jobs(1, 3)
    assert read(path).remembered.histories[C].jobs[JobId(1)].node == NODE


def test_large_payloads_are_written_as_they_lie(tmp_path: Path) -> None:
    # Given facts with payloads of one piece and of several, more than go into one write, beside small ones.
    path = str(tmp_path / "j")
    parts = [os.urandom(100) for _ in range(1500)]
    options: list[Any] = [b"", 0.0, 0.0, 1, 0, MemoryPayload([bytes(LARGE + 1)]), [], [], 0.0]
    run = Run(
        C, jobs(1, 2, 3), [1, 1, 1], [MemoryPayload(parts), b"small", MemoryPayload([b"x"])], [None, options, None]
    )
    journal, _ = Journal.open(path)
    assert journal.append([OPEN, run, Placed(C, NODE, jobs(1), [1])])
    assert journal.append([Cancel(C, jobs(2), [1])])
    journal.close()
    # Then they are read as if they had been written in one.
    history = read(path).remembered.histories[C]
    assert [joined(job.arguments) for job in history.jobs.values()] == [b"".join(parts), b"small", b"x"]
    assert history.jobs[JobId(2)].options is not None and joined(history.jobs[JobId(2)].options[5]) == bytes(LARGE + 1)
    assert (history.jobs[JobId(1)].node, history.jobs[JobId(2)].cancelled) == (NODE, True)


class Huge(Payload):
    """As many bytes as no value of a journal can have, which nobody may read."""

    def __init__(self) -> None:
        self.size = 5 << 30

    def read(self, offset: int, size: int) -> bytes:
        raise AssertionError


def test_payloads_that_no_journal_can_hold_are_replaced_by_what_helps(tmp_path: Path) -> None:
    # Given a job with such arguments, one with such a result, a provisional one, and others beside them.
    path = str(tmp_path / "j")
    options = JobOptions(b"", 0.0, 0.0, 1, 0, b"", [], [], 0.0)
    run = Run(C, jobs(1, 2, 3), [1, 1, 1], [Huge(), b"2", b"3"], [options, None, None])
    ended = replace(ended_without_node(C, jobs(2, 3), FINISHED, "", "a"), results=[Huge(), b"r"])
    journal, _ = Journal.open(path)
    assert journal.append([OPEN, run, Placed(C, NODE, jobs(1), [1])])
    assert journal.append([Progress(C, JobId(1), 1, 0, Huge(), "a"), Run(C, jobs(4), [1], [Huge()])])
    assert journal.append([ended])
    journal.close()
    # When it is read.
    history = read(path).remembered.histories[C]
    # Then the clients are asked for the arguments, and who waits for the result is told why there is none.
    assert history.absent() == (jobs(4), jobs(1))
    assert history.jobs[JobId(1)].options is not None and not history.jobs[JobId(1)].shown
    lost, there = history.jobs[JobId(2)].outcome, history.jobs[JobId(3)].outcome
    assert lost is not None and there is not None
    (said, place), (_, other) = lost, there
    assert (said.statuses[place], said.statuses[other]) == (TERMINATED, FINISHED)
    assert "5,368,709,120 bytes was lost" in said.exceptions[place] and not said.exceptions[other]


def test_arguments_that_a_recovery_file_cannot_keep_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    recovery = RecoveryFile(str(tmp_path / "r"), False)
    size = recovery.journal.size
    with pytest.raises(JournalError, match="pass the name of a file instead"):
        recovery.submitted(1, Huge(), None, None)
    assert recovery.journal.size == size
    recovery.journal.close()


def test_large_payload_that_a_full_disk_takes_a_part_of_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "j")
    parts = [os.urandom(1000) for _ in range(200)]
    journal, _ = Journal.open(path)
    disk = FullDisk(70_000)
    disk.insert(monkeypatch)
    assert not journal.append([OPEN, Run(C, jobs(1), [1], [MemoryPayload(parts)])])
    assert list(Facts(path)) == []
    disk.room = 1_000_000
    journal.append_or_raise([Run(C, jobs(2), [1], [b""])])
    journal.close()
    assert joined(read(path).remembered.histories[C].jobs[JobId(1)].arguments) == b"".join(parts)


def test_rewriting_keeps_what_is_known_and_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "j")
    written(Path(path), FACTS * 20)
    journal, _ = Journal.open(path)
    before = journal.size
    journal.compact(Began("client", CLIENT, 4, "", "", "", 1))
    assert journal.size < before / 5
    journal.append([Told(C, jobs(2))])
    with pytest.raises(JournalError, match="in use"):
        Journal.open(path)
    journal.close()
    assert told(read(path).remembered) == told(remembered([*FACTS, Told(C, jobs(2))]))
    assert os.listdir(tmp_path) == ["j"]


def test_facts_about_more_jobs_than_a_column_holds_are_read_again(tmp_path: Path) -> None:
    jobs = [JobId(number) for number in range(1, 70_001)]
    facts: list[Message] = [Cancel(C, jobs, [0] * 70_000), Told(C, jobs), OutcomesAcked(C, [JobId(1)], [0])]
    found = list(unpack(b"".join(map(bytes, packed(facts)))))
    assert [type(each) for each in found] == [Cancel, Cancel, Told, Told, OutcomesAcked]
    for kind in (Cancel, Told):
        assert [job for each in found if isinstance(each, kind) for job in each.jobs] == jobs


def test_computation_that_cannot_be_applied_is_set_aside_and_the_others_are_there(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal, _ = Journal.open(path)
    journal.begin("scheduler", Instance(b"i" * 16), 1)
    D = ComputationId(b"another1")
    for computation in (C, D):
        journal.append([Open(computation, ["*"], False), Owned(computation, Instance(b"c" * 16), "client", "")])
    # As a scheduler wrote it that did not check the patterns of clients.
    journal.append([Open(C, ["*:x"], False)])
    journal.append([Run(C, [JobId(1)], [1], [b"for C"]), Run(D, [JobId(2)], [1], [b"for D"])])
    journal.close()
    with pytest.raises(JournalError, match="'x' is not a port"):
        Journal.open(path)
    journal, reading = Journal.open(path, sets_aside=True)
    assert list(reading.remembered.histories) == [D] and list(reading.remembered.histories[D].jobs) == [2]
    assert list(reading.set_aside) == [C] and "Open.nodes has '*:x'" in reading.set_aside[C]
    journal.set_aside(reading.set_aside)
    journal.close()
    # All that was known of it is in a copy; the journal itself says no more of it.
    [copy] = tmp_path.glob("journal.set-aside-*")
    assert b"for C" in copy.read_bytes()
    journal, reading = Journal.open(path)
    assert list(reading.remembered.histories) == [D] and not reading.set_aside
    journal.close()
