"""Keeps a node connected to a scheduler or program given by `--connect`. Runs in the node's loop."""

from __future__ import annotations

import logging
from typing import Protocol

import gevent
import gevent.event

from gdispy import config
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.net import connect
from gdispy.protocol.address import Address
from gdispy.protocol.ids import Instance
from gdispy.protocol.roles import NODE_TO_SCHEDULER
from gdispy.protocol.texts import BUSY
from gdispy.runtime.greenlets import keep_running
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.connection import CONNECTED, Connection, Handlers
from gdispy.transport.credentials import Secret
from gdispy.transport.reconnect import Backoff

logger = logging.getLogger(__name__)

#: Seconds between two attempts: at first; at most; after a permanent refusal, or if it is not needed.
RETRY_FIRST = 0.2
RETRY_LIMIT = 2.0
SILENT_LIMIT = 10.0
NOT_NEEDED = 15.0
#: Seconds between two log lines about the same problem.
TELL_INTERVAL = 60.0


class Home(Protocol):
    """The part of the node that this module uses. All methods are called in its loop."""

    instance: Instance

    def handlers(self) -> Handlers: ...

    def use(self, connection: Connection, connector: SchedulerConnector | None) -> None: ...

    def connections(self) -> list[Connection]: ...

    def is_connected(self, instance: bytes) -> bool: ...

    def is_busy(self) -> bool: ...


class SchedulerConnector:
    """Keeps one given scheduler or program connected."""

    def __init__(self, home: Home, secret: Secret, place: tuple[str, int], source: str) -> None:
        self._home = home
        self._psk, self._tls = secret.for_tcp(), secret.tls
        self.host, self.port = place
        self.place = str(Address(*place))
        self._source = "" if config.is_loopback(self.host) else source
        self._over = gevent.event.Event()
        #: Set when the node is free.
        self._freed = gevent.event.Event()
        self._reason = ""
        self._told: dict[str, float] = {}
        self._log = LimitedLog(logger)
        #: The other side has answered on this connection.
        self.good = False
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        self._greenlet = keep_running(self._run, what=f"the connection to {self.place}")

    def close(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def wake(self) -> None:
        """The node is free, so the other side may use it."""
        self._freed.set()

    def closed(self, reason: str) -> None:
        self._reason = reason
        self._over.set()

    def _run(self) -> None:
        backoff, small = Backoff(RETRY_FIRST, RETRY_LIMIT), False
        while True:
            limit = RETRY_LIMIT
            self.good = False
            try:
                connection = connect(
                    *(
                        self.host,
                        self.port,
                        self._psk,
                        NODE_TO_SCHEDULER,
                        self._home.handlers(),
                        self._source,
                        _OTHER_SIDE,
                    ),
                    small=small,
                    tls=self._tls,
                )
            except PeerRejected as error:
                text, limit = str(error), NOT_NEEDED
                backoff.failures += 5
            except ConnectFailed as error:
                text = str(error)
                # A connection refused immediately means that the host is up, and its program may start at any time.
                limit = RETRY_LIMIT if "refused" in text else SILENT_LIMIT
            else:
                self._freed.clear()
                self._over.clear()
                use(self._home, connection, self)
                self._over.wait()
                small = connection.stuck and not small
                text = self._reason
                if text == CONNECTED:
                    gevent.sleep(NOT_NEEDED)
                    continue
                if text.startswith(BUSY):
                    self._tell(text)
                    self._freed.wait(NOT_NEEDED)
                    continue
            self._tell(text)
            gevent.sleep(backoff.next(not self.good, limit=limit))

    def _tell(self, text: str) -> None:
        now = gevent.get_hub().loop.now()
        if now >= self._told.get(text, 0.0):
            self._told = {text: now + TELL_INTERVAL}
            self._log.log(logging.INFO, "tell", "--connect %s: %s; trying again", self.place, text)


def use(home: Home, connection: Connection, connector: SchedulerConnector | None) -> None:
    """Pass a connection to the node; it is closed if that fails."""
    try:
        home.use(connection, connector)
    except Exception:  # Else it would stay open without a user.
        connection.abort("a defect of gdispy on this side")
        raise


_OTHER_SIDE = "gdispy program or gdispy-scheduler"
