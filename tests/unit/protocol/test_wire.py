"""What goes into a `Sender` comes out of the `Receiver`; everything else ends the connection."""

from __future__ import annotations

import contextlib
import itertools
import tracemalloc
from typing import Any, ClassVar

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdispy.errors import ForkedError, InternalError, ProtocolError
from gdispy.protocol import wire
from gdispy.protocol.handshake import Keys, next_key
from gdispy.protocol.ids import JobId
from gdispy.protocol.limits import FEW_PAYLOADS, PAYLOADS_BYTES
from gdispy.protocol.messages import FileContents, Message, Progress, Recall, Resume, Run
from gdispy.protocol.payload import MemoryPayload, Payload, bulk_size
from gdispy.protocol.secretbox import seal
from gdispy.protocol.wire import (
    BOX_LIMIT,
    BYE,
    CHUNK_LIMIT,
    CREDIT,
    FILE,
    FIRST,
    LAST,
    LONG_MESSAGE,
    MESSAGE_LIMIT,
    MESSAGES,
    OPEN_LIMIT,
    PAYLOAD,
    PAYLOAD_LIMIT,
    PULSE,
    STREAM,
    STREAM_LIMIT,
    WINDOW,
    Bye,
    FilePayload,
    MemorySink,
    Receiver,
    Sender,
    channel,
)
from tests.unit.builders import Announced, C

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))


class ConnectionPair:
    """One direction of a connection, without a socket; credit flows back by itself where it is not held."""

    def __init__(self, credit: bool = True) -> None:
        self.sender = Sender(KEY)
        self.receiver = Receiver(KEY, lambda size, purpose: MemorySink())
        self._credit = credit
        self.received: list[Message | Bye] = []
        #: Bytes of plaintext that were sent and for which no credit was given.
        self.in_flight = 0

    def turn(self) -> list[Message | Bye]:
        """Carry what `frames` gives once; returns what it completed."""
        found = self.receiver.receive(b"".join(self.sender.frames()))
        size = self.receiver.taken + self.receiver.streamed
        self.receiver.taken = self.receiver.streamed = 0
        if self._credit:
            self.sender.credit(size)
        else:
            self.in_flight += size
        self.received += found
        return found

    def run(self, turns: int = 2000) -> list[Message | Bye]:
        """Carry until nothing is left to send."""
        for _ in range(turns):
            before = self.receiver._counter
            self.turn()
            if self.receiver._counter == before:
                return self.received
        raise AssertionError("it does not come to an end")


class Zeros(Payload):
    """A long payload that costs no memory."""

    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        return bytes(length)


class CountingSink:
    """Counts what arrives and keeps nothing."""

    def __init__(self) -> None:
        self.size = 0
        self.abandoned = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)

    def finish(self) -> Payload:
        return Announced(self.size)

    def abandon(self) -> None:
        self.abandoned += 1


def recall(count: int) -> Recall:
    return Recall(C, count)


def progress(value: Any) -> Progress:
    return Progress(C, JobId(1), 1, 0, value, "")


def content(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    found, offset = b"", 0
    while piece := bytes(value.read(offset, value.size - offset)):
        found += piece
        offset += len(piece)
    assert value.size == offset
    return found


def frame(chunk: bytes, number: int = 0, key: bytes = KEY) -> bytes:
    box = seal(key, number.to_bytes(24, "little"), chunk)
    return len(box).to_bytes(4, "big") + box


def receiver() -> Receiver:
    return Receiver(KEY, lambda size, purpose: MemorySink())


def receive_chunks(*chunks: bytes, into: Receiver | None = None, first: int = 0) -> list[Message | Bye]:
    frames = [frame(chunk, number) for number, chunk in enumerate(chunks, first)]
    return (into or receiver()).receive(b"".join(frames))


def stream(number: int, flags: int, data: bytes, size: int | None = None, purpose: int = PAYLOAD) -> bytes:
    head = bytes([STREAM]) + number.to_bytes(4, "big") + bytes([flags])
    if size is not None:
        head += size.to_bytes(8, "big") + bytes([purpose])
    return head + data


def refer(number: int) -> msgpack.ExtType:
    return msgpack.ExtType(1, number.to_bytes(4, "big"))


def packed(*values: Any) -> bytes:
    return bytes([MESSAGES]) + b"".join(map(msgpack.packb, values))


def long_message(data: bytes) -> list[bytes]:
    """The chunks of a stream with a message of these bytes."""
    parts = [data[begin : begin + 60_000] for begin in range(0, len(data), 60_000)]
    begin = stream(9, FIRST, parts[0], len(data), LONG_MESSAGE)
    return [begin, *(stream(9, 0, part) for part in parts[1:]), stream(9, LAST, b"")]


# What goes in comes out


def test_messages_arrive_in_order_and_equal() -> None:
    pair = ConnectionPair()
    messages = [recall(1), Run(C, [JobId(1), JobId(2)], [1, 1], [b"a", b""]), recall(2)]
    for message in messages:
        pair.sender.put(message)
    assert pair.run() == messages


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(0, 300), st.integers(60_000, 200_000)), min_size=1, max_size=6),
    as_payload=st.lists(st.booleans(), min_size=6, max_size=6),
    cuts=st.lists(st.floats(0, 1), max_size=12),
)
def test_stream_of_bytes_may_be_split_anywhere(sizes: list[int], as_payload: list[bool], cuts: list[float]) -> None:
    sender, found = Sender(KEY), []
    values = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    for value, bulky in zip(values, as_payload, strict=False):
        sender.put(progress(MemoryPayload([value]) if bulky else value))
    data = b""
    while frames := sender.frames():
        data += b"".join(frames)
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    into = receiver()
    for begin, end in itertools.pairwise(places):
        found += into.receive(data[begin:end])
    assert sorted(content(message.value) for message in found) == sorted(values)


def test_stream_of_bytes_may_come_one_by_one() -> None:
    sender, into = Sender(KEY), receiver()
    sender.put(recall(1))
    sender.put(progress(MemoryPayload([b"payload"])))
    data = b"".join(sender.frames() + sender.frames())
    found = [message for place in range(len(data)) for message in into.receive(data[place : place + 1])]
    assert found[0] == recall(1)
    assert content(found[1].value) == b"payload"


@pytest.mark.parametrize("size", [0, 1, CHUNK_LIMIT - 15, CHUNK_LIMIT - 14, CHUNK_LIMIT, 3 * CHUNK_LIMIT + 1])
def test_payload_of_any_size_arrives_whole(size: int) -> None:
    pair = ConnectionPair()
    value = (bytes(range(256)) * (size // 256 + 1))[:size]
    pair.sender.put(progress(MemoryPayload([value[: size // 2], value[size // 2 :]])))
    [message] = pair.run()
    assert content(message.value) == value


def test_several_payloads_of_one_message_each_keep_their_place() -> None:
    pair = ConnectionPair()
    values = [b"a" * 70_000, b"bb", b"c" * 140_000, b""]
    pair.sender.put(Run(C, [JobId(n) for n in range(4)], [1] * 4, [MemoryPayload([value]) for value in values]))
    [run] = pair.run()
    assert [content(each) for each in run.arguments] == values


def test_message_too_long_for_a_frame_arrives_whole() -> None:
    pair = ConnectionPair()
    run = Run(C, [JobId(n) for n in range(50_000)], [1] * 50_000, [b"x"] * 50_000)
    pair.sender.put(run)
    assert pair.run() == [run]


def test_message_too_long_for_a_frame_may_refer_to_payloads() -> None:
    pair = ConnectionPair()
    arguments: list[Any] = [b"x" * 1000] * 100 + [MemoryPayload([b"payload"])]
    pair.sender.put(Run(C, [JobId(n) for n in range(101)], [1] * 101, arguments))
    [run] = pair.run()
    assert [content(each) for each in run.arguments] == [b"x" * 1000] * 100 + [b"payload"]


def test_files_and_payloads_are_announced_as_what_they_are() -> None:
    class File(FilePayload):
        size = 3

        def read(self, offset: int, length: int) -> bytes:
            return b"abc"[offset : offset + length]

    asked: list[tuple[int, int]] = []

    def make_sink(size: int, purpose: int) -> MemorySink:
        asked.append((size, purpose))
        return MemorySink()

    sender, into = Sender(KEY), Receiver(KEY, make_sink)
    sender.put(FileContents(C, [0], [File()]))
    sender.put(progress(MemoryPayload([b"payload"])))
    for _ in range(4):
        into.receive(b"".join(sender.frames()))
    assert asked == [(3, FILE), (7, PAYLOAD)]


def test_file_that_has_shrunk_is_filled_up_to_the_announced_size() -> None:
    class Shrunk(Payload):
        size = 10

        def read(self, offset: int, length: int) -> bytes:
            return b"abcd"[offset : offset + length]

    pair = ConnectionPair()
    pair.sender.put(progress(Shrunk()))
    [message] = pair.run()
    assert content(message.value) == b"abcd" + bytes(6)


def test_received_payload_can_be_read_and_taken_in_parts() -> None:
    pair = ConnectionPair()
    value = bytes(range(256)) * 1000
    pair.sender.put(progress(MemoryPayload([value])))
    [message] = pair.run()
    assert message.value.size == len(value)
    assert b"".join(message.value.parts()) == value


def test_small_messages_pass_between_the_chunks_of_a_large_payload() -> None:
    # Given a payload of many chunks on its way.
    pair = ConnectionPair()
    pair.sender.put(progress(MemoryPayload([bytes(20 * CHUNK_LIMIT)])))
    for count in range(15):
        # When a small message is queued, then it arrives in the next turn.
        pair.sender.put(recall(count))
        assert pair.turn() == [recall(count)]
    assert [type(message) for message in pair.run()[15:]] == [Progress]


def test_pulse_passes_between_the_chunks_of_a_large_payload() -> None:
    pair = ConnectionPair()
    pair.sender.put(progress(MemoryPayload([bytes(5 * CHUNK_LIMIT)])))
    pair.turn()
    assert pair.receiver.receive(b"".join(pair.sender.pulse())) == []
    assert [type(message) for message in pair.run()] == [Progress]


def test_bye_brings_its_reason_and_is_cut_to_a_sane_length() -> None:
    into, sender = receiver(), Sender(KEY)
    assert into.receive(b"".join(sender.bye("closed: a\udcff"))) == [Bye("closed: a?")]
    [bye] = into.receive(b"".join(sender.bye("x" * 5000)))
    assert bye == Bye("x" * 1024)


@pytest.mark.parametrize(
    "value", [b"x", b"x" * 70_000, MemoryPayload([b"x" * 70_000])], ids=["small", "long", "payload"]
)
def test_backlog_counts_what_is_queued_once_and_ends_at_nothing(value: Any) -> None:
    pair = ConnectionPair()
    pair.sender.put(progress(value))
    assert bulk_size(value) <= pair.sender.backlog <= bulk_size(value) + 100
    pair.run()
    assert pair.sender.backlog == 0


def test_what_is_no_payload_cannot_be_put_into_a_message() -> None:
    with pytest.raises(InternalError, match="a set cannot be sent"):
        Sender(KEY).put(progress({1}))


# The window


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> int:
    """A window of 512 KiB, so that the tests need not seal megabytes."""
    monkeypatch.setattr(wire, "WINDOW", 512 * 1024)
    return 512 * 1024


def test_sender_stops_at_the_window_and_goes_on_after_credit(small_window: int) -> None:
    # Given more to send than the window holds, and a peer that gives no credit.
    sender, into = Sender(KEY), Receiver(KEY, lambda size, purpose: CountingSink())
    sender.put(progress(Zeros(small_window + 100_000)))
    while frames := sender.frames():
        into.receive(b"".join(frames))
    # Then it stops at the window, also for small messages.
    assert into.streamed == small_window
    sender.put(recall(1))
    assert sender.frames() == []
    # When credit comes, then it goes on.
    sender.credit(small_window)
    found = []
    while frames := sender.frames():
        found += into.receive(b"".join(frames))
    assert [type(message) for message in found] == [Recall, Progress]


@pytest.mark.parametrize("sizes", [[1], [40_000], [1000, 2000, 3000]])
def test_sender_never_has_more_than_the_window_in_flight(sizes: list[int], small_window: int) -> None:
    sender, into = Sender(KEY), Receiver(KEY, lambda size, purpose: CountingSink())
    for size in sizes:
        sender.put(progress(b"x" * size))
    sender.put(progress(Zeros(2 * small_window)))
    while frames := sender.frames():
        into.receive(b"".join(frames))
    assert into.streamed + into.taken <= small_window
    sender.credit(1)
    while frames := sender.frames():
        into.receive(b"".join(frames))
    assert into.streamed + into.taken <= small_window + 1


def test_pulse_credit_and_bye_need_no_window(small_window: int) -> None:
    sender = Sender(KEY)
    sender.put(progress(Zeros(2 * small_window)))
    into = Receiver(KEY, lambda size, purpose: CountingSink())
    while frames := sender.frames():
        into.receive(b"".join(frames))
    assert into.receive(b"".join(sender.pulse() + sender.give_credit(5) + sender.bye("over"))) == [Bye("over")]
    assert into.granted == 5


def test_credit_that_the_peer_gives_adds_up() -> None:
    into, sender = receiver(), Sender(KEY)
    into.receive(b"".join(sender.give_credit(5) + sender.give_credit(7)))
    assert into.granted == 12


def test_receiver_counts_messages_and_streams_as_the_sender_does() -> None:
    pair = ConnectionPair(credit=False)
    pair.sender.put(recall(1))
    pair.sender.put(progress(MemoryPayload([bytes(100_000)])))
    pair.run()
    assert pair.in_flight == WINDOW - pair.sender._window


# Frames that are not the next one


def two_frames() -> tuple[bytes, bytes]:
    sender = Sender(KEY)
    return b"".join(sender.pulse()), b"".join(sender.bye("over"))


def test_frame_that_is_replayed_is_refused() -> None:
    first, _ = two_frames()
    into = receiver()
    into.receive(first)
    with pytest.raises(ProtocolError, match="does not open"):
        into.receive(first)


def test_frame_after_one_that_was_dropped_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not open"):
        receiver().receive(two_frames()[1])


def test_frames_in_another_order_are_refused() -> None:
    first, second = two_frames()
    with pytest.raises(ProtocolError, match="does not open"):
        receiver().receive(second + first)


def test_frame_that_is_reflected_is_refused() -> None:
    keys = Keys(KEY, OTHER, b"", b"", b"")
    sender, own_receiver = channel(keys, lambda size, purpose: MemorySink(), lambda: None)
    with pytest.raises(ProtocolError, match="does not open"):
        own_receiver.receive(b"".join(sender.pulse()))


def test_frame_from_another_session_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not open"):
        receiver().receive(b"".join(Sender(OTHER).pulse()))


def test_frame_with_any_bit_of_its_box_flipped_is_refused() -> None:
    good = b"".join(Sender(KEY).bye("over"))
    for bit in range(8 * 4, 8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError, match="does not open"):
            receiver().receive(bytes(bad))


@pytest.mark.parametrize("length", [0, 1, 15, 16, BOX_LIMIT + 1, 65_553, 1 << 31, (1 << 32) - 1])
def test_impossible_length_is_refused_before_anything_follows(length: int) -> None:
    with pytest.raises(ProtocolError, match="impossible length"):
        receiver().receive(length.to_bytes(4, "big"))


def test_longest_frame_is_accepted() -> None:
    chunk = stream(1, FIRST, b"", CHUNK_LIMIT)
    chunk += bytes(CHUNK_LIMIT - len(chunk))
    assert receiver().receive(frame(chunk)) == []


def test_frame_that_is_not_complete_yields_nothing_and_is_kept() -> None:
    into, data = receiver(), frame(bytes([BYE]) + b"over")
    assert into.receive(data[:-1]) == []
    assert into.receive(data[-1:]) == [Bye("over")]


# Chunks from a peer that has the key and does not keep to the protocol


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"\x06", id="unknown kind"),
        pytest.param(b"\x05\x00", id="rekey with more behind it"),
        pytest.param(b"\xff", id="unknown kind 255"),
        pytest.param(bytes([CREDIT]) + bytes(7), id="credit too short"),
        pytest.param(bytes([CREDIT]) + bytes(9), id="credit too long"),
        pytest.param(bytes([MESSAGES]) + b"\xc1", id="never used by msgpack"),
        pytest.param(bytes([MESSAGES]) + b"\x93\x0e", id="cut short"),
        pytest.param(bytes([MESSAGES]) + b"\xdd\xff\xff\xff\xff", id="claims 2**32-1 items"),
        pytest.param(bytes([MESSAGES]) + b"\xc6\xff\xff\xff\xff", id="claims 4 GiB"),
        pytest.param(bytes([MESSAGES]) + b"\x91" * 60_000, id="very deep"),
        pytest.param(bytes([MESSAGES]) + b"\xd6\xff\0\0\0\0", id="timestamp"),
        pytest.param(bytes([MESSAGES]) + b"\xc7\x0c\xff" + b"\xff" * 12, id="timestamp of a far future"),
        pytest.param(bytes([MESSAGES]) + b"\xa2\xff\xff", id="text that is not UTF-8"),
        pytest.param(packed({}), id="map"),
        pytest.param(packed({"a": 1}), id="map with content"),
        pytest.param(packed(7), id="number"),
        pytest.param(packed([]), id="empty array"),
        pytest.param(packed(["a"]), id="text for a tag"),
        pytest.param(packed([True, C, 1]), id="truth for a tag"),
        pytest.param(packed([-1, C, 1]), id="negative tag"),
        pytest.param(packed([99, C, 1]), id="unknown message"),
        pytest.param(packed([14, C]), id="too few fields"),
        pytest.param(packed([14, C, "1"]), id="wrong type"),
        pytest.param(packed([14, C, -1]), id="negative count"),
        pytest.param(packed([14, C, 1 << 60]), id="count too large"),
        pytest.param(packed([14, b"short", 1]), id="wrong computation"),
        pytest.param(packed([13, C, [-1], [1]]), id="negative job"),
        pytest.param(packed([13, C, [1, 2], [1]]), id="columns differ"),
        pytest.param(packed([16, C, [1], [1], [float("nan")], ""]), id="not a number"),
        pytest.param(packed([16, C, [1], [1], [float("inf")], ""]), id="infinite"),
        pytest.param(packed([14, C, msgpack.ExtType(7, b"abcd")]), id="unknown extension"),
        pytest.param(packed([14, C, msgpack.ExtType(1, b"abc")]), id="extension of another length"),
        pytest.param(packed([17, C, 1, 1, 0, refer(9), ""]), id="stream that is not there"),
        pytest.param(packed([14, C, 1]) + b"\x91", id="good message and half of one"),
        pytest.param(bytes([STREAM]) + bytes(4), id="piece of a stream cut short"),
        pytest.param(stream(1, FIRST, b""), id="beginning of a stream cut short"),
        pytest.param(stream(1, 0, b"a"), id="stream that has not begun"),
        pytest.param(stream(1, LAST, b""), id="end of a stream that has not begun"),
        pytest.param(stream(1, FIRST, b"abc", 2), id="stream longer than announced"),
        pytest.param(stream(1, FIRST | LAST, b"abc", 4), id="stream shorter than announced"),
        pytest.param(stream(1, FIRST, b"", 4, purpose=3), id="stream of unknown purpose"),
        pytest.param(stream(1, FIRST, b"", MESSAGE_LIMIT + 1, LONG_MESSAGE), id="message too long"),
        pytest.param(stream(1, FIRST | LAST, b"\xc1", 1, LONG_MESSAGE), id="long message of rubbish"),
    ],
)
def test_chunk_that_does_not_follow_the_protocol_is_refused(chunk: bytes) -> None:
    with pytest.raises(ProtocolError):
        receive_chunks(chunk)


def test_message_100_000_arrays_deep_is_refused() -> None:
    data = b"\x91" * 100_000
    first = stream(1, FIRST, data[:60_000], len(data), LONG_MESSAGE)
    with pytest.raises(ProtocolError, match="not msgpack as expected"):
        receive_chunks(first, stream(1, LAST, data[60_000:]))


def test_refusal_keeps_the_peers_bytes_out_of_its_text() -> None:
    with pytest.raises(ProtocolError) as caught:
        receive_chunks(bytes([MESSAGES]) + b"\xa9secretive\xc1")
    assert "secretive" not in str(caught.value)


def test_stream_that_begins_twice_is_refused() -> None:
    with pytest.raises(ProtocolError, match="begins twice"):
        receive_chunks(stream(1, FIRST, b"", 4), stream(1, FIRST, b"", 4))
    with pytest.raises(ProtocolError, match="begins twice"):
        receive_chunks(stream(1, FIRST | LAST, b"", 0), stream(1, FIRST, b"", 4))


def test_stream_that_goes_on_after_its_end_is_refused() -> None:
    with pytest.raises(ProtocolError, match="has not started"):
        receive_chunks(stream(1, FIRST | LAST, b"", 0), stream(1, 0, b"a"))


def test_stream_longer_than_announced_is_refused_in_the_chunk_that_exceeds() -> None:
    with pytest.raises(ProtocolError, match="longer than it said"):
        receive_chunks(stream(1, FIRST, b"ab", 3), stream(1, LAST, b"cd"))


def test_too_many_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STREAM_LIMIT", 1000)
    chunks = [stream(number, FIRST | LAST, b"", 0, FILE) for number in range(1000)]
    into = receiver()
    assert receive_chunks(*chunks, into=into) == []
    with pytest.raises(ProtocolError, match="too many streams"):
        into.receive(frame(stream(1000, FIRST, b"", 0, FILE), 1000))


def test_too_many_open_streams_are_refused() -> None:
    chunks = [stream(number, FIRST, b"", 1) for number in range(OPEN_LIMIT)]
    into = receiver()
    assert receive_chunks(*chunks, into=into) == []
    with pytest.raises(ProtocolError, match="too many streams are open"):
        into.receive(frame(stream(OPEN_LIMIT, FIRST, b"", 1), OPEN_LIMIT))


def test_two_long_messages_at_once_are_refused() -> None:
    with pytest.raises(ProtocolError, match="two long messages"):
        receive_chunks(stream(1, FIRST, b"", 9, LONG_MESSAGE), stream(2, FIRST, b"", 9, LONG_MESSAGE))


def test_payloads_that_nothing_refers_to_are_bounded_in_number_and_bytes() -> None:
    chunks = [stream(number, FIRST | LAST, b"", 0) for number in range(PAYLOAD_LIMIT)]
    into = receiver()
    assert receive_chunks(*chunks, into=into) == []
    with pytest.raises(ProtocolError, match="too many payloads that no message has referred to"):
        into.receive(frame(stream(PAYLOAD_LIMIT, FIRST, b"", 0), PAYLOAD_LIMIT))
    # Few may be as large as memory allows, many not.
    large = [stream(number, FIRST, b"", 1 << 30) for number in range(FEW_PAYLOADS)]
    into = Receiver(KEY, lambda size, purpose: MemorySink())
    assert receive_chunks(*large[: OPEN_LIMIT - 1], into=into) == []
    many = [stream(number, FIRST | LAST, b"", 0) for number in range(FEW_PAYLOADS)]
    into = Receiver(KEY, lambda size, purpose: MemorySink())
    assert receive_chunks(*many, stream(99, FIRST, b"", PAYLOADS_BYTES), into=into) == []
    with pytest.raises(ProtocolError, match="and this side takes 268,435,456 at most"):
        into.receive(frame(stream(100, FIRST, b"", 1), FEW_PAYLOADS + 1))
    # Before anything is made ready for it.
    into = Receiver(KEY, lambda size, purpose: pytest.fail("a sink was made"), memory_limit=1000)
    with pytest.raises(ProtocolError, match=r"payloads of 1,001 bytes .*, and this side takes 1,000 at most"):
        into.receive(frame(stream(1, FIRST, b"", 1001), 0))
    into = Receiver(KEY, lambda size, purpose: MemorySink(), memory_limit=1000)
    message = packed([17, C, 1, 1, 0, refer(1), "", b""])
    assert len(receive_chunks(stream(1, FIRST | LAST, b"x" * 600, 600), message, into=into)) == 1
    assert receive_chunks(stream(1, FIRST | LAST, b"x" * 600, 600), into=into, first=2) == []


class Counted:
    """A sink that tells what has become of it."""

    made: ClassVar[list[Counted]] = []

    def __init__(self, size: int, purpose: int) -> None:
        self.is_open, self.payload = True, None
        self.made.append(self)

    def write(self, data: memoryview) -> None:
        pass

    def finish(self) -> Any:
        self.is_open, self.payload = False, Announced(1)
        return self.payload

    def abandon(self) -> None:
        assert self.is_open
        self.is_open = False


WHOLE = stream(1, FIRST | LAST, b"x", 1)
BREAKS = {
    "shorter than announced": [stream(1, FIRST, b"x", 9), stream(1, LAST, b"")],
    "longer than announced": [stream(1, FIRST, b"", 1), stream(1, 0, b"xx")],
    "begins twice": [stream(1, FIRST, b"", 9), stream(1, FIRST, b"", 9)],
    "the connection ends in the middle": [stream(1, FIRST, b"x", 9)],
    "nobody refers to it": [WHOLE],
    "a message refers to it that is none": [WHOLE, packed([17, C, "no number", 1, 0, refer(1), "", b""])],
    "a message refers to it that is no msgpack": [WHOLE, packed([17, C, 1, 1, 0, refer(1), "", b""])[:-1] + b"\xc1"],
    "a message refers to it twice": [WHOLE, packed([18, C, [1, 2], [1, 1], [refer(1), refer(1)]])],
    "the message behind its own is none": [WHOLE, packed([17, C, 1, 1, 0, refer(1), "", b""]) + b"\x01"],
    "a chunk behind its message is none": [WHOLE, packed([17, C, 1, 1, 0, refer(1), "", b""]), b"\xff"],
    "in a long message that is none": [WHOLE, *long_message(b"\x92\x11" + b"\xd6\x01\0\0\0\1")],
}


@pytest.mark.parametrize("chunks", BREAKS.values(), ids=BREAKS)
def test_whatever_breaks_each_stream_is_given_back_once(chunks: list[bytes]) -> None:
    Counted.made.clear()
    into = Receiver(KEY, Counted)
    with contextlib.suppress(ProtocolError):
        into.receive(b"".join(frame(chunk, number) for number, chunk in enumerate(chunks)))
    into.abandon()
    assert [sink.is_open for sink in Counted.made] == [False] * len(Counted.made) and Counted.made
    assert [sink.payload.released for sink in Counted.made if sink.payload is not None] in ([1], [])


def test_message_of_more_elements_than_one_may_have_is_refused_while_it_is_read() -> None:
    inner = b"\xdc\xff\xff" + b"\x90" * 65_535
    data = b"\xdc\x03\xe8" + inner * 1000
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="too many elements"):
            receive_chunks(*long_message(data))
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
    finally:
        tracemalloc.stop()


def test_array_of_more_elements_than_a_column_holds_is_refused() -> None:
    with pytest.raises(ProtocolError):
        receive_chunks(*long_message(b"\xdd\0\1\0\1" + b"\xc0" * 65_537))


def test_direction_goes_on_with_the_next_key_when_the_sender_says_so() -> None:
    sender, into = Sender(KEY), receiver()
    for number in range(3):
        for each in (*sender.rekey(), *sender.pulse()):
            assert into.receive(each) == []
        assert sender._key == into._key != KEY, number
    with pytest.raises(ProtocolError, match="does not open"):
        into.receive(frame(bytes([PULSE, 1]), 6))


def test_stream_serves_one_reference_only() -> None:
    with pytest.raises(ProtocolError, match="a stream that has not arrived"):
        receive_chunks(
            stream(1, FIRST | LAST, b"a", 1),
            packed([17, C, 1, 1, 0, refer(1), "", b""]),
            packed([17, C, 1, 1, 1, refer(1), "", b""]),
        )


def test_stream_that_has_not_ended_cannot_be_referred_to() -> None:
    with pytest.raises(ProtocolError, match="a stream that has not arrived"):
        receive_chunks(stream(1, FIRST, b"a", 2), packed([17, C, 1, 1, 0, refer(1), "", b""]))


def test_huge_announcement_allocates_nothing() -> None:
    assert receive_chunks(stream(1, FIRST, b"a", 1 << 62)) == []


def test_receiver_whose_connection_is_over_gives_back_what_it_holds() -> None:
    # Given one stream half received, and one that no message refers to.
    sinks: list[CountingSink] = []

    def make_sink(size: int, purpose: int) -> CountingSink:
        sinks.append(CountingSink())
        return sinks[-1]

    into = Receiver(KEY, make_sink)
    receive_chunks(stream(1, FIRST, b"a", 2), stream(2, FIRST | LAST, b"a", 1), into=into)
    payload = into._finished[2]
    # When the connection is over, then both are given back, once.
    into.abandon()
    into.abandon()
    assert [sink.abandoned for sink in sinks] == [1, 0]
    assert isinstance(payload, Announced)
    assert payload.released == 1


# The fork guard


def test_key_changes_after_so_many_frames_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "KEY_FRAMES", 3)
    sender, into = Sender(KEY), receiver()
    found: list[Message | Bye] = []
    for number in range(10):
        sender.put(recall(number))
        found += into.receive(b"".join(sender.frames()))
    assert found == [recall(number) for number in range(10)]
    # Each key is made of the one before, and what that has sealed is not taken any more.
    keys = [KEY]
    while len(keys) < 5:
        keys.append(next_key(keys[-1]))
    chunk = packed(recall(7).values())
    into = receiver()
    for number in range(12):
        assert into.receive(frame(chunk, number, keys[number // 3])) == [recall(7)]
    with pytest.raises(ProtocolError):
        into.receive(frame(chunk, 12, keys[3]))


@pytest.mark.parametrize("what", ["frames", "pulse", "give_credit", "bye"])
def test_forked_copy_seals_nothing(what: str) -> None:
    def refuse() -> None:
        raise ForkedError

    sender = Sender(KEY, refuse)
    sender.put(recall(1))
    arguments: dict[str, tuple[Any, ...]] = {"give_credit": (1,), "bye": ("",)}
    with pytest.raises(ForkedError):
        getattr(sender, what)(*arguments.get(what, ()))
    assert sender._counter == 0


def test_constants_are_those_of_the_document() -> None:
    assert (MESSAGES, STREAM, PULSE, CREDIT, BYE) == (0, 1, 2, 3, 4)
    assert (PAYLOAD, FILE, LONG_MESSAGE) == (0, 1, 2)
    assert (FIRST, LAST) == (1, 2)
    assert (CHUNK_LIMIT, BOX_LIMIT, WINDOW) == (65_536, 65_552, 8_388_608)
    assert (wire.CREDIT_STEP, MESSAGE_LIMIT, STREAM_LIMIT) == (1_048_576, 67_108_864, 131_072)
    assert wire.KEY_FRAMES == 1_048_576


def test_nothing_overtakes_a_long_message_that_leads() -> None:
    pair = ConnectionPair()
    jobs = [JobId(number) for number in range(60_000)]
    resume = Resume([C], [jobs])
    later = [Run(C, [JobId(99_999)], [1], [b"x"]), recall(1)]
    for message in (resume, *later):
        pair.sender.put(message)
    assert pair.run() == [resume, *later]


def test_more_jobs_than_one_message_has_elements_are_resumed_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ELEMENT_LIMIT", 100_000)
    monkeypatch.setattr("gdispy.protocol.splitting.ELEMENT_LIMIT", 100_000)
    pair = ConnectionPair()
    jobs = [JobId(number) for number in range(300_000)]
    pair.sender.put(Resume([C], [jobs]))
    pair.sender.put(recall(1))
    *parts, last = pair.run()
    assert last == recall(1) and len(parts) > 3
    assert [each.more for each in parts] == [True] * (len(parts) - 1) + [False]  # type: ignore[union-attr]
    found = [job for each in parts for row in each.jobs for job in row]  # type: ignore[union-attr]
    assert found == jobs
