"""The packets by which clients and nodes find each other: sealed, and only a hint to connect.

Floor 1; libsodium and msgpack, no I/O. `beacon.py` sends and receives them.

    magic 8 | nonce 24 | secretbox(body)       body: msgpack, padded to 200 bytes
    body  [kind, instance 16, unix time, TCP port, address, name, zeros]

LOOK asks who is there, HERE says so. What opens was made by someone with the secret, perhaps long ago
and sent again by another: so all that follows from a packet is one attempt to connect, and the
handshake proves the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import msgpack

from gdispy.core.handshake import seal, unseal
from gdispy.core.shapes import INSTANCE_BYTES
from gdispy.errors import ProtocolError

MAGIC = b"gdispyU1"
NONCE_BYTES = 24
#: Bytes of a packet at most.
PACKET_LIMIT = 512
#: Bytes of a body, so that no answer is longer than what it answers.
BODY_BYTES = 200
#: Seconds by which the clocks of two machines may differ.
CLOCK_LIMIT = 300.0
#: Packets remembered, so that none counts twice.
MEMORY = 4096

LOOK = 1
HERE = 2


@dataclass(frozen=True)
class Packet:
    """What a packet says. `address` is '' where the packet's source is to be used."""

    kind: int
    instance: bytes
    time: float
    port: int
    address: str
    name: str


def pack(key: bytes, packet: Packet, nonce: bytes) -> bytes:
    """The bytes of a packet; `nonce` is 24 random bytes."""
    fields = [packet.kind, packet.instance, packet.time, packet.port, _cut(packet.address, 45), _cut(packet.name, 64)]
    bare = msgpack.packb([*fields, b""])
    body = msgpack.packb([*fields, bytes(max(0, BODY_BYTES - len(bare)))])
    return MAGIC + nonce + seal(key, nonce, body)


def _cut(text: str, size: int) -> str:
    """The text, or as much of it as fits into so many bytes."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


def unpack(key: bytes, data: bytes) -> Packet:
    """What a packet says. Raises ProtocolError for one not made with this key."""
    if len(data) > PACKET_LIMIT or data[:8] != MAGIC:
        raise ProtocolError("not a packet of gdispy")
    body = unseal(key, data[8 : 8 + NONCE_BYTES], data[8 + NONCE_BYTES :])
    if body is None:
        raise ProtocolError("a packet of another secret")
    try:
        kind, instance, time, port, address, name, _ = msgpack.unpackb(body)
    except Exception:
        raise ProtocolError("a packet of another version") from None
    texts = type(address) is str and type(name) is str
    numbers = type(port) is int and 0 <= port < 65536 and type(time) is float and 0 <= time < 1e12
    named = type(instance) is bytes and len(instance) == INSTANCE_BYTES
    if type(kind) is not int or kind not in (LOOK, HERE) or not texts or not numbers or not named:
        raise ProtocolError("a packet of another version")
    return Packet(kind, instance, time, port, address, name)


class Memory:
    """Which packets were seen, so that one that is sent again is ignored."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def is_new(self, data: bytes, packet: Packet, now: float) -> bool:
        """Whether a packet is recent by the clock (seconds since the epoch) and not seen before."""
        nonce = data[8 : 8 + NONCE_BYTES]
        if abs(packet.time - now) > CLOCK_LIMIT or nonce in self._seen:
            return False
        self._seen[nonce] = None
        if len(self._seen) > MEMORY:
            self._seen.popitem(last=False)
        return True
