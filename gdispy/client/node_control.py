"""Control of single nodes of a cluster, for programs that do their own scheduling.

Methods may be called in any thread of the user's program; the scheduler answers in the hub. `JobCluster` documents
each.
"""

from __future__ import annotations

import logging

from gdispy.client import node_allocate
from gdispy.client.engine import ClusterEngine
from gdispy.client.job import DispyJob
from gdispy.client.packaging import Bundle, gather, read_files
from gdispy.client.parameters import number
from gdispy.client.questions import Reported
from gdispy.client.status import DispyNode
from gdispy.errors import ConfigError
from gdispy.hub import Hub
from gdispy.protocol.address import Address
from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import printable_for_log
from gdispy.protocol.messages import NodeCommand, PutFile, Reply

logger = logging.getLogger("gdispy")


class NodeControl:
    """Finds, allocates, queries and releases single nodes."""

    def __init__(self, engine: ClusterEngine, hub: Hub, node_port: int) -> None:
        self._engine, self._hub, self._node_port = engine, hub, node_port

    def discover(self, nodes: object) -> int:
        self._engine.refuse_fork()
        self._hub.call(self._engine.seek, node_allocate.read(nodes, self._node_port).targets)
        return 0

    def allocate(self, node: object) -> int:
        self._engine.refuse_fork()
        self._hub.call(self._engine.want, node_allocate.read(node, self._node_port))
        self._engine.refuse_fork()
        wanted = _wanted(node)
        found = self._engine.nodes.find(*wanted) or self._engine.nodes.find_closed(*wanted)
        if found is not None:
            self._ask_about("allocate", found)
        return 0

    def deallocate(self, node: object) -> int:
        return self._order("deallocate", self.find(node))

    def close(self, node: object, terminate_pending: bool = False) -> int:
        return self._order("close", self.find(node), float(bool(terminate_pending)))

    def set_up_again(self, node: object, terminate_pending: bool = False) -> int:
        return self._order("resetup", self.find(node), float(bool(terminate_pending)))

    def set_cpus(self, node: object, cpus: int | str) -> int:
        amount = number("cpus", cpus)
        if isinstance(amount, bool) or not isinstance(amount, int):
            raise ConfigError(f"cpus must be a whole number, not {amount!r}")
        return self._order("cpus", self.find(node), float(amount))

    def jobs_on(self, node: object, from_node: bool = False) -> list[DispyJob]:
        reply = self._ask_about("jobs", self.find(node))
        jobs = reply.jobs if isinstance(reply, Reply) else []
        return [job for job in (self._engine.table.jobs.get(each) for each in jobs) if job is not None]

    def send_file(self, path: object, node: object, relay: bool = False) -> int:
        parts = Bundle()
        gather(parts, [path])
        files, contents = read_files(parts.files)
        found = self.find(node)
        if found is None:
            return -1
        reply = self._engine.question(
            lambda number: PutFile(self._engine.computation, number, Instance(found), files, contents)
        )
        if isinstance(reply, Reply) and not reply.error:
            return 0
        reason = printable_for_log(reply.error) if isinstance(reply, Reply) else "no answer"
        logger.warning("%s was not sent: %s", path, reason)
        return -1

    def find(self, node: object) -> bytes | None:
        """The instance of a node that is set up; by DispyNode, address, name, host name, or 'host:port'."""
        self._engine.refuse_fork()
        return self._engine.nodes.find(*_wanted(node))

    def _order(self, word: str, node: bytes | None, value: float = 0.0) -> int:
        reply = self._ask_about(word, node, value)
        if not isinstance(reply, Reply):
            return -1
        if reply.error:
            logger.warning("%s", printable_for_log(reply.error))
        return int(reply.value)

    def _ask_about(self, word: str, node: bytes | None, value: float = 0.0) -> Reported | None:
        if node is None:
            return None
        return self._engine.question(
            lambda number: NodeCommand(self._engine.computation, number, word, Instance(node), value)
        )


def _wanted(node: object) -> tuple[object, str, int | None]:
    """A node as given by the user, its address or name, and its port (None for any)."""
    if isinstance(node, DispyNode):
        return node, node.ip_addr, node.port
    if isinstance(node, node_allocate.NodeAllocate):
        return node, node.host, node.port
    return node, *_host_and_port(node)


def _host_and_port(node: object) -> tuple[str, int | None]:
    if isinstance(node, tuple) and len(node) > 1:
        return str(node[0]), node[1]
    try:
        return Address.parse(str(node))
    except ValueError:
        return str(node), None
