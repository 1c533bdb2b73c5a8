"""What nodes report."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.errors import ProtocolError
from gdispy.protocol.messages import Ended, Event, Inventory, OutcomesAcked, Prepared, Printed, Progress, Started
from gdispy.rules.effects import Drop, Effects, WriteFacts
from gdispy.rules.faults import raise_fault
from gdispy.rules.scheduler import node_reports
from gdispy.rules.scheduler.node_record import NodeStage
from gdispy.rules.scheduler.node_reports import RECEIPT_AFTER, NodeReports
from gdispy.rules.scheduler.reconciliation import Reconciliation
from tests.unit.builders import C, ended, hello, outcome, sent
from tests.unit.rules.scheduler.builders import CLIENT, A, Parts


class Reports(Parts):
    def __init__(self) -> None:
        super().__init__()
        below = self.placement, self.provisioning, self.lifecycle, self.membership
        reconciliation = Reconciliation(self.state, self.reminders, self.turns, self.wide_jobs, *below)
        self.reports = NodeReports(self.state, self.turns, self.inability, *below, reconciliation)

    def receive(self, *messages: Any, now: float = 0.0) -> Effects:
        effects = self.reports.receive(A, list(messages), now, raise_fault)
        self.check()
        return effects


def with_job() -> Reports:
    parts = Reports()
    computation = parts.open()
    parts.load(parts.join(), computation)
    parts.submit(computation, 1)
    parts.placement.place(0.0)
    return parts


def test_end_of_a_job_is_reported_once_and_what_an_older_attempt_says_changes_nothing() -> None:
    parts = with_job()
    [computation] = parts.state.computations.values()
    computation.tasks[1].attempt = 2  # type: ignore[index]
    assert sent(parts.receive(ended(outcome(1, attempt=1))), CLIENT, Ended) == []
    [end] = sent(parts.receive(ended(outcome(1, attempt=2))), CLIENT, Ended)
    assert (end.jobs, end.address) == ([1], "10.0.0.1")
    assert parts.receive(ended(outcome(1, attempt=2))) == []
    # All of them are acknowledged, or the node would send them for ever.
    [acked] = sent(parts.state.timers.ring(RECEIPT_AFTER), A, OutcomesAcked)
    assert acked.attempts == [1, 2, 2]


def test_messages_that_overtake_the_inventory_are_handled_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_reports, "EARLY_LIMIT", 2)
    parts = with_job()
    node = parts.membership.at(A)
    assert node is not None
    parts.membership.gone(A, 0.0)
    parts.membership.joined(A, hello(bytes(node.instance), "node1", 2), ["10.0.0.1"], 51348)
    assert parts.receive(ended(outcome(1))) == []
    effects = parts.receive(Inventory([C], [[1]], [[1]]))  # type: ignore[list-item]
    assert len(sent(effects, CLIENT, Ended)) == 1 and node.stage is NodeStage.ACTIVE
    # They are not kept without end.
    parts.membership.gone(A, 0.0)
    parts.join()
    parts.state.nodes[node.instance].stage = NodeStage.JOINED
    parts.receive(Prepared(C, ""), Prepared(C, ""))
    with pytest.raises(ProtocolError, match="before the inventory of the node"):
        parts.receive(Prepared(C, ""))


def test_computation_that_a_node_has_loaded_is_used_there_unless_it_was_not_asked_to() -> None:
    parts = Reports()
    computation = parts.open()
    node = parts.join()
    assignment = node.assignment_of(computation)
    assert parts.receive(Prepared(C, "")) == []
    assignment.begin_loading(0.0)
    assert len(sent(parts.receive(Prepared(C, "")), CLIENT, Event)) == 1
    assert computation.places == {node.instance}
    parts.receive(Prepared(C, "it broke"))
    assert (assignment.error, computation.places) == ("it broke", set())


def test_start_and_progress_are_told_of_jobs_that_are_there_and_written_where_wanted() -> None:
    parts = with_job()
    assert len(sent(parts.receive(Started(C, [1], [1], [5.0], "")), CLIENT, Started)) == 1  # type: ignore[list-item]
    assert parts.receive(Started(C, [2], [1], [5.0], "")) == []  # type: ignore[list-item]
    progress = Progress(C, 1, 1, 0, b"half", "")  # type: ignore[arg-type]
    assert [type(each) for each in parts.receive(progress)] != [WriteFacts]
    parts.reports.keeps_progress = True
    effects = parts.receive(Progress(C, 1, 1, 1, b"all", ""))  # type: ignore[arg-type]
    assert isinstance(effects[0], WriteFacts) and len(sent(effects, CLIENT, Progress)) == 1


def test_what_no_node_may_say_closes_its_connection() -> None:
    parts = with_job()
    [drop] = parts.receive(Event(C, 0, b"n" * 16, [], []), Prepared(C, ""))  # type: ignore[arg-type]
    assert isinstance(drop, Drop) and "takes no Event from a node" in drop.reason


def test_output_is_passed_on_with_its_node_if_it_is_of_the_present_attempt() -> None:
    parts = with_job()
    said = Printed(C, 1, 1, 1, 0, b"text")  # type: ignore[arg-type]
    [told] = sent(parts.receive(said), CLIENT, Printed)
    [node] = parts.state.nodes.values()
    assert (told.content, told.node) == (b"text", node.instance)
    assert parts.receive(Printed(C, 1, 2, 1, 0, b"text"), Printed(C, 5, 1, 1, 0, b"")) == []  # type: ignore[arg-type]
