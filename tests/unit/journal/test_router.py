"""Which journal facts go into, and what waits while one of them cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy.journal.file import Journal
from gdispy.journal.format import Facts
from gdispy.journal.router import JournalRouter
from gdispy.protocol.messages import Open, Release
from tests.unit.builders import C, D


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[tuple[Journal, Journal]]:
    pair = Journal.open(str(tmp_path / "common"))[0], Journal.open(str(tmp_path / "own"))[0]
    yield pair
    for each in pair:
        each.close()


def count(journal: Journal) -> int:
    return len(list(Facts(journal.path)))


def full(pieces: list[Any]) -> None:
    raise OSError(28, "No space left on device")


def test_computation_without_a_journal_is_not_recorded_and_holds_nothing() -> None:
    router = JournalRouter()
    router.record(C, [Open(C, ["*"], False)])
    assert not router.holds(C, lambda: None)


def test_facts_go_into_the_journal_of_the_computation_else_into_the_common_one(journals: Any) -> None:
    common, own = journals
    router = JournalRouter()
    router.common = common
    router.add(C, own)
    router.record(C, [Open(C, ["*"], False)])
    router.record(D, [Open(D, ["*"], False), Release(D)])
    assert (count(common), count(own)) == (2, 1)
    router.remove(C)
    router.remove(C)
    router.record(C, [Release(C)])
    assert (count(common), count(own)) == (3, 1)


def test_only_what_belongs_to_the_journal_that_is_stuck_waits_and_in_order(journals: Any) -> None:
    common, own = journals
    router = JournalRouter()
    router.common = common
    router.add(C, own)
    own._write = full
    router.record(C, [Open(C, ["*"], False)])
    done: list[str] = []
    assert router.holds(C, lambda: done.append("first"))
    assert router.holds(C, lambda: done.append("second"))
    assert not router.holds(D, lambda: done.append("never"))
    assert done == []
    router.free()
    router.free()
    assert done == ["first", "second"]


def test_action_that_waits_again_while_others_are_done_is_kept(journals: Any) -> None:
    router = JournalRouter()
    router.common = journals[0]
    router.common._write = full  # type: ignore[method-assign]
    router.record(C, [Open(C, ["*"], False)])
    done: list[int] = []

    def again() -> None:
        done.append(1)
        if len(done) < 2:
            assert router.holds(C, again)

    router.holds(C, again)
    router.free()
    assert done == [1]
    router.free()
    assert done == [1, 1]
