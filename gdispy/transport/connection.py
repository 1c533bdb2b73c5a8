"""A connection after its handshake: greenlets that read and write, and heartbeats.

Runs on one gevent loop. A `Connection` knows its peer but nothing about jobs; received messages go to the pump of the
role.

Invariants:
1. Only the reader greenlet reads. Only the writer greenlet waits to write; data that fits into the socket is written
   directly, without waking it. An interrupted write closes the connection.
2. `on_closed` is called exactly once, with the reason, for each connection that was started.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import gevent
import gevent.event
from gevent import socket

from gdispy.buffers.native import memory_size
from gdispy.errors import ConnectFailed, ForkedError, ProtocolError
from gdispy.protocol.handshake import Keys
from gdispy.protocol.heartbeat import INTERVAL
from gdispy.protocol.identity import SEED_BYTES, Identity, check_proof
from gdispy.protocol.ids import Peer
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import Hello, Message
from gdispy.protocol.texts import REFUSED
from gdispy.protocol.wire import (
    CREDIT_STEP,
    NO_MEMORY_LIMIT,
    Bye,
    Frame,
    MakeSink,
    MemorySink,
    MessageRefused,
    Sink,
    channel,
)
from gdispy.runtime.event_loop import EventLoop, Watcher
from gdispy.runtime.greenlets import spawn
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.interfaces import host_of
from gdispy.transport.liveness import Liveness
from gdispy.transport.socket_writer import SocketWriter

if TYPE_CHECKING:
    from gdispy.transport.tls import Tunnel

#: A connected socket, or TLS over one.
ConnectedSocket: TypeAlias = "socket.socket | Tunnel"

logger = logging.getLogger(__name__)

#: Size of a read from a socket.
READ_SIZE = 256 * 1024
#: The same after small reads: a large buffer costs time even if it stays empty.
SMALL_READ = 4096
#: Bytes of frames combined in one write.
WRITE_SIZE = 256 * 1024
#: Number of transmissions of the same bytes after which a connection counts as stuck.
STUCK_AFTER = 1

#: The share of this machine's memory that payloads of one peer may fill before a message refers to them.
MEMORY_PART = 0.75

#: Bytes of answers that may wait for the peer that requested them; and bytes of all waiting data above which they
#: count.
ANSWERS_LIMIT = 64 * 1024 * 1024
FEW_BYTES = 1024 * 1024

#: Seconds for the other side to read why it is refused.
REFUSAL_LIMIT = 1.0

#: The reason for closing a redundant connection: its two sides have another.
CONNECTED = "connected already"

_peers = itertools.count(1)
_log = LimitedLog(logger)


def next_peer() -> Peer:
    """An identifier for a connection or an end of a pair, unique in this process."""
    return Peer(next(_peers))


def new_identity() -> Identity:
    """A new identity of this process, or of a visitor in it."""
    return Identity(secrets.token_bytes(SEED_BYTES))


@lru_cache(maxsize=1)
def memory_limit() -> int:
    """Maximum size of payloads that a peer may send before a message refers to them."""
    size = memory_size()
    return int(MEMORY_PART * size) if size else NO_MEMORY_LIMIT


def any_sink(size: int, purpose: int) -> Sink:
    """Collects received data in memory, in pieces."""
    return MemorySink()


@dataclass
class Handlers:
    """The callbacks of a role for a connection. All are called in the connection's loop."""

    on_messages: Callable[[Connection, list[Message]], None]
    on_closed: Callable[[Connection, str], None]
    on_silent: Callable[[Connection, bool], None] = lambda connection, silent: None
    make_sink: MakeSink = any_sink


class Connection:
    """A connection after its handshake. `address` is that of the other side."""

    def __init__(self, sock: ConnectedSocket, keys: Keys, handlers: Handlers, pulse: float = INTERVAL) -> None:
        self.peer = next_peer()
        self.address = host_of(sock.getpeername())
        self.port: int = sock.getpeername()[1]
        #: The address of this side.
        self.local = host_of(sock.getsockname())
        self.instance = keys.instance
        self._keys = keys
        #: A `Tunnel` has the part of this interface that is used for one.
        self._socket: socket.socket = sock
        self._handlers = handlers
        self._liveness = Liveness(pulse, self._give_sign, self._report_silence, self._finish, self._fail)
        self._sender, self._receiver = channel(keys, handlers.make_sink, _only_here(), memory_limit())
        self._wake = gevent.event.Event()
        self._closing = ""
        self._closed = False
        self._ungranted = 0
        self._flushing = False
        self._writing = False
        self._output = SocketWriter(sock.fileno(), getattr(sock, "seal", None))
        self._readable: Watcher | None = None
        self._greenlets: list[gevent.Greenlet] = []
        #: Called once, when the first sealed frame of the peer was decrypted, or the connection has ended before.
        self._when_proven: Callable[[bool], None] | None = None
        #: Whether it seems to have ended because packets were dropped, possibly only long ones.
        self.stuck = False
        #: Bytes of answers queued since the queue was last nearly empty.
        self._unread_answers = 0
        #: Bytes received, including framing.
        self.received = 0

    @property
    def sent(self) -> int:
        """Bytes sent, including framing."""
        return self._output.sent

    def when_proven(self, call: Callable[[bool], None]) -> None:
        """Call `call` once: with True when the first sealed frame of the peer was decrypted, which proves the secret,
        with False when the connection has ended before."""
        if self._closed:
            call(False)
        else:
            self._when_proven = call

    def _prove(self, proven: bool) -> None:
        call, self._when_proven = self._when_proven, None
        if call is not None:
            call(proven)

    def start(self) -> None:
        """Start reading and writing."""
        self._loop: EventLoop = gevent.get_hub().loop
        self._readable = self._loop.io(self._socket.fileno(), 1)
        self._greenlets = [
            spawn(self._go_on, self._read, what="the reader of a connection"),
            spawn(self._go_on, self._write, what="the writer of a connection"),
        ]
        self._liveness.start()

    def send(self, message: Message, follows: bool = False) -> None:
        """Queue a message; no effect on a closed connection. With `follows` it overtakes no earlier message."""
        if not self._closed and not self._closing:
            self._sender.put(message, follows)
            if self._liveness.heartbeat.is_slow:
                self._liveness.asked()
            if not self._flushing:
                self._flushing = True
                self._loop.run_callback(self._flush)

    def answer(self, message: Message) -> None:
        """Send an answer to a request. A peer that keeps sending requests without reading answers is disconnected."""
        before = self._sender.backlog
        if before < FEW_BYTES:
            self._unread_answers = 0
        self.send(message)
        self._unread_answers += self._sender.backlog - before
        if self._unread_answers > ANSWERS_LIMIT:
            self.abort(f"{REFUSED}{self._unread_answers:,} bytes of answers were not read")

    def introduce(self, hello: Hello, identity: Identity) -> None:
        """Send this side's `Hello`, with the proof that is valid only on this connection."""
        self.send(replace(hello, proof=identity.proof(self._keys.own_binding)))

    def check_identity(self, hello: Hello) -> None:
        """Raise MessageRefused if the peer is not the process that it claims to be."""
        try:
            check_proof(hello.instance, hello.proof, self._keys.peer_binding)
        except ProtocolError as error:
            raise MessageRefused(str(error)) from error
        if self._keys.instance not in (b"", hello.instance):
            raise MessageRefused("its Hello has a different instance than its handshake")

    def _flush(self) -> None:
        """Write what fits into the socket immediately; the writer greenlet does the rest.

        Most messages are short and fit, so nothing has to be woken up.
        """
        self._flushing = False
        if self._closed or self._writing or self._output.rest:
            return
        if self._sender.is_streaming:
            self._wake.set()
            return
        try:
            frames = self._next_frames()
        except ForkedError:
            return
        except Exception as error:  # In a callback of the loop, which would lose the exception.
            _log.log_failure(logging.CRITICAL, type(error), error, "gdispy: a defect in a connection")
            self._fail(error)
            return
        if not frames:
            return
        self._output.write_at_once(frames)
        self._liveness.heartbeat.sent(time.monotonic())
        if self._output.rest or self._sender.backlog:
            self._wake.set()

    @property
    def quiet(self) -> float:
        """The number of missed heartbeats of the other side, including fractions."""
        return self._liveness.heartbeat.missing(time.monotonic())

    @property
    def backlog(self) -> int:
        """The number of bytes waiting to be sent."""
        return self._sender.backlog

    def acknowledge(self, size: int) -> None:
        """This many received bytes were processed; the peer may send as many more."""
        self._ungranted += size
        if self._ungranted >= CREDIT_STEP:
            self._wake.set()

    def set_pulse(self, pulse: float) -> None:
        """Set the interval of heartbeats in both directions (seconds)."""
        self._liveness.set_interval(pulse)

    @property
    def rests(self) -> bool:
        return self._liveness.heartbeat.calm is True

    def rest(self, rests: bool) -> None:
        """Set whether this side is idle, so that heartbeats may be rare. A side that never sets it adopts the state of
        the other side."""
        self._liveness.rest(rests)

    def close(self, reason: str) -> None:
        """Send queued data and a goodbye, then close; `on_closed` follows."""
        if not self._closed and not self._closing:
            self._closing = reason or "closed"
            self._wake.set()

    def abort(self, reason: str) -> None:
        """Close immediately."""
        self._finish(reason)

    def forget_in_child(self) -> None:
        """Close a forked child's copy, so that the parent's connection ends when the parent's does."""
        with contextlib.suppress(OSError):
            os.close(self._socket.fileno())

    def _go_on(self, work: Callable[[], None]) -> None:
        """Read, or write, until the end of the connection. If this fails, the connection is closed, since it would hang
        silently."""
        try:
            work()
        except MessageRefused as error:
            self._refuse(f"{REFUSED}{error}")
        except (ProtocolError, ConnectFailed) as error:
            self._finish(str(error))
        except OSError as error:
            self._finish(f"the connection broke: {plain(error)}")
        except ForkedError:
            self._finish("forked")
        except Exception as error:
            _log.log_failure(logging.CRITICAL, type(error), error, "gdispy: a defect in a connection")
            self._finish(_defect(error))
        except BaseException:  # In a patched program Ctrl-C may be raised in any greenlet.
            self._finish("interrupted")
            raise

    def _fail(self, error: BaseException) -> None:
        """A callback of the loop has failed: close, in a greenlet, since `on_closed` may wait."""
        spawn(self._finish, _defect(error), what="the end of a connection")

    def _refuse(self, reason: str) -> None:
        """Send the other side the reason, or it would send the same again, and close. In the reader greenlet."""
        if self._closed:
            return
        self._closing = reason
        with contextlib.suppress(OSError, ForkedError):
            if not self._writing and not self._output.rest:
                self._output.write_at_once(self._output.sealed(self._sender.bye(reason)))
                self._socket.shutdown(socket.SHUT_WR)
                # Closing with unread bytes resets the connection, and the goodbye would be lost.
                with gevent.Timeout(REFUSAL_LIMIT, False):
                    while self._socket.recv(SMALL_READ):
                        pass
        self._finish(reason)

    def _read(self) -> None:
        hub = gevent.get_hub()
        size = SMALL_READ
        while not self._closed:
            if not self._output.is_tunnel:  # A tunnel may hold more than the socket has.
                hub.wait(self._readable)
            data = self._received(size)
            size = READ_SIZE if len(data) >= SMALL_READ else SMALL_READ
            if not data:
                raise ConnectFailed("the connection broke: the other side closed it unexpectedly")
            self._take(data)

    def _received(self, size: int) -> bytes | memoryview:
        """Up to `size` bytes from the socket."""
        if size <= SMALL_READ or self._output.is_tunnel:
            return self._socket.recv(size)  # type: ignore[no-any-return]
        room = _room()
        return room[: self._socket.recv_into(room)]

    def _take(self, data: bytes | memoryview) -> None:
        receiver = self._receiver
        self.received += len(data)
        found = receiver.receive(data)
        if self._when_proven is not None and receiver.has_opened:
            self._prove(True)
        promised, receiver.promised = receiver.promised, 0
        self._liveness.heard(promised, bool(found))
        if receiver.granted:
            self._sender.credit(receiver.granted)
            receiver.granted = 0
            self._wake.set()
        if receiver.streamed:
            streamed, receiver.streamed = receiver.streamed, 0
            self.acknowledge(streamed)
        if not found:
            return
        bye = _cut_off_bye(found) if Bye in map(type, found) else None
        if found:
            self._handlers.on_messages(self, found)  # type: ignore[arg-type]
        if bye is not None:
            raise ConnectFailed(printable(bye.reason))

    def taken(self) -> int:
        """Bytes of messages received since the last call."""
        taken, self._receiver.taken = self._receiver.taken, 0
        return taken

    def _write(self) -> None:
        while not self._closed:
            output = self._output
            rest, output.rest = output.rest, b""
            frames = [rest] if rest else self._next_frames()
            if frames:
                self._writing = True
                size = output.write_all(frames)
                self._writing = False
                self._liveness.heartbeat.sent(time.monotonic())
                if size > WRITE_SIZE // 2:
                    gevent.sleep(0)  # Let other greenlets run between two large writes.
            elif self._closing:
                output.write_all(output.sealed(self._sender.bye(self._closing)))
                self._finish(self._closing)
            else:
                self._wake.wait()
                self._wake.clear()

    def _next_frames(self) -> list[Frame]:
        sender = self._sender
        frames: list[Frame] = []
        if self._ungranted >= CREDIT_STEP:
            frames += sender.give_credit(self._ungranted)
            self._ungranted = 0
        size = 0
        while size < WRITE_SIZE:
            more = sender.frames()
            if not more:
                break
            frames += more
            if not sender.backlog and not sender.is_streaming:
                break
            size += sum(map(len, more))
        heartbeat = self._liveness.heartbeat
        if not frames and heartbeat.is_due(time.monotonic()):
            frames = sender.pulse(heartbeat.sign())
        if self._liveness.is_key_old:
            self._liveness.renew_key()
            frames += sender.rekey()
        return self._output.sealed(frames) if self._output.is_tunnel else frames

    def _report_silence(self, silent: bool) -> None:
        self._handlers.on_silent(self, silent)

    def _give_sign(self) -> None:
        if self._output.is_tunnel:
            self._wake.set()
        else:
            self._flush()  # Without the writer greenlet, which would cost much on a thousand idle connections.

    def _finish(self, reason: str) -> None:
        if self._closed:
            return
        reason = printable(reason)  # The reason may come from the other side, or from an error about its data.
        self._closed = True
        self.stuck = self._liveness.is_silent or _retransmits(self._socket) > STUCK_AFTER
        self._liveness.stop()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._receiver.abandon()
        self._prove(False)
        self._wake.set()
        current = gevent.getcurrent()
        for greenlet in self._greenlets:
            if greenlet is not current:
                greenlet.kill(block=False)
        if self._readable is not None:
            self._readable.stop()
            self._readable.close()
        self._socket.close()
        if self._readable is not None:  # Else it was never started, and nothing waits for the callback.
            self._handlers.on_closed(self, reason)


def _only_here() -> Callable[[], None]:
    """A check that raises ForkedError in a child of this process, whose frames would corrupt those of the parent."""
    owner = os.getpid()

    def check() -> None:
        if os.getpid() != owner:
            raise ForkedError

    return check


def _defect(error: BaseException) -> str:
    return f"a defect of gdispy on this side: {printable(repr(error))}"


def _cut_off_bye(found: list[Message | Bye]) -> Bye:
    """Remove a goodbye from the messages, and all that follow it."""
    place = next(place for place, each in enumerate(found) if type(each) is Bye)
    bye = found[place]
    del found[place:]
    assert type(bye) is Bye
    return bye


#: A large receive buffer for each loop; no data is kept in it between reads.
_rooms: dict[gevent.hub.Hub, memoryview] = {}


def _room() -> memoryview:
    loop = gevent.get_hub()
    found = _rooms.get(loop)
    if found is None:
        found = _rooms[loop] = memoryview(bytearray(READ_SIZE))
    return found


def _retransmits(sock: socket.socket) -> int:
    """How often unacknowledged data was retransmitted."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    except (OSError, AttributeError):
        return 0
    return max(info[2], info[4]) if len(info) >= 5 else 0


def plain(error: OSError) -> str:
    """The system's text for an error."""
    return error.strerror or str(error) or type(error).__name__
