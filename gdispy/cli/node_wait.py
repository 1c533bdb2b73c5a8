"""How long a run waits while no node can be used. Pure."""

from __future__ import annotations

from gdispy.client.status import ClusterStatus
from gdispy.errors import GdispyError

#: What to do without any node, on the command line.
LOCAL_ADVICE = "or use this machine: --local"
_NONE_FOUND = f"no gdispy-node was found: start gdispy-node on the machines, {LOCAL_ADVICE}"


class Hopeless(GdispyError):
    """No node can be expected any more."""


class NodeWait:
    """Notes since when no node can be used."""

    def __init__(self, limit: float | None = None) -> None:
        """`limit` in seconds; None to wait for ever, as long as a node may appear."""
        self._limit = limit
        self._since: float | None = None

    def look(self, status: ClusterStatus, now: float) -> None:
        """Raises Hopeless if all nodes were named and have refused, or if none could be used for too long."""
        if status.is_hopeless:
            raise Hopeless("\n  ".join(["no node can run the jobs, and no other node is expected.", *status.problems]))
        # A node that is being drained has no CPUs, and still runs its last jobs.
        if any(node.cpus or node.busy for node in status.nodes):
            self._since = None
            return
        if self._since is None:
            self._since = now
        if self._limit is not None and now - self._since >= self._limit:
            text = f"no node could be used for {self._limit:g} s (--wait-for-nodes)."
            raise Hopeless("\n  ".join([text, *(status.problems or [_NONE_FOUND])]))
