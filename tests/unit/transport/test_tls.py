"""When a certificate expires, as its bytes say."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.transport.tls import expiry


def element(tag: int, *contents: bytes) -> bytes:
    body = b"".join(contents)
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def certificate(end: bytes, version: bytes = element(0xA0, element(2, b"\2")), name: bytes = b"name") -> bytes:
    head = [element(2, b"\1"), element(0x30), element(0x30, name)]
    validity = element(0x30, element(0x17, b"200101000000Z"), end)
    return element(0x30, element(0x30, version, *head, validity, element(0x30, name)), element(0x30), element(3))


@pytest.mark.parametrize(
    ("end", "year"),
    [
        (element(0x17, b"361231235959Z"), 2036),
        (element(0x17, b"991231235959Z"), 1999),
        (element(0x18, b"20511231235959Z"), 2051),
    ],
)
@pytest.mark.parametrize("version", [b"", element(0xA0, element(2, b"\2"))])
@pytest.mark.parametrize("name", [b"x", b"x" * 200, b"x" * 70_000])
def test_the_end_is_found(end: bytes, year: int, version: bytes, name: bytes) -> None:
    found = expiry(certificate(end, version, name))
    assert found == datetime.datetime(year, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)


def test_dates_that_are_none_are_not_guessed() -> None:
    assert expiry(certificate(element(0x17, b"361331235959Z"))) is None
    assert expiry(certificate(element(0x04, b"361231235959Z"))) is None


@given(st.binary(max_size=200), st.integers(0, 120))
def test_bytes_that_are_no_certificate_break_nothing(junk: bytes, cut: int) -> None:
    expiry(junk)
    expiry(certificate(element(0x17, b"361231235959Z"))[:cut] + junk)
