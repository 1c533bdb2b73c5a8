"""How long a run waits for nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.cli.node_wait import Hopeless, NodeWait
from gdispy.client.status import ClusterStatus


def status(cpus: int | None = None, busy: int = 0, hopeless: bool = False, *problems: str) -> ClusterStatus:
    nodes: list[Any] = [] if cpus is None else [SimpleNamespace(cpus=cpus, busy=busy)]
    return ClusterStatus(nodes, 1, [*problems], hopeless)


def test_a_run_waits_for_ever_unless_all_nodes_have_refused() -> None:
    wait = NodeWait()
    for now in (0.0, 1e9):
        wait.look(status(), now)
    with pytest.raises(Hopeless, match=r"(?s)no other node is expected.*lab: the secrets differ"):
        wait.look(status(None, 0, True, "lab: the secrets differ"), 0.0)


def test_the_time_begins_when_no_node_can_be_used() -> None:
    wait = NodeWait(5.0)
    for now, each in ((0.0, status()), (4.9, status()), (5.0, status(1)), (6.0, status(0, 1)), (7.0, status(0, 0))):
        wait.look(each, now)
    wait.look(status(), 11.9)
    with pytest.raises(Hopeless, match=r"no node could be used for 5 s .*\n  no gdispy-node was found.*--local"):
        wait.look(status(), 12.0)
    with pytest.raises(Hopeless, match=r"for 5 s .*\n  lab: no answer"):
        wait.look(status(None, 0, False, "lab: no answer"), 12.0)
