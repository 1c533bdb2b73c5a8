"""What somebody with the secret writes reaches no log, no table and no exception unescaped, or longer than 1,024 bytes,
in each role that a connection leads to; and one peer cannot fill a log."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import JobCluster, SharedJobCluster, net
from gdispy.client.status import table
from gdispy.errors import ConnectFailed
from gdispy.protocol.discovery import PACKET_BYTES, REFUSED, Packet, pack
from gdispy.protocol.limits import PRINTED_LIMIT
from gdispy.protocol.messages import Cpus, Hello, Inventory, Notice
from gdispy.protocol.secretbox import NONCE_BYTES
from gdispy.protocol.texts import BUSY
from gdispy.protocol.texts import REFUSED as MESSAGE_REFUSED
from gdispy.protocol.wire import BYE
from gdispy.transport.connection import Handlers
from gdispy.transport.credentials import find_secret
from tests.attack.peer import CLIENT, COMING, SCHEDULER, Peer, Refused
from tests.support.daemons import Daemon, run_script
from tests.support.waiting import eventually

Start = Callable[..., Daemon]

#: What a terminal obeys, what ends a line, what changes the direction of text; and too much of it.
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\r\nevil line\u2028\u202egnp\u2066\u200f\x00" + "x" * 900
REASONS = [HOSTILE, f"{BUSY}{HOSTILE}", f"{MESSAGE_REFUSED}{HOSTILE}"]
SHOWN = r"\x1b[2J\x1b]0;title"


def clean(text: str) -> bool:
    """Whether all lines are printable, and none has more of a peer's than it may."""
    lines = text.split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert "\nevil line" not in text
    assert [line for line in lines if "x" * (PRINTED_LIMIT + 1) in line or len(line.encode()) > 4 * PRINTED_LIMIT] == []
    return True


def hello(role: str) -> Hello:
    return Hello(role, b"", HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1, "", 1.0)


def say_goodbye(peer: Peer, reason: str) -> None:
    peer.chunk(bytes([BYE]), reason.encode()[:1024])
    peer.until_closed(2)


@pytest.fixture
def psk(secret_file: str) -> bytes:
    return find_secret("", secret_file).for_tcp()


@contextlib.contextmanager
def false_listener(psk: bytes, roles: bytes, serve: Callable[[Peer, int], None]) -> Iterator[str]:
    """Where somebody is who lets in those with the secret, and does as he likes with each connection."""
    server = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def work() -> None:
        for number in range(200):
            if is_over.is_set():
                return
            with contextlib.suppress(Refused), Peer.accept(server, psk, roles, 0.2) as peer:
                serve(peer, number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        is_over.set()
        thread.join(30)
        server.close()


@pytest.mark.parametrize("reason", REASONS, ids=["other", "busy", "refused"])
def test_a_scheduler_at_a_node(start_node: Start, psk: bytes, reason: str) -> None:
    node = start_node("--cpus", "1")
    with Peer.connect(node.place, psk, SCHEDULER) as peer:
        peer.send(hello("scheduler"))
        assert peer.until(Inventory)
        with Peer.connect(node.place, psk, SCHEDULER) as second:  # It hears by whom the node is used.
            second.send(hello("scheduler"))
            second.until_closed()
            assert second.reason.startswith(BUSY) and clean(second.reason)
            assert "share nodes between programs" in second.reason
        say_goodbye(peer, reason)
    eventually(lambda: node.log.read_text().count("disconnected"))
    assert clean(node.log.read_text()) and SHOWN in node.log.read_text()


@pytest.mark.parametrize("reason", REASONS, ids=["other", "busy", "refused"])
@pytest.mark.parametrize(("roles", "role"), [(CLIENT, "client"), (COMING, "node")])
def test_a_client_and_a_node_at_a_shared_scheduler(
    start_scheduler: Start, secret_file: str, psk: bytes, roles: bytes, role: str, reason: str
) -> None:
    scheduler = start_scheduler("-i", "127.0.0.1", "--nodes", "127.0.0.1:9")
    place = f"{scheduler.place[0]}:{scheduler.place[1]}"
    with Peer.connect(scheduler.place, psk, roles) as peer:
        peer.send(hello(role), *([Inventory([], [], [])] if role == "node" else []))
        assert peer.until(Hello)
        if role == "node":
            peer.send(Cpus(0, HOSTILE))
            shown = eventually(lambda: run_script("gdispy", "status", place, "--secret-file", secret_file).stdout)
            assert clean(shown.decode())
        say_goodbye(peer, reason)
    eventually(lambda: "disconnected" in scheduler.log.read_text())
    assert clean(scheduler.log.read_text()) and SHOWN in scheduler.log.read_text()


@pytest.mark.parametrize("reason", REASONS, ids=["other", "busy", "refused"])
def test_a_false_node_of_a_program(secret_file: str, psk: bytes, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()

    def serve(peer: Peer, number: int) -> None:
        if peer.until(Hello) is None:
            return
        peer.send(hello("node"), Inventory([], [], []), Cpus(0, HOSTILE))
        told.wait(20)
        say_goodbye(peer, reason)

    with (
        false_listener(psk, SCHEDULER, serve) as place,
        caplog.at_level("DEBUG", "gdispy"),
        JobCluster(abs, nodes=[place], secret_file=secret_file, ip_addr="127.0.0.1") as made,
    ):
        try:
            made.submit(-1)
            problems = eventually(lambda: [p for p in made.status().problems if "not accepting jobs" in p])
            assert all(map(clean, problems)) and SHOWN in problems[0]
            assert clean(table(made.status(), 1.0))
            told.set()
            eventually(lambda: "disconnected from the node" in caplog.text)
            assert all(map(clean, made.status().problems))
        finally:
            told.set()
            made.close(timeout=1, terminate=True)
    assert all(clean(record.getMessage()) for record in caplog.records)
    assert SHOWN in caplog.text


@pytest.mark.parametrize("reason", REASONS, ids=["other", "busy", "refused"])
def test_a_false_scheduler_of_a_node(start_node: Start, psk: bytes, reason: str) -> None:
    def serve(peer: Peer, number: int) -> None:
        peer.until(Hello)
        peer.send(hello("scheduler"))
        peer.until(Inventory)
        say_goodbye(peer, f"{reason[:30]}{number}{reason[30:]}")

    with false_listener(psk, COMING, serve) as place:
        began = time.monotonic()
        node = start_node("--cpus", "1", "--connect", place)
        eventually(lambda: node.log.read_text().count("trying again") >= 2)
        took = time.monotonic() - began
        text = node.log.read_text()
    assert clean(text) and SHOWN in text
    assert text.count("trying again") <= took + 2  # Each time with another text.


@pytest.mark.parametrize("reason", REASONS[:1] + REASONS[2:], ids=["other", "refused"])
def test_a_false_shared_scheduler_of_a_program(
    secret_file: str, psk: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    def serve(peer: Peer, number: int) -> None:
        opened = peer.until(Hello)
        if opened is None:
            return
        computation = next((each.computation for each in peer.read(2) if hasattr(each, "computation")), None)
        peer.send(hello("scheduler"), *([Notice(computation, HOSTILE)] if computation else []))
        say_goodbye(peer, reason)

    with false_listener(psk, CLIENT, serve) as place, caplog.at_level("DEBUG", "gdispy"):
        made = SharedJobCluster(abs, scheduler_node=place, secret_file=secret_file, ip_addr="127.0.0.1")
        try:
            job = made.submit(-1)
            eventually(lambda: "disconnected from the scheduler" in caplog.text)
        finally:
            made.cancel(job)
            made.close(timeout=1, terminate=True)
    assert all(clean(record.getMessage()) for record in caplog.records)
    assert SHOWN in caplog.text


def test_a_false_relay(psk: bytes) -> None:
    key = bytes(range(32))
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            server.settimeout(10)
            sock = server.accept()[0]
            with sock:
                sock.recv(PACKET_BYTES)
                name = HOSTILE.encode()[:60].decode("utf-8", "ignore")
                sock.sendall(pack(key, Packet(REFUSED, bytes(16), time.time(), 0, "", name), bytes(NONCE_BYTES)))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        relay = net.RelayAddress("127.0.0.1", server.getsockname()[1], key)
        handlers = Handlers(lambda *_: None, lambda *_: None)
        with pytest.raises(ConnectFailed) as caught:
            net.connect("127.0.0.1", 9, psk, SCHEDULER, handlers, relay=relay)
        assert clean(str(caught.value)) and SHOWN in str(caught.value)
    finally:
        thread.join(20)
        server.close()


def test_a_peer_that_comes_and_goes_brings_about_a_line_of_each_kind_a_second(
    start_node: Start, start_scheduler: Start, psk: bytes
) -> None:
    for daemon, roles, role in (
        (start_node("--cpus", "1"), SCHEDULER, "scheduler"),
        (start_scheduler(), CLIENT, "client"),
    ):
        before, began = lines_of(daemon.log), time.monotonic()
        for _ in range(60):
            with Peer.connect(daemon.place, psk, roles) as peer:
                peer.send(hello(role))
                peer.until(Hello)
                say_goodbye(peer, HOSTILE)
        took = time.monotonic() - began
        assert lines_of(daemon.log) - before <= 2 * (took + 2)


def lines_of(path: Path) -> Any:
    return len(path.read_text().splitlines())
