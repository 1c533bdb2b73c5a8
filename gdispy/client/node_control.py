"""What a program asks about, or of, single nodes of its cluster.

The part of `JobCluster` for who schedules by himself. Methods are called in any thread of the user's program;
the scheduler answers, in the hub.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gdispy.client import node_allocate
from gdispy.client.engine import ClusterEngine
from gdispy.client.job import DispyJob
from gdispy.client.packaging import Bundle, gather, read_files
from gdispy.client.parameters import number
from gdispy.client.status import DispyNode
from gdispy.errors import ConfigError
from gdispy.protocol.address import split
from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import printable_for_log
from gdispy.protocol.messages import Message, NodeCommand, PutFile, Reply, Status
from gdispy.runtime.gate import Gate

logger = logging.getLogger("gdispy")

#: Seconds that a question to the scheduler may take; a file may be large.
ANSWER_LIMIT = 600.0


class NodeControl(ClusterEngine):
    """A cluster's single nodes."""

    #: Where nodes listen whose addresses say nothing else.
    _node_port: int

    def discover_nodes(self, nodes: Any) -> int:
        """Look for these nodes now: anything that may stand in `nodes`. Returns 0."""
        self._refuse_fork()
        self._hub.call(self._seek, node_allocate.read(nodes, self._node_port).whom, self._node_port)
        return 0

    def allocate_node(self, node: Any) -> int:
        """Use more nodes: anything that may stand in `nodes`. Returns 0.

        A node that was deallocated or closed is used again.
        """
        self._refuse_fork()
        self._hub.call(self._want, node_allocate.read(node, self._node_port), self._node_port)
        self._refuse_fork()
        wanted = _wanted(node)
        found = self._nodes.find(*wanted) or self._nodes.find_closed(*wanted)
        if found is not None:
            self._ask_about("allocate", found)
        return 0

    def deallocate_node(self, node: Any) -> int:
        """Run no more jobs of this cluster on a node; the computation stays loaded there. 0, or -1."""
        return self._order("deallocate", self._find_node(node))

    def close_node(self, node: Any, terminate_pending: bool = False) -> int:
        """Leave a node when its jobs have ended, or end them with `terminate_pending`: cleanup is called there
        and files are removed. 0, or -1 where there is no such node."""
        return self._order("close", self._find_node(node), float(bool(terminate_pending)))

    def resetup_node(self, node: Any, terminate_pending: bool = False) -> int:
        """Leave a node as `close_node` does, and set it up again: `allocate` of its NodeAllocate is asked
        once more. 0, or -1 where there is no such node."""
        return self._order("resetup", self._find_node(node), float(bool(terminate_pending)))

    def set_node_cpus(self, node: Any, cpus: int | str) -> int:
        """Use at most so many CPUs of a node, over all clusters of this program; negative leaves that many
        unused. How many are used now, or -1 where there is no such node."""
        cpus = number("cpus", cpus)
        if isinstance(cpus, bool) or not isinstance(cpus, int):
            raise ConfigError(f"cpus must be a whole number, not {cpus!r}")
        return self._order("cpus", self._find_node(node), float(cpus))

    def node_jobs(self, node: Any, from_node: bool = False) -> list[DispyJob]:
        """The jobs that are on a node now. `from_node` makes no difference: the answer is always the true one."""
        reply = self._ask_about("jobs", self._find_node(node))
        jobs = reply.jobs if isinstance(reply, Reply) else []
        return [job for job in (self._jobs.get(each) for each in jobs) if job is not None]

    def send_file(self, path: Any, node: Any, relay: bool = False) -> int:
        """Put a file into the directory of the computation on a node. 0, or -1 and a line in the log.

        Raises ConfigError for a file that cannot be read. `relay` is for compatibility.
        """
        parts = Bundle()
        gather(parts, [path])
        files, contents = read_files(parts.files)
        found = self._find_node(node)
        if found is None:
            return -1
        reply = self._question(lambda number: PutFile(self._computation, number, Instance(found), files, contents))
        if isinstance(reply, Reply) and not reply.error:
            return 0
        reason = printable_for_log(reply.error) if isinstance(reply, Reply) else "no answer"
        logger.warning("%s was not sent: %s", path, reason)
        return -1

    def _find_node(self, node: Any) -> bytes | None:
        """The instance of a node that is set up; by DispyNode, address, name, host name, or 'host:port'."""
        self._refuse_fork()
        return self._nodes.find(*_wanted(node))

    def _order(self, word: str, node: bytes | None, value: float = 0.0) -> int:
        reply = self._ask_about(word, node, value)
        if not isinstance(reply, Reply):
            return -1
        if reply.error:
            logger.warning("%s", printable_for_log(reply.error))
        return int(reply.value)

    def _ask_about(self, word: str, node: bytes | None, value: float = 0.0) -> Status | Reply | None:
        if node is None:
            return None
        return self._question(lambda number: NodeCommand(self._computation, number, word, Instance(node), value))

    def _question(self, make: Callable[[int], Message]) -> Status | Reply | None:
        """StatusRequest the scheduler, and wait for its answer; None where none comes."""
        number, gate, answers = next(self._questions), Gate(), list[Status | Reply]()
        self._answers[number] = gate, answers
        self._hub.post(self._ask, make(number))
        gate.wait(ANSWER_LIMIT)
        self._answers.pop(number, None)
        return answers[0] if answers else None


def _wanted(node: Any) -> tuple[Any, str, int | None]:
    """A node as the user names it, its address or name, and its port, None for any."""
    if isinstance(node, DispyNode):
        return node, node.ip_addr, node.port
    if isinstance(node, node_allocate.NodeAllocate):
        return node, node.host, node.port
    return node, *_host_and_port(node)


def _host_and_port(node: Any) -> tuple[str, int | None]:
    if isinstance(node, tuple) and len(node) > 1:
        return str(node[0]), node[1]
    try:
        return split(str(node))
    except ValueError:
        return str(node), None
