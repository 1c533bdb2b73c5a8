"""`Hello` of this process: what each side says first on a connection. Called in any loop; nothing here waits."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence

from gdispy import config
from gdispy.protocol.ids import Instance
from gdispy.protocol.messages import Hello
from gdispy.protocol.rows import Claim


def hello(
    role: str,
    instance: Instance,
    name: str = "",
    *,
    cpus: int = 0,
    address: str = "",
    pulse: float = 0.0,
    claims: Sequence[Claim] = (),
    epoch: int = 0,
) -> Hello:
    """Who this process is, in a role of `protocol/roles.py`. `name` is that of this host unless given; `pulse` are the
    seconds between signs of life that it wants; `claims` are rows of computation, token and epoch."""
    name = name or platform.node() or role
    about = (config.VERSION, config.PYTHON, sys.platform)
    return Hello(role, instance, name, *about, cpus, address, pulse, list(claims), epoch)
