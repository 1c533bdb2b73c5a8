"""One connection whose handshake is done: greenlets that read and write, signs of life; pairs in memory.

Runs on one gevent loop. A `Connection` knows its peer and nothing of jobs; what arrives
goes to the pump of the role. `net.py` makes them.

Invariants:
1. Only the reader greenlet reads. Only the writer greenlet waits to write; what fits into the socket at
   once is written without waking it. A write that was interrupted condemns the connection.
2. `on_closed` is called exactly once for each connection that was started, with the reason.
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
from typing import Any

import gevent
import gevent.event
from gevent import socket

from gdispy.buffers.native import memory_size
from gdispy.errors import ConnectFailed, ForkedError, ProtocolError
from gdispy.protocol.handshake import Keys
from gdispy.protocol.heartbeat import INTERVAL, Heartbeat
from gdispy.protocol.identity import SEED_BYTES, Identity, check_proof
from gdispy.protocol.ids import Peer
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import Hello, Message
from gdispy.protocol.texts import REFUSED
from gdispy.protocol.wire import CREDIT_STEP, NO_MEMORY_LIMIT, Bye, MakeSink, MemorySink, MessageRefused, Sink, channel
from gdispy.runtime.greenlets import guarded, spawn
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.interfaces import host_of

logger = logging.getLogger(__name__)

#: Bytes read from a socket at once.
READ_SIZE = 256 * 1024
#: The same where little came before: room for much costs time, also when it stays empty.
SMALL_READ = 4096
#: Bytes of frames put together for one write.
WRITE_SIZE = 256 * 1024
#: Pieces in one write; the system takes no more than 1024.
WRITE_PIECES = 64
#: Transmissions of the same bytes after which a connection is stuck.
STUCK_AFTER = 1

#: Seconds for which one key is used at most; see also `wire.KEY_FRAMES`.
REKEY_INTERVAL = 3600.0
#: The part of this machine's memory that payloads of one peer may fill before a message refers to them.
MEMORY_PART = 0.75

#: Bytes of answers that may wait for a peer which has asked for them; and of all that waits, from which on they count.
ANSWERS_LIMIT = 64 * 1024 * 1024
FEW_BYTES = 1024 * 1024

#: Seconds for the other side to read why it is refused.
REFUSAL_LIMIT = 1.0

#: Why a connection is closed that its two sides do not need: they have another.
CONNECTED = "connected already"

_peers = itertools.count(1)
_log = LimitedLog(logger)


def next_peer() -> Peer:
    """A name for a connection or an end of a pair, new in this process."""
    return Peer(next(_peers))


def new_identity() -> Identity:
    """Who this process, or this visit of it, is from now on: nobody has been that before."""
    return Identity(secrets.token_bytes(SEED_BYTES))


@lru_cache(maxsize=1)
def memory_limit() -> int:
    """Bytes of payloads that a peer may bring before a message refers to them."""
    size = memory_size()
    return int(MEMORY_PART * size) if size else NO_MEMORY_LIMIT


def any_sink(size: int, purpose: int) -> Sink:
    """Keeps in memory what arrives, in pieces."""
    return MemorySink()


@dataclass
class Handlers:
    """What a role does with what a connection brings. All are called in the connection's loop."""

    on_messages: Callable[[Connection, list[Message]], None]
    on_closed: Callable[[Connection, str], None]
    on_silent: Callable[[Connection, bool], None] = lambda connection, silent: None
    make_sink: MakeSink = any_sink


class Connection:
    """A connection whose handshake is done. `address` is that of the other side."""

    def __init__(self, sock: Any, keys: Keys, handlers: Handlers, pulse: float = INTERVAL) -> None:
        self.peer = next_peer()
        self.address = host_of(sock.getpeername())
        self.port: int = sock.getpeername()[1]
        #: The address of this side.
        self.local = host_of(sock.getsockname())
        self.instance = keys.instance
        self._keys = keys
        self._socket = sock
        self._handlers = handlers
        self._life = Heartbeat(pulse, time.monotonic())
        self._owner = os.getpid()
        self._sender, self._receiver = channel(keys, handlers.make_sink, self._check_owner, memory_limit())
        self._wake = gevent.event.Event()
        self._closing = ""
        self._closed = False
        self._ungranted = 0
        self._fd: int = sock.fileno()
        #: Of a TLS tunnel: what to write for these bytes.
        self._seal: Callable[[bytes], bytes] | None = getattr(sock, "seal", None)
        self._flushing = False
        self._writing = False
        #: Sealed bytes that did not fit into the socket.
        self._rest: Any = b""
        self._silent = False
        self._timer: Any = None
        #: Seconds between two looks after signs of life.
        self._wait = 0.0
        #: When it began to seal with its present key; and whether that has been used for long enough.
        self._keyed_at = time.monotonic()
        self._is_key_old = False
        self._readable: Any = None
        self._reader: Any = None
        self._writer: Any = None
        #: Called once, when the first sealed frame of the peer has opened, or the connection has ended before.
        self._when_proven: Callable[[bool], None] | None = None
        #: Whether it seems to have ended because packets were swallowed: perhaps only long ones.
        self.stuck = False
        #: Bytes of answers that were queued since all but a few had been sent.
        self._unread_answers = 0
        #: Bytes received and sent, frames and all.
        self.received = self.sent = 0

    def when_proven(self, call: Callable[[bool], None]) -> None:
        """Have `call` called once: with True when the first sealed frame of the peer has opened, so that it has shown
        the secret, with False when the connection has ended before."""
        if self._closed:
            call(False)
        else:
            self._when_proven = call

    def _prove(self, proven: bool) -> None:
        call, self._when_proven = self._when_proven, None
        if call is not None:
            call(proven)

    def start(self) -> None:
        """Begin to read and write."""
        self._loop = gevent.get_hub().loop
        self._readable = self._loop.io(self._socket.fileno(), 1)
        self._reader = spawn(self._go_on, self._read, what="the reader of a connection")
        self._writer = spawn(self._go_on, self._write, what="the writer of a connection")
        self._set_timer()

    def send(self, message: Message, follows: bool = False) -> None:
        """Queue a message; nothing happens on a connection that is over. With `follows` it overtakes nothing."""
        if not self._closed and not self._closing:
            self._sender.put(message, follows)
            if self._life.is_slow:
                self._life.asked(time.monotonic())
                self._set_timer()
            if not self._flushing:
                self._flushing = True
                self._loop.run_callback(self._flush)

    def answer(self, message: Message) -> None:
        """Send what the peer has asked for. One that asks on and on, and reads no answers, is let go."""
        before = self._sender.backlog
        if before < FEW_BYTES:
            self._unread_answers = 0
        self.send(message)
        self._unread_answers += self._sender.backlog - before
        if self._unread_answers > ANSWERS_LIMIT:
            self.abort(f"{REFUSED}{self._unread_answers:,} bytes of answers were not read")

    def introduce(self, hello: Hello, identity: Identity) -> None:
        """Say who this side is, with the proof that is good on this connection only."""
        self.send(replace(hello, proof=identity.proof(self._keys.own_binding)))

    def check_identity(self, hello: Hello) -> None:
        """Raise MessageRefused where the peer is not the process that it says to be."""
        try:
            check_proof(hello.instance, hello.proof, self._keys.peer_binding)
        except ProtocolError as error:
            raise MessageRefused(str(error)) from error
        if self._keys.instance not in (b"", hello.instance):
            raise MessageRefused("its Hello has another instance than its handshake")

    def _flush(self) -> None:
        """Write what fits into the socket at once; the writer greenlet does the rest.

        Most of what is sent is short and fits, and then nobody has to be woken up for it.
        """
        self._flushing = False
        if self._closed or self._writing or self._rest:
            return
        if self._sender.is_streaming:
            self._wake.set()
            return
        try:
            frames = self._next_frames()
        except ForkedError:
            return
        except Exception as error:  # In a callback of the loop, which would lose it.
            _log.log_failure(logging.CRITICAL, type(error), error, "gdispy: a defect in a connection")
            self._fail(error)
            return
        if not frames:
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            written = os.write(self._fd, data)
        except OSError:  # The socket is full, or broken: the writer meets that too, and deals with it.
            written = 0
        self.sent += written
        self._life.sent(time.monotonic())
        if written < len(data):
            self._rest = data[written:]
        if self._rest or self._sender.backlog:
            self._wake.set()

    @property
    def quiet(self) -> float:
        """How many signs of life of the other side are missing, fractions included."""
        return self._life.missing(time.monotonic())

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent."""
        return self._sender.backlog

    def acknowledge(self, size: int) -> None:
        """So many bytes that arrived have been dealt with; the peer may send as many more."""
        self._ungranted += size
        if self._ungranted >= CREDIT_STEP:
            self._wake.set()

    def set_pulse(self, pulse: float) -> None:
        """Give, and expect, a sign of life this often (seconds)."""
        self._life.interval = pulse
        if self._timer is not None:
            self._set_timer()

    @property
    def rests(self) -> bool:
        return self._life.calm is True

    def rest(self, rests: bool) -> None:
        """Whether nothing is under way here, so that signs of life may be rare. A side that never says so does as the
        other one."""
        if rests != self._life.calm:
            self._life.calm = rests
            self._set_timer()

    def close(self, reason: str) -> None:
        """Send what is queued, say goodbye and close; `on_closed` follows."""
        if not self._closed and not self._closing:
            self._closing = reason or "closed"
            self._wake.set()

    def abort(self, reason: str) -> None:
        """Close at once."""
        self._finish(reason)

    def forget_in_child(self) -> None:
        """Close a forked child's copy, so that the parent's connection ends when the parent's does."""
        with contextlib.suppress(OSError):
            os.close(self._socket.fileno())

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise ForkedError

    def _go_on(self, work: Callable[[], None]) -> None:
        """Read, or write, as long as the connection lasts. What nobody reads from, or writes to, any more is closed: it
        would hang without a word."""
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
        except BaseException:  # In a patched program Ctrl-C may come to any greenlet.
            self._finish("it was interrupted")
            raise

    def _fail(self, error: BaseException) -> None:
        """What the loop calls has failed: end, in a greenlet, since who hears of it may wait."""
        spawn(self._finish, _defect(error), what="the end of a connection")

    def _refuse(self, reason: str) -> None:
        """Say why to the other side, which would send the same again, and close. Called where it is read."""
        if self._closed:
            return
        self._closing = reason
        with contextlib.suppress(OSError, ForkedError):
            if not self._writing and not self._rest:
                os.write(self._fd, b"".join(self._sealed(self._sender.bye(reason))))
                self._socket.shutdown(socket.SHUT_WR)
                # What is closed on unread bytes is reset, and the goodbye with it.
                with gevent.Timeout(REFUSAL_LIMIT, False):
                    while self._socket.recv(SMALL_READ):
                        pass
        self._finish(reason)

    def _read(self) -> None:
        hub = gevent.get_hub()
        size = SMALL_READ
        while not self._closed:
            if self._seal is None:  # A tunnel may hold more than is in the socket.
                hub.wait(self._readable)
            data = self._received(size)
            size = READ_SIZE if len(data) >= SMALL_READ else SMALL_READ
            if not data:
                raise ConnectFailed("the connection broke: the other side is gone without a goodbye")
            self._take(data)

    def _received(self, size: int) -> bytes | memoryview:
        """What the socket has, up to so many bytes."""
        if size <= SMALL_READ or self._seal is not None:
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
        self._life.heard(time.monotonic(), promised, bool(found))
        if self._silent:
            self._silent = False
            self._handlers.on_silent(self, False)
        if promised > 1 or self._wait > self._life.interval:
            if self._life.answers:
                self._give_sign()
            self._set_timer()
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
        """Bytes of messages that arrived since this was last asked."""
        taken, self._receiver.taken = self._receiver.taken, 0
        return taken

    def _write(self) -> None:
        while not self._closed:
            rest, self._rest = self._rest, b""
            frames = [rest] if rest else self._next_frames()
            if frames:
                self._writing = True
                size = self._write_all(frames)
                self._writing = False
                self.sent += size
                self._life.sent(time.monotonic())
                if size > WRITE_SIZE // 2:
                    gevent.sleep(0)  # Others have their turn between two large writes.
            elif self._closing:
                self._write_all(self._sealed(self._sender.bye(self._closing)))
                self._finish(self._closing)
            else:
                self._wake.wait()
                self._wake.clear()

    def _write_all(self, frames: list[Any]) -> int:
        """Write as they are, without joining them, as many pieces as the system takes; how many bytes."""
        size = sum(map(len, frames))
        left = size
        while left:
            try:
                written = os.writev(self._fd, frames[:WRITE_PIECES])
            except BlockingIOError:
                socket.wait_write(self._fd)
                continue
            left -= written
            while written and written >= len(frames[0]):
                written -= len(frames.pop(0))
            if written:
                frames[0] = memoryview(frames[0])[written:]
        return size

    def _next_frames(self) -> list[Any]:
        sender = self._sender
        frames: list[Any] = []
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
        if not frames and self._life.is_due(time.monotonic()):
            frames = sender.pulse(self._life.sign())
        if self._is_key_old:
            self._is_key_old, self._keyed_at = False, time.monotonic()
            frames += sender.rekey()
        return frames if self._seal is None else self._sealed(frames)

    def _sealed(self, frames: list[Any]) -> list[Any]:
        return frames if self._seal is None or not frames else [self._seal(b"".join(frames))]

    def _check_life(self) -> None:
        now, life = time.monotonic(), self._life
        if now >= self._keyed_at + REKEY_INTERVAL:
            self._is_key_old = True
            self._wake.set()
        if life.is_due(now):
            self._give_sign()
        if life.is_lost(now):
            reason = f"nothing was heard of the other side for {life.quiet(now):.0f} s"
            spawn(self._finish, reason, what="the end of a connection")
        elif life.is_silent(now) and not self._silent:
            self._silent = True
            spawn(self._tell_silence, what="a connection that is silent", on_failure=self._fail)
        self._set_timer()

    def _tell_silence(self) -> None:
        # Data may have come between the timer and this greenlet, and that it is not silent has been said already: said
        # in the other order, it would be taken for silent for ever, and get no jobs.
        if self._silent:
            self._handlers.on_silent(self, True)

    def _give_sign(self) -> None:
        if self._seal is None:
            self._flush()  # Without the writer greenlet: a thousand idle connections notice.
        else:
            self._wake.set()

    def _set_timer(self) -> None:
        """Look after signs of life when that is needed next."""
        wait = self._life.wait(time.monotonic())
        if self._closed or (wait == self._wait and wait < self._life.interval):
            return  # The timer that runs does it, again and again.
        self._wait = wait
        if self._timer is not None:
            self._timer.stop()
        self._timer = self._loop.timer(wait, wait, ref=False)
        self._timer.start(guarded(self._check_life, "the signs of life of a connection", self._fail))

    def _finish(self, reason: str) -> None:
        if self._closed:
            return
        reason = printable(reason)  # The other side, or an error about what it has said, may have written it.
        self._closed = True
        self.stuck = self._silent or _retransmits(self._socket) > STUCK_AFTER
        if self._timer is not None:
            self._timer.stop()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._receiver.abandon()
        self._prove(False)
        self._wake.set()
        current = gevent.getcurrent()
        for greenlet in (self._reader, self._writer):
            if greenlet is not None and greenlet is not current:
                greenlet.kill(block=False)
        if self._readable is not None:
            self._readable.stop()
            self._readable.close()
        self._socket.close()
        if self._readable is not None:  # Else it was never started, and nobody waits to hear of it.
            self._handlers.on_closed(self, reason)


def _defect(error: BaseException) -> str:
    return f"a defect of gdispy on this side: {printable(repr(error))}"


def _cut_off_bye(found: list[Message | Bye]) -> Bye:
    """Take a goodbye out of what was found, and all that comes behind it."""
    place = next(place for place, each in enumerate(found) if type(each) is Bye)
    bye = found[place]
    del found[place:]
    assert type(bye) is Bye
    return bye


#: For each loop, where much that arrives is put: nothing of it is kept there when the next comes.
_rooms: dict[Any, memoryview] = {}


def _room() -> memoryview:
    loop = gevent.get_hub()
    found = _rooms.get(loop)
    if found is None:
        found = _rooms[loop] = memoryview(bytearray(READ_SIZE))
    return found


def _retransmits(sock: Any) -> int:
    """How often what was sent last was sent again without an answer."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    except (OSError, AttributeError):
        return 0
    return max(info[2], info[4]) if len(info) >= 5 else 0


def plain(error: OSError) -> str:
    """What the system says of an error."""
    return error.strerror or str(error) or type(error).__name__
