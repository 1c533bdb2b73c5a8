"""How a listener judges the beginning of a connection. With peers: `tests/integration/test_strangers.py`."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy import config
from gdispy.protocol.handshake import FIRST_BYTES, MAGIC
from gdispy.protocol.roles import CLIENT_TO_SCHEDULER
from gdispy.transport import listener as module
from gdispy.transport.listener import Listener, listening_sockets

PSK = bytes(range(32))


class Bound:
    def getsockname(self) -> tuple[str, int]:
        return "10.0.0.1", 51347

    def close(self) -> None: ...


class Made:
    """A listener without sockets: strangers send the bytes of `data`, then nothing, or an end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tls: Any = None) -> None:
        self.data: dict[int, Any] = {}
        self.written: dict[int, bytes] = {}
        self.closed: list[int] = []
        self.begun: list[Any] = []
        self.logged: list[str] = []
        self.watching: list[int] = []
        system = SimpleNamespace(
            read=self._read, write=self.written.__setitem__, close=self.closed.append, set_blocking=lambda fd, on: None
        )
        monkeypatch.setattr(module, "os", system)
        monkeypatch.setattr(module, "listening_sockets", lambda host, port: [Bound()])
        self.listener: Any = Listener("", 0, {CLIENT_TO_SCHEDULER: [PSK]}, b"i" * 16, lambda *_: None, tls)  # type: ignore[arg-type]
        self.listener._loop = SimpleNamespace(io=self._io)
        self.listener._begin = lambda stranger, work, *args: self.begun.append((stranger.fd, work))
        self.listener._log = lambda reason, host, kind: self.logged.append(reason)

    def _io(self, fd: int, events: int) -> Any:
        self.watching.append(fd)
        return SimpleNamespace(start=lambda *_: None, stop=lambda: None, close=lambda: None)

    def _read(self, fd: int, size: int) -> bytes:
        rest = self.data[fd]
        if rest is None:
            return b""
        if isinstance(rest, Exception):
            raise rest
        if not rest:
            raise BlockingIOError
        self.data[fd] = rest[size:]
        return bytes(rest[:size])

    def arrive(self, fd: int, data: Any, host: str = "192.0.2.7") -> None:
        self.data[fd] = data
        self.listener._arrive(fd, (host, 1))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "it does not speak the gdispy protocol"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "it speaks TLS, and this side has no certfile"),
        (MAGIC + bytes(FIRST_BYTES), "the first message of a handshake does not fit the secret"),
        (None, "it closed the connection during the handshake"),
        (OSError("reset"), "the connection broke: "),
    ],
)
def test_stranger_without_the_secret_gets_no_byte(made: Made, data: Any, reason: str) -> None:
    made.arrive(5, data)
    assert made.closed == [5] and made.written == {} and made.begun == [] and made.listener._strangers == {}
    assert len(made.logged) == 1 and made.logged[0].startswith(reason)


def test_peer_of_another_version_gets_the_version_of_this_side(made: Made) -> None:
    made.arrive(5, MAGIC[:6] + b"99" + bytes(FIRST_BYTES))
    version = config.VERSION.encode()
    assert made.written == {5: MAGIC + bytes([len(version)]) + version} and made.closed == [5]


def test_beginning_may_arrive_byte_by_byte_and_occupies_a_place_meanwhile(made: Made) -> None:
    made.arrive(5, MAGIC[:3])
    assert made.watching == [5] and made.closed == [] and len(made.listener._strangers) == 1
    (number,) = made.listener._strangers
    made.data[5] = b"other protocol"
    made.listener._go_on(number)
    assert made.closed == [5] and made.listener._strangers == {}


def test_slow_stranger_is_closed_at_its_deadline_and_not_before(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    made.arrive(5, MAGIC[:3])
    now[0] += 1.0
    made.arrive(6, MAGIC[:3])
    now[0] = 1000.0 + config.msg_timeout()
    made.listener._sweep()
    assert made.closed == [5] and made.logged == ["it did not finish the handshake in time"]


def test_strangers_of_one_address_displace_each_other_and_no_others(made: Made) -> None:
    made.arrive(1, b"", "198.51.100.1")
    made.listener._places = module.Places(10, 2)
    for fd in (5, 6, 7):
        made.arrive(fd, b"")
    assert made.closed == [5]


def test_closed_listener_closes_all_strangers(made: Made) -> None:
    for fd in (5, 6):
        made.arrive(fd, b"")
    made.listener.close()
    assert sorted(made.closed) == [5, 6]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_addresses_of_one_ipv6_network_count_together(one: str, other: str, is_same: bool) -> None:
    assert (module._network_of(one) == module._network_of(other)) is is_same


def test_port_that_is_in_use_on_ipv6_is_reported_and_ipv4_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def bound(host: str, port: int) -> Any:
        if host == "::":
            raise OSError(module.errno.EADDRINUSE, "in use")
        return Bound()

    monkeypatch.setattr(module, "_listening_socket", bound)
    assert len(listening_sockets("0.0.0.0", 0)) == 1
    assert caplog.messages == ["not listening on IPv6: port 51347 is in use there"]
    assert len(listening_sockets("10.0.0.1", 0)) == 1
