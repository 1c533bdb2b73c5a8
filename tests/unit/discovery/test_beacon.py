"""Packets of discovery as a beacon hears and sends them; over loopback only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from gdispy.discovery import beacon as module
from gdispy.discovery.beacon import HERE, LOOK, Beacon, Beacons, Packet, broadcast_addresses
from gdispy.protocol import discovery
from gdispy.protocol.discovery import CLOCK_LIMIT

KEY = b"k" * 32
LIMIT = 20.0


class Heard:
    """The packets that a beacon was told of."""

    def __init__(self) -> None:
        self.packets: list[tuple[Packet, tuple[str, int]]] = []
        self.event = gevent.event.Event()

    def __call__(self, beacon: Beacon, packet: Packet, address: tuple[str, int]) -> None:
        self.packets.append((packet, address))
        self.event.set()

    def wait(self, count: int) -> None:
        with gevent.Timeout(LIMIT):
            while len(self.packets) < count:
                self.event.wait()
                self.event.clear()


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        found: int = sock.getsockname()[1]
        return found


@pytest.fixture
def make(port: int) -> Iterator[Callable[..., tuple[Beacon, Heard]]]:
    made: list[Beacon] = []

    def beacon(instance: bytes, key: bytes = KEY, start: bool = True) -> tuple[Beacon, Heard]:
        heard = Heard()
        made.append(Beacon(key, instance, "127.0.0.1", port, heard))
        if start:
            made[-1].start()
        return made[-1], heard

    yield beacon
    for each in made:
        each.close()


def packet(instance: bytes = b"o" * 16, at: float = 0.0) -> Packet:
    return Packet(HERE, instance, at or time.time(), 51348, "", "name", 0, "")


def sealed(what: Packet, key: bytes = KEY, nonce: bytes = b"n" * 24) -> bytes:
    return discovery.pack(key, what, nonce)


def test_broadcast_is_heard_by_all_who_share_the_port_but_not_by_its_sender(make: Any, port: int) -> None:
    first, to_first = make(b"1" * 16)
    _, to_second = make(b"2" * 16)
    _, to_third = make(b"3" * 16)
    first.broadcast(HERE, 51348, port, "", "n1")
    to_second.wait(1)
    to_third.wait(1)
    assert {heard.packets[0][0].name for heard in (to_second, to_third)} == {"n1"}
    assert to_first.packets == []


def test_answer_goes_to_where_the_question_came_from(make: Any, port: int) -> None:
    first, to_first = make(b"1" * 16)
    second, to_second = make(b"2" * 16)
    first.broadcast(LOOK, 0, port)
    to_second.wait(1)
    second.tell(HERE, 51348, to_second.packets[0][1], "", "n2")
    to_first.wait(1)
    answer, (host, _) = to_first.packets[0]
    assert (answer.kind, answer.port, answer.name, host) == (HERE, 51348, "n2", "127.0.0.1")


def test_packet_of_another_secret_a_repeated_one_and_noise_are_not_handed_on(make: Any) -> None:
    beacon, heard = make(b"1" * 16, start=False)
    good = sealed(packet())
    for data in (b"", b"noise", good[:-1], sealed(packet(), key=b"x" * 32, nonce=b"m" * 24), good, good):
        beacon._hear(data, ("127.0.0.1", 9))
    assert len(heard.packets) == 1


def test_packet_of_a_wrong_clock_is_ignored_and_told_once(make: Any, caplog: Any) -> None:
    beacon, heard = make(b"1" * 16, start=False)
    for number in range(3):
        old = packet(at=time.time() - CLOCK_LIMIT - 100)
        beacon._hear(sealed(old, nonce=bytes([number]) * 24), ("127.0.0.1", 9))
    assert heard.packets == []
    assert caplog.text.count("its clock differs by") == 1


def test_what_fails_at_one_packet_does_not_end_the_hearing(make: Any, port: int, caplog: Any) -> None:
    beacon, heard = make(b"1" * 16)
    good, beacon._on_packet = beacon._on_packet, lambda *args: 1 / 0
    other, _ = make(b"2" * 16)
    other.broadcast(HERE, 1, port)
    with gevent.Timeout(LIMIT):
        while "could not be handled" not in caplog.text:
            gevent.idle()
    beacon._on_packet = good
    other.broadcast(HERE, 2, port)
    heard.wait(1)
    assert heard.packets[0][0].port == 2


def test_address_that_cannot_be_reached_is_no_error(make: Any) -> None:
    beacon, _ = make(b"1" * 16, start=False)
    beacon.tell(HERE, 1, ("::1", 9))  # It has no IPv6 socket.
    beacon.tell(HERE, 1, ("203.0.113.1", 0))
    assert beacon.resolve("no such name", 1) is None
    assert beacon.resolve("127.0.0.1", 7) == ("127.0.0.1", 7)


def test_loopback_stays_on_this_machine() -> None:
    assert broadcast_addresses("127.0.0.1") == ["127.255.255.255"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "interfaces", lambda ip_addr: [])
        assert broadcast_addresses("192.0.2.1") == ["255.255.255.255"]
        assert broadcast_addresses("") == ["255.255.255.255", "127.255.255.255"]


def test_one_address_of_several_that_cannot_be_used_is_told_and_left_out(port: int, caplog: Any) -> None:
    several = Beacons(KEY, b"1" * 16, ["127.0.0.1", "203.0.113.1"], port, lambda *args: None)
    several.close()
    assert "no broadcasts from the address 203.0.113.1" in caplog.text
    with pytest.raises(OSError):
        Beacons(KEY, b"1" * 16, ["203.0.113.1"], port, lambda *args: None)
