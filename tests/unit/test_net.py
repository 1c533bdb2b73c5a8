"""Connecting raises ConnectFailed or PeerRejected, whatever a step of it raises, and leaves no socket open."""

from __future__ import annotations

import errno
import socket as plain_socket
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gdispy import net
from gdispy.errors import ConnectFailed, ProtocolError
from gdispy.net import RelayAddress, connect, reach
from gdispy.transport.connection import Handlers

HANDLERS = Handlers(lambda *_: None, lambda *_: None)
ERRORS = [
    OSError(errno.EMFILE, "too many open files"),
    UnicodeError("label too long"),
    ValueError("no such thing"),
    OverflowError("port must be 0-65535"),
    ProtocolError("nonsense"),
]


class Socket:
    """A socket that does what is wanted, or raises."""

    family = plain_socket.AF_INET

    def __init__(self, failing: str, error: Exception) -> None:
        self._failing, self._error = failing, error
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        if name in ("digest", "seal"):
            raise AttributeError(name)

        def step(*_: Any) -> Any:
            if name == self._failing:
                raise self._error
            return ("127.0.0.1", 9) if name.endswith("name") else 3

        return step

    def close(self) -> None:
        self.closed = True


def connect_to(relay: RelayAddress | None = None, source: str = "") -> Any:
    return connect("127.0.0.1", 9, bytes(32), b"roles", HANDLERS, source, relay=relay, small=True)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["setsockopt", "bind", "connect", "sendall", "recv", "getpeername", "getsockname"])
def test_a_step_that_fails_is_a_failed_connection(step: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Socket(step, error)
    monkeypatch.setattr(net.socket, "socket", lambda *_: made)
    if step.startswith("get"):
        monkeypatch.setattr(net, "_shake_hands", lambda *_: None)
    with pytest.raises((ConnectFailed, net.PeerRejected)):
        connect_to(source="127.0.0.2")
    assert made.closed


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("relay", [None, RelayAddress("127.0.0.1", 9, bytes(32))])
@pytest.mark.parametrize("step", ["resolve", "socket", "tune"])
def test_what_cannot_even_be_tried_is_a_failed_connection(
    step: str, relay: RelayAddress | None, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    made = Socket("", error)
    monkeypatch.setattr(net.socket, "socket", lambda *_: made)
    monkeypatch.setattr(net, "read_exactly", lambda *_: bytes(512))
    monkeypatch.setattr(net.socket if step == "socket" else net, step, fail)
    with pytest.raises((ConnectFailed, net.PeerRejected)):
        connect_to(relay)


@pytest.mark.parametrize(
    "host", ["a" * 70 + ".example", "a..b", "x\udcffy", "nul\0l", "\u2488", "fe80::1%nosuch", "a" * 5000]
)
def test_a_name_that_no_host_can_have_is_a_failed_connection(host: str) -> None:
    with pytest.raises(ConnectFailed):
        reach(host, 9, "gdispy-node", "", 5.0)


def test_an_address_that_has_no_socket_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without IPv6 still has IPv4."""
    made = Socket("", OSError())
    rows = [(family, 1, 0, "", ("x", 1)) for family in (plain_socket.AF_INET6, plain_socket.AF_INET)]

    def make(family: int, kind: int) -> Socket:
        if family == plain_socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "not supported")
        return made

    monkeypatch.setattr(net, "resolve", lambda *_: rows)
    monkeypatch.setattr(net.socket, "socket", make)
    assert reach("both", 1, "gdispy-node", "", 5.0) is made


def test_a_limit_of_the_caller_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(*_: Any) -> None:
        Event().wait(10)

    made = Socket("", OSError())
    monkeypatch.setattr(net.socket, "socket", lambda *_: made)
    monkeypatch.setattr(net, "_shake_hands", wait)
    limit = gevent.Timeout(0.01)
    with pytest.raises(gevent.Timeout) as caught, limit:
        connect_to()
    assert caught.value is limit and made.closed
