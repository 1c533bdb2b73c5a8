"""When jobs were submitted, as a journal has it."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Open, OutcomesAcked, Run
from gdispy.rules.history.facts import Submitted
from gdispy.rules.history.replay import JournalState
from tests.unit.builders import C


def test_times_of_submission_survive_a_compaction_as_long_as_their_jobs() -> None:
    numbers = [JobId(number) for number in (1, 2, 3)]
    state = JournalState()
    for fact in [
        Open(C, ["*"], False),
        Submitted(C, [JobId(1)], [100.0]),
        Run(C, numbers[:2], [1, 1], [b"", b""], []),
        Submitted(C, [JobId(3)], [200.0]),
        Run(C, numbers[2:], [1], [b""], []),
    ]:
        state.take(fact)
    assert state.histories[C].submissions.times(numbers) == [100.0, 100.0, 200.0]
    again = JournalState()
    for fact in state.facts():
        again.take(fact)
    assert again.histories[C].submissions.times(numbers) == [100.0, 100.0, 200.0]
    again.take(OutcomesAcked(C, numbers[:2], [1, 1]))
    [left] = [fact for fact in again.facts() if isinstance(fact, Submitted)]
    assert (left.jobs, left.times) == ([JobId(3)], [200.0])
