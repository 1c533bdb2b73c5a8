"""Handshakes and frames that somebody in between has changed, or that somebody without the secret has made up.

Goal: not one of them is accepted. Each comes from another address, so that no limit of one address hides what would be
accepted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from gdispy.errors import GdispyError
from gdispy.protocol import handshake
from gdispy.protocol.handshake import FIRST_BYTES, MAGIC, NO_CERTIFICATE, SECOND_BYTES, Initiator
from gdispy.protocol.messages import Hello, Overview, OverviewRequest
from tests.attack.peer import Peer, abort, open_tls, pack, reach, read_up_to
from tests.attack.site import NODE, SCHEDULER, TLS_NODE
from tests.attack.stage import Attack, Stage, hello

#: Points of X25519 of low order, as any implementation has to refuse them.
LOW_ORDER = (
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
)
_ROLES = (b"scheduler>node", b"visitor>node", b"client>scheduler", b"node>scheduler", b"node>client", b"", b"x" * 24)


def flipped(stage: Stage, data: bytes, first: int = 0) -> bytes:
    """The same with one bit changed, not before that byte."""
    place = stage.chance.randrange(8 * first, 8 * len(data))
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


# Handshakes: each gives a first message that must not be answered


def _genuine(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    return bytes(Initiator(stage.psk, roles, os.urandom(32), time.time(), digest).first)


def one_bit(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    # Bits of the version's two bytes make another version, which is answered by that of this side, as it should be.
    return flipped(stage, _genuine(stage, roles, digest), len(MAGIC))


def cut_short(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    return _genuine(stage, roles, digest)[: stage.chance.randrange(1, FIRST_BYTES)]


def low_order(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    """With a key for which any secret gives the same; the box is as it must be."""
    point = stage.chance.choice(LOW_ORDER)
    stand_in = mock.Mock(wraps=handshake.bindings)
    stand_in.crypto_scalarmult_base = lambda private: point
    with mock.patch.object(handshake, "bindings", stand_in):
        return _genuine(stage, roles, digest)


def other_roles(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    own = (b"scheduler>node", b"visitor>node") if b">node" in roles else (b"client>scheduler", b"node>scheduler")
    return _genuine(stage, stage.chance.choice([each for each in _ROLES if each not in own]), digest)


def other_secret(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    psk = stage.chance.choice((bytes(32), b"\xff" * 32, os.urandom(32), flipped(stage, stage.psk)))
    return bytes(Initiator(psk, roles, os.urandom(32), time.time(), digest).first)


def other_certificate(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    return _genuine(stage, roles, os.urandom(32) if digest == NO_CERTIFICATE else NO_CERTIFICATE)


def two_mixed(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    """The key of one and the box of another."""
    return _genuine(stage, roles, digest)[:40] + _genuine(stage, roles, digest)[40:]


def reflected(stage: Stage, roles: bytes, digest: bytes) -> bytes:
    """What the other side itself has said, as much as a first message is long."""
    with contextlib.suppress(OSError):
        sock = _open(stage)[0]
        with sock:
            sock.sendall(_genuine(stage, roles, digest))
            return read_up_to(sock, SECOND_BYTES)[:FIRST_BYTES]
    return b""


HANDSHAKES = (one_bit, cut_short, low_order, other_roles, other_secret, other_certificate, two_mixed, reflected)


def _open(stage: Stage) -> tuple[Any, bytes]:
    sock: Any = reach(stage.target.place, stage.source())
    return open_tls(sock, stage.psk) if stage.target.certfile else (sock, NO_CERTIFICATE)


def bad_handshakes(stage: Stage) -> None:
    roles = stage.target.roles.encode()
    while stage.goes_on():
        for make in HANDSHAKES:
            try:
                sock, digest = _open(stage)
            except OSError:
                continue
            first = make(stage, roles, digest)
            with contextlib.suppress(OSError):
                sock.sendall(first)
                sock.shutdown(socket.SHUT_WR) if make is cut_short else None
            if len(read_up_to(sock, SECOND_BYTES, 0.5)) >= SECOND_BYTES:
                stage.accepted(f"a handshake: {make.__name__}")
            stage.tried()
            abort(sock)


def bad_answers(stage: Stage) -> None:
    """The other way round: answers that somebody in between has changed must not be taken by the side that connects."""
    roles = stage.target.roles.encode()
    while stage.goes_on():
        with contextlib.suppress(OSError):
            sock, digest = _open(stage)
            initiator = Initiator(stage.psk, roles, os.urandom(32), time.time(), digest)
            sock.sendall(initiator.first)
            second = read_up_to(sock, SECOND_BYTES)
            abort(sock)
            if len(second) < SECOND_BYTES:
                continue
            other = stage.chance.choice(LOW_ORDER)
            changed = (flipped(stage, second), second[:-1], second + b"\0", initiator.first.ljust(SECOND_BYTES, b"\0"))
            for each in (*changed, second[:8] + other + second[40:]):
                stage.tried()
                with contextlib.suppress(GdispyError):
                    initiator.finish(each)
                    stage.accepted("an answer to a handshake")


# Frames: each writes something after which the question must not be answered


def _question(peer: Peer, number: int) -> bytes:
    return peer.sealed(b"\0", pack(OverviewRequest(number).values()))


def flipped_frame(stage: Stage, peer: Peer) -> None:
    peer.write(flipped(stage, _question(peer, 7), 4))


def dropped_frame(stage: Stage, peer: Peer) -> None:
    _question(peer, 6)
    peer.write(_question(peer, 7))


def reordered_frames(stage: Stage, peer: Peer) -> None:
    first, second = _question(peer, 6), _question(peer, 7)
    peer.write(second + first)


def cut_frame(stage: Stage, peer: Peer) -> None:
    frame = _question(peer, 7)
    peer.write(frame[: stage.chance.randrange(4, len(frame))] + b"\0" * 100)


def wrong_length(stage: Stage, peer: Peer) -> None:
    frame = _question(peer, 7)
    length = stage.chance.choice((0, 1, 16, 17, len(frame) - 5, len(frame) - 3, 65_552, 65_553, 1 << 31, (1 << 32) - 1))
    peer.write(struct.pack(">I", length) + frame[4:] + bytes(70_000))


def frame_of_another(stage: Stage, peer: Peer) -> None:
    """A frame of another connection with the same secret, and the same number."""
    other = stage.connect(stage.target.roles.encode())
    if other is not None:
        with other:
            other.sealed(b"\0", pack([0]))
            peer.write(_question(other, 7))


FRAMES: tuple[Callable[[Stage, Peer], None], ...] = (
    *(flipped_frame, dropped_frame, reordered_frames, cut_frame, wrong_length, frame_of_another),
)


def bad_frames(stage: Stage) -> None:
    while stage.goes_on():
        for act in FRAMES:
            with _greeted(stage) as peer:
                if peer is None:
                    continue
                act(stage, peer)
                if peer.until(Overview, 0.5) is not None:
                    stage.accepted(f"a frame: {act.__name__}")
                stage.tried()
        _repeat(stage)
        _reflect(stage)


def _repeat(stage: Stage) -> None:
    """The same frame twice has one answer."""
    with _greeted(stage) as peer:
        if peer is None:
            return
        frame = _question(peer, 7)
        peer.write(frame + frame)
        stage.tried()
        first = peer.until(Overview, 0.5)
        if first is not None and peer.until(Overview, 0.3) is not None:
            stage.accepted("a frame that was repeated")


def _reflect(stage: Stage) -> None:
    """What the other side has sent, sent back to it: it would be taken for the first frame."""
    roles = stage.target.roles.encode()
    with contextlib.suppress(OSError, GdispyError):
        sock, digest = _open(stage)
        initiator = Initiator(stage.psk, roles, os.urandom(32), time.time(), digest)
        sock.sendall(initiator.first)
        with Peer(sock, initiator.finish(read_up_to(sock, SECOND_BYTES))) as peer:
            role = roles.decode().partition(">")[0]
            peer.write(peer.sealed(b"\0", pack(peer.own(hello(role, os.urandom(16))).values())))
            answer = sock.recv(65_536)
            peer.write(answer)
            stage.tried()
            peer.write(_question(peer, 7))
            if peer.until(Overview, 0.3) is not None:
                stage.accepted("a frame that was reflected")


@contextlib.contextmanager
def _greeted(stage: Stage) -> Any:
    """A connection on which both have said who they are; or None."""
    roles = stage.target.roles.encode()
    peer = stage.connect(roles)
    if peer is None:
        yield None
        return
    with peer:
        peer.send(hello(roles.decode().partition(">")[0], os.urandom(16)))
        yield peer if peer.until(Hello) is not None else None


def attacks() -> list[Attack]:
    acts = {"handshakes": bad_handshakes, "answers": bad_answers, "frames": bad_frames}
    return [
        Attack("tampering", name, target, partial(act), 1, 0.5, name == "handshakes", needs_tls=target == TLS_NODE)
        for target in (NODE, SCHEDULER, TLS_NODE)
        for name, act in acts.items()
    ]
