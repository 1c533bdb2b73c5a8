"""The shared scheduler: clients come to it over connections, and it keeps the nodes for all of them.

Floor 3. `gdispy-scheduler` makes one and calls `run` in its main greenlet. It is the scheduler of `scheduler.py`
with clients at the other end of connections (`net.py`): for each there is a `Patron` (`core/patron.py`), which keeps
what the client has not yet collected. It decides nothing itself and never unpickles anything.

Invariant: what the rules say to a client goes through its `Patron`, whether the client is connected or not.
"""

from __future__ import annotations

import logging
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.event

from gdispy import config, whom
from gdispy.blobs import FileSink
from gdispy.connection import Connection, Handlers, next_peer
from gdispy.core.board import FAIR
from gdispy.core.effects import Effects, Peer
from gdispy.core.handshake import Keys
from gdispy.core.messages import (
    ComputationId,
    Hello,
    Instance,
    Message,
    Open,
    Overview,
    Prepare,
    Release,
    Released,
    Survey,
    Take,
)
from gdispy.core.patron import Patron
from gdispy.core.payloads import Payload
from gdispy.core.wire import FILE, MemorySink, Sink
from gdispy.errors import ConfigError
from gdispy.keys import Secret, listening_address
from gdispy.net import Listener
from gdispy.scheduler import Scheduler
from gdispy.seeker import FROM_NODES
from gdispy.status import overview_lines

logger = logging.getLogger(__name__)

#: Roles of the connections that clients open.
CLIENTS = b"client>scheduler"
#: Seconds between two looks for clients that stay away.
CLIENT_LOOK_INTERVAL = 5.0


@dataclass(frozen=True)
class SharingSettings:
    """How a shared scheduler is set up; the options of `gdispy-scheduler`."""

    #: Towards nodes, and towards clients.
    node_secret: Secret
    client_secret: Secret
    #: Which nodes to use, as `nodes` of a cluster.
    nodes: list[str] = field(default_factory=lambda: ["*"])
    ip_addr: str = ""
    ext_ip_addr: str = ""
    port: int = config.CLIENT_PORT
    node_port: int = config.NODE_PORT
    pulse_interval: float | None = None
    ping_interval: float | None = None
    policy: str = FAIR
    #: Seconds that jobs and results of a client that went away are kept.
    lease: float = 3600.0
    #: Whether clients may change how many CPUs of a node are used.
    cooperative: bool = False
    max_file_size: int = 0
    #: Look for nodes by a multicast group, instead of by broadcast.
    multicast: bool = False


class _Desk:
    """Where one client is served: what goes to it goes through here."""

    def __init__(self, patron: Patron) -> None:
        self.patron = patron
        self.connection: Connection | None = None
        self.address = ""
        #: Files that belong to its computations.
        self.files: dict[ComputationId, list[Payload]] = {}

    def send(self, message: Message) -> None:
        """The scheduler's rules say this to the client."""
        self.patron.outgoing(message)
        if isinstance(message, Released):
            for file in self.files.pop(message.computation, ()):
                file.release()
        if self.connection is not None:
            self.connection.send(message)

    def keep_files(self, message: Message) -> None:
        if isinstance(message, Prepare | Take):
            files = [each for each in message.contents if isinstance(each, Payload)]
            self.files.setdefault(message.computation, []).extend(files)


class Sharing:
    """One shared scheduler."""

    def __init__(self, settings: SharingSettings) -> None:
        self._settings = settings
        place = (settings.ip_addr, settings.ext_ip_addr, settings.port)
        intervals = (settings.pulse_interval, settings.ping_interval)
        ways = (settings.policy, settings.cooperative)
        self._scheduler = Scheduler(settings.node_secret, *place, *intervals, *ways, settings.multicast)
        self._directory = tempfile.mkdtemp(prefix="gdispy-scheduler-")
        self._desks: dict[Instance, _Desk] = {}
        self._desk_of: dict[Peer, _Desk] = {}
        self._connections: dict[Peer, Connection] = {}
        self._stop = gevent.event.Event()
        self._listener = Listener(
            listening_address(settings.client_secret, settings.ip_addr, "scheduler"),
            settings.port,
            self._doors(settings),
            self._scheduler.instance,
            self._on_connection,
            settings.client_secret.tls,
        )
        self._scheduler.listens(self._listener.port)

    def _doors(self, settings: SharingSettings) -> dict[bytes, bytes]:
        """Clients come here, and nodes that this side cannot reach."""
        doors = {CLIENTS: settings.client_secret.for_tcp()}
        if settings.client_secret.insecure or not settings.node_secret.insecure:
            doors[FROM_NODES] = settings.node_secret.for_tcp()
        return doors

    @property
    def host(self) -> str:
        return str(self._listener.host)

    @property
    def port(self) -> int:
        return int(self._listener.port)

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is called."""
        try:
            self._scheduler.start()
            self._listener.start()
            wanted = whom.parse(self._settings.nodes, self._settings.node_port)
            self._scheduler.seek(wanted.targets, wanted.look, self._settings.node_port)
            gevent.spawn(self._look_for_absent)
            on_ready()
            self._stop.wait()
        finally:
            self._listener.close()
            for connection in list(self._connections.values()):
                connection.close("the scheduler ends")
            self._scheduler.close()
            shutil.rmtree(self._directory, ignore_errors=True)

    def stop(self) -> None:
        """End soon; from any greenlet of the loop, or a signal handler."""
        self._stop.set()

    def status(self) -> list[str]:
        """How it stands, in lines for its owner."""
        return overview_lines(self._overview(0))

    def _overview(self, question: int) -> Overview:
        rules = self._scheduler.rules
        rows: list[list[Any]] = []
        for desk in self._desks.values():
            where = desk.address if desk.connection is not None else ""
            rows += [[desk.patron.name, where, *row] for row in rules.computation_rows(desk.patron.peer)]
        return Overview(question, rules.node_rows(), rows)

    # Connections

    def _on_connection(self, sock: Any, keys: Keys, roles: bytes) -> None:
        if roles == FROM_NODES:
            self._scheduler.arrived(sock, keys, self._listener.was_honest)
            return
        handlers = Handlers(self._on_messages, self._on_closed, make_sink=self._make_sink)
        connection = Connection(sock, keys, handlers)
        self._connections[connection.peer] = connection
        connection.start()

    def _make_sink(self, size: int, purpose: int) -> Sink:
        if purpose == FILE:
            return FileSink(self._directory, size, self._settings.max_file_size)
        return MemorySink()

    def _on_messages(self, connection: Connection, messages: list[Message]) -> None:
        desk = self._desk_of.get(connection.peer)
        if desk is None:
            hello = messages.pop(0)
            if not isinstance(hello, Hello) or hello.role != "client":
                connection.abort("the first message was not Hello of a client")
                return
            desk = self._greet(connection, hello)
        self._scheduler.put(self._receive, desk, connection, messages, connection.taken())

    def _greet(self, connection: Connection, hello: Hello) -> _Desk:
        self._listener.was_honest(connection)
        logger.info("connected: client %s at %s, gdispy %s", hello.name, connection.address, hello.version)
        desk = self._desks.get(hello.instance)
        if desk is None:
            desk = self._desks[hello.instance] = _Desk(Patron(next_peer(), hello.instance, hello.name))
            self._scheduler.admit(desk.patron.peer, desk)
        elif desk.connection is not None:
            self._desk_of.pop(desk.connection.peer, None)
            desk.connection.close("a newer connection took its place")
        self._desk_of[connection.peer] = desk
        desk.address, desk.patron.link, desk.patron.expires = connection.address, connection.peer, None
        if 0.05 <= hello.pulse <= 1000:
            connection.set_pulse(hello.pulse)
        ours = ("scheduler", self._scheduler.instance, platform.node(), config.VERSION, config.PYTHON, sys.platform)
        connection.send(Hello(*ours, 0, self._settings.ext_ip_addr, 0.0))
        return desk

    def _receive(self, desk: _Desk, connection: Connection, messages: list[Message], size: int, now: float) -> Effects:
        connection.acknowledge(size)
        if desk.patron.link != connection.peer:
            return []
        # Only now, and not when it was greeted: what the rules said meanwhile comes with its resumption.
        desk.connection = connection
        effects: Effects = []
        for message in messages:
            if isinstance(message, Survey):
                connection.send(self._overview(message.question))
                continue
            forward, answers = desk.patron.incoming(message)
            for answer in answers:
                connection.send(answer)
            for each in forward:
                desk.keep_files(each)
                self._seek_for(each)
            if forward:
                effects += self._scheduler.rules.receive_from_client(desk.patron.peer, forward, now)
        return effects

    def _seek_for(self, message: Message) -> None:
        """Nodes that a client names are looked for, like those of this scheduler's own list."""
        if isinstance(message, Open):
            named = [each for each in message.nodes if "*" not in each]
            try:
                wanted = whom.parse(named or ["*"], self._settings.node_port)
            except ConfigError as error:
                logger.info("a client names nodes that make no sense: %s", error)
                return
            self._scheduler.seek(wanted.targets, False, self._settings.node_port)

    def _on_closed(self, connection: Connection, reason: str) -> None:
        self._connections.pop(connection.peer, None)
        desk = self._desk_of.pop(connection.peer, None)
        if desk is None or desk.patron.link != connection.peer:
            return
        logger.info("disconnected: client %s at %s: %s", desk.patron.name, desk.address, reason)
        desk.connection, desk.patron.link = None, None
        desk.patron.expires = time.monotonic() + self._settings.lease

    def _look_for_absent(self) -> None:
        """Forget clients that have nothing here any more, or stay away too long."""
        while True:
            gevent.sleep(CLIENT_LOOK_INTERVAL)
            now = time.monotonic()
            for instance, desk in list(self._desks.items()):
                patron = desk.patron
                if patron.expires is None:
                    continue
                if not patron.computations:
                    del self._desks[instance]
                    self._scheduler.dismiss(patron.peer)
                elif patron.expires <= now:
                    self._scheduler.put(self._release_all, desk)

    def _release_all(self, desk: _Desk, now: float) -> Effects:
        messages: list[Message] = [Release(each) for each in desk.patron.computations]
        return self._scheduler.rules.receive_from_client(desk.patron.peer, messages, now)
