"""Messages between the node, its spawner and the templates: msgpack arrays with file descriptors.

The sockets are local pairs that preserve message boundaries. Each message is an array whose first item is a command;
its descriptors are sent with it.
"""

from __future__ import annotations

import array
import contextlib
import select
import signal
import socket
from typing import Any

from gdispy.worker.originals import fcntl, msgpack, os

#: Maximum size of one message; larger data is passed as an open file.
LIMIT = 64 * 1024
#: Maximum length of a text in a message; each character takes up to four bytes.
TEXT_LIMIT = LIMIT // 5
#: Maximum number of descriptors of one message.
FD_LIMIT = 8

_FD = array.array("i")


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends of a local socket that preserves message boundaries."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: list[object], fds: list[int] | None = None) -> None:
    # Paths need not be UTF-8.
    data = msgpack.packb(message, unicode_errors="surrogateescape")
    if fds:
        socket.send_fds(end, [data], fds)
    else:
        end.send(data)


def send_with_files(end: socket.socket, data: bytes, fds: list[int]) -> int:
    """Send raw bytes with descriptors; returns the number of bytes sent."""
    return end.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def receive(end: socket.socket) -> tuple[list[Any], list[int]] | None:
    """The next message and its descriptors, or None when the other end is closed."""
    try:
        data, ancillary, _, _ = end.recvmsg(LIMIT, socket.CMSG_SPACE(FD_LIMIT * _FD.itemsize))
    except ConnectionError:
        return None
    fds = descriptors(ancillary)
    if not data:
        return None
    return msgpack.unpackb(data, unicode_errors="surrogateescape"), fds


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors of a message; they are not inherited by programs."""
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    for fd in found:
        os.set_inheritable(fd, False)
    return list(found)


def close_all(fds: list[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def memory_file(name: str) -> int:
    """An unnamed file that is removed with its last descriptor; writes append."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


class EventWaiter:
    """Waits for a message on a control socket, or for the end of a child, whichever comes first."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._wakes, self._wake = socket.socketpair()
        self._wakes.setblocking(False)
        self._wake.setblocking(False)
        # A separate handler, or the signal would be ignored without a wake-up.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(self._end, select.POLLIN)
        self._poll.register(self._wakes, select.POLLIN)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for at most `timeout`; returns whether there is a message."""
        ready = {fd for fd, _ in self._poll.poll(None if seconds is None else seconds * 1000)}
        if self._wakes.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                self._wakes.recv(4096)
        return self._end.fileno() in ready

    def leave_in_child(self) -> None:
        """In a forked child: it does not use this socket."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._end, self._wakes, self._wake):
            end.close()
