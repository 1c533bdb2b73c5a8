"""What jobs print, little and much, all of it or what is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gdispy import JobCluster
from gdispy.worker.output_capture import MEMORY_LIMIT, Capture, Output, capture_file, keep_within_limit
from tests.support.daemons import run_script
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]
MIB = 1024 * 1024


def say(size: int, complaint: int = 0) -> int:
    import sys

    sys.stdout.write("".join(f"{number:9}\n" for number in range(size // 10)))
    sys.stderr.write("e" * complaint)
    return size


def said(size: int) -> str:
    return "".join(f"{number:9}\n" for number in range(size // 10))


@pytest.mark.parametrize("size", [10, 32 * 1024, 40_000, 2 * MIB, 20 * MIB])
def test_what_is_not_limited_arrives_whole(cluster: Make, size: int) -> None:
    made = cluster(say, output_limit=None)
    jobs = [made.submit(size, 50_000 * number) for number in range(3)]
    for number, job in enumerate(jobs):
        assert job() == size
        assert job.stdout == said(size) and job.stderr == "e" * 50_000 * number and not job.truncated


def test_of_much_output_the_first_and_last_parts_are_kept_and_it_is_told_once(
    cluster: Make, caplog: pytest.LogCaptureFixture
) -> None:
    made = cluster(say, output_limit=1000)
    whole, cut = made.submit(1000), made.submit(5000, 1500)
    assert whole() == 1000 and whole.stdout == said(1000) and not whole.truncated
    assert cut() == 5000 and cut.truncated
    assert cut.stdout == said(5000)[:500] + "\n[gdispy: 4000 bytes of output left out here]\n" + said(5000)[-500:]
    assert cut.stderr == "e" * 500 + "\n[gdispy: 500 bytes of output left out here]\n" + "e" * 500
    told = f"say: job {cut.id} has printed 6,500 bytes, of which 4,500 were dropped: output_limit is 1,000 bytes per"
    assert [record.getMessage().startswith(told) for record in caplog.records if "printed" in record.message] == [True]


def test_nothing_is_kept_where_nothing_is_wanted(cluster: Make) -> None:
    job = cluster(say, output_limit=0).submit(100)
    assert job() == 100 and job.truncated and job.stdout == "\n[gdispy: 100 bytes of output left out here]\n"


def test_output_of_eight_mebibytes_is_kept_where_nobody_says_otherwise(cluster: Make) -> None:
    made = cluster("/bin/sh")
    job = made.submit("-c", f"head -c {8 * MIB} /dev/zero")
    assert job() == 0 and job.stdout == bytes(8 * MIB) and not job.truncated
    job = made.submit("-c", f"head -c {8 * MIB + 7} /dev/zero")
    assert job() == 0 and job.truncated
    assert job.stdout == bytes(4 * MIB) + b"\n[gdispy: 7 bytes of output left out here]\n" + bytes(4 * MIB)


def test_output_that_goes_to_disk_is_cut_there(cluster: Make) -> None:
    limit = MEMORY_LIMIT + MIB
    job = cluster("/bin/sh", output_limit=limit).submit("-c", f"head -c {limit + 5 * MIB} /dev/zero")
    assert job() == 0 and job.truncated
    assert len(job.stdout) == limit + len(f"\n[gdispy: {5 * MIB} bytes of output left out here]\n")


def test_output_and_result_are_both_large(cluster: Make) -> None:
    made = cluster(lambda data, act=say: (act(2 * MIB, 3 * MIB), data * 2)[1])
    for number in range(4):
        job = made.submit(bytes([number]) * MIB)
        assert job() == bytes([number]) * 2 * MIB
        assert job.stdout == said(2 * MIB) and job.stderr == "e" * 3 * MIB


def test_command_prints_all_output_of_each_job_in_order(tmp_path: Path) -> None:
    program = tmp_path / "much.sh"
    program.write_text("#!/bin/sh\necho begin $1; seq $1; echo complaint $1 >&2\n")
    program.chmod(0o755)
    done = run_script("gdispy", "--local", "-a", "3000000", "-a", "2", str(program))
    numbers = "".join(f"{number}\n" for number in range(1, 3_000_001))
    assert done.stdout.decode() == f"begin 3000000\n{numbers}begin 2\n1\n2\n"
    assert done.stderr == b"complaint 3000000\ncomplaint 2\n" and done.returncode == 0


@pytest.fixture
def streams() -> object:
    """Restores descriptors 1 and 2 of this process, and what Python writes through them."""
    import sys

    kept = os.dup(1), os.dup(2)
    before = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    yield
    sys.stdout, sys.stderr = before[:2]
    setattr(sys, "__stdout__", before[2])  # noqa: B010
    setattr(sys, "__stderr__", before[3])  # noqa: B010
    for fd, number in zip(kept, (1, 2), strict=True):
        os.dup2(fd, number)
        os.close(fd)


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("limit", [100_000, MEMORY_LIMIT + 1])
def test_a_file_that_was_handed_over_gets_nothing_of_the_next_job(tmp_path: Path, limit: int) -> None:
    files = capture_file(limit, str(tmp_path)), capture_file(limit, str(tmp_path))
    capture = Capture(*files, limit, str(tmp_path), memoryview(bytearray(64)).cast("Q"))
    shown = []
    for text in (b"a" * 50_000, b"b" * 10, b"c" * 60_000):
        capture.begin()
        os.write(1, text)
        out, err = capture.end()
        assert err == Output(b"")
        shown.append(out.shown if not out.files else os.pread(out.files[0], 100_000, 0))
    assert shown == [b"a" * 50_000, b"b" * 10, b"c" * 60_000]
    assert os.listdir(tmp_path) == []


def test_what_a_running_job_prints_beyond_its_limit_takes_no_room(tmp_path: Path) -> None:
    for limit in (MIB, MEMORY_LIMIT + 1):
        fd = capture_file(limit, str(tmp_path))
        try:
            for _ in range(2 + 3 * limit // MIB):
                os.write(fd, b"x" * MIB)
            keep_within_limit(fd, limit)
            eventually(lambda fd=fd, limit=limit: os.fstat(fd).st_blocks * 512 <= limit + MIB)
            assert os.pread(fd, 1, 0) == os.pread(fd, 1, os.fstat(fd).st_size - 1) == b"x"
        finally:
            os.close(fd)
