"""What one node does for one computation: its stages, and how much is sent ahead."""

from __future__ import annotations

import itertools

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import UseNode
from gdispy.rules.scheduler.assignment import LONG, MOVES, Assignment, AssignmentStage, Consent, Use
from gdispy.rules.scheduler.computation import ClientShare
from gdispy.rules.scheduler.shown_results import NOTHING_SHOWN
from tests.unit.builders import C, ended, outcome, prepare


@pytest.mark.parametrize(("begin", "end"), list(itertools.product(AssignmentStage, repeat=2)))
def test_only_legal_moves_between_stages_are_made(begin: AssignmentStage, end: AssignmentStage) -> None:
    assignment = Assignment(ClientShare())
    assignment.stage = begin
    if end is begin or end in MOVES[begin]:
        assignment.move(end)
        assert assignment.stage is end
    else:
        with pytest.raises(InternalError, match=f"from {begin.name} to {end.name}"):
            assignment.move(end)


def test_what_is_released_is_not_loaded_before_that_is_confirmed() -> None:
    assert MOVES[AssignmentStage.RELEASING] == {AssignmentStage.IDLE}


def test_time_of_loading_ends_with_it() -> None:
    assignment = Assignment(ClientShare())
    assignment.begin_loading(7.0)
    assert (assignment.stage, assignment.prepared_at) == (AssignmentStage.LOADING, 7.0)
    assignment.move(AssignmentStage.READY)
    assert assignment.prepared_at is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Use.OPEN, Use.CLOSED),
        (Use.CLOSED, Use.CLOSED),
        (Use.CLOSING, Use.CLOSING),
        (Use.RESETTING, Use.CLOSING),
    ],
)
def test_deallocated_node_takes_no_jobs_also_if_it_was_about_to_be_set_up_again(before: Use, after: Use) -> None:
    assignment = Assignment(ClientShare())
    assignment.use = before
    assignment.deallocate()
    assert assignment.use is after
    assignment.left()
    assert assignment.use is Use.CLOSED


def test_release_that_was_sent_is_followed_by_another_setup_when_the_node_is_allocated_again() -> None:
    assignment = Assignment(ClientShare())
    assignment.use = Use.CLOSING
    assignment.move(AssignmentStage.RELEASING)
    assignment.allocate()
    assert assignment.use is Use.RESETTING
    assignment.left()
    assert (assignment.stage, assignment.use) == (AssignmentStage.IDLE, Use.OPEN)


def test_client_is_asked_again_about_a_node_that_it_has_declined_and_not_about_one_that_it_has_accepted() -> None:
    assignment = Assignment(ClientShare())
    assert not assignment.decide(UseNode(C, b"n" * 16, 0, None, [], []))  # type: ignore[arg-type]
    assert (assignment.consent, assignment.error) == (Consent.DECLINED, "not selected by this program")
    assignment.forget_refusal()
    assert assignment.consent is Consent.UNASKED
    assert assignment.decide(UseNode(C, b"n" * 16, 3, None, [], []))  # type: ignore[arg-type]
    assignment.forget_refusal()
    assert (assignment.consent, assignment.error, assignment.cpus) == (Consent.ACCEPTED, "", 3)


def test_node_that_was_accepted_takes_jobs_unless_it_is_about_to_leave() -> None:
    for before, after in ((Use.CLOSED, Use.OPEN), (Use.CLOSING, Use.CLOSING), (Use.RESETTING, Use.RESETTING)):
        assignment = Assignment(ClientShare())
        assignment.use = before
        assignment.decide(UseNode(C, b"n" * 16, 1, None, [], []))  # type: ignore[arg-type]
        assert assignment.use is after


def test_node_prepares_what_is_special_to_it_and_asks_for_contents() -> None:
    assignment = Assignment(ClientShare())
    assert assignment.prepare(prepare()) == prepare()
    row = ["f", 0o600, 0.0, 1, b"d" * 32]
    assignment.special = UseNode(C, b"n" * 16, 1, b"special", [row], [b"x"])  # type: ignore[arg-type]
    made = assignment.prepare(prepare())
    assert (made.arguments, made.files, made.contents) == (b"special", [row], [])


def test_short_jobs_are_sent_ahead_in_steps_and_long_ones_are_not() -> None:
    assignment = Assignment(ClientShare())
    depths = []
    for _ in range(3):
        assignment.count(ended(outcome(1, end=0.00001)), 1)
        depths.append(assignment.depth)
    assert depths == [4, 16, 64]
    for _ in range(20):
        assignment.count(ended(outcome(1, end=10 * LONG)), 1)
    assert assignment.depth == 1 and assignment.done == 23


def test_provisional_results_are_counted_without_gaps_and_owed_until_all_have_come() -> None:
    assignment = Assignment(ClientShare())
    job = JobId(1)
    assert [assignment.note_shown(job, 1, index) for index in (0, 2, 1)] == [1, 1, 3]
    assignment.note_end(job, 1, 5)
    assert assignment.shown.owed == {(job, 1): 5}
    assert [assignment.note_shown(job, 1, index) for index in (4, 3)] == [3, 5]
    assert assignment.shown.owed == {}
    # Assignments share nothing that is written to.
    assert NOTHING_SHOWN.owed == {} and Assignment(ClientShare()).note_shown(job, 1, 0) == 1
