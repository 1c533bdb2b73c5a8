"""SharedJobCluster: a cluster on the nodes of a `gdispy-scheduler`, which many programs share.

It has the methods of `JobCluster`; a remote scheduler (`remote_scheduler.py`) is between this program and the nodes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from gdispy import config
from gdispy.client import node_allocate
from gdispy.client.cluster import JobCluster
from gdispy.client.forwarded_logs import checked_logging
from gdispy.client.job import DispyJob
from gdispy.client.packaging import computation_options, is_program
from gdispy.client.parameters import (
    both_names,
    check_ports,
    checked_callback,
    checked_function,
    checked_recovery,
    checked_results,
    checked_status_callback,
    checked_ways,
)
from gdispy.client.program_exit import HASTY_LIMIT
from gdispy.client.scheduler_pool import SharedSchedulerKey
from gdispy.client.settings import ClusterSettings
from gdispy.client.status import DispyNode
from gdispy.client.user_callbacks import UserCallbacks
from gdispy.errors import ConfigError, ConnectFailed
from gdispy.journal.detach_token import DetachToken, joined_dump, joined_plain, write_token
from gdispy.protocol.address import Address, host_flaw
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import OUTPUT_LIMIT, JobNames
from gdispy.protocol.payload import Bulk
from gdispy.transport.credentials import find_secret, with_tls
from gdispy.transport.interfaces import own_address
from gdispy.worker.plain import NotPlain

#: Seconds that the scheduler has to confirm all jobs of a program that detaches.
DETACH_LIMIT = 30.0


class SharedJobCluster(JobCluster):
    """Runs one function or program on nodes that it shares with other programs through `gdispy-scheduler`.

    `scheduler_node` is the host of the scheduler (default: this host), with ':port' if the port is not 51347; or give
    `scheduler_port`. `nodes` selects nodes of the scheduler; nodes that are named without a pattern are also added to
    the scheduler's search. With `exclusive`, the computation waits until all others have ended and then uses the nodes
    alone. `pulse_interval` and `ping_interval` are options of the scheduler. The other parameters and all methods are
    those of `JobCluster`; `client_port` and `port` are accepted but not needed, since nothing connects to this program.

    Raises ConfigError for invalid arguments. If the scheduler cannot be reached while jobs wait, that is logged and
    shown in `status()`; jobs wait for the scheduler, also after a connection loss.
    """

    @both_names
    def __init__(
        self,
        computation: Any,
        nodes: object = None,
        depends: object = (),
        callback: Callable[[DispyJob], object] | None = None,
        ip_addr: str | None = None,
        port: int | None = None,
        scheduler_node: str | None = None,
        scheduler_port: int | None = None,
        ext_ip_addr: str | None = None,
        loglevel: int | None = None,
        cleanup: bool | Callable[..., object] = True,
        reentrant: bool = False,
        secret: str = "",
        keyfile: str | None = None,
        certfile: str | None = None,
        *,
        dest_path: str | None = None,
        setup: Callable[..., object] | None = None,
        cluster_status: Callable[[int, DispyNode | None, DispyJob | None], object] | None = None,
        fault_recover: object = False,
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
        by_value: Iterable[object] = (),
        by_name: Iterable[object] = (),
        wait_for_nodes: bool = False,
        overwrite: bool = False,
        results: str = "",
        echo: bool = False,
        logging: str = "",
    ) -> None:
        if ipv4_udp_multicast:
            raise ConfigError("ipv4_udp_multicast is an option of gdispy-scheduler, which discovers the nodes")
        check_ports(scheduler_port=scheduler_port, client_port=client_port)
        flags = {"wait_for_nodes": wait_for_nodes, "overwrite": overwrite, "exclusive": exclusive}
        manner = checked_ways(loglevel, isolation, by_value, by_name, echo=echo, **flags)
        recovery = checked_recovery(fault_recover, resume)
        callbacks = UserCallbacks(checked_callback(callback), checked_status_callback(cluster_status))
        program, node_port = is_program(computation), config.node_port()
        wanted = node_allocate.read(nodes, node_port)
        if wanted.is_inline or wanted.targets.local:
            raise ConfigError("nodes='local' and 'inline' are valid only for JobCluster: a scheduler has its own nodes")
        found = with_tls(find_secret(secret, secret_file, insecure), certfile, keyfile)
        place = scheduler_place(scheduler_node, scheduler_port)
        key = SharedSchedulerKey(*place, found.key, own_address(ip_addr), (found.insecure, found.tls))
        about = computation_options(
            isolation, dest_path, checked_function("setup", setup), cleanup, job_directory, output_limit, data
        )
        ways = (callable(cleanup), reentrant, exclusive, wait_for_nodes, checked_results(results), overwrite, echo)
        settings = ClusterSettings(key, node_port, program, about, *ways, checked_logging(logging))
        self._start(settings, callbacks, (computation, depends, manner), wanted, found, recovery)

    def detach(self) -> str:
        """Detach this program from its jobs; the scheduler keeps them running.

        Returns a text with which `fault_recover_jobs` and `recover_jobs` collect the jobs and their results, in any
        process on any machine that has the secret of the scheduler; keep that text confidential. The scheduler keeps
        results for its `--zombie_interval`. With `fault_recover`, the path of the recovery file is returned, which also
        has the arguments of the jobs. Raises ConnectFailed if the scheduler does not accept all jobs in time; then
        nothing has changed.
        """
        if self._recovery is not None:
            return super().detach()
        self._engine.refuse_fork()
        until = time.monotonic() + DETACH_LIMIT
        while not self._hub.call(self._is_accepted):
            if time.monotonic() >= until:
                place = self._settings.key.place
                raise ConnectFailed(f"the scheduler at {place} has not accepted all jobs: wait, or close the cluster")
            time.sleep(0.01)
        self._leave(HASTY_LIMIT, to_return=True)
        opened, settings = self._engine.opened, self._settings
        about = (self.name, settings.is_program, settings.results)
        return write_token(DetachToken(settings.key.place, opened.computation, opened.token, *about))

    def _is_accepted(self) -> bool:
        """Whether the scheduler has all jobs; sends it their ids. In the hub."""
        engine = self._engine
        engine.take_submitted()
        if not engine.scheduler.is_accepted(engine.computation):
            return False
        named = [job for job in engine.table.jobs.values() if job.id != job._number]
        if named:
            names = [self._written_name(job.id) for job in named]
            engine.say(JobNames(engine.computation, [JobId(job._number) for job in named], names))
        return True

    def _written_name(self, name: object) -> Bulk:
        """The id of a job, for a process that collects it. Raises ConfigError if that process could not read it."""
        if not self._settings.results:
            return joined_dump(name)
        try:
            return joined_plain(name)
        except NotPlain as error:
            raise ConfigError(f"with results='plain', {error}: choose another id, or use fault_recover") from None


def scheduler_place(host: str | None, port: int | None) -> tuple[str, int]:
    """Host and port of the scheduler, from the parameters of the user. Raises ConfigError."""
    if not host:
        return config.default_ip_addr() or socket.gethostname(), port or config.scheduler_port()
    if not isinstance(host, str):
        raise ConfigError(f"scheduler_node must be the name or address of a host, not {host!r}")
    try:
        name, own = Address.parse(host.strip())
    except ValueError as error:
        raise ConfigError(f"scheduler_node {host!r}: {error}") from None
    flaw = host_flaw(name)
    if flaw:
        raise ConfigError(f"scheduler_node {host!r}: {flaw}")
    if own is not None and port is not None and own != port:
        raise ConfigError(f"scheduler_node {host!r} and scheduler_port {port} contradict each other: give one of them")
    return name, own or port or config.scheduler_port()
