"""Defaults, with units, and the environment variables that change them.

Every `GDISPY_*` variable mirrors a command-line option.
"""

from __future__ import annotations

import ipaddress
import os
import sys

from gdispy.errors import ConfigError

VERSION = "0.1.0"

#: Major and minor version of this Python: compiled functions can be sent between processes of the same version.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

#: Ports, TCP and UDP: of nodes, and of clients that listen for announcements of nodes.
NODE_PORT = 51348
CLIENT_PORT = 51347

# Names that programs for dispy read, and set before they create a cluster. `DispyPort` is a base port, like the
# parameter `dispy_port`: clients and schedulers use it, nodes use the next port; a port that is set explicitly takes
# precedence. `MsgTimeout` is in seconds, see `msg_timeout`. `MaxFileSize` is read-only: nodes define that limit.
DispyPort = ClientPort = SharedSchedulerPort = CLIENT_PORT
NodePort = NODE_PORT
MaxFileSize = 0
MsgTimeout: float = 10
# Programs for dispy read these; they have no effect here.
HTTPServerPort = 8181
IPv4MulticastGroup = "239.255.71.68"
IPv6MulticastGroup = "ff12::6764:6973"
Java = "java"

#: Seconds between two discovery requests, at the beginning and later.
LOOK_INTERVALS = (0.0, 0.5, 1.0, 2.0, 5.0)
LOOK_INTERVAL = 10.0

#: Default limit of the processes of one job.
PROCESS_LIMIT = 1000

_SIZES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def default_ip_addr() -> str:
    """The default local address of every role: GDISPY_IP_ADDR, or '' for any."""
    return os.environ.get("GDISPY_IP_ADDR", "").strip()


def is_loopback(address: str) -> bool:
    """Whether other machines cannot reach this address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def parse_size(text: str) -> int:
    """Bytes in '500', '10k', '2.5m', '1g'. Raises ConfigError for anything else, or below 0."""
    word = text.strip().lower().removesuffix("ib").removesuffix("b")
    unit = word[-1:] if word[-1:] in _SIZES else ""
    try:
        size = float(word.removesuffix(unit)) * _SIZES[unit]
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e18:
        raise ConfigError(f"{text!r} is not a size: write a number of bytes, or 10k, 2m, 1g")
    return int(size)


def client_port() -> int:
    """Default port on which clients listen for nodes. Raises ConfigError, as the next two do."""
    return _set_port("ClientPort", ClientPort, CLIENT_PORT, 0)


def node_port() -> int:
    """Default port on which nodes listen."""
    return _set_port("NodePort", NodePort, NODE_PORT, 1)


def scheduler_port() -> int:
    """Default port on which shared schedulers listen for clients."""
    return _set_port("SharedSchedulerPort", SharedSchedulerPort, CLIENT_PORT, 0)


def _set_port(name: str, value: object, default: int, after_base: int) -> int:
    if value == default and DispyPort != CLIENT_PORT:
        return port_number(DispyPort, "config.DispyPort") + after_base
    return port_number(value, f"config.{name}")


def msg_timeout() -> float:
    """Timeout in seconds for connecting, and again for authentication."""
    value: object = MsgTimeout
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ConfigError(f"config.MsgTimeout must be a number of seconds above 0, not {value!r}")
    return float(value)


def port_number(value: object, name: str = "port") -> int:
    """A port number, also given as a string; 0 for any free port. Raises ConfigError for anything else."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 65536:
        raise ConfigError(f"{name} must be a whole number from 0 to 65535, not {value!r}")
    return value
