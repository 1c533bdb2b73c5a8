"""Why jobs wait and no node runs them, in words for the user.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gdispy.protocol.address import matches
from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import printable, printable_lines
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.node_record import NodeRecord

#: Different reasons that are told at most.
REASONS = 5

#: Seconds of loading and setup after which a node is named among those that are not used.
LOADING = 3.0

_SETTING_UP = "setting up the computation"
_NONE_FOUND = "no gdispy-node was found: start gdispy-node on the machines, with the same secret as this program"
_LOCAL = "or use this machine: nodes=['local'], and on the command line --local"


def problems(
    computation: Computation, nodes: Iterable[NodeRecord], addresses: Mapping[str, str], now: float
) -> list[str]:
    """What keeps nodes from being used, a line for each; `addresses` are those that are no nodes, and why."""
    head = computation.backlog.queue.head()
    next_job = head.cpus if head is not None else 1
    found = [_with_place(place, text) for place, text in addresses.items()]
    for node in nodes:
        assignment = node.assignments.get(computation.id)
        wanted = max(next_job, computation.backlog.oversized.least(node.instance))
        if assignment is not None and assignment.error:
            found.append(f"{node.place}: {printable_lines(assignment.error.strip())}")
        elif node.peer is None:
            found.append(f"{node.place}: the connection broke; reconnecting")
        elif node.silent:
            found.append(f"{node.place}: no heartbeat at present")
        elif assignment is not None and (assignment.closed or assignment.leaving):
            found.append(f"{node.place}: released by this program (close_node or deallocate_node)")
        elif assignment is not None and assignment.prepared_at is not None and assignment.prepared_at + LOADING <= now:
            found.append(f"{node.place}: {_SETTING_UP} for {now - assignment.prepared_at:.0f} s")
        elif node.cpus == 0:
            reason = f" ({printable(node.offer.reason)})" if node.offer.reason else ""
            found.append(f"{node.place}: not accepting jobs at present{reason}")
        elif assignment is not None and min(node.cpus, assignment.cpus) < wanted:
            found.append(
                f"{node.place}: a job requires {wanted} CPUs, and {min(node.cpus, assignment.cpus)} may be used there"
            )
        elif assignment is not None and assignment.note:
            found.append(f"{node.place}: {printable(assignment.note)}")
    return found


def inability(computation: Computation, nodes: Iterable[NodeRecord]) -> str:
    """Why no node can run the computation, where all that could have said so; '' where one may yet."""
    reasons: dict[str, list[str]] = {}
    unable: list[NodeRecord] = []
    for node in nodes:
        assignment = node.assignments.get(computation.id)
        if node.instance in computation.refused or (assignment is not None and assignment.closed):
            continue
        if assignment is None or not assignment.is_unable:
            return ""
        unable.append(node)
        reasons.setdefault(printable_lines(assignment.error.strip()), []).append(node.place)
    named = [pattern for pattern in computation.open.nodes if "*" not in pattern]
    if not unable or not all(any(matches([name], node.names, node.port) for node in unable) for name in named):
        return ""
    if len(reasons) == 1:
        return f"{next(iter(reasons))}\n"
    shown = [f"{places[0]}{_others(places)}: {text}" for text, places in list(reasons.items())[:REASONS]]
    more = [f"... and {len(reasons) - REASONS} other reasons"] if len(reasons) > REASONS else []
    return "\n".join(["No node can run the computation.", *shown, *more]) + "\n"


def insufficiency(computation: Computation, nodes: Iterable[NodeRecord], only: Instance | None, wanted: int) -> str:
    """Why no node will ever run a job of `wanted` CPUs, where that is certain; '' where one may yet. `only` is the one
    node that may run it."""
    limits: dict[str, int] = {}
    known: list[NodeRecord] = []
    for node in nodes:
        assignment = node.assignments.get(computation.id)
        if only not in (None, node.instance) or node.instance in computation.refused:
            continue
        if assignment is not None and assignment.closed:
            continue
        if assignment is None:
            return ""
        known.append(node)
        if assignment.is_unable:
            continue
        # What the program has taken with `set_node_cpus`, or the owner of the node at its console, they can give back.
        most = min(node.offer.most, assignment.cpus)
        if node.peer is None or not most or most >= wanted:
            return ""
        limits[node.place] = most
    named = [pattern for pattern in computation.open.nodes if "*" not in pattern and only is None]
    if not limits or not all(any(matches([name], node.names, node.port) for node in known) for name in named):
        return ""
    place = max(limits, key=lambda each: limits[each])
    where = f"at {place}" if len(limits) == 1 else f"at {place}, the largest of {len(limits)} nodes"
    return f"The job requires {wanted} CPUs (dispy_cpus), but only {limits[place]} may be used {where}.\n"


def too_wide(computation: Computation, nodes: Iterable[NodeRecord], addresses: Mapping[str, str], now: float) -> str:
    """What the user is told of jobs that ask for more CPUs than any node has, while others may run."""
    name = computation.prepare.name if computation.prepare is not None else "?"
    number = len(computation.backlog.oversized)
    jobs = (
        "1 job waits, and no node has enough CPUs for it"
        if number == 1
        else (f"{number} jobs wait, and no node has enough CPUs for them")
    )
    return "\n  ".join([f"{name}: {jobs}.", *problems(computation, nodes, addresses, now)])


def _others(places: list[str]) -> str:
    return f" and {len(places) - 1} others" if len(places) > 1 else ""


def noted(computation: Computation, node: NodeRecord, note: str) -> str:
    """What the user is told of a node that has loaded the computation, but not quite as it should be."""
    name = computation.prepare.name if computation.prepare is not None else "?"
    return f"{name}: {node.place}: {note}"


def slow_nodes(computation: Computation, nodes: Iterable[NodeRecord]) -> str:
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
    computation: Computation,
    nodes: Iterable[NodeRecord],
    addresses: Mapping[str, str],
    now: float,
    has_local_nodes: bool = True,
) -> str:
    """What the user is told when jobs have waited for too long. With `has_local_nodes`, where no node is there at all,
    also that this machine can be used."""
    nodes = list(nodes)
    name = computation.prepare.name if computation.prepare is not None else "?"
    jobs = "1 job waits" if len(computation.tasks) == 1 else f"{len(computation.tasks)} jobs wait"
    lines = problems(computation, nodes, addresses, now)
    if not lines:
        is_loading = any(computation.id in node.assignments for node in nodes)
        lines = ["a node is still loading the computation"] if is_loading else [_NONE_FOUND]
    if has_local_nodes and not nodes:
        lines.append(_LOCAL)
    return "\n  ".join([f"{name}: {jobs}, and no node can run them.", *lines])
