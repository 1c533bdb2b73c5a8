"""The client's rules: every job ends once, after all that it has shown."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.errors import InternalError
from gdispy.protocol.ids import JobId, Peer
from gdispy.protocol.job_status import ABANDONED
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    Hello,
    Notice,
    Printed,
    Progress,
    Release,
    Released,
    Run,
    Started,
    Status,
)
from gdispy.rules.client.effects import (
    Answer,
    ComputationClosed,
    JobsStarted,
    Notify,
    OutputArrived,
    ProvisionalResult,
    Resolve,
)
from gdispy.rules.client.session import ClientSession
from gdispy.rules.effects import Effects, Send
from tests.unit.builders import C, checked, ended, hello, outcome

SCHEDULER = Peer(1)


def session(*jobs: int) -> ClientSession:
    """A session that has submitted these jobs."""
    made = checked(ClientSession(C, SCHEDULER))
    numbers = [JobId(job) for job in jobs]
    assert made.submit(numbers, [b""] * len(jobs)) == [
        Send(SCHEDULER, Run(C, numbers, [1] * len(jobs), [b""] * len(jobs)))
    ]
    return made


def progress(index: int, job: int = 1, attempt: int = 1) -> Progress:
    return Progress(C, JobId(job), attempt, index, b"%d" % index, "10.0.0.1")


def resolved(effects: Effects) -> list[int]:
    """The jobs that are resolved."""
    found: list[int] = []
    for each in effects:
        if isinstance(each, Resolve):
            places = range(len(each.ended.jobs)) if each.picks is None else each.picks
            found += [each.ended.jobs[place] for place in places]
    return found


def test_end_is_told_once_however_often_it_is_reported() -> None:
    made, message = session(1, 2), ended(outcome(1), outcome(2))
    assert made.receive([message]) == [Resolve(message, None)]
    assert made.receive([message, message]) == []


def test_jobs_of_a_message_that_were_told_before_are_left_out() -> None:
    made = session(1, 2, 3)
    made.receive([ended(outcome(2))])
    message = ended(outcome(1), outcome(2), outcome(3))
    assert made.receive([message]) == [Resolve(message, [0, 2])]


def test_job_that_comes_twice_in_one_message_is_told_once() -> None:
    made = session(1)
    assert resolved(made.receive([ended(outcome(1), outcome(1))])) == [1]


def test_end_of_an_unknown_job_is_ignored() -> None:
    assert session(1).receive([ended(outcome(9))]) == []


def test_provisional_results_are_shown_in_order() -> None:
    made = session(1)
    assert made.receive([progress(1)]) == []
    assert made.receive([progress(0)]) == [ProvisionalResult(progress(0)), ProvisionalResult(progress(1))]
    assert made.receive([progress(2)]) == [ProvisionalResult(progress(2))]


def test_provisional_result_that_comes_twice_is_shown_once() -> None:
    made = session(1)
    assert made.receive([progress(0), progress(0)]) == [ProvisionalResult(progress(0))]
    assert made.receive([progress(2), progress(2), progress(1)]) == [
        ProvisionalResult(progress(1)),
        ProvisionalResult(progress(2)),
    ]


def test_end_waits_for_provisional_results_that_it_has_overtaken() -> None:
    # Given an end that names two provisional results, of which one has arrived.
    made, message = session(1, 2), ended(outcome(1, progress=2), outcome(2))
    made.receive([progress(0)])
    assert made.receive([message]) == [Resolve(message, [1])]
    # When the other one arrives, then it is shown, and then the end.
    assert made.receive([progress(1)]) == [ProvisionalResult(progress(1)), Resolve(message, [0])]
    # And nothing of it is told again.
    assert made.receive([progress(1), message]) == []


def test_end_that_comes_again_while_results_are_awaited_is_told_once() -> None:
    made, message = session(1), ended(outcome(1, progress=1))
    assert made.receive([message, message]) == []
    assert resolved(made.receive([progress(0)])) == [1]


def test_end_after_all_provisional_results_is_told_at_once() -> None:
    made, message = session(1), ended(outcome(1, progress=2))
    made.receive([progress(0), progress(1)])
    assert made.receive([message]) == [Resolve(message, None)]


def test_provisional_results_after_the_end_are_ignored() -> None:
    made = session(1)
    made.receive([ended(outcome(1))])
    assert made.receive([progress(0)]) == []


@given(st.permutations([*range(5), "end", "end"]), st.booleans())
def test_in_whatever_order_things_arrive_all_is_shown_in_order_and_then_the_end(
    order: list[object], twice: bool
) -> None:
    made = session(1)
    effects: Effects = []
    for each in order:
        message = ended(outcome(1, progress=5)) if each == "end" else progress(int(str(each)))
        effects += made.receive([message, message] if twice else [message])
    assert [type(each) for each in effects] == [*[ProvisionalResult] * 5, Resolve]
    assert [each.progress.index for each in effects[:-1]] == list(range(5))


@pytest.mark.parametrize("shown", [[0], [1], [0, 2]])
def test_job_that_is_lost_ends_though_it_had_shown_provisional_results(shown: list[int]) -> None:
    # An end that no worker reports names no provisional results.
    made = session(1)
    made.receive([progress(index) for index in shown])
    assert resolved(made.receive([ended(outcome(1, status=ABANDONED, progress=0))])) == [1]


def test_second_attempt_of_a_job_shows_what_the_first_had_not() -> None:
    made = session(1)
    made.receive([progress(0)])
    effects = made.receive([progress(0, attempt=2), progress(1, attempt=2), ended(outcome(1, 2, progress=2))])
    assert effects == [ProvisionalResult(progress(1, attempt=2)), Resolve(ended(outcome(1, 2, progress=2)), None)]


def test_cancel_names_only_jobs_that_have_not_ended() -> None:
    made = session(1, 2)
    made.receive([ended(outcome(1))])
    assert made.cancel([JobId(1), JobId(2), JobId(9)]) == [Send(SCHEDULER, Cancel(C, [JobId(2)], [0]))]
    assert made.cancel([JobId(1)]) == []


def test_cancelled_job_still_ends_by_its_report() -> None:
    made = session(1)
    made.cancel([JobId(1)])
    assert resolved(made.receive([ended(outcome(1))])) == [1]


def test_release_is_sent_and_its_confirmation_told() -> None:
    made = session(1)
    assert made.release() == [Send(SCHEDULER, Release(C))]
    assert made.receive([Released(C)]) == [ComputationClosed(C)]


def test_what_only_informs_is_passed_on() -> None:
    made = session(1)
    started = Started(C, [JobId(1)], [1], [1.0], "10.0.0.1")
    standing = Status(C, 1, [], 0, [])
    assert made.receive([started, standing, Notice(C, "text")]) == [
        JobsStarted(started),
        Answer(standing),
        Notify("text"),
    ]


def test_message_that_a_client_does_not_take_is_a_defect() -> None:
    word: Hello = hello()
    with pytest.raises(InternalError, match="a client does not take Hello"):
        session(1).receive([word])


def test_thousand_jobs_in_one_message_are_one_effect() -> None:
    made = session(*range(1, 1001))
    message: Ended = ended(*map(outcome, range(1, 1001)))
    effects = list(itertools.chain(made.receive([message])))
    assert effects == [Resolve(message, None)]


def test_output_of_a_job_is_shown_until_the_job_has_ended() -> None:
    made = session(1)
    said = Printed(C, JobId(1), 1, 1, 0, b"text")
    assert made.receive([said]) == [OutputArrived(said)]
    made.receive([ended(outcome(1))])
    assert made.receive([said]) == []
