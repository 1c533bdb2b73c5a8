"""Addresses of this machine, and which may be announced. Packets' addresses: `test_node_finder.py`."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.errors import ConfigError
from gdispy.transport import interfaces as module
from gdispy.transport.interfaces import (
    Interface,
    announced,
    host_of,
    interfaces,
    is_numeric,
    own_address,
    own_addresses,
    resolve,
    with_zone,
)


def row(family: int, address: str, broadcast: str | None = None) -> Any:
    return SimpleNamespace(family=family, address=address, broadcast=broadcast)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interfaces of a machine; one of them has vanished since psutil has listed it."""
    v4, v6 = socket.AF_INET, socket.AF_INET6
    found = {
        "lo": [row(v4, "127.0.0.1"), row(v6, "::1")],
        "eth0": [
            row(v4, "10.0.0.1", "10.0.0.255"),
            row(v4, "10.0.1.1", "10.0.1.255"),
            row(v6, "fe80::1%eth0"),
            row(17, "aa"),
        ],
        "gone": [row(v4, "10.9.9.9", "10.9.9.255")],
    }
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(net_if_addrs=lambda: found))
    monkeypatch.setattr(module.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (3, "eth1")])


def test_interfaces_have_their_addresses_and_broadcasts(known: None) -> None:
    lo, eth0 = interfaces()
    assert lo == Interface("lo", 1, ("127.0.0.1",), (), ("::1",))
    assert eth0 == Interface("eth0", 2, ("10.0.0.1", "10.0.1.1"), ("10.0.0.255", "10.0.1.255"), ("fe80::1%eth0",))


@pytest.mark.parametrize(
    ("address", "broadcast"),
    [("10.0.1.1", ("10.0.1.255",)), ("fe80::1%eth0", ("10.0.0.255", "10.0.1.255"))],
)
def test_address_limits_the_interfaces_and_their_broadcasts(known: None, address: str, broadcast: Any) -> None:
    (found,) = interfaces(address)
    assert (found.name, found.broadcast) == ("eth0", broadcast)
    assert interfaces("10.0.0.99") == []


def test_own_addresses_are_all_but_those_of_the_loopback(known: None) -> None:
    assert own_addresses() == {"10.0.0.1", "10.0.1.1", "fe80::1%eth0"}


def test_without_psutil_only_the_names_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr(module.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    assert interfaces() == [Interface("lo", 1), Interface("eth0", 2)] and interfaces("10.0.0.1") == []
    assert own_addresses() == set()


@pytest.mark.parametrize(
    ("address", "zone", "expected"),
    [
        ("fe80::1", "eth0", "fe80::1%eth0"),
        ("FEBF::1", "eth0", "FEBF::1%eth0"),
        ("fe80::1%eth1", "eth0", "fe80::1%eth1"),
        ("fe80::1", "", "fe80::1"),
        ("fec0::1", "eth0", "fec0::1"),
        ("10.0.0.1", "eth0", "10.0.0.1"),
    ],
)
def test_only_link_local_addresses_get_an_interface(address: str, zone: str, expected: str) -> None:
    assert with_zone(address, zone) == expected


def test_host_of_a_socket_address_can_be_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.socket, "if_indextoname", lambda index: {2: "eth0"}[index])
    assert host_of(("10.0.0.1", 5)) == "10.0.0.1" and host_of(("::1", 5, 0, 0)) == "::1"
    assert host_of(("fe80::1", 5, 0, 2)) == "fe80::1%eth0"


def test_interface_that_is_gone_leaves_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(index: int) -> str:
        raise OSError("no such device")

    monkeypatch.setattr(module.socket, "if_indextoname", gone)
    assert host_of(("fe80::1", 5, 0, 2)) == "fe80::1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("10.0.0.1", True), ("::1", True), ("fe80::1%eth0", True), ("lab", False), ("", False), ("1", False)],
)
def test_address_is_told_from_a_name(host: str, expected: bool) -> None:
    assert is_numeric(host) is expected


@pytest.mark.parametrize("text", ["", "192.0.2.1", "192.0.2.1:5", "[fd00::1]:5", "lab.example"])
def test_address_that_others_can_connect_to_is_announced(text: str) -> None:
    assert announced(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.0.0.0", "is not an address that other machines can connect to"),
        ("224.0.0.1", "is not an address that other machines can connect to"),
        ("ff02::1", "is not an address that other machines can connect to"),
        ("10.0.0.*", ""),
        ("lab:http", "'http' is not a port"),
        ("a b", "a host name must not contain ' '"),
        ("a" * 50 + ".example", "is longer than 56 bytes"),
    ],
)
def test_other_addresses_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        announced(text)
    assert repr(text) in str(caught.value) and reason in str(caught.value)


def test_own_address_is_the_given_one_or_that_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_IP_ADDR", "10.0.0.1")
    assert own_address("10.0.0.2") == "10.0.0.2" and own_address("") == own_address(None) == "10.0.0.1"
    with pytest.raises(ConfigError, match="the address 'a b': a host name must not contain ' '"):
        own_address("a b")
    monkeypatch.setenv("GDISPY_IP_ADDR", "a b")
    with pytest.raises(ConfigError, match="GDISPY_IP_ADDR 'a b'"):
        own_address("")


def test_address_is_resolved_without_a_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_, **__: pytest.fail("it was looked up"))
    monkeypatch.setattr(module.socket, "if_nametoindex", lambda name: {"eth0": 2}[name])
    kind = socket.SOCK_STREAM
    assert resolve("10.0.0.1", 5, kind) == [(socket.AF_INET, kind, 0, "", ("10.0.0.1", 5))]
    assert resolve("fe80::1%eth0", 5, kind)[0][4] == ("fe80::1", 5, 0, 2) == resolve("fe80::1%2", 5, kind)[0][4]


def test_name_that_is_invalid_is_an_error_of_the_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise UnicodeError("label too long")

    monkeypatch.setattr(module.socket, "getaddrinfo", fail)
    with pytest.raises(socket.gaierror):
        resolve("x" * 70, 5, socket.SOCK_STREAM)
