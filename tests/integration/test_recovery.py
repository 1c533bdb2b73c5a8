"""Programs that are killed: their jobs go on, and are found again, each once."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, JobCluster, JournalError, fault_recover_jobs, recover_jobs
from tests.support.crashing import Program, begun, count_outcomes, damage
from tests.support.daemons import Daemon, run_python
from tests.support.waiting import eventually


class Place:
    """One test's directory: its programs, its recovery file, its log."""

    def __init__(self, directory: Path, secret_file: str) -> None:
        self.directory = directory
        self.secret_file = secret_file
        self.file = directory / "jobs.recover"
        self.log = directory / "begun"
        self.gate = directory / "gate"
        self.programs: list[Program] = []

    def program(self, node: Daemon, jobs: int = 12, seconds: float = 0.05, **todo: Any) -> Program:
        options: dict[str, Any] = {"nodes": [node.place], "secret_file": self.secret_file}
        options["fault_recover"] = str(self.file)
        options |= {"pulse_interval": 0.5, **todo.pop("options", {})}
        todo = {"jobs": jobs, "seconds": seconds, "log": str(self.log), "options": options, **todo}
        self.programs.append(Program(self.directory, **todo))
        return self.programs[-1]

    def recover_all(self) -> list[DispyJob]:
        """What comes back until nothing runs any more; jobs that were never begun, too."""
        found: list[DispyJob] = []

        def nothing_runs() -> bool:
            jobs = fault_recover_jobs(str(self.file), secret_file=self.secret_file) if self.file.exists() else []
            found.extend(job for job in jobs if job.status != DispyJob.Running)
            return not any(job.status == DispyJob.Running for job in jobs)

        eventually(nothing_runs, 30, "jobs run for ever")
        return found


@pytest.fixture
def place(tmp_path: Path, secret_file: str) -> Iterator[Place]:
    place = Place(tmp_path, secret_file)
    yield place
    for program in place.programs:
        program.end()


@pytest.mark.parametrize("count", [0, 1, 5, 11])
def test_each_job_of_a_killed_program_comes_back_once(place: Place, node: Daemon, count: int) -> None:
    # Given a program that is killed when so many of its jobs have begun.
    place.program(node).kill_when(count)
    # When what is left is collected.
    jobs = place.recover_all()
    # Then each job is there once, as it was called, and none ran twice.
    assert sorted(job.id for job in jobs) == sorted(f"job {number}" for number in range(12))
    for job in jobs:
        number = int(job.id.split()[1])
        assert job.args[:1] == (number,)
        if job.status != DispyJob.Created:
            assert (job.status, job.result, job.exception) == (DispyJob.Finished, number * number, None)
            assert job.ip_addr == node.place[0]
    assert max(begun(place.log).values(), default=0) <= 1
    assert len(begun(place.log)) == sum(job.status == DispyJob.Finished for job in jobs)


@pytest.mark.parametrize("count", [1, 6])
def test_program_that_is_started_again_goes_on(place: Place, node: Daemon, count: int) -> None:
    place.program(node).kill_when(count)
    rows = place.program(node, options={"resume": True}).result()
    assert rows == [[f"job {number}", DispyJob.Finished, number * number, None] for number in range(12)]
    assert begun(place.log) == Counter(range(12))
    assert not place.file.exists()


def test_program_killed_again_and_again_gets_done(place: Place, node: Daemon) -> None:
    place.program(node, callback=True).kill_when(3)
    for count in (6, 9):
        place.program(node, options={"resume": True}, callback=True).kill_when(count)
    place.program(node, options={"resume": True}, callback=True).result()
    assert begun(place.log) == Counter(range(12))
    # The callback was told of each, and at most of one twice for each time that the program was killed.
    told = Counter((place.log.parent / "begun.told").read_text().split())
    assert len(told) == 12
    assert sum(told.values()) <= 12 + 3


def test_jobs_that_run_are_told_as_running_and_can_be_ended(place: Place, node: Daemon) -> None:
    program = place.program(node, jobs=3, gate=str(place.gate))
    program.kill_when(2)
    jobs = fault_recover_jobs(str(place.file), secret_file=place.secret_file)
    assert sorted(job.status for job in jobs) == [DispyJob.Created, DispyJob.Running, DispyJob.Running]
    for job in jobs:
        if job.status == DispyJob.Running:
            assert job.ip_addr == node.place[0] and 0 <= time.time() - job.start_time < 60
        else:  # It is returned once: nothing will come of it.
            assert job.exception.startswith("No node had started the job when its program ended")
    again = recover_jobs(str(place.file), timeout=0.1, secret_file=place.secret_file)
    assert [job.status for job in again] == [DispyJob.Running, DispyJob.Running]
    began = time.monotonic()
    ended = recover_jobs(str(place.file), terminate_pending=True, secret_file=place.secret_file)
    assert [job.status for job in ended] == [DispyJob.Terminated, DispyJob.Terminated]
    assert time.monotonic() - began < 10
    assert not place.file.exists()


def test_job_whose_placement_may_be_lost_is_not_said_to_have_never_begun(place: Place, node: Daemon) -> None:
    place.program(node).kill_when(6)
    damage(place.file, place.file.stat().st_size // 2)
    ran = begun(place.log)
    for job in recover_jobs(str(place.file), timeout=30, secret_file=place.secret_file):
        assert job.status in (DispyJob.Finished, DispyJob.Abandoned)
        if job.status == DispyJob.Abandoned:
            assert "damaged" in job.exception and "may or may not have run" in job.exception
        else:
            assert int(job.id.split()[1]) in ran


def test_recovery_waits_for_jobs_that_run(place: Place, node: Daemon) -> None:
    place.program(node, jobs=2, seconds=1.0).kill_when(2)
    jobs = recover_jobs(str(place.file), timeout=30, secret_file=place.secret_file)
    assert sorted(job.result for job in jobs) == [0, 1]
    assert not place.file.exists()


def test_node_that_cannot_be_reached_is_named_and_its_jobs_stay(
    place: Place, start_node: Callable[..., Daemon], caplog: pytest.LogCaptureFixture
) -> None:
    node = start_node("--cpus", "2")
    place.program(node, jobs=4, gate=str(place.gate)).kill_when(2)
    node.kill()
    began = time.monotonic()
    jobs = fault_recover_jobs(str(place.file), secret_file=place.secret_file)
    assert time.monotonic() - began < 5
    host, port = node.place
    assert list(jobs.unreachable) == [f"{host}:{port}"]
    assert f"{host}:{port} cannot be reached" in caplog.text
    assert sorted(job.status for job in jobs) == [DispyJob.Created] * 2 + [DispyJob.Running] * 2
    assert place.file.exists()
    # When another node is at that place, then it says that it knows nothing of them.
    start_node("-p", str(port))
    assert [job.status for job in place.recover_all()] == [DispyJob.Abandoned] * 2


def test_results_survive_client_and_node(place: Place, start_node: Callable[..., Daemon]) -> None:
    # Given a client that is killed, jobs that end without it, and then the node is killed as well.
    prefix = str(place.directory / "own")
    node = start_node("--cpus", "2", "--dest_path_prefix", prefix)
    place.program(node, jobs=2, gate=str(place.gate)).kill_when(2)
    place.gate.touch()
    spool = Path(prefix, "spool")
    eventually(lambda: count_outcomes(*spool.iterdir()) == 2, 20, "not both results are written down")
    eventually(lambda: "disconnected" in node.log.read_text(), 20, "the node does not notice")
    node.kill()
    # When the node is started again, then the results are there.
    start_node("-p", str(node.place[1]), "--dest_path_prefix", prefix)
    found = place.recover_all()
    assert sorted((job.status, job.result) for job in found) == [(11, 0), (11, 1)]
    assert not place.file.exists()
    eventually(lambda: not list(spool.iterdir()), 10, "what was collected stays")


def test_client_that_was_overtaken_while_it_slept_loses_its_jobs(place: Place, node: Daemon) -> None:
    # Given a program that is stopped, and a copy of its file with which somebody else collects its jobs.
    program = place.program(node, jobs=4, gate=str(place.gate))
    eventually(lambda: sum(program.begun().values()) >= 2, 20, "no jobs begin")
    program.signal(signal.SIGSTOP)
    copy = place.directory / "copy"
    shutil.copy(place.file, copy)
    place.gate.touch()
    jobs = recover_jobs(str(copy), timeout=30, secret_file=place.secret_file)
    assert sorted(job.result for job in jobs if job.status == DispyJob.Finished) == [0, 1]
    # When the program wakes up, then it learns that its jobs are not its any more, and runs none of them again.
    program.signal(signal.SIGCONT)
    rows = program.result()
    assert {row[1] for row in rows} <= {DispyJob.Abandoned, DispyJob.Finished}
    assert any("taken over" in (row[3] or "") for row in rows)
    assert max(begun(place.log).values()) == 1


def test_program_that_fails_leaves_its_jobs(place: Place, node: Daemon) -> None:
    program = place.program(node, jobs=2, seconds=0.3, then="fail")
    assert program.process.wait(20) == 1
    assert "continue without this program" in program.error.read_text()
    jobs = recover_jobs(str(place.file), timeout=20, secret_file=place.secret_file)
    assert len(jobs) == 2


def test_file_goes_with_the_cluster_and_true_names_one(
    cluster: Callable[..., JobCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = cluster(abs, fault_recover=True)
    assert first.submit(-3)() == 3
    (file,) = tmp_path.glob("_dispy_fault_recover_*")
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(JournalError, match="in use by process"):
        fault_recover_jobs(str(file))
    first.close()
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_used_are_refused_at_once(
    cluster: Callable[..., JobCluster], place: Place, node: Daemon, tmp_path: Path
) -> None:
    place.program(node, jobs=2, gate=str(place.gate)).kill_when(1)
    with pytest.raises(ConfigError, match="is about compute, and this computation is abs"):
        cluster(abs, fault_recover=str(place.file), resume=True)
    with pytest.raises(ConfigError, match="requires the path"):
        cluster(abs, fault_recover=True, resume=True)
    with pytest.raises(JournalError, match="does not exist"):
        fault_recover_jobs(str(tmp_path / "no"))
    (tmp_path / "text").write_text("something else")
    with pytest.raises(JournalError, match="not a journal"):
        fault_recover_jobs(str(tmp_path / "text"))
    place.gate.touch()
    assert place.recover_all()


def test_detached_jobs_are_found_again(cluster: Callable[..., JobCluster], tmp_path: Path, secret_file: str) -> None:
    with pytest.raises(ConfigError, match="fault_recover"):
        cluster(abs).detach()
    first = cluster(abs, fault_recover=str(tmp_path / "jobs"))
    jobs = [first.submit(-number) for number in range(3)]
    assert jobs[2]() == 2
    assert first.detach() == str(tmp_path / "jobs")
    found = recover_jobs(str(tmp_path / "jobs"), timeout=10, secret_file=secret_file)
    assert sorted(job.result for job in found if job.status == DispyJob.Finished)[-1] == 2
    assert len(found) == 3


_FULL = """
import resource, signal, sys, gdispy
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
host, port, secret, path = sys.argv[1:]
cluster = gdispy.JobCluster(len, nodes=[(host, int(port))], secret_file=secret, fault_recover=path)
jobs = []
try:
    for number in range(100):
        jobs.append(cluster.submit(b"a" * 1000))
except gdispy.JournalError as error:
    print(len(jobs), error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print([job() for job in jobs].count(1000))
jobs.append(cluster.submit(b"a" * 1000))
print(jobs[-1]())
cluster.close()
"""


def test_full_disk_is_told_at_submit_and_what_runs_goes_on(node: Daemon, secret_file: str, tmp_path: Path) -> None:
    done = run_python(_FULL, *node.place, secret_file, tmp_path / "jobs")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 3, done.stderr.decode()
    count = int(lines[0].split()[0])
    assert 5 < count < 25
    assert "cannot be written: File too large" in lines[0]
    assert lines[1:] == [str(count), "1000"]


# The program's own node, failures, and names that are used again


def test_jobs_of_the_programs_own_node_run_again(place: Place, node: Daemon) -> None:
    # Given a program that is killed, and with it the node that runs its jobs.
    own = {"nodes": [("local", None)]}
    place.program(node, jobs=4, gate=str(place.gate), options=own).kill_when(1)
    place.gate.touch()
    # When it is started again, then no job is abandoned, and what had begun is begun once more.
    rows = place.program(node, jobs=4, gate=str(place.gate), options={**own, "resume": True}).result()
    assert rows == [[f"job {number}", DispyJob.Finished, number * number, None] for number in range(4)]
    assert {number: count for number, count in begun(place.log).items() if count > 1}
    assert not place.file.exists()


FAILING = """
import os, sys, gdispy

def work(number, gate):
    import os
    if number % 4 == 3 and not os.path.exists(gate):
        raise ValueError(number)
    with open(gate + ".runs", "a") as log:
        log.write("%d\\n" % number)
    return number

if __name__ == "__main__":
    file, gate, resume = sys.argv[1:]
    options = {"resume": {"": False, "True": True, "failed": "failed"}[resume]}
    with gdispy.JobCluster(work, nodes=["local"], fault_recover=file, **options) as cluster:
        jobs = [cluster.submit(number, gate) for number in range(8)]
        print([job() for job in jobs])
"""


def test_file_stays_until_each_job_has_a_result(tmp_path: Path) -> None:
    file, gate = tmp_path / "jobs.recover", tmp_path / "gate"

    def run(resume: str) -> tuple[str, str]:
        ended = run_python(FAILING, file, gate, resume)
        return ended.stdout.decode().strip(), ended.stderr.decode()

    # Given jobs of which some fail: the file stays, and says so.
    results, words = run("")
    assert results == "[0, 1, 2, None, 4, 5, 6, None]"
    assert f"2 of 8 jobs have no result, so {file} is kept; with resume='failed' the program runs them again" in words
    # With resume=True they have failed once and for all.
    gate.touch()
    assert run("True")[0] == results and file.exists()
    # With resume='failed' they run again, and only those.
    assert run("failed")[0] == "[0, 1, 2, 3, 4, 5, 6, 7]"
    assert not file.exists()
    runs = Counter((tmp_path / "gate.runs").read_text().split())
    assert runs == Counter(map(str, range(8)))


INTERRUPTED = """
import os, signal, sys, gdispy

def work(number, gate):
    import os, time
    open(f"{gate}.{number}", "a").write("x")
    until = time.monotonic() + 30
    while number > 2 and not os.path.exists(gate) and time.monotonic() < until:
        time.sleep(0.01)
    return number

if __name__ == "__main__":
    file, gate, resume = sys.argv[1:]
    with gdispy.JobCluster(work, nodes=["local"], fault_recover=file, resume=bool(resume)) as cluster:
        jobs = [cluster.submit(number, gate) for number in range(20)]
        if not resume:
            for job in jobs[:3]:
                job()
            while not os.path.exists(f"{gate}.3"):
                jobs[19].wait(0.01)
            os.kill(os.getpid(), signal.SIGINT)
        print([job() for job in jobs])
"""


def test_a_program_that_was_interrupted_takes_up_where_it_stopped(tmp_path: Path) -> None:
    file, gate = tmp_path / "jobs.recover", tmp_path / "gate"
    ended = run_python(INTERRUPTED, file, gate, "")
    assert ended.returncode != 0 and file.exists()
    text = "17 jobs have not ended, and end with this program, whose private node ran them. To continue, start the "
    assert f"{text}program again with resume=True; the recovery file is {file}" in ended.stderr.decode()
    gate.touch()
    again = run_python(INTERRUPTED, file, gate, "yes")
    assert (again.stdout.decode(), again.returncode) == (f"{list(range(20))}\n", 0), again.stderr
    # What had ended was not run again, and what had begun without an end was.
    runs = [(tmp_path / f"gate.{number}").read_text() for number in range(20)]
    assert runs[:4] == ["x", "x", "x", "xx"] and not file.exists()


def test_cancelled_jobs_do_not_keep_the_file(cluster: Callable[..., JobCluster], tmp_path: Path) -> None:
    file = tmp_path / "jobs.recover"
    made = cluster(time.sleep, fault_recover=str(file))
    assert made.cancel(made.submit(60)) == 0
    made.close()
    assert not file.exists()


def test_file_of_a_former_program_with_the_same_name_is_put_aside(
    cluster: Callable[..., JobCluster], place: Place, node: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    place.program(node, jobs=2, gate=str(place.gate)).kill_when(1)
    place.gate.touch()
    made = cluster(abs, fault_recover=str(place.file))
    assert made.submit(-3)() == 3
    made.close()
    aside = Path(f"{place.file}.1")
    assert aside.exists() and not place.file.exists()
    assert f"holds 2 jobs of a program that has ended, and is called {aside.name} from now on" in caplog.text
    jobs = recover_jobs(str(aside), timeout=30, secret_file=place.secret_file)
    assert sorted(job.result for job in jobs) == [0, 1]


def test_recovering_where_there_is_nothing_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recover_jobs() == [] and "no recovery file _dispy_* was found in" in caplog.text
    assert recover_jobs("nofile") == [] and "nofile does not exist" in caplog.text
    Path("junk").write_text("junk")
    assert recover_jobs("junk") == [] and "junk is not a journal" in caplog.text


@pytest.mark.parametrize("resume", [1, "yes", None])
def test_resume_that_means_nothing_is_refused(cluster: Callable[..., JobCluster], tmp_path: Path, resume: Any) -> None:
    with pytest.raises(ConfigError, match="resume must be True, False or 'failed'"):
        cluster(abs, fault_recover=str(tmp_path / "file"), resume=resume)
