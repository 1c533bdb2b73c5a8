"""Keeps one node connected, over its known routes. Each dialer has a greenlet in its scheduler's loop."""

from __future__ import annotations

import contextlib
import logging
from typing import Protocol

import gevent
import gevent.event
import gevent.lock

from gdispy import config
from gdispy.discovery.route import Route
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.protocol.handshake import Keys
from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import NAME_LIMIT, printable
from gdispy.protocol.texts import BUSY, GIVEN_UP
from gdispy.runtime.greenlets import keep_running, spawn_later
from gdispy.transport.connection import CONNECTED, ConnectedSocket, Connection
from gdispy.transport.reconnect import Backoff

logger = logging.getLogger(__name__)

#: Seconds between two attempts to connect: at first, and at most.
RETRY_FIRST = 0.5
RETRY_LIMIT = 30.0
#: Seconds of the first attempt after which the user is told that it takes long.
IMPATIENT_AFTER = 1.0
#: The same for a node that did not keep the connection; and the maximum for one that serves another program, since it
#: announces when it is free.
REFUSED_FIRST = 0.1
REFUSED_LIMIT = 2.0
BUSY_LIMIT = 5.0
#: Failed attempts after which an address found by broadcast is dropped.
FORGET_AFTER = 8
#: Seconds for each route of a node that has several.
ROUTE_LIMIT = 2.0
#: Maximum number of routes of one node, and of nodes tried at the same time because of packets.
ROUTES = 4
#: Missed heartbeats after which another address of the node is tried.
MOVED_AFTER = 1.4
#: Minimum number of seconds between two attempts that packets cause.
WAKE_INTERVAL = 0.5


class ConnectionOwner(Protocol):
    """The callbacks of a scheduler for connections. All are called in its loop."""

    instance: Instance

    def open(self, route: Route, limit: float, small: bool) -> Connection: ...

    def take(self, connection: Connection, dialer: Dialer) -> None: ...

    def connection_to(self, instance: bytes) -> Connection | None: ...

    def report(self, place: str, text: str) -> None: ...

    def arrived(self, sock: ConnectedSocket, keys: Keys) -> Connection: ...


class Finder(Protocol):
    """The part of the node finder that a dialer uses."""

    def forget(self, dialer: Dialer) -> None: ...

    def wait_for_end(self, instance: bytes, connection: Connection) -> None: ...

    def hear_of_free_nodes(self) -> None: ...


class Dialer:
    """Keeps one node connected, as long as it can be expected."""

    def __init__(
        self,
        finder: Finder,
        owner: ConnectionOwner,
        routes: list[Route],
        instance: bytes = b"",
        name: str = "",
        turns: gevent.lock.BoundedSemaphore | None = None,
    ) -> None:
        #: Its slot for connecting, if the number of concurrent attempts is limited.
        self._turns = turns
        self.routes = routes
        self.host, self.port = routes[0].host, routes[0].port
        self.place = routes[0].place
        #: The route that has worked.
        self.route = routes[0]
        #: Found by a packet of this node; else named by the user.
        self.found = bool(instance)
        self.instance = instance
        self._name = printable(name, NAME_LIMIT)
        self._finder = finder
        self._owner = owner
        self._over = gevent.event.Event()
        self._wake = gevent.event.Event()
        self._reason = ""
        self._warned = False
        #: The next connection should use short packets, since long ones may be dropped.
        self._small = False
        #: Refused for a permanent reason, such as a different secret.
        self.rejected = self._refused = False
        self._impatient: gevent.Greenlet | None = None
        #: Whether a connection to it ever succeeded.
        self._proven = False
        #: Whether the connection got as far as the node's inventory.
        self.good = False
        self.connection: Connection | None = None
        self.greenlet = keep_running(self._run, what=f"the dialer of {self.place}")

    def _run(self) -> None:
        backoff, unreached = Backoff(RETRY_FIRST, RETRY_LIMIT), 0
        was_near = False
        if self._impatient is not None:  # The task is restarted after a failure.
            self._impatient.kill(block=False)
        self._impatient = spawn_later(
            IMPATIENT_AFTER,
            self._owner.report,
            self.place,
            self._no_answer(),
            what="a report about a node",
        )
        while True:
            self._wake.clear()
            reached, text = self._attempt()
            self._impatient.kill(block=False)
            # An apparently different secret may come from a port forwarder in front of a restarting node: retry at
            # growing intervals as well.
            is_near = reached and not self.rejected
            failed = not self.good and (was_near or not is_near)
            unreached = 0 if reached else unreached + 1
            was_near = is_near
            self._proven = self._proven or self.good
            self.good = False
            self._owner.report(self.place, text)
            if self.found and unreached > FORGET_AFTER:
                self._finder.forget(self)
                return
            first, limit = self._intervals(is_near, text.startswith(BUSY))
            self._pause(backoff.next(failed, first=first, limit=limit))

    def _intervals(self, is_near: bool, is_busy: bool) -> tuple[float, float]:
        """Seconds until the next attempt, at first and at most. Each costs both sides a handshake and a signature."""
        if not is_near:
            return RETRY_FIRST, RETRY_LIMIT
        if is_busy:
            self._finder.hear_of_free_nodes()
        return REFUSED_FIRST, BUSY_LIMIT if is_busy else REFUSED_LIMIT

    def _no_answer(self) -> str:
        return f"no answer yet: is TCP {self.port} open in its firewall, and does no other program listen there?"

    def _pause(self, seconds: float) -> None:
        gevent.sleep(min(seconds, WAKE_INTERVAL))
        self._wake.wait(max(0.0, seconds - WAKE_INTERVAL))

    def wake(self) -> None:
        """A packet of the node arrived: end the pause."""
        self._wake.set()

    def learn(self, routes: list[Route]) -> None:
        """Set the routes; previous ones are kept after them."""
        self.routes = [*routes, *(each for each in self.routes if each not in routes)][:ROUTES]

    def _attempt(self) -> tuple[bool, str]:
        """Connect, and wait for the end of the connection: whether it succeeded, and the error."""
        troubles = []
        self.rejected = False
        for route in self.routes:
            try:
                limit = ROUTE_LIMIT if len(self.routes) > 1 else config.msg_timeout()
                with self._turns or contextlib.nullcontext():
                    connection = self._owner.open(route, limit, self._small)
            except (PeerRejected, ConnectFailed) as error:
                # At an address that has been a node, a network problem is more likely; and the first refusal may mean
                # that the node was killed during the handshake.
                self.rejected = isinstance(error, PeerRejected) and not self._proven and self._refused
                self._refused = isinstance(error, PeerRejected)
                troubles.append((route, str(error)))
                continue
            self.rejected = False
            if self._impatient is not None:
                self._impatient.kill(block=False)
            self.route = route
            self.routes = [
                route,
                *(each for each in self.routes if each != route),
            ]  # The route that has worked is tried first.
            if troubles:
                self._warn(troubles[0][0], route, troubles[0][1])
            return self._stay(connection)
        return False, "; ".join(self._told(*each) for each in troubles)

    def _told(self, route: Route, text: str) -> str:
        """The error, with the source of the address, which the user has not given."""
        sources = [each.host for each in self.routes if each.relay is None and each.host != route.host]
        if self.found and route is self.routes[0] and route.relay is None and sources:
            return f"{text} (the address that the node {self._name} at {sources[-1]} announces)"
        return text

    def _warn(self, bad: Route, good: Route, text: str) -> None:
        if not self._warned and bad.relay is None and good.relay is None:
            self._warned = True
            form = "the node %s announces an address that does not work: %s. Connected to %s instead"
            text = text if bad.place in text else f"{bad.place}: {text}"
            logger.warning(form, self._name or printable(good.place), printable(text), printable(good.place))

    def _stay(self, connection: Connection) -> tuple[bool, str]:
        other = self._owner.connection_to(connection.instance)
        if other is not None and other.quiet < MOVED_AFTER:
            connection.abort(CONNECTED)
            self._owner.report(self.place, "")
            self._finder.wait_for_end(connection.instance, other)
            return True, ""
        self._over.clear()
        self.connection = connection
        try:
            self._owner.take(connection, self)
        except Exception:  # The task is restarted, and would leave it open.
            self.connection = None
            connection.abort("a defect of gdispy on this side")
            raise
        self._over.wait()
        # The next attempt uses short packets, and if that does not help, the one after it long ones again.
        self._small = connection.stuck and not self._small
        self.connection = None
        self.rejected = self._reason.startswith(GIVEN_UP)
        return True, self._reason

    @property
    def is_proven(self) -> bool:
        """Whether it was ever a node."""
        return self._proven or self.good

    def stop(self) -> None:
        for greenlet in (self.greenlet, self._impatient):
            if greenlet is not None:
                greenlet.kill(block=False)

    def closed(self, reason: str) -> None:
        self._reason = reason
        self._over.set()
