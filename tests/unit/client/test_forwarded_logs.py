"""Log records of jobs at the client."""

from __future__ import annotations

import logging
from typing import Any

import msgpack
import pytest

from gdispy import ConfigError, DispyJob
from gdispy.client.forwarded_logs import checked_logging, take_record
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import Progress
from gdispy.worker.forwarded_logs import MARK, pack_record
from tests.unit.builders import C


def take(value: Any) -> bool:
    job = DispyJob._new(1, 0.0)
    job.id = "mine"
    progress = Progress(C, JobId(1), 1, 0, value, "10.0.0.1")
    return take_record(progress, job, "worker1", lambda function, *args: function(*args))


def record(level: int, text: str) -> bytes:
    return pack_record(logging.getLogger("a.job").makeRecord("a.job", level, "f.py", 1, text, (), None))


def test_record_is_handled_by_the_logger_of_its_name_with_job_and_node(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "a.job")
    assert take(record(logging.WARNING, "text")) and take(record(logging.INFO, "too low here"))
    [found] = caplog.records
    assert (found.name, found.getMessage(), vars(found)["job"], vars(found)["node"]) == (
        "a.job",
        "text",
        "mine",
        "worker1",
    )


def test_other_provisional_results_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert not take(b"\x80\x04N.") and caplog.records == []


def test_damaged_record_is_told_and_is_no_result(caplog: pytest.LogCaptureFixture) -> None:
    assert take(MARK + b"\xc1") and take(MARK + msgpack.packb([1, 2]))
    assert [each.getMessage().startswith("a log record of job 'mine' is damaged") for each in caplog.records] == [
        True
    ] * 2


def test_parameter_is_checked_and_the_levels_of_this_program_are_sent() -> None:
    assert checked_logging("") == b"" and "" in msgpack.unpackb(checked_logging("forward"))
    with pytest.raises(ConfigError, match=r"logging must be '' .* or 'forward', not True"):
        checked_logging(True)
