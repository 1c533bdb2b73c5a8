"""SharedJobCluster: a cluster whose nodes are kept by a `gdispy-scheduler`, for many programs.

The same methods as `JobCluster`; between this program and the nodes is a scheduler elsewhere (`remote_scheduler.py`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from gdispy import config
from gdispy.client import node_allocate
from gdispy.client.cluster import JobCluster
from gdispy.client.job import DispyJob
from gdispy.client.packaging import checked_data, checked_outputs
from gdispy.client.parameters import both_names, checked_flag, checked_manner, checked_recovery, checked_results
from gdispy.client.program_exit import HASTY_LIMIT
from gdispy.client.remote_scheduler import RemoteScheduler
from gdispy.client.status import DispyNode
from gdispy.errors import ConfigError, ConnectFailed, ForkedError
from gdispy.journal.detach_token import DetachToken, joined_dump, joined_plain, write_token
from gdispy.protocol.address import host_flaw, join, split
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import OUTPUT_LIMIT, JobNames
from gdispy.protocol.payload import Bulk
from gdispy.rules.effects import Effects
from gdispy.transport.credentials import Secret, find_secret, with_tls
from gdispy.transport.interfaces import own_address
from gdispy.worker.plain import NotPlain

#: Seconds that the scheduler may take to say that it has all jobs that are left to it.
DETACH_LIMIT = 30.0


class SharedJobCluster(JobCluster):
    """Runs one function or program on nodes that it shares with other programs, through `gdispy-scheduler`.

    `scheduler_node` is the host where the scheduler runs (default: this one), with ':port' where it is not 51347, or
    `scheduler_port`. `nodes` says which of the scheduler's nodes to use; those that are named outright the scheduler
    looks for as well. With `exclusive`, the computation waits until all others are over, and then has the nodes to
    itself. `pulse_interval` and `ping_interval` towards nodes are the scheduler's. The other parameters, and all
    methods, are those of `JobCluster`; `client_port` and `port` are accepted and not needed: nobody connects to
    this program.

    Raises ConfigError, in plain words, for arguments that cannot be used. A scheduler that cannot be reached is told
    on the log when jobs wait, and in `status()`; jobs wait for it, also when it goes away for a while.
    """

    @both_names
    def __init__(
        self,
        computation: Any,
        nodes: Any = None,
        depends: Any = (),
        callback: Callable[[DispyJob], Any] | None = None,
        ip_addr: str | None = None,
        port: int | None = None,
        scheduler_node: str | None = None,
        scheduler_port: int | None = None,
        ext_ip_addr: str | None = None,
        loglevel: int | None = None,
        cleanup: bool | Callable[..., Any] = True,
        reentrant: bool = False,
        secret: str = "",
        keyfile: str | None = None,
        certfile: str | None = None,
        *,
        dest_path: str | None = None,
        setup: Callable[..., Any] | None = None,
        cluster_status: Callable[[int, DispyNode | None, DispyJob | None], Any] | None = None,
        fault_recover: Any = False,
        exclusive: bool = False,
        client_port: int | None = None,
        secret_file: str = "",
        insecure: bool = False,
        isolation: str = "",
        job_directory: bool = False,
        output_limit: int | None = OUTPUT_LIMIT,
        resume: bool | str = False,
        ipv4_udp_multicast: bool = False,
        data: Iterable[str] = (),
        by_value: Iterable[Any] = (),
        by_name: Iterable[Any] = (),
        wait_for_nodes: bool = False,
        overwrite: bool = False,
        results: str = "",
    ) -> None:
        if ipv4_udp_multicast:
            raise ConfigError("ipv4_udp_multicast is for who looks for nodes: give it to gdispy-scheduler")
        if scheduler_port is not None:
            config.port_number(scheduler_port, "scheduler_port")
        if client_port is not None:
            config.port_number(client_port, "client_port")
        self._manner, self._waits = checked_manner(by_value, by_name), checked_flag("wait_for_nodes", wait_for_nodes)
        self._overwrites, self._results = checked_flag("overwrite", overwrite), checked_results(results)
        self._check(loglevel, isolation)
        self._recovery = checked_recovery(fault_recover, resume)
        self._take_callbacks(computation, callback, cluster_status)
        self._node_port = config.node_port()
        allocated = node_allocate.read(nodes, self._node_port)
        if allocated.whom.local:
            raise ConfigError("nodes='local' is for JobCluster: a shared scheduler has its own nodes")
        self._allocations = allocated.nodes
        found = with_tls(find_secret(secret, secret_file, insecure), certfile, keyfile)
        place = scheduler_place(scheduler_node, scheduler_port)
        self._key = ("shared", *place, found.key, own_address(ip_addr), (found.insecure, found.tls))
        self._exclusive, self._reentrant = checked_flag("exclusive", exclusive), reentrant
        cares = (isolation, dest_path, setup, cleanup, *checked_outputs(job_directory, output_limit))
        self._start(computation, depends, (*cares, checked_data(data)), allocated.whom, found)

    def detach(self) -> str:
        """Leave the jobs to the scheduler, and this program without them.

        Returns a text with which `fault_recover_jobs` and `recover_jobs` find the jobs and their results again, in any
        process on any machine that has the secret of the scheduler; whoever has that text can. The scheduler keeps
        results for its `--zombie_interval`. With `fault_recover` it is the path of the file, which knows more: what the
        jobs are called with. Raises ConnectFailed where the scheduler does not take all jobs in time; then nothing
        has changed.
        """
        if self._logbook is not None:
            return super().detach()
        self._refuse_fork()
        until = time.monotonic() + DETACH_LIMIT
        while not self._hub.call(self._is_accepted):
            if time.monotonic() >= until:
                raise ConnectFailed(
                    f"the scheduler at {self._place()} has not taken all jobs: wait, or close the cluster"
                )
            time.sleep(0.01)
        self._leave(HASTY_LIMIT, to_return=True)
        opened = self._opened
        return write_token(
            DetachToken(self._place(), opened.computation, opened.token, self.name, self._is_program, self._results)
        )

    def _is_accepted(self) -> bool:
        self._take_submitted()
        if not self._scheduler.is_accepted(self._computation):
            return False
        named = [job for job in self._jobs.values() if job.id != job._number]
        if named:
            names = [self._written_name(job.id) for job in named]
            self._end.send(JobNames(self._computation, [JobId(job._number) for job in named], names))
        return True

    def _receive(self, messages: list[Any], now: float) -> Effects:
        """The scheduler is another process: what it says may end its connection, and not this cluster."""
        for message in messages:
            try:
                for effect in self._session.receive([message]):
                    self._perform(effect)
            except ForkedError:
                raise
            except Exception as error:
                self._scheduler.drop(message, error)
                break
        return []

    def _written_name(self, name: Any) -> Bulk:
        """The id of a job, for whoever comes for it. Raises ConfigError where that could not read it."""
        if not self._results:
            return joined_dump(name)
        try:
            return joined_plain(name)
        except NotPlain as error:
            raise ConfigError(f"with results='plain', {error}: choose another id, or give fault_recover") from None

    def _place(self) -> str:
        return join(self._key[1], self._key[2])

    def _new_scheduler(self, secret: Secret) -> Any:
        _, host, port, _, ip_addr, _ = self._key
        return RemoteScheduler(secret, host, port, ip_addr)


def scheduler_place(host: str | None, port: int | None) -> tuple[str, int]:
    """Where the scheduler is, from what a user writes. Raises ConfigError."""
    if not host:
        return config.default_ip_addr() or socket.gethostname(), port or config.scheduler_port()
    try:
        name, own = split(host.strip())
    except ValueError as error:
        raise ConfigError(f"scheduler_node {host!r}: {error}") from None
    flaw = host_flaw(name)
    if flaw:
        raise ConfigError(f"scheduler_node {host!r}: {flaw}")
    if own is not None and port is not None and own != port:
        raise ConfigError(f"scheduler_node {host!r} and scheduler_port {port} contradict each other: give one of them")
    return name, own or port or config.scheduler_port()
