"""When outcomes are sent, written down and forgotten."""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Ended, Open, OutcomesAcked, Run
from gdispy.rules.effects import Effects, Send, WriteFacts
from gdispy.rules.history.facts import Owned
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.outcomes import TELL_AFTER, Outcomes
from gdispy.rules.node.worker import Worker
from tests.unit.builders import Announced, C, ended, outcome
from tests.unit.rules.node.building import TOKEN, W1, A, computation, job, of, session


def facts(effects: Effects) -> list[Any]:
    return [fact for each in effects if isinstance(each, WriteFacts) for fact in each.facts]


def busy_computation() -> Computation:
    """One whose worker has enough to do for outcomes to wait for others."""
    made = computation()
    made.workers[W1] = Worker(W1, made)
    made.jobs = {JobId(number): job(number) for number in range(100)}
    made.pace = 0.01
    return made


def test_outcome_is_sent_once_and_held_until_it_is_acknowledged() -> None:
    outcomes, made, result = Outcomes(), computation(), Announced(1)
    outcomes.add(made, [of(1, result=result)])
    assert outcomes.flush(0.0) == [Send(A, ended(outcome(1, result=result)))]
    assert outcomes.flush(0.0) == []
    outcomes.add(made, [of(2)])
    assert outcomes.flush(0.0) == [Send(A, ended(outcome(2)))]
    outcomes.acked(made, [JobId(1), JobId(2)], [2, 1])
    assert list(made.outcomes.unacked) == [1], "another attempt"
    outcomes.acked(made, [JobId(1)], [1])
    assert (made.outcomes.unacked, result.released) == ({}, 1)


def test_outcomes_are_sent_again_but_those_that_are_acknowledged_before() -> None:
    outcomes, made = Outcomes(), computation()
    for number in (1, 2):
        outcomes.add(made, [of(number)])
    outcomes.flush(0.0)
    outcomes.send_again(made)
    outcomes.acked(made, [JobId(1)], [1])
    assert outcomes.flush(1.0) == [Send(A, ended(outcome(2)))]


def test_outcomes_wait_for_others_until_each_worker_has_answered_or_their_time_is_over() -> None:
    for answers, now, waits in ((0, TELL_AFTER / 2, True), (1, TELL_AFTER / 2, False), (0, TELL_AFTER, False)):
        outcomes, made = Outcomes(), busy_computation()
        outcomes.add(made, [of(1)])
        assert outcomes.flush(0.0) == []
        assert outcomes.due() == [TELL_AFTER]
        for _ in range(answers):
            outcomes.note_answer(made)
        assert (outcomes.flush(now) == []) == waits


def test_outcomes_do_not_wait_where_little_is_left_to_do() -> None:
    outcomes, made = Outcomes(), busy_computation()
    made.jobs = {JobId(1): job(1)}
    outcomes.add(made, [of(2)])
    assert len(outcomes.flush(0.0)) == 1


def test_outcome_is_written_down_once_where_its_scheduler_is_away_and_it_has_a_token() -> None:
    outcomes, made = Outcomes(), computation(session(peer=None), token=TOKEN)
    outcomes.add(made, [of(1)])
    assert [type(fact) for fact in facts(outcomes.flush(0.0))] == [Open, Owned, Run, Ended]
    assert outcomes.spool_all([made]) == []
    outcomes.add(made, [of(2)])
    assert [type(fact) for fact in facts(outcomes.flush(0.0))] == [Run, Ended]


def test_outcome_of_a_computation_without_a_token_is_not_written_down() -> None:
    outcomes, made = Outcomes(), computation(session(peer=None))
    outcomes.add(made, [of(1)])
    assert outcomes.flush(0.0) == [] == outcomes.spool_all([made])
    assert list(made.outcomes.unacked) == [1]


def test_acknowledgement_is_written_down_of_what_was() -> None:
    outcomes, made = Outcomes(), computation(token=TOKEN)
    outcomes.restore(made, [of(1), of(2)])
    assert facts(outcomes.acked(made, [JobId(2), JobId(3)], [1, 1])) == [OutcomesAcked(C, [JobId(2)], [0])]
    assert facts(outcomes.acked(made, [JobId(2)], [1])) == []
