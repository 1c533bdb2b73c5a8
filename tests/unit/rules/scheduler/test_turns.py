"""Which computation is served next, and which part of a node it has."""

from __future__ import annotations

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.messages import Notice
from gdispy.rules.effects import Send
from gdispy.rules.scheduler.reminders import PATIENCE
from gdispy.rules.scheduler.turns import EARLIEST, FAIR, ROUND_ROBIN
from tests.unit.builders import C, D
from tests.unit.rules.scheduler.builders import CLIENT, OTHER, Parts


@pytest.mark.parametrize(("policy", "first"), [(FAIR, D), (EARLIEST, C), (ROUND_ROBIN, D)])
def test_policy_decides_which_of_two_is_served_next(policy: str, first: bytes) -> None:
    parts = Parts(policy)
    early, late = parts.open(C, CLIENT), parts.open(D, OTHER)
    # Given that the first one was served later, and that its client has more jobs on nodes.
    early.served, late.served = 9, 8
    early.owner.load = 1
    parts.submit(early, 1)
    parts.submit(late, 1)
    found = parts.turns.take_next()
    assert found is not None and found.id == first


def test_computation_is_served_once_for_each_time_that_it_is_queued() -> None:
    parts = Parts()
    computation = parts.open()
    parts.submit(computation, 1, 2)
    parts.turns.queue(computation)  # The first entry is stale now.
    assert parts.turns.take_next() is computation
    assert parts.turns.take_next() is None
    parts.turns.served(computation)
    assert parts.turns.take_next() is computation


def test_client_that_got_jobs_meanwhile_is_put_behind() -> None:
    parts = Parts()
    one, other = parts.open(C, CLIENT), parts.open(D, OTHER)
    parts.submit(one, 1)
    parts.submit(other, 1)
    one.owner.load = 5
    assert parts.turns.take_next() is other
    assert parts.turns.take_next() is one


def test_room_is_divided_among_the_clients_that_wait_by_their_weights() -> None:
    parts = Parts()
    one = parts.open(C, CLIENT)
    parts.submit(one, 1)
    assert parts.turns.part_of(one, 9) == 9
    other = parts.open(D, OTHER)
    parts.submit(other, 1)
    assert parts.turns.part_of(one, 9) == 5
    parts.turns.weights[CLIENT] = 2.0
    one.owner.weight = 2.0
    assert (parts.turns.part_of(one, 9), parts.turns.part_of(other, 9)) == (6, 3)
    parts.turns.nothing_waits(other)
    assert parts.turns.part_of(one, 9) == 9


def test_nothing_runs_beside_what_wants_all_nodes_but_what_was_there_before() -> None:
    parts = Parts()
    before, alone, after = parts.open(C), parts.open(D, exclusive=True), parts.open(b"laterone")  # type: ignore[arg-type]
    assert [parts.turns.may_run(each) for each in (before, alone, after)] == [True, False, False]
    parts.turns.close(before)
    assert [parts.turns.may_run(each) for each in (alone, after)] == [True, False]
    parts.turns.close(alone)
    assert parts.turns.may_run(after)


def test_jobs_of_a_slow_client_wait() -> None:
    parts = Parts()
    computation = parts.open()
    parts.turns.slow_down(CLIENT, True)
    assert not parts.turns.may_run(computation)
    parts.turns.slow_down(CLIENT, False)
    assert parts.turns.may_run(computation)


def test_job_that_is_taken_out_leaves_a_cancelled_one_in_the_queue() -> None:
    parts = Parts()
    computation = parts.open()
    first, _ = parts.submit(computation, 1, 2)
    first.attempt = 7
    other = parts.turns.take_out(computation, first)
    assert other is not first and other.attempt == 7 and computation.tasks[first.job] is other
    assert first.cancelled and len(computation.backlog) == 2
    # When the last one is taken out, nothing waits.
    parts.turns.take_out(computation, computation.tasks[computation.backlog.jobs()[1].job])
    assert not parts.turns.waiting and not computation.backlog


def test_user_is_told_of_jobs_that_wait_until_a_node_is_usable() -> None:
    parts = Parts()
    computation = parts.open()
    parts.submit(computation, 1, now=5.0)
    assert computation.waiting_since == 5.0
    [told] = parts.state.timers.ring(5.0 + PATIENCE)
    assert isinstance(told, Send) and isinstance(told.message, Notice)
    parts.load(parts.join(), computation)
    parts.turns.note_usable(computation)
    assert computation.waiting_since is None and parts.state.timers.due() is None


def test_user_is_told_no_longer_when_the_job_that_no_node_could_run_has_left_the_queue() -> None:
    parts = Parts()
    computation = parts.open()
    parts.load(parts.join(), computation)
    [wide] = parts.submit(computation, 1, now=5.0, cpus=99)
    parts.submit(computation, 2, now=6.0)
    assert computation.waiting_since == 5.0
    parts.turns.take_out(computation, wide)
    assert parts.state.timers.ring(5.0 + PATIENCE) == []
    assert computation.waiting_since is None and parts.state.timers.due() is None


def test_what_is_handed_over_waits_and_counts_for_the_new_client() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join()
    assignment = parts.load(node, computation)
    [placed] = parts.submit(computation, 1)
    former = computation.owner
    parts.submit(computation, 2)
    computation.backlog.queue.popleft()
    node.put(assignment, placed)
    parts.turns.hand_over(computation, OTHER)
    assert (computation.client, former.load, computation.owner.load) == (OTHER, 0, 1)
    assert not former.waiting and computation.id in computation.owner.waiting
    parts.check()


def test_check_finds_jobs_that_wait_where_nobody_looks() -> None:
    parts = Parts()
    computation = parts.open()
    parts.submit(computation, 1)
    parts.turns.waiting.clear()
    with pytest.raises(InternalError, match="not listed as waiting"):
        parts.turns.check()


def test_priority_of_a_waiting_job_is_changed_without_a_search_of_its_queue() -> None:
    parts = Parts()
    computation = parts.open()
    first, *_, last = parts.submit(computation, 1, 2, 3, 4)
    last.attempt = 3
    parts.turns.set_priority(computation, last, 5.0)
    parts.turns.set_priority(computation, first, -1.0)
    parts.check()
    assert [task.job for task in computation.backlog.jobs() if not task.cancelled] == [4, 2, 3, 1]
    moved = computation.tasks[last.job]
    assert (moved.priority, moved.attempt, moved.needs) == (5.0, 3, None)
    for _ in range(3):
        parts.turns.set_priority(computation, computation.tasks[last.job], 6.0)
    parts.lifecycle.cancel(computation, [task.job for task in list(computation.tasks.values())])
    assert not computation.tasks and not computation.backlog
    parts.check()


def test_priority_of_a_job_of_several_cpus_keeps_it_where_it_waits() -> None:
    parts = Parts()
    computation = parts.open()
    wide, pinned = *parts.submit(computation, 1, cpus=4), *parts.submit(computation, 2, node=b"n" * 16)
    for task in (wide, pinned):
        parts.turns.set_priority(computation, task, 2.0)
    assert [task.job for task in computation.backlog.wide] == [1]
    assert [task.job for task in computation.backlog.pinned[b"n" * 16] if not task.cancelled] == [2]  # type: ignore[index]
    parts.load(parts.join(cpus=2), computation)
    parts.wide_jobs.separate(0.0)
    parts.turns.set_priority(computation, computation.tasks[wide.job], 3.0)
    assert [(task.job, task.priority) for task in computation.backlog.oversized] == [(1, 3.0)]
    parts.check()


def test_wait_for_a_node_begins_anew_if_another_job_is_the_next_one() -> None:
    parts = Parts()
    computation = parts.open()
    parts.load(parts.join(cpus=2), computation)
    wide, narrow = *parts.submit(computation, 1, cpus=4), *parts.submit(computation, 2)
    assert computation.waiting_since is not None
    parts.turns.set_priority(computation, narrow, 1.0)
    assert computation.waiting_since is None and wide.job in computation.tasks
