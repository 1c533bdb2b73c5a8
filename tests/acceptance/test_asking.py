"""`gdispy status --jobs`, `gdispy explain` and `gdispy logs`: what a scheduler asks of its nodes, with real daemons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gdispy import SharedJobCluster
from gdispy.protocol.rate_limit import INTERVAL
from tests.support.daemons import SCRIPTS, Daemon, run_script
from tests.support.jobs import print_and_wait
from tests.support.waiting import eventually

Start = Callable[..., Daemon]
NAMES = ("first", "second")


def place_of(daemon: Daemon) -> str:
    return f"{daemon.place[0]}:{daemon.place[1]}"


class Site:
    """Two nodes of one CPU, and a scheduler."""

    def __init__(self, start_node: Start, start_scheduler: Start, secret_file: str) -> None:
        self.secret_file = secret_file
        self.nodes = [start_node("--cpus", "1", "--name", name) for name in NAMES]
        self.words = [word for node in self.nodes for word in ("-n", place_of(node))]
        self.scheduler = start_scheduler(*self.words, "--journal", f"{secret_file}.asking")

    def cluster(self, function: Callable[..., Any]) -> SharedJobCluster:
        host, port = self.scheduler.place
        return SharedJobCluster(function, scheduler_node=host, scheduler_port=port, secret_file=self.secret_file)

    def run(self, command: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        options = ("--secret-file", self.secret_file, "-n", place_of(self.scheduler))
        return run_script("gdispy", command, *options, *words)

    def data(self, command: str, *words: str) -> Any:
        done = self.run(command, "--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.data("status", "--jobs")["jobs"]
        return found

    def node(self, place: str) -> Daemon:
        [found] = [each for each in self.nodes if place.startswith(place_of(each))]
        return found


def test_running_jobs_are_listed_and_each_can_be_explained(
    start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path
) -> None:
    site = Site(start_node, start_scheduler, secret_file)
    with site.cluster(print_and_wait) as cluster:
        jobs = [cluster.submit(str(tmp_path / "go")) for _ in range(3)]
        for job in jobs:
            job.id = "\x1b[31mred"
        rows = eventually(lambda: len(found := site.jobs()) == 2 and found)
        for row in rows:
            assert row["computation"] == "print_and_wait" and row["program"] and row["seconds"] > 0
            assert row["pid"] in site.node(row["node"]).below() and row["cpu_seconds"] >= 0
            assert eventually(lambda row=row: "line 0" in site.run("explain", row["job"]).stdout.decode())
            [facts] = site.data("explain", row["job"])
            assert facts["state"] == ["running"] and facts["process"][0].startswith(str(row["pid"]))
            assert "in print_and_wait" in facts["stack"][0] and "MiB" in facts["memory"][0]
        [computation] = site.data("explain")
        assert computation["jobs"] == ["1 waiting, 2 on nodes"] and "a free CPU: 2 of 2" in computation["waits for"][0]
        prefix = rows[0]["job"].split(":")[0]
        # Numbers are those of this process, which may have had other clusters.
        [number] = {job._number for job in jobs} - {int(row["job"].split(":")[1]) for row in rows}
        [waiting] = site.data("explain", f"{prefix}:{number}")
        assert waiting["state"] == ["waiting"] and "a free CPU: 2 of 2" in waiting["waits for"][0]
        unknown = site.run("explain", f"{prefix}:{number + 99}")
        assert unknown.returncode == 1 and f"has no job {number + 99} any more, or not yet" in unknown.stderr.decode()
        assert b"\x1b" not in site.run("status", "--jobs").stdout + site.run("explain").stdout
        (tmp_path / "go").touch()
        assert [job() for job in jobs] == [1, 1, 1]
        assert site.jobs() == []


def test_node_that_does_not_answer_is_named_and_holds_up_nobody(
    start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path
) -> None:
    site = Site(start_node, start_scheduler, secret_file)
    with site.cluster(print_and_wait) as cluster:
        jobs = [cluster.submit(str(tmp_path / "go")) for _ in range(2)]
        rows = eventually(lambda: len(found := site.jobs()) == 2 and found)
        stopped = site.node(rows[0]["node"])
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            found = site.data("status", "--jobs")
            assert [row["job"] for row in found["jobs"]] == [rows[1]["job"]]
            assert found["jobs_problems"] == [f"{rows[0]['node']} has not answered within 2 s"]
            [facts] = site.data("explain", rows[0]["job"])
            assert facts["state"] == ["on a node"] and facts["problem"] == ["the node has not answered within 2 s"]
            logs = site.run("logs")
            assert b"has not answered within 2 s" in logs.stderr and b"scheduler INFO connected: client" in logs.stdout
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        assert eventually(lambda: len(site.jobs()) == 2)
        (tmp_path / "go").touch()
        assert [job() for job in jobs] == [1, 1]


def test_state_of_a_node_says_that_it_is_drained_or_away(
    start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path
) -> None:
    site = Site(start_node, start_scheduler, secret_file)

    def states() -> dict[str, str]:
        return {node["name"]: node["state"] for node in site.data("status")["nodes"]}

    with site.cluster(print_and_wait) as cluster:
        jobs = [cluster.submit(str(tmp_path / "go")) for _ in range(2)]
        assert eventually(lambda: len(site.jobs()) == 2)
        assert states() == {"first": "ready", "second": "ready"}
        run_script("gdispy", "drain", "--timeout", "0", "--only", "--secret-file", secret_file, place_of(site.nodes[0]))
        assert eventually(lambda: states()["first"] == "draining: 1 job still here")
        site.nodes[1].kill()
        assert eventually(lambda: states().get("second", "").startswith("away for "))
        (tmp_path / "go").touch()
        assert eventually(lambda: states()["first"] == "drained")
        for job in jobs:
            cluster.cancel(job)


def test_logs_of_all_are_shown_in_order_and_followed_over_a_restart_of_the_scheduler(
    start_node: Start, start_scheduler: Start, secret_file: str
) -> None:
    site = Site(start_node, start_scheduler, secret_file)
    secret = Path(secret_file).read_text().strip()
    with site.cluster(abs) as cluster:
        assert cluster.submit(-3)() == 3
        found = [json.loads(line) for line in site.run("logs", "--json").stdout.splitlines()]
    wheres = {each["where"] for each in found}
    assert wheres == {
        "scheduler",
        *(f"{place_of(node)} ({name})" for node, name in zip(site.nodes, NAMES, strict=True)),
    }
    assert [each["time"] for each in found] == sorted(each["time"] for each in found)
    assert not any(secret in each["text"] for each in found)
    assert not any("asked and answered" in each["text"] for each in found)
    only = site.run("logs", "--node", "second").stdout.decode().splitlines()
    assert only and all("(second) INFO" in line for line in only)
    assert site.run("logs", "--since", "0.001").stdout == b""
    options = ["--secret-file", secret_file, place_of(site.scheduler), "-f", "--since", "1h"]
    command = [sys.executable, str(SCRIPTS / "gdispy"), "logs", *options]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert follower.stdout is not None
        assert "INFO" in follower.stdout.readline()
        # A node logs connections of one address at most once in this interval.
        connected = max(each["time"] for each in found if each["text"].startswith("connected: "))
        eventually(lambda: time.time() > connected + INTERVAL)
        port = str(site.scheduler.place[1])
        site.scheduler.stop()
        start_scheduler(*site.words, "--journal", f"{secret_file}.asking", "-p", port)
        lines = iter(follower.stdout.readline, "")
        assert next(line for line in lines if "disconnected from" in line and "(first)" in line)
        assert next(line for line in lines if "connected: " in line and "(first)" in line)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 0
    finally:
        if follower.poll() is None:
            follower.kill()
        follower.communicate(timeout=10)


def test_logs_are_not_followed_without_a_reader(start_scheduler: Start, secret_file: str) -> None:
    scheduler = start_scheduler("--no_journal")
    host, port = scheduler.place
    with SharedJobCluster(abs, scheduler_node=host, scheduler_port=port, secret_file=secret_file):
        words = ["logs", "-f", "--secret-file", secret_file, place_of(scheduler)]
        follower = subprocess.Popen(
            [sys.executable, str(SCRIPTS / "gdispy"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            assert follower.stdout is not None and b"connected: client" in follower.stdout.readline()
            follower.stdout.close()
            assert follower.wait(20) == 1
            assert follower.stderr is not None and b"standard output was closed" in follower.stderr.read()
        finally:
            if follower.poll() is None:
                follower.kill()
            follower.wait(10)
            if follower.stderr is not None:
                follower.stderr.close()
