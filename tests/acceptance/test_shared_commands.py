"""gdispy-scheduler, `gdispy --scheduler_node` and `gdispy status`, as they are installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gdispy.protocol.address import Address
from tests.support.daemons import SCRIPTS, Daemon, ended, run_script
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


@pytest.fixture
def place(start_scheduler: Start, node: Daemon) -> str:
    return str(Address(*start_scheduler("-n", str(Address(*node.place))).place))


def test_programs_run_on_the_schedulers_nodes(place: str, secret_file: str, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("in the file\n")
    words = ["--scheduler_node", place, "--secret-file", secret_file, "-f", data, "-a", "data.txt", "/bin/cat"]
    done = run_script("gdispy", *words)
    assert (done.returncode, done.stdout) == (0, b"in the file\n"), done.stderr


def test_two_commands_at_once_share_the_nodes(place: str, secret_file: str) -> None:
    words = ["--scheduler_node", place, "--secret-file", secret_file, "-a", "0.3", "-a", "0.3", "/bin/sleep"]
    command = [sys.executable, str(SCRIPTS / "gdispy"), *words]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    with ended(*both):
        for each in both:
            _, complaint = each.communicate(timeout=30)
            assert each.returncode == 0, complaint


def test_status_shows_nodes_clients_and_jobs(place: str, secret_file: str, node: Daemon) -> None:
    words = ["--scheduler_node", place, "--secret-file", secret_file, *["-a", "60"] * 3, "/bin/sleep"]
    running = subprocess.Popen([sys.executable, str(SCRIPTS / "gdispy"), *words], stderr=subprocess.PIPE)
    try:

        def overview() -> dict[str, list[dict[str, object]]]:
            done = run_script("gdispy", "status", place, "--secret-file", secret_file, "--json")
            assert done.returncode == 0, done.stderr
            found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
            return found

        def both_run() -> bool:
            rows = overview()["computations"]
            return bool(rows) and (rows[0]["on_nodes"], rows[0]["waiting"]) == (2, 1)

        eventually(both_run)
        [row] = overview()["nodes"]
        assert (row["port"], row["cpus"], row["in_use"], row["connected"]) == (node.place[1], 2, 2, True)
        text = run_script("gdispy", "status", place, "--secret-file", secret_file).stdout.decode()
        assert str(Address(*node.place)) in text and "sleep" in text
    finally:
        running.terminate()
        running.communicate(timeout=30)


def test_a_scheduler_that_is_not_there_or_has_another_secret_is_told(place: str, secret_file: str) -> None:
    done = run_script("gdispy", "status", "127.0.0.1:1", "--secret-file", secret_file)
    assert done.returncode == 1 and b"no gdispy-scheduler is listening at 127.0.0.1:1" in done.stderr
    done = run_script("gdispy", "status", place, "--secret", "a phrase that is not the secret")
    assert done.returncode == 1 and b"secret differs" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--fair_cluster_scheduler", "--early_cluster_scheduler"], "contradict each other"),
        (["-p", "99999"], "must be a whole number from 0 to 65535"),
        (["--zombie_interval", "0.5"], "--zombie_interval: it must be between 1"),
        (["--config", "/nowhere"], "/nowhere"),
    ],
)
def test_options_that_make_no_sense_are_refused(words: list[str], complaint: str, secret_file: str) -> None:
    done = run_script("gdispy-scheduler", "--daemon", "--secret-file", secret_file, *words)
    assert done.returncode == 2 and complaint in done.stderr.decode(), done.stderr


def test_options_are_saved_without_secrets_and_read_again(
    secret_file: str, tmp_path: Path, start_scheduler: Start
) -> None:
    path = tmp_path / "options.ini"
    words = ["--cluster_secret", "a secret that must not be saved", "--pulse_interval", "2", "--save_config", path]
    done = run_script("gdispy-scheduler", *words)
    assert done.returncode == 0, done.stderr
    assert "pulse_interval = 2" in path.read_text() and "must not be saved" not in path.read_text()
    start_scheduler("--config", str(path))
