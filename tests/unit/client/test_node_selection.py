"""Which nodes a cluster wants."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gdispy.client import node_allocate
from gdispy.client.node_selection import NodeSelection
from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import NodeFound
from tests.unit.builders import C

PORT = 51348


def selection(*nodes: Any, local: Any = None) -> NodeSelection:
    return NodeSelection(node_allocate.read(list(nodes), PORT), local)


def test_patterns_are_those_of_nodes_and_the_private_node_by_its_name() -> None:
    made = selection("10.0.0.*", "local", local=SimpleNamespace(name="local-12345678"))
    assert "10.0.0.*" in made.patterns and made.patterns[-1] == "local-12345678"


def test_what_is_added_is_wanted_too() -> None:
    made = selection("10.0.0.1")
    made.add(node_allocate.read(["10.0.0.2"], PORT))
    assert [host for host, _ in made.targets.targets] == ["10.0.0.1", "10.0.0.2"]
    assert any("10.0.0.2" in pattern for pattern in made.patterns)


def test_only_where_a_user_decides_himself_he_is_asked() -> None:
    class Mine(node_allocate.NodeAllocate):
        def allocate(self, *args: Any, **kwargs: Any) -> int:
            return 1

    assert not selection("10.0.0.1").asks
    assert selection(Mine("10.0.0.*")).asks


def test_private_node_alone_is_all_that_can_be_expected() -> None:
    local = SimpleNamespace(name="local-12345678")
    assert selection("local", local=local).is_only_local
    assert not selection("local", "10.0.0.1", local=local).is_only_local
    assert not selection("10.0.0.1").is_only_local


def test_what_is_said_of_local_means_the_private_node() -> None:
    made = selection(node_allocate.NodeAllocate("local", cpus=2), local=SimpleNamespace(name="local-12345678"))
    made.name_local()
    found = NodeFound(C, Instance(b"i" * 16), ["127.0.0.1", "local-12345678"], PORT, 4, "linux", [])
    assert made.decide(None, C, found).cpus == 2
