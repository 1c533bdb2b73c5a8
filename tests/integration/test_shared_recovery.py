"""A shared scheduler that is killed, clients that leave: jobs end once, and are found again."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, SharedJobCluster, fault_recover_jobs, recover_jobs
from tests.support.crashing import Program, begun, damage
from tests.support.daemons import Daemon, run_script
from tests.support.jobs import read_at_gate
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


class Site:
    """A node, a scheduler with a journal that can be killed and started again, and programs."""

    def __init__(self, directory: Path, secret_file: str, node: Daemon, start: Callable[..., Daemon]) -> None:
        self.directory, self.secret_file, self.node = directory, secret_file, node
        self.journal, self.log = directory / "journal", directory / "begun"
        self.gate = directory / "gate"
        self._start_daemon = start
        self.scheduler = self._start("0")
        self.programs: list[Program] = []

    def _start(self, port: str) -> Daemon:
        where = ("-p", port, "-n", "{}:{}".format(*self.node.place), "--journal", str(self.journal))
        return self._start_daemon(*where, "--pulse_interval", "0.5")

    @property
    def place(self) -> str:
        return "{}:{}".format(*self.scheduler.place)

    def restart(self) -> None:
        """Kill the scheduler and start it again, at the same place."""
        self.kill()
        self.start()

    def kill(self) -> None:
        self.scheduler.kill()
        self.scheduler.process.wait(10)

    def start(self) -> None:
        self.scheduler = self._start(str(self.scheduler.place[1]))

    def program(self, jobs: int = 30, seconds: float = 0.05, **todo: Any) -> Program:
        options = {"scheduler_node": self.place, "secret_file": self.secret_file, **todo.pop("options", {})}
        todo = {"jobs": jobs, "seconds": seconds, "log": str(self.log), "options": options, **todo}
        self.programs.append(Program(self.directory, kind="SharedJobCluster", **todo))
        return self.programs[-1]

    def computations(self) -> list[Any]:
        """What the scheduler has of programs."""
        words = (self.place, "--secret-file", self.secret_file, "--json")
        return list(json.loads(run_script("gdispy", "status", *words).stdout)["computations"])

    def await_begun(self, count: int) -> None:
        eventually(lambda: sum(begun(self.log).values()) >= count, 20, "too few jobs begin")


@pytest.fixture
def site(tmp_path: Path, secret_file: str, node: Daemon, start_scheduler: Callable[..., Daemon]) -> Iterator[Site]:
    site = Site(tmp_path, secret_file, node, start_scheduler)
    yield site
    for program in site.programs:
        program.end()


def finished(count: int) -> list[list[Any]]:
    return [[f"job {number}", DispyJob.Finished, number * number, None] for number in range(count)]


@pytest.mark.parametrize("counts", [[0], [1, 15], [5, 10, 20]])
def test_killed_scheduler_loses_no_job_and_runs_none_twice(site: Site, counts: list[int]) -> None:
    program = site.program()
    for count in counts:
        site.await_begun(count)
        site.restart()
    assert program.result() == finished(30)
    assert begun(site.log) == Counter(range(30))


def test_client_and_scheduler_are_killed_together(site: Site) -> None:
    file = site.directory / "jobs"
    program = site.program(options={"fault_recover": str(file)})
    site.await_begun(8)
    program.kill()
    site.restart()
    jobs = recover_jobs(str(file), timeout=30, secret_file=site.secret_file)
    assert sorted(int(job.id.split()[1]) for job in jobs) == list(range(30))
    assert all(job.result == job.args[0] ** 2 for job in jobs)
    assert begun(site.log) == Counter(range(30))
    assert not file.exists()


def test_program_that_is_started_again_goes_on(site: Site) -> None:
    file = site.directory / "jobs"
    site.program(options={"fault_recover": str(file)}).kill_when(8)
    program = site.program(options={"fault_recover": str(file), "resume": True})
    assert program.result() == finished(30)
    assert begun(site.log) == Counter(range(30))


def test_recovery_of_a_program_that_died_with_all_results_leaves_nothing_behind(site: Site) -> None:
    # Given a program that knows all outcomes, and dies before it can say so.
    file = site.directory / "jobs"
    assert site.program(jobs=4, options={"fault_recover": str(file)}, then="vanish").result() == finished(4)
    assert len(site.computations()) == 1
    # When its jobs are recovered, then the scheduler forgets the computation, too.
    jobs = recover_jobs(str(file), timeout=20, secret_file=site.secret_file)
    assert sorted(job.result for job in jobs) == [0, 1, 4, 9]
    eventually(lambda: not site.computations(), 10)
    assert not file.exists()


def test_jobs_whose_records_are_lost_come_back_from_the_scheduler(site: Site) -> None:
    # Given a recovery file of which all but the beginning is lost, and a scheduler that has all jobs.
    file = site.directory / "jobs"
    site.program(jobs=20, gate=str(site.gate), options={"fault_recover": str(file)}).kill_when(2)
    damage(file, 500)
    site.gate.touch()
    # When the jobs are collected, then none is forgotten, whether the file names it or not.
    jobs = recover_jobs(str(file), timeout=30, secret_file=site.secret_file)
    assert sorted(job.result for job in jobs) == [number**2 for number in range(20)]
    assert begun(site.log) == Counter(range(20))
    eventually(lambda: not site.computations(), 10)


def test_jobs_that_were_left_are_found_with_the_text(site: Site) -> None:
    # Given a program that leaves its jobs to the scheduler, which is then killed.
    gate = site.directory / "gate"
    token = site.program(then="detach", gate=str(gate)).result()
    site.restart()
    gate.touch()
    # When somebody who has the text asks, then the jobs are there, by the names that they were given.
    now = fault_recover_jobs(token, secret_file=site.secret_file)
    rest = recover_jobs(token, timeout=30, secret_file=site.secret_file)
    ended = [job for job in [*now, *rest] if job.status == DispyJob.Finished]
    assert len(ended) == 30
    assert {job.id: job.result for job in ended} == {f"job {number}": number * number for number in range(30)}
    assert begun(site.log) == Counter(range(30))
    # And then they are gone there.
    assert fault_recover_jobs(token, secret_file=site.secret_file) == []


def test_whoever_has_not_the_text_gets_nothing(site: Site) -> None:
    token = site.program(jobs=2, then="detach").result()
    wrong = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    jobs: list[DispyJob] = []
    with contextlib.suppress(ValueError):
        jobs = fault_recover_jobs(wrong, secret_file=site.secret_file)
    assert jobs == []
    assert len(recover_jobs(token, timeout=20, secret_file=site.secret_file)) == 2


def test_two_schedulers_do_not_share_a_journal(site: Site) -> None:
    words = ["--daemon", "-p", "0", "--journal", site.journal, "--secret-file", site.secret_file]
    done = run_script("gdispy-scheduler", *words)
    assert done.returncode == 1
    assert b"in use by process" in done.stderr


def test_files_of_a_client_survive_the_scheduler(site: Site, start_node: Callable[..., Daemon], tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("forty-two")

    gate = str(site.gate)
    options = {"scheduler_node": site.place, "secret_file": site.secret_file, "depends": [str(tmp_path / "data.txt")]}
    with SharedJobCluster(read_at_gate, **options) as cluster:
        jobs = [cluster.submit("data.txt", gate) for _ in range(4)]
        eventually(lambda: any(job.status == DispyJob.Running for job in jobs), 20)
        site.restart()
        # A node that is there for the first time needs the file from the scheduler.
        other = start_node("--cpus", "2")
        cluster.allocate_node("{}:{}".format(*other.place))
        site.gate.touch()
        assert [job.result_or_raise() for job in jobs] == ["forty-two"] * 4


def test_journal_can_be_read_by_people(site: Site) -> None:
    program = site.program(jobs=3, gate=str(site.gate))
    site.await_begun(2)
    shown = run_script("gdispy", "journal", "--jobs", site.journal / "journal").stdout.decode()
    assert "kept by a scheduler" in shown
    assert "2 on a node, 1 not begun" in shown
    assert "job 3: not begun" in shown
    told = json.loads(run_script("gdispy", "journal", "--json", site.journal / "journal").stdout)
    assert [job["state"] for job in told["computations"][0]["jobs"]] == ["on a node", "on a node", "not begun"]
    site.gate.touch()
    assert program.result() == finished(3)
    assert b"Placed" in run_script("gdispy", "journal", "--facts", site.journal / "journal").stdout
    wrong = run_script("gdispy", "journal", site.log)
    assert wrong.returncode == 1
    assert b"is not a journal of gdispy" in wrong.stderr


def test_program_that_is_started_while_the_scheduler_is_away_behind_a_forwarder_is_served_soon_after(
    site: Site,
) -> None:
    # The forwarder takes the connection and closes it, which is all that a scheduler with another secret does.
    with Proxy(site.scheduler.place) as forwarder:
        site.kill()
        options = {"scheduler_node": "{}:{}".format(*forwarder.place), "secret_file": site.secret_file}
        with SharedJobCluster(abs, **options) as cluster:
            job = cluster.submit(-7)
            eventually(lambda: forwarder.turned_away >= 4, 15, "it is tried rarely")
            assert "its secret differs" in " ".join(cluster.status().problems)
            site.start()
            assert job.wait(10)
            assert job.result == 7
