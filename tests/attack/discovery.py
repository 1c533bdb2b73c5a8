"""Packets of discovery: from strangers, and from those with the secret with contents that nobody sends.

Goals: strangers get no answer, no answer is longer than what it answers, nothing ends, and honest ones still find the
node.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack

from gdispy.errors import ProtocolError
from gdispy.protocol.discovery import HERE, LOOK, MAGIC, MEMORY, PACKET_LIMIT, Packet, pack, unpack
from gdispy.protocol.secretbox import NONCE_BYTES, seal
from gdispy.transport.credentials import find_secret
from tests.attack.site import HOST, LONE_NODE, PROGRAM
from tests.attack.stage import Attack, Stage
from tests.attack.tampering import flipped

#: Seconds for an honest LOOK to be answered, and packets that go out before it is looked for answers.
ANSWER_LIMIT = 2.0
BATCH = 50

#: Texts where an address is expected; those that could leave this machine are tried in a network of their own only.
NEAR = ("", ":", "127.0.0.1:99999", "127.0.0.1:-1", "[::1", "*", "\x1b[2J", "a" * 56, "%lo", "127.1.2.3:1", "::1", "0")
FAR = ("255.255.255.255", "224.0.0.1", "169.254.169.254:80", "10.255.255.1:1", "0.0.0.0:1", "fe80::1%lo")
_PORTS = (0, 1, 9, 65535, 65536, -1, 1 << 40)


class Wire:
    """A socket for packets, and the key of discovery."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((HOST, 0))
        self._sock.setblocking(False)
        self._goal = (HOST, stage.target.udp_port)
        self.key = find_secret("", str(stage.site.secret_file)).for_udp()

    def close(self) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        try:
            self._sock.sendto(data, self._goal)
        except OSError:  # What is too long for a packet, or finds its way full.
            self._stage.count("not sent")
        self._stage.tried()

    def answers(self, within: float) -> list[bytes]:
        """What comes within so many seconds; no longer than until nothing has come for a while."""
        found: list[bytes] = []
        self._sock.settimeout(within)
        try:
            while len(found) < 10_000:
                found.append(self._sock.recv(4096))
                self._sock.settimeout(0.05)
        except OSError:
            pass
        return found

    def look(self, **changes: Any) -> bytes:
        """A packet that an honest one would send, but for these changes."""
        values: dict[str, Any] = {"kind": LOOK, "instance": os.urandom(16), "time": time.time(), "port": 0}
        return pack(self.key, Packet(**{**values, "address": "", "name": "", **changes}), os.urandom(NONCE_BYTES))

    def is_found(self) -> bool:
        """Whether an honest LOOK is answered."""
        self.answers(0.001)
        self._sock.sendto(self.look(), self._goal)
        for data in self.answers(ANSWER_LIMIT):
            try:
                if unpack(self.key, data).kind == HERE:
                    return True
            except ProtocolError:
                continue
        return False

    def raw(self, fields: list[Any], padded: bool = True) -> bytes:
        """A packet of any content that opens."""
        nonce = os.urandom(NONCE_BYTES)
        body = msgpack.packb([*fields, bytes(100 if padded else 0)])
        return MAGIC + nonce + seal(self.key, nonce, body)


def of_strangers(stage: Stage, wire: Wire) -> bytes:
    """What somebody without the secret can send, recordings left aside."""
    chance = stage.chance
    return chance.choice(
        (
            lambda: chance.randbytes(chance.choice((0, 1, 8, 32, 288, 512, 513, 1400))),
            lambda: MAGIC + chance.randbytes(chance.choice((0, 24, 280, 504, 505, 9000))),
            lambda: flipped(stage, wire.look()),
            lambda: wire.look()[: chance.randrange(1, 288)],
            lambda: wire.look() + bytes(PACKET_LIMIT),
            lambda: wire.look(time=time.time() - 1000),
            lambda: wire.look(time=time.time() + 1000),
            lambda: wire.look(time=1e300),
            lambda: pack(os.urandom(32), Packet(LOOK, os.urandom(16), time.time(), 0, "", ""), os.urandom(24)),
        )
    )()


def by_strangers(stage: Stage, wire: Wire) -> None:
    for _ in range(BATCH):
        wire.send(of_strangers(stage, wire))
    found = wire.answers(0.05)
    if found:
        stage.accepted(f"{len(found)} packets of strangers were answered")


def recorded(stage: Stage, wire: Wire) -> None:
    """Honest packets, sent again by others; and after so many others that they might be forgotten."""
    said = [wire.look() for _ in range(20)]
    for data in said:
        wire.send(data)
    first = len(wire.answers(0.2))
    for number in range(stage.chance.choice((0, 0, MEMORY + 1_000))):
        wire.send(wire.look(kind=HERE))
        if number % BATCH == 0:
            wire.answers(0.002)  # A pause, or the kernel drops most of them, and none is forgotten.
    wire.answers(0.05)
    for data in said * 3:
        wire.send(data)
    again = len(wire.answers(0.1))
    if again:
        stage.accepted(f"recorded packets were answered again ({again}, at first {first})")


def unpadded(stage: Stage, wire: Wire) -> None:
    """A LOOK that is shorter than its answer would be: with a false source it would send that to somebody else."""
    for _ in range(BATCH):
        wire.send(wire.raw([LOOK, os.urandom(16), time.time(), 0, "", "", 0, ""], padded=False))
    if wire.answers(0.1):
        stage.accepted("a LOOK without the zeros that fill it up was answered")


def odd(stage: Stage, wire: Wire) -> None:
    """Packets that open, with contents that make no sense."""
    chance = stage.chance
    texts = NEAR + FAR if stage.is_isolated else NEAR
    for _ in range(BATCH):
        kind = chance.choice((LOOK, LOOK, HERE, HERE, 3, 4, 5, 6, 0, 255, -1, None, "1"))
        instance = chance.choice((os.urandom(16), b"", bytes(15), "text"))
        when = chance.choice((time.time(), 0.0, float("nan"), float("inf"), 1, None))
        fields = [kind, instance, when, chance.choice(_PORTS), chance.choice(texts), chance.choice(texts)]
        wire.send(wire.raw([*fields, chance.choice((*_PORTS, wire_port(stage))), chance.choice(texts)]))
        well = {"kind": chance.choice((LOOK, HERE, 3)), "port": chance.choice((1, 9)), "address": chance.choice(texts)}
        wire.send(wire.look(**well, via=chance.choice(texts), name="\x1b[31m" + "n" * 64))
        wire.send(wire.raw(chance.choice(([], [1], [[]], [LOOK] * 30))))
    wire.answers(0.02)


def wire_port(stage: Stage) -> int:
    """A UDP port where somebody else may listen: the target itself."""
    return stage.target.udp_port


def crowd(stage: Stage, wire: Wire) -> None:
    """Nodes without number that say that they are there, and are not."""
    for _ in range(10 * BATCH):
        address = f"127.{stage.chance.randrange(60, 120)}.{stage.chance.randrange(256)}.1"
        wire.send(wire.look(kind=HERE, port=stage.chance.choice((1, 9)), address=address, name="nobody"))
    wire.answers(0.01)


def again_and_again(acts: tuple[Callable[[Stage, Wire], None], ...], stage: Stage) -> None:
    wire = Wire(stage)
    try:
        while stage.goes_on():
            for act in acts:
                act(stage, wire)
            if stage.target.roles and not wire.is_found():
                stage.count("honest packets without an answer")
        if stage.target.roles and not any(wire.is_found() for _ in range(3)):
            stage.row.reasons.append("the node cannot be found any more")
    finally:
        wire.close()


def attacks() -> list[Attack]:
    rows: list[tuple[str, str, tuple[Callable[[Stage, Wire], None], ...], bool]] = [
        ("packets of strangers", LONE_NODE, (by_strangers, recorded), True),
        ("packets of insiders", LONE_NODE, (odd, unpadded), False),
        ("packets of strangers", PROGRAM, (by_strangers,), True),
        ("packets of insiders", PROGRAM, (odd, crowd), False),
    ]
    return [
        Attack("discovery", name, target, partial(again_and_again, acts), 1, 0.6, by_strangers_)
        for name, target, acts, by_strangers_ in rows
    ]
