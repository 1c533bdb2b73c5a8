"""Frames, chunks, streams and messages of one connection: sections 4 and 5 of docs/protocol.md. No I/O.

A `Sealer` makes frames of chunks, an `Opener` chunks of frames, and a `Reader` messages of chunks; a `Writer` turns
messages into chunks, as far as the window allows.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack

from tests.independent import messages
from tests.independent.keys import Refused, box, derive, opened
from tests.independent.messages import Bulk, Message

MESSAGES, STREAM, PULSE, CREDIT, BYE, REKEY = range(6)
FIRST, LAST = 1, 2
PAYLOAD, FILE, LONG_MESSAGE = range(3)
CHUNK_BYTES = 65_536
KEY_FRAMES = 1_048_576
WINDOW = 8_388_608
CREDIT_STEP = 1_048_576
INLINE = 32_768
MESSAGE_BYTES = 67_108_864
ELEMENTS = 2_097_152
STREAMS, PAYLOADS, OPEN_STREAMS = 131_072, 4_096, 16


class Bye(NamedTuple):
    """The other side closes on purpose."""

    reason: str


class _Direction:
    def __init__(self, key: bytes) -> None:
        self.key = key
        self.number = 0

    def nonce(self) -> bytes:
        return self.number.to_bytes(24, "little")

    def count(self) -> None:
        self.number += 1
        if self.number % KEY_FRAMES == 0:
            self.next_key()

    def next_key(self) -> None:
        self.key = derive(self.key, "gdispy rekey", b"")


class Sealer:
    """Chunks -> frames."""

    def __init__(self, key: bytes) -> None:
        self._direction = _Direction(key)

    def frame(self, chunk: bytes) -> bytes:
        direction = self._direction
        sealed = box(direction.key, direction.nonce(), chunk)
        direction.count()
        if chunk[0] == REKEY:
            direction.next_key()
        return struct.pack(">I", len(sealed)) + sealed


class Opener:
    """Bytes -> chunks."""

    def __init__(self, key: bytes) -> None:
        self._direction = _Direction(key)
        self._data = bytearray()

    @property
    def number(self) -> int:
        """The number of the frame that is due."""
        return self._direction.number

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """The chunks that these bytes complete. Raises Refused."""
        self._data += data
        while len(self._data) >= 4:
            length = int.from_bytes(self._data[:4], "big")
            if not 17 <= length <= CHUNK_BYTES + 16:
                raise Refused("a frame of an impossible length")
            if len(self._data) < 4 + length:
                return
            sealed = bytes(self._data[4 : 4 + length])
            del self._data[: 4 + length]
            yield self._open(sealed)

    def _open(self, sealed: bytes) -> bytes:
        direction = self._direction
        chunk = opened(direction.key, direction.nonce(), sealed)
        if chunk is None:
            raise Refused("a frame does not open")
        direction.count()
        if chunk[0] == REKEY and len(chunk) == 1:
            direction.next_key()
        return chunk


class _Stream:
    def __init__(self, size: int, purpose: int) -> None:
        self.size, self.purpose = size, purpose
        self.data = bytearray()


class Reader:
    """Chunks -> messages. What it finds of other kinds it counts."""

    def __init__(self) -> None:
        self._open: dict[int, _Stream] = {}
        self._whole: dict[int, Bulk] = {}
        #: Streams of the purpose 0 that no message has referred to.
        self._payloads = 0
        self._elements = 0
        #: Credit that the other side has given, and bytes that it may be given: both are taken by setting them to 0.
        self.granted = self.owed = 0
        #: In how many intervals the other side gives its next sign of life.
        self.promised = 1

    def read(self, chunk: bytes) -> Iterator[Message | Bye]:
        """What a chunk completes. Raises Refused."""
        kind, length = chunk[0], len(chunk)
        if kind == MESSAGES:
            self.owed += length
            self.promised = 1
            yield from self._messages(chunk[1:])
        elif kind == STREAM:
            self.owed += length
            yield from self._stream(chunk)
        elif kind == PULSE and length == 2 and chunk[1]:
            self.promised = chunk[1]
        elif kind == CREDIT and length == 9:
            self.granted += int.from_bytes(chunk[1:], "big")
        elif kind == BYE:
            yield Bye(chunk[1:].decode("utf-8", "replace"))
        elif not (kind == REKEY and length == 1):
            raise Refused("a chunk of an unknown kind, or of another length")

    def _stream(self, chunk: bytes) -> Iterator[Message | Bye]:
        if len(chunk) < 6:
            raise Refused("a piece of a stream is too short")
        number, flags = struct.unpack_from(">IB", chunk, 1)
        begin = 6
        if flags & FIRST:
            if len(chunk) < 15:
                raise Refused("the beginning of a stream is too short")
            self._begin(number, *struct.unpack_from(">QB", chunk, 6))
            begin = 15
        if number not in self._open:
            raise Refused("a stream that has not begun, or has ended")
        stream = self._open[number]
        stream.data += chunk[begin:]
        if len(stream.data) > stream.size:
            raise Refused("a stream is longer than announced")
        if flags & LAST:
            del self._open[number]
            yield from self._end(number, stream)

    def _begin(self, number: int, size: int, purpose: int) -> None:
        """Note a new stream. Raises Refused where there are too many."""
        if number in self._open or number in self._whole:
            raise Refused("a stream begins twice")
        if purpose > LONG_MESSAGE:
            raise Refused("a stream of an unknown purpose")
        if purpose == LONG_MESSAGE and size > MESSAGE_BYTES:
            raise Refused("a message is too long")
        is_second = purpose == LONG_MESSAGE and any(each.purpose == LONG_MESSAGE for each in self._open.values())
        are_many = len(self._open) >= OPEN_STREAMS or len(self._open) + len(self._whole) >= STREAMS
        if is_second or are_many or (purpose == PAYLOAD and self._payloads >= PAYLOADS):
            raise Refused("too many streams")
        self._payloads += purpose == PAYLOAD
        self._open[number] = _Stream(size, purpose)

    def _end(self, number: int, stream: _Stream) -> Iterator[Message | Bye]:
        if len(stream.data) < stream.size:
            raise Refused("a stream is shorter than announced")
        if stream.purpose == LONG_MESSAGE:
            yield from self._messages(bytes(stream.data), only=True)
            return
        self._whole[number] = Bulk(stream.data)
        self._whole[number].purpose = stream.purpose

    def _messages(self, data: bytes, only: bool = False) -> Iterator[Message | Bye]:
        limits: dict[str, Any] = {"max_array_len": 65_536, "max_map_len": 0, "max_buffer_size": MESSAGE_BYTES}
        unpacker = msgpack.Unpacker(ext_hook=self._refer, list_hook=self._count, **limits)
        unpacker.feed(data)
        end = 0
        while end < len(data) or not data:
            self._elements = 0
            try:
                values = unpacker.unpack()
            except Refused:
                raise
            except Exception as error:  # msgpack raises several kinds
                raise Refused(f"no msgpack, or too much of it: {type(error).__name__}") from None
            end = unpacker.tell()
            if only and end < len(data):
                raise Refused("more than one message in a stream")
            yield messages.read(values)

    def _count(self, values: list[Any]) -> list[Any]:
        self._elements += len(values)
        if self._elements > ELEMENTS:
            raise Refused("a message has too many elements")
        return values

    def _refer(self, code: int, data: bytes) -> Bulk:
        number = int.from_bytes(data, "big")
        if code != 1 or len(data) != 4:
            raise Refused("an unknown extension type")
        if number not in self._whole:
            raise Refused("a stream that has not ended, or was referred to before")
        found = self._whole.pop(number)
        self._payloads -= found.purpose == PAYLOAD
        return found


class FileContents(bytes):
    """What travels as a stream of purpose 1."""


class Writer:
    """Messages -> chunks. One stream after the other; messages wait for theirs, and pass those of others."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        #: The chunks of streams, each with the message that may leave behind it.
        self._pieces: deque[tuple[bytes, bytes]] = deque()
        self._streams = 0
        #: The piece with which a `Inventory` or `Resume` is whole, while that is on its way: nothing overtakes it.
        self._leading = b""
        self.window = WINDOW

    def put(self, name: str, fields: dict[str, Any], follows: bool = False) -> None:
        """Queue a message. With `follows`, and `Release` always, it overtakes nothing."""
        streams: list[tuple[int, bytes, int]] = []

        def sent_aside(value: Any) -> Any:
            if isinstance(value, list):
                return [sent_aside(each) for each in value]
            if isinstance(value, FileContents) or (type(value) is bytes and len(value) > INLINE):
                return self._refer(value, FILE if isinstance(value, FileContents) else PAYLOAD, streams)
            return value

        data = msgpack.packb(sent_aside(messages.values_of(name, fields)))
        if len(data) > CHUNK_BYTES - 1:
            self._refer(data, LONG_MESSAGE, streams)
            data = b""
        for number, content, purpose in streams:
            self._pieces += [(piece, b"") for piece in pieces(number, content, purpose)]
        if self._pieces and (streams or follows or self._leading or name == "Release"):
            last, before = self._pieces.pop()
            self._pieces.append((last, before + data))
            self._leading = last if name in ("Inventory", "Resume") else self._leading
        elif data:
            self._messages.append(data)

    def _refer(self, content: bytes, purpose: int, streams: list[tuple[int, bytes, int]]) -> msgpack.ExtType:
        self._streams = (self._streams + 1) % (1 << 32)
        streams.append((self._streams, content, purpose))
        return msgpack.ExtType(1, self._streams.to_bytes(4, "big"))

    def chunk(self) -> bytes:
        """The next chunk to send, nothing where there is none or the window has no room for it."""
        if self.window < CHUNK_BYTES:
            return b""
        chunk = b""
        if self._messages:
            chunk = bytes([MESSAGES]) + self._messages.popleft()
        elif self._pieces:
            chunk, message = self._pieces.popleft()
            if message:
                self._messages.append(message)
            if chunk is self._leading:
                self._leading = b""
        self.window -= len(chunk)
        return chunk

    @property
    def is_idle(self) -> bool:
        return not self._messages and not self._pieces


def pieces(number: int, content: bytes, purpose: int) -> Iterator[bytes]:
    """The chunks of a stream."""
    room = CHUNK_BYTES - 15
    for begin in range(0, max(1, len(content)), room):
        flags = (FIRST if begin == 0 else 0) | (LAST if begin + room >= len(content) else 0)
        head = struct.pack(">BIB", STREAM, number, flags)
        if flags & FIRST:
            head += struct.pack(">QB", len(content), purpose)
        yield head + content[begin : begin + room]
