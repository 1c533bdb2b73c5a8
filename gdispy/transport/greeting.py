"""The `Hello` of this process, the first message of each side. Callable in any loop; does not wait."""

from __future__ import annotations

import getpass
import os
import platform
import sys
from collections.abc import Sequence

from gdispy import config
from gdispy.protocol.client_names import client_name
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
    """The identity of this process, in a role of `protocol/roles.py`. `name` is by default the host name; `pulse` is
    the wanted interval of heartbeats in seconds; `claims` are rows of computation, token and epoch."""
    name = name or platform.node() or role
    about = (config.VERSION, config.PYTHON, sys.platform)
    return Hello(role, instance, name, *about, cpus, address, pulse, list(claims), epoch)


def own_client_name() -> str:
    """The name of this program as one that submits jobs, of its user and of its host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # For example in a container, whose users have no names.
        user = f"user {os.getuid()}"
    return client_name(platform.node(), user, os.path.basename(sys.argv[0]))
