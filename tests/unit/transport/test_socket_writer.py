"""Writing frames into a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from gdispy.transport import socket_writer as module
from gdispy.transport.socket_writer import SocketWriter


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def read_all(end: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        module.socket.wait_read(end.fileno())
        found += end.recv(1 << 20)
    return found


def test_what_fits_is_written_at_once_and_counted(ends: Any) -> None:
    writer = SocketWriter(ends[0].fileno(), None)
    writer.write_at_once([b"one", b"two"])
    assert ends[1].recv(10) == b"onetwo" and writer.rest == b"" and writer.sent == 6


def test_what_does_not_fit_is_kept_in_its_order(ends: Any) -> None:
    writer = SocketWriter(ends[0].fileno(), None)
    data = os.urandom(1 << 20)
    writer.write_at_once([data])
    assert 0 < writer.sent < len(data) and bytes(writer.rest) == data[writer.sent :]


def test_broken_socket_keeps_everything_for_whoever_waits_to_write(ends: Any) -> None:
    ends[1].close()
    writer = SocketWriter(ends[0].fileno(), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: (_ for _ in ()).throw(BrokenPipeError()))
        writer.write_at_once([b"x"])
    assert writer.rest == b"x" and writer.sent == 0


def test_many_pieces_arrive_whole_although_the_other_side_reads_late(ends: Any) -> None:
    writer = SocketWriter(ends[0].fileno(), None)
    pieces = [os.urandom(20_000) for _ in range(3 * module.WRITE_PIECES)]
    whole = b"".join(pieces)
    reader = gevent.spawn(read_all, ends[1], len(whole))
    assert writer.write_all(list(pieces)) == len(whole) == writer.sent
    assert reader.get(timeout=20) == whole


def test_tunnel_seals_all_frames_together_and_nothing_where_there_are_none() -> None:
    writer = SocketWriter(-1, lambda data: b"<" + data + b">")
    assert writer.is_tunnel and writer.sealed([b"a", b"b"]) == [b"<ab>"] and writer.sealed([]) == []
    assert SocketWriter(-1, None).sealed([b"a", b"b"]) == [b"a", b"b"]
