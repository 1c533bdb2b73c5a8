"""The web page for programs written for dispy: `DispyHTTPServer`, with the JSON of dispy's server.

The page is that of `JobCluster.serve_page`. Requests run in the hub; what dispy's requests do to clusters runs where
callbacks run, since the methods of clusters wait for the hub.

Unlike dispy's, it does not let everyone who reaches the port control the jobs: requests need the token, and without a
certificate the server listens on this machine only.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

from gdispy import config
from gdispy.client.cluster import JobCluster
from gdispy.client.job import DispyJob
from gdispy.client.page import ClusterWatch, ProgramView, outside, start
from gdispy.client.page_jobs import shown_id
from gdispy.client.parameters import number
from gdispy.client.status import DispyNode
from gdispy.errors import ConfigError
from gdispy.hub import Hub
from gdispy.protocol.ids import JobId
from gdispy.protocol.limits import shortened
from gdispy.transport.tls import Tls, tls_files
from gdispy.web.guard import Refused
from gdispy.web.request import Answer, Request, json_answer
from gdispy.web.server import PageServer, Route

__all__ = ["DispyHTTPServer"]

T = TypeVar("T")

logger = logging.getLogger("gdispy")

#: Characters of a token that a program chooses.
TOKEN_LENGTH = 16
#: Running jobs that one answer lists, and characters of the arguments of each.
JOBS = 1000
ARGUMENTS = 1000


class DispyHTTPServer:
    """Serves the web page of one cluster or several, and the JSON of dispy's server.

    `host=''` means this machine only, or all addresses if `certfile` is given; the page is then served over TLS.
    `poll_sec` is how long `shutdown` waits for readers. With `show_args`, arguments of jobs are shown. `docroot` is
    not supported: the page is part of gdispy. `admin=False` refuses everything that changes jobs or nodes.

    The URL is printed and is in `url`. Programs that read the JSON send `headers`, or have the token in the URL, as in
    `http://:TOKEN@localhost:8181/cluster_status`; `token` sets it, at least 16 characters. Raises ConfigError.
    """

    def __init__(
        self,
        cluster: JobCluster | None,
        host: str = "",
        port: int | None = None,
        poll_sec: float = 10,
        docroot: str | None = None,
        keyfile: str | None = None,
        certfile: str | None = None,
        show_args: bool = True,
        *,
        DocumentRoot: str | None = None,
        show_job_args: bool | None = None,
        admin: bool = True,
        token: str = "",
    ) -> None:
        if docroot or DocumentRoot:
            raise ConfigError("docroot is not supported: the page is part of gdispy; omit it")
        self._poll_sec = _seconds(poll_sec)
        self._hub = Hub.get()
        shows = show_args if show_job_args is None else show_job_args
        self._view = ProgramView(self._hub, "dispy", bool(shows), bool(admin))
        self._clusters: dict[str, JobCluster] = {}
        tls = tls_files(certfile, keyfile, True, "") if certfile or keyfile else None
        port = config.port_number(config.HTTPServerPort if port is None else port, "port")
        self._server = PageServer(self._view, _host(host, tls), port, tls, _checked_token(token), self._view.source)
        self._server.add_routes(self._routes())
        self._hub.call(start, self._hub, self._view, self._server, [])
        if cluster is not None:
            self.add_cluster(cluster)
        #: The URL of the page, with the token, which gives access to it.
        self.url = self._server.url
        #: The URL without the token.
        self.address = self._server.address
        #: The headers that programs send, with the token.
        self.headers = {"Authorization": f"Bearer {self._server.token}"}
        print(f"The page of this program: {self.url}", file=sys.stderr, flush=True)

    def add_cluster(self, cluster: JobCluster) -> None:
        """Show another cluster. Clusters with the same name get a number."""
        if not isinstance(cluster, JobCluster):
            raise ConfigError(f"cluster must be a JobCluster or SharedJobCluster, not {cluster!r}")
        cluster._engine.refuse_fork()
        self._hub.call(self._add, cluster)

    def _add(self, cluster: JobCluster) -> None:
        if cluster in self._clusters.values():
            return
        name, count = cluster.name, 1
        while name in self._clusters:
            count += 1
            name = f"{cluster.name} {count}"
        self._clusters[name] = cluster
        self._view.add(cluster._engine, cluster.start_time)

    def del_cluster(self, cluster: JobCluster) -> None:
        """Show a cluster no more."""
        self._hub.call(self._remove, cluster)

    def _remove(self, cluster: JobCluster) -> None:
        for name in [name for name, each in self._clusters.items() if each is cluster]:
            del self._clusters[name]
            self._view.remove(cluster._engine)

    def shutdown(self, wait: bool = True) -> None:
        """End the server. With `wait`, readers have `poll_sec` seconds to see the last state, if there are any."""
        if wait and time.monotonic() - self._view.seen < self._poll_sec:
            logger.info("the web page ends in %g s, so that its readers see the last state", self._poll_sec)
            time.sleep(self._poll_sec)
        self._hub.call(self._end)

    def _end(self) -> None:
        self._server.close()
        self._view.end()
        if self._server.forget_in_child in self._hub.in_forked_child:
            self._hub.in_forked_child.remove(self._server.forget_in_child)

    # The requests of dispy

    def _routes(self) -> dict[tuple[str, str], Route]:
        return {
            ("GET", "/cluster_updates"): self._status,
            ("GET", "/cluster_status"): self._status,
            ("GET", "/nodes"): self._nodes,
            ("GET", "/poll_sec"): lambda request: json_answer(self._poll_sec),
            ("POST", "/poll_sec"): self._update,
            ("POST", "/update"): self._update,
            ("POST", "/node_info"): self._node_info,
            ("POST", "/node_jobs"): self._node_info,
            ("POST", "/cancel_jobs"): self._cancel_jobs,
            ("POST", "/add_node"): self._add_node,
            ("POST", "/allocate_node"): lambda request: self._change_nodes(request, JobCluster.allocate_node),
            ("POST", "/deallocate_node"): lambda request: self._change_nodes(request, JobCluster.deallocate_node),
            ("POST", "/close_node"): lambda request: self._change_nodes(request, JobCluster.close_node),
            ("POST", "/set_cpus"): self._set_cpus,
        }

    def _watches(self) -> list[tuple[str, ClusterWatch]]:
        self._view.seen = time.monotonic()
        of_engine = {watch.engine: watch for watch in self._view.watches}
        return [(name, of_engine[cluster._engine]) for name, cluster in self._clusters.items()]

    def _status(self, request: Request) -> Answer:
        """All nodes, also where dispy sends those that have changed since anyone has asked: its readers then take
        changes from each other."""
        return json_answer(
            [
                {
                    "name": name,
                    "jobs": {"submitted": watch.engine.count.made, "done": watch.engine.count.ended},
                    "nodes": _records(watch.engine.nodes.ready().values()),
                }
                for name, watch in self._watches()
            ]
        )

    def _nodes(self, request: Request) -> Answer:
        return json_answer(
            [{"name": name, "nodes": _records(watch.engine.nodes.ready().values())} for name, watch in self._watches()]
        )

    def _node_info(self, request: Request) -> Answer:
        """The node at an address or with a name, over all clusters, and the jobs that it runs."""
        host = _first(request.form(), "host")
        record: dict[str, Any] | None = None
        jobs: dict[str, list[dict[str, object]]] = {}
        for name, watch in self._watches():
            ready = watch.engine.nodes.ready()
            chosen = {instance: node for instance, node in ready.items() if host in (node.ip_addr, node.name)}
            for node in chosen.values():
                record = _record(node) if record is None else _sum(record, _record(node))
            jobs[name] = self._jobs_on(name, watch, chosen)
        if record is None:
            raise Refused(404, "there is no such node")
        return json_answer({"node": record, "cluster_jobs": jobs})

    def _jobs_on(self, name: str, watch: ClusterWatch, nodes: dict[bytes, DispyNode]) -> list[dict[str, object]]:
        running, table = watch.records.running, watch.engine.table.jobs
        numbers = [each for each, node in islice(running.items(), JOBS) if node in nodes and each in table]
        jobs = [table[each] for each in numbers]
        shown = [("", "")] * len(jobs)
        if self._view.show_arguments and jobs:
            shown = outside(self._hub, lambda: [_arguments(job) for job in jobs])
        return [
            {
                "uid": job._number,
                "job_id": shown_id(job.id),
                "args": args,
                "kwargs": kwargs,
                "start_time_ms": int(1000 * (job.start_time or 0)),
                "cluster": name,
            }
            for job, (args, kwargs) in zip(jobs, shown, strict=True)
        ]

    # Requests that change something

    def _check_admin(self) -> None:
        if not self._view.admin:
            raise Refused(403, "this server only shows: it was created with admin=False")

    def _cancel_jobs(self, request: Request) -> Answer:
        self._check_admin()
        cancelled = []
        for word in request.form().get("uid", []):
            uid = JobId(_whole(word, "uid"))
            for _, watch in self._watches():
                job = watch.engine.table.jobs.get(uid)
                if job is not None and watch.is_open and watch.engine.cancel(job) == 0:
                    cancelled.append(int(uid))
        return json_answer(cancelled)

    def _add_node(self, request: Request) -> Answer:
        self._check_admin()
        form = request.form()
        host, cluster = _first(form, "host"), _first(form, "cluster")
        if not host:
            raise Refused(400, "host is missing")
        cpus, port = _whole(_first(form, "cpus") or "0", "cpus"), _first(form, "port")
        if cpus < 0:
            raise Refused(400, "cpus must be a number of CPUs, or 0 for all")
        node = {"host": host, "port": _whole(port, "port") if port else None, "cpus": cpus}
        chosen = self._chosen(cluster or "*")
        outside(self._hub, lambda: [each.allocate_node(dict(node)) for each in chosen])
        return json_answer({**node, "cluster": cluster or None, "id": _first(form, "id") or None})

    def _change_nodes(self, request: Request, change: Callable[[JobCluster, object], int]) -> Answer:
        self._check_admin()
        form = request.form()
        chosen = self._chosen(_first(form, "cluster"))
        try:
            nodes = json.loads(_first(form, "nodes") or "[]")
        except (ValueError, RecursionError):
            raise Refused(400, "nodes must be a list in JSON") from None
        if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
            raise Refused(400, "nodes must be a list of addresses or names")
        if not nodes or not chosen:
            return json_answer(-1)
        answers = outside(self._hub, lambda: [change(each, node) for each in chosen for node in nodes])
        return json_answer(-1 if any(answer < 0 for answer in answers) else 0)

    def _set_cpus(self, request: Request) -> Answer:
        self._check_admin()
        wanted = {node: _whole(words[0], "cpus") for node, words in request.form().items()}
        clusters = list(self._clusters.values())

        def change() -> dict[str, int]:
            found: dict[str, int] = {}
            for node, cpus in wanted.items():
                answers = (each.set_node_cpus(node, cpus) for each in clusters)
                answer = next((answer for answer in answers if answer >= 0), None)
                if answer is not None:
                    found[node] = answer
            return found

        return json_answer(outside(self._hub, change))

    def _update(self, request: Request) -> Answer:
        self._check_admin()
        form = request.form()
        word = _first(form, "timeout") or _first(form, "poll_sec")
        if word:
            self._poll_sec = max(0.0, float(_whole(word, "timeout")))
        if "show_job_args" in form:
            self._view.show_arguments = _first(form, "show_job_args") == "true"
        return json_answer({"poll_sec": self._poll_sec, "show_job_args": self._view.show_arguments})

    def _chosen(self, name: str) -> list[JobCluster]:
        if name == "*":
            return list(self._clusters.values())
        return [self._clusters[name]] if name in self._clusters else []


def _record(node: DispyNode) -> dict[str, Any]:
    """A node with the names of dispy's attributes."""
    found = {name: value for name, value in vars(node).items() if name != "avail_info"}
    free = node.avail_info
    return {**found, "avail_info": dict(zip(free._fields, free, strict=True)) if free is not None else None}


def _records(nodes: Iterable[DispyNode]) -> list[dict[str, Any]]:
    return [_record(node) for node in nodes]


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The same node as two clusters use it."""
    added = {name: one[name] + other[name] for name in ("busy", "jobs_done", "cpu_time", "tx", "rx")}
    return {**one, **added, "update_time": max(one["update_time"], other["update_time"])}


def _arguments(job: DispyJob) -> tuple[str, str]:
    """The arguments of a job as text. It runs code of the user: of their classes."""
    try:
        args, kwargs = job.args or (), job.kwargs or {}
        texts = ", ".join(map(str, args)), ", ".join(f"{name}={value}" for name, value in kwargs.items())
    except Exception as error:
        return f"({type(error).__name__})", ""
    return shortened(texts[0], ARGUMENTS), shortened(texts[1], ARGUMENTS)


def _first(form: dict[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0]


def _whole(word: str, name: str) -> int:
    try:
        value = int(word[:20])
    except ValueError:
        raise Refused(400, f"{name} must be a whole number") from None
    if abs(value) > 1 << 53:
        raise Refused(400, f"{name} is too large")
    return value


def _seconds(value: object) -> float:
    found = number("poll_sec", value)
    if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= 3600:
        return float(found)
    raise ConfigError(f"poll_sec must be from 0 to 3600 seconds, not {value!r}")


def _host(host: object, tls: Tls | None) -> str:
    if not isinstance(host, str):
        raise ConfigError(f"host must be an address or the name of this host, not {host!r}")
    return host or ("127.0.0.1" if tls is None else "0.0.0.0")


def _checked_token(token: str) -> str:
    if token and (len(token) < TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError(f"token must have at least {TOKEN_LENGTH} characters, without spaces, or be omitted")
    return token
