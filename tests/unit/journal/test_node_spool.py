"""Outcomes that a node writes down for clients that are away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy.errors import ConfigError
from gdispy.journal.node_spool import NodeSpool
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.messages import Open, Release, Run
from tests.unit.builders import C, D, ended, outcome

NODE = Instance(b"n" * 16)
AGE = 3600.0


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., NodeSpool]]:
    made: list[NodeSpool] = []

    def spool(limit: int = 0, told: list[str] | None = None) -> NodeSpool:
        made.append(NodeSpool(str(tmp_path), NODE, limit, [].append if told is None else told.append))
        return made[-1]

    yield spool
    for each in made:
        each.close()


def files(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "spool"))


def facts(computation: Any, *jobs: int) -> list[Any]:
    numbers = [JobId(number) for number in jobs]
    run = Run(computation, numbers, [1] * len(jobs), [b""] * len(jobs))
    return [Open(computation, ["*"], False), run, ended(*map(outcome, jobs), computation=computation)]


def test_next_node_finds_what_the_former_one_wrote(make: Any, tmp_path: Path) -> None:
    first = make()
    assert first.load(AGE) == []
    first.record(C, facts(C, 1, 2))
    first.record(D, facts(D, 1))
    first.close()
    found = make().load(AGE)
    assert {history.id: sorted(history.jobs) for history in found} == {C: [1, 2], D: [1]}
    outcome_of_first = next(history for history in found if history.id == C).jobs[JobId(1)].outcome
    assert outcome_of_first is not None and outcome_of_first[0].results[outcome_of_first[1]] == b"result"


def test_release_removes_the_file_of_its_computation_only(make: Any, tmp_path: Path) -> None:
    spool = make()
    spool.load(AGE)
    spool.record(C, facts(C, 1))
    spool.record(D, facts(D, 1))
    assert files(tmp_path) == [D.hex(), C.hex()]
    spool.record(C, [Release(C)])
    spool.record(C, [Release(C)])
    assert files(tmp_path) == [D.hex()]


def test_what_another_node_holds_is_left_to_it(make: Any, tmp_path: Path, caplog: Any) -> None:
    first = make()
    first.load(AGE)
    first.record(C, facts(C, 1))
    assert make().load(AGE) == [] and not caplog.records
    assert files(tmp_path) == [C.hex()]


def test_old_and_empty_files_go_and_those_of_others_stay(make: Any, tmp_path: Path) -> None:
    first = make()
    first.load(AGE)
    first.record(C, facts(C, 1))
    first.record(D, [Open(D, ["*"], False)])
    first.close()
    (tmp_path / "spool" / "notes.txt").touch()
    long_ago = time.time() - 2 * AGE
    os.utime(tmp_path / "spool" / C.hex(), (long_ago, long_ago))
    assert make().load(AGE) == []
    assert files(tmp_path) == ["notes.txt"]


def test_damaged_file_does_not_keep_the_others_from_being_found(make: Any, tmp_path: Path, caplog: Any) -> None:
    first = make()
    first.load(AGE)
    first.record(C, facts(C, 1))
    first.close()
    (tmp_path / "spool" / "0123456789abcdef").write_bytes(b"no journal at all, but long enough to be one" * 10)
    assert [history.id for history in make().load(AGE)] == [C]
    assert "0123456789abcdef" in caplog.text and (tmp_path / "spool" / "0123456789abcdef").exists()


def test_more_than_the_limit_is_told_once_and_the_end_of_it_too(make: Any) -> None:
    told: list[str] = []
    spool = make(limit=100, told=told)
    spool.load(AGE)
    spool.record(C, facts(C, *range(1, 50)))
    spool.record(C, [ended(outcome(50))])
    assert len(told) == 1 and "--spool_size" in told[0]
    spool.record(C, [Release(C)])
    spool._look_again()
    assert told[1:] == [""]


def test_full_disk_is_told(make: Any) -> None:
    told: list[str] = []
    spool = make(told=told)
    spool.load(AGE)
    spool.record(C, facts(C, 1))

    def full(pieces: Any) -> None:
        raise OSError(28, "No space left on device")

    spool._journals[C]._write = full
    spool.record(C, [ended(outcome(2))])
    assert len(told) == 1 and "No space left" in told[0]


def test_directory_that_cannot_be_used_is_named(make: Any, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(ConfigError, match="spool cannot be used"):
        make().load(AGE)
