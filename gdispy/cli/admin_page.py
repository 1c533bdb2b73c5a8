"""The page of `gdispy admin`: all nodes and the named schedulers, also those in use.

Runs in a process that gevent has patched. It shows what `NodeWatch` and `WatchedScheduler` know; only an action waits
for a node.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gdispy import config
from gdispy.cli.network_watch import Attention, NodeWatch, WatchedNode, WatchedScheduler
from gdispy.cli.nodes import Found
from gdispy.cli.page_orders import clients_in, hours_in, when
from gdispy.client.tables import count
from gdispy.errors import GdispyError
from gdispy.protocol.limits import printable, printable_lines, shortened
from gdispy.protocol.rows import ComputationOverviewRow
from gdispy.rules.scheduler.diagnostics import without_place
from gdispy.web.guard import Refused
from gdispy.web.request import Request, action_of

#: Lines that explain why nodes take nothing, and computations that are listed.
PROBLEMS = 200
COMPUTATIONS = 500


class AdminView:
    """What the page shows of many nodes and schedulers."""

    def __init__(self, nodes: NodeWatch, schedulers: list[WatchedScheduler], attention: Attention, admin: bool) -> None:
        self.admin = admin
        self._nodes, self._schedulers, self._attention = nodes, schedulers, attention

    def begin(self) -> None:
        self._nodes.begin()
        for each in self._schedulers:
            each.begin()

    def sections(self) -> dict[str, object]:
        self._attention.look()
        actions = list(self._ACTIONS) if self.admin else []
        without = ["jobs", "timeline", "failed", "ended"]
        about = {"title": "nodes and schedulers", "version": config.VERSION, "admin": self.admin, "arguments": False}
        nodes = [(each, each.found) for each in self._nodes.nodes.values()]
        known = [(each, found) for each, found in nodes if found is not None]
        computations = [*_of_nodes([found for _, found in known]), *self._of_schedulers()]
        return {
            "about": {**about, "actions": actions, "without": without, "ready": "takes jobs"},
            "now": {
                "time": round(time.time(), 1),
                "running": sum(_whole(row["running"]) for row in computations if row["scheduler"] == ""),
                "waiting": sum(_whole(row["waiting"]) for row in computations),
            },
            "computations": computations[:COMPUTATIONS],
            "schedulers": [_scheduler(each) for each in self._schedulers],
            "nodes": sorted((_node(each, found) for each, found in known), key=lambda row: (row["name"], row["id"])),
            "problems": self._problems(known),
        }

    def _of_schedulers(self) -> list[dict[str, object]]:
        return [
            _computation(f"scheduler {each.place}", row, each.place)
            for each in self._schedulers
            if each.overview is not None
            for row in each.overview.computations
        ]

    def _problems(self, nodes: list[tuple[WatchedNode, Found]]) -> list[str]:
        found = [self._nodes.problem] if self._nodes.problem else []
        for node, answer in nodes:
            why = "" if answer.cpus else "; ".join(answer.notes) or answer.problem
            if why:
                found.append(f"{printable(answer.name) or '?'} at {node.id}: {without_place(node.id, why)}")
        for each in self._schedulers:
            notes = each.overview.notes if each.overview is not None else [without_place(each.place, each.problem)]
            found += [f"scheduler {each.place}: {note}" for note in notes]
        return [shortened(printable_lines(each)) for each in found[:PROBLEMS]]

    def history(self) -> object:
        return {"samples": []}

    def jobs(self, request: Request) -> object:
        raise Refused(404, "this page has no list of jobs: the pages of schedulers and programs have")

    def timeline(self, since: int) -> object:
        raise Refused(404, "this page has no timeline: the pages of schedulers and programs have")

    # Actions

    def act(self, order: dict[str, Any]) -> str:
        return action_of(order, self._ACTIONS)(self, order)

    def _drain(self, order: dict[str, Any]) -> str:
        found = self._order(order, "drain")
        rest = f" when its jobs on {count(found.busy, 'CPU')} have ended" if found.busy else ""
        return f"{printable(found.name)} accepts no new jobs, and is empty{rest}"

    def _resume(self, order: dict[str, Any]) -> str:
        found = self._order(order, "undrain")
        if not found.cpus:
            return f"{printable(found.name)} still takes no jobs: {printable(found.problem)}"
        return f"{printable(found.name)} accepts jobs again"

    def _cpus(self, order: dict[str, Any]) -> str:
        cpus = order.get("cpus")
        if not isinstance(cpus, int) or isinstance(cpus, bool) or not 1 <= cpus < 1 << 20:
            raise Refused(400, "cpus must be a whole number of CPUs, at least 1; to use none, drain the node")
        found = self._order(order, "cpus", cpus)
        if not found.cpus:
            return f"{printable(found.name)} takes no jobs at present: {printable(found.problem)}"
        return f"{printable(found.name)} offers {count(found.cpus, 'CPU')} now"

    def _hours(self, order: dict[str, Any]) -> str:
        found = self._order(order, "hours", 0, hours_in(order))
        now = f" (now: {printable(found.problem)})" if not found.cpus else ""
        return f"{printable(found.name)} takes jobs {when(found.hours)}{now}"

    def _serve(self, order: dict[str, Any]) -> str:
        found = self._order(order, "serve", clients_in(order))
        if not found.clients_left:
            return f"{printable(found.name)} serves any number of clients"
        return f"{printable(found.name)} ends after {count(int(found.clients_left), 'more client')}"

    def _order(self, order: dict[str, Any], word: str, number: int = 0, text: str = "") -> Found:
        name = order.get("node")
        node = self._nodes.nodes.get(name) if isinstance(name, str) else None
        if node is None:
            raise Refused(404, "there is no such node any more")
        try:
            return node.order(word, number, text)
        except (GdispyError, OSError) as error:
            raise Refused(503, shortened(printable_lines(str(error)))) from None

    _ACTIONS: dict[str, Callable[[AdminView, dict[str, Any]], str]] = {
        "drain": _drain,
        "resume": _resume,
        "cpus": _cpus,
        "hours": _hours,
        "serve": _serve,
    }


def _state(node: WatchedNode, found: Found) -> str:
    if node.since is None:
        return "unreachable"
    if found.cpus:
        return "ready"
    if "draining" not in found.notes:
        return "takes no jobs"
    return "draining" if found.busy else "drained"


def _node(node: WatchedNode, found: Found) -> dict[str, Any]:
    free = [round(found.idle, 1), found.memory, found.disk] if found.idle is not None else None
    running = [each for each in found.computations if each["running"]]
    return {
        "id": node.id,
        "name": printable(found.name) or "?",
        "address": node.id,
        "cpus": found.cpus,
        "busy": found.busy,
        "state": _state(node, found),
        "since": node.since,
        "versions": f"gdispy {found.version}, Python {found.python}, {found.platform}" if found.version else "",
        "free": free,
        "runs": [f"{each['name']} of {each['client']}: {each['running']}" for each in running],
        "hours": found.hours,
        "clients_left": found.clients_left,
    }


def _scheduler(each: WatchedScheduler) -> dict[str, object]:
    overview = each.overview
    nodes = [node for node in overview.nodes if node.connected] if overview is not None else []
    rows = overview.computations if overview is not None else []
    return {
        "id": each.place,
        "state": "answers" if overview is not None else without_place(each.place, each.problem),
        "since": each.since,
        "nodes": len(nodes),
        "cpus": sum(node.cpus for node in nodes),
        "busy": sum(min(node.load, node.cpus) for node in nodes),
        "clients": len({(row.client, row.address) for row in rows}),
        "waiting": sum(row.waiting for row in rows),
    }


def _of_nodes(nodes: list[Found]) -> list[dict[str, object]]:
    """What nodes have of their clients, added up over the nodes."""
    rows: dict[tuple[str, str], list[int]] = {}
    for found in nodes:
        for each in found.computations:
            counts = rows.setdefault((str(each["client"]), str(each["name"])), [0, 0, 0])
            for at, number in enumerate((1, _whole(each["waiting"]), _whole(each["running"]))):
                counts[at] += number
    return [
        _computation(count(number, "node"), ComputationOverviewRow(client, "", name, waiting, running), "")
        for (client, name), (number, waiting, running) in sorted(rows.items())
    ]


def _computation(where: str, row: ComputationOverviewRow, scheduler: str) -> dict[str, object]:
    return {
        "id": f"{scheduler}|{row.client}|{row.address}|{row.name}",
        "name": row.name,
        "client": row.client,
        "state": where,
        "scheduler": scheduler,
        "running": row.running,
        "waiting": row.waiting,
    }


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
