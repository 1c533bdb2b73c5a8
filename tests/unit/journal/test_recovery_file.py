"""A cluster's recovery file: what the next life of the program finds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy.errors import ConfigError, JournalError
from gdispy.journal.file import Journal
from gdispy.journal.recovery_file import RecoveryFile, recovery_path
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import Open
from gdispy.protocol.payload import MemoryPayload
from gdispy.worker import pickling
from tests.unit.builders import C, ended, outcome, prepare


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "recovery")


@pytest.fixture
def open_file(path: str) -> Iterator[Callable[..., RecoveryFile]]:
    made: list[RecoveryFile] = []

    def make(resume: bool | str = False) -> RecoveryFile:
        made.append(RecoveryFile(path, resume))
        return made[-1]

    yield make
    for each in made:
        each.journal.close()


def call(*args: Any, **kwargs: Any) -> bytes:
    return pickling.dumps((args, kwargs))  # type: ignore[return-value]


def begin(file: RecoveryFile, name: str = "f") -> Any:
    return file.begin(prepare(C, name=name), Open(C, ["*"], False), "")


def crash(file: RecoveryFile) -> None:
    file.journal.close()


@pytest.mark.parametrize(("given", "expected"), [(None, ""), (False, ""), ("", ""), ("a", "a"), (Path("b/c"), "b/c")])
def test_where_the_file_is(given: Any, expected: str) -> None:
    assert recovery_path(given) == (os.path.abspath(expected) if expected else "")


def test_name_is_made_where_none_is_given() -> None:
    assert re.fullmatch(r"_dispy_fault_recover_\d{14}", os.path.basename(recovery_path(True)))


@pytest.mark.parametrize("given", [1, b"bytes", "with\0zero", ["list"]])
def test_what_is_no_path_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="fault_recover must be"):
        recovery_path(given)


def test_file_of_a_cluster_that_was_closed_is_gone_and_of_one_that_keeps_it_stays(open_file: Any, path: str) -> None:
    file = open_file()
    begin(file)
    file.close()
    assert not os.path.exists(path)
    file = open_file()
    begin(file)
    file.stays = True
    file.close()
    assert os.path.exists(path)


def test_jobs_are_in_the_file_before_submit_returns_and_are_found_by_their_calls(open_file: Any) -> None:
    file = open_file()
    first, _ = begin(file)
    for number in range(1, 4):
        file.submitted(number, call(number % 2), None, None)
    crash(file)
    again = open_file(resume=True)
    assert again.former is not None and sorted(again.former.jobs) == [1, 2, 3]
    second, opened = begin(again)
    assert second.computation == first.computation and second.token == first.token
    assert (first.epoch, second.epoch, opened.epoch) == (1, 2, 2)
    # Twice the same call are two jobs, in their order; a third is new.
    found = [again.taken_up(call(value), ((value,), {})) for value in (1, 0, 1, 1, 5)]
    assert found == [1, 2, 3, None, None]


def test_same_call_in_other_words_is_found(open_file: Any) -> None:
    file = open_file()
    begin(file)
    file.submitted(1, call({"b", "a"}), None, None)
    file.submitted(2, MemoryPayload([call(2)]), None, None)
    crash(file)
    again = open_file(resume=True)
    begin(again)
    assert again.taken_up(b"other words", (({"a", "b"},), {})) == 1
    assert again.taken_up(b"other words", ((3,), {})) is None
    assert again.taken_up(call(2), ((2,), {})) == 2


def test_equal_arguments_of_other_types_are_a_new_call(open_file: Any) -> None:
    file = open_file()
    begin(file)
    file.submitted(1, call(1, {"key": frozenset({0.0})}), None, None)
    crash(file)
    again = open_file(resume=True)
    begin(again)
    for values in (
        (1.0, {"key": frozenset({0.0})}),
        (True, {"key": frozenset({0.0})}),
        (1, {"key": frozenset({-0.0})}),
    ):
        assert again.taken_up(call(*values), (values, {})) is None
    assert again.taken_up(call(1, {"key": {0.0}}), ((1, {"key": {0.0}}), {})) is None
    assert again.taken_up(b"other words", ((1, {"key": frozenset({0.0})}), {})) == 1


#: Writes jobs with sets in them, or takes them up in reverse order and prints their numbers.
PROGRAM = """
import sys
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol.messages import Open
from gdispy.worker import pickling
from tests.unit.builders import C, prepare

class Task:
    def __init__(self, name, tags):
        self.name, self.tags = name, tags

    def same(self):
        return Task, self.name in {"a", "b", "c"}

class Setter:
    def __init__(self, tags):
        self.tags = tags

    def __reduce__(self):
        return object.__new__, (Setter,), {"tags": self.tags}, None, None, set_state

def set_state(value, state):
    value.tags = state["tags"]

words = "alpha beta gamma delta epsilon zeta".split()
calls = []
for number in range(12):
    tags = {f"t{number}", *words}
    calls.append(((tags,), {}))
    calls.append(((frozenset(tags), [number]), {"key": {"a": tags, "b": tags}}))
    calls.append(((Task(f"t{number}", tags),), {}))
    calls.append((({frozenset((each, number)) for each in words}, {(each, number, b"b") for each in words}), {}))
    calls.append((({Task(each, {number, *words}) for each in words},), {}))
    calls.append(((Setter(tags),), {}))
    calls.append(((b"x" * 40_000, bytearray(40_000), tags), {}))
file = RecoveryFile(sys.argv[1], True)
file.begin(prepare(C, name="f"), Open(C, ["*"], False), "")
payloads = [pickling.dumps_call(*each) for each in calls]
payloads = [each if isinstance(each, bytes) else b"".join(each) for each in payloads]
if sys.argv[2] == "write":
    for number, each in enumerate(payloads, 1):
        file.submitted(number, each, None, None)
else:
    found = [file.taken_up(payload, each) for payload, each in zip(payloads[::-1], calls[::-1])]
    print([(place, number) for place, number in zip(range(len(calls), 0, -1), found) if place != number])
file.journal.close()
"""


def test_calls_with_sets_are_found_by_a_process_with_another_order_of_sets(tmp_path: Path, path: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = str(Path(__file__).parents[3])
    for seed, what in (("1", "write"), ("2", "read")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
        command = [sys.executable, str(program), path, what]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "[]\n"


def test_new_job_is_logged_once_while_former_ones_were_not_submitted(open_file: Any, caplog: Any) -> None:
    file = open_file()
    begin(file)
    file.submitted(1, call(1), None, None)
    crash(file)
    again = open_file(resume=True)
    begin(again)
    for value in (2, 3):
        assert again.taken_up(call(value), ((value,), {})) is None
    assert caplog.text.count("other arguments than the 1 jobs of the previous run") == 1
    assert again.taken_up(call(1), ((1,), {})) == 1


def test_class_of_the_user_that_fails_when_it_is_compared_is_a_new_call(open_file: Any) -> None:
    file = open_file()
    begin(file)
    file.submitted(1, call(1), None, None)
    crash(file)
    again = open_file(resume=True)
    begin(again)

    class Awkward:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not comparable")

        __hash__ = None  # type: ignore[assignment]

    assert again.taken_up(b"other", Awkward()) is None


def test_names_are_written_with_the_next_job_or_when_it_is_flushed(open_file: Any) -> None:
    file = open_file()
    begin(file)
    file.submitted(1, call(1), None, "first")
    file.submitted(2, call(2), None, None)
    file.named(2, "second")
    file.submitted(3, call(3), None, None)
    file.named(3, "third")
    file.flush()
    file.flush()
    crash(file)
    former = open_file(resume=True).former
    assert {number: pickling.loads(job.name) for number, job in former.jobs.items() if job.name} == {
        1: "first",
        2: "second",
        3: "third",
    }


def test_name_that_cannot_be_pickled_is_told_and_the_job_is_kept(open_file: Any, caplog: Any) -> None:
    file = open_file()
    begin(file)
    file.submitted(1, call(1), None, (each for each in ()))
    crash(file)
    assert "cannot be pickled" in caplog.text
    assert list(open_file(resume=True).former.jobs) == [1]


def test_jobs_that_failed_run_again_only_where_that_is_wanted(open_file: Any) -> None:
    file = open_file()
    begin(file)
    for number in (1, 2):
        file.submitted(number, call(number), None, None)
    file.journal.append([ended(outcome(1), outcome(2, status=TERMINATED, result=b"", exception="failed"))])
    crash(file)
    again = open_file(resume=True)
    again.run_again(set())
    assert again.former.jobs[JobId(2)].outcome is not None
    crash(again)
    again = open_file(resume="failed")
    again.run_again(set())
    jobs = again.former.jobs
    assert jobs[JobId(1)].outcome is not None and jobs[JobId(2)].outcome is None


def test_jobs_of_a_former_program_get_another_name_where_they_are_not_wanted(
    open_file: Any, path: str, caplog: Any
) -> None:
    Path(path + ".1").write_text("mine")
    file = open_file()
    begin(file)
    file.submitted(1, call(1), None, None)
    crash(file)
    assert open_file().former is None
    assert Path(path + ".1").read_text() == "mine"
    assert f"gdispy.recover_jobs('{path}.2')" in caplog.text
    journal, reading = Journal.open(path + ".2")
    assert sorted(reading.remembered.histories[C].jobs) == [1]
    journal.close()


def test_file_of_another_computation_is_refused_and_left_as_it_was(open_file: Any, path: str) -> None:
    file = open_file()
    begin(file)
    file.submitted(1, call(1), None, None)
    crash(file)
    before = Path(path).read_bytes()
    again = open_file(resume=True)
    with pytest.raises(ConfigError, match="is about f, and this computation is g: give another file"):
        begin(again, "g")
    again.give_up()
    assert Path(path).read_bytes() == before


def test_cluster_that_could_not_be_made_leaves_no_new_file(open_file: Any, path: str) -> None:
    open_file().give_up()
    assert not os.path.exists(path)


def test_journal_of_a_daemon_is_no_recovery_file_and_is_not_held(path: str) -> None:
    journal, _ = Journal.open(path)
    journal.begin("scheduler", Instance(b"i" * 16), 1)
    journal.close()
    with pytest.raises(JournalError, match="is the journal of a scheduler, and no recovery file"):
        RecoveryFile(path, resume=True)
    Journal.open(path)[0].close()


def test_callback_that_is_late_writes_into_no_closed_file(open_file: Any) -> None:
    file = open_file()
    begin(file)
    file.submitted(1, call(1), None, None)
    file.close()
    file.told(1)
