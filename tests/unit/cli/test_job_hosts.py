"""The hosts of jobs in logs."""

from __future__ import annotations

from gdispy.cli.job_hosts import JobHosts
from gdispy.client.status import DispyNode


def node(address: str, port: int) -> DispyNode:
    made = DispyNode(address, "n", 1)
    made.port = port
    return made


def test_port_is_shown_where_several_nodes_have_the_address() -> None:
    hosts, nodes = JobHosts(), [node("10.0.0.1", 5), node("10.0.0.2", 5)]
    hosts.nodes = lambda: nodes
    hosts.note([1, 2], nodes[0])
    assert hosts.take(1, "10.0.0.1") == "10.0.0.1"
    nodes.append(node("10.0.0.1", 6))
    assert hosts.take(2, "10.0.0.1") == "10.0.0.1:5"
    hosts.note([3], nodes[1])
    assert hosts.take(3, "10.0.0.2") == "10.0.0.2"


def test_job_that_ended_on_no_known_node_has_its_address() -> None:
    hosts = JobHosts()
    assert hosts.take(1, "") == "" and hosts.take(2, "10.0.0.1") == "10.0.0.1"
