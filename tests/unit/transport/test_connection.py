"""One connection over a pair of sockets: what arrives, and how it ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from gdispy.errors import ForkedError
from gdispy.protocol.handshake import Keys
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Message, Progress, Recall
from gdispy.protocol.payload import MemoryPayload, joined
from gdispy.protocol.wire import MessageRefused
from gdispy.transport import connection as module
from gdispy.transport.connection import Connection, Handlers, new_identity
from tests.unit.builders import C, hello

ONE, OTHER = b"1" * 32, b"2" * 32
BINDING_ONE, BINDING_OTHER = b"3" * 32, b"4" * 32
LIMIT = 10.0


class Side:
    """One end with what it has heard."""

    def __init__(self, sock: Any, keys: Keys) -> None:
        self.messages: list[Message] = []
        self.reasons: list[str] = []
        self.news = gevent.event.Event()
        self.answer: Callable[[Message], None] = lambda message: None
        self.connection = Connection(sock, keys, Handlers(self._on_messages, self._on_closed))
        self.socket = sock

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        self.messages += messages
        for message in messages:
            self.answer(message)
        self.news.set()

    def _on_closed(self, connection: Connection, reason: str) -> None:
        self.reasons.append(reason)
        self.news.set()

    def wait(self, condition: Callable[[], Any]) -> None:
        with gevent.Timeout(LIMIT):
            while not condition():
                self.news.wait()
                self.news.clear()

    def end(self) -> str:
        """Wait for the end; the reason, which is told once."""
        self.wait(lambda: self.reasons)
        gevent.idle()
        (reason,) = self.reasons
        return reason


def tcp_pair() -> tuple[Any, Any]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    return one, other


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    one, other = tcp_pair()
    pair = (
        Side(one, Keys(ONE, OTHER, b"", BINDING_ONE, BINDING_OTHER)),
        Side(other, Keys(OTHER, ONE, b"", BINDING_OTHER, BINDING_ONE)),
    )
    yield pair
    for side in pair:
        side.connection.abort("the test is over")


@pytest.fixture
def running(sides: tuple[Side, Side]) -> tuple[Side, Side]:
    for side in sides:
        side.connection.start()
    return sides


def progress(data: bytes) -> Progress:
    return Progress(C, JobId(1), 1, 0, MemoryPayload([data]), "")


def test_what_was_sent_before_the_start_arrives_in_order(sides: Any) -> None:
    one, other = sides
    one.connection.start()
    for number in range(1, 101):
        one.connection.send(Recall(C, number))
    other.connection.start()
    other.wait(lambda: len(other.messages) == 100)
    assert [message.count for message in other.messages] == list(range(1, 101))
    assert one.connection.backlog == 0
    assert one.connection.sent == other.connection.received > 0


def test_large_payloads_go_both_ways_at_once(running: Any) -> None:
    data = os.urandom(20 << 20)
    for side in running:
        side.connection.send(progress(data))
        side.answer = lambda message, side=side: side.connection.acknowledge(side.connection.taken())
    for side in running:
        side.wait(lambda side=side: side.messages)
        assert joined(side.messages[0].value) == data


def test_closing_sends_what_is_queued_and_says_why(running: Any) -> None:
    one, other = running
    one.connection.send(Recall(C, 1))
    one.connection.close("that is all")
    one.connection.send(Recall(C, 2))
    assert other.end() == one.end() == "that is all"
    assert [message.count for message in other.messages] == [1]
    one.connection.close("again")
    one.connection.abort("again")
    gevent.idle()
    assert one.reasons == ["that is all"]


def test_abort_ends_it_at_once_for_both(running: Any) -> None:
    one, other = running
    one.connection.abort("enough")
    assert one.reasons == ["enough"]
    assert "the connection broke" in other.end()


def test_peer_that_is_gone_without_a_goodbye_is_told(running: Any) -> None:
    one, other = running
    other.socket.shutdown(socket.SHUT_RDWR)
    assert "closed it unexpectedly" in one.end()


def test_one_changed_bit_ends_the_connection_and_nothing_of_it_arrives(sides: Any) -> None:
    one, other = sides
    other.connection.start()
    frame = bytearray(b"".join(map(bytes, _frames(one, Recall(C, 1)))))
    frame[-1] ^= 1
    one.socket.sendall(frame)
    assert other.end() != "" and other.messages == []


def _frames(side: Side, message: Message) -> list[Any]:
    side.connection._sender.put(message)
    return side.connection._next_frames()


def test_recorded_frame_is_not_taken_twice(sides: Any) -> None:
    one, other = sides
    other.connection.start()
    frames = b"".join(map(bytes, _frames(one, Recall(C, 1))))
    one.socket.sendall(frames)
    other.wait(lambda: other.messages)
    one.socket.sendall(frames)
    assert other.end() != "" and [message.count for message in other.messages] == [1]


def test_message_that_cannot_be_used_ends_it_and_the_other_side_hears_why(running: Any) -> None:
    one, other = running

    def refuse(message: Message) -> None:
        raise MessageRefused("there is no such computation")

    other.answer = refuse
    one.connection.send(Recall(C, 1))
    expected = "a message is refused: there is no such computation"
    assert other.end() == expected
    assert one.end() == expected


def test_defect_while_a_message_is_handled_ends_this_connection_only(running: Any, caplog: Any) -> None:
    one, other = running

    def fail(message: Message) -> None:
        raise KeyError("planted")

    other.answer = fail
    one.connection.send(Recall(C, 1))
    assert "a defect of gdispy on this side: KeyError('planted')" in other.end()
    assert "Traceback" in caplog.text and caplog.text.count("KeyError") >= 1


def test_reader_of_a_full_socket_does_not_hold_up_other_greenlets(running: Any) -> None:
    one, other = running
    one.connection.send(progress(bytes(64 << 20)))  # More than the window: it waits for credit.
    turns = 0
    while other.connection.received < 1 << 20:
        gevent.idle()
        turns += 1
        assert turns < 1_000_000
    one.connection.abort("done")
    assert other.end()


def test_peer_that_asks_and_reads_nothing_is_let_go(sides: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWERS_LIMIT", 4 << 20)
    _, other = sides
    other.connection.start()
    for _ in range(10_000):
        if other.reasons:
            break
        other.connection.answer(progress(bytes(1 << 16)))
        gevent.idle()
    assert "bytes of answers were not read" in other.end()


def test_peer_that_reads_its_answers_may_ask_on(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWERS_LIMIT", 4 << 20)
    one, other = running
    one.answer = lambda message: one.connection.acknowledge(one.connection.taken())
    for number in range(100):
        other.connection.answer(progress(bytes(1 << 16)))
        one.wait(lambda number=number: len(one.messages) > number)
    assert other.reasons == []


def test_who_asks_hears_once_whether_the_peer_has_the_secret(sides: Any) -> None:
    one, other = sides
    proven: list[bool] = []
    other.connection.when_proven(proven.append)
    other.connection.start()
    gevent.idle()
    assert proven == []
    one.connection.start()
    one.connection.send(Recall(C, 1))
    other.wait(lambda: other.messages)
    one.connection.close("done")
    other.end()
    assert proven == [True]
    other.connection.when_proven(proven.append)
    assert proven == [True, False]


def test_peer_whose_connection_ends_before_has_proven_nothing(sides: Any) -> None:
    one, other = sides
    proven: list[bool] = []
    other.connection.when_proven(proven.append)
    other.connection.start()
    one.connection.abort("no")
    other.socket.shutdown(socket.SHUT_RDWR)
    other.end()
    assert proven == [False]


def test_identity_is_good_on_its_own_connection_only(running: Any) -> None:
    one, other = running
    identity = new_identity()
    one.connection.introduce(hello(identity.instance), identity)
    other.wait(lambda: other.messages)
    said = other.messages[0]
    other.connection.check_identity(said)
    with pytest.raises(MessageRefused):
        one.connection.check_identity(said)  # Reflected: it is bound to the other direction.
    with pytest.raises(MessageRefused):
        other.connection.check_identity(hello(new_identity().instance))


def test_peer_that_was_one_in_the_handshake_cannot_be_another_now(running: Any) -> None:
    one, other = running
    identity = new_identity()
    other.connection._keys = Keys(OTHER, ONE, b"x" * 16, BINDING_OTHER, BINDING_ONE)
    one.connection.introduce(hello(identity.instance), identity)
    other.wait(lambda: other.messages)
    with pytest.raises(MessageRefused, match="a different instance"):
        other.connection.check_identity(other.messages[0])


def test_connection_that_was_never_started_tells_nobody_of_its_end(sides: Any) -> None:
    one, _ = sides
    one.connection.abort("not needed")
    gevent.idle()
    assert one.reasons == []


def test_child_process_sends_nothing_with_the_keys_of_its_parent(sides: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = sides
    monkeypatch.setattr(module.os, "getpid", lambda: -1)
    with pytest.raises(ForkedError):
        _frames(one, Recall(C, 1))


def test_what_a_peer_says_as_a_reason_cannot_change_a_terminal(running: Any) -> None:
    one, other = running
    one.connection.close("\x1b[2Jgone\n" + "x" * 100_000)
    reason = other.end()
    assert "\x1b" not in reason and "\n" not in reason and len(reason) < 10_000
