"""`gdispy usage` tells who has used the nodes, also after the scheduler was restarted."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable

from gdispy import SharedJobCluster
from tests.support.daemons import Daemon, run_script
from tests.support.jobs import note_and_wait

Start = Callable[..., Daemon]


def rows(scheduler: Daemon, secret_file: str) -> list[dict[str, object]]:
    place = f"{scheduler.place[0]}:{scheduler.place[1]}"
    done = run_script("gdispy", "usage", "--json", "--secret-file", secret_file, place)
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_jobs_and_cpu_time_of_a_user_are_kept_over_restarts(
    start_node: Start, start_scheduler: Start, secret_file: str
) -> None:
    node = start_node("--cpus", "2")
    words = ("-n", f"{node.place[0]}:{node.place[1]}", "--journal", f"{secret_file}.journal")
    scheduler = start_scheduler(*words)
    assert rows(scheduler, secret_file) == []
    host, port = scheduler.place
    path = f"{secret_file}.notes"
    ways = {"scheduler_node": host, "scheduler_port": port, "secret_file": secret_file}
    with SharedJobCluster(note_and_wait, **ways) as cluster:
        jobs = [cluster.submit(path, 1, 0.2, dispy_cpus=2), cluster.submit(path, 2, 0.2), cluster.submit(path, 3, "x")]
        for job in jobs:
            job()
    [row] = rows(scheduler, secret_file)
    assert (row["user"], row["finished"], row["failed"], row["other"]) == (getpass.getuser(), 2, 1, 0)
    assert isinstance(row["seconds"], float) and 0.55 < row["seconds"] < 60
    scheduler.stop()
    assert rows(start_scheduler(*words), secret_file) == [row]
