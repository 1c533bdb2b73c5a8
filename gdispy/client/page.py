"""The page of a program: what it shows of the clusters of the program, and what it may do with them.

Runs in the hub, apart from `serve` and `ServedPage`, which any thread may call.

Invariants:
1. A request takes a bounded time, however many jobs there are: counts are kept, and lists are read in pages.
2. No code of the user runs in the hub: arguments of jobs are unpickled where callbacks run.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import gevent
import gevent.event

from gdispy import config
from gdispy.client.engine import ClusterEngine, Stage
from gdispy.client.job import STATUS_NAMES, DispyJob
from gdispy.client.metrics import ProgramMetrics
from gdispy.client.page_jobs import PageJobs, shown_id
from gdispy.client.questions import Reported
from gdispy.client.status import DispyNode
from gdispy.errors import ClusterClosed, ConfigError, ForkedError
from gdispy.hub import Hub
from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.limits import printable_lines, shortened
from gdispy.protocol.messages import Ended, Message, NodeCommand, Reply, SetPriority, Started, Status, StatusRequest
from gdispy.runtime.greenlets import keep_running
from gdispy.runtime.limited_log import LimitedLog
from gdispy.web import job_lists
from gdispy.web.ended_jobs import EndedJobs, Row
from gdispy.web.guard import Refused
from gdispy.web.history import SAMPLE_INTERVAL, History
from gdispy.web.request import Request, action_of
from gdispy.web.server import PageServer

if TYPE_CHECKING:
    from gdispy.client.cluster import JobCluster

logger = logging.getLogger("gdispy")

T = TypeVar("T")

#: Seconds for which the scheduler is asked about problems after the last browser was seen.
ATTENTION = 10.0
#: Seconds that an action, and the reading of arguments, may take.
ACTION_LIMIT = 10.0
ARGUMENTS_LIMIT = 1.0


def outside(hub: Hub, function: Callable[[], T], limit: float = ACTION_LIMIT) -> T:
    """Call a function where callbacks run, and wait for its result, in a greenlet of the hub. Raises Refused if a
    callback of the program runs for longer than `limit` seconds."""
    values: list[T] = []
    errors: list[Exception] = []
    done = gevent.event.Event()

    def call() -> None:
        try:
            values.append(function())
        except Exception as error:
            errors.append(error)
        with contextlib.suppress(ForkedError, ClusterClosed):
            hub.post(done.set)

    hub.call_back(call)
    if not done.wait(limit):
        raise Refused(503, "a callback of the program is running: try again")
    if errors:
        raise Refused(400, shortened(printable_lines(str(errors[0]))))
    return values[0]


class ClusterWatch:
    """One cluster, as the page shows it."""

    def __init__(self, engine: ClusterEngine, started: float, metrics: ProgramMetrics) -> None:
        self.engine, self.started = engine, started
        self._metrics = metrics
        self._log = LimitedLog(logger)
        self.records = PageJobs(engine.table.jobs, engine.nodes, engine.name)
        self.problems: list[str] = []
        #: CPUs in use, by node, at the last tick; and the jobs that had ended there.
        self.busy: dict[bytes, int] = {}
        self._done: dict[bytes, int] = {}
        engine.table.watch = self
        if engine.stage is Stage.OPEN:
            engine.open()  # Nodes now report their free resources.

    def leave(self) -> None:
        self.engine.table.watch = None

    def started_jobs(self, started: Started) -> None:
        self.records.started_jobs(started)

    def ended_jobs(self, ended: Ended, picks: list[int] | None) -> None:
        try:
            self._count_ended(ended, picks)
        except Exception as error:  # It must not concern the jobs.
            self._log.log_failure(logging.ERROR, type(error), error, "gdispy: a defect in counting ended jobs")

    def _count_ended(self, ended: Ended, picks: list[int] | None) -> None:
        jobs = self.engine.table.jobs
        numbers = ended.jobs if picks is None else [ended.jobs[place] for place in picks]
        self._metrics.count(self.engine.name, ended, picks, [jobs[number].submit_time for number in numbers])
        self.records.ended_jobs(ended, picks)

    def lost_node(self, node: bytes) -> None:
        self.records.lost_node(node)

    @property
    def is_open(self) -> bool:
        return self.engine.stage is Stage.OPEN

    def ask(self) -> None:
        """Ask the scheduler what its nodes do, and which it cannot use."""
        if self.is_open:
            self.engine.ask_then(lambda number: StatusRequest(self.engine.computation, number), self._take)

    def lacks_versions(self) -> bool:
        """Whether there is a node whose versions were not told yet."""
        return self.is_open and any(not node.versions for node in self.engine.nodes.ready().values())

    def _take(self, answer: Reported) -> None:
        if isinstance(answer, Status):
            self.problems = [printable_lines(each) for each in answer.problems[:100]]
            self.engine.nodes.take_status(answer)

    def counts(self) -> dict[str, object]:
        count = self.engine.count
        running = self.running()
        return {
            "id": self.engine.computation.hex(),
            "name": self.engine.name,
            "state": {Stage.OPEN: "open", Stage.FAILED: "failed"}.get(self.engine.stage, "closed"),
            "started": self.started,
            "made": count.made,
            "ended": count.ended,
            "failed": count.failed,
            "running": running,
            "waiting": max(0, count.pending - running),
        }

    def look(self) -> None:
        """Note how many CPUs are in use. Short jobs are reported only when they have ended: a node where some have
        ended since the last look is busy as far as there are jobs for it."""
        nodes, pending = self.engine.nodes.ready() if self.is_open else {}, self.engine.count.pending
        busy = {}
        for instance, node in nodes.items():
            is_moving = node.jobs_done != self._done.get(instance, node.jobs_done)
            busy[instance] = max(node.busy, min(node.cpus, pending) if is_moving else 0)
        self.busy, self._done = busy, {instance: node.jobs_done for instance, node in nodes.items()}

    def running(self) -> int:
        # A node that reports the end of a job may have begun the next one, which it has reported before.
        cpus = sum(node.cpus for node in self.engine.nodes.ready().values())
        return min(self.engine.count.pending, max(sum(self.busy.values()), min(cpus, len(self.records.running))))

    def command(self, word: str, node: bytes, value: float = 0.0) -> int:
        """Give a command to a node, and wait for its answer. In a greenlet of the hub."""
        computation = self.engine.computation
        return int(self._request(lambda number: NodeCommand(computation, number, word, Instance(node), value)))

    def prioritize(self, job: JobId, priority: float) -> None:
        """Give a job another priority. In a greenlet of the hub."""
        computation, table = self.engine.computation, self.engine.table
        self._request(lambda number: SetPriority(computation, number, job, priority))
        if job in table.jobs:
            table.priorities[job] = priority

    def _request(self, question: Callable[[int], Message]) -> float:
        """Ask the scheduler, and wait for the number in its answer. Raises Refused."""
        answers: list[Reported] = []
        done = gevent.event.Event()

        def take(answer: Reported) -> None:
            answers.append(answer)
            done.set()

        self.engine.ask_then(question, take)
        done.wait(ACTION_LIMIT)
        if not answers or not isinstance(answers[0], Reply):
            raise Refused(503, "the scheduler did not answer")
        if answers[0].error:
            raise Refused(400, shortened(printable_lines(answers[0].error)))
        return answers[0].value


#: A job, and its cluster.
WatchedJob = tuple[ClusterWatch, DispyJob]


class ProgramView:
    """The clusters of this program on one page."""

    def __init__(self, hub: Hub, title: str, show_arguments: bool, admin: bool) -> None:
        self.admin, self.show_arguments = admin, show_arguments
        self._hub, self._title = hub, title
        self.watches: list[ClusterWatch] = []
        self.source = ProgramMetrics(lambda: self.watches)
        #: The number of jobs that there will be, if that is known; called in the hub.
        self.expected: Callable[[], int] | None = None
        self._history = History()
        #: When a browser has last asked, on the monotonic clock.
        self.seen = 0.0
        self._ticker: gevent.Greenlet | None = None

    def begin(self) -> None:
        self._hub.prepare_callbacks()
        self._ticker = keep_running(self._tick, what="the samples of the page")

    def end(self) -> None:
        if self._ticker is not None:
            self._ticker.kill(block=False)
        for watch in self.watches:
            watch.leave()

    def add(self, engine: ClusterEngine, started: float) -> None:
        if all(watch.engine is not engine for watch in self.watches):
            self.watches.append(ClusterWatch(engine, started, self.source))

    def remove(self, engine: ClusterEngine) -> None:
        for watch in [watch for watch in self.watches if watch.engine is engine]:
            watch.leave()
            self.watches.remove(watch)

    def _tick(self) -> None:
        while True:
            now = time.time()
            for watch in self.watches:
                watch.look()
            counts = [watch.engine.count for watch in self.watches]
            ended, failed = sum(each.ended for each in counts), sum(each.failed for each in counts)
            self._history.add(now, ended, failed, sum(watch.running() for watch in self.watches))
            is_seen = time.monotonic() - self.seen < ATTENTION
            for watch in self.watches:
                if is_seen or watch.lacks_versions():
                    watch.ask()
            gevent.sleep(SAMPLE_INTERVAL)

    # What is shown

    def sections(self) -> dict[str, object]:
        self.seen = time.monotonic()
        computations = [watch.counts() for watch in self.watches]
        rate = self._history.rate()
        pending = sum(watch.engine.count.pending for watch in self.watches) + self._awaited()
        return {
            "about": {
                "title": self._title,
                "version": config.VERSION,
                "admin": self.admin,
                "arguments": self.show_arguments,
                "actions": list(self._ACTIONS) if self.admin else [],
            },
            "now": {
                "time": round(time.time(), 1),
                "rate": round(rate, 2),
                "left": self._history.left(pending),
                "awaited": self._awaited(),
            },
            "computations": computations,
            "nodes": self._nodes(),
            "problems": sorted({problem for watch in self.watches if watch.is_open for problem in watch.problems}),
            "rows": sum(watch.records.past.row_count for watch in self.watches),
        }

    def _awaited(self) -> int:
        """Jobs that will be submitted."""
        made = sum(watch.engine.count.made for watch in self.watches)
        return max(0, self.expected() - made) if self.expected is not None else 0

    def _nodes(self) -> list[dict[str, object]]:
        found: dict[bytes, dict[str, object]] = {}
        for watch in self.watches:
            nodes = watch.engine.nodes
            for instance, node in nodes.closed().items():
                _merge(found, instance, node, "closed", watch, 0)
            for instance, node in nodes.ready().items():
                state, busy = ("ready", watch.busy.get(instance, node.busy)) if watch.is_open else ("closed", 0)
                _merge(found, instance, node, state, watch, busy)
        return sorted(found.values(), key=lambda row: (str(row["name"]), str(row["address"]), str(row["id"])))

    def history(self) -> object:
        return {"samples": self._history.samples}

    def timeline(self, since: int) -> object:
        """The rows of one cluster after the other would need a position in each: `since` counts the rows of all, and
        browsers that are behind begin again with what is left."""
        if len(self.watches) == 1:
            return self.watches[0].records.past.timeline(since, job_lists.TIMELINE_ROWS)
        places: list[str] = []
        rows = [row for watch in self.watches for row in _moved(watch.records.past, places)]
        return {"places": places, "rows": rows, "next": 0, "first": 0, "whole": True}

    # Lists of jobs

    def jobs(self, request: Request) -> object:
        query = job_lists.Query.of(request)
        if query.kind == "waiting":
            return self._waiting(query)
        rows = {"running": self._running, "failed": self._failed, "ended": self._ended}[query.kind](query)
        return query.answer(rows)

    def _failed(self, query: job_lists.Query) -> list[dict[str, object]]:
        chosen = job_lists.failures(query, [each for watch in self.watches for each in watch.records.past.failures])
        watches = {id(each): watch for watch in self.watches for each in watch.records.past.failures}
        jobs = [(watches[id(each)], DispyJob._new(each.number, 0.0, each.arguments or None)) for each in chosen]
        return self._with_arguments(list(map(job_lists.failed_row, chosen)), jobs)

    def _running(self, query: job_lists.Query) -> list[dict[str, object]]:
        found: list[tuple[dict[str, object], WatchedJob]] = []
        for at, number, node in job_lists.running(query, [watch.records.running for watch in self.watches]):
            watch = self.watches[at]
            job = watch.engine.table.jobs.get(number)
            if job is None:
                continue
            known = watch.engine.nodes.get(node)
            place = known.name if known is not None else job.ip_addr or ""
            name = shown_id(job.id)
            if query.fits((str(number), name, place)):
                found.append((_row(watch, number, name, STATUS_NAMES[job._status], place, job), (watch, job)))
        chosen = query.page(found)
        return self._with_arguments([row for row, _ in chosen], [job for _, job in chosen])

    def _ended(self, query: job_lists.Query) -> list[dict[str, object]]:
        """The newest first. Their ids are gone with the jobs, which belong to the program."""
        pasts = [watch.records.past for watch in self.watches]
        return job_lists.ended(query, ((past, row) for past in pasts for row in past.newest()))

    def _waiting(self, query: job_lists.Query) -> dict[str, object]:
        """Jobs that have not started."""

        def row_of(at: int, number: JobId, job: DispyJob) -> tuple[dict[str, object], WatchedJob] | None:
            watch, name = self.watches[at], shown_id(job.id)
            if job.start_time is not None or number in watch.records.running or not query.fits((str(number), name)):
                return None
            row = _row(watch, number, name, STATUS_NAMES[job._status], "", job)
            return {**row, "priority": watch.engine.table.priorities.get(number, 0.0)}, (watch, job)

        found, after = job_lists.waiting(query, [watch.engine.table.jobs for watch in self.watches], row_of)
        rows = self._with_arguments([row for row, _ in found], [job for _, job in found])
        return {"kind": query.kind, "jobs": rows, "from": query.begin, "next": after}

    def _with_arguments(self, rows: list[dict[str, object]], jobs: list[WatchedJob]) -> list[dict[str, object]]:
        if not self.show_arguments or not jobs:
            return rows
        try:
            calls = [(watch.engine.table.shown_call, job) for watch, job in jobs]
            texts = outside(self._hub, lambda: [shortened(shown(job), 300) for shown, job in calls], ARGUMENTS_LIMIT)
        except Refused:
            texts = ["(a callback of the program is running: not available now)"] * len(jobs)
        for row, text in zip(rows, texts, strict=False):
            row["arguments"] = text
        return rows

    # Actions

    def act(self, order: dict[str, Any]) -> str:
        return action_of(order, self._ACTIONS)(self, order)

    def _cancel(self, order: dict[str, Any]) -> str:
        number = order.get("job")
        if not isinstance(number, int) or isinstance(number, bool):
            raise Refused(400, "job must be the number of a job")
        for watch in self.watches:
            job = watch.engine.table.jobs.get(JobId(number))
            if job is not None and watch.is_open:
                if watch.engine.cancel(job) == 0:
                    return f"job {number} is being cancelled"
                return f"job {number} was cancelled before"
        raise Refused(404, f"there is no job {number} that waits or runs")

    def _priority(self, order: dict[str, Any]) -> str:
        priority, number = job_lists.priority_in(order), order.get("job")
        if not isinstance(number, int) or isinstance(number, bool):
            raise Refused(400, "job must be the number of a job")
        for watch in self.watches:
            if number in watch.engine.table.jobs and watch.is_open:
                watch.prioritize(JobId(number), priority)
                return f"the priority of job {number} is now {priority:g}"
        raise Refused(404, f"there is no job {number} that waits or runs")

    def _cancel_all(self, order: dict[str, Any]) -> str:
        wanted = order.get("computation")
        for watch in self.watches:
            if watch.engine.computation.hex() == wanted:
                if not watch.is_open:
                    raise Refused(404, "this cluster is closed")
                return f"{watch.engine.cancel_all(True):,} jobs of {watch.engine.name} are being cancelled"
        raise Refused(404, "there is no such computation")

    def _cpus(self, order: dict[str, Any]) -> str:
        cpus = order.get("cpus")
        if not isinstance(cpus, int) or isinstance(cpus, bool) or abs(cpus) > 1 << 20:
            raise Refused(400, "cpus must be a whole number")
        node = self._node_of(order)
        for watch in self.watches:
            if watch.is_open and watch.engine.nodes.get(node) is not None:
                return f"CPUs in use now: {watch.command('cpus', node, float(cpus))}"
        raise Refused(404, "this node is not in use")

    def _close(self, order: dict[str, Any]) -> str:
        node = self._node_of(order)
        using = [watch for watch in self.watches if watch.is_open and watch.engine.nodes.get(node) is not None]
        if not using:
            raise Refused(404, "this node is not in use")
        for watch in using:
            watch.command("close", node, float(bool(order.get("cancel"))))
        return "the node gets no more jobs, and is released when its jobs have ended"

    def _allocate(self, order: dict[str, Any]) -> str:
        node = self._node_of(order)
        able = [watch for watch in self.watches if watch.is_open and node in watch.engine.nodes.closed()]
        if not able:
            raise Refused(404, "this node is in use, or not known any more")
        for watch in able:
            watch.command("allocate", node)
        return "the node is used again"

    @staticmethod
    def _node_of(order: dict[str, Any]) -> bytes:
        try:
            node = bytes.fromhex(order["node"])
        except (KeyError, TypeError, ValueError):
            raise Refused(400, "node must be the id of a node") from None
        if len(node) != 16:
            raise Refused(400, "node must be the id of a node")
        return node

    _ACTIONS: dict[str, Callable[[ProgramView, dict[str, Any]], str]] = {
        "cancel": _cancel,
        "priority": _priority,
        "cancel_all": _cancel_all,
        "cpus": _cpus,
        "close": _close,
        "allocate": _allocate,
    }


def _merge(
    found: dict[bytes, dict[str, object]], instance: bytes, node: DispyNode, state: str, watch: ClusterWatch, busy: int
) -> None:
    """Add a node as one cluster uses it to what other clusters use of it."""
    free = node.avail_info
    row = found.get(instance)
    if row is None:
        row = found[instance] = {
            "id": instance.hex(),
            "name": node.name,
            "address": f"{node.ip_addr}:{node.port}",
            "cpus": node.cpus,
            "state": state,
            "since": watch.engine.nodes.since.get(instance),
            "versions": node.versions,
            **dict.fromkeys(("busy", "done", "seconds", "sent", "received"), 0),
            "free": None,
            "runs": [],
        }
    if state == "ready":
        row["state"] = state
    row["busy"] = int(row["busy"]) + busy  # type: ignore[call-overload]
    row["done"] = int(row["done"]) + node.jobs_done  # type: ignore[call-overload]
    row["seconds"] = round(float(row["seconds"]) + node.cpu_time, 2)  # type: ignore[arg-type]
    row["sent"] = int(row["sent"]) + node.tx  # type: ignore[call-overload]
    row["received"] = int(row["received"]) + node.rx  # type: ignore[call-overload]
    if free is not None:
        row["free"] = [round(free.cpu, 1), free.memory, free.disk, round(free.swap, 1)]
    if busy:
        row["runs"] = [*row["runs"], f"{watch.engine.name}: {busy}"]  # type: ignore[misc]


def _row(watch: ClusterWatch, number: int, name: str, status: str, place: str, job: DispyJob) -> dict[str, object]:
    known = {"number": number, "id": name, "computation": watch.engine.name, "status": status, "node": place}
    return {**known, "submitted": job.submit_time, "start": job.start_time, "end": None}


def _moved(past: EndedJobs, places: list[str]) -> list[Row]:
    """The newest rows of a cluster, with their places after those of others."""
    shift = len(places)
    places.extend(past.places)
    return [row._replace(place=row.place + shift) for row in islice(past.newest(), job_lists.TIMELINE_ROWS)]


class ServedPage:
    """The web page of a program; see `JobCluster.serve_page`."""

    def __init__(self, hub: Hub, view: ProgramView, server: PageServer) -> None:
        self._hub, self._view, self._server = hub, view, server
        #: The URL of the page, with the token, which gives access to it.
        self.url = server.url

    def close(self) -> None:
        """Serve the page no more. It also ends with the program."""
        with contextlib.suppress(ForkedError):
            self._hub.call(self._end)

    def _end(self) -> None:
        self._server.close()
        self._view.end()
        with contextlib.suppress(ValueError):
            self._hub.in_forked_child.remove(self._server.forget_in_child)

    def __enter__(self) -> ServedPage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ServedPage {self._server.address}>"


def serve(
    cluster: JobCluster,
    host: str,
    port: int,
    show_arguments: bool,
    admin: bool,
    expected: Callable[[], int] | None = None,
) -> ServedPage:
    """The page of a cluster; `expected` tells how many jobs there will be, of which not all need be submitted yet. In
    the user's thread. Raises ConfigError."""
    if not isinstance(host, str):
        raise ConfigError(f"host must be an address or the name of this host, not {host!r}")
    cluster._engine.refuse_fork()
    hub = cluster._hub
    view = ProgramView(hub, _program_name(), bool(show_arguments), bool(admin))
    view.expected = expected
    server = PageServer(view, host, port, cluster._secret.tls, "", view.source)
    hub.call(start, hub, view, server, [cluster])
    page = ServedPage(hub, view, server)
    print(f"The page of {cluster.name}: {page.url}", file=sys.stderr, flush=True)
    return page


def start(hub: Hub, view: ProgramView, server: PageServer, clusters: Iterable[JobCluster]) -> None:
    """In the hub."""
    server.start()
    for cluster in clusters:
        view.add(cluster._engine, cluster.start_time)
    view.begin()
    hub.in_forked_child.append(server.forget_in_child)


def _program_name() -> str:
    name = sys.argv[0].rpartition("/")[2] if sys.argv else ""
    return name or "gdispy"
