"""Discovery under a flood: other greenlets go on, and the log is quiet; what is shorter than an answer is ignored."""

from __future__ import annotations

import errno
import itertools
import logging
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any

import gevent
import msgpack
import pytest

from gdispy.discovery.beacon import Beacon
from gdispy.protocol.discovery import HERE, LOOK, MAGIC, PACKET_BYTES, Packet, pack
from gdispy.protocol.secretbox import seal
from tests.support.waiting import eventually

KEY = bytes(range(32))


class Flood:
    """A socket on which there is always another packet, or error, until there have been enough."""

    def __init__(self, count: int, outcome: Any) -> None:
        self.left = count
        self._outcome = outcome

    def recvfrom(self, size: int) -> Any:
        self.left -= 1
        if self.left <= 0:
            raise OSError(errno.EBADF, "closed")
        if isinstance(self._outcome, OSError):
            raise self._outcome
        return self._outcome, ("127.0.0.1", 9)

    def fileno(self) -> int:
        return 3 if self.left > 0 else -1


@pytest.fixture
def beacon() -> Iterator[Beacon]:
    made = Beacon(KEY, b"i" * 16, "127.0.0.1", 0, lambda *_: None)
    yield made
    made.close()


@pytest.mark.parametrize("data", [b"", MAGIC + bytes(PACKET_BYTES - len(MAGIC)), OSError(errno.ENETDOWN, "down")])
def test_other_greenlets_go_on_under_a_flood(beacon: Beacon, data: Any, caplog: Any) -> None:
    flood, seen = Flood(100 if isinstance(data, OSError) else 5000, data), []
    with caplog.at_level(logging.DEBUG, "gdispy"):
        greenlet = gevent.spawn(beacon._listen, flood)
        while not greenlet.dead:
            seen.append(flood.left)
            gevent.spawn(len, ()).join()
    # None had to wait for more than a few packets.
    assert max(before - after for before, after in itertools.pairwise(seen)) <= 64
    assert len(caplog.records) <= 2


def test_a_packet_that_brings_about_a_defect_does_not_end_the_hearing(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def hear(_: Any, packet: Packet, address: tuple[str, int]) -> None:
        heard.append(packet.name)
        raise LookupError("what nobody has thought of")

    beacon = Beacon(KEY, b"i" * 16, "127.0.0.1", 0, hear)
    other = Beacon(KEY, b"j" * 16, "127.0.0.1", 0, hear)
    try:
        beacon.start()
        place = beacon._senders[socket.AF_INET].getsockname()
        for name in ("first", "second"):
            other.tell(HERE, 1, place, "", name)
            eventually(lambda: gevent.idle() or heard[-1:] == [name], 5)  # noqa: B023
    finally:
        beacon.close()
        other.close()
    assert "nobody has thought of" in caplog.text


def test_nobody_hears_of_a_question_that_is_shorter_than_an_answer() -> None:
    heard: list[Packet] = []
    beacon = Beacon(KEY, b"i" * 16, "127.0.0.1", 0, lambda _, packet, address: heard.append(packet))
    try:
        beacon.start()
        place = beacon._senders[socket.AF_INET].getsockname()
        long, short = (Packet(LOOK, secrets.token_bytes(16), time.time(), 0, "", name) for name in ("long", ""))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.sendto(_unpadded(KEY, short), place)
            sock.sendto(pack(KEY, long, secrets.token_bytes(24)), place)
            with gevent.Timeout(10):
                while not heard:
                    gevent.idle()
        assert heard == [long]
    finally:
        beacon.close()


def _unpadded(key: bytes, packet: Packet) -> bytes:
    nonce = secrets.token_bytes(24)
    return MAGIC + nonce + seal(key, nonce, msgpack.packb([*vars(packet).values(), b""]))
