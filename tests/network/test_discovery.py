"""Nodes are found without being named, where networks allow it.

client (10.1.0.1) ─┬─ lan ─┬─ other hosts (10.1.0.2 ...)
"""

from __future__ import annotations

from tests.support.lab import Lab


def names(told: dict[str, object]) -> list[str]:
    return [name for name, _ in told["nodes"]]  # type: ignore[attr-defined]


def test_nodes_of_a_lan_are_found_by_broadcast(lab: Lab) -> None:
    client, one, two = lab.simple("client", "one", "two")
    one.node()
    two.node()
    told = client.run(jobs=4, nodes=2, seconds=0.1)
    assert names(told) == ["one", "two"]
    assert {name for _, name, _ in told["results"]} == {"one", "two"}
