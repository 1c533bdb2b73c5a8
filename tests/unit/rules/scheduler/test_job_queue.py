"""Jobs that wait: the highest priority first, within one in the order in which they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gdispy.protocol.ids import JobId
from gdispy.protocol.rows import JobOptions
from gdispy.rules.scheduler.job import Task, new_task
from gdispy.rules.scheduler.job_queue import JobQueue


def task(number: int, priority: float) -> Task:
    options = JobOptions(priority=priority)
    return new_task(JobId(number), b"", options if priority else None)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["append", "appendleft"]), st.sampled_from([-1.0, 0.0, 2.5])),
        st.tuples(st.sampled_from(["popleft", "popleft", "clear"]), st.just(0.0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_does_as_a_sorted_list(steps: list[tuple[str, float]]) -> None:
    queue, model = JobQueue(), list[Task]()
    for number, (step, priority) in enumerate(steps):
        new = task(number, priority)
        behind = [each.priority < priority for each in model] + [True]
        equal = [each.priority <= priority for each in model] + [True]
        if step == "append":
            queue.append(new)
            model.insert(behind.index(True), new)
        elif step == "appendleft":
            queue.appendleft(new)
            model.insert(equal.index(True), new)
        elif step == "clear":
            queue.clear()
            model.clear()
        elif model:
            assert queue.popleft() is model.pop(0)
        assert list(queue) == model
        assert len(queue) == len(model)
        assert queue.head() is (model[0] if model else None)
