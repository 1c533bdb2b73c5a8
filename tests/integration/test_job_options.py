"""What a single job may ask for: time, CPUs, memory, its turn, and files and names of its own; files both ways."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, JobCluster, NodeAllocate
from tests.support.daemons import Daemon
from tests.support.jobs import ignore_everything, note_and_wait, take_too_much, wait_for_go, wait_for_interrupt
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


def read(path: str) -> str:
    return Path(path).read_text()


def in_a_file(text: str, path: str) -> int:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    os.chmod(path, 0o640)
    return int(dispy_send_file(path))  # type: ignore[name-defined]


# Limits


def test_a_job_that_takes_too_long_is_ended_with_the_reason_and_its_output(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_interrupt)
    began = time.monotonic()
    job = made.submit(str(tmp_path / "a"), False, dispy_timeout=0.5)
    assert job() is None and job.status == DispyJob.Terminated
    assert 0.4 < time.monotonic() - began < 5
    assert job.exception == "The job took longer than its limit of 0.5 s (dispy_timeout) and was terminated.\n"
    # One that makes something of the interrupt ends well.
    job = made.submit(str(tmp_path / "b"), True, dispy_timeout=2)
    assert job() == "caught" and job.status == DispyJob.Finished


def test_a_job_that_takes_too_long_and_hears_nothing_is_killed_with_all_it_started(
    cluster: Make, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    job = cluster(ignore_everything).submit(str(mark), dispy_timeout=3)
    assert job.wait(20) and job.exception is not None and "dispy_timeout" in job.exception
    pids = [int(word) for word in mark.read_text().split()]
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def test_job_of_more_cpus_than_the_only_node_has_ends_and_holds_up_no_other(tmp_path: Path) -> None:
    with JobCluster(wait_for_go, nodes=[NodeAllocate("local", cpus=1)]) as made:
        first = made.submit(str(tmp_path / "first"))
        wide = made.submit(str(tmp_path / "wide"), dispy_cpus=5)
        last = made.submit(str(tmp_path / "last"))
        assert wide.wait(20) and wide.status == DispyJob.Terminated
        assert wide.error is not None and wide.error.startswith(
            "The job requires 5 CPUs (dispy_cpus), but only 1 may be"
        )
        for name, job in (("first", first), ("last", last)):
            (tmp_path / f"{name}.go").touch()
            assert job.wait(20) and job.status == DispyJob.Finished


def test_time_spent_waiting_does_not_count(cluster: Make, tmp_path: Path) -> None:
    made = cluster(note_and_wait)
    jobs = [made.submit(str(tmp_path / "f"), number, 0.5, dispy_timeout=2) for number in range(12)]
    assert [job() for job in jobs] == list(range(12)), [job.exception for job in jobs]


def test_a_job_of_several_cpus_has_them_and_leaves_none_to_others(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_go)
    wide = made.submit(str(tmp_path / "wide"), dispy_cpus=2)
    others = [made.submit(str(tmp_path / str(number))) for number in range(2)]
    eventually((tmp_path / "wide").exists)
    assert not wide.wait(0.3) and not (tmp_path / "0").exists()
    (tmp_path / "wide.go").touch()
    eventually(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
    last = made.submit(str(tmp_path / "last"), dispy_cpus=2)
    (tmp_path / "0.go").touch()
    assert others[0].wait(5) and not last.wait(0.3) and not (tmp_path / "last").exists()
    (tmp_path / "1.go").touch()
    (tmp_path / "last.go").touch()
    assert last.wait(5) and last.status == DispyJob.Finished


def test_a_job_of_more_cpus_than_its_node_has_ends_and_the_log_says_so(cluster: Make, caplog: Any) -> None:
    job = cluster(abs).submit(1, dispy_cpus=3)
    assert job.wait(20) and job.status == DispyJob.Terminated
    assert job.error is not None and job.error.startswith(
        "The job requires 3 CPUs (dispy_cpus), but only 2 may be used at"
    )
    assert "a job is terminated, since no node can run it: The job requires 3 CPUs" in caplog.text


def test_a_job_that_uses_too_much_memory_is_ended_with_the_reason(cluster: Make) -> None:
    made = cluster(take_too_much)
    job = made.submit("memory", dispy_memory=200_000_000)
    assert job.wait(20) and job.status == DispyJob.Terminated
    assert job.exception is not None and "its limit (dispy_memory) is 200,000,000" in job.exception
    # The limit was that job's own.
    assert made.submit("nothing").wait(10)


def test_jobs_of_higher_priority_go_first_and_in_order_within_one(cluster: Make, tmp_path: Path) -> None:
    made = cluster(note_and_wait)
    log = str(tmp_path / "log")
    first = [made.submit(log, number, 3) for number in (100, 101)]
    eventually(lambda: os.path.exists(log) and len(read(log).split()) == 2)
    made.set_node_cpus(made.status().nodes[0], 1)
    jobs = [made.submit(log, number, 0.01, dispy_priority=number % 3) for number in range(6)]
    assert all(job.wait(20) for job in first + jobs)
    assert read(log).split()[2:] == ["2", "5", "1", "4", "0", "3"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"dispy_timeout": 0}, "dispy_timeout must be a number"),
        ({"dispy_timeout": "1"}, "dispy_timeout must be a number"),
        ({"dispy_cpus": 1.5}, "dispy_cpus must be a whole number"),
        ({"dispy_cpus": -1}, "dispy_cpus must be a whole number"),
        ({"dispy_memory": True}, "dispy_memory must be a whole number"),
        ({"dispy_priority": float("nan")}, "dispy_priority must be a number"),
        ({"dispy_job_depends": ["/nowhere"]}, "/nowhere does not exist"),
        ({"dispy_job_depends": "file"}, "must be a list"),
        ({"dispy_cpu": 1}, "submit does not accept 'dispy_cpu'"),
    ],
)
def test_wishes_that_make_no_sense_are_refused_and_nothing_is_submitted(
    cluster: Make, wish: dict[str, Any], words: str
) -> None:
    made = cluster(abs)
    with pytest.raises(ConfigError, match=words):
        made.submit(1, **wish)
    assert made.wait(1)


# Files and names


def test_files_of_a_job_are_there_as_long_as_it_runs(cluster: Make, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in.txt").write_text("mine")
    made = cluster(read, cleanup=False)
    assert made.submit("data/in.txt", dispy_job_depends=["data/in.txt"])() == "mine"
    job = made.submit("data/in.txt")
    assert job() is None and job.exception is not None and "FileNotFoundError" in job.exception
    (tmp_path / "data" / "in.txt").write_text("x" * 5_000_000)
    assert len(made.submit("data/in.txt", dispy_job_depends=["data/in.txt"])()) == 5_000_000


def test_a_file_of_the_cluster_outlives_a_job_that_lists_it(cluster: Make, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("ours")
    made = cluster(read, depends=[str(path)])
    assert made.submit("in.txt", dispy_job_depends=[str(path)])() == "ours"
    assert made.submit("in.txt")() == "ours"


def test_functions_of_a_job_are_known_to_that_job_only(cluster: Make) -> None:
    def helper() -> int:
        return 42

    made = cluster(eval("lambda: helper()", {}))
    assert made.submit(dispy_job_depends=[helper])() == 42
    job = made.submit()
    assert job() is None and job.exception is not None and "NameError" in job.exception


def test_a_file_is_sent_to_a_node(cluster: Make, tmp_path: Path, caplog: Any) -> None:
    made = cluster(read)
    (tmp_path / "late.txt").write_text("late")
    assert made.submit("late.txt")() is None
    assert made.send_file(tmp_path / "late.txt", made.status().nodes[0]) == 0
    assert made.submit("late.txt")() == "late"
    assert made.send_file(tmp_path / "late.txt", "nowhere") == -1
    with pytest.raises(ConfigError, match="does not exist"):
        made.send_file(tmp_path / "never.txt", made.status().nodes[0])


def send_what_is_no_file(path: str) -> list[int]:
    os.mkfifo(path)
    return [int(dispy_send_file(each)) for each in (path, None, "nothing", "/dev/zero")]  # type: ignore[name-defined]


def test_what_is_no_file_is_not_sent_and_the_job_goes_on(cluster: Make, tmp_path: Path) -> None:
    job = cluster(send_what_is_no_file).submit(str(tmp_path / "pipe"))
    assert job() == [-1] * 4
    assert f"{tmp_path / 'pipe'}: it is not a file" in job.stderr and "dispy_send_file: None: " in job.stderr


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_a_job_sends_a_file_to_the_client(cluster: Make, tmp_path: Path, monkeypatch: Any, size: int) -> None:
    monkeypatch.chdir(tmp_path)
    job = cluster(in_a_file).submit("x" * size, f"out/{size}.txt")
    assert job() == 0, (job.exception, job.stderr)
    assert (tmp_path / "out" / f"{size}.txt").read_text() == "x" * size
    assert (tmp_path / "out" / f"{size}.txt").stat().st_mode & 0o777 == 0o600


def test_a_file_from_elsewhere_arrives_under_its_name_and_one_in_the_way_is_told(
    cluster: Make, tmp_path: Path, monkeypatch: Any
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    made = cluster(in_a_file)
    assert made.submit("abc", str(tmp_path / "elsewhere" / "name.txt"))() == 0
    assert (home / "name.txt").read_text() == "abc"
    (home / "taken").mkdir()
    job = made.submit("abc", "taken")
    assert job() == -1 and "taken already exists at the client" in job.stderr
    assert sorted(each.name for each in home.iterdir()) == ["name.txt", "taken"]


def test_file_of_the_user_stays_unless_jobs_may_replace_it(cluster: Make, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    made = cluster(in_a_file)
    job = made.submit("theirs", "mine.txt")
    assert job() == -1 and "create the cluster with overwrite=True" in job.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"
    # What jobs of this program have sent, later ones send anew.
    assert [made.submit(text, "new.txt")() for text in ("one", "two")] == [0, 0]
    assert (tmp_path / "new.txt").read_text() == "two"
    assert cluster(in_a_file, overwrite=True).submit("theirs", "mine.txt")() == 0
    assert (tmp_path / "mine.txt").read_text() == "theirs"


def test_equal_files_are_not_sent_again(cluster: Make, node: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(3_000_000))
    with_file = {"depends": [str(path)], "dest_path": "again", "cleanup": False}
    sent = []
    for _ in range(2):
        made = cluster(os.path.getsize, **with_file)
        assert made.submit("large.bin")() == 3_000_000
        sent.append(sum(each.sent for each in made._engine.scheduler._connections.values()))
        made.close()
    assert sent[0] > 3_000_000 > 100_000 > sent[1]
    path.write_bytes(b"y" * 3_000_000)
    made = cluster(lambda name: Path(name).read_bytes()[:1], **with_file)
    assert made.submit("large.bin")() == b"y"
