"""What users are told of what lasts."""

from __future__ import annotations

import itertools

from gdispy.protocol.messages import Notice
from gdispy.rules.scheduler.reminders import LONGEST_PAUSE, PATIENCE, PAUSE_GROWTH, SETUP_PATIENCE
from tests.unit.builders import sent
from tests.unit.rules.scheduler.builders import CLIENT, Parts


def test_user_is_told_again_at_growing_intervals_as_long_as_it_lasts() -> None:
    parts = Parts()
    computation = parts.open()
    computation.waiting_since = 0.0
    lasts = [True]
    parts.reminders.watch_wait(computation, lambda: lasts[0])
    moments = []
    for _ in range(5):
        now = parts.state.timers.due()
        assert now is not None and len(sent(parts.state.timers.ring(now), CLIENT, Notice)) == 1
        moments.append(now)
    pauses = [later - now for now, later in itertools.pairwise(moments)]
    assert moments[0] == PATIENCE and pauses[0] == PAUSE_GROWTH * PATIENCE
    assert pauses[-1] == LONGEST_PAUSE
    lasts[0] = False
    assert parts.state.timers.due() is None


def test_setup_that_takes_long_is_told_once_and_not_when_it_has_ended() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join()
    assignment = node.assignment_of(computation)
    assignment.begin_loading(1.0)
    parts.reminders.watch_setup(node, computation, assignment)
    assert parts.state.timers.due() == 1.0 + SETUP_PATIENCE
    [told] = sent(parts.state.timers.ring(1.0 + SETUP_PATIENCE), CLIENT, Notice)
    assert "setting up the computation" in told.text
    assert parts.state.timers.due() is None
    assignment.told = False
    parts.reminders.watch_setup(node, computation, assignment)
    parts.load(node, computation)
    assert parts.state.timers.due() is None


def test_problem_of_an_address_is_named_until_it_is_taken_back() -> None:
    parts = Parts()
    computation = parts.open()
    parts.reminders.problem("10.0.0.9:51348", "its secret differs")
    assert parts.reminders.problems(computation, 0.0) == ["10.0.0.9:51348: its secret differs"]
    parts.reminders.problem("10.0.0.9:51348", "")
    assert parts.reminders.problems(computation, 0.0) == []


def test_cleanup_is_told_again_and_again_until_the_computation_is_gone() -> None:
    parts = Parts()
    computation = parts.open()
    computation.closing = True
    node = parts.join()
    computation.releasing.add(node.instance)
    parts.reminders.watch_cleanup(computation, 0.0)
    for place in (1, 2):
        [told] = sent(parts.state.timers.ring(place * SETUP_PATIENCE), CLIENT, Notice)
        assert "10.0.0.1:51348: cleaning up" in told.text
    parts.turns.close(computation)
    assert parts.state.timers.due() is None
