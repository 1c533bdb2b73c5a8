"""Which nodes a cluster uses, and how: `NodeAllocate`, and the forms of the parameter `nodes`.

`nodes` is read in the user's thread. Whether to use a node is decided in the hub, or outside of it if the user has
written an `allocate`.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gdispy import config
from gdispy.client.packaging import Bundle, bulk, gather, read_files
from gdispy.client.parameters import number
from gdispy.client.status import DispyNode, DispyNodeAvailInfo
from gdispy.discovery import targets
from gdispy.discovery.targets import NodeTargets
from gdispy.errors import ConfigError
from gdispy.protocol.address import Address
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import NodeFound, UseNode
from gdispy.protocol.payload import Bulk
from gdispy.worker import pickling

logger = logging.getLogger(__name__)


class NodeAllocate:
    """Describes nodes and decides how many of their CPUs to use.

    `host` is an address, a name, or a pattern with `*`; `port` is the port on which it listens, None for any. `cpus` is
    the maximum number of CPUs to use, 0 for all, negative to leave that many unused. `depends` lists files that these
    nodes get in addition to those of the cluster; `setup_args` is the tuple of arguments for the cluster's `setup` and
    `cleanup`. `ip_addr` is the host's address if that is known. Define `allocate` in a subclass to decide for each
    node.
    """

    def __init__(
        self, host: str, port: object = None, cpus: object = 0, depends: Iterable[object] = (), setup_args: object = ()
    ) -> None:
        if not isinstance(host, str) or not host.strip():
            raise ConfigError(f"NodeAllocate: host must be a name, an address or a pattern, not {host!r}")
        cpus = number("cpus", cpus)
        if isinstance(cpus, bool) or not isinstance(cpus, int):
            raise ConfigError(f"NodeAllocate: cpus must be a whole number, not {cpus!r}")
        if not isinstance(setup_args, tuple):
            raise ConfigError(f"NodeAllocate: setup_args must be a tuple, not {type(setup_args).__name__}")
        self.host, self.port = host.strip(), None
        if port:
            self.port = config.port_number(port, "NodeAllocate: port")
        else:
            try:
                self.host, self.port = Address.parse(self.host)
            except ValueError as error:
                raise ConfigError(f"NodeAllocate: {host!r}: {error}") from None
        self.ip_addr = _address(self.host)
        if isinstance(depends, str) or not isinstance(depends, Iterable):
            raise ConfigError(f"NodeAllocate: depends must be a list, not {depends!r}")
        self.cpus = cpus
        self.depends = list(depends)
        self.setup_args = setup_args
        self._ip_rex = ""
        #: Addresses of nodes that matched, possibly under another name.
        self._met: set[str] = set()
        #: The instance of the node that is being decided about.
        self._node = b""

    def named(self, name: str) -> NodeAllocate:
        """A copy for the node of that name."""
        found = copy.copy(self)
        found.host = found.ip_addr = name
        return found

    @property
    def ip_rex(self) -> str:
        """The regular expression that the whole address or name of a node must match. It can be set."""
        hosts = dict.fromkeys((self.ip_addr, self.host))
        return self._ip_rex or "|".join(".*".join(map(re.escape, host.split("*"))) for host in hosts)

    @ip_rex.setter
    def ip_rex(self, expression: str) -> None:
        try:
            re.compile(expression)
        except (re.error, TypeError) as error:
            raise ConfigError(f"NodeAllocate: ip_rex must be a regular expression: {error}") from None
        self._ip_rex = expression

    def means(self, names: Iterable[str], port: int) -> bool:
        """Whether a node with these addresses and names is described. Port 0, of a node that has connected to us,
        matches any."""
        if port and self.port not in (None, port):
            return False
        expression = re.compile(self.ip_rex, re.IGNORECASE)
        return any(expression.fullmatch(name) for name in names)

    def allocate(
        self,
        cluster: Any,
        ip_addr: str,
        name: str,
        cpus: int,
        avail_info: DispyNodeAvailInfo | None = None,
        platform: str = "",
    ) -> int:
        """The number of CPUs of a node to use, 0 for none. Called for each matching node, and again before it is set up
        again; may set `self.depends` and `self.setup_args` for this node. `avail_info` and `platform` are passed by
        keyword. This default returns 0 for a node that does not match."""
        if ip_addr not in self._met and not self.means([ip_addr, name], 0):
            return 0
        if self.cpus > 0:
            return min(self.cpus, cpus)
        return max(0, cpus + self.cpus)

    def left(self, node: bytes) -> bool:
        """A node is closed or lost; whether nodes that were declined may be used instead."""
        return False

    def is_plain(self) -> bool:
        """Whether it only selects nodes."""
        is_own = type(self).allocate is not NodeAllocate.allocate
        return not (is_own or self.cpus or self.depends or self.setup_args or self._ip_rex)


@dataclass
class Allocation:
    """The parameter `nodes`: the targets to connect to, and how to use them."""

    targets: NodeTargets
    nodes: list[NodeAllocate]
    #: Whether jobs run in this process, on no node.
    is_inline: bool = False

    def is_plain(self) -> bool:
        return all(each.is_plain() for each in self.nodes)

    def local_cpus(self) -> int:
        """The CPUs that are wanted of the private node; 0 for those of this machine."""
        return max((each.cpus for each in self.nodes if each.host == targets.LOCAL), default=0)


def read(nodes: object, node_port: int) -> Allocation:
    """Read `nodes`. Raises ConfigError.

    An element is what `targets.parse` takes; a tuple `(host, port, cpus, depends, setup_args)`; a dict with such keys;
    a DispyNode; or a NodeAllocate.
    """
    if nodes == targets.INLINE or nodes == [targets.INLINE]:
        return Allocation(NodeTargets(), [], is_inline=True)
    if isinstance(nodes, NodeAllocate | DispyNode | dict):
        nodes = [nodes]
    if not isinstance(nodes, list | tuple | set | frozenset) or not nodes or _is_one(nodes):
        found = targets.parse(nodes, node_port)
        return Allocation(found, [NodeAllocate(each) for each in found.patterns])
    result = Allocation(NodeTargets(), [])
    for element in nodes:
        allocate = _special(element)
        plain = element if allocate is None else (allocate.host, allocate.port)
        own = targets.parse([plain], node_port)
        result.targets.add(own)
        result.nodes += [allocate] if allocate is not None else [NodeAllocate(each) for each in own.patterns]
    return result


def _is_one(nodes: object) -> bool:
    return isinstance(nodes, tuple) and len(nodes) > 1 and isinstance(nodes[0], str) and isinstance(nodes[1], int)


_KEYS = {"host", "port", "cpus", "depends", "setup_args"}


def _special(element: object) -> NodeAllocate | None:
    """The NodeAllocate of an element that does more than select nodes."""
    if isinstance(element, NodeAllocate):
        return element
    if isinstance(element, DispyNode):
        return NodeAllocate(element.ip_addr, element.port)
    if isinstance(element, dict):  # As in dispy: other keys are ignored, and the default host is '*'.
        return NodeAllocate(**{"host": "*", **{key: value for key, value in element.items() if key in _KEYS}})
    if isinstance(element, tuple | list) and 2 < len(element) <= len(_KEYS) and isinstance(element[0], str):
        return NodeAllocate(*element)
    return None


def decide(nodes: list[NodeAllocate], cluster: object, computation: ComputationId, appeared: NodeFound) -> UseNode:
    """Whether and how to use a node: the most specific element of `nodes` that accepts it decides."""
    avail_info = DispyNodeAvailInfo.of(appeared.free)
    for each in sorted(nodes, key=_vagueness):
        if not each.means(appeared.names, appeared.port):
            continue
        try:
            address, name = appeared.names[0], appeared.names[-1]
            each._met.add(address)
            each._node = appeared.node
            cpus = _ask(each, cluster, address, name, appeared.cpus, avail_info, appeared.platform)
            if isinstance(cpus, int) and cpus > 0:
                return _take(each, computation, appeared, min(int(cpus), appeared.cpus))
        except Exception:
            place = printable(str(Address(appeared.names[0], appeared.port)))
            logger.exception("the node %s is not used: its NodeAllocate failed", place)
    return UseNode(computation, appeared.node, 0, b"", [], [])


def _ask(
    allocate: NodeAllocate,
    cluster: object,
    address: str,
    name: str,
    cpus: int,
    info: DispyNodeAvailInfo | None,
    platform: str,
) -> object:
    """Call `allocate`, which may be written for any version of dispy: with the last two arguments by keyword, by
    position, or not at all."""
    last = {"avail_info": info, "platform": platform}
    call: Callable[..., object] = allocate.allocate
    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):
        return call(cluster, address, name, cpus, **last)
    kinds = [each.kind for each in parameters.values()]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        unknown = [key for key in last if key not in parameters]
        if inspect.Parameter.VAR_POSITIONAL in kinds or (unknown and len(parameters) >= 4 + len(last)):
            return call(cluster, address, name, cpus, info, platform)
        last = {key: value for key, value in last.items() if key in parameters}
    return call(cluster, address, name, cpus, **last)


def _address(host: str) -> str:
    """The address of a host name; the name itself for a pattern and for a name that cannot be resolved, which may be
    that of a node."""
    if "*" in host or host == targets.LOCAL or not host.strip(".0123456789") or ":" in host:
        return host
    with contextlib.suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return str(min(found, key=lambda each: each[0] != socket.AF_INET)[4][0])
    return host


def _vagueness(each: NodeAllocate) -> tuple[int, int]:
    return each.host.count("*"), -len(each.host)


def _take(allocate: NodeAllocate, computation: ComputationId, appeared: NodeFound, cpus: int) -> UseNode:
    arguments: Bulk = b""
    if allocate.setup_args:
        arguments = pickled_arguments(tuple(allocate.setup_args))
    parts = Bundle()
    gather(parts, allocate.depends)
    if parts.names:
        raise ConfigError("depends of a NodeAllocate may list only files and modules")
    return UseNode(computation, appeared.node, cpus, arguments, *read_files(parts.files))


def pickled_arguments(arguments: tuple[object, ...]) -> Bulk:
    """The pickled arguments of `setup`. Raises ConfigError if they cannot be pickled."""
    try:
        return bulk(pickling.dumps(arguments))
    except Exception as error:
        raise ConfigError(f"setup_args cannot be sent to nodes: {type(error).__name__}: {error}") from error
