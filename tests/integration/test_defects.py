"""gdispy itself fails: that is said, and nobody waits for what will not come."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gdispy import DispyJob, JobCluster, SharedJobCluster
from gdispy.errors import InternalError
from gdispy.journal.format import read
from tests.support.daemons import Daemon, ended
from tests.support.jobs import wait_for_go
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]

#: Seconds until a test gives up.
LIMIT = 20


class Faulty(NamedTuple):
    process: subprocess.Popen[str]
    log: Path
    make: Callable[..., SharedJobCluster]


def say_and_wait(name: str) -> str:
    print("here")
    return wait_for_go(name)


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("planted")


def break_the_schedulers_rules(made: JobCluster, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(made._engine.scheduler.rules, "receive_from_client", fail)


def break_the_clients_rules(made: JobCluster, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(made._engine._session, "submit", fail)


def break_what_the_client_does(made: JobCluster, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(made._engine.table, "_printed", fail)


@pytest.mark.parametrize(
    "plant",
    [break_the_schedulers_rules, break_the_clients_rules, break_what_the_client_does],
    ids=lambda each: each.__name__,
)
def test_all_who_wait_are_told(
    cluster: Make,
    plant: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = cluster(say_and_wait, fault_recover=str(tmp_path / "recover"))
    begun = made.submit(str(tmp_path / "a"))
    eventually(lambda: begun.status == DispyJob.Running)
    plant(made, monkeypatch)
    later = made.submit(str(tmp_path / "b"))
    (tmp_path / "a.go").touch()
    (tmp_path / "b.go").touch()
    for job in (begun, later):
        assert job.wait(LIMIT)
        assert job.status == DispyJob.Abandoned
        assert "gdispy has failed" in job.exception and "planted" in job.exception
    assert made.wait(LIMIT)
    with pytest.raises(InternalError, match="gdispy has failed"):
        made.submit("c")
    assert "planted" in str(made.status().problems)
    assert made.close(timeout=LIMIT)
    assert "a defect" in caplog.text and "planted" in caplog.text
    # What became of them may be found by the next life of the program.
    assert len(next(iter(read(str(tmp_path / "recover")).remembered.histories.values())).jobs) == 2


#: A scheduler in which one part fails: the placing of jobs, which serves all; or the handling of one client's jobs.
SCHEDULER = """
import gevent.events, gevent.monkey
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)
import sys
from gdispy.cli import scheduler_main
from gdispy.protocol.messages import Run
from gdispy.rules.scheduler.client_requests import ClientRequests
from gdispy.rules.scheduler.placement import Placement

def fail(*_):
    raise ZeroDivisionError("planted")

run, serve = ClientRequests.HANDLERS[Run], Placement._serve

def run_or_fail(self, peer, message, now):
    nodes = self._state.computations[message.computation].open.nodes
    return fail() if nodes == ["127.0.0.*"] else run(self, peer, message, now)

def serve_or_fail(self, computation):
    return fail() if computation.prepare.name == "gcd" else serve(self, computation)

ClientRequests.HANDLERS[Run], Placement._serve = run_or_fail, serve_or_fail
sys.exit(scheduler_main())
"""


@pytest.fixture
def faulty(secret_file: str, node: Daemon, tmp_path: Path) -> Iterator[Faulty]:
    """A scheduler with one node, and clusters of it by their functions."""
    words = ("-i", "127.0.0.1", "-p", "0", "--secret-file", secret_file, "-n", f"127.0.0.1:{node.place[1]}")
    log = tmp_path / "log"
    with open(log, "w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SCHEDULER, *words], stdout=subprocess.PIPE, stderr=file, text=True
        )
    made: list[SharedJobCluster] = []

    def make(function: Callable[..., Any], nodes: str = "*") -> SharedJobCluster:
        where = {"scheduler_node": host, "scheduler_port": int(port), "secret_file": secret_file}
        made.append(SharedJobCluster(function, nodes=nodes, **where))
        return made[-1]

    try:
        assert process.stdout is not None
        host, port = process.stdout.readline().split()[1].rsplit(":", 1)
        yield Faulty(process, log, make)
    finally:
        for each in made:
            each.close(timeout=0, terminate=True)
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_shared_scheduler_ends_so_that_it_is_started_again(faulty: Faulty) -> None:
    job = faulty.make(math.gcd).submit(4, 6)
    assert faulty.process.wait(LIMIT) not in (0, None)
    assert "a defect" in faulty.log.read_text() and "planted" in faulty.log.read_text()
    assert job.status not in (DispyJob.Finished, DispyJob.Terminated)


def test_a_message_that_cannot_be_handled_ends_the_jobs_of_its_client_only(faulty: Faulty) -> None:
    before = faulty.make(abs)
    assert before.submit(-1)() == 1
    failing = faulty.make(math.factorial, "127.0.0.*")
    for number in (3, 4):  # Now, and as they come.
        job = failing.submit(number)
        assert job.wait(LIMIT) and job.status == DispyJob.Abandoned
        assert "Run could not be handled (ZeroDivisionError: planted)" in job.exception
    assert before.submit(-2)() == 2
    assert faulty.process.poll() is None
    assert faulty.log.read_text().count("Traceback") == 1


#: A node that fails to do what its rules ask for, for some functions.
NODE = """
import gevent.events, gevent.monkey
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)
import sys
from gdispy.cli import node_main
from gdispy.execution.process_manager import ProcessManager

load, new_worker, hand = ProcessManager.load, ProcessManager.new_worker, ProcessManager.hand

def load_or_fail(self, prepare, arrived):
    return 1 / 0 if prepare.name == "factorial" else load(self, prepare, arrived)

def new_worker_or_fail(self, number, computation):
    template = self._templates[computation.hex()]
    return 1 / 0 if template.prepare.name == "gcd" else new_worker(self, number, computation)

def hand_or_fail(self, number, jobs):
    worker = self._workers.get(number)
    is_lcm = worker is not None and worker.template.prepare.name == "lcm"
    return 1 / 0 if is_lcm else hand(self, number, jobs)

ProcessManager.load, ProcessManager.new_worker, ProcessManager.hand = load_or_fail, new_worker_or_fail, hand_or_fail
sys.exit(node_main())
"""


def test_node_that_cannot_do_what_a_computation_needs_goes_on_with_the_others(secret_file: str, tmp_path: Path) -> None:
    words = ("--daemon", "-p", "0", "--cpus", "1", "--secret-file", secret_file)
    words += ("--dest_path_prefix", str(tmp_path / "prefix"))
    with open(tmp_path / "log", "w") as file:
        process = subprocess.Popen([sys.executable, "-c", NODE, *words], stdout=subprocess.PIPE, stderr=file, text=True)
    with ended(process):
        assert process.stdout is not None
        host, port = process.stdout.readline().split()[1].rsplit(":", 1)
        where = {"nodes": [(host, int(port))], "secret_file": secret_file}
        for function in (math.factorial, math.gcd, math.lcm):
            with JobCluster(function, **where) as made:
                job = made.submit(3)
                assert job.wait(LIMIT), function
                assert job.status == DispyJob.Terminated, job.exception
        with JobCluster(abs, **where) as made:
            assert made.submit(-3)() == 3
        assert process.poll() is None
    assert (tmp_path / "log").read_text().count("ZeroDivisionError") >= 3
