"""A relay on the loopback interface, of which a peer with the secret asks for what it must not do."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket as gevent_socket

from gdispy.discovery import relay_pairs
from gdispy.errors import PeerRejected, ProtocolError
from gdispy.protocol.discovery import HERE, OPENED, PACKET_BYTES, REFUSED, THROUGH, Packet, pack, unpack
from gdispy.protocol.handshake import FIRST_BYTES, MAGIC
from gdispy.transport.credentials import find_secret
from tests.support.daemons import Daemon
from tests.support.waiting import eventually


@dataclass
class Asker:
    """Knows the secret, and speaks to a relay."""

    relay: Daemon
    key: bytes

    def packet(self, kind: int, port: int = 0, address: str = "", via: str = "") -> bytes:
        told = Packet(kind, secrets.token_bytes(16), time.time(), port, address, "", 0, via)
        return pack(self.key, told, secrets.token_bytes(24))

    def here(self, port: int, address: str = "", via: str = "") -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.sendto(self.packet(HERE, port, address, via), self.relay.place)

    @contextlib.contextmanager
    def through(self, place: str) -> Iterator[tuple[socket.socket, Packet]]:
        with socket.create_connection(self.relay.place, timeout=10) as sock:
            sock.sendall(self.packet(THROUGH, 0, place))
            data = b""
            while len(data) < PACKET_BYTES:
                more = sock.recv(PACKET_BYTES - len(data))
                assert more
                data += more
            yield sock, unpack(self.key, data)

    def kind(self, place: str) -> int:
        with self.through(place) as (_, answer):
            return answer.kind

    def reason(self, place: str) -> str:
        with self.through(place) as (_, answer):
            return answer.name


@pytest.fixture
def asker(tmp_path: Path, secret_file: str) -> Iterator[Asker]:
    relay = Daemon(tmp_path, "relay", "-i", "127.0.0.1", "-p", "0", "--secret-file", secret_file, script="gdispy")
    try:
        yield Asker(relay, find_secret(secret_file=secret_file).for_udp())
    finally:
        relay.stop()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Any other server of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(10)
        yield sock


def test_relay_connects_to_where_a_node_was_heard_and_passes_what_gdispy_says(
    asker: Asker, server: socket.socket
) -> None:
    port = server.getsockname()[1]
    asker.here(port)
    eventually(lambda: asker.kind(f"127.0.0.1:{port}") == OPENED)
    server.accept()[0].close()
    with asker.through(f"127.0.0.1:{port}") as (sock, answer):
        assert answer.kind == OPENED
        first = MAGIC + bytes(FIRST_BYTES - 8)
        sock.sendall(first)
        with server.accept()[0] as goal:
            assert goal.recv(FIRST_BYTES, socket.MSG_WAITALL) == first
            goal.sendall(b"answer")
            assert sock.recv(6, socket.MSG_WAITALL) == b"answer"
    # Another protocol does not pass.
    with asker.through(f"127.0.0.1:{port}") as (sock, answer):
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):  # It has not read all of that.
            assert sock.recv(1) == b""
        with server.accept()[0] as goal:
            assert goal.recv(1) == b""


def test_relay_connects_to_nothing_because_a_packet_says_so(asker: Asker, server: socket.socket) -> None:
    port = server.getsockname()[1]
    with socket.create_server(("127.0.0.2", 0)) as other:
        other_port = other.getsockname()[1]
        for address in ("127.0.0.2", f"127.0.0.2:{other_port}", "localhost", "169.254.169.254", "[::1]"):
            asker.here(other_port, address)
        asker.here(asker.relay.place[1])
        asker.here(port, "", f"127.0.0.1:{port}")  # As if another relay had passed it on.
        asker.here(other_port)  # That one counts, and comes last.
        eventually(lambda: asker.reason(f"127.0.0.1:{other_port}").startswith("no gdispy-node is listening"))
        places = [f"127.0.0.2:{other_port}", f"localhost:{other_port}", f"169.254.169.254:{other_port}"]
        places += [f"[::1]:{other_port}", f"127.0.0.1:{port}", f"127.0.0.1:{asker.relay.place[1]}", "", "127.0.0.1"]
        for place in places:
            expected = "no node can be at the address" if "localhost" in place else "no node at "
            assert asker.kind(place) == REFUSED and asker.reason(place).startswith(expected), place
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_question_that_is_sent_again_is_not_answered(asker: Asker) -> None:
    question = asker.packet(THROUGH, 0, "127.0.0.1:9")
    for expected in (PACKET_BYTES, 0):
        with socket.create_connection(asker.relay.place, timeout=10) as sock:
            sock.sendall(question)
            assert len(sock.recv(PACKET_BYTES, socket.MSG_WAITALL)) == expected


# Pairs, in this process


def pair() -> tuple[Any, Any]:
    return gevent_socket.socketpair()


def test_places_for_pairs_are_bounded() -> None:
    pairs = relay_pairs.JoinedConnections(2)
    with pairs.place(), pairs.place(), pytest.raises(ProtocolError, match="2 connections are relayed already"):
        pairs.place().__enter__()
    with pairs.place(), pairs.place():
        pass


@pytest.mark.parametrize("half_open", [False, True])
def test_pair_over_which_nothing_passes_ends(half_open: bool) -> None:
    (outer, asker), (goal, node) = pair(), pair()
    outer.sendall(MAGIC)
    if half_open:
        outer.shutdown(socket.SHUT_WR)
    limits = (60.0, 0.05) if half_open else (0.05, 60.0)
    with gevent.Timeout(10):
        relay_pairs.join(asker, goal, *limits)
    assert node.recv(8) == MAGIC
    for sock in (outer, asker, goal, node):
        sock.close()


def test_asker_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdispy.config.MsgTimeout", 1.0)
    monkeypatch.setattr("gdispy.discovery.relay_pairs.config.msg_timeout", lambda: 0.05)
    (outer, asker), (goal, node) = pair(), pair()
    with pytest.raises(TimeoutError), gevent.Timeout(10):
        relay_pairs.join(asker, goal)
    outer.close()
    with pytest.raises(PeerRejected), gevent.Timeout(10):
        relay_pairs.join(asker, goal)
    for sock in (asker, goal, node):
        sock.close()
