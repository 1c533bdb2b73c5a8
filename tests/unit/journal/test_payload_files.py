"""Large payloads of a journal, in files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from gdispy.journal import payload_files
from gdispy.journal.file import Journal
from gdispy.journal.format import Facts, StoredPayload, arrays, packed
from gdispy.journal.payload_files import LARGE, SPARE_FILES, SPARE_SIZE, PayloadFiles, sync_files
from gdispy.journal.router import JournalRouter
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Ended, Message, Open, OutcomesAcked, Release, Run
from gdispy.protocol.payload import ABSENT, Bulk, MemoryPayload, joined
from gdispy.rules.history.replay import ComputationHistory, JournalState
from tests.unit.builders import C, ended, outcome, unpack

BIG = MemoryPayload([b"a" * (LARGE // 2), b"b" * (LARGE // 2)])


def jobs(*numbers: int) -> list[JobId]:
    return [JobId(number) for number in numbers]


def run(arguments: dict[int, Bulk]) -> Run:
    return Run(C, jobs(*arguments), [1] * len(arguments), list(arguments.values()), [])


def collected(*numbers: int) -> OutcomesAcked:
    return OutcomesAcked(C, jobs(*numbers), [1] * len(numbers))


def read_back(facts: list[Message], begin: list[Message] | None = None) -> ComputationHistory:
    """What a journal with these facts says of the computation."""
    state = JournalState()
    for fact in [*([Open(C, ["*"], False)] if begin is None else begin), *facts]:
        state.take(next(unpack(b"".join(packed([fact])))))
    return state.histories[C]


@pytest.fixture
def files(tmp_path: Path) -> PayloadFiles:
    return PayloadFiles(str(tmp_path / "payloads"))


def names(files: PayloadFiles) -> list[str]:
    return sorted(path.name for path in Path(files.directory).iterdir())


def test_what_is_small_stays_in_the_fact(files: PayloadFiles) -> None:
    facts: list[Message] = [run({1: b"x", 2: MemoryPayload([bytes(LARGE - 1)])}), ended(outcome(1)), Release(C)]
    assert [fact.values() for fact in files.store(facts)] == [fact.values() for fact in facts]
    assert names(files) == []


def test_large_payloads_are_whole_in_files_and_found_again(files: PayloadFiles) -> None:
    facts = files.store([run({1: b"x", 2: BIG}), ended(outcome(2, result=BIG, stdout=BIG))])
    assert len(names(files)) == 3
    assert sum(map(len, packed(facts))) < 1000
    history = read_back(facts)
    again = PayloadFiles(files.directory)
    again.take_up(history)
    job = history.jobs[JobId(2)]
    assert job.outcome is not None
    message, place = job.outcome
    for value in (job.arguments, message.results[place], message.outputs[place]):
        assert joined(value) == joined(BIG)
    # When another life collects it, its files are needed no more.
    again.forget([collected(2)])
    again.close()
    assert names(again) == []


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(bytes(LARGE))])
def test_what_is_missing_or_damaged_was_not_written(files: PayloadFiles, damage: Any) -> None:
    facts = files.store([run({1: BIG, 2: b"x"}), ended(outcome(2, result=BIG))])
    for path in Path(files.directory).iterdir():
        damage(path)
    history = read_back(facts)
    assert not files.take_up(history)
    assert history.jobs[JobId(1)].arguments is ABSENT
    assert history.jobs[JobId(2)].outcome is None


def test_what_comes_again_of_what_was_damaged_counts(files: PayloadFiles) -> None:
    written: list[Message] = [Open(C, ["*"], False)]
    written += files.store([run({1: BIG, 2: BIG, 3: BIG}), ended(outcome(2, result=BIG))])
    for name in names(files)[:2] + names(files)[3:]:
        (Path(files.directory) / name).unlink()
    history, again = read_back(written, []), PayloadFiles(files.directory)
    assert not again.take_up(history)
    again.say_again(C, history.facts(), written.extend)
    written += again.store([run({1: BIG}), ended(outcome(2, result=BIG))])
    # In the next life all is there but for what did not come again.
    history, last = read_back(written, []), PayloadFiles(files.directory)
    assert last.take_up(history)
    assert [history.jobs[number].arguments is ABSENT for number in jobs(1, 2, 3)] == [False, True, False]
    assert history.jobs[JobId(2)].outcome is not None
    last.remove_unknown(keep=False)
    assert len(names(last)) == 3


def test_files_of_collected_jobs_are_written_over(files: PayloadFiles) -> None:
    files.store([run({1: BIG})])
    before = names(files)
    files.forget([collected(1)])
    other = MemoryPayload([b"c" * LARGE])
    history = read_back(files.store([run({2: other})]))
    assert names(files) == before
    files.take_up(history)
    assert joined(history.jobs[JobId(2)].arguments) == b"c" * LARGE


def test_job_whose_file_was_written_over_does_not_keep_it(files: PayloadFiles) -> None:
    # The machine has died before the journal's words that the first job was collected were on the disk.
    first = files.store([run({1: BIG})])
    files.forget([collected(1)])
    second = files.store([run({2: MemoryPayload([b"c" * LARGE])})])
    history, again = read_back([*first, *second]), PayloadFiles(files.directory)
    again.take_up(history)
    assert history.jobs[JobId(1)].arguments is ABSENT
    again.forget([collected(1)])
    again.store([run({3: BIG})])
    assert joined(history.jobs[JobId(2)].arguments) == b"c" * LARGE
    assert len(names(again)) == 2


def test_only_few_and_not_the_longest_files_are_kept_to_be_written_over(files: PayloadFiles) -> None:
    numbers = range(1, SPARE_FILES + 10)
    files.store([run(dict.fromkeys(numbers, BIG)), run({1000: MemoryPayload([bytes(SPARE_SIZE + 1)])})])
    files.forget([collected(1000, *numbers)])
    assert len(names(files)) == SPARE_FILES


def test_release_gives_all_files_of_a_computation_up(files: PayloadFiles) -> None:
    files.store([run({1: BIG, 2: BIG})])
    files.forget([Release(C)])
    files.close()
    assert names(files) == []


def test_files_that_the_journal_does_not_name_are_removed_and_others_are_not_touched(files: PayloadFiles) -> None:
    files.store([run({1: BIG})])
    (Path(files.directory) / "payload-notes").touch()
    PayloadFiles(files.directory).remove_unknown(keep=False)
    assert names(files) == ["payload-notes"]


def test_files_may_be_kept_for_the_copy_of_a_journal(files: PayloadFiles, tmp_path: Path) -> None:
    files.store([run({1: BIG})])
    files.set_aside(C)
    files.store([run({2: BIG})])
    PayloadFiles(files.directory).remove_unknown(keep=True)
    assert names(files) == []
    assert len(list((tmp_path / "payloads.set-aside").iterdir())) == 2


def test_new_life_gives_no_name_twice(files: PayloadFiles) -> None:
    files.store([run({1: BIG})])
    PayloadFiles(files.directory).store([run({2: BIG})])
    assert len(names(files)) == 2


def test_what_cannot_be_written_stays_in_the_fact(files: PayloadFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, value: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(payload_files, "_write_file", fail)
    fact = files.store([run({1: BIG})])[0]
    assert isinstance(fact, Run) and fact.arguments == [BIG]


def test_files_are_synced_once(files: PayloadFiles) -> None:
    files.store([run({1: BIG, 2: BIG})])
    files.forget([collected(2)])
    paths = files.unsynced()
    assert len(paths) == 1 and files.unsynced() == []
    sync_files([*paths, paths[0] + "-that-is-gone"])


def test_router_forgets_files_only_when_that_is_written(files: PayloadFiles, tmp_path: Path) -> None:
    router = JournalRouter()
    router.common, router.payloads = Journal.open(str(tmp_path / "journal"))[0], files
    router.record(C, [Open(C, ["*"], False), run({1: BIG})])
    stored = next(fact for fact in Facts(router.common.path) if isinstance(fact, Run)).arguments[0]
    assert isinstance(stored, StoredPayload)
    router.common._write = _full  # type: ignore[method-assign]
    router.record(C, [collected(1)])
    assert router.holds(C, lambda: None)
    files.close()
    assert names(files) == [stored.name]
    router.common.close()


def _full(pieces: list[Any]) -> None:
    raise OSError(28, "No space left on device")


def test_unknown_extension_is_refused() -> None:
    with pytest.raises(ValueError):
        list(arrays(msgpack.packb([msgpack.ExtType(7, b"x")])))


def test_ends_that_one_message_tells_are_found_one_by_one(files: PayloadFiles) -> None:
    facts = files.store([run({1: b"", 2: b""}), ended(outcome(1, result=BIG), outcome(2, result=BIG))])
    (Path(files.directory) / names(files)[0]).unlink()
    history = read_back(facts)
    files.take_up(history)
    assert [history.jobs[number].outcome is None for number in jobs(1, 2)] == [True, False]
    found = history.jobs[JobId(2)].outcome
    assert found is not None and isinstance(found[0], Ended) and joined(found[0].results[found[1]]) == joined(BIG)
