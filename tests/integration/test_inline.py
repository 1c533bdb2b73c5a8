"""`nodes='inline'`: jobs in this process, under the same interface; and jobs that are called again here."""

from __future__ import annotations

import builtins
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gdispy
from gdispy import DispyJob, JobCluster, SharedJobCluster
from tests.support.waiting import eventually

#: What jobs of this module leave in this process.
seen: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


def note(value: Any, factor: int = 1) -> Any:
    seen.append((os.getpid(), threading.get_ident(), value))
    return value * factor


def fail(value: int) -> int:
    raise ValueError(value)


def test_job_runs_in_the_thread_that_submits_it_and_has_ended_then() -> None:
    with JobCluster(note, nodes="inline") as cluster:
        job = cluster.submit(4, factor=2)
        assert seen == [(os.getpid(), threading.get_ident(), 4)]
        assert (job.status, job.result, job(), job.ip_addr, job.exception) == (
            DispyJob.Finished,
            8,
            8,
            "127.0.0.1",
            None,
        )
        assert job.start_time is not None and job.end_time is not None and job.end_time >= job.start_time
        assert list(cluster.map([1, 2, 3])) == [1, 2, 3]
        assert [each.result for each in cluster.as_completed([job])] == [8]
        status = cluster.status()
        assert (status.jobs_pending, status.problems, status.is_hopeless) == (0, [], False)
        assert cluster.cancel(job) == -1 and cluster.wait(1)
    with pytest.raises(gdispy.ClusterClosed):
        cluster.submit(1)


def test_failure_is_as_on_a_node_and_begins_at_the_function() -> None:
    with JobCluster(fail, nodes=["inline"]) as cluster:
        job = cluster.submit(5)
        assert job.status == DispyJob.Terminated and job.error == "ValueError: 5"
        assert job.exception is not None and job.exception.splitlines()[1].endswith("in fail")
        with pytest.raises(gdispy.JobFailed) as caught:
            job.result_or_raise()
        assert isinstance(caught.value.__cause__, ValueError)


def test_arguments_are_copies_and_what_could_not_travel_fails_here_too() -> None:
    def change(values: list[int]) -> Any:
        values.append(1)
        return (each for each in values) if len(values) > 1 else None

    values: list[int] = []
    with JobCluster(change, nodes="inline") as cluster:
        assert cluster.submit(values)() is None and values == []
        assert "cannot be pickled" in str(cluster.submit([1]).exception)
        with pytest.raises(TypeError, match="an argument of the job cannot be pickled"):
            cluster.submit(each for each in values)


def test_callbacks_statuses_and_provisional_results_are_those_of_a_cluster() -> None:
    def count(number: int) -> str:
        for each in range(number):
            dispy_provisional_result(each)
        return dispy_node_ip_addr

    shown: list[Any] = []
    statuses: list[Any] = []
    with JobCluster(
        count,
        nodes="inline",
        callback=lambda job: shown.append(job.result),
        cluster_status=lambda status, node, job: statuses.append(status),
    ) as cluster:
        cluster.submit(2)
    assert shown == [0, 1, "127.0.0.1"]
    provisional = DispyJob.ProvisionalResult
    assert statuses == [DispyJob.Created, DispyJob.Running, provisional, provisional, DispyJob.Finished]
    assert not hasattr(builtins, "dispy_provisional_result")


def test_callback_may_submit_more() -> None:
    results: list[int] = []

    def again(job: DispyJob) -> None:
        results.append(job.result)
        if job.result < 3:
            cluster.submit(job.result + 1)

    with JobCluster(note, nodes="inline", callback=again) as cluster:
        cluster.submit(1)
        assert eventually(lambda: len(results) == 3)
    assert results == [1, 2, 3]


def test_setup_and_cleanup_are_called_around_the_jobs() -> None:
    order: list[str] = []
    cluster = JobCluster(
        lambda: order.append("job"),
        nodes="inline",
        setup=lambda: order.append("setup"),
        cleanup=lambda: order.append("end"),
    )
    cluster.submit()
    cluster.close()
    assert order == ["setup", "job", "end"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, __import__("bdb").BdbQuit])
def test_interrupt_of_the_user_is_raised_by_submit_and_the_job_has_ended(error: type[BaseException]) -> None:
    def interrupted() -> None:
        raise error

    jobs: list[DispyJob] = []
    with JobCluster(interrupted, nodes="inline", callback=jobs.append) as cluster:
        with pytest.raises(error):
            cluster.submit()
        assert cluster.wait(10) and [job.status for job in jobs] == [DispyJob.Terminated]


def test_files_of_jobs_arrive_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(place: str) -> int:
        with open(os.path.join(place, "made.txt"), "w") as file:
            file.write("text")
        return dispy_send_file(os.path.join(place, "made.txt"))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with JobCluster(make, nodes="inline") as cluster:
        assert cluster.submit(str(tmp_path / "elsewhere"))() == 0
        assert cluster.submit(str(tmp_path))() == 0
    assert (tmp_path / "made.txt").read_text() == "text"


def test_plain_results_are_checked() -> None:
    with JobCluster(note, nodes="inline", results="plain") as cluster:
        assert cluster.submit([1, "a"])() == [1, "a"]
        assert "accepts only plain data" in str(cluster.submit([threading.Barrier]).exception)


def test_executor_runs_its_calls_here_and_its_initializer_once() -> None:
    with gdispy.Executor("inline", max_workers=3) as limited:
        assert limited.submit(note, 1).result() == 1
    with gdispy.Executor("inline", initializer=seen.append, initargs=("begin",)) as executor:
        assert executor.submit(note, 3).result() == 3 and list(executor.map(pow, [2, 3], [3, 2])) == [8, 9]
        failed = executor.submit(fail, 1)
        assert isinstance(failed.exception(), ValueError)
        with pytest.raises(ValueError, match="1"):
            failed.job.replay()
    assert [each for each in seen if each == "begin"] == ["begin"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JobCluster("/bin/true", nodes="inline"), "for a program use nodes='local'"),
        (lambda: JobCluster(note, nodes=["inline", "local"]), "'inline' .* must be the only element"),
        (lambda: JobCluster(note, nodes="inline", fault_recover="jobs.recover"), "omit fault_recover"),
        (lambda: SharedJobCluster(note, nodes="inline", secret="s" * 40), "valid only for JobCluster"),
        (lambda: JobCluster(note, nodes="inline", echo=1), "echo must be True or False"),
        (lambda: JobCluster(note, nodes="inline", logging="all"), "logging must be '' .* or 'forward', not 'all'"),
    ],
)
def test_what_is_not_possible_is_refused_at_once(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(gdispy.ConfigError, match=message):
        make()


def test_job_of_a_node_is_called_again_here_also_after_its_cluster_was_closed() -> None:
    with JobCluster(fail, nodes="local") as cluster:
        job = cluster.submit(7)
        assert job() is None
    with pytest.raises(ValueError, match="7"):
        job.replay()


def test_why_a_job_cannot_be_called_again() -> None:
    with JobCluster(note, nodes="inline") as cluster:
        large = cluster.submit("x" * 100_000)
        assert cluster.submit(2).replay() == 2
    with pytest.raises(gdispy.ConfigError, match="its arguments were not kept, since they are larger than 64 KiB"):
        large.replay()
    with pytest.raises(gdispy.ConfigError, match="its function is not known in this process"):
        DispyJob().replay()
    with JobCluster("/bin/echo", nodes="local") as programs:
        job = programs.submit("word")
        job()
    with pytest.raises(gdispy.ConfigError, match=r"echo is a program; start it with \['word'\]"):
        job.replay()
