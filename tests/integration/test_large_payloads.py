"""Large arguments and results, which a shared scheduler keeps in files beside its journal: whoever is killed, no job is
lost."""

from __future__ import annotations

import inspect
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gdispy import DispyJob, SharedJobCluster, fault_recover_jobs, recover_jobs
from gdispy.journal.format import Facts, read
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Ended, Run
from gdispy.protocol.payload import bulk_size
from gdispy.protocol.wire import WINDOW
from gdispy.rules.history.facts import Placed
from tests.support.crashing import Program, begun
from tests.support.daemons import Daemon, run_script
from tests.support.jobs import wait_until_there
from tests.support.waiting import eventually

Start = Callable[..., Daemon]
Kind = TypeVar("Kind", bound=Message)

KIB = 1024
MIB = 1024 * KIB


def turn_around(number: int, payload: bytes, log: str, gate: str = "", times: int = 1) -> bytes:
    """Runs as a job: notes that it has begun, waits at the gate, and gives the payload back, backwards."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"%d\n" % number)
    os.close(fd)
    if gate:
        wait_until_there(gate)
    return payload[::-1] * times


def make_payload(number: int, size: int) -> bytes:
    """Other bytes for each number, the same ones in each process."""
    return random.Random(number).randbytes(size)


def is_right(job: Any, number: int, size: int, times: int = 1) -> bool:
    """Whether the job has ended with what it should give."""
    return bool(job.status == DispyJob.Finished and job.result == make_payload(number, size)[::-1] * times)


#: argv: what the program is to do, as JSON. It prints one line of JSON at its end, if it comes so far.
_PROGRAM = "\n".join(
    [
        "import json, os, random, sys, time",
        "from typing import Any",
        "import gdispy",
        "from gdispy import DispyJob",
        *[inspect.getsource(each) for each in (wait_until_there, turn_around, make_payload, is_right)],
        """
if __name__ == "__main__":
    todo = json.loads(sys.argv[1])
    cluster = gdispy.SharedJobCluster(turn_around, **todo["options"])
    size, times = todo["size"], todo["times"]
    jobs = []
    for number, gate in enumerate(todo["gates"]):
        values = make_payload(number, size), todo["log"], gate, times
        jobs.append(cluster.submit_job_id(f"job {number}", number, *values))
    print("submitted", flush=True)
    if todo["leaves"]:
        print(json.dumps(cluster.detach()))
        sys.exit()
    cluster.wait()
    cluster.close()
    print(json.dumps([[job.status, is_right(job, number, size, times)] for number, job in enumerate(jobs)]))
""",
    ]
)


class Owner(Program):
    """A program that has such jobs, one for each gate; `Program` says what can be done to it."""

    def __init__(self, directory: Path, **todo: Any) -> None:
        self.log, self.error = Path(todo["log"]), directory / f"owner-{os.urandom(4).hex()}.log"
        path = directory / "owner.py"
        path.write_text(_PROGRAM)
        with open(self.error, "wb") as error:
            words = [sys.executable, str(path), json.dumps(todo)]
            nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
            self.process = subprocess.Popen(words, stdin=nothing, stdout=pipe, stderr=error, cwd=directory)
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline().decode().strip()
        if self.first != "submitted":
            self.end()
            raise AssertionError(f"{self.first}\n{self.error.read_text()}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
        super().end()


class Site:
    """A scheduler with a journal that can be killed and started again, clusters of this process, and programs."""

    def __init__(self, directory: Path, secret_file: str, start_scheduler: Start, start_node: Start) -> None:
        self.directory, self.secret_file = directory, secret_file
        self.file, self.log, self.gate = directory / "journal" / "journal", directory / "begun", directory / "gate"
        self.start_node, self._start_scheduler = start_node, start_scheduler
        #: A node that says nothing for six times as many seconds is lost.
        self.pulse = "0.5"
        self.clusters: list[SharedJobCluster] = []
        self.owners: list[Owner] = []

    def start(self, *nodes: Daemon, port: int = 0) -> None:
        """Start the scheduler with these nodes."""
        self._nodes = nodes
        words = [word for node in nodes for word in ("-n", "{}:{}".format(*node.place))]
        where = ("-p", str(port), *words, "--journal", str(self.file.parent), "--pulse_interval", self.pulse)
        self.scheduler = self._start_scheduler(*where)

    def kill(self) -> None:
        self.scheduler.kill()
        self.scheduler.process.wait(10)

    def restart(self, *nodes: Daemon) -> None:
        """Kill the scheduler if it lives, and start it again at the same place, with its nodes or others."""
        if self.scheduler.process.poll() is None:
            self.kill()
        self.start(*(nodes or self._nodes), port=self.scheduler.place[1])

    @property
    def place(self) -> str:
        return "{}:{}".format(*self.scheduler.place)

    def share(self, **options: Any) -> SharedJobCluster:
        """A cluster of this process."""
        cluster = SharedJobCluster(turn_around, scheduler_node=self.place, secret_file=self.secret_file, **options)
        self.clusters.append(cluster)
        return cluster

    def submit(self, cluster: SharedJobCluster, number: int, size: int, gate: bool = False) -> DispyJob:
        return cluster.submit(number, make_payload(number, size), str(self.log), str(self.gate) if gate else "")

    def own(self, gates: list[Path], size: int, times: int = 1, leaves: bool = False, **options: Any) -> Owner:
        """A program with a job at each of these gates."""
        options = {"scheduler_node": self.place, "secret_file": self.secret_file, **options}
        todo = {"gates": [*map(str, gates)], "size": size, "times": times, "leaves": leaves, "options": options}
        self.owners.append(Owner(self.directory, log=str(self.log), **todo))
        return self.owners[-1]

    def status(self) -> Any:
        """What the scheduler says of itself."""
        words = (self.place, "--secret-file", self.secret_file, "--json")
        return json.loads(run_script("gdispy", "status", *words).stdout)

    def await_begun(self, count: int, jobs: Sequence[DispyJob] = ()) -> None:
        """Wait until so many have begun; none of these jobs may end in another way than it should meanwhile."""
        eventually(lambda: sum(begun(self.log).values()) >= count or failed(jobs), 20, "too few jobs begin")
        assert failed(jobs) == []

    # What is in its journal

    def facts(self, kind: type[Kind]) -> list[Kind]:
        return [fact for fact in Facts(str(self.file)) if isinstance(fact, kind)]

    def runs(self) -> Counter[int]:
        """How often the scheduler has heard of a job and written it down."""
        return Counter(int(job) for fact in self.facts(Run) for job in fact.jobs)

    def payloads(self) -> list[Path]:
        """The files with large payloads that are there."""
        return list((self.file.parent / "payloads").glob("payload-*"))

    def lose_payloads(self) -> None:
        """What the death of the machine may do to files that were not on its disk."""
        for path in self.payloads():
            path.write_bytes(b"")

    def placed(self) -> set[int]:
        return {int(job) for fact in self.facts(Placed) for job in fact.jobs}

    def arguments(self) -> dict[int, int]:
        """How many bytes of arguments are written of each job."""
        pairs = [pair for fact in self.facts(Run) for pair in zip(fact.jobs, fact.arguments, strict=True)]
        return {int(job): bulk_size(value) for job, value in pairs}

    def results(self) -> dict[int, int]:
        """How many bytes of results are written of each job."""
        pairs = [pair for fact in self.facts(Ended) for pair in zip(fact.jobs, fact.results, strict=True)]
        return {int(job): bulk_size(value) for job, value in pairs}

    def jobs(self) -> list[int]:
        """The jobs that the journal holds."""
        return [int(job) for history in read(str(self.file)).remembered.histories.values() for job in history.jobs]

    def close(self) -> None:
        for cluster in self.clusters:
            cluster.close(timeout=0, terminate=True)
        for owner in self.owners:
            owner.end()


@pytest.fixture
def site(tmp_path: Path, secret_file: str, start_node: Start, start_scheduler: Start) -> Iterator[Site]:
    site = Site(tmp_path, secret_file, start_scheduler, start_node)
    yield site
    site.close()


def check(jobs: list[DispyJob], size: int) -> None:
    """All jobs end, and give what they should."""
    for number, job in enumerate(jobs):
        assert job.wait(40), f"job {number} does not end"
        assert is_right(job, number, size), (number, job.status, job.exception)


def failed(jobs: Sequence[DispyJob]) -> list[tuple[Any, int, str | None]]:
    """Jobs that have ended in another way than they should."""
    ended = [job for job in jobs if job.wait(0)]
    return [(job.id, job.status, job.exception) for job in ended if job.status != DispyJob.Finished]


def numbers_of(jobs: list[DispyJob]) -> list[int]:
    """The numbers of the jobs of a program."""
    return sorted(int(str(job.id).split()[1]) for job in jobs)


def check_found(jobs: list[DispyJob], count: int, size: int) -> None:
    """Each job of a program was found, and gives what it should."""
    assert numbers_of(jobs) == list(range(count))
    assert all(is_right(job, int(str(job.id).split()[1]), size) for job in jobs)


# Nobody is killed


def test_files_of_payloads_are_needed_only_until_their_jobs_are_collected(site: Site, node: Daemon) -> None:
    site.start(node)
    cluster = site.share()
    jobs: list[DispyJob] = []
    for number in range(40):
        jobs.append(site.submit(cluster, number, MIB))
        assert jobs[max(0, number - 4)].wait(20)  # Few at a time, so that their files go round.
    check(jobs, MIB)
    assert site.runs() == Counter(job._number for job in jobs)
    eventually(lambda: not site.jobs(), 10, "jobs stay in the journal")
    assert site.file.stat().st_size < 200 * KIB
    assert len(site.payloads()) < 2 * len(jobs)
    cluster.close()
    eventually(lambda: not read(str(site.file)).remembered.histories, 10, "the computation stays in the journal")
    site.restart()
    assert site.payloads() == []


# The scheduler is killed


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_scheduler_loses_no_large_job_and_runs_none_twice(site: Site, node: Daemon, seed: int) -> None:
    site.start(node)
    cluster = site.share()
    jobs = [site.submit(cluster, number, 512 * KIB) for number in range(60)]
    for count in sorted(random.Random(seed).sample(range(55), 4)):
        site.await_begun(count, jobs)
        site.restart()
    check(jobs, 512 * KIB)
    assert begun(site.log) == Counter(range(60))


def submit_behind_gate(site: Site, **options: Any) -> list[DispyJob]:
    """One job at the gate, on the only CPU, and a large one that waits for that in the hands of the scheduler."""
    site.start(site.start_node("--cpus", "1"))
    cluster = site.share(**options)
    first = site.submit(cluster, 0, 0, gate=True)
    site.await_begun(1)
    jobs = [first, site.submit(cluster, 1, MIB)]
    eventually(lambda: site.arguments().get(jobs[1]._number, 0) > MIB, 10, "the arguments are not written")
    assert site.placed() == {first._number}
    return jobs


def check_behind_gate(site: Site, jobs: list[DispyJob]) -> None:
    site.gate.touch()
    for number, job in enumerate(jobs):
        assert job.wait(40), f"job {number} does not end"
        assert is_right(job, number, number * MIB), (number, job.status, job.exception)
    assert begun(site.log) == Counter(range(2))


def test_waiting_job_whose_arguments_are_written_is_not_said_again(site: Site) -> None:
    jobs = submit_behind_gate(site)
    site.restart()
    check_behind_gate(site, jobs)
    assert site.runs()[jobs[1]._number] == 1


def test_waiting_job_whose_arguments_are_not_on_the_disk_is_said_again(site: Site) -> None:
    # Given a job that may run twice: its client keeps what it is called with until it has ended.
    jobs = submit_behind_gate(site, reentrant=True)
    site.kill()
    site.lose_payloads()
    site.restart()
    # And what it said again is there for the life after that.
    eventually(lambda: site.runs()[jobs[1]._number] == 2, 10, "the job is not said again")
    site.restart()
    check_behind_gate(site, jobs)
    assert site.runs()[jobs[1]._number] == 2


def test_waiting_jobs_whose_arguments_are_written_outlive_their_client(site: Site) -> None:
    # Given a program whose jobs all wait at the gate or behind it, and were accepted.
    site.start(site.start_node("--cpus", "1"))
    file = site.directory / "jobs"
    owner = site.own([site.gate] * 3, MIB, fault_recover=str(file))
    site.await_begun(1)
    eventually(lambda: site.arguments().keys() == {1, 2, 3}, 20, "the arguments are not written")
    # When it is killed together with the scheduler, then another process finds them.
    owner.kill()
    site.restart()
    site.gate.touch()
    check_found(recover_jobs(str(file), timeout=30, secret_file=site.secret_file), 3, MIB)
    assert begun(site.log) == Counter(range(3))
    assert not file.exists()


# The client leaves


def test_jobs_are_left_when_their_arguments_are_written(site: Site, node: Daemon) -> None:
    site.start(node)
    owner = site.own([site.gate] * 5, MIB, leaves=True)
    # Given a program that leaves its jobs: it does so when all are written, and not before.
    token = owner.result()
    assert site.arguments().keys() == set(range(1, 6))
    site.restart()
    # When somebody asks before they have ended, then they are there; and afterwards their results are.
    now = fault_recover_jobs(token, secret_file=site.secret_file)
    assert numbers_of(now) == list(range(5))
    assert not [job for job in now if job.status == DispyJob.Finished]
    site.gate.touch()
    check_found(recover_jobs(token, timeout=30, secret_file=site.secret_file), 5, MIB)
    assert begun(site.log) == Counter(range(5))
    assert fault_recover_jobs(token, secret_file=site.secret_file) == []


def test_jobs_of_a_killed_scheduler_are_left_to_the_next(site: Site) -> None:
    second = submit_behind_gate(site)[1]._number
    site.restart()
    token = site.clusters[0].detach()
    assert site.arguments().get(second, 0) > MIB
    assert site.runs()[second] == 1
    site.gate.touch()
    jobs = recover_jobs(token, timeout=30, secret_file=site.secret_file)
    assert all(job.status == DispyJob.Finished for job in jobs)
    assert sorted(job.result for job in jobs) == [b"", make_payload(1, MIB)[::-1]]
    assert begun(site.log) == Counter(range(2))


# The client is stopped


def spooled(prefix: Path) -> set[int]:
    """The jobs of which a node has written the results down, its scheduler being away."""
    files = [str(path) for path in (prefix / "spool").glob("*")]
    ended = [fact for file in files for fact in Facts(file) if isinstance(fact, Ended)]
    return {int(job) for fact in ended for job in fact.jobs}


def test_result_of_a_stopped_client_is_written_and_its_node_forgets_it(site: Site) -> None:
    # Given a client that takes nothing, one job that has ended then, and one that runs.
    prefix, later = site.directory / "kept", site.directory / "later"
    node = site.start_node("--cpus", "2", "--dest_path_prefix", str(prefix))
    site.start(node)
    size, times = 12 * KIB, 1024  # More than anybody sends to somebody who does not read.
    assert size * times > WINDOW
    owner = site.own([site.gate, later], size, times)
    site.await_begun(2)
    owner.signal(signal.SIGSTOP)
    site.gate.touch()
    # When that has lasted, then the result is in the journal, and the node hears that.
    eventually(lambda: site.results().get(1, 0) >= size * times, 20, "the result is not written")
    site.status()  # The scheduler answers after what it had to say before.
    # And then the node has only the other one to write down, the scheduler being gone.
    site.kill()
    later.touch()
    eventually(lambda: spooled(prefix), 20, "the node keeps nothing")
    assert spooled(prefix) == {2}
    # And from a scheduler that is all alone the client gets the first, and that nothing is known of the other.
    node.bury()
    site.restart()
    owner.signal(signal.SIGCONT)
    assert owner.result() == [[DispyJob.Finished, True], [DispyJob.Abandoned, False]]


# The node is killed, too


def kill_both(site: Site, reentrant: bool, loses: bool) -> tuple[DispyJob, Daemon]:
    """A job that runs, and whose node was killed with the scheduler; with `loses` only the client has its arguments."""
    node = site.start_node("--cpus", "1")
    site.start(node)
    job = site.submit(site.share(reentrant=reentrant), 0, MIB, gate=True)
    site.await_begun(1)
    node.bury()
    site.kill()
    assert site.placed() == {job._number}
    assert site.arguments()[job._number] > MIB
    if loses:
        site.lose_payloads()
    return job, node


@pytest.mark.parametrize("loses", [False, True])
def test_job_of_a_node_that_is_killed_with_the_scheduler_is_abandoned(site: Site, node: Daemon, loses: bool) -> None:
    job, _ = kill_both(site, False, loses)
    site.restart(node)
    assert job.wait(30)
    assert job.status == DispyJob.Abandoned
    assert begun(site.log) == Counter([0])
    # And the place is free again: the same cluster goes on.
    other = site.submit(site.clusters[0], 1, MIB)
    assert other.wait(30) and is_right(other, 1, MIB)


@pytest.mark.parametrize("loses", [False, True])
def test_reentrant_job_of_a_node_that_is_killed_with_the_scheduler_runs_again(
    site: Site, node: Daemon, loses: bool
) -> None:
    job, lost = kill_both(site, True, loses)
    site.restart(lost, node)
    site.gate.touch()
    assert job.wait(30)
    assert is_right(job, 0, MIB), (job.status, job.exception)
    assert begun(site.log) == Counter([0, 0])
    assert site.runs()[job._number] == 1 + loses


@pytest.mark.parametrize("reentrant", [False, True])
def test_job_that_never_came_to_its_node_runs_although_its_client_was_back_first(site: Site, reentrant: bool) -> None:
    node = site.start_node("--cpus", "1")
    site.pulse = "3"
    site.start(node)
    cluster = site.share(reentrant=reentrant)
    assert site.submit(cluster, 0, 0, gate=False).wait(10)
    # Given a node that does not read, so that what is placed on it does not come there.
    node.kill(signal.SIGSTOP)
    job = site.submit(cluster, 1, 32 * MIB)
    eventually(lambda: job._number in site.placed(), 5)
    site.restart()
    eventually(lambda: any(each["address"] for each in site.status()["computations"]), 10)
    node.kill(signal.SIGCONT)
    assert job.wait(30)
    assert is_right(job, 1, 32 * MIB)


def test_job_of_a_killed_node_runs_elsewhere_when_its_program_has_left_it(site: Site, node: Daemon) -> None:
    own = site.start_node("--cpus", "1")
    site.start(own)
    owner = site.own([site.gate], MIB, leaves=True, reentrant=True)
    site.await_begun(1)
    token = owner.result()
    site.restart(own, node)
    # When the node of the job is killed, then another one gets it from the journal.
    own.bury()
    site.gate.touch()
    check_found(recover_jobs(token, timeout=20, secret_file=site.secret_file), 1, MIB)


def test_recovery_says_again_what_is_not_on_the_disk_when_its_node_is_killed(site: Site) -> None:
    own, other = site.start_node("--cpus", "1"), site.start_node("--cpus", "1")
    site.start(own)
    file = site.directory / "jobs"
    owner = site.own([site.gate], MIB, reentrant=True, fault_recover=str(file))
    site.await_begun(1)
    owner.kill()
    site.kill()
    site.lose_payloads()
    site.restart(own, other)
    own.bury()
    site.gate.touch()
    check_found(recover_jobs(str(file), timeout=25, secret_file=site.secret_file), 1, MIB)
    assert not file.exists()


@pytest.mark.parametrize("resumes", [False, True])
def test_jobs_outlive_client_and_scheduler_killed_together(site: Site, resumes: bool) -> None:
    site.start(site.start_node("--cpus", "1"))
    file = site.directory / "jobs"
    owner = site.own([site.gate] * 2, MIB, fault_recover=str(file))
    site.await_begun(1)
    eventually(lambda: len(site.runs()) == 2)
    owner.kill()
    site.restart()
    site.gate.touch()
    if resumes:
        rows = site.own([site.gate] * 2, MIB, fault_recover=str(file), resume=True).result()
        assert rows == [[DispyJob.Finished, True]] * 2
    else:
        check_found(recover_jobs(str(file), timeout=25, secret_file=site.secret_file), 2, MIB)
        assert not file.exists()


@pytest.mark.parametrize("seed", [1, 11])
def test_no_job_is_lost_where_nodes_come_back_after_clients(site: Site, seed: int) -> None:
    chance = random.Random(seed)
    nodes = [site.start_node("--cpus", "1") for _ in range(2)]
    site.pulse = "3"
    site.start(*nodes)
    cluster = site.share()
    size = chance.choice([200 * KIB, 512 * KIB])
    jobs = [site.submit(cluster, number, size) for number in range(60)]
    for count in sorted(chance.sample(range(55), 4)):
        site.await_begun(count)
        stopped = chance.choice([None, *nodes])
        if stopped is not None:
            stopped.kill(signal.SIGSTOP)
        site.restart(*nodes)
        if stopped is not None:
            eventually(lambda: any(each["address"] for each in site.status()["computations"]), 10)
            stopped.kill(signal.SIGCONT)
    wrong = [number for number, job in enumerate(jobs) if not job.wait(40) or not is_right(job, number, size)]
    twice = [number for number, count in begun(site.log).items() if count > 1]
    assert (wrong, twice) == ([], [])
