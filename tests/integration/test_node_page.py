"""The web page of a node: what it shows of real jobs, and what its actions do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import JobCluster
from tests.support.daemons import Daemon, run_script
from tests.support.jobs import pass_gate
from tests.support.pages import PageClient
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


def page_of(node: Daemon) -> PageClient:
    found = re.search(r"The page of this daemon: (http://\S+) \(its token is in (.*)\)", node.log.read_text())
    assert found is not None
    file = Path(found[2])
    assert file.stat().st_mode & 0o777 == 0o600
    return PageClient(f"{found[1]}#token={file.read_text()}")


@pytest.fixture
def shared(start_node: Start, secret_file: str) -> Iterator[tuple[PageClient, JobCluster]]:
    node = start_node("--cpus", "1", "--http", "0", "--http_admin")
    with JobCluster(pass_gate, nodes=[node.place], secret_file=secret_file) as made:
        yield page_of(node), made
        made.close(timeout=0, terminate=True)


def test_jobs_of_clients_are_shown_live(shared: tuple[PageClient, JobCluster], tmp_path: Path) -> None:
    client, made = shared
    gate = tmp_path / "gate"
    jobs = [made.submit(number, str(gate)) for number in range(3)]

    def computation() -> dict[str, Any]:
        found = client.get("/api/state")["computations"]
        return found[0] if found else {}

    eventually(lambda: computation().get("running") == 1)
    state = client.get("/api/state")
    assert (computation()["name"], computation()["state"], computation()["failed"]) == ("pass_gate", "open", 0)
    (node,) = state["nodes"]
    assert (node["state"], node["cpus"], node["busy"]) == ("ready", 1, 1)
    assert "Python 3" in node["versions"] and node["since"] <= state["now"]["time"]
    assert node["runs"] == [f"pass_gate of {computation()['client']}: 1"]
    gate.touch()
    assert [job() for job in jobs] == [0, 1, 2]
    eventually(lambda: client.get("/api/state")["now"]["ended"] == 3)
    made.close()
    eventually(lambda: client.get("/api/state")["computations"] == [])
    assert client.get("/api/state")["now"]["ended"] == 3


def test_failures_are_counted(shared: tuple[PageClient, JobCluster], tmp_path: Path) -> None:
    client, made = shared
    missing = made.submit()  # Its arguments are missing.
    assert made.submit(1, "")() == 1 and missing.wait(20)

    def counted() -> list[int]:
        state = client.get("/api/state")
        return [state["now"]["ended"], state["now"]["failed"], *(each["failed"] for each in state["computations"])]

    eventually(lambda: counted() == [2, 1, 1], what=str(counted()))


def test_actions_drain_and_resume_it(shared: tuple[PageClient, JobCluster]) -> None:
    client, made = shared
    made.submit(0, "")()
    assert client.act(do="drain", node="here")[0] == 200
    eventually(lambda: client.get("/api/state")["nodes"][0]["state"] == "takes no jobs")
    assert any("stopped" in each for each in client.get("/api/state")["problems"])
    job = made.submit(1, "")
    assert not job.wait(0.3)
    assert client.act(do="resume", node="here")[0] == 200
    assert job() == 1
    assert client.act(do="cpus", node="here", cpus=1) == (200, {"done": "1 CPU offered"})
    for order in ({}, {"do": "cancel"}, {"do": "cpus", "cpus": "1"}, {"do": "cpus", "cpus": 1 << 40}):
        code, answer = client.act(**order)
        assert code == 400 and answer["error"]


def test_service_hours_and_the_number_of_clients_are_changed(shared: tuple[PageClient, JobCluster]) -> None:
    client, made = shared
    assert made.submit(1, "")() == 1

    def node() -> dict[str, Any]:
        found: dict[str, Any] = client.get("/api/state")["nodes"][0]
        return found

    now = time.localtime()
    hours = " ".join(f"{(now.tm_hour + number) % 24:02}:{now.tm_min:02}" for number in (3, 6, 7))
    assert client.act(do="hours", node="here", hours=hours)[0] == 200
    eventually(lambda: (node()["hours"], node()["state"]) == (hours, "takes no jobs"))
    assert "service hours" in str(client.get("/api/state")["problems"])
    assert client.act(do="hours", node="here", hours="")[1]["done"] == "the node takes jobs at any time"
    eventually(lambda: (node()["hours"], node()["state"]) == ("", "ready"))
    assert client.act(do="serve", node="here", clients=2)[1]["done"] == "the node ends after 2 more clients"
    eventually(lambda: node()["clients_left"] == "2")
    assert client.act(do="serve", node="here", clients=0)[1]["done"] == "the node serves any number of clients"
    eventually(lambda: node()["clients_left"] == "")
    for wrong in ({"do": "hours", "hours": "25:00 26:00"}, {"do": "serve", "clients": -1}, {"do": "hours"}):
        assert client.act(**wrong)[0] == 400


def test_page_that_only_shows_changes_nothing_and_strangers_see_nothing(start_node: Start) -> None:
    client = page_of(start_node("--cpus", "1", "--http", "0"))
    assert client.act(do="drain")[0] == 403 and client.ask("/api/state", token=False)[0] == 401
    assert client.ask("/api/jobs")[0] == 404


def test_wrong_options_are_refused() -> None:
    done = run_script("gdispy-node", "--daemon", "--insecure", "-p", "0", "--http", "0.0.0.0:0")
    assert done.returncode == 2 and b"certfile and keyfile" in done.stderr
    done = run_script("gdispy-node", "--daemon", "--insecure", "-p", "0", "--http_admin")
    assert done.returncode == 2 and b"needs --http" in done.stderr
