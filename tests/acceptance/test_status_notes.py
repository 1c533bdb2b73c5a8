"""`gdispy status` tells why jobs wait and why nodes take none; `--watch` repeats it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gdispy import SharedJobCluster
from tests.support.daemons import SCRIPTS, Daemon, run_script
from tests.support.jobs import wait_for_file
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


def status(scheduler: Daemon, secret_file: str) -> dict[str, list[object]]:
    place = f"{scheduler.place[0]}:{scheduler.place[1]}"
    done = run_script("gdispy", "status", "--json", "--secret-file", secret_file, place)
    found: dict[str, list[object]] = json.loads(done.stdout)
    return found


def test_reasons_are_told_for_computations_nodes_and_addresses(
    start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path
) -> None:
    node = start_node("--cpus", "1")
    place = f"{node.place[0]}:{node.place[1]}"
    scheduler = start_scheduler("-n", place, "-n", "127.0.0.1:1")
    host, port = scheduler.place
    with SharedJobCluster(wait_for_file, scheduler_node=host, scheduler_port=port, secret_file=secret_file) as cluster:
        jobs = [cluster.submit(str(tmp_path / "go")) for _ in range(3)]

        def notes() -> str:
            return "\n".join(map(str, status(scheduler, secret_file)["notes"]))

        assert eventually(lambda: "wait_for_file waits for a free CPU: 1 of 1 CPUs" in notes())
        assert "127.0.0.1:1: no gdispy-node is listening" in notes()
        run_script("gdispy", "drain", "--timeout", "0", "--only", "--secret-file", secret_file, place)
        assert eventually(lambda: f"{place}: draining" in notes())
        run_script("gdispy", "undrain", "--only", "--secret-file", secret_file, place)
        (tmp_path / "go").touch()
        assert [job() for job in jobs] == [None] * 3
        assert eventually(lambda: "waits for" not in notes() and "draining" not in notes())


def test_watching_goes_on_until_ctrl_c_also_while_the_scheduler_is_away(
    start_scheduler: Start, secret_file: str
) -> None:
    scheduler = start_scheduler()
    place = f"{scheduler.place[0]}:{scheduler.place[1]}"
    command = [sys.executable, str(SCRIPTS / "gdispy"), "status", "--watch", "0.2", "--secret-file", secret_file, place]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert watcher.stdout is not None
        for _ in range(2):
            assert eventually(lambda: "Computation" in (watcher.stdout.readline() if watcher.stdout else ""))
        scheduler.kill()
        assert eventually(lambda: "127.0.0.1" in (watcher.stdout.readline() if watcher.stdout else ""))
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(20) == 0
    finally:
        if watcher.poll() is None:
            watcher.kill()
        watcher.communicate(timeout=10)


def test_interval_is_checked(secret_file: str) -> None:
    done = run_script("gdispy", "status", "--watch", "0", "--secret-file", secret_file, "127.0.0.1:1")
    assert done.returncode == 2 and b"--watch takes a number of seconds, at least 0.1" in done.stderr
