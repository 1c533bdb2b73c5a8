"""What a program's callbacks see, and what waits for them: `wait`, `close`, `with`, the end of the program."""

from __future__ import annotations

import functools
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, DispyNode, JobCluster, JobFailed
from gdispy.client import user_callbacks
from tests.support.daemons import Daemon, run_python
from tests.support.jobs import provide_slowly, wait_for_file
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


def same(value: Any) -> Any:
    return value


def pause() -> None:
    """What a callback takes that does something."""
    threading.Event().wait(0.01)


# Waiting


def test_wait_returns_when_all_callbacks_have(cluster: Make) -> None:
    seen: list[int] = []

    def store(job: DispyJob) -> None:
        pause()
        seen.append(job.result)

    made = cluster(same, callback=store)
    for number in range(20):
        made.submit(number)
    assert made.wait() and sorted(seen) == list(range(20))


@pytest.mark.parametrize("how", ["wait", "close", "with"])
@pytest.mark.parametrize("kind", ["callback", "cluster_status"])
def test_jobs_that_callbacks_submit_are_waited_for(cluster: Make, how: str, kind: str) -> None:
    seen: list[int] = []

    def go_on(job: DispyJob) -> None:
        pause()
        seen.append(job.result)
        if job.result < 5:
            made.submit(job.result + 1)

    def on_status(status: int, node: Any, job: Any) -> None:
        if status == DispyJob.Finished:
            go_on(job)

    made = cluster(same, **{kind: go_on if kind == "callback" else on_status})
    if how == "with":
        with made:
            made.submit(0)
    else:
        made.submit(0)
        getattr(made, how)()
    assert seen == [0, 1, 2, 3, 4, 5]


def test_wait_inside_a_callback_waits_for_jobs_and_no_callbacks(cluster: Make) -> None:
    seen: list[Any] = []

    def wait_there(job: DispyJob) -> None:
        if job.result == 0:
            more = made.submit(7)
            seen.append((made.wait(10), more.status))
        else:
            seen.append(job.result)

    made = cluster(same, callback=wait_there)
    other = cluster(same, callback=lambda job: made.submit(8) if job.result == 9 else other.wait(10))
    made.submit(0)
    assert made.wait(20) and seen == [(True, DispyJob.Finished), 7]
    other.submit(9)
    assert other.wait(20) and made.wait(20) and seen[2:] == [8]


def test_wait_has_a_limit_that_callbacks_count_for(cluster: Make) -> None:
    release = threading.Event()
    made = cluster(same, callback=lambda job: release.wait(30))
    job = made.submit(1)
    assert job() == 1
    try:
        assert not made.wait(0.05) and not made.close(timeout=0.05)
        assert made._count._gates == []
    finally:
        release.set()
    assert made.wait(20)


def test_wait_for_some_jobs_only(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_file)
    long, short = made.submit(str(tmp_path / "gate")), made.submit(str(tmp_path))
    assert made.wait(20, jobs=[short]) and not long.wait(0)
    assert not made.wait(0.05, jobs=[short, long])
    with pytest.raises(ConfigError, match=r"not list; to wait for certain jobs: wait\(jobs=\[...\]\)"):
        made.wait([short])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="wait takes jobs, not int"):
        made.wait(jobs=[1])  # type: ignore[list-item]
    (tmp_path / "gate").touch()
    assert made.wait(20)


def test_close_reports_which_callback_it_waits_for(
    cluster: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gdispy.client.completion.PATIENCE", 0.1)
    release = threading.Event()

    def store(job: DispyJob) -> None:
        assert release.wait(30)

    made = cluster(same, callback=store)
    job = made.submit(1)
    closing = threading.Thread(target=made.close)
    closing.start()
    eventually(
        lambda: f"store for job {job.id}, which has been running for 0 s; Ctrl-C stops waiting" in caplog.text, 10
    )
    release.set()
    closing.join(20)
    assert not closing.is_alive() and made._closed


def test_closing_by_force_takes_no_more_jobs_of_callbacks(cluster: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = cluster(wait_for_file, callback=lambda job: made.submit("/nowhere"))
    made.submit("/nowhere")
    assert made.close(timeout=0, terminate=True)
    assert "ClusterClosed" in caplog.text


def test_closing_by_force_does_not_wait_for_a_callback_that_blocks(
    cluster: Make, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    made = cluster(same, callback=lambda job: release.wait(60))
    assert made.submit(1)() == 1
    try:
        began = time.monotonic()
        assert made.close(timeout=0.1, terminate=True) and time.monotonic() - began < 10
        assert "closed without waiting for the callback" in caplog.text
    finally:
        release.set()


def test_jobs_that_go_on_without_the_program_have_not_ended_for_its_callbacks(
    cluster: Make, secret_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    file, gate = str(tmp_path / "jobs"), tmp_path / "gate"

    def note(job: DispyJob) -> None:
        seen.append((job.args, job.status))

    made = cluster(wait_for_file, callback=note, fault_recover=file)
    job = made.submit(str(gate))
    made.detach()
    assert job.wait(5) and seen == []
    gate.touch()
    with cluster(wait_for_file, callback=note, fault_recover=file, resume=True) as again:
        assert again.wait(20)
    assert seen == [((str(gate),), DispyJob.Finished)]
    assert "cannot be written" not in caplog.text


INTERRUPTED = """
import atexit, os, signal, threading, gdispy

def work():
    import time
    time.sleep(30)

atexit.register(lambda: print("the last", flush=True))
cluster = gdispy.JobCluster(work, nodes=["local"])
job = cluster.submit()
while job.status != gdispy.DispyJob.Running:
    job.wait(0.01)

print("the end", flush=True)
timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
timer.daemon = True
timer.start()
"""


def test_ctrl_c_at_the_end_of_a_program_is_no_success() -> None:
    ended = run_python(INTERRUPTED)
    assert (ended.returncode, ended.stdout) == (130, b"the end\nthe last\n"), ended.stderr


SLOW = """
import sys, time, gdispy

def same(value):
    return value

def store(job):
    time.sleep(float(sys.argv[1]))
    print("stored", job.result, flush=True)

if __name__ == "__main__":
    cluster = gdispy.JobCluster(same, nodes=["local"], callback=store)
    jobs = [cluster.submit(number) for number in range(2)]
    print(sorted(job() for job in jobs), flush=True)
    if sys.argv[2:] == ["fail"]:
        raise RuntimeError("the program fails")
"""


@pytest.mark.parametrize("end", ["", "fail"])
def test_callbacks_run_to_their_end_at_the_end_of_a_program(end: str) -> None:
    ended = run_python(SLOW, 1.2, *filter(None, [end]))
    assert ended.returncode == (1 if end else 0)
    assert sorted(ended.stdout.decode().split("\n")) == ["", "[0, 1]", "stored 0", "stored 1"]


# What they are given


def test_the_job_of_a_callback_can_be_cancelled_and_is_the_job(cluster: Make) -> None:
    seen: list[Any] = []

    def cancel(job: DispyJob) -> None:
        if job.status == DispyJob.ProvisionalResult and job.result == 1:
            seen.append((made.cancel(job), job == submitted, job in [submitted], hash(job) == hash(submitted)))
            seen.append((submitted.status, made.cancel(job)))

    made = cluster(provide_slowly, callback=cancel)
    submitted = made.submit(300)
    assert made.wait(20)
    assert seen == [(0, True, True, True), (DispyJob.Cancelled, -1)]
    assert submitted.status == DispyJob.Terminated and submitted.error == "The job was cancelled."


def test_a_provisional_result_comes_with_the_start_of_its_job(cluster: Make) -> None:
    seen: list[DispyJob] = []
    made = cluster(provide_slowly, callback=seen.append)
    job = made.submit(1)
    assert job() == 1 and made.wait(10)
    assert [(each.status, each.result) for each in seen] == [(DispyJob.ProvisionalResult, 0), (DispyJob.Finished, 1)]
    assert seen[0].start_time and abs(seen[0].start_time - job.start_time) < 1 and seen[0].ip_addr == job.ip_addr


class Unlucky(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")


def make_unlucky(number: int) -> Any:
    return Unlucky(number, "why")


def raise_unlucky(number: int) -> Any:
    if number % 2:
        raise Unlucky(number, "why")
    return number


def raise_key_error(number: int) -> Any:
    if number % 2:
        raise KeyError(number)
    return number


def test_a_result_that_cannot_be_unpickled_is_known_as_such_to_callbacks(cluster: Make) -> None:
    seen: list[Any] = []
    made = cluster(
        make_unlucky,
        callback=lambda job: seen.append((job.status, job.result)),
        cluster_status=lambda status, node, job: seen.append((status, job and job.status)),
    )
    job = made.submit(1)
    assert made.wait(10)
    assert seen[-2:] == [(DispyJob.Terminated, None), (DispyJob.Terminated, DispyJob.Terminated)]
    assert job.status == DispyJob.Terminated and "cannot be unpickled here: TypeError" in job.exception


def test_callbacks_can_be_read_and_replaced(cluster: Make) -> None:
    seen: list[Any] = []
    made = cluster(same)
    assert made.callback is made.job_status is made.cluster_status is None
    made.cluster_status = lambda status, node, job: seen.append(status)
    made.job_status = lambda job: seen.append("job")
    assert made.submit(1)() == 1 and made.wait(10)
    of_jobs = [each for each in seen if each != DispyNode.Initialized]
    assert of_jobs == [DispyJob.Created, DispyJob.Running, "job", DispyJob.Finished]
    made.callback = None
    assert made.submit(1)() == 1 and made.wait(10) and seen.count("job") == 1
    with pytest.raises(ConfigError, match="cluster_status must take exactly three arguments"):
        made.cluster_status = same
    assert not made.end_time
    made.close()
    assert made.start_time <= made.end_time and made.cpu_time > 0
    eventually(lambda: DispyNode.Closed in seen, 10)


def test_arguments_of_a_job_are_known(cluster: Make) -> None:
    seen: list[Any] = []
    made = cluster(
        functools.partial(dict, a=1),
        cluster_status=lambda status, node, job: seen.append(job and (job._args, job._kwargs)),
    )
    job = made.submit(b=2)
    large = made.submit(b=b"x" * 100_000)
    assert large.kwargs == {"b": b"x" * 100_000} or large._done
    assert job() == {"a": 1, "b": 2} and made.wait(10)
    assert (job.args, job.kwargs) == ((), {"b": 2})
    assert large.args is None and large.kwargs is None  # Kept for as long as it has not ended.
    assert ((), {"b": 2}) in seen


# Nodes


def test_nodes_are_live_objects(cluster: Make, node: Daemon) -> None:
    seen: list[Any] = []

    def note(status: int, node: Any, job: Any) -> None:
        if node is not None and job is not None:
            seen.append((status, node.busy, node.jobs_done, round(node.cpu_time, 1)))
            nodes.append(node)

    nodes: list[DispyNode] = []
    made = cluster(time.sleep, cluster_status=note)
    for _ in range(2):
        made.submit(0.3)()
        made.wait()
    running, finished = DispyJob.Running, DispyJob.Finished
    assert seen == [(running, 1, 0, 0.0), (finished, 0, 1, 0.3), (running, 1, 1, 0.3), (finished, 0, 2, 0.6)]
    found = made.status().nodes
    assert found == [nodes[0]] and all(each is nodes[0] for each in nodes)
    made.submit(0)()
    made.wait()
    assert found[0].jobs_done == 3 and vars(found[0])["jobs_done"] == 3 and found[0].tx > 0


def test_received_bytes_count_provisional_results(cluster: Make) -> None:
    def send(count: int) -> int:
        for _ in range(count):
            dispy_provisional_result("x" * 1000)
        return count

    made = cluster(send)
    made.submit(20)()
    assert made.status().nodes[0].rx > 20_000


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", None])
def test_orders_about_nodes_take_host_names(cluster: Make, node: Daemon, tmp_path: Path, name: str | None) -> None:
    made = cluster(wait_for_file)
    made.submit(str(tmp_path))()
    host = name or made.status().nodes[0].name
    (tmp_path / "file").write_text("content")
    gate = str(tmp_path / "gate")
    job = made.submit_node(host, gate)
    assert job is not None and made.submit_job_id_node("x", host, gate).id == "x"  # type: ignore[union-attr]
    eventually(lambda: job in made.node_jobs(host), 10)
    assert made.set_node_cpus(host, "1") == 1
    assert made.send_file(str(tmp_path / "file"), host) == 0
    Path(gate).touch()
    assert made.wait(20)
    assert made.set_node_cpus(host, 2) == 2
    assert made.deallocate_node(host) == 0 and made.close_node(host) == 0
    assert made.submit_node("no.such.host.invalid", gate) is None


def test_a_node_that_was_closed_can_be_allocated_again(cluster: Make, node: Daemon) -> None:
    closed = threading.Event()
    made = cluster(same, cluster_status=lambda status, node, job: status == DispyNode.Closed and closed.set())
    assert made.submit(1)() == 1
    where = made.status().nodes[0]
    assert made.close_node(where) == 0 and closed.wait(10)
    assert made.allocate_node(where) == 0
    assert made.submit(2).result_or_raise(20) == 2


def test_a_job_that_runs_again_is_abandoned_first(
    start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    nodes = [start_node("--cpus", "1"), start_node("--cpus", "1")]
    seen: list[Any] = []

    def note(status: int, node: Any, job: Any) -> None:
        if job is not None:
            seen.append((status, job.status, node.port if node is not None else None))

    with JobCluster(
        wait_for_file,
        nodes=[each.place for each in nodes],
        secret_file=secret_file,
        pulse_interval=0.2,
        reentrant=True,
        cluster_status=note,
    ) as made:
        job = made.submit(str(tmp_path / "gate"))
        eventually(lambda: seen[-1:] and seen[-1][0] == DispyJob.Running, 10)
        port = seen[-1][2]
        lost, other = sorted(nodes, key=lambda each: each.place[1] != port)
        lost.kill()
        eventually(lambda: seen[-1][0] == DispyJob.Running and seen[-1][2] == other.place[1], 20)
        (tmp_path / "gate").touch()
        assert job.wait(20)
    created, running, abandoned, finished = DispyJob.Created, DispyJob.Running, DispyJob.Abandoned, DispyJob.Finished
    assert [each[0] for each in seen] == [created, running, abandoned, running, finished]
    assert [each[1] for each in seen[1:]] == [running, abandoned, running, finished]
    assert [each[2] for each in seen[1:]] == [port, port, other.place[1], other.place[1]]


# What went wrong, and cancelling


@pytest.mark.parametrize("chunksize", [1, 5])
def test_map_raises_skips_or_yields_failures(cluster: Make, chunksize: int) -> None:
    made = cluster(raise_key_error)
    assert list(made.map(range(6), chunksize=chunksize, on_error="skip")) == [0, 2, 4]
    for options in ({"on_error": "yield"}, {"return_exceptions": True}):
        found = list(made.map(range(4), chunksize=chunksize, **options))  # type: ignore[arg-type]
        assert found[::2] == [0, 2] and all(isinstance(each, JobFailed) for each in found[1::2])
        assert isinstance(found[1].__cause__, KeyError) and found[1].__cause__.args == (1,)
        assert found[3].job.args == (3,) and "called with (3)" in str(found[3]).splitlines()[0].replace(",)", ")")
    results = made.map(range(3), chunksize=chunksize)
    assert next(results) == 0
    with pytest.raises(JobFailed, match="KeyError: 1"):
        next(results)
    assert next(results) == 2


def test_map_with_rules_that_make_no_sense_is_refused(cluster: Make) -> None:
    made = cluster(same)
    with pytest.raises(ConfigError, match="on_error must be 'raise', 'skip' or 'yield', not 'ignore'"):
        made.map([1], on_error="ignore")
    with pytest.raises(ConfigError, match="return_exceptions=True means on_error='yield'"):
        made.map([1], on_error="skip", return_exceptions=True)


def test_a_source_that_fails_is_never_skipped(cluster: Make) -> None:
    def source() -> Any:
        yield 1
        raise OSError("the source is gone")

    results = cluster(same).map(source(), on_error="skip")
    assert next(results) == 1
    with pytest.raises(OSError, match="the source is gone"):
        next(results)


def test_a_failure_has_the_exception_of_the_job_as_its_cause(cluster: Make) -> None:
    with pytest.raises(JobFailed, match=r"^job .*, called with \(1\): Terminated\n") as failed:
        cluster(raise_key_error).submit(1).result_or_raise(20)
    assert type(failed.value.__cause__) is KeyError
    with pytest.raises(JobFailed) as failed:
        cluster(raise_unlucky).submit(1).result_or_raise(20)
    assert type(failed.value.__cause__).__name__ == "Unlucky" and str(failed.value.__cause__) == "1: why"


def test_cancel_all_ends_what_has_not_ended(cluster: Make) -> None:
    made = cluster(wait_for_file)
    jobs = [made.submit("/nowhere") for _ in range(20)]
    assert made.cancel_all() == 20 and made.cancel_all() == 0
    assert {job.status for job in jobs} <= {DispyJob.Cancelled, DispyJob.Terminated}
    assert made.wait(20) and jobs[19].status == DispyJob.Cancelled
    made.close()
    assert made.cancel_all() == 0


# Names


def test_keywords_of_the_function_may_have_any_name(cluster: Make) -> None:
    made = cluster(dict)
    assert made.submit(self=1)() == {"self": 1}
    assert made.submit_job_id("x", job_id=1, self=2)() == {"job_id": 1, "self": 2}
    where = made.status().nodes[0]
    assert made.submit_node(where, node=1)() == {"node": 1}  # type: ignore[misc]
    assert made.submit_job_id_node("y", where, job_id=1, node=2)() == {"job_id": 1, "node": 2}  # type: ignore[misc]


def test_numbers_of_jobs_are_unique_in_a_program(cluster: Make) -> None:
    one, two = cluster(same), cluster(same)
    jobs = [made.submit(number) for made in (one, two) for number in range(3)]
    assert len({job.id: job for job in jobs}) == 6
    for nothing in (0, "", None):
        assert isinstance(one.submit_job_id(nothing, 7).id, int) and one.submit_job_id(nothing, 7).id > 0
    assert one.submit_job_id({"a": 1}, 7).id == {"a": 1}


# Clusters that are forgotten


def test_a_cluster_that_is_forgotten_leaves_its_nodes() -> None:
    def node_processes() -> int:
        return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    before = node_processes()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for number in range(3):
            made = JobCluster(same, nodes=["local"])
            assert made.submit(number)() == number
            del made
            gc.collect()
    eventually(lambda: node_processes() <= before, 20, "nodes of forgotten clusters stay")
    assert [str(each.message) for each in warned if each.category is ResourceWarning] == [
        "the cluster 'same' was not closed: call close(), or use a with statement"
    ] * 3


def test_a_cluster_that_is_forgotten_while_jobs_run_lives_until_they_have_ended(tmp_path: Path) -> None:
    with pytest.warns(ResourceWarning, match="was not closed"):
        job = JobCluster(wait_for_file, nodes=["local"]).submit(str(tmp_path / "gate"))
        gc.collect()
        (tmp_path / "gate").touch()
        assert job.wait(20) and job.status == DispyJob.Finished
        del job
        eventually(lambda: gc.collect() >= 0 and not user_cluster_lives(), 10)


def user_cluster_lives() -> bool:
    from gdispy.client import engine

    return bool(engine._pending)


def test_a_program_that_eventlet_has_patched_is_refused() -> None:
    code = """
import sys, types
patcher = types.ModuleType("eventlet.patcher")
patcher.is_monkey_patched = lambda name: name == "thread"
sys.modules["eventlet.patcher"] = patcher
import gdispy
try: gdispy.JobCluster(abs, nodes=["local"])
except gdispy.ConfigError as error: print(error)
"""
    assert run_python(code).stdout.startswith(b"eventlet has patched this program, but gdispy runs on gevent")


def test_a_first_cluster_in_a_thread_is_no_reason_for_a_warning() -> None:
    code = """
import gdispy, threading
def make():
    with gdispy.JobCluster(abs, nodes=["local"]) as cluster: print(cluster.submit(-3)())
thread = threading.Thread(target=make)
thread.start(); thread.join()
"""
    ended = run_python(code)
    assert (ended.stdout, ended.stderr) == (b"3\n", b"")


def test_nothing_of_the_hub_runs_when_python_ends() -> None:
    """Python would end its thread, the stack of a greenlet and all, and crash."""
    code = """
import atexit, threading
atexit.register(lambda: print([each.name for each in threading.enumerate() if each.name == "gdispy-hub"]))
import gdispy
cluster = gdispy.JobCluster(abs, nodes=["local"])
print(cluster.submit(-3)())
"""
    assert run_python(code).stdout == b"3\n[]\n"


def test_patience_is_what_the_documentation_says() -> None:
    assert user_callbacks.PATIENCE == 5.0
