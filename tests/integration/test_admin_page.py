"""`gdispy admin`: the page over many nodes and schedulers: real ones, and those that hang or are absent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import JobCluster, SharedJobCluster
from gdispy.protocol.address import Address
from tests.support.daemons import SCRIPTS, Daemon, ended, run_script
from tests.support.jobs import pass_gate
from tests.support.pages import PageClient
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


def place(daemon: Daemon) -> str:
    return str(Address(*daemon.place))


class Admin(PageClient):
    """A running `gdispy admin`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("The page of these nodes: http://127.0.0.1:"), line
        super().__init__(line.split()[-1])
        self.process = process

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {each["id"]: each for each in self.get("/api/state")["nodes"]}

    def state_of(self, node: str) -> str:
        return str(self.nodes().get(node, {}).get("state"))

    def problems(self) -> str:
        return "\n".join(self.get("/api/state")["problems"])


@pytest.fixture
def admin(secret_file: str) -> Iterator[Callable[..., Admin]]:
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> Admin:
            command = [sys.executable, str(SCRIPTS / "gdispy"), "admin", "--secret-file", secret_file, *words]
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            stack.enter_context(ended(process))
            return Admin(process)

        yield start


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield str(Address("127.0.0.1", sock.getsockname()[1]))


def test_nodes_are_shown_with_what_they_run_for_whom_and_why_they_take_nothing(
    admin: Callable[..., Admin], start_node: Start, secret_file: str, tmp_path: Path
) -> None:
    node, idle = start_node("--cpus", "1", "--name", "alpha"), start_node("--cpus", "2", "--name", "beta")
    page = admin("--only", place(node), place(idle), "--http_admin")
    eventually(lambda: page.state_of(place(node)) == page.state_of(place(idle)) == "ready", what=page.problems())
    with JobCluster(pass_gate, nodes=[node.place], secret_file=secret_file) as cluster:
        jobs = [cluster.submit(number, str(tmp_path / "gate")) for number in range(3)]
        runs = eventually(lambda: page.nodes()[place(node)]["runs"])
        assert runs[0].startswith("pass_gate of ") and runs[0].endswith(": 1")
        shown = page.nodes()[place(node)]
        assert (shown["name"], shown["cpus"], shown["busy"]) == ("alpha", 1, 1) and shown["since"]
        assert "Python 3" in shown["versions"] and len(shown["free"]) == 3
        state = page.get("/api/state")
        (computation,) = state["computations"]
        assert (computation["name"], computation["state"], computation["running"]) == ("pass_gate", "1 node", 1)
        assert state["now"]["running"] == 1
        code, answer = page.act(do="drain", node=place(node))
        assert (code, answer["done"]) == (
            200,
            "alpha accepts no new jobs, and is empty when its jobs on 1 CPU have ended",
        )
        assert page.state_of(place(node)) == "draining" and "alpha at" in page.problems()
        (tmp_path / "gate").touch()
        assert jobs[0]() == 0
        eventually(lambda: page.state_of(place(node)) == "drained")
        assert not jobs[2].wait(0.2)
        assert page.act(do="resume", node=place(node)) == (200, {"done": "alpha accepts jobs again"})
        assert [job() for job in jobs] == [0, 1, 2]
        assert page.state_of(place(node)) == "ready"
    assert page.act(do="drain", node="127.0.0.1:1")[0] == 404 and page.act(do="drain")[0] == 404
    for wrong in (None, 0, -1, 1.5, True, "2", 1 << 40):
        code, answer = page.act(do="cpus", node=place(node), cpus=wrong)
        assert code == 400 and "at least 1; to use none, drain the node" in answer["error"]


def test_cpus_of_a_node_are_changed(admin: Callable[..., Admin], start_node: Start) -> None:
    node = start_node("--cpus", "1", "--name", "alpha")
    page = admin("--only", place(node), "--http_admin")
    eventually(lambda: page.state_of(place(node)) == "ready")
    here = len(os.sched_getaffinity(0))
    for wanted in (here, 1, 4 * here):  # At most those of the machine.
        offered = min(wanted, here)
        code, answer = page.act(do="cpus", node=place(node), cpus=wanted)
        assert (code, answer["done"]) == (200, f"alpha offers {offered} CPU{'s' if offered > 1 else ''} now")
        assert page.nodes()[place(node)]["cpus"] == offered
    assert page.act(do="drain", node=place(node))[0] == 200
    assert page.act(do="cpus", node=place(node), cpus=1)[1]["done"] == "alpha takes no jobs at present: draining"
    assert page.act(do="resume", node=place(node))[1]["done"] == "alpha accepts jobs again"
    assert page.nodes()[place(node)]["cpus"] == 1


def test_service_hours_of_a_node_are_changed(admin: Callable[..., Admin], start_node: Start, secret_file: str) -> None:
    node = start_node("--cpus", "1", "--name", "alpha")
    page = admin("--only", place(node), "--http_admin")
    eventually(lambda: page.state_of(place(node)) == "ready")

    def hours(text: object) -> tuple[int, str]:
        code, answer = page.act(do="hours", node=place(node), hours=text)
        return code, answer.get("done") or answer["error"]

    now = time.localtime()
    later, much_later = (f"{(now.tm_hour + number) % 24:02}:{now.tm_min:02}" for number in (3, 6))
    expected = f"alpha takes jobs from {later} to {much_later} (now: service hours)"
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as cluster:
        assert cluster.submit(-1)() == 1
        assert hours(f"{later} {much_later}") == (200, expected)
        job = cluster.submit(-2)
        assert page.state_of(place(node)) == "takes no jobs" and "service hours" in page.problems()
        assert page.nodes()[place(node)]["hours"] == f"{later} {much_later}"
        assert not job.wait(0.2)
        assert hours("") == (200, "alpha takes jobs at any time")
        assert job() == 2
        assert hours(f"{much_later} {later} {later}")[0] == 200  # These are hours of now.
        assert cluster.submit(-3)() == 3 and page.state_of(place(node)) == "ready"
    for wrong in (None, 5, "noon", "18:00", "18:00 18:00", "1:00 2:00 3:00 4:00"):
        assert hours(wrong)[0] == 400
    assert page.nodes()[place(node)]["hours"] == f"{much_later} {later} {later}"


def test_node_ends_after_a_number_of_clients(admin: Callable[..., Admin], start_node: Start, secret_file: str) -> None:
    node = start_node("--cpus", "1", "--name", "alpha")
    page = admin("--only", place(node), "--http_admin")
    eventually(lambda: page.state_of(place(node)) == "ready")
    for number, expected in ((3, "alpha ends after 3 more clients"), (0, "alpha serves any number of clients")):
        assert page.act(do="serve", node=place(node), clients=number) == (200, {"done": expected})
    assert page.act(do="serve", node=place(node), clients=-1)[0] == 400
    assert page.act(do="serve", node=place(node), clients=1)[1]["done"] == "alpha ends after 1 more client"
    assert page.nodes()[place(node)]["clients_left"] == "1"
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as cluster:
        assert cluster.submit(-1)() == 1
    assert node.process.wait(20) == 0
    eventually(lambda: page.state_of(place(node)) == "unreachable")


def test_node_that_hangs_or_is_absent_delays_nothing_and_says_why(
    admin: Callable[..., Admin], start_node: Start, silent: str
) -> None:
    node = start_node("--cpus", "1", "--name", "alpha")
    page = admin("--only", silent, place(node), "127.0.0.1:1", "-n", silent)
    eventually(lambda: page.state_of(place(node)) == "ready")
    eventually(lambda: page.state_of("127.0.0.1:1") == "unreachable")
    assert "no gdispy-node is listening" in page.problems()
    eventually(lambda: page.state_of(silent) == "unreachable")
    assert page.act(do="drain", node=place(node))[0] == 403
    node.kill(signal.SIGSTOP)
    eventually(lambda: page.state_of(place(node)) == "unreachable")
    assert page.nodes()[place(node)]["name"] == "alpha" and page.nodes()[place(node)]["since"] is None
    node.kill(signal.SIGCONT)
    eventually(lambda: page.state_of(place(node)) == "ready")


def test_node_that_is_restarted_is_found_again_at_its_address(admin: Callable[..., Admin], start_node: Start) -> None:
    node = start_node("--cpus", "1", "--name", "alpha")
    page = admin("--only", place(node))
    eventually(lambda: page.state_of(place(node)) == "ready")
    node.stop()
    eventually(lambda: page.state_of(place(node)) == "unreachable")
    start_node("--cpus", "2", "--name", "beta", "-p", str(node.place[1]))
    eventually(lambda: page.state_of(place(node)) == "ready")
    assert (page.nodes()[place(node)]["name"], page.nodes()[place(node)]["cpus"]) == ("beta", 2)
    assert len(page.nodes()) == 1


def _port_of_both() -> int:
    """A port that is free for UDP and TCP."""
    for _ in range(50):
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port
    raise AssertionError("no port is free for both")


def test_nodes_are_found_by_discovery(admin: Callable[..., Admin], start_node: Start) -> None:
    port = _port_of_both()
    page = admin("--node_port", str(port))
    node = start_node("--cpus", "1", "-p", str(port))
    eventually(lambda: page.state_of(place(node)) == "ready")


def test_schedulers_are_shown_with_their_clients(
    admin: Callable[..., Admin], start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path
) -> None:
    node = start_node("--cpus", "1")
    scheduler = start_scheduler("-n", place(node))
    page = admin("--only", place(node), "-n", place(scheduler), "-n", "127.0.0.1:1")
    where = {"scheduler_node": "127.0.0.1", "scheduler_port": scheduler.place[1], "secret_file": secret_file}
    with SharedJobCluster(pass_gate, **where) as cluster:
        for number in range(3):
            cluster.submit(number, str(tmp_path / "gate"))

        def shown() -> dict[str, Any]:
            found: dict[str, Any] = page.get("/api/state")
            rows = {each["id"]: each for each in found["schedulers"]}
            computations = {each["scheduler"]: each for each in found["computations"]}
            return {**rows, "computation": computations.get(place(scheduler), {})}

        eventually(lambda: shown()[place(scheduler)].get("clients") == 1)
        row = shown()[place(scheduler)]
        assert (row["state"], row["nodes"], row["cpus"]) == ("answers", 1, 1)
        eventually(lambda: shown()["computation"].get("name") == "pass_gate")
        eventually(lambda: "no gdispy-scheduler is listening" in shown()["127.0.0.1:1"]["state"])
        (tmp_path / "gate").touch()


def test_ctrl_c_ends_it_quietly_and_strangers_see_nothing(admin: Callable[..., Admin]) -> None:
    page = admin("--only", "127.0.0.1:1")
    assert page.ask("/api/state", token=False)[0] == 401 and page.ask("/api/jobs")[0] == 404
    page.process.send_signal(signal.SIGINT)
    assert page.process.wait(20) == 0
    assert page.process.stderr is not None and page.process.stderr.read() == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--http", "0.0.0.0:0"], b"certfile and keyfile"),
        (["--http", "many"], b"write PORT or HOST:PORT"),
        (["--only"], b"--only requires hosts or schedulers"),
        (["-n", "a b"], b"scheduler_node 'a b'"),
        (["--node_port", "99999"], b"--node_port"),
    ],
)
def test_wrong_options_are_refused(words: list[str], text: bytes) -> None:
    done = run_script("gdispy", "admin", "--insecure", *words)
    assert done.returncode == 2 and text in done.stderr
