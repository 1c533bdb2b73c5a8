"""Why jobs wait and no node runs them, in words for the user.

Floor 1: pure. Called by `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gdispy.core.placing import Computation, Node

_NONE_FOUND = (
    "no gdispy-node was found: start gdispy-node on the machines that are to run them, with the "
    "same secret as this program"
)
_LOCAL = "or use this machine: nodes=['local'], and on the command line --local"


def problems(computation: Computation, nodes: Iterable[Node], addresses: Mapping[str, str]) -> list[str]:
    """What keeps nodes from being used, a line for each; `addresses` are those that are no nodes, and why."""
    head = computation.queue.head()
    wanted = head.cpus if head is not None else 1
    found = [_with_place(place, text) for place, text in addresses.items()]
    for node in nodes:
        share = node.shares.get(computation.id)
        if share is not None and share.error:
            found.append(f"{node.place}: {share.error.strip()}")
        elif node.peer is None:
            found.append(f"{node.place}: the connection broke; trying to reach it again")
        elif node.silent:
            found.append(f"{node.place}: no sign of life at present")
        elif share is not None and (share.closed or share.leaving):
            found.append(f"{node.place}: this program has let go of it")
        elif node.cpus == 0:
            reason = f" ({node.reason})" if node.reason else ""
            found.append(f"{node.place}: it takes no jobs at present{reason}")
        elif share is not None and min(node.cpus, share.cpus) < wanted:
            found.append(
                f"{node.place}: a job asks for {wanted} CPUs, and {min(node.cpus, share.cpus)} may be used there"
            )
    return found


def slow_nodes(computation: Computation, nodes: Iterable[Node]) -> str:
    """What the user is told of nodes that take long to set up, or to clean up."""
    name = computation.prepare.name if computation.prepare is not None else "?"
    what = "cleaning up after the computation" if computation.closing else "setting up the computation"
    places = ", ".join(node.place for node in nodes)
    return f"{name}: still waiting for {places}: {what}"


def _with_place(place: str, text: str) -> str:
    """A line about an address, which is named once."""
    if text.startswith(f"{place} "):
        return text
    text = without_place(place, text)
    return text if place in text else f"{place}: {text}"


def without_place(place: str, text: str) -> str:
    """What is wrong at an address, for a line that begins with it."""
    return text.removeprefix(f"{place} ").replace(f" at {place} ", " ", 1)


def trouble(
    computation: Computation, nodes: Iterable[Node], addresses: Mapping[str, str], has_local_nodes: bool = True
) -> str:
    """What the user is told when jobs have waited for too long. With `has_local_nodes`, where no node is there at all,
    also that this machine can be used."""
    nodes = list(nodes)
    name = computation.prepare.name if computation.prepare is not None else "?"
    jobs = "1 job waits" if len(computation.tasks) == 1 else f"{len(computation.tasks)} jobs wait"
    lines = problems(computation, nodes, addresses)
    if not lines:
        is_loading = any(computation.id in node.shares for node in nodes)
        lines = ["a node is still loading the computation"] if is_loading else [_NONE_FOUND]
    if has_local_nodes and not nodes:
        lines.append(_LOCAL)
    return "\n  ".join([f"{name}: {jobs}, and no node can run them.", *lines])
