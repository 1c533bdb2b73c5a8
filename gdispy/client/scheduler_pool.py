"""The schedulers of this process. Clusters with equal settings share a scheduler and its nodes. Used only in the
hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gdispy.client.remote_scheduler import RemoteScheduler
from gdispy.client.result_sink import result_sink
from gdispy.protocol.address import Address
from gdispy.scheduler import Scheduler
from gdispy.transport.credentials import Secret

if TYPE_CHECKING:
    from gdispy.transport.tls import Tls


class LocalSchedulerKey(NamedTuple):
    """The settings that identify a scheduler in this process."""

    psk: bytes
    ip_addr: str
    ext_ip_addr: str
    port: int
    #: Seconds; None is the default.
    pulse_interval: float | None
    ping_interval: float | None
    #: Whether no secret is used, and the certificate files.
    protection: tuple[bool, Tls | None]
    multicast: bool

    @property
    def place(self) -> str:
        """Its address: '' for this process."""
        return ""

    def make(self, secret: Secret) -> Scheduler:
        return Scheduler(
            secret,
            self.ip_addr,
            self.ext_ip_addr,
            self.port,
            self.pulse_interval,
            self.ping_interval,
            multicast=self.multicast,
            make_sink=result_sink,
        )


class SharedSchedulerKey(NamedTuple):
    """The settings that identify a `gdispy-scheduler` and the connection to it."""

    host: str
    port: int
    psk: bytes
    ip_addr: str
    #: Whether no secret is used, and the certificate files.
    protection: tuple[bool, Tls | None]

    @property
    def place(self) -> str:
        """Its address, as 'host:port'."""
        return str(Address(self.host, self.port))

    def make(self, secret: Secret) -> RemoteScheduler:
        return RemoteScheduler(secret, self.host, self.port, self.ip_addr)


SchedulerKey = LocalSchedulerKey | SharedSchedulerKey


class _Used(NamedTuple):
    """A scheduler and its users."""

    scheduler: Scheduler | RemoteScheduler
    users: set[object]


class SchedulerPool:
    """Schedulers by key; each lives as long as it has users."""

    def __init__(self) -> None:
        self._used: dict[SchedulerKey, _Used] = {}

    def join(self, key: SchedulerKey, secret: Secret, user: object) -> Any:
        """The scheduler of a key, started if necessary. It lives until all its users have left."""
        used = self._used.get(key)
        if used is None:
            used = self._used[key] = _Used(key.make(secret), set())
            used.scheduler.start()
        used.users.add(user)
        return used.scheduler

    def leave(self, key: SchedulerKey, user: object) -> None:
        """Remove a user; the scheduler is closed after the last one."""
        used = self._used[key]
        used.users.discard(user)
        if not used.users:
            del self._used[key]
            used.scheduler.close()

    def abandon_in_child(self, key: SchedulerKey) -> None:
        """This is a forked child: close its copies of the connections."""
        used = self._used.get(key)
        if used is not None:
            used.scheduler.abandon_in_child()


#: The pool of this process.
pool = SchedulerPool()
