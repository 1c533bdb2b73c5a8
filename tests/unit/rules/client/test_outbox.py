"""What a client keeps for its scheduler. With both ends: `rules/scheduler/test_client_mailbox.py`."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import ABANDONED
from gdispy.protocol.messages import (
    Accepted,
    Cancel,
    Ended,
    Fenced,
    Open,
    OutcomesAcked,
    Release,
    Released,
    Reply,
    ResendRequest,
    Resume,
    Run,
    SetPriority,
    Unknown,
    Withdraw,
)
from gdispy.protocol.rows import Claim, JobOptions
from gdispy.protocol.texts import TAKEN_OVER
from gdispy.rules.client.outbox import Outbox
from tests.unit.builders import C, D, ended, outcome, prepare

PLACE = "10.0.0.9:51347"
TOKEN = b"t" * 16


def jobs(*numbers: int) -> list[JobId]:
    return [JobId(number) for number in numbers]


def run(*numbers: int, options: Any = ()) -> Run:
    return Run(C, jobs(*numbers), [1] * len(numbers), [b"a%d" % number for number in numbers], list(options))


def cancel(*numbers: int) -> Cancel:
    return Cancel(C, jobs(*numbers), [0] * len(numbers))


def outbox(reentrant: bool = False) -> Outbox:
    made = Outbox(PLACE)
    made.outgoing(Open(C, ["*"], reentrant, token=TOKEN, epoch=3))
    made.outgoing(prepare())
    return made


def test_owner_proves_each_of_its_computations_that_has_a_token() -> None:
    made = outbox()
    made.outgoing(Open(D, ["*"], False))
    assert made.claims() == [Claim(C, TOKEN, 3)]


def test_last_open_of_a_computation_is_the_one_that_is_repeated() -> None:
    made = outbox()
    later = Open(C, ["*", "lab"], False)
    made.outgoing(later)
    assert later in made.connected() and len(made.claims()) == 0


@pytest.mark.parametrize(
    ("trouble", "text"), [("refused", "the scheduler at {} cannot be reached: refused"), ("{}: no", "{}: no")]
)
def test_absence_of_the_scheduler_names_its_place_once(trouble: str, text: str) -> None:
    made = outbox()
    made.gone(trouble.format(PLACE))
    assert made.absence() == text.format(PLACE)
    assert Outbox(PLACE).absence() == f"the scheduler at {PLACE} cannot be reached: not connected yet"


def test_cancel_follows_a_job_that_was_not_accepted_and_overtakes_others() -> None:
    made = outbox()
    made.outgoing(run(1, 2))
    made.incoming(Accepted(C, jobs(1)))
    assert [made.must_follow(cancel(number)) for number in (1, 2)] == [False, True]
    assert not made.must_follow(run(1)) and not made.is_accepted(C) and made.is_accepted(D)
    made.incoming(Accepted(C, jobs(2)))
    assert made.is_accepted(C)


@pytest.mark.parametrize(("reentrant", "again"), [(False, []), (True, [1])])
def test_arguments_of_an_accepted_job_are_kept_only_if_it_may_run_twice(reentrant: bool, again: list[int]) -> None:
    made = outbox(reentrant)
    made.outgoing(run(1))
    made.incoming(Accepted(C, jobs(1)))
    told, answers = made.incoming(Unknown(C, jobs(1), False))
    assert [each.jobs for each in answers if isinstance(each, Run)] == ([again] if again else [])
    assert [each.jobs for each in told if isinstance(each, Ended)] == ([] if again else [[1]])


def test_job_that_is_sent_again_has_its_options_and_its_cancellation() -> None:
    made = outbox()
    options = JobOptions(cpus=2)
    made.outgoing(run(1, 2, options=[None, options]))
    made.outgoing(cancel(2))
    _, answers = made.incoming(Unknown(C, jobs(1, 2), False))
    assert answers == [run(1, 2, options=[None, options]), cancel(2)]
    assert made.incoming(Unknown(C, jobs(1), False))[1] == [run(1)]


def test_scheduler_without_the_computation_gets_that_first() -> None:
    made = outbox()
    made.outgoing(run(1))
    _, answers = made.incoming(Unknown(C, jobs(1), True))
    assert [type(each) for each in answers] == [Open, type(prepare()), Run]


def test_ended_job_is_never_sent_again() -> None:
    made = outbox(reentrant=True)
    made.outgoing(run(1))
    told, answers = made.incoming(ended(outcome(1)))
    assert told == [ended(outcome(1))] and answers == [OutcomesAcked(C, jobs(1), [1])]
    assert made.incoming(Unknown(C, jobs(1), False)) == ([], []) and made.waiting() == []


def test_computation_that_another_client_has_taken_over_ends_here() -> None:
    made = outbox()
    made.outgoing(run(1, 2))
    told, answers = made.incoming(Fenced(C))
    lost, word = told
    assert isinstance(lost, Ended) and (lost.jobs, lost.statuses, lost.exceptions) == (
        *([1, 2], [ABANDONED] * 2),
        [TAKEN_OVER] * 2,
    )
    assert word == Fenced(C) and answers == []
    later = made.outgoing(run(3))
    assert isinstance(later[0], Ended) and later[0].jobs == [3]
    assert made.outgoing(Release(C)) == [Released(C)] and made.connected() == [Resume([], [])]


def test_released_computation_sends_no_job_again() -> None:
    made = outbox()
    made.outgoing(run(1))
    made.outgoing(Release(C))
    assert made.incoming(Unknown(C, jobs(1), True)) == ([], [])
    assert made.connected() == [Resume([C], [[]]), Release(C)]
    assert made.incoming(Released(C)) == ([Released(C)], []) and made.connected() == [Resume([], [])]


def test_resend_request_is_for_the_named_jobs_that_are_known_here() -> None:
    made = outbox()
    made.outgoing(run(1, 2))
    _, answers = made.incoming(ResendRequest(C, jobs(2, 9), False))
    assert answers == [run(2)]


@pytest.mark.parametrize("all_wait", [False, True])
def test_job_whose_arguments_were_dropped_is_lost_only_if_it_has_not_begun_anywhere(all_wait: bool) -> None:
    made = outbox()
    made.outgoing(run(1))
    made.incoming(Accepted(C, jobs(1)))
    told, answers = made.incoming(ResendRequest(C, jobs(1), all_wait))
    assert [each.jobs for each in told if isinstance(each, Ended)] == ([[1]] if all_wait else []) and answers == []


def test_messages_about_unknown_computations_are_passed_on_unchanged() -> None:
    made = Outbox(PLACE)
    assert made.incoming(Released(D)) == ([Released(D)], []) and made.outgoing(cancel(1)) == []


def test_priority_of_a_job_does_not_overtake_it_and_is_answered_while_the_scheduler_is_away() -> None:
    made = outbox()
    made.outgoing(run(1, 2))
    made.connected()
    made.incoming(Accepted(C, jobs(1)))
    assert [made.must_follow(SetPriority(C, 5, JobId(job), 1.0)) for job in (1, 2)] == [False, True]
    assert made.outgoing(SetPriority(C, 5, JobId(1), 1.0)) == []
    [answer] = made.gone("cut")
    assert isinstance(answer, Reply) and answer.question == 5 and "cut" in answer.error
    [answer] = made.outgoing(SetPriority(C, 6, JobId(1), 1.0))
    assert isinstance(answer, Reply) and answer.question == 6 and answer.error


def withdraw(question: int, *numbers: int) -> Withdraw:
    return Withdraw(C, question, jobs(*numbers))


def test_withdrawal_without_a_connection_is_answered_with_the_reason_and_not_sent_later() -> None:
    made = outbox()
    made.outgoing(run(1))
    assert made.outgoing(withdraw(7, 1)) == [Reply(C, 7, made.absence(), -1.0, [])]
    assert [each for each in made.connected() if isinstance(each, Withdraw)] == []
    assert made.gone("refused") == []


def test_withdrawal_whose_connection_breaks_is_answered_once() -> None:
    made = outbox()
    made.connected()
    assert made.outgoing(withdraw(7, 1)) == [] and made.outgoing(withdraw(8, 1)) == []
    reply = Reply(C, 7, "", 0.0, jobs(1))
    assert made.incoming(reply) == ([reply], [])
    made_answers = made.gone("refused")
    assert made_answers == [Reply(C, 8, made.absence(), -1.0, [])]
    made.connected()
    assert made.gone("refused") == []


def test_withdrawal_follows_a_job_that_was_not_accepted_and_overtakes_others() -> None:
    made = outbox()
    made.outgoing(run(1, 2))
    made.incoming(Accepted(C, jobs(1)))
    assert [made.must_follow(withdraw(7, *numbers)) for numbers in ([1], [2], [1, 2])] == [False, True, True]
    made.incoming(Accepted(C, jobs(2)))
    assert not made.must_follow(withdraw(7, 1, 2))


def test_withdrawn_job_that_is_sent_again_is_not_cancelled() -> None:
    made = outbox()
    made.connected()
    made.outgoing(run(1))
    made.outgoing(withdraw(7, 1))
    assert made.incoming(Unknown(C, jobs(1), False)) == ([], [run(1)])
