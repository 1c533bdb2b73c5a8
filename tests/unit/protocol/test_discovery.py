"""Packets of discovery: what was made with the secret opens, once, and all else is ignored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdispy.errors import ProtocolError
from gdispy.protocol.discovery import (
    BODY_BYTES,
    CLOCK_LIMIT,
    HERE,
    LOOK,
    MAGIC,
    MEMORY,
    PACKET_BYTES,
    PACKET_LIMIT,
    Packet,
    ReplayCache,
    pack,
    unpack,
)
from gdispy.protocol.handshake import seal

KEY = bytes(range(32))
NONCE = b"n" * 24
PACKET = Packet(HERE, b"i" * 16, 1000.0, 51348, "10.0.0.1", "host")


def sealed(body: bytes) -> bytes:
    return MAGIC + NONCE + seal(KEY, NONCE, body)


def changed(**fields: Any) -> bytes:
    return sealed(filled([*{**vars(PACKET), **fields}.values()]))


def filled(values: list[Any]) -> bytes:
    """A body with these fields, and zeros behind them."""
    zeros = BODY_BYTES - len(msgpack.packb([*values, b""]))
    return bytes(msgpack.packb([*values, bytes(zeros)]))


def test_packet_comes_out_as_it_went_in() -> None:
    assert unpack(KEY, pack(KEY, PACKET, NONCE)) == PACKET


def test_packet_is_what_the_published_vector_says() -> None:
    vectors = json.loads((Path(__file__).parent / "vectors.json").read_text())
    packet = Packet(HERE, bytes.fromhex(vectors["udp_instance"]), 1700000000.0, 51348, "", "host")
    data = pack(bytes.fromhex(vectors["udp_key"]), packet, bytes.fromhex(vectors["udp_nonce"]))
    assert data.hex() == vectors["udp_packet"]


@example(address="", name="\N{GRINNING FACE}" * 64, port=65535)
@example(address="x" * 60, name="x" * 80, port=65535)
@given(address=st.text(max_size=60), name=st.text(max_size=80), port=st.integers(0, 65535))
def test_packets_fit_and_no_answer_is_longer_than_what_it_answers(address: str, name: str, port: int) -> None:
    address, name = (text.encode("utf-8", "ignore").decode() for text in (address, name))
    look = pack(KEY, Packet(LOOK, b"i" * 16, 1000.0, 0, "", ""), NONCE)
    here = pack(KEY, Packet(HERE, b"i" * 16, 1000.0, port, address, name, port, address), NONCE)
    assert len(look) == PACKET_BYTES
    assert len(here) <= len(look) <= PACKET_LIMIT


def test_packet_of_another_secret_is_ignored() -> None:
    with pytest.raises(ProtocolError, match="another secret"):
        unpack(bytes(32), pack(KEY, PACKET, NONCE))


def test_packet_with_any_bit_flipped_is_ignored() -> None:
    good = pack(KEY, PACKET, NONCE)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            unpack(KEY, bytes(bad))


def test_packet_cut_anywhere_is_ignored() -> None:
    good = pack(KEY, PACKET, NONCE)
    for length in range(len(good)):
        with pytest.raises(ProtocolError):
            unpack(KEY, good[:length])


@given(st.binary(max_size=600))
def test_random_bytes_are_ignored(data: bytes) -> None:
    for each in (data, MAGIC + data):
        with pytest.raises(ProtocolError):
            unpack(KEY, each)


def test_packet_that_is_shorter_than_an_answer_is_ignored() -> None:
    values = [LOOK, *list(vars(PACKET).values())[1:]]
    bare = len(msgpack.packb([*values, b""]))
    assert unpack(KEY, sealed(filled(values))).kind == LOOK
    for zeros in range(BODY_BYTES - bare):
        with pytest.raises(ProtocolError, match="not a packet"):
            unpack(KEY, sealed(msgpack.packb([*values, bytes(zeros)])))


def test_packet_that_is_too_long_is_ignored() -> None:
    with pytest.raises(ProtocolError, match="not a packet"):
        unpack(KEY, sealed(bytes(PACKET_LIMIT)))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sealed(b"\xc1" * BODY_BYTES), id="not msgpack"),
        pytest.param(sealed(b""), id="nothing"),
        pytest.param(sealed(msgpack.packb("7" * (BODY_BYTES - 2))), id="a text"),
        pytest.param(sealed(filled([1])), id="too few fields"),
        pytest.param(sealed(filled([1, b"i" * 16, 1.0, 1, "", ""])), id="of the first version"),
        pytest.param(sealed(msgpack.packb({"a": bytes(BODY_BYTES - 5)})), id="a map"),
        pytest.param(changed(kind=7), id="unknown kind"),
        pytest.param(changed(kind="LOOK"), id="kind of another type"),
        pytest.param(changed(kind=[1]), id="kind that is an array"),
        pytest.param(changed(instance=b"short"), id="instance too short"),
        pytest.param(changed(instance=7), id="instance that is a number"),
        pytest.param(changed(instance="i" * 16), id="instance that is text"),
        pytest.param(changed(instance=[0] * 16), id="instance that is an array"),
        pytest.param(changed(time=1000), id="time that is no float"),
        pytest.param(changed(time="now"), id="time that is text"),
        pytest.param(changed(port=-1), id="negative port"),
        pytest.param(changed(port=65536), id="port too large"),
        pytest.param(changed(port=True), id="port that is a truth"),
        pytest.param(changed(address=b"10.0.0.1"), id="address that is bytes"),
        pytest.param(changed(name=None), id="no name"),
        pytest.param(changed(udp=70000), id="UDP port too large"),
        pytest.param(changed(via=7), id="relay that is a number"),
    ],
)
def test_packet_with_other_content_is_ignored(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(KEY, data)


# Packets seen before


def test_packet_counts_once() -> None:
    memory, data = ReplayCache(), pack(KEY, PACKET, NONCE)
    assert [memory.is_new(data, PACKET, 1000.0) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(("now", "expected"), [(1000 + CLOCK_LIMIT, True), (1000 - CLOCK_LIMIT, True)])
def test_packet_within_the_limit_of_the_clocks_counts(now: float, expected: bool) -> None:
    assert ReplayCache().is_new(pack(KEY, PACKET, NONCE), PACKET, now) is expected


@pytest.mark.parametrize("now", [1001 + CLOCK_LIMIT, 999 - CLOCK_LIMIT, 0.0, 1e12])
def test_packet_of_another_time_is_ignored(now: float) -> None:
    assert not ReplayCache().is_new(pack(KEY, PACKET, NONCE), PACKET, now)


def test_packet_without_a_sane_time_is_ignored() -> None:
    data = changed(time=float("nan"))
    with pytest.raises(ProtocolError):
        unpack(KEY, data)


def sent_at(time: float, number: int) -> tuple[bytes, Packet]:
    packet = replace(PACKET, time=time)
    return pack(KEY, packet, number.to_bytes(24, "big")), packet


def test_packets_remembered_are_limited() -> None:
    memory = ReplayCache()
    for number in range(MEMORY + 100):
        memory.is_new(*sent_at(1000.0 + number / 1000, number), 1000.0)
    assert len(memory._seen) == len(memory._by_time) == MEMORY


def test_packet_that_is_no_longer_remembered_is_ignored() -> None:
    memory = ReplayCache()
    recorded = [sent_at(1000.0 + number / 1000, number) for number in range(20)]
    assert all(memory.is_new(*each, 1000.0) for each in recorded)
    for number in range(MEMORY + 100):
        memory.is_new(*sent_at(1001.0 + number / 1000, 100 + number), 1000.0)
    assert not any(memory.is_new(*each, 1001.0) for each in recorded)


def test_full_cache_accepts_what_is_later_than_all_that_it_forgot() -> None:
    memory = ReplayCache()
    for number in range(MEMORY + 100):
        memory.is_new(*sent_at(1000.0 + number / 1000, number), 1000.0)
    assert memory.is_new(*sent_at(1000.5, 1 << 64), 1000.0)


def test_packet_of_a_fast_clock_does_not_shut_out_the_others() -> None:
    memory = ReplayCache()
    memory.is_new(*sent_at(1000.0 + CLOCK_LIMIT, 0), 1000.0)
    for number in range(1, MEMORY + 100):
        memory.is_new(*sent_at(1000.0 + number / 1000, number), 1000.0)
    assert memory.is_new(*sent_at(1020.0, 1 << 64), 1020.0)
