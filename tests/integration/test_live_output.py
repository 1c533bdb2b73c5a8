"""What running jobs print and log, at the client, with real nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gdispy
from gdispy import JobCluster
from tests.support.daemons import Daemon
from tests.support.jobs import print_in_bursts, print_lines, wait_for_file
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


def answer(directory: Path, line: str) -> None:
    (directory / line.split()[1]).touch()


def test_each_line_arrives_while_the_job_waits_for_an_answer_to_it(cluster: Make, tmp_path: Path) -> None:
    job = cluster(print_lines).submit(str(tmp_path), 3)
    found = []
    for line in job.follow("stdout"):
        found.append(line)
        if line.startswith("line"):
            answer(tmp_path, line)
    assert found == ["line 0", "line 1", "line 2", "end"] and job.result == 3
    assert job.stdout.split("\n") == found and job.stderr == "error 0\nerror 1\nerror 2\n"
    assert list(job.follow("stderr")) == ["error 0", "error 1", "error 2"]


def test_job_that_runs_already_is_followed_from_its_beginning(cluster: Make, tmp_path: Path) -> None:
    job = cluster(print_lines).submit(str(tmp_path), 2)
    assert eventually(lambda: job.status == gdispy.DispyJob.Running)
    lines = job.follow()
    first = {next(lines), next(lines)}
    assert first == {"line 0", "error 0"}
    for number in range(2):
        answer(tmp_path, f"line {number}")
    assert set(lines) == {"line 1", "error 1", "end"}


def test_later_reader_of_a_running_job_gets_all_lines_too(cluster: Make, tmp_path: Path) -> None:
    job = cluster(print_lines).submit(str(tmp_path), 2)
    first = job.follow("stdout")
    assert next(first) == "line 0"
    answer(tmp_path, "line 0")
    assert next(first) == "line 1"
    later = job.follow("stdout")
    assert [next(later), next(later)] == ["line 0", "line 1"]
    answer(tmp_path, "line 1")
    assert list(first) == list(later) == ["end"]


def test_lines_that_come_all_at_once_are_complete_and_long_ones_are_whole(cluster: Make) -> None:
    def burst(count: int) -> None:
        print("\n".join(map(str, range(count))))
        print("\u00e9" * 100_000)

    job = cluster(burst).submit(30_000)
    assert list(job.follow()) == [*map(str, range(30_000)), "\u00e9" * 100_000]


def test_output_of_a_job_that_is_killed_is_kept(cluster: Make) -> None:
    def die(size: int) -> None:
        import os
        import signal
        import sys

        sys.stdout.write("x" * size + "\n")
        print("last words", flush=True)
        print("error", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    made = cluster(die, output_limit=100_000)
    for size in (0, 50_000, 300_000):
        job = made.submit(size)
        job.wait()
        assert job.stdout.endswith("\nlast words\n") and job.stderr == "error\n"
        is_cut = size == 300_000
        assert job.truncated == is_cut == ("bytes of output left out here" in job.stdout)
        assert len(job.stdout) == size + 12 or (is_cut and len(job.stdout) < 100_100)
        assert list(job.follow("stderr")) == ["error"]
    assert made.submit(0).wait()


def test_second_job_of_a_worker_shows_its_own_output_only(one: Make, tmp_path: Path) -> None:
    made = one(print_lines)
    jobs = [made.submit(str(tmp_path / str(number)), 1) for number in range(2)]
    for number, job in enumerate(jobs):
        (tmp_path / str(number)).mkdir()
        lines = job.follow("stdout")
        assert next(lines) == "line 0"
        answer(tmp_path / str(number), "line 0")
        assert list(lines) == ["end"]


PROGRAM = """#!/bin/sh
echo begin
echo trouble >&2
while [ ! -e "$1/0" ]; do sleep 0.05; done
echo end
"""


def test_programs_are_followed_too(cluster: Make, tmp_path: Path) -> None:
    program = tmp_path / "program.sh"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    job = cluster(str(program)).submit(str(tmp_path))
    lines = job.follow()
    assert {next(lines), next(lines)} == {"begin", "trouble"}
    answer(tmp_path, "line 0")
    assert list(lines) == ["end"] and job() == 0


def test_much_output_is_followed_in_bounded_memory_and_nothing_is_shown_twice(cluster: Make) -> None:
    job = cluster(print_in_bursts, output_limit=200_000).submit(200_000)
    numbers = [int(line) for line in job.follow() if line.isdigit() and len(line) == 8]
    assert numbers == sorted(set(numbers)) and numbers[0] == 0 and numbers[-1] == 199_999


def test_echo_prints_all_jobs_with_node_and_job_in_front(
    cluster: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = cluster(print_lines, echo=True)
    job = made.submit(str(tmp_path), 1)
    shown: list[str] = []

    def arrives(text: str) -> bool:
        shown.append(capfd.readouterr().out)
        return f" {job.id}] {text}\n" in "".join(shown)

    assert eventually(lambda: arrives("line 0"))
    answer(tmp_path, "line 0")
    assert made.wait(30)
    assert eventually(lambda: arrives("end"))
    assert "".join(shown).count("line 0") == 1


def test_line_that_is_not_flushed_does_not_wait_for_the_end_of_the_job(cluster: Make, tmp_path: Path) -> None:
    def print_and_wait(directory: str) -> None:
        print("unflushed")
        wait_for_file(f"{directory}/0")

    made = cluster(print_and_wait)
    job = made.submit(str(tmp_path))
    assert eventually(lambda: job.status == gdispy.DispyJob.Running)
    assert next(job.follow()) == "unflushed"
    answer(tmp_path, "line 0")
    job()


def test_records_of_jobs_are_handled_here_before_the_job_has_ended(
    cluster: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def work(number: int) -> int:
        import logging

        log = logging.getLogger("tests.of.jobs")
        log.info("begin %d", number, extra={"part": number})
        try:
            raise ValueError("bad")
        except ValueError:
            log.exception("failed")
        logging.getLogger("tests.of.others").info("below its level")
        return number

    caplog.set_level(logging.INFO, "tests.of.jobs")
    made = cluster(work, logging="forward")
    job = made.submit(4)
    assert job() == 4 and job.status == gdispy.DispyJob.Finished and job.stderr == ""
    assert made.wait(30)
    records = [each for each in caplog.records if each.name == "tests.of.jobs"]
    assert [each.getMessage() for each in records] == ["begin 4", "failed"]
    assert {vars(each)["job"] for each in records} == {job.id} and all(vars(each)["node"] for each in records)
    assert vars(records[0])["part"] == 4 and "ValueError: bad" in (records[1].exc_text or "")
    assert not [each for each in caplog.records if each.name == "tests.of.others"]


def test_records_and_lines_are_there_when_the_job_has_ended(cluster: Make, capsys: pytest.CaptureFixture[str]) -> None:
    def work(number: int) -> None:
        import logging

        print("printed", number)
        logging.getLogger("tests.of.jobs").warning("logged %d", number)

    seen: list[str] = []

    class Seeing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    handler = Seeing()
    logging.getLogger("tests.of.jobs").addHandler(handler)
    try:
        made = cluster(work, logging="forward", echo=True)
        for number in range(30):
            made.submit(number)()
            assert seen[-1] == f"logged {number}" and f"] printed {number}\n" in capsys.readouterr().out
    finally:
        logging.getLogger("tests.of.jobs").removeHandler(handler)


def test_provisional_results_and_records_do_not_disturb_each_other(
    cluster: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> str:
        import logging

        for number in range(3):
            dispy_provisional_result(number)
            logging.getLogger("tests.of.jobs").warning("at %d", number)
        return "end"

    seen: list[Any] = []
    made = cluster(work, logging="forward", callback=lambda job: seen.append(job.result))
    assert made.submit()() == "end" and made.wait(30)
    assert seen == [0, 1, 2, "end"]
    assert [each.getMessage() for each in caplog.records if each.name == "tests.of.jobs"] == ["at 0", "at 1", "at 2"]


def test_followed_job_of_a_node_that_is_killed_ends_its_lines(
    start_node: Any, secret_file: str, tmp_path: Path
) -> None:
    node: Daemon = start_node()
    with JobCluster(print_lines, nodes=[node.place], secret_file=secret_file, pulse_interval=0.3) as made:
        job = made.submit(str(tmp_path), 1)
        lines = job.follow("stdout")
        assert next(lines) == "line 0"
        node.kill()
        assert list(lines) == [] and job.wait(30) and job.status == gdispy.DispyJob.Abandoned


def test_job_whose_cluster_is_gone_cannot_be_followed() -> None:
    with pytest.raises(gdispy.ConfigError, match="cannot be followed: its cluster does not exist in this process"):
        gdispy.DispyJob().follow()
