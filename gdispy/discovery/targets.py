"""Parses `nodes`: the targets to connect to, and the nodes to use.

Pure; runs in the user's thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gdispy.errors import ConfigError
from gdispy.protocol.address import Address, host_flaw
from gdispy.protocol.limits import COLUMN_LIMIT, short_name

LOCAL = "local"
#: Jobs run in the program itself; the only element, if there.
INLINE = "inline"


@dataclass
class NodeTargets:
    """The nodes that a cluster wants."""

    #: Host and port of explicitly named nodes.
    targets: list[tuple[str, int]] = field(default_factory=list)
    #: Patterns for the address of a node.
    patterns: list[str] = field(default_factory=list)
    #: Whether to discover nodes by broadcast.
    look: bool = False
    #: Whether a private node on this machine is wanted.
    local: bool = False

    def copy(self) -> NodeTargets:
        return NodeTargets(list(self.targets), list(self.patterns), self.look, self.local)

    def add(self, other: NodeTargets) -> None:
        """Add the targets of another."""
        self.targets += other.targets
        self.patterns += other.patterns
        self.look, self.local = self.look or other.look, self.local or other.local


def parse(nodes: object, node_port: int) -> NodeTargets:
    """Read `nodes`: None, one element, or a list of elements. Raises ConfigError.

    An element is a host name or address, optionally with ':port'; a tuple of those two; a pattern with `*`; or 'local'.
    """
    if nodes is None or (isinstance(nodes, list | tuple | str | set | frozenset) and not nodes):
        nodes = ["*"]
    if isinstance(nodes, str) or (isinstance(nodes, tuple) and _is_pair(nodes)):
        nodes = [nodes]
    if not isinstance(nodes, list | tuple | set | frozenset):
        raise ConfigError(f"nodes must be a list, not {type(nodes).__name__}")
    if len(nodes) > COLUMN_LIMIT:
        raise ConfigError(f"nodes has {len(nodes):,} elements, more than {COLUMN_LIMIT:,}: use patterns with *")
    result = NodeTargets()
    for element in nodes:
        _add(result, element, node_port)
    return result


def _is_pair(value: tuple[object, ...]) -> bool:
    return len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def _add(result: NodeTargets, element: object, node_port: int) -> None:
    host, port = _host_and_port(element)
    flaw = host_flaw(host)
    if flaw:
        raise ConfigError(f"in nodes, {short_name(repr(element))}: {flaw}")
    if host == INLINE and port is None:
        raise ConfigError("in nodes, 'inline' (jobs run in this process) must be the only element")
    if host == LOCAL and port is not None:
        raise ConfigError(
            f"in nodes, {short_name(repr(element))}: 'local' is a private node of this program, without a fixed port; "
            f"a node that runs on this machine is '127.0.0.1:{port}'"
        )
    if host == LOCAL:
        result.local = True
    elif "*" in host:
        result.look = True
        result.patterns.append(str(Address(host, port)))
    else:
        result.targets.append((host, port or node_port))
        result.patterns.append(str(Address(host, port or node_port)))


def _host_and_port(element: object) -> tuple[str, int | None]:
    if isinstance(element, str) and element.strip():
        try:
            return Address.parse(element.strip())
        except ValueError as error:
            raise ConfigError(f"in nodes, {short_name(repr(element))}: {error}") from None
    if isinstance(element, tuple | list) and element and isinstance(element[0], str):
        host, *rest = element
        if not rest or rest[0] is None:
            return host, None
        port = int(rest[0]) if isinstance(rest[0], str) and rest[0].isdecimal() else rest[0]
        if len(rest) == 1 and type(port) is int and 0 < port < 65536:
            return host, port
    raise ConfigError(f"in nodes, {element!r} is not a host: write 'host', 'host:port', ('host', port), '*' or 'local'")
