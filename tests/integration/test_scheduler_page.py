"""The web page of a shared scheduler: what it shows of real clients and nodes, and what its actions do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import SharedJobCluster
from gdispy.errors import ConfigError
from gdispy.web.token_file import TOKEN_FILE, token_of
from tests.support.daemons import Daemon, run_script
from tests.support.jobs import pass_gate
from tests.support.pages import PageClient
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


class Made:
    """A scheduler with a page, a node with one CPU, and clusters."""

    def __init__(self, start_scheduler: Start, node: Daemon, secret_file: str, journal: Path) -> None:
        self.journal, self._start, self._node, self._secret_file = journal, start_scheduler, node, secret_file
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.page_port = sock.getsockname()[1]
        self.clusters: list[SharedJobCluster] = []
        self.scheduler = self.start()

    def start(self, port: int = 0, *options: str) -> Daemon:
        words = [
            "-n",
            f"127.0.0.1:{self._node.place[1]}",
            "--journal",
            str(self.journal),
            "--http",
            str(self.page_port),
        ]
        if port:
            words += ["-p", str(port)]
        found = self._start(*words, "--http_admin", "--zombie_interval", "1", *options)
        self.client = PageClient(f"http://127.0.0.1:{self.page_port}/#token={(self.journal / TOKEN_FILE).read_text()}")
        return found

    def share(self, computation: Any) -> SharedJobCluster:
        place = {"scheduler_node": "127.0.0.1", "scheduler_port": self.scheduler.place[1]}
        self.clusters.append(SharedJobCluster(computation, secret_file=self._secret_file, **place))
        return self.clusters[-1]

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/api/state")
        return found

    def computation(self) -> dict[str, Any]:
        found = self.state()["computations"]
        return found[0] if found else {}


@pytest.fixture
def made(start_scheduler: Start, start_node: Start, secret_file: str, tmp_path: Path) -> Iterator[Made]:
    found = Made(start_scheduler, start_node("--cpus", "1"), secret_file, tmp_path / "journal")
    yield found
    for each in found.clusters:
        each.close(timeout=0, terminate=True)


def test_clients_computations_and_nodes_are_shown_live(made: Made, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    cluster = made.share(pass_gate)
    jobs = [cluster.submit(number, str(gate)) for number in range(3)]
    eventually(lambda: made.computation().get("running") == 1)
    state = made.state()
    (computation,), (client,), (node,) = state["computations"], state["clients"], state["nodes"]
    assert (computation["name"], computation["state"], computation["waiting"]) == ("pass_gate", "open", 2)
    assert (client["running"], client["waiting"], client["share"], client["weight"]) == (1, 2, 1.0, 1.0)
    assert computation["client"] == client["name"] and client["address"] == "127.0.0.1"
    assert (node["state"], node["cpus"], node["busy"]) == ("ready", 1, 1) and "Python 3" in node["versions"]
    assert node["runs"] == [f"pass_gate of {client['name']}: 1"]
    gate.touch()
    assert [job() for job in jobs] == [0, 1, 2]
    eventually(lambda: (made.computation()["ended"], made.state()["now"]["ended"]) == (3, 3))
    assert made.client.events(1)[0]["clients"]


def test_actions_drain_and_resume_a_node_set_a_weight_and_cancel(made: Made, tmp_path: Path) -> None:
    cluster = made.share(pass_gate)
    cluster.submit(0, "")()
    state = made.state()
    node, client, computation = state["nodes"][0]["id"], state["clients"][0]["id"], state["computations"][0]["id"]
    assert made.client.act(do="drain", node=node) == (200, {"done": "the node gets no more jobs"})
    eventually(lambda: made.state()["nodes"][0]["state"] == "drained")
    job = cluster.submit(1, "")
    eventually(lambda: made.computation()["waiting"] == 1)
    assert not job.wait(0.3)
    assert made.client.act(do="resume", node=node)[0] == 200
    assert job() == 1
    assert made.client.act(do="weight", client=client, weight=2.5)[0] == 200
    assert made.state()["clients"][0]["weight"] == 2.5
    jobs = [cluster.submit(number, str(tmp_path / "gate")) for number in range(3)]
    eventually(lambda: made.computation()["waiting"] == 2)
    assert made.client.act(do="cancel_all", computation=computation) == (200, {"done": "3 jobs are being cancelled"})
    assert all(each.wait(20) for each in jobs)
    eventually(lambda: made.computation()["failed"] == 3)
    assert made.client.act(do="release", computation=computation)[0] == 400


def fail(text: str) -> None:
    print("printed", text)
    raise ValueError(text)


def rows(made: Made, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = made.client.get(f"/api/jobs?{query}")["jobs"]
    return found


def numbers(made: Made, query: str) -> list[int]:
    return [each["number"] for each in rows(made, query)]


def test_jobs_of_all_clients_are_listed_and_found(made: Made, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    cluster, other = made.share(pass_gate), made.share(fail)
    jobs = [cluster.submit(number, str(gate)) for number in range(60)]
    (running,) = eventually(lambda: rows(made, "kind=running"))
    client = made.state()["clients"][0]["name"]
    assert (running["number"], running["status"], running["client"]) == (jobs[0]._number, "Running", client)
    assert running["start"] > 0 and running["node"] and running["computation"] == "pass_gate"
    last = other.submit("<b>bad</b>")
    eventually(
        lambda: made.state()["now"]["ended"] + sum(each["waiting"] for each in made.state()["computations"]) == 60
    )
    first = made.client.get("/api/jobs?kind=waiting")
    second = made.client.get(f"/api/jobs?kind=waiting&from={first['next']}")
    found = [(each["computation"], each["number"]) for each in (*first["jobs"], *second["jobs"])]
    assert found == [*(("pass_gate", job._number) for job in jobs[1:]), ("fail", last._number)]
    assert (len(first["jobs"]), second["next"]) == (50, None)
    for job in jobs[1], jobs[-1]:
        assert numbers(made, f"kind=waiting&q={job._number}")[0] == job._number
    assert numbers(made, f"kind=running&q={jobs[0]._number}") == [jobs[0]._number]
    assert [each["computation"] for each in rows(made, "kind=waiting&q=fail")] == ["fail"]
    gate.touch()
    assert jobs[-1]() == 59 and last.wait(20)
    (failed,) = eventually(lambda: rows(made, "kind=failed&q=printed"))
    assert (failed["error"], failed["stdout"]) == ("ValueError: <b>bad</b>", "printed <b>bad</b>")
    assert (failed["computation"], failed["id"], failed["client"]) == ("fail", str(last._number), client)
    cluster.wait()
    eventually(lambda: made.state()["rows"] == 61)
    assert len(rows(made, "kind=ended&q=pass_gate")) == 50 and rows(made, "kind=running") == []
    timeline = made.client.get("/api/timeline")
    assert timeline["next"] == 61 and len(timeline["places"]) == 1
    assert made.client.ask("/api/jobs?kind=all")[0] == 400


def test_one_job_is_cancelled_and_jobs_that_wait_get_another_priority(made: Made, tmp_path: Path) -> None:
    cluster = made.share(pass_gate)
    gate = tmp_path / "gate"
    jobs = [cluster.submit(number, str(gate)) for number in range(4)]
    eventually(lambda: rows(made, "kind=running"))
    computation = made.computation()["id"]

    def act(do: str, job: Any, **more: object) -> int:
        return made.client.act(do=do, job=job, computation=computation, **more)[0]

    first, second, third, last = (job._number for job in jobs)
    assert act("priority", last, priority=2) == 200
    eventually(lambda: [each["priority"] for each in rows(made, "kind=waiting")] == [0, 0, 2])
    assert act("priority", first, priority=2) == 400  # It runs.
    assert act("priority", last, priority="2") == act("priority", last, priority=1e300) == 400
    assert act("cancel", second) == 200
    assert jobs[1].wait(20) and jobs[1].status == jobs[1].Cancelled
    assert act("cancel", second) == act("priority", 10**9, priority=1) == act("cancel", 10**30) == 404
    assert act("cancel", True) == 400
    for job in (second, 99_999_999, -1):
        answer = made.client.act(do="cancel", job=job, computation=computation)[1]
        assert answer == {"error": f"there is no job {job} that waits or runs"}
    gate.touch()
    cluster.wait()
    ended = eventually(lambda: numbers(made, "kind=ended"))
    assert ended == [third, last, first]


def test_computation_of_a_client_that_is_away_is_released(made: Made, tmp_path: Path) -> None:
    cluster = made.share(pass_gate)
    cluster.submit(1, str(tmp_path / "gate"))
    eventually(lambda: made.computation().get("running") == 1)
    cluster.detach()
    eventually(lambda: made.computation()["state"] == "away")
    assert made.state()["clients"][0]["address"] == ""
    assert made.client.act(do="release", computation=made.computation()["id"])[0] == 200
    eventually(lambda: made.state()["computations"] == [])


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"do": "close"},
        {"do": "weight", "client": "00" * 16, "weight": 0},
        {"do": "weight", "client": "00" * 16, "weight": 1},
        {"do": "weight", "client": "zz", "weight": 1},
        {"do": "drain", "node": "00" * 16},
        {"do": "cpus", "node": "00" * 16, "cpus": "1"},
        {"do": "cancel_all", "computation": "00" * 8},
        {"do": "release"},
    ],
)
def test_wrong_actions_are_refused(made: Made, order: dict[str, Any]) -> None:
    code, answer = made.client.act(**order)
    assert code in (400, 404) and answer["error"]


def test_page_returns_with_its_scheduler_and_the_same_token(made: Made) -> None:
    port = made.scheduler.place[1]
    code, answer, headers = made.client.ask("/api/login", "POST", {"token": made.client.token}, token=False)
    cookie = {"Cookie": headers["set-cookie"].partition(";")[0], "X-Gdispy-Page": answer["page_key"]}
    assert code == 200 and made.client.ask("/api/session", headers=cookie, token=False)[0] == 200
    made.scheduler.stop()
    made.scheduler = made.start(port)
    assert made.client.ask("/api/session", headers=cookie, token=False)[0] == 200
    assert (made.journal / TOKEN_FILE).stat().st_mode & 0o777 == 0o600


def test_token_is_not_written_to_a_log(made: Made) -> None:
    text = made.scheduler.log.read_text()
    assert f"127.0.0.1:{made.page_port}/ (its token is in {made.journal / TOKEN_FILE})" in text
    assert made.client.token not in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--http", "many"], "write PORT or HOST:PORT"),
        (["--http", "127.0.0.1:99999"], "write PORT or HOST:PORT"),
        (["--http", "0.0.0.0:0"], "certfile and keyfile"),
        (["--http_admin"], "needs --http"),
    ],
)
def test_wrong_options_are_refused(words: list[str], text: str) -> None:
    done = run_script("gdispy-scheduler", "--daemon", "--insecure", "-p", "0", *words)
    assert done.returncode == 2 and text in done.stderr.decode()


def test_token_file_that_others_can_read_or_have_replaced_is_refused(tmp_path: Path) -> None:
    first = token_of(str(tmp_path))
    assert token_of(str(tmp_path)) == first and token_of("") != token_of("")
    path = tmp_path / TOKEN_FILE
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="other users can read"):
        token_of(str(tmp_path))
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(ConfigError, match="contains no token"):
        token_of(str(tmp_path))
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError):
        token_of(str(tmp_path))
