"""The page of a shared scheduler: clients, computations and nodes, and what an administrator may do with them.

Runs in the scheduler's loop. It reads the tables of the rules and changes nothing in them: actions go through the pump,
in order with the messages of clients.

Invariant: a request takes a time that grows with nodes and computations, not with jobs; an action for all jobs of a
computation does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent

from gdispy import config
from gdispy.protocol import job_status
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.limits import printable_lines, shortened
from gdispy.protocol.messages import NO_LIMIT, Cancel, Ended, Release, SetPriority
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.diagnostics import NO_CPUS, state_of
from gdispy.rules.scheduler.node_record import NodeRecord, NodeStage
from gdispy.runtime.greenlets import keep_running
from gdispy.shared_scheduler.client_proxy import ClientProxy
from gdispy.shared_scheduler.metrics import SchedulerMetrics, running_of
from gdispy.shared_scheduler.page_jobs import SchedulerJobs, owner_of, owners_of
from gdispy.shared_scheduler.service import SharedScheduler
from gdispy.web.guard import Refused
from gdispy.web.history import SAMPLE_INTERVAL, History
from gdispy.web.job_lists import TIMELINE_ROWS, priority_in
from gdispy.web.request import Request, action_of

#: Lines that explain why nodes take nothing.
PROBLEMS = 100


class SchedulerView:
    """What the page of a scheduler shows."""

    def __init__(self, sharing: SharedScheduler, admin: bool, most_computations: int) -> None:
        self.admin = admin
        self.source = SchedulerMetrics(sharing, most_computations)
        self._sharing = sharing
        self._jobs = SchedulerJobs(sharing)
        self._history = History()
        #: Jobs that have ended, and that have ended without a result, by computation, since the page is served.
        self._ended: dict[ComputationId, list[int]] = {}
        #: The same for all computations, also those that were released.
        self._all = [0, 0]
        self._opened: dict[ComputationId, float] = {}
        #: Since when nodes are connected.
        self._since: dict[Instance, float] = {}

    def begin(self) -> None:
        self._sharing.on_ended = self._note_end
        keep_running(self._tick, what="the samples of the page")

    def _note_end(self, message: Ended) -> None:
        self.source.ended(message)
        self._jobs.ended(message)
        count = len(message.jobs)
        failed = count - message.statuses.count(job_status.FINISHED)
        for counts in (self._all, self._ended.setdefault(message.computation, [0, 0])):
            counts[0] += count
            counts[1] += failed

    def _tick(self) -> None:
        while True:
            known = self._sharing.rules.state.computations
            self.source.forget()
            self._jobs.forget()
            for gone in self._ended.keys() - known.keys():
                del self._ended[gone]
            for gone in self._opened.keys() - known.keys():
                del self._opened[gone]
            now = time.time()
            for computation in known:
                self._opened.setdefault(computation, now)
            nodes = self._sharing.rules.state.nodes.items()
            connected = [instance for instance, node in nodes if node.stage is NodeStage.ACTIVE]
            self._since = {instance: self._since.get(instance, now) for instance in connected}
            running = sum(node.busy() for node in self._sharing.rules.state.nodes.values())
            self._history.add(now, self._all[0], self._all[1], running)
            gevent.sleep(SAMPLE_INTERVAL)

    # What is shown

    def sections(self) -> dict[str, object]:
        state = self._sharing.rules.state
        owners = owners_of(self._sharing)
        rows = [self._computation(each, owners.get(each.id)) for each in state.computations.values()]
        rate = self._history.rate()
        pending = sum(len(each.tasks) for each in state.computations.values())
        actions = list(self._ACTIONS) if self.admin else []
        about = {"title": "scheduler", "version": config.VERSION, "admin": self.admin, "arguments": False}
        return {
            "about": {**about, "actions": actions},
            "now": {
                "time": round(time.time(), 1),
                "rate": round(rate, 2),
                "left": self._history.left(pending),
                "ended": self._all[0],
                "failed": self._all[1],
            },
            "computations": rows,
            "clients": self._clients({str(row["id"]): row for row in rows}),
            "nodes": [self._node(each, owners) for each in state.nodes.values()],
            "problems": self._problems(),
            "rows": self._jobs.past.row_count,
        }

    def _computation(self, computation: Computation, proxy: ClientProxy | None) -> dict[str, object]:
        running = running_of(computation, list(self._sharing.rules.state.nodes.values()))
        ended, failed = self._ended.get(computation.id, (0, 0))
        is_away = proxy is not None and proxy.connection is None
        return {
            "id": computation.id.hex(),
            "name": computation.name,
            "client": proxy.mailbox.name if proxy is not None else "",
            "state": "closing" if computation.closing else "away" if is_away else "open",
            "started": self._opened.get(computation.id),
            "made": ended + len(computation.tasks),
            "ended": ended,
            "failed": failed,
            "running": running,
            "waiting": len(computation.tasks) - running,
        }

    def _clients(self, known: dict[str, dict[str, object]]) -> list[dict[str, object]]:
        """`known` are the computations as shown."""
        state = self._sharing.rules.state
        cpus = sum(node.cpus for node in state.nodes.values() if node.stage is NodeStage.ACTIVE)
        rows: list[dict[str, object]] = []
        for instance, proxy in self._sharing.clients.items():
            mine = [each for each in state.computations.values() if each.client == proxy.mailbox.peer]
            if not mine:  # It only asks for the status, or has released what it had.
                continue
            load = mine[0].owner.load
            found = [known[each.id.hex()] for each in mine]
            rows.append(
                {
                    "id": instance.hex(),
                    "name": proxy.mailbox.name,
                    "address": proxy.address if proxy.connection is not None else "",
                    "computations": len(mine),
                    "running": sum(int(str(row["running"])) for row in found),
                    "waiting": sum(int(str(row["waiting"])) for row in found),
                    "share": round(min(1.0, load / cpus), 3) if cpus else 0,
                    "weight": self._sharing.rules.weights.get(proxy.mailbox.peer, 1.0),
                }
            )
        return rows

    def _node(self, node: NodeRecord, owners: dict[ComputationId, ClientProxy]) -> dict[str, object]:
        assignments = list(node.assignments.items())
        computations = self._sharing.rules.state.computations
        runs = []
        for number, assignment in assignments:
            known = computations.get(number)
            if assignment.placed and known is not None:
                proxy = owners.get(number)
                whose = f" of {proxy.mailbox.name}" if proxy is not None else ""
                runs.append(f"{known.name}{whose}: {len(assignment.placed)}")
        return {
            "id": node.instance.hex(),
            "name": node.name,
            "address": node.place,
            "cpus": node.cpus,
            "busy": node.busy(),
            "state": "offers no CPUs" if state_of(node) == NO_CPUS else state_of(node),
            "since": self._since.get(node.instance),
            "versions": node.versions,
            "done": sum(each.done for _, each in assignments),
            "seconds": round(sum(each.seconds for _, each in assignments), 2),
            "sent": sum(each.sent for _, each in assignments),
            "received": sum(each.received for _, each in assignments),
            "free": [round(float(each), 1) for each in node.free] or None,
            "runs": runs,
        }

    def _problems(self) -> list[str]:
        found = []
        computations = self._sharing.rules.state.computations
        for node in self._sharing.rules.state.nodes.values():
            if node.stage is NodeStage.ACTIVE and not node.offer.offered:
                found.append(f"{node.place}: {node.offer.reason or 'it offers no CPUs now'}")
            for number, assignment in node.assignments.items():
                known = computations.get(number)
                if assignment.error and known is not None and known.prepare is not None:
                    found.append(f"{node.place}: {known.prepare.name}: {assignment.error}")
        return [shortened(printable_lines(each)) for each in sorted(found)[:PROBLEMS]]

    def history(self) -> object:
        return {"samples": self._history.samples}

    def jobs(self, request: Request) -> object:
        return self._jobs.page(request)

    def timeline(self, since: int) -> object:
        return self._jobs.past.timeline(since, TIMELINE_ROWS)

    # Actions

    def act(self, order: dict[str, Any]) -> str:
        return action_of(order, self._ACTIONS)(self, order)

    def _cancel(self, order: dict[str, Any]) -> str:
        computation, proxy, job = self._job_of(order)
        self._sharing.act_for(proxy, Cancel(computation.id, [job], [0]))
        return f"job {job} is being cancelled"

    def _priority(self, order: dict[str, Any]) -> str:
        priority = priority_in(order)
        computation, proxy, job = self._job_of(order)
        if computation.tasks[job].node is not None:
            raise Refused(400, f"job {job} is on a node: the priority decides about jobs that wait for one")
        self._sharing.act_for(proxy, SetPriority(computation.id, 0, job, priority))
        return f"the priority of job {job} is now {priority:g}"

    def _job_of(self, order: dict[str, Any]) -> tuple[Computation, ClientProxy, JobId]:
        """A job that has not ended."""
        computation, proxy = self._computation_of(order)
        job = order.get("job")
        if not isinstance(job, int) or isinstance(job, bool):
            raise Refused(400, "job must be the number of a job")
        task = computation.tasks.get(JobId(job))
        if task is None:
            raise Refused(404, f"there is no job {job} that waits or runs")
        if task.cancelled:
            raise Refused(400, f"job {job} was cancelled before")
        return computation, proxy, task.job

    def _cancel_all(self, order: dict[str, Any]) -> str:
        computation, proxy = self._computation_of(order)
        jobs: list[JobId] = list(computation.tasks)
        self._sharing.act_for(proxy, Cancel(computation.id, jobs, [0] * len(jobs)))
        return f"{len(jobs):,} jobs are being cancelled"

    def _release(self, order: dict[str, Any]) -> str:
        computation, proxy = self._computation_of(order)
        if proxy.connection is not None:
            raise Refused(400, "its client is connected: cancel its jobs, or end the client")
        self._sharing.act_for(proxy, Release(computation.id))
        return "the computation is released; its results are lost"

    def _cpus(self, order: dict[str, Any]) -> str:
        cpus = order.get("cpus")
        if not isinstance(cpus, int) or isinstance(cpus, bool) or not 0 <= cpus < 1 << 20:
            raise Refused(400, "cpus must be a number of CPUs, 0 or more")
        return self._limit(order, cpus, f"at most {cpus} CPUs are used")

    def _drain(self, order: dict[str, Any]) -> str:
        return self._limit(order, 0, "the node gets no more jobs")

    def _resume(self, order: dict[str, Any]) -> str:
        return self._limit(order, NO_LIMIT, "the node gets jobs again")

    def _limit(self, order: dict[str, Any], cpus: int, done: str) -> str:
        node = Instance(_id_of(order, "node"))
        if node not in self._sharing.rules.state.nodes:
            raise Refused(404, "there is no such node any more")
        self._sharing.order(lambda now: self._sharing.rules.set_cpus(node, cpus, now))
        return done

    def _weight(self, order: dict[str, Any]) -> str:
        weight = order.get("weight")
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < 1e6:
            raise Refused(400, "weight must be a number above 0")
        proxy = self._sharing.clients.get(Instance(_id_of(order, "client")))
        if proxy is None:
            raise Refused(404, "there is no such client any more")
        self._sharing.rules.set_weight(proxy.mailbox.peer, float(weight))
        return f"the weight of {proxy.mailbox.name} is now {weight:g}"

    def _computation_of(self, order: dict[str, Any]) -> tuple[Computation, ClientProxy]:
        number = ComputationId(_id_of(order, "computation"))
        computation, proxy = self._sharing.rules.state.computations.get(number), owner_of(self._sharing, number)
        if computation is None or proxy is None or computation.closing:
            raise Refused(404, "there is no such computation any more")
        return computation, proxy

    _ACTIONS: dict[str, Callable[[SchedulerView, dict[str, Any]], str]] = {
        "cancel": _cancel,
        "priority": _priority,
        "cancel_all": _cancel_all,
        "release": _release,
        "cpus": _cpus,
        "drain": _drain,
        "resume": _resume,
        "weight": _weight,
    }


def _id_of(order: dict[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(order[name])
    except (KeyError, TypeError, ValueError):
        raise Refused(400, f"{name} is missing, or not an id") from None
