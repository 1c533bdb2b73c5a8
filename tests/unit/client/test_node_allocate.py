"""What `nodes` says of single nodes: which are meant, and how many of their CPUs are used."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gdispy import ConfigError, NodeAllocate
from gdispy.client.node_allocate import decide, read
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.messages import NodeFound

C = ComputationId(b"computat")


def appeared(*names: str, cpus: int = 4, port: int = 51348) -> NodeFound:
    return NodeFound(C, Instance(b"n" * 16), list(names), port, cpus, "Linux", [50.0, 1.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("options", "ip_addr", "cpus"),
    [
        ({}, "10.0.0.5", 4),
        ({}, "10.1.0.5", 0),
        ({"cpus": 2}, "10.0.0.5", 2),
        ({"cpus": "3"}, "10.0.0.5", 3),
        ({"cpus": -1}, "10.0.0.5", 3),
        ({"cpus": -4}, "10.0.0.5", 0),
    ],
)
def test_allocate_gives_cpus_to_nodes_that_are_meant_only(options: dict[str, Any], ip_addr: str, cpus: int) -> None:
    assert NodeAllocate("10.0.0.*", **options).allocate(None, ip_addr, "n", 4) == cpus


def test_ip_rex_is_a_regular_expression_that_can_be_set() -> None:
    allocate = NodeAllocate("10.0.0.*")
    assert allocate.ip_rex == r"10\.0\.0\..*" and re.match(allocate.ip_rex, "10.0.0.5")
    assert allocate.is_plain()
    allocate.ip_rex = ".*"
    assert allocate.ip_rex == ".*" and not allocate.is_plain()
    assert allocate.allocate(None, "192.168.0.1", "n", 4) == 4
    with pytest.raises(ConfigError, match="ip_rex must be a regular expression"):
        allocate.ip_rex = "("


def test_host_names_become_addresses_and_both_are_meant() -> None:
    allocate = NodeAllocate("localhost", port="5000")
    assert (allocate.ip_addr, allocate.host, allocate.port) == ("127.0.0.1", "localhost", 5000)
    assert allocate.means(["127.0.0.1", "n"], 5000) and allocate.means(["10.0.0.1", "localhost"], 0)
    assert not allocate.means(["127.0.0.1"], 5001)
    # Nobody here may know it, and a node may be called that.
    assert NodeAllocate("no.such.host.invalid").ip_addr == "no.such.host.invalid"


def test_a_node_that_is_known_here_by_another_name_is_allocated() -> None:
    allocate = NodeAllocate("alias.invalid", cpus=2)
    assert decide([allocate], None, C, appeared("10.0.0.9", "alias.invalid", "own-name")).cpus == 2
    assert decide([allocate], None, C, appeared("10.0.0.8", "own-name")).cpus == 0


@pytest.mark.parametrize("port", ["abc", -1, 70000])
def test_ports_that_are_none_are_refused(port: Any) -> None:
    with pytest.raises(ConfigError, match="NodeAllocate: port must be a whole number"):
        NodeAllocate("10.0.0.1", port=port)


class ByName(NodeAllocate):
    def allocate(self, cluster: Any, ip_addr: str, name: str, cpus: int, **kwargs: Any) -> int:  # type: ignore[override]
        assert sorted(kwargs) == ["avail_info", "platform"] and kwargs["platform"] == "Linux"
        return kwargs["avail_info"].cpu == 50.0


class ByPlace(NodeAllocate):
    def allocate(self, cluster, ip_addr, name, cpus, info, kind):  # type: ignore[no-untyped-def,override]
        return info.cpu == 50.0 and kind == "Linux"


class Without(NodeAllocate):
    def allocate(self, cluster, ip_addr, name, cpus):  # type: ignore[no-untyped-def,override]
        return 1


class Any_(NodeAllocate):
    def allocate(self, *args):  # type: ignore[no-untyped-def,override]
        return len(args) == 6


class WithOne(NodeAllocate):
    def allocate(self, cluster, ip_addr, name, cpus, platform):  # type: ignore[no-untyped-def,override]
        return platform == "Linux"


@pytest.mark.parametrize("kind", [ByName, ByPlace, Without, Any_, WithOne])
def test_allocate_of_any_version_of_dispy_is_called_as_it_was_written(kind: type[NodeAllocate]) -> None:
    assert decide([kind("*")], None, C, appeared("10.0.0.1", "n")).cpus == 1


def test_dictionaries_may_have_keys_of_the_program_and_no_host() -> None:
    found = read([{"host": "10.0.0.1", "name": "mine", "cpus": "2"}, {"port": "5000"}], 51348)
    assert [(each.host, each.port, each.cpus) for each in found.nodes] == [("10.0.0.1", None, 2), ("*", 5000, 0)]
    assert found.targets.look and found.targets.targets == [("10.0.0.1", 51348)]


def test_tuples_may_have_numbers_as_text() -> None:
    found = read([("10.0.0.1", "5000", "2")], 51348)
    assert [(each.host, each.port, each.cpus) for each in found.nodes] == [("10.0.0.1", 5000, 2)]


@pytest.mark.parametrize("depends", [2, "file"])
def test_files_that_are_no_list_are_refused_in_words(depends: object) -> None:
    with pytest.raises(ConfigError, match="NodeAllocate: depends must be a list, not"):
        read([("host", 51348, 1, depends)], 51348)
