"""A computation: the files it was asked for, and how many of its jobs go to a worker."""

from __future__ import annotations

import itertools

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import NO_LIMIT
from gdispy.rules.node.computation import PORTION_LIMIT, PROCESS_MOVES, SHORT, ProcessStage, RequestedFiles
from gdispy.rules.node.worker import Worker
from tests.unit.builders import Announced
from tests.unit.rules.node.building import W1, computation, job, of


def test_files_arrive_in_parts_and_the_last_says_so() -> None:
    files = RequestedFiles()
    files.ask([0, 2])
    assert not files.take([0], [b"first"])
    assert files.missing() == [2]
    assert files.take([2], [b"last"])
    assert files.hand_over() == {0: b"first", 2: b"last"}
    assert not files and not files.take([0], [b"again"])


def test_file_that_was_not_asked_for_or_comes_twice_is_given_back() -> None:
    files, values = RequestedFiles(), [Announced(1) for _ in range(3)]
    files.ask([0, 1])
    files.take([0, 5], values[:2])
    files.take([0], values[2:])
    assert [each.released for each in values] == [0, 1, 1]
    files.drop()
    assert values[0].released == 1


def test_template_that_could_not_load_says_why_and_one_that_ended_is_not_ready() -> None:
    processes = computation().processes
    processes.loaded("no module")
    assert (processes.ready, processes.error) == (False, "no module")
    processes.loaded("")
    assert (processes.ready, processes.error) == (True, "")
    processes.template_ended()
    assert not processes.ready


@pytest.mark.parametrize(("begin", "end"), list(itertools.product(ProcessStage, repeat=2)))
def test_only_legal_moves_between_stages_of_processes_are_made(begin: ProcessStage, end: ProcessStage) -> None:
    processes = computation().processes
    processes.stage = begin
    if end is begin or end in PROCESS_MOVES[begin]:
        processes._move(end)
        assert (processes.stage, processes.ready) == (end, end is ProcessStage.READY)
    else:
        with pytest.raises(InternalError, match=f"from {begin.name} to {end.name}"):
            processes._move(end)


def test_processes_that_are_over_and_loaded_again_have_no_error_left() -> None:
    processes = computation().processes
    processes.loaded("no module")
    processes.retire()
    processes.load_again()
    assert (processes.stage, processes.error) == (ProcessStage.LOADING, "")


def test_load_is_that_of_workers_with_jobs_and_room_is_what_is_left() -> None:
    made = computation()
    assert made.room() == NO_LIMIT
    made.workers[W1] = Worker(W1, made)
    made.workers[W1].cpus, made.cpus = 3, 2
    assert (made.load(), made.room()) == (0, 2)
    made.workers[W1].hand.append(job(1))
    assert (made.load(), made.room()) == (3, -1)


def test_held_are_the_latest_attempts_and_what_has_ended() -> None:
    made = computation()
    made.jobs = {JobId(1): job(1), JobId(2): job(2)}
    made.succeeding = {JobId(2): job(2, attempt=3)}
    made.outcomes.unacked[JobId(4)] = of(4, attempt=2)
    assert made.held() == {1: 1, 2: 3, 4: 2}


def test_jobs_are_short_by_their_average_and_where_none_has_a_process_of_its_own() -> None:
    made = computation()
    assert not made.has_short_jobs
    made.note_pace(SHORT, 1)
    assert made.has_short_jobs
    made.note_pace(100 * SHORT, 1)
    assert not made.has_short_jobs


def test_portion_is_limited_by_jobs_and_never_empty() -> None:
    made = computation()
    made.jobs = {JobId(number): job(number) for number in range(10_000)}
    made.pace = 1e-6
    assert made.portion(1) == PORTION_LIMIT
    made.pace = 100.0
    assert made.portion(1) == 1
