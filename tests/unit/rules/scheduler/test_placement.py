"""Which job goes to which node."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.errors import InternalError
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Open, Recall, Run
from gdispy.rules.effects import Effects, WriteFacts
from gdispy.rules.history.facts import Met, Placed
from gdispy.rules.scheduler.placement import PORTION_BYTES, in_portions, placed_facts
from tests.unit.builders import Announced, C, prepare, sent
from tests.unit.rules.scheduler.builders import CLIENT, A, B, Parts


def runs(effects: Effects, peer: Any) -> list[int]:
    return [job for message in sent(effects, peer, Run) for job in message.jobs]


def test_jobs_go_to_the_least_loaded_nodes_and_no_further_than_their_cpus() -> None:
    parts = Parts()
    computation = parts.open()
    for peer, cpus in ((A, 1), (B, 3)):
        parts.load(parts.join(peer, cpus), computation)
    parts.submit(computation, *range(1, 10))
    effects = parts.placement.place(0.0)
    assert (len(runs(effects, A)), len(runs(effects, B))) == (1, 3)
    assert parts.placement.place(0.0) == []
    parts.check()


def test_job_for_one_node_comes_first_there() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join(A, 1)
    parts.load(node, computation)
    parts.submit(computation, 1)
    parts.submit(computation, 2, node=bytes(node.instance))
    assert runs(parts.placement.place(0.0), A) == [2]
    parts.check()


def test_nothing_is_placed_on_a_node_that_was_dropped() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join()
    parts.load(node, computation)
    parts.submit(computation, 1)
    parts.placement.drop(node)
    assert parts.placement.place(0.0) == []
    parts.placement.push(node)
    assert runs(parts.placement.place(0.0), A) == [1]


def test_cancelled_jobs_are_skipped() -> None:
    parts = Parts()
    computation = parts.open()
    parts.load(parts.join(A, 1), computation)
    first, _ = parts.submit(computation, 1, 2)
    computation.backlog.cancel(first)
    del computation.tasks[first.job]
    assert runs(parts.placement.place(0.0), A) == [2]
    assert computation.backlog.cancelled == 0
    parts.check()


def test_half_of_what_has_not_begun_is_recalled_once_and_no_more_than_there_is_room_for() -> None:
    parts = Parts()
    computation = parts.open()
    node = parts.join(A, 1)
    assignment = parts.load(node, computation)
    for each in parts.submit(computation, *range(1, 10)):
        node.put(assignment, each)
    parts.turns.nothing_waits(computation)
    assert sent(parts.placement.recall(node, computation, 3), A) == [Recall(C, 3)]
    assert parts.placement.recall(node, computation) == []
    assignment.recalling = False
    assert sent(parts.placement.recall(node, computation), A) == [Recall(C, 4)]


def test_journal_is_told_once_what_a_node_is() -> None:
    parts = Parts()
    computation = parts.turns.open(Open(C, ["*"], False, token=b"t" * 16, epoch=1), CLIENT)
    computation.prepare = prepare()
    node = parts.join()
    parts.load(node, computation)
    kinds = []
    for job in (1, 2):
        parts.submit(computation, job)
        record, _ = parts.placement.place(0.0)
        assert isinstance(record, WriteFacts)
        kinds.append([type(fact) for fact in record.facts])
    assert kinds == [[Met, Placed], [Placed]]
    assert [type(fact) for fact in placed_facts(node, C, [JobId(1)], [1]).facts] == [Placed]


def test_jobs_with_large_arguments_go_in_several_messages() -> None:
    large = Announced(PORTION_BYTES - 10)
    jobs = [JobId(1), JobId(2), JobId(3)]
    found = in_portions((jobs, [1, 1, 1], [b"x", large, large], [None, None, None]))
    assert [columns[0] for columns in found] == [[1, 2], [3]]
    assert in_portions((jobs, [1] * 3, [b"x"] * 3, [None] * 3)) == [(jobs, [1] * 3, [b"x"] * 3, [])]


def test_check_finds_a_job_in_no_place() -> None:
    parts = Parts()
    computation = parts.open()
    parts.submit(computation, 1)
    computation.backlog.queue.popleft()
    with pytest.raises(InternalError, match="in no place"):
        parts.placement.check()
