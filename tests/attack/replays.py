"""First messages of honest ones, recorded and sent again by the thousand from many addresses, and held.

Goals: the daemon's descriptors stay bounded, newcomers get in, and nothing is answered or accepted a second time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import Counter, deque

from gdispy.errors import GdispyError
from gdispy.protocol.handshake import NO_CERTIFICATE, SECOND_BYTES, Initiator
from gdispy.protocol.messages import OverviewRequest
from tests.attack.peer import Peer, abort, open_tls, pack, reach, read_up_to, some_source
from tests.attack.site import JOURNAL, NODE, SCHEDULER, TLS_NODE
from tests.attack.stage import Attack, Stage, hello

#: Addresses that the recordings come from, recordings, and connections that are held.
SOURCES = 64
RECORDED = 100
HELD = 4_000


def replay_first_messages(stage: Stage) -> None:
    """Send recorded first messages, each again and again, and hold the connections as long as they last."""
    target = stage.target
    digest = _digest(stage)
    roles = _roles(stage)
    firsts = [Initiator(stage.psk, roles, os.urandom(32), time.time(), digest).first for _ in range(RECORDED)]
    sources = [some_source(stage.chance) for _ in range(SOURCES)]
    held: deque[socket.socket] = deque()
    answers: Counter[int] = Counter()
    waiting: deque[tuple[socket.socket, int]] = deque()
    number = 0
    while stage.goes_on():
        number += 1
        place = number % RECORDED
        sock = _send(target.place, sources[number % SOURCES], firsts[place], stage.psk if target.certfile else b"")
        if sock is None:
            continue
        stage.tried()
        held.append(sock)
        waiting.append((sock, place))
        if len(waiting) > 32:
            _note_answer(stage, answers, *waiting.popleft())
        if len(held) > HELD:
            abort(held.popleft())
    for each in waiting:
        _note_answer(stage, answers, *each)
    stage.row.details["held"] = len(held)
    for sock in held:
        abort(sock)


def _digest(stage: Stage) -> bytes:
    if not stage.target.certfile:
        return NO_CERTIFICATE
    sock, digest = open_tls(reach(stage.target.place), stage.psk)
    sock.close()
    return digest


def _roles(stage: Stage) -> bytes:
    return b"client>scheduler" if stage.target.roles.startswith("client") else b"scheduler>node"


def _send(place: tuple[str, int], source: str, first: bytes, psk: bytes = b"") -> socket.socket | None:
    sock = None
    with contextlib.suppress(OSError):
        sock = reach(place, source, 0.5)
        sock = open_tls(sock, psk)[0] if psk else sock
        sock.sendall(first)
        return sock
    if sock is not None:
        sock.close()
    return None


def _note_answer(stage: Stage, answers: Counter[int], sock: socket.socket, place: int) -> None:
    if sock.fileno() < 0 or len(read_up_to(sock, SECOND_BYTES, 0.2)) < SECOND_BYTES:
        return
    answers[place] += 1
    stage.count("answered")
    if answers[place] > 1:
        stage.accepted("a first message that was answered before")


def replay_sessions(stage: Stage) -> None:
    """Send all that an honest one said on a connection, again: from the first message to its frames."""
    while stage.goes_on():
        said = _record(stage)
        for _ in range(20):
            if not said or stage.left <= 0:
                break
            sock = _send(stage.target.place, stage.source(), said)
            if sock is None:
                continue
            stage.tried()
            if len(read_up_to(sock, SECOND_BYTES + 1, 0.3)) > SECOND_BYTES:
                stage.accepted("frames of another connection")
            abort(sock)


def _record(stage: Stage) -> bytes:
    """The bytes of one honest connection."""
    roles = stage.target.roles.encode()
    with contextlib.suppress(OSError, GdispyError):
        initiator = Initiator(stage.psk, roles, os.urandom(32), time.time())
        sock = reach(stage.target.place)
        sock.sendall(initiator.first)
        with Peer(sock, initiator.finish(read_up_to(sock, SECOND_BYTES))) as peer:
            frame = peer.sealed(b"\0", *_honest_words(stage, peer, roles))
            peer.write(frame)
            peer.read(0.2)
            return bytes(initiator.first + frame)
    return b""


def _honest_words(stage: Stage, peer: Peer, roles: bytes) -> list[bytes]:
    instance = stage.chance.randbytes(16)
    return [
        pack(peer.own(each).values())
        for each in (hello(roles.decode().partition(">")[0], instance), OverviewRequest(1))
    ]


def attacks() -> list[Attack]:
    first = [
        Attack("replays", "first messages", name, replay_first_messages, 3, 1.0, True, 0.25, name == TLS_NODE)
        for name in (NODE, SCHEDULER, TLS_NODE)
    ]
    whole = [Attack("replays", "sessions", name, replay_sessions, 1, 0.5, True, 0.25) for name in (NODE, JOURNAL)]
    return first + whole
