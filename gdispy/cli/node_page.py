"""The page of a node: its CPUs, the computations of its clients, and why it takes no jobs.

Runs in the node's loop, and reads what the console of the node shows.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent

from gdispy import config
from gdispy.cli.node import count_cpus
from gdispy.cli.node_metrics import NodeMetrics
from gdispy.cli.page_orders import clients_in, hours_in, when
from gdispy.client.tables import count
from gdispy.errors import ConfigError
from gdispy.protocol.address import Address
from gdispy.protocol.job_status import FINISHED
from gdispy.protocol.limits import printable_lines, shortened
from gdispy.protocol.messages import NodeOrder, Run
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.outcome import Outcome
from gdispy.rules.node.service_hours import as_text, hours_of
from gdispy.rules.node.status import Work
from gdispy.runtime.greenlets import keep_running
from gdispy.web.guard import Refused
from gdispy.web.history import SAMPLE_INTERVAL, History
from gdispy.web.request import Request, action_of

if TYPE_CHECKING:
    from gdispy.node import Node


class NodeView:
    """What the page of a node shows."""

    def __init__(self, node: Node, admin: bool, most_computations: int) -> None:
        self.admin = admin
        self.source = NodeMetrics(node, most_computations)
        self._node = node
        self._history = History()
        #: Jobs that have ended, and those of them without a result: of all computations since the page is served, and
        #: of each that is here now.
        self._all = [0, 0]
        self._ended: dict[bytes, list[int]] = {}
        #: Since when the node runs, and since when it has computations.
        self._began = time.time()
        self._since: dict[bytes, float] = {}

    def begin(self) -> None:
        self._node.watch_jobs(self)
        keep_running(self._tick, what="the samples of the page")

    def arrived(self, message: Run) -> None:
        self.source.arrived(message)

    def ended(self, computation: Computation, outcomes: list[Outcome]) -> None:
        self.source.ended(computation, outcomes)
        failed = sum(each.status != FINISHED for each in outcomes)
        for counts in (self._all, self._ended.setdefault(computation.id, [0, 0])):
            counts[0] += len(outcomes)
            counts[1] += failed

    def _tick(self) -> None:
        while True:
            row, _, work = self._node.overview()
            self.source.count()
            now = time.time()
            self._ended = {each.id: self._ended.get(each.id, [0, 0]) for each in work}
            self._since = {each.id: self._since.get(each.id, now) for each in work}
            self._history.add(now, self._all[0], self._all[1], row.load)
            gevent.sleep(SAMPLE_INTERVAL)

    def sections(self) -> dict[str, object]:
        row, reasons, work = self._node.overview()
        rate, pending = self._history.rate(), sum(each.running + each.waiting for each in work)
        actions = list(self._ACTIONS) if self.admin else []
        hours, clients_left = self._node.control.limits()
        about = {"title": f"node {row.name}", "version": config.VERSION, "admin": self.admin, "arguments": False}
        problems = [f"{row.name}: {reason}" for reason in reasons]
        problems += [f"{each.name} of {each.client}: {each.error}" for each in work if each.error]
        return {
            "about": {**about, "actions": actions, "without": ["jobs", "timeline"]},
            "now": {
                "time": round(time.time(), 1),
                "rate": round(rate, 2),
                "left": self._history.left(pending),
                "ended": self._all[0],
                "failed": self._all[1],
            },
            "computations": [self._computation(each) for each in work],
            "nodes": [
                {
                    "id": "here",
                    "name": row.name,
                    "address": str(Address(row.address, row.port)),
                    "cpus": row.cpus,
                    "busy": row.load,
                    "state": "ready" if row.cpus else "takes no jobs",
                    "since": self._began,
                    "versions": f"gdispy {config.VERSION}, Python {platform.python_version()}, {sys.platform}",
                    "done": self._all[0],
                    "seconds": None,
                    "free": [round(float(each), 1) for each in self._node.free()] or None,
                    "runs": [f"{each.name} of {each.client}: {each.running}" for each in work if each.running],
                    "hours": hours,
                    "clients_left": clients_left,
                }
            ],
            "problems": [shortened(printable_lines(each)) for each in problems],
        }

    def _computation(self, each: Work) -> dict[str, object]:
        ended, failed = self._ended.get(each.id, (0, 0))
        return {
            "id": each.id.hex(),
            "name": each.name,
            "client": each.client,
            "state": "open" if each.is_here else "away",
            "started": self._since.get(each.id),
            "made": ended + each.running + each.waiting,
            "ended": ended,
            "failed": failed,
            "running": each.running,
            "waiting": each.waiting,
        }

    def history(self) -> object:
        return {"samples": self._history.samples}

    def jobs(self, request: Request) -> object:
        raise Refused(404, "the page of a node has no list of jobs: the pages of programs have")

    def timeline(self, since: int) -> object:
        raise Refused(404, "the page of a node has no timeline: the pages of programs have")

    def act(self, order: dict[str, Any]) -> str:
        return action_of(order, self._ACTIONS)(self, order)

    def _cpus(self, order: dict[str, Any]) -> str:
        cpus = order.get("cpus")
        if not isinstance(cpus, int) or isinstance(cpus, bool):
            raise Refused(400, "cpus must be a whole number")
        try:
            wanted = count_cpus(cpus)
        except ConfigError as error:
            raise Refused(400, str(error)) from None
        self._node.control.set_cpus(wanted)
        return f"{count(wanted, 'CPU')} offered"

    def _drain(self, order: dict[str, Any]) -> str:
        self._node.control.stop_jobs()
        return "the node accepts no new jobs"

    def _resume(self, order: dict[str, Any]) -> str:
        self._node.control.start_jobs()
        return "the node accepts jobs again"

    def _hours(self, order: dict[str, Any]) -> str:
        hours = hours_in(order)
        self._node.control.give(NodeOrder(1, "hours", 0, hours))
        return f"the node takes jobs {when(as_text(hours_of(hours)))}"

    def _serve(self, order: dict[str, Any]) -> str:
        clients = clients_in(order)
        self._node.control.give(NodeOrder(1, "serve", clients))
        return (
            f"the node ends after {count(clients, 'more client')}"
            if clients
            else "the node serves any number of clients"
        )

    _ACTIONS: dict[str, Callable[[NodeView, dict[str, Any]], str]] = {
        "cpus": _cpus,
        "drain": _drain,
        "resume": _resume,
        "hours": _hours,
        "serve": _serve,
    }
