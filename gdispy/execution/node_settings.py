"""The settings of a node.

The options of `gdispy-node`, after their checks.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from gdispy import config
from gdispy.rules.node.service_hours import Hours
from gdispy.rules.node.sessions import LEASE, SPOOL_AGE
from gdispy.transport.credentials import Secret
from gdispy.worker.limits import Limits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeSettings:
    """The settings of a node."""

    secret: Secret
    cpus: int
    #: Addresses to listen on, empty for all; and the address to announce if it differs.
    ip_addrs: tuple[str, ...] = ()
    ext_ip_addr: str = ""
    #: Programs and schedulers that the node connects to: host and port.
    connect: tuple[tuple[str, int], ...] = ()
    #: Announce by multicast, instead of by broadcast.
    multicast: bool = False
    node_port: int = config.NODE_PORT
    name: str = ""
    dest_path_prefix: str = ""
    #: Maximum size of one dependency file; 0 is no limit.
    max_file_size: int = 0
    limits: Limits = field(default_factory=lambda: Limits(processes=config.PROCESS_LIMIT))
    #: Free disk space for files of computations below which no new jobs are accepted. None is the default.
    disk_floor: int | None = None
    #: When it accepts jobs; None is always.
    hours: Hours | None = None
    #: Stop after this number of clients; -1 never.
    serve: int = -1
    #: Seconds for which the jobs of a disconnected scheduler are kept.
    lease: float = LEASE
    #: Seconds that running jobs have to end when the node is stopped by SIGTERM.
    grace: float = 0.0
    #: Seconds between two announcements while no client uses the node; 0: only at the start.
    ping_interval: float = 0.0
    #: Timeout in seconds for connecting and for authentication.
    msg_timeout: float = config.MsgTimeout
    #: Seconds for which results are kept after that, and their maximum size; 0 is no limit.
    spool_age: float = SPOOL_AGE
    spool_size: int = 0
    #: Remove files of computations even if their clients ask to keep them.
    force_cleanup: bool = False
    #: Allow cleanup functions to stop the node.
    client_shutdown: bool = False
    #: Absolute path of the Python file to run before all computations, or ''.
    init: str = ""
    #: It is private to one program, and ends with it: it ignores what other nodes have left for their clients.
    private: bool = False
