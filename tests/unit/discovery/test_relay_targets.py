"""Where a relay may connect to, and that accepting goes on."""

from __future__ import annotations

import pytest

from gdispy.discovery.relay_targets import NODE_LIFE, NODES, RelayTargets, is_plausible, is_source


@pytest.mark.parametrize("host", ["10.0.0.5", "192.168.1.1", "172.16.0.1", "8.8.8.8", "2001:db8::1", "a.lab"])
def test_address_that_a_node_can_announce(host: str) -> None:
    assert is_plausible(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"),
        *("169.254.169.254", "169.254.1.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254"),
        *("100.100.100.200", "168.63.129.16", "224.0.0.1", "239.255.71.68", "ff02::1", "255.255.255.255", "240.0.0.1"),
    ],
)
def test_address_that_no_node_can_announce(host: str) -> None:
    assert not is_plausible(host)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("169.254.7.7", True), ("fe80::1%eth0", True), ("10.0.0.1", True), ("::1", True)),
        *(
            ("169.254.169.254", False),
            ("fd00:ec2::254", False),
            ("0.0.0.0", False),
            ("a.lab", False),
            ("ff02::1", False),
        ),
    ],
)
def test_address_that_a_packet_came_from(host: str, expected: bool) -> None:
    assert is_source(host) == expected


def test_places_are_forgotten_when_nothing_is_heard_and_when_there_are_too_many() -> None:
    targets = RelayTargets()
    targets.hear("10.0.0.1", 51348, 0.0)
    assert targets.may_connect("10.0.0.1", 51348, NODE_LIFE)
    assert not targets.may_connect("10.0.0.1", 51348, NODE_LIFE + 0.1)
    assert not targets.may_connect("10.0.0.1", 22, 0.0) and not targets.may_connect("10.0.0.2", 51348, 0.0)
    for port in range(NODES):
        targets.hear("10.0.0.2", port, 0.0)
    assert not targets.may_connect("10.0.0.1", 51348, 0.0) and targets.may_connect("10.0.0.2", NODES - 1, 0.0)
