"""The web server for programs written for dispy: its JSON, and what its requests do."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from gdispy import JobCluster
from gdispy.cli.certificate import make_certificate
from gdispy.errors import ConfigError
from gdispy.httpd import DispyHTTPServer
from tests.support.jobs import pass_gate
from tests.support.pages import PageClient
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]
Serve = Callable[..., tuple[DispyHTTPServer, PageClient]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[DispyHTTPServer] = []

    def start(*clusters: JobCluster, **options: Any) -> tuple[DispyHTTPServer, PageClient]:
        server = DispyHTTPServer(clusters[0] if clusters else None, port=0, **options)
        made.append(server)
        for each in clusters[1:]:
            server.add_cluster(each)
        return server, PageClient(server.url)

    yield start
    for each in made:
        each.shutdown(wait=False)


def post(client: PageClient, path: str, fields: dict[str, object], token: bool = True) -> tuple[int, Any]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    code, answer, _ = client.ask(path, "POST", urlencode(fields, doseq=True).encode(), headers, token)
    return code, answer


def test_status_has_the_names_that_programs_for_dispy_read(one: Make, serve: Serve) -> None:
    made = one(abs)
    _, client = serve(made)
    assert [made.submit(-n)() for n in range(5)] == list(range(5))
    for path in ("/cluster_status", "/cluster_updates", "/cluster_updates"):
        (found,) = client.get(path)
        assert found["name"] == "abs" and found["jobs"] == {"submitted": 5, "done": 5}
        (node,) = found["nodes"]
        expected = {"ip_addr", "name", "cpus", "avail_cpus", "busy", "jobs_done", "cpu_time", "tx", "rx", "update_time"}
        assert expected | {"avail_info"} <= set(node)
        assert (node["ip_addr"], node["jobs_done"], node["avail_cpus"]) == ("127.0.0.1", 5, 1)
    free = eventually(lambda: client.get("/nodes")[0]["nodes"][0]["avail_info"])
    assert set(free) == {"cpu", "memory", "disk", "swap"}


def test_node_info_sums_clusters_and_lists_their_running_jobs(one: Make, serve: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first, second = one(pass_gate), one(pass_gate)
    server, client = serve(first, second)
    server.add_cluster(second)
    assert [each["name"] for each in client.get("/nodes")] == ["pass_gate", "pass_gate 2"]
    job = first.submit(7, gate=str(gate))
    rows = eventually(
        lambda: post(client, "/node_info", {"host": "127.0.0.1"})[1].get("cluster_jobs", {}).get("pass_gate")
    )
    (row,) = rows
    assert (row["uid"], row["job_id"], row["args"], row["kwargs"]) == (job._number, str(job.id), "7", f"gate={gate}")
    assert row["start_time_ms"] == int(1000 * job.start_time) and row["cluster"] == "pass_gate"
    code, answer = post(client, "/update", {"timeout": 3, "show_job_args": "false"})
    assert (code, answer, client.get("/poll_sec")) == (200, {"poll_sec": 3.0, "show_job_args": False}, 3.0)
    answer = post(client, "/node_info", {"host": "127.0.0.1"})[1]
    assert answer["cluster_jobs"]["pass_gate"][0]["args"] == "" and answer["node"]["ip_addr"] == "127.0.0.1"
    gate.touch()
    job()
    server.del_cluster(first)
    assert [each["name"] for each in client.get("/cluster_status")] == ["pass_gate 2"]
    assert first._engine.table.watch is None and second._engine.table.watch is not None
    assert post(client, "/node_info", {"host": "192.0.2.1"})[0] == 404


def test_requests_cancel_jobs_and_change_nodes(cluster: Make, serve: Serve, tmp_path: Path) -> None:
    made = cluster(pass_gate)
    made.submit(0, "")()
    _, client = serve(made)
    assert post(client, "/set_cpus", {"127.0.0.1": "1", "192.0.2.1": 2}) == (200, {"127.0.0.1": 1})
    jobs = [made.submit(number, str(tmp_path / "gate")) for number in range(3)]
    uids = [job._number for job in jobs]
    assert post(client, "/cancel_jobs", {"uid": [*uids, 10**9]}) == (200, uids)
    made.wait()
    assert post(client, "/cancel_jobs", {"uid": uids}) == (200, [])
    nodes = json.dumps(["127.0.0.1"])
    assert post(client, "/close_node", {"cluster": "*", "nodes": nodes}) == (200, 0)
    eventually(lambda: not client.get("/nodes")[0]["nodes"])
    assert post(client, "/close_node", {"cluster": "*", "nodes": nodes}) == (200, -1)
    assert post(client, "/allocate_node", {"cluster": "pass_gate", "nodes": nodes}) == (200, 0)
    eventually(lambda: client.get("/nodes")[0]["nodes"])
    assert post(client, "/deallocate_node", {"cluster": "none", "nodes": nodes}) == (200, -1)
    code, answer = post(client, "/add_node", {"host": "127.0.0.1", "port": 1, "cpus": 2, "id": "a"})
    assert code == 200 and answer == {"host": "127.0.0.1", "port": 1, "cpus": 2, "cluster": None, "id": "a"}


def test_stranger_gets_nothing_and_a_server_that_only_shows_changes_nothing(one: Make, serve: Serve) -> None:
    _, client = serve(one(abs), admin=False)
    for path in ("/cluster_status", "/cluster_updates", "/nodes", "/poll_sec"):
        assert client.ask(path, token=False)[0] == 401
    for path in ("/cancel_jobs", "/add_node", "/close_node", "/set_cpus", "/update", "/allocate_node"):
        assert post(client, path, {"uid": 1}, token=False)[0] == 401
        assert post(client, path, {"uid": 1})[0] == 403


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/cancel_jobs", {"uid": "x"}),
        ("/cancel_jobs", {"uid": "9" * 30}),
        ("/set_cpus", {"127.0.0.1": "many"}),
        ("/close_node", {"cluster": "*", "nodes": "{"}),
        ("/close_node", {"cluster": "*", "nodes": "[" * 9000}),
        ("/close_node", {"cluster": "*", "nodes": "[1]"}),
        ("/add_node", {"host": ""}),
        ("/add_node", {"host": "127.0.0.1", "cpus": -1}),
        ("/add_node", {"host": "a b"}),
        ("/update", {"timeout": "soon"}),
    ],
)
def test_wrong_requests_are_refused_with_a_reason(
    one: Make, serve: Serve, path: str, fields: dict[str, object]
) -> None:
    _, client = serve(one(abs))
    code, answer = post(client, path, fields)
    assert code == 400 and answer["error"]


def test_programs_may_choose_the_token(one: Make, serve: Serve) -> None:
    server, client = serve(one(abs), token="a-token-of-enough-characters")
    assert client.token == "a-token-of-enough-characters" and server.headers == {
        "Authorization": f"Bearer {client.token}"
    }
    assert client.get("/api/state")["computations"][0]["name"] == "abs"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"docroot": "/srv"}, "docroot is not supported"),
        ({"DocumentRoot": "/srv"}, "docroot is not supported"),
        ({"poll_sec": -1}, "poll_sec must be"),
        ({"poll_sec": None}, "poll_sec must be"),
        ({"host": 5}, "host must be"),
        ({"host": "0.0.0.0"}, "certfile and keyfile"),
        ({"token": "short"}, "at least 16 characters"),
        ({"token": "with spaces in the token"}, "without spaces"),
    ],
)
def test_wrong_parameters_are_refused(one: Make, serve: Serve, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        serve(one(abs), **options)
    with pytest.raises(ConfigError, match="cluster must be"):
        serve("cluster")  # type: ignore[arg-type]


def test_shutdown_waits_for_readers_only(one: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gdispy")
    unread = DispyHTTPServer(one(abs), port=0, poll_sec=3600)
    unread.shutdown()
    assert "ends in" not in caplog.text
    read = DispyHTTPServer(one(abs), port=0, poll_sec=1)
    PageClient(read.url).get("/nodes")
    read.shutdown()
    assert "ends in 1 s" in caplog.text


def test_empty_host_is_this_machine_or_with_a_certificate_all_addresses(
    one: Make, serve: Serve, tmp_path: Path
) -> None:
    server, _ = serve(one(abs))
    assert server.address.startswith("http://127.0.0.1:")
    certfile, keyfile = make_certificate(str(tmp_path), "localhost")
    server = DispyHTTPServer(one(abs), port=0, certfile=certfile, keyfile=keyfile)
    try:
        assert server.address.startswith("https://") and server._server._host == "0.0.0.0"
    finally:
        server.shutdown(wait=False)
