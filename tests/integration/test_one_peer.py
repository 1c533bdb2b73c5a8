"""One peer, which has the secret, never harms another: each finding of a review, against real daemons.

`tests/attack` attacks in masses and at random; here each attack is made once, and what is answered is looked at.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster, SharedJobCluster
from gdispy.journal.file import Journal
from gdispy.protocol import messages as said
from gdispy.protocol.handshake import SECOND_BYTES, Initiator
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.messages import Hello, Message
from gdispy.rules.history.facts import Owned
from gdispy.rules.scheduler.quotas import ADDRESSES
from gdispy.transport.credentials import find_secret
from tests.attack.fuzz import good_computation
from tests.attack.peer import CLIENT, COMING, POSED, SCHEDULER, VISITOR, Peer, Refused, abort, reach, read_up_to
from tests.attack.stage import hello
from tests.support.daemons import Daemon
from tests.support.jobs import wait_for_go
from tests.support.waiting import eventually

Start = Callable[..., Daemon]
Meet = Callable[..., Peer]

C = ComputationId(b"computat")


@pytest.fixture
def scheduler(start_scheduler: Start, node: Daemon) -> Daemon:
    """A scheduler with the module's node."""
    return start_scheduler("-n", f"127.0.0.1:{node.place[1]}", "--no_journal")


@pytest.fixture
def cluster(scheduler: Daemon, secret_file: str) -> Iterator[SharedJobCluster]:
    """The honest client of the scheduler."""
    port = scheduler.place[1]
    made = SharedJobCluster(abs, scheduler_node="127.0.0.1", scheduler_port=port, secret_file=secret_file)
    yield made
    made.close(timeout=0, terminate=True)


@pytest.fixture
def meet(secret_file: str) -> Iterator[Meet]:
    """Connects peers that have the secret; closes them after the test."""
    met: list[Peer] = []

    def connect(daemon: Daemon, roles: bytes, **greeting: Any) -> Peer:
        met.append(Peer.connect(daemon.place, find_secret("", secret_file).for_tcp(), roles))
        instance = greeting.pop("instance", bytes(16))
        role = greeting.pop("role", roles.decode().partition(">")[0])
        met[-1].send(hello(role, instance, **greeting))
        return met[-1]

    yield connect
    POSED.clear()
    for each in met:
        each.close()


def reason_of(peer: Peer) -> str:
    """Why the other side closes; fails if it does not."""
    until = time.monotonic() + 10
    while not peer.closed and time.monotonic() < until:
        peer.read(0.1)
    assert peer.closed, "it did not close"
    return peer.reason


def works(made: SharedJobCluster | JobCluster) -> None:
    job = made.submit(-3)
    assert job.wait(20) and job.result == 3, job.exception


# Messages

#: Of each kind of field the least that it can hold.
LEAST: tuple[Any, ...] = ([], False, 0.0, 1, "x", b"computat", b"i" * 16, b"")
KINDS = [kind for kind in said.ALL if kind is not Hello]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_no_kind_of_message_ends_a_scheduler_or_a_node(
    kind: type[Message], scheduler: Daemon, node: Daemon, cluster: SharedJobCluster, meet: Meet
) -> None:
    """Said in every role."""
    values = [next(each for each in LEAST if check(each)) for check in kind.shape]
    for daemon, roles in ((scheduler, CLIENT), (scheduler, COMING), (node, SCHEDULER), (node, VISITOR)):
        peer = meet(daemon, roles)
        peer.send([kind.tag, *values])
        peer.read(0.05)
    works(cluster)
    assert scheduler.process.poll() is None and node.process.poll() is None


@pytest.mark.parametrize("pattern", ["*:x", ":", "127.0.0.1:99999", "a" * 300])
def test_pattern_that_is_none_is_refused_with_that_reason(
    pattern: str, scheduler: Daemon, cluster: SharedJobCluster, meet: Meet
) -> None:
    peer = meet(scheduler, CLIENT)
    peer.send(said.Open(C, [pattern], False))
    assert "a message is refused: Open.nodes has" in reason_of(peer)
    works(cluster)


def test_pattern_of_many_stars_holds_nobody_up(scheduler: Daemon, cluster: SharedJobCluster, meet: Meet) -> None:
    peer = meet(scheduler, CLIENT)
    whole, _ = good_computation(C)
    peer.send(said.Open(C, ["*1" * 40 + "x"] * 100, False), whole)
    began = time.monotonic()
    works(cluster)
    assert time.monotonic() - began < 5


def test_job_that_is_said_twice_is_refused_or_runs_once(
    scheduler: Daemon, cluster: SharedJobCluster, meet: Meet
) -> None:
    peer = meet(scheduler, CLIENT)
    whole, arguments = good_computation(C)
    one, twice = [JobId(1)], [JobId(1), JobId(1)]
    peer.send(said.Resume([], []), said.Open(C, ["*"], False), whole)
    peer.send(said.Cancel(C, one, [0]), said.Run(C, one, [1], [arguments[1]]), said.Run(C, one, [1], [arguments[1]]))
    assert peer.until(said.Ended, 15) is not None
    peer.send(said.Run(C, twice, [1, 1], [arguments[1]] * 2))
    assert "Run names a job twice" in reason_of(peer)
    works(cluster)


def test_scheduler_starts_with_a_journal_in_which_something_cannot_be_applied(
    start_scheduler: Start, node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    directory = tmp_path / "journal"
    directory.mkdir(0o700)
    journal, _ = Journal.open(str(directory / "journal"))
    journal.begin("scheduler", Instance(b"i" * 16), 1)
    journal.append([said.Open(C, ["*"], False), Owned(C, Instance(b"c" * 16), "client", "")])
    journal.append([said.Run(C, [JobId(1)], [1], [b"argument"]), said.Open(C, ["*:x"], False)])
    journal.close()
    words = ("-n", f"127.0.0.1:{node.place[1]}", "--journal", str(directory))
    for _ in range(2):  # The second time nothing is said of it any more.
        daemon = start_scheduler(*words)
        port = daemon.place[1]
        with SharedJobCluster(abs, scheduler_node="127.0.0.1", scheduler_port=port, secret_file=secret_file) as made:
            works(made)
        daemon.stop()
    [copy] = directory.glob("journal.set-aside-*")
    assert b"argument" in copy.read_bytes()


# Who is who


def test_instance_of_another_client_is_of_no_use(scheduler: Daemon, cluster: SharedJobCluster, meet: Meet) -> None:
    begun = cluster.submit(-5)
    instance = cluster._engine.scheduler.instance
    POSED.add(instance)
    peer = meet(scheduler, CLIENT, instance=instance)
    peer.send(said.Resume([], []))
    assert "does not prove that the instance is its own" in reason_of(peer)
    assert begun.wait(20) and begun.result == 5


def test_instance_of_a_scheduler_is_of_no_use_on_its_nodes(
    start_node: Start, secret_file: str, meet: Meet, tmp_path: Path
) -> None:
    daemon = start_node("--cpus", "1")
    with JobCluster(wait_for_go, nodes=[daemon.place], secret_file=secret_file) as made:
        job = made.submit(str(tmp_path / "a"))
        eventually(lambda: job.status == DispyJob.Running)
        instance = made._engine.scheduler.instance
        POSED.add(instance)
        assert "does not prove" in reason_of(meet(daemon, SCHEDULER, instance=instance))
        (tmp_path / "a.go").touch()
        assert job.wait(20) and job.status == DispyJob.Finished


def test_computation_of_another_client_cannot_be_opened(
    scheduler: Daemon, cluster: SharedJobCluster, meet: Meet
) -> None:
    works(cluster)
    peer = meet(scheduler, CLIENT)
    peer.send(said.Resume([], []), said.Open(cluster._engine.computation, ["nowhere"], False))
    assert "another client has this computation" in reason_of(peer)
    works(cluster)


def test_node_cannot_say_that_a_computation_was_taken_over(
    scheduler: Daemon, cluster: SharedJobCluster, meet: Meet
) -> None:
    peer = meet(scheduler, COMING, cpus=1)
    peer.send(
        said.Inventory([], [], []),
        said.Fenced(cluster._engine.computation),
        said.Fenced(cluster._engine.computation, b"t" * 16, 9),
    )
    peer.read(0.2)
    works(cluster)


# Too much


def test_jobs_beyond_the_quota_end_with_that_reason_and_the_others_run(
    start_scheduler: Start, node: Daemon, secret_file: str
) -> None:
    words = ("-n", f"127.0.0.1:{node.place[1]}", "--no_journal", "--max_client_jobs", "1000")
    port = start_scheduler(*words).place[1]
    with SharedJobCluster(abs, scheduler_node="127.0.0.1", scheduler_port=port, secret_file=secret_file) as made:
        jobs = [made.submit(-number) for number in range(5000)]
        assert made.wait(60)
        refused = [job for job in jobs if job.status == DispyJob.Abandoned]
        assert refused and all("--max_client_jobs" in str(job.exception) for job in refused)
        assert all(job.result == number for number, job in enumerate(jobs) if job not in refused)
        assert len(refused) < 5000


def test_client_that_names_many_nodes_is_refused_and_costs_nothing(
    scheduler: Daemon, cluster: SharedJobCluster, secret_file: str
) -> None:
    nodes = [f"127.{1 + (each >> 8)}.{each & 255}.1:1" for each in range(ADDRESSES + 1)]
    port = scheduler.place[1]
    where = {"scheduler_node": "127.0.0.1", "scheduler_port": port, "secret_file": secret_file}
    with SharedJobCluster(abs, nodes=nodes, **where) as made:
        job = made.submit(-1)
        assert job.wait(20) and "use patterns with *" in str(job.exception)
    works(cluster)


def test_nodes_that_a_client_has_named_are_forgotten_with_its_computation(
    scheduler: Daemon, cluster: SharedJobCluster, secret_file: str
) -> None:
    def open_files() -> int:
        return len(os.listdir(f"/proc/{scheduler.pid}/fd"))

    works(cluster)
    before = open_files()
    port = scheduler.place[1]
    where = {"scheduler_node": "127.0.0.1", "scheduler_port": port, "secret_file": secret_file}
    with SharedJobCluster(abs, nodes=[f"127.0.5.{each}:1" for each in range(1, 200)], **where) as made:
        job = made.submit(-1)
        eventually(lambda: made.status().problems)
        made.cancel(job)
    eventually(lambda: open_files() <= before + 1)


def test_peer_that_reads_no_answers_is_let_go(scheduler: Daemon, cluster: SharedJobCluster, meet: Meet) -> None:
    peer = meet(scheduler, CLIENT)
    question = said.OverviewRequest(1)
    for _ in range(4000):
        if peer.closed:
            break
        peer.send(*[question] * 500)
    # It is gone, or held up by the window of the connection, but never fed.
    works(cluster)
    with open(f"/proc/{scheduler.pid}/status") as file:
        [line] = [line for line in file if line.startswith("VmRSS")]
    assert int(line.split()[1]) < 400_000


def test_more_open_questions_than_are_allowed_end_the_connection(
    scheduler: Daemon, node: Daemon, cluster: SharedJobCluster, meet: Meet
) -> None:
    works(cluster)
    peer, other = meet(scheduler, CLIENT), meet(scheduler, CLIENT)
    os.kill(node.pid, signal.SIGSTOP)
    try:
        peer.send(*(said.RunningJobsRequest(number, 1 << 52) for number in range(5)))
        assert "more than 4 questions of one connection are not answered yet" in reason_of(peer)
        other.send(said.RunningJobsRequest(9, 1 << 52))
        answer = other.until(said.RunningJobs, 15)
    finally:
        os.kill(node.pid, signal.SIGCONT)
    assert answer is not None and answer.question == 9 and "has not answered within 2 s" in answer.problems[0]
    works(cluster)


@pytest.mark.parametrize(
    ("roles", "message", "reason"),
    [
        (SCHEDULER, said.JobFactsRequest(1, ""), "a node takes no JobFactsRequest from a scheduler"),
        (SCHEDULER, said.RunningJobs(1, [], 0), "a node takes no RunningJobs from a scheduler"),
        (CLIENT, said.LogEvents(1, "", [], 0), "a scheduler takes no LogEvents from a client"),
        (COMING, said.LogRequest(1, 0.0, 1, "", []), "a scheduler takes no LogRequest from a node"),
    ],
)
def test_questions_and_answers_are_refused_from_others(
    roles: bytes,
    message: Message,
    reason: str,
    scheduler: Daemon,
    start_node: Start,
    cluster: SharedJobCluster,
    meet: Meet,
) -> None:
    daemon = start_node() if roles == SCHEDULER else scheduler
    peer = meet(daemon, roles, **({"cpus": 1} if roles == COMING else {}))
    peer.send(*([said.Inventory([], [], [])] if roles == COMING else []), message)
    assert reason in reason_of(peer)
    works(cluster)


# Strangers


def test_recorded_first_message_is_answered_once(node: Daemon, secret_file: str) -> None:
    first = Initiator(find_secret("", secret_file).for_tcp(), SCHEDULER, os.urandom(32), time.time()).first
    answers = []
    for _ in range(3):
        sock = reach(node.place)
        sock.sendall(first)
        answers.append(len(read_up_to(sock, SECOND_BYTES, 1)))
        abort(sock)
    assert answers == [SECOND_BYTES, 0, 0]


def test_clock_that_is_far_off_is_told_to_both(node: Daemon, secret_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr("gdispy.net.time.time", lambda: real() - 3 * 3600)
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file) as made:
        problem = eventually(lambda: [each for each in made.status().problems if "clock" in each])[0]
    assert "its clock is 180 minutes ahead of the clock of this machine" in problem and "set the clocks" in problem
    eventually(lambda: "its clock differs by 180 minutes" in node.log.read_text())


def test_peer_without_the_secret_cannot_connect(node: Daemon) -> None:
    with pytest.raises(Refused):
        Peer.connect(node.place, os.urandom(32), SCHEDULER)


# Keys


def test_key_of_a_connection_changes_with_time_and_jobs_go_on(
    node: Daemon, secret_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdispy.transport.liveness.REKEY_INTERVAL", 0.2)
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file, pulse_interval=0.2) as made:
        works(made)
        [connection] = made._engine.scheduler._connections.values()
        keys = {connection._sender._key}

        def has_changed_twice() -> bool:
            works(made)
            keys.add(connection._sender._key)
            return len(keys) >= 3

        eventually(has_changed_twice)
        assert list(made._engine.scheduler._connections.values()) == [connection]
