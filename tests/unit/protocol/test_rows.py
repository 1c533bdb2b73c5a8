"""Options of a job: their size, and when they concern the worker."""

from __future__ import annotations

import msgpack
import pytest

from gdispy.protocol.payload import MemoryPayload
from gdispy.protocol.rows import FileRow, JobOptions, options_size

FILE = FileRow("a", 0o600, 1.0, 3, b"d")


def test_size_is_that_of_names_and_contents() -> None:
    options = JobOptions(names=b"1234", files=[FILE], contents=[b"12", MemoryPayload([b"123", b"4"])])
    assert options.size == options_size(options) == 10
    assert options_size(None) == options_size(JobOptions()) == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (JobOptions(), False),
        (JobOptions(node=b"n" * 16, priority=5.0, timeout=3.0), False),
        (JobOptions(cpus=1), False),
        (JobOptions(cpus=2), True),
        (JobOptions(memory=1), True),
        (JobOptions(cpu_time=0.5), True),
        (JobOptions(names=b"x"), True),
        (JobOptions(files=[FILE], contents=[b""]), True),
    ],
)
def test_job_with_more_than_a_time_limit_goes_to_a_worker_alone(options: JobOptions, expected: bool) -> None:
    assert options.concern_worker is expected


def test_row_is_an_array_on_the_wire() -> None:
    assert msgpack.packb(FILE) == msgpack.packb(list(FILE))
