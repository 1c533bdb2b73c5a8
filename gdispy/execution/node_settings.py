"""How a node is set up.

`cli/node.py` makes the settings out of options, `node.py` works by them.
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
    """How a node is set up; the options of `gdispy-node`."""

    secret: Secret
    cpus: int
    #: Addresses to listen on, none for all; and the one to announce where it differs.
    ip_addrs: tuple[str, ...] = ()
    ext_ip_addr: str = ""
    #: Programs and schedulers that the node connects to by itself: host and port.
    connect: tuple[tuple[str, int], ...] = ()
    #: Announce by a multicast group, instead of by broadcast.
    multicast: bool = False
    node_port: int = config.NODE_PORT
    name: str = ""
    dest_path_prefix: str = ""
    #: Bytes of one dependency file at most; 0 is no limit.
    max_file_size: int = 0
    limits: Limits = field(default_factory=lambda: Limits(processes=config.PROCESS_LIMIT))
    #: Bytes that must be free where files of computations go; fewer, and no new jobs are taken. None is the usual.
    disk_floor: int | None = None
    #: When it takes jobs; None is always.
    hours: Hours | None = None
    #: End when so many clients were served; -1 never.
    serve: int = -1
    #: Seconds that the jobs of a scheduler which went away are kept.
    lease: float = LEASE
    #: Seconds between two announcements while nobody uses the node; 0 is one, at the start.
    ping_interval: float = 0.0
    #: Seconds that others have to accept a connection, and to prove who they are.
    msg_timeout: float = config.MsgTimeout
    #: Seconds that results are kept whose clients have not come back by then, and bytes that those may take; 0 is no
    #: limit.
    spool_age: float = SPOOL_AGE
    spool_size: int = 0
    #: Remove files of computations also where their clients want to keep them.
    force_cleanup: bool = False
    #: Let cleanup functions end the node.
    client_shutdown: bool = False
    #: Absolute path of the Python file to run before all computations, or ''.
    init: str = ""
    #: It is one program's own, and ends with it: what other nodes have left for their clients is no business of its.
    private: bool = False
