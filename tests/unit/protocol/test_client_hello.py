"""What is read of the first message of TLS, by what Python's own client sends."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.errors import ProtocolError
from gdispy.protocol.client_hello import RECORD_HEAD, RECORD_LIMIT, record_length, server_name_in


def client_hello(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("name", ["a" * 40 + "." + "b" * 40, "x"])
def test_server_name_is_found(name: str) -> None:
    record = client_hello(name)
    assert record_length(record[:RECORD_HEAD]) == len(record) <= RECORD_LIMIT
    assert server_name_in(record) == name


def test_client_hello_without_a_server_name_has_none() -> None:
    assert server_name_in(client_hello(None)) == ""


@given(st.data())
def test_what_is_damaged_has_none_or_is_refused(data: st.DataObject) -> None:
    record = bytearray(client_hello("name"))
    for _ in range(data.draw(st.integers(1, 4))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(record[: data.draw(st.integers(0, len(record)))])
    with contextlib.suppress(ProtocolError):
        assert isinstance(server_name_in(cut), str)


@pytest.mark.parametrize("head", [b"\x16\x03\x01\xff\xff", b"\x15\x03\x01\0\1", b"\x16\x02\x01\0\1", b"GET /"])
def test_what_is_no_first_record_is_refused(head: bytes) -> None:
    with pytest.raises(ProtocolError):
        record_length(head)
