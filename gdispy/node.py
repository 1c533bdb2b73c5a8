"""The node: listens for schedulers, and runs their jobs in processes of its own.

Floor 3. `gdispy-node` makes one and calls `run` in its main greenlet. It joins the rules of
`core/slots.py` to connections (`net.py`), processes (`workers.py`) and discovery (`beacon.py`), and
decides nothing itself. It never unpickles anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import platform
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gevent
import gevent.event

from gdispy import config
from gdispy.availability import load, measure
from gdispy.beacon import HERE, LOOK, Beacon, Packet
from gdispy.blobs import FileSink, MemoryFileSink
from gdispy.connection import Connection, Handlers
from gdispy.core.effects import (
    AnswerFile,
    Drop,
    End,
    Hand,
    Interrupt,
    Leave,
    Load,
    Look,
    NewWorker,
    Peer,
    Place,
    Send,
    TakeBack,
    Terminate,
    Unload,
)
from gdispy.core.handshake import Keys
from gdispy.core.hours import OPEN, Hours, clock
from gdispy.core.messages import STOPPED, Availability, Hello, Instance, Message
from gdispy.core.patterns import join
from gdispy.core.slots import Slots
from gdispy.core.wire import FILE, Sink
from gdispy.errors import ConfigError
from gdispy.keys import listening_address
from gdispy.net import Listener
from gdispy.node_settings import NodeSettings
from gdispy.prefix import claim, default_prefix, unclaim
from gdispy.pump import Pump
from gdispy.worker.processes import adopt_orphans
from gdispy.workers import Workers

logger = logging.getLogger(__name__)

# Options of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

#: Why no jobs are taken, where its owner has said so.
_STOPPED = "stopped"

#: Roles of the connections that a node takes.
ROLES = [b"scheduler>node"]


#: Seconds between two words to schedulers about what is free here.
AVAILABILITY_INTERVAL = 10.0
#: The same from the start to the first: what a program that starts its own node wants is its first result.
AVAILABILITY_START = 0.3


class Node:
    """A running node."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self.instance = Instance(secrets.token_bytes(16))
        self._name = settings.name or platform.node() or "node"
        prefix = self._prefix = settings.dest_path_prefix or default_prefix()
        epoch = time.time() - time.monotonic()
        self._slots = Slots(settings.cpus, lease=settings.lease, epoch=epoch, serve=settings.serve)
        self._began = time.monotonic()
        self._state = OPEN
        if settings.hours is not None:  # Before anybody hears of CPUs that are not offered now.
            self._state, _ = settings.hours.at(_seconds_of_day())
            self._slots.keep_hours(self._state, clock(settings.hours.last), self._began)
        self._stop = gevent.event.Event()
        self._pump = Pump(self._perform, self._slots.tick, self._slots.due, self._on_defect)
        self._failure: BaseException | None = None
        self._connections: dict[Peer, Connection] = {}
        self._greeted: set[Peer] = set()
        self._claim = claim(prefix, self.instance.hex())
        host = listening_address(settings.secret, settings.ip_addr, "node")
        self._listener = Listener(
            host, settings.node_port, settings.secret.for_tcp(), ROLES, self.instance, self._on_connection
        )
        self.host, self.port = self._listener.host, self._listener.port
        setting = {
            "dest_path_prefix": prefix,
            "name": self._name,
            "address": settings.ext_ip_addr or self.host,
            "memory_limit": settings.job_memory,
            "process_limit": settings.job_processes,
            "client_shutdown": settings.client_shutdown,
            "init": settings.init,
        }
        self._workers = Workers(self._slots, self._pump, setting, self.instance)
        self._workers.backlog = lambda: max((each.backlog for each in self._connections.values()), default=0)
        self._workers.on_shutdown = self.shutdown_after_clients
        self._workers.on_failure = self._on_failure
        self._beacon: Beacon | None = None

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is called. Raises what broke the node."""
        adopt_orphans()
        _keep_freed_memory()
        try:
            self._workers.start()
            self._pump.start()
            if self._settings.init:
                # Jobs find what it makes. Without it nothing is to be waited for: the doors open while processes start.
                gevent.wait([self._workers.is_up, self._stop], count=1)
            if not self._stop.is_set():
                self._open_doors()
                on_ready()
            self._stop.wait()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure

    def _open_doors(self) -> None:
        if self._settings.hours is not None:
            gevent.spawn(self._keep_hours, self._settings.hours)
        gevent.spawn(self._tell_availability)
        self._listener.start()
        self._announce()

    def stop(self) -> None:
        """End the node soon; from any greenlet of its loop, or a signal handler."""
        self._stop.set()

    def shutdown_after_clients(self) -> None:
        """End the node when the computations that are here are over; take no others."""
        self._pump.put(self._slots.finish)

    # What its owner wants while it runs

    def set_cpus(self, cpus: int) -> None:
        """Offer so many CPUs from now on; what runs goes on."""
        self._pump.put(self._slots.set_cpus, cpus)

    def stop_jobs(self) -> None:
        """Take no new jobs until `start_jobs`."""
        self._pump.put(self._slots.shut, _STOPPED)

    def start_jobs(self) -> None:
        self._pump.put(self._slots.reopen, _STOPPED)

    def release(self) -> str:
        """Give up schedulers that are away, instead of keeping what is held for them; what came of it."""
        here, away = self._slots.clients()
        if away:
            self._pump.put(self._slots.give_up)
            return f"given up: {', '.join(away)}"
        return f"nothing was done: {', '.join(here)} is connected" if here else "no client holds this node"

    def status(self) -> list[str]:
        """How the node stands, in lines."""
        now = time.monotonic()
        minutes = int(now - self._began) // 60
        uptime = f"up {minutes // 1440} days, {minutes % 1440 // 60:02}:{minutes % 60:02}"
        return [f"{self._name} at {join(self.host, self.port)}, {uptime}", *self._slots.standing(now)]

    def _keep_hours(self, hours: Hours) -> None:
        while True:
            state, seconds = hours.at(_seconds_of_day())
            if state != self._state:
                logger.info("service hours: %s", state)
                self._state = state
                self._pump.put(self._slots.keep_hours, state, clock(hours.last))
            # Soon again, since clocks are set, and machines sleep.
            gevent.sleep(min(seconds, 30.0) + 0.01)

    def _close(self) -> None:
        self._listener.close()
        if self._beacon is not None:
            self._beacon.close()
        for connection in list(self._connections.values()):
            connection.close(STOPPED)
        for _ in range(100):
            if not self._connections:
                break
            gevent.sleep(0.01)
        self._pump.stop()
        self._workers.close()
        unclaim(self._prefix, self.instance.hex(), self._claim)

    def _on_failure(self, reason: str) -> None:
        self._on_defect(ConfigError(f"--init: {reason}"))

    def _on_defect(self, error: BaseException) -> None:
        self._failure = error
        self._stop.set()

    def _announce(self) -> None:
        """Answer who looks around, and tell clients that run already."""
        settings = self._settings
        if settings.secret.insecure and not config.is_loopback(self.host):
            return
        ip_addr = "" if self.host in ("0.0.0.0", "::") else self.host
        try:
            ear = settings.node_port or config.NODE_PORT
            self._beacon = Beacon(settings.secret.for_udp(), self.instance, ip_addr, ear, self._on_packet)
        except OSError as error:
            logger.warning("this node cannot be found by broadcast: %s", error.strerror)
            return
        self._beacon.start()
        gevent.spawn(self._tell_clients, self._beacon)

    def _tell_clients(self, beacon: Beacon) -> None:
        """Tell clients that run already; at intervals as long as nobody uses the node, if that is wanted."""
        settings = self._settings
        while not self._stop.is_set():
            if not self._connections:
                beacon.broadcast(HERE, self.port, config.CLIENT_PORT, settings.ext_ip_addr, self._name)
            if not settings.ping_interval:
                return
            gevent.sleep(settings.ping_interval)

    def _on_packet(self, beacon: Beacon, packet: Packet, address: tuple[str, int]) -> None:
        if packet.kind == LOOK:
            beacon.tell(HERE, self.port, address, self._settings.ext_ip_addr, self._name)

    # Connections

    def _on_connection(self, sock: Any, keys: Keys) -> None:
        handlers = Handlers(self._on_messages, self._on_closed, make_sink=self._make_sink)
        connection = Connection(sock, keys, handlers)
        self._connections[connection.peer] = connection
        connection.start()

    def _make_sink(self, size: int, purpose: int) -> Sink:
        if purpose == FILE:
            return FileSink(self._workers.directory, size, self._settings.max_file_size)
        return MemoryFileSink()

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        if connection.peer not in self._greeted:
            hello = messages.pop(0)
            if not isinstance(hello, Hello):
                connection.abort("the first message was not Hello")
                return
            self._greet(connection, hello)
        self._pump.put(self._receive, connection, messages, connection.taken())

    def _tell_availability(self) -> None:
        gevent.sleep(AVAILABILITY_START)
        load()
        while True:
            if self._greeted:
                free = measure(self._prefix)
                for peer in self._greeted if free else ():
                    self._connections[peer].send(Availability(free))
            gevent.sleep(AVAILABILITY_INTERVAL)

    def _greet(self, connection: Connection, hello: Hello) -> None:
        self._listener.was_honest(connection)
        self._greeted.add(connection.peer)
        logger.info("connected: %s at %s, gdispy %s", hello.name, connection.address, hello.version)
        if 0.05 <= hello.pulse <= 1000:
            connection.set_pulse(hello.pulse)
        connection.send(
            Hello(
                "node",
                self.instance,
                self._name,
                config.VERSION,
                config.PYTHON,
                sys.platform,
                self._slots.cpus,
                self._settings.ext_ip_addr,
                0.0,
            )
        )
        free = measure(self._prefix)
        if free:
            connection.send(Availability(free))
        self._pump.put(self._slots.joined, connection.peer, hello)

    def _receive(self, connection: Connection, messages: list[Message], size: int, now: float) -> Any:
        connection.acknowledge(size)
        return self._slots.receive(connection.peer, messages, now)

    def _on_closed(self, connection: Connection, reason: str) -> None:
        self._connections.pop(connection.peer, None)
        if connection.peer in self._greeted:
            self._greeted.discard(connection.peer)
            logger.info("disconnected from %s: %s", connection.address, reason)
            self._pump.put(self._slots.gone, connection.peer)

    # Effects

    def _perform(self, effect: Any) -> None:
        self._EFFECTS[type(effect)](self, effect)

    def _send(self, effect: Send) -> None:
        connection = self._connections.get(effect.peer)
        if connection is not None:
            connection.send(effect.message)

    def _drop(self, effect: Drop) -> None:
        connection = self._connections.get(effect.peer)
        if connection is not None:
            connection.close(effect.reason)

    def _load(self, effect: Load) -> None:
        prepare = effect.prepare
        if self._settings.force_cleanup:
            prepare = replace(prepare, cleanup=True)
        self._workers.load(prepare, effect.arrived)

    def _unload(self, effect: Unload) -> None:
        self._workers.unload(effect.computation)

    _EFFECTS: dict[type, Callable[[Node, Any], None]] = {
        Send: _send,
        Drop: _drop,
        Load: _load,
        Look: lambda self, effect: self._workers.look(effect.prepare),
        Place: lambda self, effect: self._workers.deliver(effect.prepare, effect.deliver),
        AnswerFile: lambda self, effect: self._workers.answer_file(effect.worker, effect.error),
        Unload: _unload,
        Leave: lambda self, effect: self.stop(),
        NewWorker: lambda self, effect: self._workers.new_worker(effect.worker, effect.computation),
        Hand: lambda self, effect: self._workers.hand(effect.worker, effect.jobs),
        TakeBack: lambda self, effect: self._workers.take_back(effect.worker),
        Interrupt: lambda self, effect: self._workers.interrupt(effect.worker, effect.job, effect.attempt),
        Terminate: lambda self, effect: self._workers.terminate(effect.worker),
        End: lambda self, effect: self._workers.end(effect.worker),
    }


def _seconds_of_day() -> float:
    """Seconds after midnight, by the local clock."""
    now = time.localtime()
    return 3600 * now.tm_hour + 60 * now.tm_min + now.tm_sec


def _keep_freed_memory() -> None:
    """Have the C library keep what is freed, instead of giving pages back and asking for them again.

    With glibc's defaults that costs as much as sealing does: 64 KiB boxes were measured at 0.56 GB/s
    with them and at 1.09 GB/s with these.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, 64 << 20), (_M_TRIM_THRESHOLD, 256 << 20), (_M_TOP_PAD, 16 << 20)):
            mallopt(option, value)
