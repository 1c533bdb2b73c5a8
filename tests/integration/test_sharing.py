"""Many programs share nodes: real schedulers, nodes and clusters; links that are cut, schedulers that end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, DispyNode, JobCluster, SharedJobCluster, generate_secret
from tests.support.daemons import Daemon, alive, run_python
from tests.support.jobs import note_and_wait, wait_for_go, wait_for_interrupt
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

Share = Callable[..., SharedJobCluster]
Start = Callable[..., Daemon]


@pytest.fixture
def scheduler(start_scheduler: Start, node: Daemon) -> Daemon:
    """A scheduler with the module's node."""
    return start_scheduler("-n", f"127.0.0.1:{node.place[1]}")


@pytest.fixture
def share(scheduler: Daemon, secret_file: str) -> Iterator[Share]:
    """Makes clusters on the scheduler; closes them after the test."""
    made: list[SharedJobCluster] = []

    def make(computation: Any, **options: Any) -> SharedJobCluster:
        options.setdefault("scheduler_node", "127.0.0.1")
        options.setdefault("scheduler_port", scheduler.place[1])
        options.setdefault("secret_file", secret_file)
        made.append(SharedJobCluster(computation, **options))
        return made[-1]

    yield make
    for each in made:
        each.close(timeout=0, terminate=True)


def double(value: Any) -> Any:
    return value * 2


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def read(path: str) -> str:
    return Path(path).read_text()


def provisional(count: int) -> int:
    for number in range(count):
        dispy_provisional_result(number)  # type: ignore[name-defined]
    return count


def test_results_large_ones_and_output_come_through(share: Share) -> None:
    made = share(double)
    assert [job() for job in [made.submit(number) for number in range(500)]] == [2 * number for number in range(500)]
    large = os.urandom(3_000_000)
    assert made.submit(large)() == large * 2
    job = share(print).submit("hello")
    job()
    assert job.stdout == "hello\n" and job.ip_addr == "127.0.0.1"


def test_two_clusters_and_two_programs_share_a_node(share: Share, scheduler: Daemon, secret_file: str) -> None:
    first, second = share(double), share(len)
    jobs = [first.submit(number) for number in range(50)] + [second.submit("x" * number) for number in range(50)]
    assert [job() for job in jobs] == [2 * number for number in range(50)] + list(range(50))


def test_callbacks_provisional_results_and_events_come_in_order(share: Share) -> None:
    told: list[Any] = []
    events: list[tuple[int, Any]] = []
    made = share(
        provisional,
        callback=lambda job: told.append((job.status, job.result)),
        cluster_status=lambda status, node, job: events.append((status, node.name if node else None)),
    )
    made.submit(3)()
    made.close()
    wanted = [(DispyJob.ProvisionalResult, number) for number in range(3)] + [(DispyJob.Finished, 3)]
    eventually(lambda: len(told) == 4)
    assert told == wanted
    eventually(lambda: events[-1][0] == DispyNode.Closed)
    told_of_jobs, told_of_nodes = ([each for each, _ in events if each in some] for some in ((5, 6, 11), (4, 16)))
    assert (told_of_jobs, told_of_nodes) == ([5, 6, 11], [4, 16])


def test_programs_files_and_setup_work_as_with_nodes_of_ones_own(share: Share, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("x" * 100_000)
    assert len(share(read, depends=[str(data)]).submit("data.txt")()) == 100_000
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    assert share(read).submit("mine.txt", dispy_job_depends=[str(mine)])() == "mine"
    program = tmp_path / "program.sh"
    program.write_text("#!/bin/sh\necho $1; exit 3\n")
    program.chmod(0o755)
    job = share(str(program)).submit("word")
    assert (job(), job.stdout) == (3, b"word\n")


def test_methods_for_single_nodes_work(share: Share, node: Daemon) -> None:
    made = share(double)
    assert made.submit(1)() == 2
    [found] = made.status().nodes
    assert (found.port, found.cpus) == (node.place[1], 2)
    job = made.submit_node(found, 4)
    assert job is not None and job() == 8
    assert made.node_jobs(found) == []
    assert made.deallocate_node(found) == 0
    job = made.submit(5)
    assert not job.wait(0.3)
    assert made.allocate_node(found) == 0
    assert job() == 10
    made.print_status()


def test_cpus_are_for_the_owner_of_the_scheduler_to_set(
    start_scheduler: Start, start_node: Start, share: Share, caplog: Any
) -> None:
    made = share(double)
    assert made.submit(1)() == 2
    assert made.set_node_cpus(made.status().nodes[0], 1) == -1
    assert "clients may not change their CPUs" in caplog.text
    own = start_node("--cpus", "2")
    cooperative = start_scheduler("-n", f"127.0.0.1:{own.place[1]}", "--cooperative")
    made = share(double, scheduler_port=cooperative.place[1])
    assert made.submit(1)() == 2
    assert made.set_node_cpus(made.status().nodes[0], 1) == 1


def test_a_client_that_cancels_ends_its_own_jobs_only(share: Share, tmp_path: Path) -> None:
    first, second = share(wait_for_interrupt), share(wait_for_go)
    mine = first.submit(str(tmp_path / "mine"), False)
    other = second.submit(str(tmp_path / "other"))
    eventually(lambda: (tmp_path / "mine").exists() and (tmp_path / "other").exists())
    assert first.cancel(other) == -1 and first.cancel(mine) == 0
    assert mine.wait(5) and mine.status == DispyJob.Terminated
    (tmp_path / "other.go").touch()
    assert other.wait(5) and other.status == DispyJob.Finished


def test_one_with_many_jobs_does_not_keep_out_one_with_few(share: Share, tmp_path: Path) -> None:
    greedy, modest = share(note_and_wait), share(double)
    for number in range(2000):
        greedy.submit(str(tmp_path / "log"), number, 0.05)
    eventually((tmp_path / "log").exists)
    began = time.monotonic()
    assert [job() for job in [modest.submit(number) for number in range(10)]] == [2 * number for number in range(10)]
    assert time.monotonic() - began < 5
    greedy.close(timeout=0, terminate=True)


def test_one_with_many_short_jobs_does_not_keep_out_another_with_short_ones(share: Share) -> None:
    # Given two computations of which it is known how short their jobs are, and one with many of them.
    crowd, other = share(burn), share(burn)
    for made in (other, crowd):
        for job in [made.submit(0.002) for _ in range(50)]:
            job()
    jobs = [crowd.submit(0.002) for _ in range(5000)]
    jobs[100]()
    # When the other submits a wave, then it has ended long before the crowd has; and another time.
    for _ in range(2):
        wave = [other.submit(0.002) for _ in range(20)]
        assert all(job.wait(30) for job in wave)
        assert not jobs[-1].finish.is_set()
    assert sum(job.finish.is_set() for job in jobs) < 3000


def test_an_exclusive_computation_waits_for_others_and_keeps_later_ones_waiting(share: Share, tmp_path: Path) -> None:
    before = share(wait_for_go)
    first = before.submit(str(tmp_path / "first"))
    eventually((tmp_path / "first").exists)
    alone = share(wait_for_go, exclusive=True)
    second = alone.submit(str(tmp_path / "second"))
    after = share(double)
    third = after.submit(1)
    assert not second.wait(0.5) and not (tmp_path / "second").exists() and not third.wait(0)
    (tmp_path / "first.go").touch()
    assert first.wait(5)
    before.close()
    eventually((tmp_path / "second").exists)
    assert not third.wait(0.3)
    (tmp_path / "second.go").touch()
    assert second.wait(5)
    alone.close()
    assert third.wait(5) and third.result == 2


# Links and ends


def test_a_link_that_is_cut_again_and_again_loses_nothing(share: Share, scheduler: Daemon, tmp_path: Path) -> None:
    with Proxy(scheduler.place) as proxy:
        made = share(note_and_wait, scheduler_port=proxy.place[1])
        jobs = []
        for number in range(60):
            jobs.append(made.submit(str(tmp_path / "log"), number, 0.02))
            if number % 10 == 5:
                eventually(lambda number=number: (tmp_path / "log").exists())
                proxy.cut()
        assert all(job.wait(20) for job in jobs)
    assert [job.result for job in jobs] == list(range(60)), [job.exception for job in jobs if job.exception][:1]
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(60))


@pytest.mark.timeout(180)
def test_more_pending_jobs_than_a_row_holds_survive_a_cut_link_and_are_cancelled(
    start_scheduler: Start, secret_file: str, start_node: Start
) -> None:
    """What waits is named on the new connection: no job is lost, and none runs twice."""
    count = 70_000
    scheduler = start_scheduler("-n", "127.0.0.1:9", "--no_journal")  # No node, at first.
    with Proxy(scheduler.place) as proxy:
        options = {"scheduler_node": "127.0.0.1", "scheduler_port": proxy.place[1], "secret_file": secret_file}
        made = SharedJobCluster(abs, nodes=["127.0.0.1:9"], **options)
        try:
            jobs = [made.submit(-number) for number in range(count)]
            eventually(lambda: _pending(made) == count, 30)
            before = proxy.connections
            proxy.cut()
            eventually(lambda: proxy.connections > before and _pending(made) == count, 30)
            for job in jobs[:10]:
                assert made.cancel(job) == 0
            eventually(lambda: _pending(made) == count - 10, 30)
            assert proxy.connections == before + 1, "the connection breaks again and again"
            for job in jobs:
                made.cancel(job)
            assert made.wait(60)
            assert {job.status for job in jobs} == {DispyJob.Cancelled}
        finally:
            made.close(timeout=0, terminate=True)


def _pending(cluster: SharedJobCluster) -> int:
    """How many jobs wait at the scheduler, where that is there; else -1."""
    standing = cluster._closing.status()
    return -1 if any("cannot be reached" in problem for problem in standing.problems) else standing.queued


def test_jobs_go_on_while_their_client_is_away_and_wait_for_it(share: Share, scheduler: Daemon, tmp_path: Path) -> None:
    with Proxy(scheduler.place) as proxy:
        made = share(note_and_wait, scheduler_port=proxy.place[1])
        jobs = [made.submit(str(tmp_path / "log"), number, 0.5) for number in range(8)]
        eventually((tmp_path / "log").exists)
        proxy.block()
        eventually(lambda: len((tmp_path / "log").read_text().split()) == 8)
        assert not jobs[-1].wait(0.3)
        proxy.unblock()
        assert all(job.wait(15) for job in jobs)


def test_a_scheduler_that_is_not_there_is_told_and_waited_for(
    share: Share, start_scheduler: Start, start_node: Start, caplog: Any, tmp_path: Path
) -> None:
    node = start_node("--cpus", "2")
    first = start_scheduler("-n", f"127.0.0.1:{node.place[1]}")
    port = first.place[1]
    first.stop()
    made = share(double, scheduler_port=port)
    job = made.submit(4)
    eventually(lambda: "no gdispy-scheduler is listening at" in caplog.text)
    assert "no gdispy-scheduler is listening at" in made.status().problems[0]
    start_scheduler("-n", f"127.0.0.1:{node.place[1]}", "-p", str(port))
    assert job() == 8


def test_a_scheduler_that_is_killed_leaves_no_job_hanging(
    share: Share, start_scheduler: Start, start_node: Start, tmp_path: Path
) -> None:
    node = start_node("--cpus", "2")
    first = start_scheduler("-n", f"127.0.0.1:{node.place[1]}")
    port = first.place[1]
    once = share(wait_for_go, scheduler_port=port, reentrant=False)
    often = share(wait_for_go, scheduler_port=port, reentrant=True)
    jobs = [made.submit(str(tmp_path / made_name)) for made, made_name in ((once, "once"), (often, "often"))]
    eventually(lambda: (tmp_path / "once").exists() and (tmp_path / "often").exists())
    first.kill()
    first.process.wait(5)
    start_scheduler("-n", f"127.0.0.1:{node.place[1]}", "-p", str(port))
    for name in ("once", "often", "again"):
        (tmp_path / f"{name}.go").touch()
    assert all(job.wait(20) for job in jobs)
    assert jobs[0].status == DispyJob.Abandoned and "started again" in (jobs[0].exception or "")
    assert jobs[1].status == DispyJob.Finished
    assert once.submit(str(tmp_path / "again"))() == str(tmp_path / "again")


def test_a_program_that_ends_its_jobs_leaves_no_process_on_the_nodes(
    scheduler: Daemon, share: Share, secret_file: str, tmp_path: Path
) -> None:
    code = """
import os, sys, threading, time, gdispy
def job(mark):
    open(mark, "w").write(str(os.getpid()))
    dispy_provisional_result(mark)
    time.sleep(60)
begun = threading.Event()
place = "127.0.0.1:" + sys.argv[1]
made = gdispy.SharedJobCluster(job, callback=lambda _: begun.set(), scheduler_node=place, secret_file=sys.argv[2])
made.submit(sys.argv[3])
assert begun.wait(20)
made.close(timeout=0, terminate=True)
"""
    mark = tmp_path / "mark"
    done = run_python(code, scheduler.place[1], secret_file, mark)
    assert done.returncode == 0, done.stderr
    pid = int(mark.read_text())
    eventually(lambda: not alive(pid))


# Who comes in


def test_another_secret_is_told_and_gets_nothing(share: Share) -> None:
    made = share(double, secret=generate_secret(), secret_file="")
    eventually(lambda: "secret differs" in " ".join(made.status().problems))


def test_secrets_towards_nodes_and_clients_may_differ(
    start_scheduler: Start, start_node: Start, share: Share, secret_file: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.touch(0o600)
    other.write_text(generate_secret())
    node = start_node("--cpus", "1")
    words = ["-n", f"127.0.0.1:{node.place[1]}", "--node_secret_file", secret_file, "--cluster_secret_file", str(other)]
    daemon = start_scheduler(*words, secret="")
    made = share(double, scheduler_port=daemon.place[1], secret_file=str(other))
    assert made.submit(3)() == 6
    refused = share(double, scheduler_port=daemon.place[1])
    eventually(lambda: "secret differs" in " ".join(refused.status().problems))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheduler_node": "host:1", "scheduler_port": 2}, "contradict each other"),
        ({"scheduler_node": "host:http"}, "is not a port"),
        ({"scheduler_port": 99999}, "scheduler_port must be"),
        ({"exclusive": "yes"}, "exclusive must be"),
        ({"nodes": "local"}, "valid only for JobCluster"),
        ({"client_port": -1}, "client_port must be"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SharedJobCluster(double, **options)


def test_it_is_a_job_cluster() -> None:
    assert issubclass(SharedJobCluster, JobCluster)


def count_files() -> int:
    return len(os.listdir("many"))


def test_more_files_than_one_batch_takes_go_through_a_scheduler(share: Share, many_files: list[str]) -> None:
    assert share(count_files, depends=many_files).submit().result_or_raise(60) == len(many_files)


def test_a_scheduler_on_several_addresses_is_reached_by_each(
    start_scheduler: Start, node: Daemon, secret_file: str
) -> None:
    place = f"127.0.0.1:{node.place[1]}"
    daemon = start_scheduler("-n", place, "-i", "127.0.0.2", "-i", "127.0.0.3")
    for host in ("127.0.0.2", "127.0.0.3"):
        options = {"scheduler_node": host, "scheduler_port": daemon.place[1], "secret_file": secret_file}
        with SharedJobCluster(abs, **options) as made:
            assert made.submit(-1).result_or_raise(20) == 1


def test_large_arguments_of_many_jobs_that_are_submitted_at_once_all_arrive(share: Share) -> None:
    """Together they are more than a side keeps of payloads that no message has referred to yet (256 MiB)."""
    cluster = share(len)
    data = bytes(4_700_000)
    jobs = [cluster.submit(data) for _ in range(60)]
    assert [job() for job in jobs] == [len(data)] * 60
