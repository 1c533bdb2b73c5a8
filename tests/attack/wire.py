"""Those with the secret break the rules of the wire: chunks, streams, msgpack.

Goals: the daemon ends that connection and nothing else, its memory stays bounded, and nothing is left of what was
begun: neither descriptors nor files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from gdispy.protocol.messages import OverviewRequest
from gdispy.protocol.wire import BYE, CREDIT, FILE, LONG_MESSAGE, MESSAGES, PAYLOAD, PULSE, STREAM
from tests.attack.abusing import may_go_on
from tests.attack.peer import CLIENT, FIRST, LAST, SCHEDULER, Peer, pack, reference, stream_head
from tests.attack.site import LONE_NODE
from tests.attack.site import SCHEDULER as SHARED
from tests.attack.stage import Attack, Stage, hello

#: Streams that are open at once at most, and bytes of msgpack at most.
STREAMS = 20_000
LONG = 64 * 1024 * 1024

Act = Callable[[Stage, Peer], None]


def bad_chunks(stage: Stage, peer: Peer) -> None:
    """Chunks of unknown kinds, empty ones, and known kinds of impossible lengths."""
    chance = stage.chance
    kind = chance.choice((MESSAGES, STREAM, PULSE, CREDIT, BYE, 5, 255))
    body = chance.randbytes(chance.choice((0, 1, 3, 5, 8, 9, 13, 1000, 60_000)))
    peer.chunk(bytes([kind]), body)


def credit_without_end(stage: Stage, peer: Peer) -> None:
    """Credit of all sizes, so that sums run over; and signs of life in any number of intervals."""
    for _ in range(200):
        peer.chunk(struct.pack(">BQ", CREDIT, stage.chance.choice((0, 1, 1 << 63, (1 << 64) - 1))))
        peer.chunk(bytes([PULSE, stage.chance.randrange(256)]))


def bad_streams(stage: Stage, peer: Peer) -> None:
    """Streams that end short or long, begin twice, go on without having begun, or are of unknown purposes."""
    chance = stage.chance
    number, size = peer.new_stream(), chance.choice((0, 1, 1000, 1 << 20, 1 << 40, (1 << 64) - 1))
    purpose = chance.choice((PAYLOAD, FILE, LONG_MESSAGE, 3, 255))
    for _ in range(chance.randint(1, 4)):
        flags = chance.choice((FIRST, FIRST, 0, LAST, FIRST | LAST, 255))
        peer.piece(number, flags, chance.randbytes(chance.choice((0, 1, 1000, 50_000))), size, purpose)
    peer.chunk(stream_head(peer.new_stream(), FIRST, 5, PAYLOAD)[: chance.randrange(1, 15)])


def streams_without_end(stage: Stage, peer: Peer) -> None:
    """Thousands of streams that begin, of files too, and never end."""
    chance = stage.chance
    for number in range(chance.choice((100, 3_000, STREAMS))):
        if number % 50 == 0 and not may_go_on(stage, peer):
            break
        size = chance.choice((10, 100_000, 1 << 33))
        peer.piece(peer.new_stream(), FIRST, b"begun", size, chance.choice((PAYLOAD, PAYLOAD, FILE)))
        stage.count("streams begun")


def streams_unused(stage: Stage, peer: Peer) -> None:
    """Whole streams, large and small, to which no message refers."""
    chance = stage.chance
    data = chance.randbytes(chance.choice((100, 40_000, 3_000_000)))
    for _ in range(chance.choice((50, 1_000))):
        if not may_go_on(stage, peer):
            break
        peer.stream(data, chance.choice((PAYLOAD, PAYLOAD, FILE)))
        stage.count("bytes that nobody wants", len(data))


def bad_references(stage: Stage, peer: Peer) -> None:
    """References to streams that are not there, were used before, or have not ended; and other extension types."""
    chance = stage.chance
    number = peer.stream(b"x" * 40_000)
    unfinished = peer.new_stream()
    peer.piece(unfinished, FIRST, b"begun", 100_000)
    chosen = chance.choice((number, unfinished, 0, number + 1_000_000))
    run = [12, chance.randbytes(8), [1, 2], [1, 1], [reference(chosen), reference(number)], []]
    peer.send(run)


def bad_msgpack(stage: Stage, peer: Peer) -> None:
    """Bytes that are not msgpack, are cut short, are nested deeply, or announce more than there is."""
    chance = stage.chance
    depth = chance.choice((10, 500, 511, 512, 600, 50_000))
    peer.chunk(
        bytes([MESSAGES]),
        chance.choice(
            (
                chance.randbytes(200),
                b"\x91" * depth + b"\xc0",
                b"\x81" * depth,
                struct.pack(">BI", 0xDD, chance.choice((1 << 20, 1 << 31, (1 << 32) - 1))),
                struct.pack(">BI", 0xC6, (1 << 32) - 1),
                struct.pack(">BI", 0xDB, 1 << 26) + b"x",
                struct.pack(">BIb", 0xC9, 1 << 30, 1),
                pack([1, "client"])[:-2],
                b"\xd4\xff\x00" + pack([53, 1]),
                pack([53, 1]) * 5_000 + b"\x92",
                b"\xc1",
            )
        ),
    )


def huge_msgpack(stage: Stage, peer: Peer) -> None:
    """Long messages that are small on the wire and large in memory: millions of empty arrays, and texts of zeros."""
    chance = stage.chance
    size = chance.choice((1 << 20, LONG // 4, LONG - 1000))
    unit, count = chance.choice(((b"\x90", size), (b"\xa0", size), (b"\x91\x90", size // 2), (b"\xc4\x00", size // 2)))
    data = struct.pack(">BI", 0xDD, min(count, (1 << 20) - 1)) + unit * min(count, (1 << 20) - 1)
    if chance.random() < 0.5:  # The same within several arrays, so that no array is too long.
        data = b"\x9f" + 15 * (struct.pack(">BI", 0xDD, count // 16) + unit * (count // 16))
    peer.stream(data[: LONG - 100], LONG_MESSAGE)
    peer.read(1.0)


def unfinished_messages(stage: Stage, peer: Peer) -> None:
    """Long messages that begin and never end, many at once."""
    for _ in range(200):
        peer.piece(peer.new_stream(), FIRST, bytes(50_000), LONG, LONG_MESSAGE)
        if not may_go_on(stage, peer):
            break


def break_off(stage: Stage, peer: Peer) -> None:
    """Half a frame, half a length, and nothing more."""
    frame = peer.sealed(bytes([MESSAGES]), pack([53, 1]))
    peer.write(frame[: stage.chance.randrange(1, len(frame))])


ACTS: dict[str, tuple[Act, float]] = {
    "chunks": (bad_chunks, 1),
    "credit": (credit_without_end, 0.5),
    "streams": (bad_streams, 1),
    "streams without end": (streams_without_end, 2),
    "streams unused": (streams_unused, 2),
    "references": (bad_references, 1),
    "msgpack": (bad_msgpack, 1),
    "huge msgpack": (huge_msgpack, 2),
    "messages without end": (unfinished_messages, 1),
    "half frames": (break_off, 0.5),
}


def again_and_again(act: Act, roles: bytes, stage: Stage) -> None:
    """One kind of breach on connections, one after the other; some are held, some with something honest before."""
    held: list[Peer] = []
    while stage.goes_on():
        peer = stage.connect(roles)
        if peer is None:
            continue
        if stage.chance.random() < 0.8:
            peer.send(hello(roles.decode().partition(">")[0], stage.chance.randbytes(16)), OverviewRequest(1))
            peer.read(0.02)
        act(stage, peer)
        stage.tried()
        peer.read(0.02)
        held.append(peer)
        if len(held) > 3:
            held.pop(0).close()
    for peer in held:
        peer.close()


def attacks() -> list[Attack]:
    found = []
    for roles, target in ((SCHEDULER, LONE_NODE), (CLIENT, SHARED)):
        for name, (act, weight) in ACTS.items():
            found.append(Attack("wire", name, target, partial(again_and_again, act, roles), weight, 0.5))
    return found
