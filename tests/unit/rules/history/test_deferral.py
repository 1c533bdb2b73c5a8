"""What the journal of a shared scheduler need not hold yet, and what may be said meanwhile."""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.messages import Accepted, Cancel, Ended, Message, Open, OutcomesAcked, Release, Run
from gdispy.protocol.payload import ABSENT, Bulk, MemoryPayload
from gdispy.protocol.rows import JobOptions
from gdispy.rules.history.deferral import DELAY, LARGE, DeferredPayloads
from gdispy.rules.history.facts import Announced, Placed, Unplaced
from gdispy.rules.history.replay import JournalState
from tests.unit.builders import C, D, ended, outcome

BIG = MemoryPayload([bytes(LARGE)])
NODE = Instance(b"n" * 16)
WISHES = JobOptions(b"", 1.0, 0.0, 2, 0, b"", [], [], 0.0)


def jobs(*numbers: int) -> list[JobId]:
    return [JobId(number) for number in numbers]


def run(arguments: dict[int, Bulk], options: list[Any] | None = None) -> Run:
    return Run(C, jobs(*arguments), [1] * len(arguments), list(arguments.values()), options or [])


def big_end(*numbers: int) -> Ended:
    return ended(*(outcome(number, result=BIG) for number in numbers))


class Heard(list[Message]):
    """What was said of what had to wait."""

    def say(self, message: Message) -> None:
        self.append(message)


def write(deferred: DeferredPayloads, now: float) -> list[Message]:
    """What is due, written."""
    found: list[Message] = []
    for computation, job in deferred.due(now):
        facts = deferred.facts_of(computation, job)
        if facts:
            found += facts
            deferred.written(computation, job)
    deferred.say()
    return found


def test_what_is_small_is_written_at_once() -> None:
    deferred = DeferredPayloads()
    facts: list[Message] = [run({1: b"a", 2: MemoryPayload([bytes(LARGE - 1)])}), ended(outcome(1)), Release(C)]
    assert deferred.now(C, facts, 0.0) == facts
    accepted = Accepted(C, jobs(1, 2))
    assert deferred.sayable(accepted, Heard().say) is accepted
    assert deferred.due(1e9) == []


def test_large_arguments_stay_with_the_client_until_they_are_written() -> None:
    deferred, heard = DeferredPayloads(), Heard()
    facts = deferred.now(C, [run({1: b"a", 2: BIG, 3: BIG}, [None, WISHES, None])], 10.0)
    assert facts == [run({1: b"a"}, [None]), Announced(C, jobs(2, 3), [WISHES, None])]
    assert deferred.sayable(Accepted(C, jobs(1, 2, 3)), heard.say) == Accepted(C, jobs(1))
    assert deferred.sayable(Accepted(C, jobs(2)), heard.say) is None
    assert write(deferred, 10.0 + DELAY - 0.01) == [] and heard == []
    assert write(deferred, 10.0 + DELAY) == [run({2: BIG}, [WISHES]), run({3: BIG})]
    assert heard == [Accepted(C, jobs(2)), Accepted(C, jobs(3))]
    assert deferred.due(1e9) == []


def test_of_a_job_that_ends_soon_its_arguments_are_never_written() -> None:
    deferred, heard = DeferredPayloads(), Heard()
    deferred.now(C, [run({1: BIG})], 0.0)
    assert deferred.sayable(Accepted(C, jobs(1)), heard.say) is None
    assert deferred.now(C, [ended(outcome(1))], 1.0) == [ended(outcome(1))]
    deferred.say()
    # The client hears the end, and needs no other word.
    assert heard == [] and write(deferred, 1e9) == []


def test_node_keeps_a_large_outcome_until_the_client_has_it() -> None:
    deferred, heard = DeferredPayloads(), Heard()
    assert deferred.now(C, [big_end(1, 2)], 0.0) == []
    receipt = OutcomesAcked(C, jobs(1, 2, 3), [1, 1, 1])
    assert deferred.sayable(receipt, heard.say) == OutcomesAcked(C, jobs(3), [1])
    # The client's word is written first, and the node told then.
    word = OutcomesAcked(C, jobs(1), [1])
    assert deferred.now(C, [word], 1.0) == [word] and heard == []
    deferred.say()
    assert heard == [OutcomesAcked(C, jobs(1), [1])]
    assert write(deferred, DELAY) == [big_end(2)]
    assert heard[1:] == [OutcomesAcked(C, jobs(2), [1])]


def test_outcomes_that_are_small_are_written_beside_large_ones() -> None:
    deferred = DeferredPayloads()
    mixed = ended(outcome(1, result=BIG), outcome(2), outcome(3, stdout=BIG))
    assert deferred.now(C, [mixed], 0.0) == [ended(outcome(2))]
    assert write(deferred, DELAY) == [big_end(1), ended(outcome(3, stdout=BIG))]


def test_receipts_for_each_attempt_are_said_when_the_node_reports_again() -> None:
    deferred, heard = DeferredPayloads(), Heard()
    deferred.now(C, [big_end(1)], 0.0)
    for _ in range(2):
        assert deferred.sayable(OutcomesAcked(C, jobs(1), [1]), heard.say) is None
    write(deferred, DELAY)
    assert heard == [OutcomesAcked(C, jobs(1), [1])] * 2


def test_nothing_is_kept_of_a_computation_that_was_released() -> None:
    deferred, heard = DeferredPayloads(), Heard()
    deferred.now(C, [run({1: BIG}), big_end(2)], 0.0)
    assert deferred.sayable(Accepted(C, jobs(1)), heard.say) is None
    deferred.now(C, [Release(C)], 0.0)
    deferred.say()
    assert write(deferred, 1e9) == [] and heard == []
    other = Accepted(D, jobs(1))
    assert deferred.sayable(other, heard.say) is other


def test_jobs_with_large_files_of_their_own_are_written_at_once() -> None:
    wishes = WISHES._replace(contents=[BIG])
    fact = run({1: BIG}, [wishes])
    assert DeferredPayloads().now(C, [fact], 0.0) == [fact]


# What is remembered of it


def remembered(*facts: Message) -> JournalState:
    found = JournalState()
    for fact in [Open(C, ["*"], False), *facts]:
        found.take(fact)
    return found


def test_announced_job_is_known_and_its_arguments_are_not() -> None:
    story = remembered(Announced(C, jobs(1, 2), [None, WISHES]), Placed(C, NODE, jobs(2), [1])).stories[C]
    assert [story.jobs[number].arguments for number in jobs(1, 2)] == [ABSENT, ABSENT]
    assert story.jobs[JobId(2)].options == WISHES
    assert story.absent() == (jobs(1), jobs(2))


def test_arguments_that_are_written_later_are_known_then() -> None:
    facts = [Announced(C, jobs(1), []), Placed(C, NODE, jobs(1), [1]), Unplaced(C, jobs(1), [2], [0])]
    story = remembered(*facts, Cancel(C, jobs(1), [0]), run({1: b"x"})).stories[C]
    job = story.jobs[JobId(1)]
    assert (job.arguments, job.attempt, job.cancelled, story.absent()) == (b"x", 2, True, ([], []))


def test_what_was_remembered_remembered_again_says_the_same() -> None:
    facts: list[Message] = [
        Announced(C, jobs(1, 2), [None, WISHES]),
        run({3: b"x"}),
        Placed(C, NODE, jobs(2), [1]),
        Unplaced(C, jobs(1), [3], [1]),
    ]
    once = list(remembered(*facts).facts())
    again = JournalState()
    for fact in once:
        again.take(fact)
    assert list(again.facts()) == once
    assert again.stories[C].jobs[JobId(1)].arguments is ABSENT
