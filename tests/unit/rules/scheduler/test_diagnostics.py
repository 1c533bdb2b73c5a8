"""The texts that say why jobs wait."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import NO_LIMIT
from gdispy.rules.scheduler.assignment import Assignment, Use
from gdispy.rules.scheduler.diagnostics import (
    LOADING,
    REASONS,
    inability,
    insufficiency,
    node_state,
    noted,
    problems,
    slow_nodes,
    state_of,
    too_wide,
    trouble,
    without_place,
)
from gdispy.rules.scheduler.node_record import NodeStage
from tests.unit.builders import C
from tests.unit.rules.scheduler.builders import A, B, Parts, task

PLACE, SECOND = "10.0.0.1:51348", "10.0.0.2:51348"


class Made(Parts):
    """Two nodes, and a computation that both have loaded."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.computation = self.open(**options)
        self.nodes = [self.join(A), self.join(B)]
        self.first, self.second = (self.load(node, self.computation) for node in self.nodes)

    def problems(self, now: float = 0.0, **addresses: str) -> list[str]:
        return problems(self.computation, self.nodes, addresses, now)

    def fail(self, *assignments: Assignment, text: str = "no module numpy\n") -> None:
        for each in assignments:
            each.error, each.is_unable = text, True

    def insufficiency(self, wanted: int, only: Instance | None = None) -> str:
        return insufficiency(self.computation, self.nodes, only, wanted)


def test_usable_nodes_have_no_problem() -> None:
    assert Made().problems() == []


def test_each_unusable_node_has_a_line_with_its_first_reason() -> None:
    made = Made()
    made.first.note = "an old version \x1b"
    made.nodes[1].cpus, made.nodes[1].offer.reason = 0, "full disk"
    assert made.problems()[1] == f"{SECOND}: not accepting jobs at present (full disk)"
    assert made.problems()[0] == rf"{PLACE}: an old version \x1b"
    made.first.use = Use.CLOSED
    assert made.problems()[0] == f"{PLACE}: released by this program (close_node or deallocate_node)"
    made.nodes[0].silent = True
    assert made.problems()[0] == f"{PLACE}: no heartbeat at present"
    made.nodes[0].peer = None
    assert made.problems()[0] == f"{PLACE}: the connection broke; reconnecting"
    made.first.error = "no module \x1b\n"
    assert made.problems()[0] == rf"{PLACE}: no module \x1b"


def test_setup_is_a_problem_when_it_takes_long() -> None:
    made = Made()
    made.first.prepared_at = 10.0
    assert made.problems(10.0 + LOADING - 0.1) == []
    assert made.problems(25.0) == [f"{PLACE}: setting up the computation for 15 s"]


def test_job_that_needs_more_cpus_than_a_node_may_use_is_named() -> None:
    made = Made()
    made.submit(made.computation, 1, cpus=2)
    assert made.problems() == []
    made.first.cpus = 1
    assert made.problems() == [f"{PLACE}: a job requires 2 CPUs, and 1 may be used there"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no answer", "lab:1: no answer"),
        ("lab:1 cannot be reached", "lab:1 cannot be reached"),
        ("no gdispy-node at lab:1 is listening", "lab:1: no gdispy-node is listening"),
        ("relay: lab:1: refused", "relay: lab:1: refused"),
    ],
)
def test_line_about_an_address_contains_it_once(text: str, line: str) -> None:
    made = Made()
    assert problems(made.computation, [], {"lab:1": text}, 0.0) == [line]


def test_place_is_left_out_of_a_line_that_begins_with_it() -> None:
    assert without_place("a:1", "a:1 is busy") == "is busy"
    assert without_place("a:1", "no node at a:1 listens") == "no node listens"
    assert without_place("a:1", "at a:12 nothing") == "at a:12 nothing"


# No node can run the computation


def test_computation_is_hopeless_if_all_nodes_have_said_so() -> None:
    made = Made()
    made.fail(made.first)
    assert inability(made.computation, made.nodes) == ""
    made.fail(made.second)
    assert inability(made.computation, made.nodes) == "no module numpy\n"


def test_different_reasons_are_shown_with_their_nodes_up_to_a_limit() -> None:
    made = Made()
    made.fail(made.first, text="a\n")
    made.fail(made.second, text="b\n")
    assert inability(made.computation, made.nodes) == f"No node can run the computation.\n{PLACE}: a\n{SECOND}: b\n"
    for number in range(3, 10):
        node = made.join(type(A)(number))
        made.nodes.append(node)
        made.fail(made.load(node, made.computation), text="b" if number == 3 else str(number))
    lines = inability(made.computation, made.nodes).splitlines()
    assert lines[2] == f"{SECOND} and 1 other: b" and len(lines) == 1 + REASONS + 1
    assert lines[-1] == "... and 3 other reasons"


def test_nodes_that_the_program_does_not_use_do_not_count() -> None:
    made = Made()
    made.fail(made.first)
    made.second.use = Use.CLOSED
    assert inability(made.computation, made.nodes)
    made.second.use = Use.OPEN
    made.computation.refused = {made.nodes[1].instance}
    assert inability(made.computation, made.nodes)
    made.first.use = Use.CLOSED
    assert inability(made.computation, made.nodes) == ""


def test_named_node_that_is_not_there_yet_may_still_run_it() -> None:
    made = Made(nodes=("10.0.0.1", "10.0.0.7"))
    made.fail(made.first, made.second)
    assert inability(made.computation, made.nodes) == ""
    made.computation.open = made.open(nodes=("10.0.0.1", "10.0.0.*")).open
    assert inability(made.computation, made.nodes)


def test_node_that_has_not_tried_it_may_still_run_it() -> None:
    made = Made()
    made.fail(made.first)
    del made.nodes[1].assignments[C]
    assert inability(made.computation, made.nodes) == ""


# No node has enough CPUs


def test_job_that_needs_more_cpus_than_any_node_has_is_told_the_most() -> None:
    made = Made()
    assert made.insufficiency(2) == ""
    assert made.insufficiency(3) == (
        f"The job requires 3 CPUs (dispy_cpus), but only 2 may be used at {PLACE}, the largest of 2 nodes.\n"
    )
    only = made.nodes[1].instance
    assert made.insufficiency(3, only) == (
        f"The job requires 3 CPUs (dispy_cpus), but only 2 may be used at {SECOND}.\n"
    )


def test_node_that_is_away_or_offers_nothing_at_present_may_have_enough_later() -> None:
    made = Made()
    made.nodes[0].peer = None
    assert made.insufficiency(3) == ""
    made = Made()
    made.nodes[0].offer.most = 0
    assert made.insufficiency(3) == ""


def test_node_that_cannot_run_the_computation_is_no_hope_for_its_jobs() -> None:
    made = Made()
    made.nodes[0].offer.most = 9
    assert made.insufficiency(3) == ""
    made.fail(made.first)
    assert made.insufficiency(3).endswith(f"but only 2 may be used at {SECOND}.\n")


# Whole texts


def test_trouble_counts_the_jobs_and_lists_the_reasons() -> None:
    made = Made()
    made.submit(made.computation, 1)
    made.nodes[0].peer = None
    assert trouble(made.computation, made.nodes, {"lab:1": "no answer"}, 0.0).splitlines() == [
        "f: 1 job waits, and no node can run them.",
        "  lab:1: no answer",
        f"  {PLACE}: the connection broke; reconnecting",
    ]
    made.submit(made.computation, 2)
    assert trouble(made.computation, made.nodes, {}, 0.0).startswith("f: 2 jobs wait, and no node can run them.")


def test_trouble_without_a_reason_is_loading_or_no_node() -> None:
    made = Made()
    assert trouble(made.computation, made.nodes, {}, 0.0).endswith("\n  a node is still loading the computation")
    lines = trouble(made.computation, [], {}, 0.0).splitlines()
    assert lines[1].startswith("  no gdispy-node was found") and lines[2].startswith("  or use this machine")
    assert len(trouble(made.computation, [], {}, 0.0, local_advice="").splitlines()) == 2


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "f: 1 job waits, and no node has enough CPUs for it."),
        (2, "f: 2 jobs wait, and no node has enough CPUs for them."),
    ],
)
def test_wide_jobs_are_counted(count: int, text: str) -> None:
    made = Made()
    for number in range(count):
        made.computation.backlog.oversized.add(task(number + 1, cpus=9))
    assert too_wide(made.computation, [], {}, 0.0) == text


def test_notes_and_slow_nodes_are_named_with_the_computation() -> None:
    made = Made()
    assert noted(made.computation, made.nodes[0], "old") == f"f: {PLACE}: old"
    both = f"f: still waiting for {PLACE}, {SECOND}: "
    assert slow_nodes(made.computation, made.nodes) == both + "setting up the computation"
    made.computation.closing = True
    assert slow_nodes(made.computation, made.nodes) == both + "cleaning up after the computation"
    made.computation.prepare = None
    assert noted(made.computation, made.nodes[0], "old") == f"?: {PLACE}: old"


def test_node_has_one_state() -> None:
    made = Made()
    node = made.nodes[0]
    assert node_state(node, 0.0, 30.0) == "ready"
    assert state_of(node) == "ready"
    node.offer.allow(0)
    assert node_state(node, 0.0, 30.0) == "drained; it was drained at the scheduler"
    assert state_of(node) == "drained"
    node.offer.allow(NO_LIMIT)
    node.cpus = 0
    node.offer.change(0, "")
    assert state_of(node) == "no_cpus"
    assert node_state(node, 0.0, 30.0) == "offers no CPUs"
    node.offer.change(0, "stopped, the disk \x1b is full")
    assert node_state(node, 0.0, 30.0) == r"offers no CPUs: stopped, the disk \x1b is full"
    node.stage = NodeStage.JOINED
    assert node_state(node, 0.0, 30.0) == "connected; it has not reported its jobs yet"
    node.silent = True
    assert node_state(node, 0.0, 30.0) == "silent: no heartbeat at present" and state_of(node) == "silent"
    node.peer, node.lost_at = None, 42.0
    assert node_state(node, 20.0, 30.0) == "away for 8 s; its jobs are given up in 22 s" and state_of(node) == "away"


def test_node_that_is_drained_tells_what_is_still_there() -> None:
    made = Made()
    [job] = made.submit(made.computation, 1)
    made.nodes[0].put(made.first, job)
    made.nodes[0].offer.change(0, "draining")
    assert node_state(made.nodes[0], 0.0, 30.0) == "draining: 1 job still here"
    assert state_of(made.nodes[0]) == "draining"
    made.nodes[0].remove(made.first, job.job)
    assert node_state(made.nodes[0], 0.0, 30.0) == state_of(made.nodes[0]) == "drained"
    made.nodes[0].offer.change(0, "draining, service hours")
    assert node_state(made.nodes[0], 0.0, 30.0) == "drained; offers no CPUs: service hours"
