"""Jobs of which a journal says that they got another priority."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Message, Open, Run, SetPriority
from gdispy.protocol.rows import JobOptions
from gdispy.rules.history.replay import JournalState
from tests.unit.builders import C


def test_priority_that_was_changed_is_that_of_the_job_also_after_another_replay() -> None:
    jobs = [JobId(1), JobId(2)]
    run = Run(C, jobs, [1, 1], [b"x", b"y"], [None, JobOptions(priority=1.0, cpus=2)])
    orders: list[Message] = [SetPriority(C, 0, JobId(number), 5.0) for number in (2, 9)]
    once, again = JournalState(), JournalState()
    for fact in (Open(C, ["*"], False), run, *orders):
        once.take(fact)
    for fact in once.facts():
        again.take(fact)
    for state in (once, again):
        found = state.histories[C].jobs
        assert [found[number].options for number in jobs] == [None, JobOptions(priority=5.0, cpus=2)]
