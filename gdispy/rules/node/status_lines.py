"""How a node stands, in lines for its owner.

Pure. Called by `node_rules.py` for the console of `gdispy-node`.
"""

from __future__ import annotations

from collections.abc import Iterable

from gdispy.rules.node.records import Computation, SchedulerSession


def cpu_line(cpus: int, wanted: int, reasons: Iterable[str], busy: int) -> str:
    """What is offered, and why it is less than wanted."""
    shown = str(cpus) if cpus == wanted else f"{cpus} of {wanted} ({', '.join(reasons)})"
    return f"CPUs: {shown}, busy: {busy}"


def computation_line(computation: Computation) -> str:
    running = sum(1 for worker in computation.workers.values() if worker.hand)
    waiting = len(computation.jobs) - running
    state = "" if computation.ready else ", cannot be loaded" if computation.error else ", being loaded"
    counts = f"jobs: {running} running, {waiting} waiting, {computation.done} done"
    kept = f", {len(computation.ended)} not collected" if computation.ended else ""
    return f"computation {computation.prepare.name} of {computation.session.name}{state}, {counts}{kept}"


def client_line(session: SchedulerSession, now: float) -> str:
    if session.peer is not None or session.expires is None:
        return f"client {session.name}: {'connected' if session.peer is not None else 'leaving'}"
    minutes = max(0.0, session.expires - now) / 60
    return f"client {session.name}: away; what is held for it is kept for {minutes:.0f} minutes"
