"""`gdispy report` and `cluster.report`, with real runs; the page is opened in a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gdispy
from tests.support.daemons import Daemon, lacking, run_script

Start = Callable[..., Daemon]

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--disable-sync")


def divide(n: int) -> float:
    return 1 / n


def meet(directory: str, number: int) -> int:
    """Wait for the other job, which must run at the same time; fails without the directory."""
    import os

    from tests.support.jobs import wait_for_file

    open(os.path.join(directory, str(number)), "w").close()
    wait_for_file(os.path.join(directory, str(1 - number)))
    return number


def shown(page: Path, tmp_path: Path) -> str:
    """The page as a browser has read it."""
    browser = shutil.which("chromium")
    if browser is None:
        lacking("there is no chromium")
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def test_report_of_a_run_has_all_its_jobs(tmp_path: Path) -> None:
    with gdispy.JobCluster(divide, nodes="local") as cluster:
        for number in range(3000):
            cluster.submit(number % 100)
        cluster.wait()
        cluster.report(tmp_path / "run.json")
    for name in ("run.html", "run.trace.json"):
        cluster.report(tmp_path / name)
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["jobs"] == 3000 and found["failures"] == {"ZeroDivisionError: division by zero": 30}
    trace = json.loads((tmp_path / "run.trace.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in trace) == 3000
    assert "3,000 jobs in" in shown(tmp_path / "run.html", tmp_path)


def test_report_of_a_recovery_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.recover"
    with gdispy.JobCluster(divide, nodes="local", fault_recover=path) as cluster:
        for number in range(10):
            cluster.submit(number % 5)
    assert path.exists()  # Two jobs have no result.
    done = run_script("gdispy", "report", path, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["jobs"], found["outcomes"]["Terminated"]) == (0, 10, 2)
    assert found["waiting"]["count"] == 10 and 0 <= found["waiting"]["max"] < 60
    done = run_script("gdispy", "report", path)
    assert done.stdout.decode() == f"{path}.html\n" and "10 jobs in" in (tmp_path / "jobs.recover.html").read_text()
    done = run_script("gdispy", "report", path, "--trace", tmp_path / "x.trace.json", "--computation", "divide")
    assert done.returncode == 0 and json.loads((tmp_path / "x.trace.json").read_text())["traceEvents"]


@pytest.mark.parametrize("is_shared", [True, False])
def test_nodes_of_one_machine_are_two_in_all_reports(
    start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path, is_shared: bool
) -> None:
    nodes = [start_node("--cpus", "1").place for _ in range(2)]
    options: dict[str, Any] = {"fault_recover": tmp_path / "jobs.recover", "secret_file": secret_file}
    kind: Any = gdispy.SharedJobCluster if is_shared else gdispy.JobCluster
    if is_shared:
        host, port = start_scheduler(*[word for host, port in nodes for word in ("-n", f"{host}:{port}")]).place
        options |= {"scheduler_node": host, "scheduler_port": port}
    else:
        options["nodes"] = nodes
    files = tmp_path / "files"
    files.mkdir()
    with kind(meet, **options) as cluster:
        assert [job() for job in [cluster.submit(str(files), number) for number in range(2)]] == [0, 1]
        # A result is missing, or the file would be removed.
        assert cluster.submit(str(tmp_path / "none"), 0)() is None
    cluster.report(tmp_path / "run.json")
    done = run_script("gdispy", "report", tmp_path / "jobs.recover", "--json")
    for text in (done.stdout, (tmp_path / "run.json").read_text()):
        found = json.loads(text)["nodes"]
        first, second = sorted(found)
        assert second == f"{first} (2)" and [node["cpus_used"] for node in found.values()] == [1, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.recover"], "none.recover"),
        (["jobs.recover", "-o", "run.txt"], "whose name ends with .html"),
        (["jobs.recover", "--trace", "run.json"], "ends with .trace.json"),
        (["jobs.recover", "--computation", "other"], "has no computation named other"),
    ],
)
def test_bad_input_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with gdispy.JobCluster(divide, nodes="local", fault_recover=tmp_path / "jobs.recover") as cluster:
        cluster.submit(0)
    done = run_script("gdispy", "report", *words, cwd=tmp_path)
    assert done.returncode in (1, 2) and message in done.stderr.decode()
