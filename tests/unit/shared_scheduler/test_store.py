"""What a shared scheduler finds again in its next life."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdispy.buffers.memory_file import FILE_PREFIX, ReceivedFile
from gdispy.errors import JournalError
from gdispy.journal.file import Journal
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.messages import Open, Release, Run
from gdispy.protocol.payload import MemoryPayload, joined
from gdispy.protocol.rows import FileRow
from gdispy.shared_scheduler.store import SchedulerStore
from tests.unit.builders import CLIENT_INSTANCE, C, D, prepare

LARGE = 4 << 20


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[[], SchedulerStore]]:
    made: list[SchedulerStore] = []

    def store() -> SchedulerStore:
        for each in made:
            each.close()
        made.append(SchedulerStore(str(tmp_path / "directory"), str(tmp_path / "temporary")))
        return made[-1]

    yield store
    made[-1].close()


def bring(store: SchedulerStore, computation: Any = C, *messages: Any) -> None:
    for message in (Open(computation, ["*"], False), prepare(computation), *messages):
        store.accept(CLIENT_INSTANCE, "client", message)


def run(number: int, value: Any = b"x") -> Run:
    return Run(C, [JobId(number)], [1], [value], [])


def test_without_a_directory_nothing_is_remembered_and_the_files_go(tmp_path: Path) -> None:
    files = tmp_path / "temporary"
    files.mkdir()
    (files / "something").touch()
    store = SchedulerStore("", str(files))
    bring(store)
    assert not store.remembers and store.epoch == 0
    assert store.identity.instance != SchedulerStore("", str(files)).identity.instance
    store.close()
    assert not files.exists()


def test_next_life_is_the_same_scheduler_with_a_higher_epoch(live: Any, tmp_path: Path) -> None:
    first, second = live(), live()
    assert first.identity.instance == second.identity.instance
    assert (first.epoch, second.epoch) == (1, 2)
    assert stat.S_IMODE((tmp_path / "directory" / "key").stat().st_mode) == 0o600


def test_what_was_accepted_is_found_and_what_was_released_is_not(live: Any) -> None:
    store = live()
    bring(store, C, run(1), run(2))
    bring(store, D)
    store.accept(CLIENT_INSTANCE, "client", Release(D))
    (history,) = live().histories
    assert history.id == C and sorted(history.jobs) == [1, 2]
    assert history.owned is not None and (history.owned.client, history.owned.name) == (CLIENT_INSTANCE, "client")
    assert history.prepare is not None and history.prepare.body == b"body"
    assert all(0 <= time.time() - when < 60 for when in history.submissions.times([JobId(1), JobId(2)]))


def test_large_arguments_lie_beside_the_journal_and_come_back(live: Any, tmp_path: Path) -> None:
    store = live()
    bring(store, C, run(1, MemoryPayload([b"a" * LARGE])))
    assert (tmp_path / "directory" / "journal").stat().st_size < LARGE // 2
    (history,) = live().histories
    assert joined(history.jobs[JobId(1)].arguments) == b"a" * LARGE


def test_dependency_files_are_joined_to_their_computation_and_others_of_its_own_go(live: Any) -> None:
    store = live()
    for name in (FILE_PREFIX + "kept", FILE_PREFIX + "unknown", "notes.txt"):
        Path(store.files, name).write_bytes(b"content")
    path = os.path.join(store.files, FILE_PREFIX + "kept")
    with_file = replace(
        prepare(C), files=[FileRow("data", 0o644, 0.0, 7, bytes(32))], contents=[ReceivedFile(path, 7, b"", "")]
    )
    bring(store, C, with_file)
    again = live()
    (history,) = again.histories
    assert (
        history.prepare is not None
        and history.prepare.contents[0].path == path
        and history.prepare.contents[0].size == 7
    )
    assert sorted(os.listdir(again.files)) == sorted([FILE_PREFIX + "kept", "notes.txt"])


def test_client_brings_a_computation_again_whose_file_is_gone(live: Any) -> None:
    store = live()
    path = os.path.join(store.files, FILE_PREFIX + "lost")
    bring(
        store,
        C,
        replace(
            prepare(C), files=[FileRow("data", 0o644, 0.0, 7, bytes(32))], contents=[ReceivedFile(path, 7, b"", "")]
        ),
    )
    (history,) = live().histories
    assert history.prepare is None and history.owned is not None


def test_computation_that_cannot_be_taken_up_is_kept_apart(live: Any, tmp_path: Path) -> None:
    store = live()
    bring(store, C, run(1, MemoryPayload([b"a" * LARGE])))
    bring(store, D)
    again = live()
    again.set_aside(C, ValueError("planted"))
    assert [history.id for history in live().histories] == [D]


@pytest.mark.parametrize("kind", ["client", "node"])
def test_journal_of_something_else_is_refused_and_not_held(tmp_path: Path, kind: str) -> None:
    (tmp_path / "directory").mkdir()
    path = str(tmp_path / "directory" / "journal")
    journal, _ = Journal.open(path)
    journal.begin(kind, Instance(b"i" * 16), 1)
    journal.close()
    with pytest.raises(JournalError, match=f"is the journal of a {kind}, not of a scheduler"):
        SchedulerStore(str(tmp_path / "directory"), str(tmp_path))
    Journal.open(path)[0].close()


def test_directory_of_a_scheduler_that_lives_is_refused(live: Any, tmp_path: Path) -> None:
    live()
    with pytest.raises(JournalError, match="in use"):
        SchedulerStore(str(tmp_path / "directory"), str(tmp_path))


@pytest.mark.parametrize("content", [b"short", b"x" * 33])
def test_damaged_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "key").write_bytes(content)
    with pytest.raises(JournalError, match=f"key is damaged: it must have 32 bytes, and has {len(content)}"):
        SchedulerStore(str(tmp_path / "directory"), str(tmp_path))


def test_link_in_the_place_of_the_key_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "target").touch()
    (tmp_path / "directory" / "key").symlink_to(tmp_path / "target")
    with pytest.raises(JournalError, match="key cannot be used"):
        SchedulerStore(str(tmp_path / "directory"), str(tmp_path))
    assert (tmp_path / "target").read_bytes() == b""


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "directory").write_text("a file")
    with pytest.raises(JournalError, match="directory cannot be used for the journal"):
        SchedulerStore(str(tmp_path / "directory"), str(tmp_path))
