"""Jobs of which a journal does not say what they are called with: it was not written, or is not on the disk."""

from __future__ import annotations

from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.messages import Cancel, Message, Open, Run
from gdispy.protocol.payload import ABSENT, Bulk
from gdispy.protocol.rows import JobOptions
from gdispy.rules.history.facts import Announced, Placed, Unplaced
from gdispy.rules.history.replay import JournalState
from tests.unit.builders import C

NODE = Instance(b"n" * 16)
WISHES = JobOptions(priority=1.0, cpus=2)


def jobs(*numbers: int) -> list[JobId]:
    return [JobId(number) for number in numbers]


def run(arguments: dict[int, Bulk]) -> Run:
    return Run(C, jobs(*arguments), [1] * len(arguments), list(arguments.values()), [])


def remembered(*facts: Message) -> JournalState:
    found = JournalState()
    for fact in [Open(C, ["*"], False), *facts]:
        found.take(fact)
    return found


def test_announced_job_is_known_and_its_arguments_are_not() -> None:
    history = remembered(Announced(C, jobs(1, 2), [None, WISHES]), Placed(C, NODE, jobs(2), [1])).histories[C]
    assert [history.jobs[number].arguments for number in jobs(1, 2)] == [ABSENT, ABSENT]
    assert history.jobs[JobId(2)].options == WISHES
    assert history.absent() == (jobs(1), jobs(2))


def test_arguments_that_are_written_later_are_known_then() -> None:
    facts = [Announced(C, jobs(1), []), Placed(C, NODE, jobs(1), [1]), Unplaced(C, jobs(1), [2], [0])]
    history = remembered(*facts, Cancel(C, jobs(1), [0]), run({1: b"x"})).histories[C]
    job = history.jobs[JobId(1)]
    assert (job.arguments, job.attempt, job.cancelled, history.absent()) == (b"x", 2, True, ([], []))


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
    assert again.histories[C].jobs[JobId(1)].arguments is ABSENT
