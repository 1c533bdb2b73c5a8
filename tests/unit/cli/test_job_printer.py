"""How jobs that have ended are printed, and in which order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gdispy.cli.job_outcome import JobLine, JobOutcome
from gdispy.cli.job_printer import JobPrinter, JsonForm, PlainForm, tagged


def outcome(number: int, stdout: Any = None, stderr: bytes = b"", error: str = "", **fields: Any) -> JobOutcome:
    line = JobLine(number, (f"a{number}",), (f"a{number}",))
    text = b"%d\n" % number if stdout is None else stdout
    return JobOutcome(line, 1, "host", 1.0, 2.0, 0, 0, error, text, stderr)._replace(**fields)


def test_jobs_are_printed_in_the_order_of_submission(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    printer = JobPrinter("prog", PlainForm(), keeps_order=True)
    for place in (1, 3, 0):
        printer.add(place, outcome(place + 1))
    assert capsysbinary.readouterr().out == b"1\n2\n" and printer.waiting == 1
    printer.print_rest()
    assert capsysbinary.readouterr().out == b"4\n" and printer.waiting == 0
    printer.close()


def test_jobs_are_printed_as_they_end_on_request(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    printer = JobPrinter("prog", PlainForm(), keeps_order=False)
    for place in (1, 3, 0):
        printer.add(place, outcome(place + 1))
    assert capsysbinary.readouterr().out == b"2\n4\n1\n" and printer.waiting == 0


def test_failed_job_is_named(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    JobPrinter("prog", PlainForm(), True).add(0, outcome(1, b"out", b"err\n", "exit code 3"))
    found = capsysbinary.readouterr()
    assert (found.out, found.err) == (b"out", b"err\ngdispy: job 1 (a1): exit code 3\n")


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"a\nb\n"], b"T:a\nT:b\n"),
        ([b"a\nb"], b"T:a\nT:b"),
        ([b"a", b"b\n", b"", b"c\n\n"], b"T:ab\nT:c\nT:\n"),
        ([b"a\n", b"\nb"], b"T:a\nT:\nT:b"),
        ([], b""),
    ],
)
def test_tag_is_before_each_line(pieces: list[bytes], expected: bytes) -> None:
    assert b"".join(tagged(pieces, b"T:")) == expected


def test_json_is_one_line_for_each_job(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    line = JobLine(1, ("\udcff",), ("new\nline", "\udcff"))
    printer = JobPrinter("prog", JsonForm(), True)
    printer.add(0, outcome(1, b"\xff\n", b"", "killed", line=line, exit_code=None, signal=9))
    out = capsysbinary.readouterr().out
    assert out.count(b"\n") == 1
    assert json.loads(out) == {
        "number": 1,
        "arguments": ["�"],
        "command": ["prog", "new\nline", "�"],
        "host": "host",
        "start": 1.0,
        "seconds": 2.0,
        "exit_code": None,
        "signal": 9,
        "attempts": 1,
        "error": "killed",
        "stdout": "�\n",
        "stderr": "",
    }
