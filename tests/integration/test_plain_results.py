"""`results='plain'`: results are data, and the client unpickles nothing that comes from nodes, whatever they send."""

from __future__ import annotations

import decimal
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gdispy import ConfigError, DispyJob, JobCluster, JobFailed, SharedJobCluster, fault_recover_jobs, recover_jobs
from gdispy.worker import pickling
from tests.support.daemons import Daemon
from tests.support.jobs import wait_for_go
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


@pytest.fixture
def scheduler(tmp_path: Path, node: Daemon, secret_file: str) -> Iterator[Daemon]:
    words = ["-n", f"127.0.0.1:{node.place[1]}", "-i", "127.0.0.1", "--no_journal", "--secret-file", secret_file]
    daemon = Daemon(tmp_path, *words, script="gdispy-scheduler")
    yield daemon
    daemon.stop()


class Trap:
    """Makes a directory where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def give(value: Any) -> Any:
    return value


def send_pickle(path: str, way: str) -> Any:
    """What a node does that is not what it should be."""
    encoding = sys.modules["gdispy.worker.result_encoding"]
    encoding._is_plain = False  # type: ignore[attr-defined]

    class Failing(Exception):
        def __reduce__(self) -> Any:
            return os.mkdir, (path,)

    if way == "raise":
        raise Failing("it has failed")
    if way == "provisional":
        dispy_provisional_result(Trap(path))  # type: ignore[name-defined]
        return None
    if way == "large":
        return [Trap(path), bytes(1_000_000)]
    return Trap(path)


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", {"a": (1, [2.5, b"x"], {3})}, 1 << 100, bytes(3_000_000), ["x" * 10] * 100_000],
    ids=lambda value: type(value).__name__,
)
def test_plain_value_comes_back_as_it_was(cluster: Make, value: Any) -> None:
    found = cluster(give, results="plain").submit(value).result_or_raise(30)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("size", [3, 1_000_000])
def test_arrays_come_back_and_can_be_changed(cluster: Make, size: int) -> None:
    found = cluster(give, results="plain").submit({"x": [np.arange(size, dtype=">f8")]}).result_or_raise(30)["x"][0]
    assert found.dtype == ">f8" and np.array_equal(found, np.arange(size))
    found += 1


def test_job_that_returns_anything_else_says_what_and_where(cluster: Make) -> None:
    made = cluster(give, results="plain")
    job = made.submit({"a": [1, 2, 3, decimal.Decimal(1)]})
    assert job() is None and job.status == DispyJob.Terminated
    assert job.exception == (
        "The result cannot be sent, because the cluster accepts only plain data: result['a'][3] is a decimal.Decimal\n"
    )
    assert made.submit(1)() == 1


def provide(value: Any) -> str:
    try:
        dispy_provisional_result({"x": value})  # type: ignore[name-defined]
    except TypeError as error:
        return str(error)
    return "sent"


def test_provisional_results_are_plain_too(cluster: Make) -> None:
    found: list[Any] = []
    made = cluster(provide, results="plain", callback=lambda job: found.append((job.status, job.result)))
    assert made.submit((1, 2)).result_or_raise(30) == "sent"
    told = made.submit(decimal.Decimal(1)).result_or_raise(30)
    assert told == "the provisional result['x'] is a decimal.Decimal"
    made.wait(10)
    assert (DispyJob.ProvisionalResult, {"x": (1, 2)}) in found


def test_what_a_job_has_raised_is_told_by_its_text(cluster: Make) -> None:
    def fail() -> None:
        raise decimal.InvalidOperation("no number")

    with pytest.raises(JobFailed, match="InvalidOperation") as caught:
        cluster(fail, results="plain").submit().result_or_raise(30)
    cause = caught.value.__cause__
    assert type(cause).__name__ == "InvalidOperation" and not isinstance(cause, decimal.InvalidOperation)


def test_map_gives_plain_results_and_failures_of_single_calls(cluster: Make) -> None:
    made = cluster(give, results="plain")
    assert list(made.map(give_values())) == give_values()
    values = [1, decimal.Decimal(2), 3]
    found = list(made.map(values, on_error="yield"))
    assert (found[0], found[2]) == (1, 3) and "result is a decimal.Decimal" in str(found[1])


def give_values() -> list[Any]:
    return [(number, {"n": [number]}) for number in range(500)]


@pytest.mark.parametrize("way", ["return", "large", "raise"])
def test_pickle_of_a_node_is_never_unpickled_and_fails_its_job_only(cluster: Make, tmp_path: Path, way: str) -> None:
    path = tmp_path / "trap"
    made = cluster(send_pickle, results="plain", isolation="job")
    job = made.submit(str(path), way)
    assert job() is None and job.status == DispyJob.Terminated
    with pytest.raises(JobFailed):
        job.result_or_raise()
    if way != "raise":
        assert job.exception == (
            "The result arrived, but the cluster accepts only plain data: it is a pickle, or something else that is "
            "not plain data\n"
        )
    assert not path.exists()
    assert cluster(give, results="plain").submit(1)() == 1
    # Without it, whoever is asked for the result is the one who runs it.
    job = cluster(send_pickle).submit(str(path), way)
    job()
    if way == "raise":
        with pytest.raises(JobFailed):
            job.result_or_raise()
    assert path.exists()


def test_provisional_pickle_is_never_unpickled(cluster: Make, tmp_path: Path, caplog: Any) -> None:
    found: list[Any] = []
    made = cluster(send_pickle, results="plain", callback=lambda job: found.append((job.status, job.result)))
    assert made.submit(str(tmp_path / "trap"), "provisional")() is None
    made.wait(10)
    assert (DispyJob.ProvisionalResult, None) in found and not (tmp_path / "trap").exists()
    assert "cannot be read here: NotPlain" in caplog.text


def test_map_unpickles_nothing_either(cluster: Make, tmp_path: Path) -> None:
    made = cluster(send_pickle, results="plain")
    paths = [str(tmp_path / f"trap{number}") for number in range(20)]
    found = list(made.map(paths, ["return"] * 20, on_error="yield", chunksize=5))
    assert len(found) == 20 and all(isinstance(each, JobFailed) for each in found)
    assert os.listdir(tmp_path) == [each for each in os.listdir(tmp_path) if not each.startswith("trap")]


def test_pickles_in_a_recovery_file_are_never_unpickled(
    start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    node = start_node("--cpus", "1")
    file, trap = tmp_path / "jobs.recover", tmp_path / "trap"
    both: dict[str, Any] = {"nodes": [node.place], "secret_file": secret_file, "results": "plain"}
    made = JobCluster(send_pickle, fault_recover=str(file), **both)
    jobs = [made.submit(str(trap), "return"), made.submit(str(trap), "raise")]
    jobs[0].id = ("name", 1)
    made.wait(20)
    made.detach()
    found = {job.id: job for job in fault_recover_jobs(str(file), secret_file=secret_file)}
    assert ("name", 1) in found
    for job in found.values():
        assert job.result is None and job.status == DispyJob.Terminated
        with pytest.raises(JobFailed):
            job.result_or_raise()
    assert not trap.exists()


def test_jobs_that_are_taken_up_again_are_read_as_plain_data(
    start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    node = start_node("--cpus", "1")
    file, trap = tmp_path / "jobs.recover", tmp_path / "trap"
    both: dict[str, Any] = {"nodes": [node.place], "secret_file": secret_file, "fault_recover": str(file)}
    # Given a life of the program that took pickles, and a next one that does not.
    made = JobCluster(send_pickle, **both)
    made.submit(str(trap), "return").wait(20)
    made.detach()
    with JobCluster(send_pickle, resume=True, results="plain", **both) as again:
        (job,) = again.resumed
        assert job() is None and "only plain data" in (job.exception or "")
    assert not trap.exists()


def test_jobs_left_to_a_scheduler_are_collected_without_unpickling(
    scheduler: Daemon, secret_file: str, tmp_path: Path
) -> None:
    place = {"scheduler_node": "127.0.0.1", "scheduler_port": scheduler.place[1], "secret_file": secret_file}
    trap = tmp_path / "trap"
    made = SharedJobCluster(send_pickle, results="plain", **place)
    jobs = [made.submit(str(trap), "return"), made.submit_job_id(("name", 2), str(trap), "raise")]
    assert [job.wait(20) for job in jobs] == [True, True] and jobs[0].result is None
    later = SharedJobCluster(wait_for_go, results="plain", **place)
    left = later.submit_job_id(("mine", 3), str(tmp_path / "go"))
    assert left is not None
    eventually(lambda: later.status().nodes)
    token = later.detach()
    (tmp_path / "go.go").touch()
    found = recover_jobs(token, secret_file=secret_file)
    assert [job.id for job in found] == [("mine", 3)]
    odd = SharedJobCluster(wait_for_go, results="plain", **place)
    odd.submit_job_id(decimal.Decimal(1), str(tmp_path / "go2"))
    with pytest.raises(ConfigError, match=r"the id of a job is a decimal\.Decimal: choose another id"):
        odd.detach()
    (tmp_path / "go2.go").touch()
    odd.close()
    made.close()
    assert not trap.exists()


def test_names_from_a_scheduler_are_read_as_plain_data_only() -> None:
    from gdispy.journal.detach_token import joined_plain
    from gdispy.recover import _read_name

    trap = pickling.dumps(("a", 1))
    assert isinstance(trap, bytes) and _read_name(trap, False) == trap
    assert _read_name(trap, True) == b"" and _read_name(b"\3\0\0\0\1", True) == b""
    assert _read_name(joined_plain(("a", 1)), True) == joined_plain(("a", 1))


@pytest.mark.parametrize("value", ["pickle", None, True, b"plain"])
def test_other_ways_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"results must be '' .* or 'plain'"):
        JobCluster(give, nodes=["local"], results=value)


def test_node_that_does_not_know_the_way_says_so(cluster: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdispy.client.cluster.checked_results", lambda value: "later")
    job = cluster(give, results="later").submit(1)
    assert job.wait(20) and "results='later' is not known to this node" in (job.exception or "")
