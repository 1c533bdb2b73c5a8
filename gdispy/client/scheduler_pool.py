"""The schedulers of this process. Clusters with equal settings share one, and so its nodes. Used in the hub only."""

from __future__ import annotations

from typing import Any, NamedTuple

from gdispy.client.remote_scheduler import RemoteScheduler
from gdispy.client.result_sink import result_sink
from gdispy.protocol.address import Address
from gdispy.scheduler import Scheduler
from gdispy.transport.credentials import Secret


class LocalSchedulerKey(NamedTuple):
    """A scheduler in this process: what tells it from others."""

    psk: bytes
    ip_addr: str
    ext_ip_addr: str
    port: int
    #: Seconds; None is the default.
    pulse_interval: float | None
    ping_interval: float | None
    #: Whether there is no secret, and the certificate files.
    protection: tuple[bool, Any]
    multicast: bool

    @property
    def place(self) -> str:
        """Where it is: '' for this process."""
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
    """A `gdispy-scheduler`: what tells it, and the way to it, from others."""

    host: str
    port: int
    psk: bytes
    ip_addr: str
    #: Whether there is no secret, and the certificate files.
    protection: tuple[bool, Any]

    @property
    def place(self) -> str:
        """Where it is, as 'host:port'."""
        return str(Address(self.host, self.port))

    def make(self, secret: Secret) -> RemoteScheduler:
        return RemoteScheduler(secret, self.host, self.port, self.ip_addr)


SchedulerKey = LocalSchedulerKey | SharedSchedulerKey


class _Used(NamedTuple):
    """A scheduler, and what uses it."""

    scheduler: Any
    users: set[object]


class SchedulerPool:
    """Schedulers by their keys, each as long as something uses it."""

    def __init__(self) -> None:
        self._used: dict[SchedulerKey, _Used] = {}

    def join(self, key: SchedulerKey, secret: Secret, user: object) -> Any:
        """The scheduler of a key, started if there is none yet. It lives until all its users have left."""
        used = self._used.get(key)
        if used is None:
            used = self._used[key] = _Used(key.make(secret), set())
            used.scheduler.start()
        used.users.add(user)
        return used.scheduler

    def leave(self, key: SchedulerKey, user: object) -> None:
        """A user needs it no more; closed after the last one."""
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


#: All of this process.
pool = SchedulerPool()
