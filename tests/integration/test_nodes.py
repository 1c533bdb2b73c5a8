"""Single nodes: which are used and how, jobs for one of them, setting up and leaving."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, DispyNode, JobCluster, NodeAllocate
from gdispy.journal.file import Journal
from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.messages import Open
from tests.support.daemons import Daemon
from tests.support.jobs import note_and_wait, process_of_the_node, set_up_slowly, wait_for_go, wait_for_interrupt
from tests.support.waiting import eventually
from tests.unit.builders import ended, outcome

Make = Callable[..., JobCluster]
Start = Callable[..., Daemon]

made: list[Any] = []


def node_name() -> str:
    return dispy_node_name  # type: ignore[name-defined]


def when_it_ran() -> tuple[float, float]:
    begin = time.monotonic()
    while time.monotonic() < begin + 0.0005:
        pass
    return begin, time.monotonic()


def set_up(*words: str) -> int:
    made.append(words)
    return 0


def what_was_made() -> list[Any]:
    return made


def clean_up(path: str) -> None:
    Path(path).write_text(repr(made))


@pytest.fixture
def two(start_node: Start) -> tuple[Daemon, Daemon]:
    return start_node("--cpus", "1", "--name", "one"), start_node("--cpus", "2", "--name", "two")


def places(*daemons: Daemon) -> list[tuple[str, int]]:
    return [daemon.place for daemon in daemons]


def all_nodes(cluster: JobCluster, count: int) -> list[DispyNode]:
    return eventually(lambda: found if len(found := list(cluster._engine.nodes.ready().values())) == count else None)


def by_name(cluster: JobCluster, count: int) -> dict[str, DispyNode]:
    return {node.name: node for node in all_nodes(cluster, count)}


# Jobs for one node


def test_a_job_for_one_node_runs_there_by_name_address_place_and_record(
    cluster: Make, two: tuple[Daemon, Daemon]
) -> None:
    made = cluster(node_name, nodes=places(*two))
    nodes = by_name(made, 2)
    for node in ("two", f"127.0.0.1:{two[1].place[1]}", nodes["two"]):
        jobs = [made.submit_node(node) for _ in range(3)]
        assert [job is not None and job() for job in jobs] == ["two"] * 3
    job = made.submit_job_id_node("mine", "one")
    assert job is not None and (job.id, job()) == ("mine", "one")


def test_a_job_for_a_node_that_there_is_not_is_none(cluster: Make) -> None:
    made = cluster(abs)
    assert made.submit(-1)() == 1
    assert made.submit_node("nowhere", 1) is None
    assert made.submit_node("10.1.2.3", 1) is None


def test_a_job_for_a_node_that_is_lost_is_abandoned_and_not_moved(
    cluster: Make, two: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    made = cluster(note_and_wait, nodes=places(*two), reentrant=True, pulse_interval=0.1)
    all_nodes(made, 2)
    jobs = [made.submit_node("one", str(tmp_path / "begun"), number, 60) for number in range(3)]
    eventually(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text())
    two[0].kill()
    for job in jobs:
        assert job is not None and job.wait(10) and job.status == DispyJob.Abandoned
        assert job.exception is not None and "lost" in job.exception
    assert (tmp_path / "begun").read_text() == "0\n"


# Which nodes, and how many of their CPUs


@pytest.mark.parametrize(("wanted", "cpus"), [(0, 2), (1, 1), (5, 2), (-1, 1)])
def test_cpus_of_a_node_are_taken_as_wanted(
    cluster: Make, node: Daemon, tmp_path: Path, wanted: int, cpus: int
) -> None:
    host, port = node.place
    made = cluster(wait_for_go, nodes=[(host, port, wanted)])
    jobs = [made.submit(str(tmp_path / str(number))) for number in range(3)]
    eventually(lambda: len(list(tmp_path.iterdir())) == cpus)
    assert made.status().nodes[0].cpus == cpus
    for number in range(3):
        (tmp_path / f"{number}.go").touch()
    assert made.wait(10) and all(job.status == DispyJob.Finished for job in jobs)


class Choosy(NodeAllocate):
    """Wants the node of one name, and sets it up with that name."""

    asked: list[tuple[Any, ...]]

    def allocate(
        self, cluster: Any, ip_addr: str, name: str, cpus: int, avail_info: Any = None, platform: str = ""
    ) -> int:
        self.asked.append((ip_addr, name, cpus, platform))
        self.setup_args = (name,)
        return cpus if name == "two" else 0


def test_allocate_is_asked_for_each_node_and_sets_what_setup_gets(cluster: Make, two: tuple[Daemon, Daemon]) -> None:
    choosy = Choosy("127.0.0.1")
    choosy.asked = []
    made = cluster(what_was_made, nodes=[choosy], setup=set_up)
    made.discover_nodes(places(*two))
    assert made.submit()() == [("two",)]
    eventually(
        lambda: sorted(choosy.asked) == [("127.0.0.1", name, cpus, "linux") for name, cpus in (("one", 1), ("two", 2))]
    )
    assert [node.name for node in made._engine.nodes.ready().values()] == ["two"]


def test_the_most_specific_element_that_wants_a_node_decides(cluster: Make, node: Daemon) -> None:
    host, port = node.place
    made = cluster(abs, nodes=[("*", None, 2), (host, port, 1), ("127.0.*", None, 2)])
    assert made.submit(-1)() == 1
    assert made.status().nodes[0].cpus == 1


def test_an_allocate_that_fails_uses_no_node_and_says_so(cluster: Make, node: Daemon, caplog: Any) -> None:
    class Failing(NodeAllocate):
        def allocate(self, *args: Any, **kwargs: Any) -> int:
            raise RuntimeError("no idea")

    made = cluster(abs, nodes=[Failing(*node.place)])
    eventually(lambda: "no idea" in caplog.text)
    eventually(lambda: "not selected by this program" in " ".join(made.status().problems))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([{"port": "five"}], "NodeAllocate: port must be a whole number"),
        ([("a", 5, "two")], "cpus must be a whole number"),
        ([("a", 5, 1, [], [1])], "setup_args must be a tuple"),
        ([NodeAllocate], "is not a host"),
    ],
)
def test_nodes_that_make_no_sense_are_refused(nodes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        JobCluster(abs, nodes=nodes)


def test_nodes_are_added_and_taken_away_while_jobs_wait(cluster: Make, two: tuple[Daemon, Daemon]) -> None:
    made = cluster(node_name, nodes=places(two[0]))
    assert made.submit()() == "one"
    assert made.deallocate_node("one") == 0
    job = made.submit()
    assert made.node_jobs("one") == []
    assert made.allocate_node(two[1].place) == 0
    assert job() == "two"
    assert made.deallocate_node("two") == 0
    job = made.submit()
    assert made.allocate_node("one") == 0
    assert job() == "one"
    assert made.deallocate_node("nowhere") == -1


def test_cpus_are_set_for_all_clusters_and_jobs_of_a_node_are_known(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_go)
    node = all_nodes(made, 1)[0]
    assert made.set_node_cpus(node, -1) == 1
    jobs = [made.submit(str(tmp_path / str(number))) for number in range(2)]
    eventually((tmp_path / "0").exists)
    assert made.node_jobs(node) == [jobs[0]]
    assert made.set_node_cpus(node, 100) == 2
    eventually((tmp_path / "1").exists)
    assert made.node_jobs(node, from_node=True) == jobs
    for number in range(2):
        (tmp_path / f"{number}.go").touch()
    assert made.wait(10)
    assert made.set_node_cpus("nowhere", 1) == -1
    with pytest.raises(ConfigError, match="whole number"):
        made.set_node_cpus(node, "all")  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["set_node_cpus", "NodeAllocate"])
def test_short_jobs_run_on_no_more_cpus_than_are_wanted(cluster: Make, two: tuple[Daemon, Daemon], way: str) -> None:
    # Given a node with two CPUs of which one is wanted, and jobs so short that many of them are sent ahead.
    host, port = two[1].place
    wanted = 1 if way == "NodeAllocate" else 0
    made = cluster(when_it_ran, nodes=[NodeAllocate(host, port=port, cpus=wanted)])
    if way == "set_node_cpus":
        assert made.set_node_cpus(all_nodes(made, 1)[0], 1) == 1
    # When they have run, then no two of them ran at the same time.
    times = sorted(job() for job in [made.submit() for _ in range(500)])
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(times))


# Setting up and leaving


def test_setup_comes_before_jobs_and_cleanup_after_them(cluster: Make, node: Daemon, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    made = cluster(what_was_made, nodes=[(*node.place, 0, [], (mark,))], setup=set_up, cleanup=clean_up)
    assert made.submit()() == [(mark,)]
    assert not os.path.exists(mark)
    made.close()
    assert Path(mark).read_text() == repr([(mark,)])


def test_cleanup_that_fails_is_in_the_log_of_the_node_with_the_names(cluster: Make, start_node: Start) -> None:
    def fails() -> None:
        raise OSError("nothing to clean")

    node = start_node("--cpus", "1", "--name", "lab7")
    made = cluster(abs, nodes=[node.place], cleanup=fails)
    assert made.submit(-1)() == 1
    made.close()
    eventually(lambda: "OSError: nothing to clean" in node.log.read_text())
    assert "cleanup of abs failed on lab7: Traceback" in node.log.read_text()


def test_a_setup_that_fails_leaves_the_node_out_and_says_why(cluster: Make) -> None:
    def fails() -> int:
        raise OSError("the disk is on fire")

    made = cluster(abs, setup=fails)
    job = made.submit(1)
    eventually(lambda: "the disk is on fire" in " ".join(made.status().problems))
    assert not job.wait(0.2)


def test_a_setup_that_returns_something_else_leaves_the_node_out(cluster: Make) -> None:
    made = cluster(abs, setup=lambda: -1)
    eventually(lambda: "returned -1" in " ".join(made.status().problems))


def test_a_node_is_left_and_set_up_again(cluster: Make, tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []
    made = cluster(
        os.getppid, cluster_status=lambda status, node, job: told.append((status, node.name)) if job is None else None
    )
    before = made.submit()()
    assert made.resetup_node(all_nodes(made, 1)[0]) == 0
    eventually(lambda: len(told) == 3)
    assert [status for status, _ in told] == [DispyNode.Initialized, DispyNode.Closed, DispyNode.Initialized]
    assert made.submit()() != before
    assert made.close_node(all_nodes(made, 1)[0]) == 0
    eventually(lambda: len(told) == 4)
    job = made.submit()
    assert not job.wait(0.2)
    assert made.close_node("nowhere") == -1


def test_closing_a_node_ends_its_jobs_where_that_is_wanted(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_go)
    job = made.submit(str(tmp_path / "mark"))
    eventually((tmp_path / "mark").exists)
    assert made.close_node(all_nodes(made, 1)[0], terminate_pending=True) == 0
    assert job.wait(5) and job.status == DispyJob.Terminated


def test_shared_memory_and_locks_made_in_setup_work_across_jobs(cluster: Make) -> None:
    def set_up_counter() -> int:
        import builtins
        import multiprocessing

        builtins.counter = multiprocessing.Value("i", 0)  # type: ignore[attr-defined]
        return 0

    def count(times: int) -> int:
        for _ in range(times):
            with counter.get_lock():  # type: ignore[name-defined]  # noqa: F821
                counter.value += 1  # type: ignore[name-defined]  # noqa: F821
        return int(counter.value)  # type: ignore[name-defined]  # noqa: F821

    made = cluster(count, setup=set_up_counter)
    jobs = [made.submit(1000) for _ in range(6)]
    assert max(job() for job in jobs) == 6000, jobs[0].exception


def test_what_happens_to_nodes_and_jobs_is_told_in_order(cluster: Make) -> None:
    told: list[tuple[int, Any, Any]] = []
    made = cluster(abs, cluster_status=lambda status, node, job: told.append((status, node, job and job.id)))
    submitted = made.submit(-5)
    submitted()
    made.close()
    eventually(lambda: told[-1][0] == DispyNode.Closed)
    of_job = [status for status, _, job in told if job == submitted.id]
    assert of_job == [DispyJob.Created, DispyJob.Running, DispyJob.Finished]
    assert [status for status, _, job in told if job is None] == [DispyNode.Initialized, DispyNode.Closed]
    assert next(node for status, node, _ in told if status == DispyJob.Finished).port == made.status().nodes[0].port


def test_a_slow_setup_is_waited_for(cluster: Make) -> None:
    began = time.monotonic()
    assert cluster(abs, setup=set_up_slowly).submit(-1)() == 1
    assert time.monotonic() - began > 1.4


def test_a_computation_that_is_closed_in_the_middle_of_its_setup_leaves_nothing(
    cluster: Make, node: Daemon, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"

    made = cluster(abs, nodes=[(*node.place, 0, [], (str(mark), False))], setup=wait_for_interrupt)
    eventually(lambda: mark.exists() and mark.read_text())
    made.close(timeout=0, terminate=True)
    pid = int(mark.read_text())
    eventually(lambda: not os.path.exists(f"/proc/{pid}") or "Z" in Path(f"/proc/{pid}/stat").read_text())


def test_a_node_that_is_stopped_is_given_up_at_once(cluster: Make, two: tuple[Daemon, Daemon], tmp_path: Path) -> None:
    made = cluster(wait_for_go, nodes=places(*two), reentrant=True)
    all_nodes(made, 2)
    job = made.submit_node("one", str(tmp_path / "pinned"))
    eventually((tmp_path / "pinned").exists)
    began = time.monotonic()
    two[0].stop()
    assert job is not None and job.wait(5) and job.status == DispyJob.Abandoned
    assert time.monotonic() - began < 5 and "it was stopped" in (job.exception or "")


def test_local_clusters_that_are_closed_before_their_node_is_ready_leave_the_next_one_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for _ in range(3):
        JobCluster(abs, nodes=["local"]).close(timeout=0, terminate=True)
    with pytest.raises(ConfigError):
        JobCluster(abs, nodes=["local"], depends=["/no/such/file"])
    with JobCluster(abs, nodes=["local"]) as made:
        assert made.submit(-1)() == 1
    # And their nodes end without a word.
    assert capfd.readouterr().err == ""


def test_a_local_node_leaves_what_others_have_left_for_their_clients_to_those(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given results on this machine that wait for their client, and no node that has them at the moment.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spool = tmp_path / f"gdispy-{os.geteuid()}" / "spool"
    spool.mkdir(parents=True, mode=0o700)
    spool.parent.chmod(0o700)
    file = spool / ("0" * 16)
    computation = ComputationId(bytes(8))
    opened = Open(computation, ["*"], False, token=b"t" * 16, epoch=1)
    with contextlib.closing(Journal.open(str(file))[0]) as journal:
        journal.begin("node", Instance(bytes(16)), 0)
        journal.append_or_raise([opened, ended(outcome(1), computation=computation)])
    before = file.read_bytes()
    # When a program has a local node, then a node that is started meanwhile finds them.
    with JobCluster(abs, nodes=["local"]) as made:
        assert made.submit(-1)() == 1
        Journal.open(str(file))[0].close()
        assert [each.name for each in spool.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_the_local_node_is_set_up_as_its_element_says(tmp_path: Path) -> None:
    with JobCluster(what_was_made, nodes=[("local", None, 1, [], ("word",))], setup=set_up) as made:
        assert made.submit()() == [("word",)]
        assert made.status().nodes[0].cpus == 1


def test_a_node_on_several_addresses_is_reached_by_each_and_by_no_other(
    start_node: Callable[..., Daemon], secret_file: str
) -> None:
    daemon = start_node("--cpus", "1", "-i", "127.0.0.2", "-i", "127.0.0.3", "-i", "127.0.0.2")
    port = daemon.place[1]
    for host in ("127.0.0.2", "127.0.0.3"):
        with JobCluster(abs, nodes=[(host, port)], secret_file=secret_file) as made:
            assert made.submit(-1).result_or_raise(20) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.4", port))


def test_the_local_node_is_started_again_when_it_is_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with JobCluster(process_of_the_node, nodes=["local"]) as made:
        first = made.submit()()
        lost = made.submit(60.0, str(tmp_path / "begun"))
        eventually((tmp_path / "begun").exists)
        os.kill(first, signal.SIGKILL)
        assert lost.wait(10) and lost.status == DispyJob.Abandoned
        assert made.submit()() not in (first, None)
        assert "is lost: it was started again" in lost.exception
    assert "the local node has ended unexpectedly (it was ended by signal 9 (SIGKILL))" in caplog.text
