"""Bytes <-> messages: encryption, framing, streams, windows and limits of one connection.

Msgpack and libsodium, no I/O.

    frame   u32 length of box | secretbox(chunk)          box <= 64 KiB + 16
    chunk   kind 1 | rest
       MESSAGES  msgpack arrays, one after the other
       STREAM    u32 stream | flags 1 | bytes             FIRST: u64 size, u8 purpose before them
       PULSE     u8: a heartbeat, with the number of intervals until the next one
       CREDIT    u64: number of further bytes that may be sent
       BYE       text: the sender closes on purpose
       REKEY     nothing: later frames use the next key

Payloads are sent as streams beside the messages, in chunks, so heartbeats and small messages pass between them; a
message that refers to streams (msgpack ext type 1: u32 stream) is sent after the last of them. So messages without
payloads may overtake those with payloads, except messages that must stay last.

Invariants: the nonce of a frame is its number, which is not sent, so a frame that is lost, repeated, moved or reflected
cannot be decrypted, and the connection ends. Nothing beyond one frame is allocated for a peer before that frame was
decrypted. `Sender` never has more than the peer's window in flight. However a connection ends, each stream that has
arrived, completely or in part, belongs to exactly one message, or is released.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgpack

from gdispy.errors import InternalError, ProtocolError
from gdispy.protocol.handshake import Keys, next_key
from gdispy.protocol.limits import (
    CHUNK_LIMIT,
    COLUMN_LIMIT,
    ELEMENT_LIMIT,
    FEW_PAYLOADS,
    MESSAGE_LIMIT,
    OPEN_LIMIT,
    PAYLOAD_LIMIT,
    PAYLOADS_BYTES,
    STREAM_LIMIT,
)
from gdispy.protocol.messages import Message, from_values
from gdispy.protocol.payload import Buffer, Bulk, FilePayload, MemoryPayload, Payload, joined, release_all
from gdispy.protocol.secretbox import EXTRA, LENGTH, opened, sealed_frame
from gdispy.protocol.splitting import brings_little, fits, fitted, has_too_many, seems_fit, smaller

BOX_LIMIT = CHUNK_LIMIT + EXTRA
#: Number of frames after which a direction changes its key: at most 64 GiB are encrypted with one key.
KEY_FRAMES = 1 << 20
#: Bytes that may be in flight, or received and not yet processed, before the sender waits.
WINDOW = 8 * 1024 * 1024
#: Credit is returned in portions of at least this many bytes.
CREDIT_STEP = WINDOW // 8
MESSAGES, STREAM, PULSE, CREDIT, BYE, REKEY = range(6)
FIRST, LAST = 1, 2

#: Purpose of a stream: a payload, a dependency file, or a message too long for a frame.
PAYLOAD, FILE, LONG_MESSAGE = range(3)

#: An encrypted frame, or a part of one, as it is written.
Frame = Buffer
_Ready = tuple[bytes, int, int]

_OF_MESSAGES = bytes([MESSAGES])
_STREAM_HEAD = struct.Struct(">BIB")
_STREAM_SIZE = struct.Struct(">QB")
_CREDIT_BODY = struct.Struct(">BQ")
_REFERENCE = struct.Struct(">I")
_EXT = 1


class Sink(Protocol):
    """The destination of one incoming stream. The argument of `write` is overwritten once it has returned."""

    def write(self, data: memoryview) -> None: ...

    def finish(self) -> Payload: ...

    def abandon(self) -> None: ...


class MessageRefused(ProtocolError):
    """A frame was authenticated, so it is from the peer, but its contents are invalid."""


#: Creates the sink for a stream of this size and purpose; raises ProtocolError to refuse it.
MakeSink = Callable[[int, int], Sink]


class Sender:
    """The outgoing direction of a connection: takes messages, returns frames."""

    def __init__(self, key: bytes, check_owner: Callable[[], None] = lambda: None) -> None:
        self._key = key
        self._counter = 0
        self._check_owner = check_owner
        #: Encoded messages, their lengths, and the number of streams each refers to.
        self._ready: deque[_Ready] = deque()
        self._streaming: deque[_Outgoing] = deque()
        self._next_stream = 0
        #: A long message that nothing may overtake, while it is being sent.
        self._leading: _Outgoing | None = None
        #: Streams that have started and to which no sent message refers yet.
        self._begun = 0
        self._window = WINDOW
        #: Bytes accepted and not yet returned as frames.
        self.backlog = 0

    def put(self, message: Message, follows: bool = False) -> None:
        """Queue a message; it is brought within the limits if necessary (`splitting.py`).

        With `follows` it overtakes no earlier message, including payloads.
        """
        follows = follows or message.is_last
        if not seems_fit(message):
            self._put_fitted(message, follows)
            return
        begin = self._next_stream, self.backlog
        streams: list[_Outgoing] = []
        try:
            values = message.values()
            try:
                data: bytes = _pack(values)
            except TypeError:  # It contains a payload.
                packer = _Packer(self)
                data, streams = packer.pack(values), packer.streams
        except (ValueError, OverflowError):  # Text that is not UTF-8, or a number of more than 64 bits.
            self._next_stream, self.backlog = begin
            self._put_fitted(message, follows)
            return
        # A short encoding cannot contain anything too long.
        if brings_little([each.payload.size for each in streams]) and (
            len(data) < CHUNK_LIMIT or (len(data) <= MESSAGE_LIMIT and fits(message) and not has_too_many(values, data))
        ):
            self._queue(data, streams, follows, message.is_first)
        else:
            self._next_stream, self.backlog = begin
            self._put_fitted(message, follows)

    def _put_fitted(self, message: Message, follows: bool) -> None:
        for number, part in enumerate(fitted(message)):
            self._put_long(part, follows or number > 0)

    def _put_long(self, message: Message, follows: bool) -> None:
        """Queue a message that may be too long; with `follows` it overtakes no earlier message."""
        begin = self._next_stream, self.backlog
        packer = _Packer(self)
        data = packer.pack(message.values())
        if len(data) <= MESSAGE_LIMIT and not has_too_many(message.values(), data):
            self._queue(data, packer.streams, follows, message.is_first)
            return
        self._next_stream, self.backlog = begin
        for number, part in enumerate(smaller(message)):
            self._put_long(part, follows or number > 0)

    def _queue(self, data: bytes, streams: list[_Outgoing], follows: bool, leads: bool) -> None:
        if self._leading is not None:
            follows = follows or not self._leading.done
            self._leading = None if self._leading.done else self._leading
        if len(data) > CHUNK_LIMIT - 1:
            streams.append(self._open(_Bytes(data), LONG_MESSAGE))
            data = b""
        self.backlog += len(data)
        if streams:
            streams[-1].then.append((data, len(data), len(streams) if data else 0))
            streams[-1].ends = 0 if data else len(streams)
            self._streaming.extend(streams)
            self._leading = streams[-1] if leads else self._leading
        elif follows and self._streaming:
            self._streaming[-1].then.append((data, len(data), 0))
        else:
            self._ready.append((data, len(data), 0))

    def _open(self, payload: Payload, purpose: int) -> _Outgoing:
        self._next_stream = (self._next_stream + 1) & 0xFFFFFFFF
        self.backlog += payload.size
        return _Outgoing(self._next_stream, payload, purpose)

    @property
    def is_streaming(self) -> bool:
        """Whether payloads are being sent."""
        return bool(self._streaming)

    def credit(self, amount: int) -> None:
        """The peer has processed this many bytes."""
        self._window += amount

    def frames(self) -> list[Frame]:
        """The next frames to send: one with all messages that fit, and one chunk of a stream."""
        found: list[Frame] = []
        if self._ready and self._window >= CHUNK_LIMIT:
            found += self._charged(self._message_chunk())
        # Start no stream if the other side would have too many that no message refers to yet.
        if self._streaming and self._window >= CHUNK_LIMIT and (self._begun < PAYLOAD_LIMIT or not self._ready):
            found += self._charged(self._stream_chunk())
        return found

    def _charged(self, parts: Sequence[Buffer]) -> list[Frame]:
        self._window -= sum(map(len, parts))
        return self._sealed(*parts)

    def pulse(self, beat: int = 1) -> list[Frame]:
        """A heartbeat; the next one follows in this number of intervals."""
        return self._sealed(bytes([PULSE, beat]))

    def give_credit(self, amount: int) -> list[Frame]:
        return self._sealed(_CREDIT_BODY.pack(CREDIT, amount))

    def bye(self, reason: str) -> list[Frame]:
        return self._sealed(bytes([BYE]), reason.encode("utf-8", "replace")[:1024])

    def rekey(self) -> list[Frame]:
        """Change to the next key, from which the present one cannot be computed."""
        found = self._sealed(bytes([REKEY]))
        self._key = next_key(self._key)
        return found

    def _message_chunk(self) -> Sequence[Buffer]:
        ready = self._ready
        parts, room = [_OF_MESSAGES], CHUNK_LIMIT - 1
        while ready and ready[0][1] <= room:
            data, size, streams = ready.popleft()
            self._begun -= streams
            parts.append(data)
            room -= size
        self.backlog -= CHUNK_LIMIT - 1 - room
        return parts

    def _stream_chunk(self) -> Sequence[Buffer]:
        stream = self._streaming[0]
        self._begun += stream.is_new
        head, data = stream.next_chunk()
        self.backlog -= len(data)
        if stream.done:
            self._streaming.popleft()
            self._begun -= stream.ends
            self._ready.extend(each for each in stream.then if each[0])
        return head, data

    def _sealed(self, *parts: Buffer) -> list[Frame]:
        # A forked copy of this process has the same key and counter; two boxes with one nonce would reveal both.
        self._check_owner()
        frame = sealed_frame(self._key, self._counter.to_bytes(24, "little"), *parts)
        self._counter += 1
        if not self._counter % KEY_FRAMES:
            self._key = next_key(self._key)
        return [frame]


#: Packs messages without payloads. Shared, since creating a packer for each message is slow.
_pack = msgpack.Packer().pack


class _Packer:
    """Packs one message, opening a stream for each payload in it."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.streams: list[_Outgoing] = []

    def pack(self, values: list[object]) -> bytes:
        data: bytes = msgpack.packb(values, default=self._refer)
        return data

    def _refer(self, value: object) -> msgpack.ExtType:
        if not isinstance(value, Payload):
            raise InternalError(f"a {type(value).__name__} cannot be sent in a message")
        purpose = FILE if isinstance(value, FilePayload) else PAYLOAD
        stream = self._sender._open(value, purpose)
        self.streams.append(stream)
        return msgpack.ExtType(_EXT, _REFERENCE.pack(stream.number))


class _Bytes(Payload):
    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)

    def read(self, offset: int, length: int) -> Buffer:
        return self._data[offset : offset + length]


class _Outgoing:
    """An outgoing payload."""

    def __init__(self, number: int, payload: Payload, purpose: int) -> None:
        self.number = number
        self.done = False
        #: Encoded messages that may be sent after this stream.
        self.then: list[_Ready] = []
        #: The number of streams of the message that refers to this stream; 0 if there is none.
        self.ends = 0
        self.payload = payload
        self._purpose = purpose
        self._offset = 0

    @property
    def is_new(self) -> bool:
        return self._offset == 0

    def next_chunk(self) -> tuple[bytes, Buffer]:
        """The head of the next chunk, and its payload bytes."""
        flags, head = 0, b""
        if self._offset == 0:
            flags, head = FIRST, _STREAM_SIZE.pack(self.payload.size, self._purpose)
        room = CHUNK_LIMIT - _STREAM_HEAD.size - len(head)
        left = self.payload.size - self._offset
        # A file that has shrunk since it was announced is padded: its digest reveals that.
        data = self.payload.read(self._offset, min(room, left)) or bytes(min(room, left))
        self._offset += len(data)
        self.done = self._offset >= self.payload.size
        if self.done:
            flags |= LAST
        return _STREAM_HEAD.pack(STREAM, self.number, flags) + head, data


@dataclass(frozen=True, slots=True)
class Bye:
    """The peer closes on purpose."""

    reason: str


#: Limits of one message. Arrays in particular: each element takes a byte on the wire, and many in memory.
_UNPACKER_LIMITS: dict[str, int] = {
    "max_bin_len": MESSAGE_LIMIT,
    "max_str_len": MESSAGE_LIMIT,
    "max_array_len": COLUMN_LIMIT,
    "max_map_len": 0,
    "max_ext_len": 16,
}
#: Used if no limit is set.
NO_MEMORY_LIMIT = 1 << 63


class Receiver:
    """The incoming direction: takes bytes, returns messages."""

    def __init__(self, key: bytes, make_sink: MakeSink, memory_limit: int = NO_MEMORY_LIMIT) -> None:
        self._key = key
        self._counter = 0
        self._make_sink = make_sink
        #: Maximum size of payloads in memory before a message refers to them.
        self._memory_limit = memory_limit
        #: A frame that has arrived in part.
        self._begun = bytearray()
        self._streams: dict[int, _Incoming] = {}
        self._finished: dict[int, Payload] = {}
        #: Announced size of those streams, of both kinds, that are in memory.
        self._in_memory: dict[int, int] = {}
        self._bytes_in_memory = 0
        #: Payloads that the message being decoded refers to.
        self._referred: list[Payload] = []
        #: Elements of arrays that the message may still have.
        self._elements_left = 0
        #: Credit that the peer has granted since this was last reset.
        self.granted = 0
        #: The number of intervals until the peer's next heartbeat, as announced since this was last reset.
        self.promised = 0
        #: Bytes of messages and of streams received: both count against the peer's window.
        self.taken = 0
        self.streamed = 0

    @property
    def has_opened(self) -> bool:
        """Whether any frame was decrypted: only a process with the secret can make one."""
        return self._counter > 0

    def receive(self, data: bytes | memoryview) -> list[Message | Bye]:
        """The messages that these bytes complete, in order. Boxes are decrypted in place if the buffer is writable, so
        its contents are lost. Raises ProtocolError; the connection must then be closed."""
        found: list[Message | Bye] = []
        try:
            self._receive(memoryview(data), found)
        except BaseException:
            for message in found:
                if not isinstance(message, Bye):
                    release_all(message.values())
            raise
        return found

    def _receive(self, view: memoryview, found: list[Message | Bye]) -> None:
        offset = self._complete(view, found) if self._begun else 0
        end = len(view)
        while end - offset >= 4:
            after = offset + 4 + _box_length(view, offset)
            if after > end:
                break
            self._open(view[offset + 4 : after], found)
            offset = after
        self._begun += view[offset:]

    def _complete(self, view: memoryview, found: list[Message | Bye]) -> int:
        """Complete the frame that has arrived in part, and no more: complete frames in new bytes are not copied.
        Returns the number of bytes used."""
        begun, used = self._begun, 0
        if len(begun) < 4:
            used = min(4 - len(begun), len(view))
            begun += view[:used]
            if len(begun) < 4:
                return used
        missing = 4 + _box_length(begun, 0) - len(begun)
        begun += view[used : used + missing]
        if len(view) - used >= missing:
            self._begun = bytearray()
            self._open(memoryview(begun)[4:], found)
        return min(used + missing, len(view))

    def _open(self, box: memoryview, found: list[Message | Bye]) -> None:
        chunk = opened(self._key, self._counter.to_bytes(24, "little"), box)
        if chunk is None:
            raise ProtocolError("a frame does not open with the key of this connection")
        self._counter += 1
        if not self._counter % KEY_FRAMES:
            self._key = next_key(self._key)
        try:
            self._take(chunk, found)
        except ProtocolError as error:
            raise MessageRefused(str(error)) from None

    def abandon(self) -> None:
        """The connection has ended: release incomplete streams and those that no message refers to."""
        for stream in self._streams.values():
            stream.sink.abandon()
        for payload in self._finished.values():
            payload.release()
        self._streams.clear()
        self._finished.clear()
        self._in_memory.clear()

    def _take(self, chunk: memoryview, found: list[Message | Bye]) -> None:
        kind = chunk[0]
        if kind == MESSAGES:
            self.taken += len(chunk)
            self.promised = 1
            self._decode(chunk[1:], found)
        elif kind == STREAM:
            self.streamed += len(chunk)
            self._take_stream(chunk, found)
        elif kind == CREDIT and len(chunk) == _CREDIT_BODY.size:
            self.granted += _CREDIT_BODY.unpack(chunk)[1]
        elif kind == BYE:
            found.append(Bye(str(chunk[1:], "utf-8", "replace")))
        elif kind == PULSE and len(chunk) == 2 and chunk[1]:
            self.promised = chunk[1]
        elif kind == REKEY and len(chunk) == 1:
            self._key = next_key(self._key)
        else:
            raise ProtocolError("a frame is of an unknown kind")

    def _take_stream(self, chunk: memoryview, found: list[Message | Bye]) -> None:
        if len(chunk) < _STREAM_HEAD.size:
            raise ProtocolError("a piece of a stream is cut short")
        _, number, flags = _STREAM_HEAD.unpack_from(chunk)
        offset = _STREAM_HEAD.size
        if flags & FIRST:
            if number in self._streams or number in self._finished:
                raise ProtocolError("a stream begins twice")
            if len(self._streams) + len(self._finished) >= STREAM_LIMIT:
                raise ProtocolError("too many streams at once")
            if len(chunk) < offset + _STREAM_SIZE.size:
                raise ProtocolError("the beginning of a stream is cut short")
            size, purpose = _STREAM_SIZE.unpack_from(chunk, offset)
            offset += _STREAM_SIZE.size
            self._streams[number] = _Incoming(size, purpose, self._sink(number, size, purpose))
        stream = self._streams.get(number)
        if stream is None:
            raise ProtocolError("a stream continues that has not started")
        stream.write(chunk[offset:])
        if flags & LAST:
            payload = stream.finish()
            del self._streams[number]
            if stream.purpose == LONG_MESSAGE:
                self._decode(joined(payload), found, self._count)
            else:
                self._finished[number] = payload

    def _sink(self, number: int, size: int, purpose: int) -> Sink:
        if len(self._streams) >= OPEN_LIMIT:
            raise ProtocolError("too many streams are open")
        if purpose == LONG_MESSAGE:
            if size > MESSAGE_LIMIT:
                raise ProtocolError("a message is too long")
            if any(each.purpose == LONG_MESSAGE for each in self._streams.values()):
                raise ProtocolError("two long messages come at once")
            return MemorySink()
        if purpose not in (PAYLOAD, FILE):
            raise ProtocolError("a stream has an unknown purpose")
        if purpose == PAYLOAD:
            self._note_memory(number, size)
        return self._make_sink(size, purpose)

    def _note_memory(self, number: int, size: int) -> None:
        """Raise ProtocolError if payloads that no message refers to would fill the memory."""
        if len(self._in_memory) >= PAYLOAD_LIMIT:
            raise ProtocolError("too many payloads that no message has referred to")
        total = self._bytes_in_memory + size
        are_few = len(self._in_memory) < FEW_PAYLOADS
        limit = self._memory_limit if are_few else min(self._memory_limit, PAYLOADS_BYTES)
        if total > limit:
            raise ProtocolError(
                f"payloads of {total:,} bytes that no message has referred to, and this side takes {limit:,} at most"
            )
        self._in_memory[number], self._bytes_in_memory = size, total

    def _count(self, values: list[object]) -> list[object]:
        """For a long message, each array when it is complete, inner arrays first."""
        self._elements_left -= len(values)
        if self._elements_left < 0:
            raise ProtocolError("a message has too many elements")
        return values

    def _decode(
        self, data: Buffer, found: list[Message | Bye], count: Callable[[list[object]], list[object]] | None = None
    ) -> None:
        self._elements_left = ELEMENT_LIMIT
        try:
            try:
                values = msgpack.unpackb(data, ext_hook=self._refer, list_hook=count, **_UNPACKER_LIMITS)
                self._add(values, found)
            except msgpack.ExtraData as more:  # The first of several.
                if count is not None:  # Further messages would not be counted.
                    raise ProtocolError("a stream holds more than one message") from None
                self._add(more.unpacked, found)
                self._decode_several(more.extra, found)
        except ProtocolError:
            raise
        except Exception as error:  # msgpack raises several unrelated exceptions
            raise ProtocolError(f"not msgpack as expected: {type(error).__name__}") from None
        finally:
            if self._referred:  # By an invalid message.
                release_all(self._referred)
                self._referred = []

    def _add(self, values: object, found: list[Message | Bye]) -> None:
        found.append(from_values(values))
        if self._referred:  # They belong to the message now.
            self._referred = []

    def _decode_several(self, data: bytes, found: list[Message | Bye]) -> None:
        unpacker = msgpack.Unpacker(ext_hook=self._refer, max_buffer_size=MESSAGE_LIMIT, **_UNPACKER_LIMITS)
        unpacker.feed(data)
        whole = 0
        for values in unpacker:
            whole = unpacker.tell()
            self._add(values, found)
        if whole != len(data):
            raise ProtocolError("a message is cut short")

    def _refer(self, code: int, data: bytes) -> Bulk:
        if code != _EXT or len(data) != _REFERENCE.size:
            raise ProtocolError("an unknown extension type")
        number = _REFERENCE.unpack(data)[0]
        payload = self._finished.pop(number, None)
        if payload is None:
            raise ProtocolError("a message refers to a stream that has not arrived")
        self._bytes_in_memory -= self._in_memory.pop(number, 0)
        self._referred.append(payload)
        return payload


def _box_length(data: Buffer, offset: int) -> int:
    length: int = LENGTH.unpack_from(data, offset)[0]
    if not EXTRA < length <= BOX_LIMIT:
        raise ProtocolError("a frame has an impossible length")
    return length


class _Incoming:
    """An incoming stream."""

    def __init__(self, size: int, purpose: int, sink: Sink) -> None:
        self.purpose = purpose
        self.sink = sink
        self._left = size

    def write(self, data: memoryview) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise ProtocolError("a stream is longer than it said")
        self.sink.write(data)

    def finish(self) -> Payload:
        if self._left:
            raise ProtocolError("a stream is shorter than it said")
        return self.sink.finish()


class MemorySink:
    """Collects a stream in the pieces in which it arrives."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: memoryview) -> None:
        self._pieces.append(bytes(data))

    def finish(self) -> Payload:
        return MemoryPayload(self._pieces)

    def abandon(self) -> None:
        self._pieces.clear()


def channel(
    keys: Keys, make_sink: MakeSink, check_owner: Callable[[], None], memory_limit: int = NO_MEMORY_LIMIT
) -> tuple[Sender, Receiver]:
    """Both directions of a connection after the handshake."""
    return Sender(keys.send, check_owner), Receiver(keys.receive, make_sink, memory_limit)
