"""Texts for the user: why jobs wait and no node runs them.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gdispy.protocol.address import matches
from gdispy.protocol.ids import Instance
from gdispy.protocol.limits import counted, printable, printable_lines
from gdispy.protocol.texts import DRAINING
from gdispy.rules.scheduler.assignment import Use
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.node_record import NodeRecord, NodeStage

#: Maximum number of different reasons that are reported.
REASONS = 5

#: Seconds of loading and setup after which a node is listed among those that are not used.
LOADING = 3.0

_SETTING_UP = "setting up the computation"
_NONE_FOUND = "no gdispy-node was found: start gdispy-node on the machines, with the same secret as this program"
#: How a program uses its own machine.
LOCAL_ADVICE = "or use this machine: nodes=['local'], and on the command line --local"


def problems(
    computation: Computation, nodes: Iterable[NodeRecord], addresses: Mapping[str, str], now: float
) -> list[str]:
    """Why nodes are not used, a line for each; `addresses` are those without a usable node, with reasons."""
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
        elif assignment is not None and assignment.use is not Use.OPEN:
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
    """Why no node can run the computation, if all candidates have reported that; '' if one still may."""
    reasons: dict[str, list[str]] = {}
    unable: list[NodeRecord] = []
    for node in nodes:
        assignment = node.assignments.get(computation.id)
        if node.instance in computation.refused or (assignment is not None and assignment.use is Use.CLOSED):
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
    """Why no node will ever run a job of `wanted` CPUs, if that is certain; '' if one still may. `only` is the single
    node that may run it."""
    limits: dict[str, int] = {}
    known: list[NodeRecord] = []
    for node in nodes:
        assignment = node.assignments.get(computation.id)
        if only not in (None, node.instance) or node.instance in computation.refused:
            continue
        if assignment is not None and assignment.use is Use.CLOSED:
            continue
        if assignment is None:
            return ""
        known.append(node)
        if assignment.is_unable:
            continue
        # The program can undo a limit set with `set_node_cpus`, and the node's owner one set at its console.
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
    """The text about jobs that request more CPUs than any node has, while others may run."""
    name = computation.name
    number = len(computation.backlog.oversized)
    jobs = (
        "1 job waits, and no node has enough CPUs for it"
        if number == 1
        else (f"{number} jobs wait, and no node has enough CPUs for them")
    )
    return "\n  ".join([f"{name}: {jobs}.", *problems(computation, nodes, addresses, now)])


def _others(places: list[str]) -> str:
    return f" and {counted(len(places) - 1, 'other')}" if len(places) > 1 else ""


def noted(computation: Computation, node: NodeRecord, note: str) -> str:
    """The text about a node that has loaded the computation, but with a deviation."""
    name = computation.name
    return f"{name}: {node.place}: {note}"


def slow_nodes(computation: Computation, nodes: Iterable[NodeRecord]) -> str:
    """The text about nodes whose setup or cleanup takes long."""
    name = computation.name
    what = "cleaning up after the computation" if computation.closing else "setting up the computation"
    places = ", ".join(node.place for node in nodes)
    return f"{name}: still waiting for {places}: {what}"


def _with_place(place: str, text: str) -> str:
    """A line about an address that contains the address once."""
    if text.startswith(f"{place} "):
        return text
    text = without_place(place, text)
    return text if place in text else f"{place}: {text}"


def without_place(place: str, text: str) -> str:
    """The problem at an address, for a line that begins with the address."""
    return text.removeprefix(f"{place} ").replace(f" at {place} ", " ", 1)


def trouble(
    computation: Computation,
    nodes: Iterable[NodeRecord],
    addresses: Mapping[str, str],
    now: float,
    local_advice: str = LOCAL_ADVICE,
) -> str:
    """The text for jobs that have waited for too long. If there is no node at all, it ends with `local_advice`."""
    nodes = list(nodes)
    name = computation.name
    jobs = "1 job waits" if len(computation.tasks) == 1 else f"{len(computation.tasks)} jobs wait"
    lines = problems(computation, nodes, addresses, now)
    if not lines:
        is_loading = any(computation.id in node.assignments for node in nodes)
        lines = ["a node is still loading the computation"] if is_loading else [_NONE_FOUND]
    if local_advice and not nodes:
        lines.append(local_advice)
    return "\n  ".join([f"{name}: {jobs}, and no node can run them.", *lines])


#: The states of a node.
READY, IS_DRAINING, DRAINED, SILENT, CONNECTING, AWAY, NO_CPUS = NODE_STATES = (
    "ready",
    "draining",
    "drained",
    "silent",
    "connecting",
    "away",
    "no_cpus",
)


def state_of(node: NodeRecord) -> str:
    """One of `NODE_STATES`. A node that is to take no jobs is drained when no job is left there."""
    if node.peer is None:
        return AWAY
    if node.silent:
        return SILENT
    if node.stage is not NodeStage.ACTIVE:
        return CONNECTING
    if node.offer.allowed == 0 or (not node.offer.offered and DRAINING in node.offer.reason.split(", ")):
        return IS_DRAINING if _jobs_on(node) else DRAINED
    return READY if node.cpus else NO_CPUS


def _jobs_on(node: NodeRecord) -> int:
    return sum(len(each.placed) for each in node.assignments.values())


def node_state(node: NodeRecord, now: float, lease: float) -> str:
    """The state of a node; `lease` is the time for which one that is away is waited for, in seconds."""
    state = state_of(node)
    if state == AWAY:
        left = max(0.0, (node.lost_at or now) - now)
        return f"away for {max(0.0, lease - left):.0f} s; its jobs are given up in {left:.0f} s"
    if state == SILENT:
        return "silent: no heartbeat at present"
    if state == CONNECTING:
        return "connected; it has not reported its jobs yet"
    if not node.offer.offered:
        return _why_shut(node)
    if node.offer.allowed == 0:
        return f"{_drain_of(node)}; it was drained at the scheduler"
    return "ready" if node.cpus else "offers no CPUs"


def _why_shut(node: NodeRecord) -> str:
    """The state of a node that offers no CPUs."""
    reasons = printable(node.offer.reason).split(", ") if node.offer.reason else []
    others = [each for each in reasons if each != DRAINING]
    text = f"offers no CPUs{': ' if others else ''}{', '.join(others)}"
    if DRAINING not in reasons:
        return text
    state = _drain_of(node)
    return f"{state}; {text}" if others else state


def _drain_of(node: NodeRecord) -> str:
    jobs = _jobs_on(node)
    return f"draining: {counted(jobs, 'job')} still here" if jobs else "drained"
