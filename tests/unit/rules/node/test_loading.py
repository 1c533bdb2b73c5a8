"""How computations come and go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gdispy.protocol.messages import FileContents, MissingFiles, Prepare, Prepared, PutFile, Released, Reply
from gdispy.rules.effects import Send
from gdispy.rules.node import loading as loading_module
from gdispy.rules.node.effects import FindMissingFiles, Load, PutFiles, Shutdown, Unload
from gdispy.rules.node.loading import TEMPLATE_LIMIT, Loading
from gdispy.rules.node.scheduler_session import SchedulerSession
from tests.unit.builders import C, D, prepare
from tests.unit.rules.node.building import TOKEN, A, Served, computation, job, session

FILES = replace(prepare(), files=[["f", 1, 0.0, 1, b"d" * 32], ["g", 1, 0.0, 1, b"d" * 32]])


def loading() -> tuple[Served, Loading, SchedulerSession]:
    """With one scheduler that has joined, and nothing that is loaded."""
    served = Served()
    served.join()
    owner = served.sessions.at(A)
    assert owner is not None
    return served, Loading(served.state, served.jobs.table, served.ownership, served.sessions), owner


def refused(message: Prepare, why: str) -> list[Send]:
    return [Send(A, Prepared(message.computation, why, for_now=True))]


def test_files_are_looked_for_asked_for_and_put_in_place_before_it_is_loaded() -> None:
    served, made, owner = loading()
    assert made.prepare(owner, FILES) == [FindMissingFiles(FILES)]
    here = served.state.computations[C]
    assert made.looked(here, [1]) == [Send(A, MissingFiles(C, [1]))]
    assert made.prepare(owner, FILES) == [Send(A, MissingFiles(C, [1]))], "the scheduler asks again"
    assert made.take_contents(here, FileContents(C, [1], [b"text"])) == [Load(FILES, {1: b"text"})]
    assert made.loaded(here, "", 0.0) == [Send(A, Prepared(C, ""))]
    assert made.prepare(owner, FILES) == [Send(A, Prepared(C, ""))]


def test_computation_without_files_or_whose_files_are_there_is_loaded_at_once() -> None:
    served, made, owner = loading()
    assert made.prepare(owner, prepare()) == [Load(prepare(), {})]
    assert made.prepare(owner, prepare()) == [], "it is being loaded"
    assert made.looked(served.state.computations[C], []) == [Load(prepare(), {})]


def test_jobs_that_wait_end_where_it_cannot_be_loaded() -> None:
    served, made, owner = loading()
    made.prepare(owner, prepare())
    here = served.state.computations[C]
    served.jobs.table.accept(here, job(1), 0.0)
    made.loaded(here, "no module", 1.0)
    assert [each.exception for each in here.outcomes.unacked.values()] == ["no module"]
    assert not here.queue


def test_template_that_ends_is_loaded_again_until_it_has_ended_too_often() -> None:
    served, made, owner = loading()
    made.prepare(owner, prepare())
    here = served.state.computations[C]
    for _ in range(TEMPLATE_LIMIT - 1):
        assert made.template_lost(here, "killed", 0.0) == [Load(prepare(), {})]
    error = "its process on the node ends repeatedly: killed"
    assert made.template_lost(here, "killed", 0.0) == [Send(A, Prepared(C, error))]


def test_late_report_of_processes_that_were_ended_is_ignored() -> None:
    served, made, owner = loading()
    made.prepare(owner, prepare())
    here = served.state.computations[C]
    here.processes.retire()
    assert made.loaded(here, "", 0.0) == made.template_lost(here, "it was killed", 0.0) == []
    assert here.processes.is_over and not here.processes.ready


def test_computation_that_is_asked_for_again_is_loaded_when_the_former_is_gone() -> None:
    served, made, owner = loading()
    made.prepare(owner, prepare())
    served.jobs.table.forget(served.state.computations[C])
    assert made.prepare(owner, FILES) == []
    assert made.unloaded(C) == [FindMissingFiles(FILES)]
    # And where the scheduler does not want it any more, it is told.
    served.jobs.table.forget(served.state.computations[C])
    made.prepare(owner, FILES)
    assert made.release(owner, C) == []
    assert made.unloaded(C) == [Send(A, Released(C))]
    assert made.unloaded(C) == []


def test_release_of_what_is_not_here_is_confirmed() -> None:
    _, made, owner = loading()
    assert made.release(owner, D) == [Send(A, Released(D))]


def test_computation_of_another_scheduler_is_refused_while_that_is_there_and_else_begun_anew() -> None:
    served, made, owner = loading()
    other = computation(session(b"o" * 16))
    served.state.add(other)
    assert made.prepare(owner, prepare()) == refused(prepare(), "it belongs to another client")
    other.session.peer = None
    assert made.prepare(owner, prepare()) == [Unload(C)]
    assert made.unloaded(C) == [Load(prepare(), {})]


def test_computation_that_was_taken_over_is_fenced() -> None:
    served, made, owner = loading()
    served.ownership.note(computation(number=C, token=TOKEN))
    effects = made.prepare(owner, replace(prepare(), token=TOKEN, epoch=0))
    assert effects == [Send(A, served.ownership.fenced(C))]
    assert C not in served.state.computations


def test_no_more_computations_are_taken_than_are_allowed_or_when_the_node_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    served, made, owner = loading()
    monkeypatch.setattr(loading_module, "COMPUTATIONS_LIMIT", 0)
    why = "0 computations are loaded, and no more are accepted until one has ended"
    assert made.prepare(owner, prepare()) == refused(prepare(), why)
    assert served.sessions.finish() == [Shutdown()]
    assert made.prepare(owner, prepare()) == refused(prepare(), "it stops when its current work is done")


def test_files_are_put_where_the_computation_is_loaded_and_refused_elsewhere() -> None:
    served, made, owner = loading()
    made.prepare(owner, prepare())
    here, message = served.state.computations[C], PutFile(C, 7, "", [], [])
    no = [Send(A, Reply(C, 7, "the computation is not loaded on that node", -1.0, []))]
    assert made.put_files(owner, here, message) == no == made.put_files(owner, None, message)
    made.loaded(here, "", 0.0)
    assert made.put_files(owner, here, message) == [PutFiles(prepare(), message)]
    assert made.delivered(here, 7, "") == [Send(A, Reply(C, 7, "", 0.0, []))]
    assert made.delivered(here, 7, "no room") == [Send(A, Reply(C, 7, "no room", -1.0, []))]
