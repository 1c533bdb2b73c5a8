"""Pairs of connections of a relay. With real sockets: `tests/integration/test_relay.py`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gdispy.discovery import relay_pairs as module
from gdispy.discovery.relay_pairs import JoinedConnections, join
from gdispy.errors import PeerRejected, ProtocolError
from gdispy.protocol.handshake import MAGIC


class Connection:
    """An end of a connection: gives these parts, then the end of the data, or nothing more."""

    def __init__(self, *parts: Any, ends: bool = True) -> None:
        self.parts = [*parts]
        self.ends = ends
        self.sent = b""
        self.shut: list[int] = []
        self.is_closed = False
        self._never = Event()

    def recv(self, size: int) -> bytes:
        if not self.parts:
            if not self.ends:
                self._never.wait()
            return b""
        part = self.parts.pop(0)
        if isinstance(part, Exception):
            raise part
        part, rest = part[:size], part[size:]
        if rest:
            self.parts.insert(0, rest)
        return bytes(part)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def shutdown(self, how: int) -> None:
        self.shut.append(how)
        if how == module.socket.SHUT_RDWR:
            self._never.set()

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def limit() -> Any:
    with gevent.Timeout(10):
        yield


@pytest.mark.parametrize("beginning", [MAGIC, MAGIC[:6] + b"99", b"\x16\x03\x01\x02\x00\x01"])
def test_all_bytes_are_copied_in_both_directions_and_the_ends_passed_on(beginning: bytes) -> None:
    asker, goal = Connection(beginning + b" question", b" and more"), Connection(b"answer")
    join(asker, goal)
    assert goal.sent == beginning + b" question and more" and asker.sent == b"answer"
    assert asker.shut == goal.shut == [module.socket.SHUT_WR]
    assert not asker.is_closed and not goal.is_closed


@pytest.mark.parametrize("beginning", [b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-", bytes(8), b"\x16\x02\x00\x00\x00\x00"])
def test_no_byte_of_another_protocol_reaches_the_node(beginning: bytes) -> None:
    asker, goal = Connection(beginning), Connection()
    with pytest.raises(ProtocolError, match="not a gdispy connection"):
        join(asker, goal)
    assert goal.sent == b""


def test_beginning_may_arrive_in_parts() -> None:
    asker, goal = Connection(*(MAGIC[place : place + 1] for place in range(len(MAGIC)))), Connection()
    join(asker, goal)
    assert goal.sent == MAGIC


def test_connection_that_ends_before_its_beginning_is_not_joined() -> None:
    asker, goal = Connection(MAGIC[:3]), Connection()
    with pytest.raises(PeerRejected):
        join(asker, goal)
    assert goal.sent == b""


def test_failure_of_one_direction_ends_both() -> None:
    asker, goal = Connection(MAGIC, OSError("reset")), Connection(ends=False)
    join(asker, goal)
    assert module.socket.SHUT_RDWR in asker.shut and module.socket.SHUT_RDWR in goal.shut


@pytest.mark.parametrize(("ends", "limit"), [(False, 7200.0), (True, 60.0)])
def test_pair_without_data_ends_at_its_limit_which_is_shorter_if_one_direction_has_ended(
    ends: bool, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    checks: list[float] = []
    real = gevent.joinall

    def joinall(greenlets: Any, timeout: float) -> Any:
        for _ in range(5):
            gevent.idle()
        checks.append(timeout)
        now[0] += timeout
        return real(greenlets, timeout=0)

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module.gevent, "joinall", joinall)
    asker, goal = Connection(MAGIC, ends=ends), Connection(ends=False)
    join(asker, goal)
    assert now[0] == limit + module.CHECK_INTERVAL
    assert set(checks) == {module.CHECK_INTERVAL}


def test_place_for_a_pair_is_free_again_after_its_end_and_after_a_failure() -> None:
    pairs = JoinedConnections(1)
    for _ in range(3):
        with pytest.raises(OSError, match="reset"), pairs.place():
            with pytest.raises(ProtocolError, match="1 connections are relayed already"), pairs.place():
                pass
            raise OSError("reset")
