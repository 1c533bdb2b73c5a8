"""The packets with which clients, nodes and relays discover each other: encrypted, and only a hint to connect.

Libsodium and msgpack, no I/O.

    magic 8 | nonce 24 | secretbox(body)       body: msgpack, padded to 240 bytes
    body  [kind, instance 16, unix time, TCP port, address, name, UDP port, via, zeros]

LOOK is a discovery request, HERE its answer; RELAY reports that a relay has forwarded a LOOK. THROUGH, on a TCP
connection to a relay, requests a connection to `address`, and OPENED or REFUSED answers. A packet that can be decrypted
was made by a process with the secret, possibly long ago, and replayed by another: so a packet leads only to one attempt
to connect, and the handshake proves the rest.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import msgpack

from gdispy.errors import ProtocolError
from gdispy.protocol.field_checks import INSTANCE_BYTES
from gdispy.protocol.secretbox import EXTRA, NONCE_BYTES, seal, unseal

MAGIC = b"gdispyU1"
#: Maximum size of a packet.
PACKET_LIMIT = 512
#: Size of a body, so that an answer is never longer than the request; and of a whole packet.
BODY_BYTES = 240
PACKET_BYTES = len(MAGIC) + NONCE_BYTES + EXTRA + BODY_BYTES
#: Maximum size of an address, and of a name, in bytes.
ADDRESS_LIMIT = 56
NAME_LIMIT = 64
#: Maximum difference, in seconds, between the clocks of two machines.
CLOCK_LIMIT = 300.0
#: Number of packets to remember, so that none is accepted twice.
MEMORY = 16384

LOOK = 1
HERE = 2
RELAY = 3
THROUGH = 4
OPENED = 5
REFUSED = 6
_KINDS = range(LOOK, REFUSED + 1)


@dataclass(frozen=True)
class Packet:
    """The contents of a packet. `address` is '' for the packet's source, and may be 'host:port'."""

    kind: int
    instance: bytes
    time: float
    port: int
    address: str
    name: str
    #: The port for an answer by UDP, at `address`; 0: the packet's source.
    udp: int = 0
    #: The relay, 'host:port', that has forwarded this packet; in a LOOK only its port, at the packet's source.
    via: str = ""


def pack(key: bytes, packet: Packet, nonce: bytes) -> bytes:
    """The bytes of a packet; `nonce` is 24 random bytes."""
    address, name = _cut(packet.address, ADDRESS_LIMIT), _cut(packet.name, NAME_LIMIT)
    head = [packet.kind, packet.instance, packet.time, packet.port, address, name]
    fields = [*head, packet.udp, _cut(packet.via, ADDRESS_LIMIT)]
    bare = msgpack.packb([*fields, b""])
    body = msgpack.packb([*fields, bytes(max(0, BODY_BYTES - len(bare)))])
    return MAGIC + nonce + seal(key, nonce, body)


def _cut(text: str, size: int) -> str:
    """The text, cut to this many bytes."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


def unpack(key: bytes, data: bytes) -> Packet:
    """The contents of a packet. Raises ProtocolError for a packet not made with this key, or so short that an answer
    would be longer: its source address may be forged."""
    if not PACKET_BYTES <= len(data) <= PACKET_LIMIT or data[:8] != MAGIC:
        raise ProtocolError("not a packet of gdispy")
    body = unseal(key, data[8 : 8 + NONCE_BYTES], data[8 + NONCE_BYTES :])
    if body is None:
        raise ProtocolError("a packet of another secret")
    try:
        kind, instance, time, port, address, name, udp, via, _ = msgpack.unpackb(body)
    except Exception:
        raise ProtocolError("a packet of another version") from None
    texts = all(type(text) is str for text in (address, name, via))
    ports = all(type(number) is int and 0 <= number < 65536 for number in (port, udp))
    numbers = ports and type(time) is float and 0 <= time < 1e12
    named = type(instance) is bytes and len(instance) == INSTANCE_BYTES
    if type(kind) is not int or kind not in _KINDS or not texts or not numbers or not named:
        raise ProtocolError("a packet of another version")
    return Packet(kind, instance, time, port, address, name, udp, via)


class ReplayCache:
    """The packets seen, so that a replayed packet is ignored.

    Invariant: a packet that was seen is either remembered or not later than `_forgotten`, so that it is refused either
    way. Only a flood by a process with the secret fills the cache before its packets are too old.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        #: (time, nonce) of each, the earliest first.
        self._by_time: list[tuple[float, bytes]] = []
        #: Packets of this time or earlier are refused, since some of them are no longer remembered.
        self._forgotten = -math.inf

    def is_new(self, data: bytes, packet: Packet, now: float) -> bool:
        """Whether a packet is recent by the clock (seconds since the epoch) and was not seen before."""
        nonce = data[8 : 8 + NONCE_BYTES]
        if abs(packet.time - now) > CLOCK_LIMIT or packet.time <= self._forgotten or nonce in self._seen:
            return False
        self._seen.add(nonce)
        heapq.heappush(self._by_time, (packet.time, nonce))
        if len(self._by_time) > MEMORY:
            self._forgotten, earliest = heapq.heappop(self._by_time)
            self._seen.discard(earliest)
        return True
