"""What is told of the jobs of a node, for counting them."""

from __future__ import annotations

from typing import Protocol

from gdispy.protocol.messages import Run
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.outcome import Outcome


class JobWatch(Protocol):
    """Watches the jobs of a node. Its methods are called in the node's loop; they must be short."""

    def arrived(self, message: Run) -> None:
        """A scheduler has sent jobs."""

    def ended(self, computation: Computation, outcomes: list[Outcome]) -> None:
        """Jobs have ended."""
