"""`gdispy drain`, `gdispy undrain`, and nodes that are stopped while they have jobs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster
from tests.support.daemons import SCRIPTS, Daemon, run_script
from tests.support.jobs import wait_for_file
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


@pytest.fixture
def two(start_node: Start) -> tuple[Daemon, Daemon]:
    return start_node("--name", "alpha", "--cpus", "1", "--grace", "30"), start_node("--name", "beta", "--cpus", "1")


def place(node: Daemon) -> str:
    return f"{node.place[0]}:{node.place[1]}"


def command(name: str, secret_file: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    return run_script("gdispy", name, "--secret-file", secret_file, "--only", *words)


def work(directory: str, number: int) -> int:
    Path(directory, f"begun-{number}").touch()
    wait_for_file(os.path.join(directory, "go"))
    return number


def begun(directory: Path) -> int:
    return len(list(directory.glob("begun-*")))


def test_drained_node_finishes_what_runs_and_gives_the_rest_to_others(
    two: tuple[Daemon, Daemon], secret_file: str, tmp_path: Path
) -> None:
    alpha, beta = two
    with JobCluster(work, nodes=[alpha.place, beta.place], secret_file=secret_file) as cluster:
        jobs = [cluster.submit(str(tmp_path), number) for number in range(6)]
        assert eventually(lambda: begun(tmp_path) == 2)
        done = command("drain", secret_file, "--timeout", "0.7", place(alpha))
        assert done.returncode == 1 and b"draining, 1 CPU busy after 0.7 s; it stays drained" in done.stdout
        [shown] = json.loads(command("nodes", secret_file, "--json", place(alpha)).stdout)
        assert (shown["cpus"], shown["problem"], shown["notes"]) == (0, "draining", ["draining"])
        (tmp_path / "go").touch()
        assert [job() for job in jobs] == list(range(6))
        assert len({job.ip_addr for job in jobs}) == 1  # Both are here.
        done = command("drain", secret_file, place(alpha))
        assert (done.returncode, done.stdout) == (0, f"alpha at {place(alpha)}: drained\n".encode())
        before = [each.jobs_done for each in cluster.status().nodes if each.name == "alpha"]
        assert cluster.submit(str(tmp_path), 7)() == 7
        assert [each.jobs_done for each in cluster.status().nodes if each.name == "alpha"] == before
        done = command("undrain", secret_file, place(alpha))
        assert (done.returncode, done.stdout) == (0, f"alpha at {place(alpha)}: takes jobs on 1 CPU\n".encode())
        more = [cluster.submit(str(tmp_path), number) for number in range(8, 40)]
        assert [job() for job in more] == list(range(8, 40))


def test_jobs_that_wait_say_that_their_node_is_drained(start_node: Start, secret_file: str) -> None:
    node = start_node("--cpus", "1")
    assert command("drain", secret_file, place(node)).returncode == 0
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as cluster:
        job = cluster.submit(-1)
        assert eventually(lambda: any("draining" in each for each in cluster.status().problems))
        assert command("undrain", secret_file, place(node)).returncode == 0
        assert job() == 1


def test_node_that_is_stopped_loses_no_job_that_has_not_begun_and_with_grace_none_at_all(
    two: tuple[Daemon, Daemon], secret_file: str, tmp_path: Path
) -> None:
    alpha, beta = two
    with JobCluster(work, nodes=[alpha.place, beta.place], secret_file=secret_file) as cluster:
        jobs = [cluster.submit(str(tmp_path), number) for number in range(10)]
        assert eventually(lambda: begun(tmp_path) == 2)
        alpha.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: [each.cpus for each in cluster.status().nodes if each.name == "alpha"] == [0])
        (tmp_path / "go").touch()
        assert [job() for job in jobs] == list(range(10))
        assert alpha.process.wait(30) == 0


def test_running_job_is_lost_without_grace_and_a_second_signal_ends_the_wait(
    two: tuple[Daemon, Daemon], secret_file: str, tmp_path: Path
) -> None:
    alpha, beta = two
    with JobCluster(work, nodes=[alpha.place, beta.place], secret_file=secret_file) as cluster:
        jobs = [cluster.submit(str(tmp_path), number) for number in range(4)]
        assert eventually(lambda: begun(tmp_path) == 2)
        beta.process.send_signal(signal.SIGTERM)  # It has no grace.
        assert beta.process.wait(20) == 0
        alpha.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: [each.cpus for each in cluster.status().nodes if each.name == "alpha"] == [0])
        assert alpha.process.poll() is None
        alpha.process.send_signal(signal.SIGTERM)
        assert alpha.process.wait(20) == 0
        assert eventually(lambda: sum(job.status == DispyJob.Abandoned for job in jobs) == 2)
        assert sum(job.status == DispyJob.Created for job in jobs) == 2
        cluster.cancel_all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["127.0.0.1:1"], b"127.0.0.1:1: no gdispy-node is listening"),
        (["lab*"], b"give hosts, or names of nodes, without patterns"),
        (["--timeout", "-1", "127.0.0.1"], b"--timeout must be a number of seconds, at least 0"),
        (["--timeout", "nan", "127.0.0.1"], b"--timeout must be a number of seconds, at least 0"),
        ([], b"NODE"),
    ],
)
def test_bad_input_is_refused(words: list[str], message: bytes, secret_file: str) -> None:
    done = command("drain", secret_file, *words)
    assert done.returncode == 2 and message in done.stderr


def test_node_with_another_secret_does_not_obey(start_node: Start, tmp_path: Path) -> None:
    node = start_node("--cpus", "1")
    other = tmp_path / "other"
    other.write_text("another secret, of forty characters or so\n")
    other.chmod(0o600)
    done = command("drain", str(other), place(node))
    assert done.returncode == 2 and b"secret" in done.stderr


def test_service_manager_hears_of_the_start_and_the_end(secret_file: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        words = [
            "-i",
            "127.0.0.1",
            "-p",
            "0",
            "--cpus",
            "1",
            "--dest_path_prefix",
            str(tmp_path / "prefix"),
            "--daemon",
        ]
        environment: dict[str, Any] = {**os.environ, "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000"}
        node = subprocess.Popen(
            [sys.executable, str(SCRIPTS / "gdispy-node"), *words, "--secret-file", secret_file],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert manager.recv(1000).startswith(b"READY=1\nSTATUS=a node at 127.0.0.1:")
            assert [manager.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            node.send_signal(signal.SIGTERM)
            assert eventually(lambda: manager.recv(1000).startswith(b"STOPPING=1"))
            assert node.wait(20) == 0
        finally:
            if node.poll() is None:
                node.kill()
            node.communicate(timeout=10)


def test_node_whose_name_has_spaces_is_found_by_its_name(start_node: Start, secret_file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    node = start_node("-p", port, "--name", "big: the lab", "--cpus", "1")  # With -p 0, broadcasts do not reach it.
    words = ["--secret-file", secret_file, "--node_port", port]
    done = run_script("gdispy", "drain", *words, "big: the lab")
    assert (done.returncode, done.stdout) == (0, f"big: the lab at {place(node)}: drained\n".encode()), done.stderr
    done = run_script("gdispy", "undrain", *words, "the lab")
    assert done.returncode == 2 and b"the lab: no such node was found" in done.stderr
    done = run_script("gdispy", "undrain", "--only", *words, "the lab")
    assert done.returncode == 2 and b"not searched for with --only" in done.stderr
