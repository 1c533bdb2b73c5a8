"""A very large result, and a disk that is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdispy import JobCluster
from tests.support.daemons import Daemon
from tests.support.waiting import eventually

GIB = 1 << 30
#: How often a result lies in memory at the same time on one machine: in the worker (once as it is made, once as it is
#: handed over), in the node, and in the client (as it came, and joined).
COPIES = 6
#: Seconds until a test gives up.
LIMIT = 200


BLOCK = 64 * 1024


def pattern(blocks: int) -> bytes:
    """Blocks of which no two are equal."""
    return b"".join([block(number) for number in range(blocks)])


def block(number: int) -> bytes:
    return number.to_bytes(8, "little") * (BLOCK // 8)


def free_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no MemAvailable")


@pytest.mark.timeout(300)
def test_a_result_of_1_gib_arrives_whole(cluster: Callable[..., JobCluster]) -> None:
    size = min(GIB, free_memory() // COPIES)
    if size < GIB:
        print(f"1 GiB does not fit {COPIES} times into this machine's memory: {size} bytes are used instead")
    made = cluster(pattern)
    blocks = size // BLOCK
    job = made.submit(blocks)
    assert job.wait(LIMIT), made.status().problems
    result = job.result_or_raise()
    assert len(result) == blocks * BLOCK
    view = memoryview(result)
    assert all(view[number * BLOCK : (number + 1) * BLOCK] == block(number) for number in range(blocks))
    del view, result
    job.result = None
    assert made.submit(2).result_or_raise(LIMIT) == pattern(2), "the node does not go on"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB, and up to 500 files, where `start_node` puts the files of its first node."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    path = tmp_path / "prefix0"
    path.mkdir(mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=500,mode=700", "tmpfs", path], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def read_size(path: str) -> int:
    return len(Path(path).read_bytes())


def refusal(cluster: JobCluster) -> str:
    """What the node says of its disk."""
    return next((problem for problem in cluster.status().problems if "No space left on device" in problem), "")


def test_a_disk_that_fills_up_refuses_the_computation_and_not_the_next_client(
    small_disk: Path, start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(os.urandom(16 * 1024 * 1024))
    (tmp_path / "small").write_bytes(os.urandom(4 * 1024 * 1024))
    daemon = start_node("--cpus", "1")
    options = {"nodes": [daemon.place], "secret_file": secret_file}
    with JobCluster(read_size, depends=[str(tmp_path / "large")], **options) as made:
        job = made.submit("large")
        problem = eventually(lambda: refusal(made), 20)
        assert "'large'" in problem
        assert made.status().is_hopeless and not job.wait(0.1)
        made.close(timeout=0, terminate=True)
    eventually(lambda: used(small_disk) < 100_000, 10, "what had arrived was not removed")
    for _ in range(3):  # More than fits, if nothing were removed.
        with JobCluster(read_size, depends=[str(tmp_path / "small")], **options) as made:
            assert made.submit("small").result_or_raise(20) == 4 * 1024 * 1024
    assert daemon.process.poll() is None


def test_a_disk_that_takes_no_more_files_refuses_the_computation_with_the_reason(
    small_disk: Path, start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    names = [tmp_path / f"file{number}" for number in range(600)]
    for name in names:
        name.write_text("x")
    daemon = start_node("--cpus", "1")
    options = {"nodes": [daemon.place], "secret_file": secret_file}
    with JobCluster(abs, depends=list(map(str, names)), **options) as made:
        made.submit(-1)
        eventually(lambda: refusal(made), 20)
        made.close(timeout=0, terminate=True)
    with JobCluster(abs, depends=list(map(str, names[:50])), **options) as made:
        assert made.submit(-2).result_or_raise(20) == 2


def used(disk: Path) -> int:
    about = os.statvfs(disk)
    return (about.f_blocks - about.f_bfree) * about.f_frsize


def test_a_disk_that_a_job_has_filled_is_that_jobs_failure_only(
    small_disk: Path, start_node: Callable[..., Daemon], secret_file: str
) -> None:
    daemon = start_node("--cpus", "1")
    with JobCluster(fill, nodes=[daemon.place], secret_file=secret_file) as made:
        first, second = made.submit(64), made.submit(1)
        assert first.wait(20) and "No space left on device" in str(first.exception)
        assert second.result_or_raise(20) == 1
    with JobCluster(abs, nodes=[daemon.place], secret_file=secret_file) as made:
        assert made.submit(-5).result_or_raise(20) == 5


def fill(megabytes: int) -> int:
    with open("filling", "wb") as file:
        for _ in range(megabytes):
            file.write(bytes(1024 * 1024))
    return megabytes
