"""What users write as `nodes`."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.discovery.targets import NodeTargets, parse
from gdispy.errors import ConfigError

PORT = 51348
ANY = NodeTargets(patterns=["*"], look=True)


@pytest.mark.parametrize("nodes", [None, [], (), "", "*", ["*"], ("*",), {"*"}, [("*",)], [("*", None)]])
def test_nothing_or_a_star_is_whoever_answers(nodes: Any) -> None:
    assert parse(nodes, PORT) == ANY


@pytest.mark.parametrize(
    ("nodes", "target", "pattern"),
    [
        ("host", ("host", PORT), "host:51348"),
        (["host"], ("host", PORT), "host:51348"),
        ([" host "], ("host", PORT), "host:51348"),
        (["host:7"], ("host", 7), "host:7"),
        (("host", 7), ("host", 7), "host:7"),
        ([("host", 7)], ("host", 7), "host:7"),
        ([["host", 7]], ("host", 7), "host:7"),
        ([("host",)], ("host", PORT), "host:51348"),
        ([("host", None)], ("host", PORT), "host:51348"),
        (["::1"], ("::1", PORT), "[::1]:51348"),
        (["[::1]:7"], ("::1", 7), "[::1]:7"),
        ([("::1", 7)], ("::1", 7), "[::1]:7"),
    ],
)
def test_host_is_a_target_and_its_own_pattern(nodes: Any, target: tuple[str, int], pattern: str) -> None:
    assert parse(nodes, PORT) == NodeTargets(targets=[target], patterns=[pattern])


def test_pattern_is_looked_for_and_not_connected_to() -> None:
    assert parse(["10.0.*", "*:7"], PORT) == NodeTargets(patterns=["10.0.*", "*:7"], look=True)


@pytest.mark.parametrize("element", ["local:5", ("local", 5)])
def test_local_has_no_port(element: object) -> None:
    with pytest.raises(ConfigError, match=r"'local' is a private node .* is '127\.0\.0\.1:5'"):
        parse([element], PORT)


def test_local_wants_a_private_node_only() -> None:
    assert parse(["local"], PORT) == parse("local", PORT) == NodeTargets(local=True)


def test_two_names_in_a_tuple_are_two_elements() -> None:
    assert parse(("a", "b"), PORT).targets == [("a", PORT), ("b", PORT)]


def test_elements_may_be_mixed() -> None:
    assert parse(["a", ("b", 7), "10.*", "local"], PORT) == NodeTargets(
        targets=[("a", PORT), ("b", 7)], patterns=["a:51348", "b:7", "10.*"], look=True, local=True
    )


@pytest.mark.parametrize("nodes", [7, 1.5, {"a": 1}, object(), b"host"])
def test_what_is_no_list_is_refused(nodes: Any) -> None:
    with pytest.raises(ConfigError, match=f"nodes must be a list, not {type(nodes).__name__}"):
        parse(nodes, PORT)


@pytest.mark.parametrize(
    "element",
    [
        7,
        None,
        "",
        "  ",
        b"host",
        (),
        (7,),
        ("host", "port"),
        ("host", 0),
        ("host", 65536),
        ("host", True),
        ("host", 7, 8),
        {},
    ],
)
def test_element_that_is_no_host_is_refused_with_what_to_write(element: Any) -> None:
    with pytest.raises(ConfigError, match=r"in nodes, .* is not a host: write 'host', 'host:port'"):
        parse([element], PORT)


@pytest.mark.parametrize("element", ["host:0", "host:65536"])
def test_port_out_of_range_is_named(element: str) -> None:
    with pytest.raises(ConfigError, match=r"in nodes, 'host:\d+': \d+ is not a port \(1 to 65535\)"):
        parse([element], PORT)


@pytest.mark.parametrize("element", ["host:", "host:x", "[::1]:x"])
def test_port_that_is_no_number_is_refused_in_plain_words(element: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse([element], PORT)
    assert "invalid literal" not in str(caught.value)


@pytest.mark.parametrize("element", [":7", ("", 7), "[]:7"])
def test_port_without_a_host_is_refused(element: Any) -> None:
    with pytest.raises(ConfigError):
        parse([element], PORT)


@pytest.mark.parametrize(
    "element",
    [
        "lab..example:5000",
        "a" * 70 + ":5000",
        ("lab3 ", 5000),
        "b\u00fccher.example",
        "lab\0",
        "caf\udce9",
        "x" * 2_000_000,
    ],
)
def test_malformed_host_name_is_said_to_be_one(element: Any) -> None:
    with pytest.raises(ConfigError, match="host name") as caught:
        parse([element], 51348)
    assert len(str(caught.value)) < 500


def test_more_nodes_than_a_message_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="65,537 elements"):
        parse(["lab3"] * 65_537, 51348)
