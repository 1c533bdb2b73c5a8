"""What `gdispy journal` shows of a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy.cli import journal
from gdispy.cli.journal import journal_main
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.errors import JournalError
from gdispy.journal.file import Journal
from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.job_status import FINISHED, TERMINATED
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Cancel, Ended, Open, Run
from gdispy.rules.history.facts import Met, Owned, Placed

C = ComputationId(b"computat")
NODE, CLIENT = Instance(b"n" * 16), Instance(b"c" * 16)


def jobs(*numbers: int) -> list[JobId]:
    return [JobId(number) for number in numbers]


def ended(number: int, status: int, result: bytes, exception: str) -> Ended:
    values: dict[str, Any] = {"jobs": [number], "attempts": [1], "statuses": [status], "results": [result]}
    values |= {"exceptions": [exception], "starts": [1.0], "ends": [2.0]}
    columns = {name: values.get(name, [b"" if name in ("outputs", "errors") else 0]) for name in Ended.columns}
    return Ended(computation=C, **columns, address="10.0.0.1", node=NODE)


FACTS: list[Message] = [
    Open(C, ["*"], False, token=b"t" * 16, epoch=3),
    Owned(C, CLIENT, "compute", "lab:51347"),
    Run(C, jobs(1, 2, 3, 4), [1, 1, 1, 1], [b"one", b"three", b"", b""]),
    Met(C, NODE, "worker", ["10.0.0.1", "worker.lab"], 51348, "3.11", "linux", 2),
    Placed(C, NODE, jobs(1, 2, 3), [1, 1, 1]),
    ended(1, FINISHED, b"result", "ignored"),
    ended(2, TERMINATED, b"", "Traceback\nValueError: \x1b[2J\n"),
    Cancel(C, jobs(4), [0]),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "journal"
    journal, _ = Journal.open(str(found))
    journal.begin("client", CLIENT, 3)
    journal.append(FACTS)
    journal.close()
    return found


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    assert journal_main([*map(str, words)]) == 0
    return capsys.readouterr().out.splitlines()


def test_summary_names_its_writer_its_computations_and_nodes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, path)
    assert lines[0].startswith(f"{path}: kept by a client: process ") and lines[0].endswith("epoch 3")
    assert lines[1] == f"valid up to byte {path.stat().st_size:,}"
    counts = "1 finished, 1 terminated, 1 on a node, 1 not begun"
    assert lines[2] == f"computation compute ({C.hex()}, epoch 3), at the scheduler lab:51347: {counts}"
    assert lines[3] == f"  node worker at 10.0.0.1:51348 ({NODE.hex()[:8]})"
    assert len(lines) == 4


def test_jobs_are_shown_with_the_last_line_of_a_failure_made_printable(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, "--jobs", path)[4:] == [
        "  job 1: finished, attempt 1, 3 bytes of arguments, node worker, 6 bytes of result",
        r"  job 2: terminated, attempt 1, 5 bytes of arguments, node worker, 0 bytes of result, ValueError: \x1b[2J",
        "  job 3: on a node, attempt 1, 0 bytes of arguments, node worker",
        "  job 4: not begun, attempt 1, 0 bytes of arguments",
    ]


def test_facts_are_shown_in_their_order_with_long_values_cut(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "--facts", path)[4:]
    assert [line.split()[0] for line in lines] == ["Began", *(type(fact).__name__ for fact in FACTS)]
    assert f"computation={C.hex()}" in lines[1] and "jobs=[1, 2, 3, 4]" in lines[3]
    assert f"token={(b't' * 16).hex()}" in lines[1]


def test_fact_that_cannot_be_read_is_an_error_after_those_before_it(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(path: str) -> Iterator[Message]:
        yield FACTS[0]
        raise JournalError("the file was written by another version of gdispy: text is too long")

    monkeypatch.setattr(journal, "Facts", facts)
    assert journal_main([str(path), "--facts"]) != 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith("Open ") and "another version of gdispy" in told.err


def test_lists_and_payloads_of_a_fact_are_shown_by_their_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal"
    journal, _ = Journal.open(str(path))
    journal.begin("client", CLIENT, 1)
    count = 20
    journal.append([FACTS[0], Run(C, jobs(*range(1, 21)), [1] * count, [b"x" * 17] * count)])
    journal.close()
    line = shown(capsys, "--facts", path)[-1]
    assert "jobs=[1, 2, 3, 4, 5, 6, 7, 8, ... 20 in all]" in line and "arguments=[<17 bytes>, <17 bytes>" in line


def test_json_has_the_same(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads("\n".join(shown(capsys, "--json", path)))
    assert (found["kind"], found["life"], found["fault"], found["good_bytes"]) == (
        *("client", 3, ""),
        path.stat().st_size,
    )
    (computation,) = found["computations"]
    assert (computation["name"], computation["scheduler"], computation["epoch"]) == ("compute", "lab:51347", 3)
    assert computation["nodes"] == [["worker", "10.0.0.1", 51348]]
    assert [(each["job"], each["state"], each["node"], each["cancelled"]) for each in computation["jobs"]] == [
        (1, "finished", "worker", False),
        (2, "terminated", "worker", False),
        (3, "on a node", "worker", False),
        (4, "not begun", None, True),
    ]


def test_empty_file_is_a_journal_to_which_nothing_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal").touch()
    assert shown(capsys, tmp_path / "journal") == [f"{tmp_path / 'journal'}: empty", "valid up to byte 0"]


def test_incomplete_last_record_is_no_failure(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert "; the last record is incomplete, because its writer was interrupted" in shown(capsys, path)[1]


def test_damaged_file_is_shown_up_to_the_damage_and_is_a_failure(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert journal_main([str(path)]) == EXIT_FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: kept by a client")
    assert lines[1].endswith("; the file is damaged there, and the rest cannot be trusted")


def test_directory_with_a_journal_is_refused_with_the_path_of_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert journal_main([str(tmp_path)]) == EXIT_USAGE
    assert f"{tmp_path} is a directory; name a recovery file or journal" in capsys.readouterr().err
    (tmp_path / "journal").touch()
    assert journal_main([str(tmp_path)]) == EXIT_USAGE
    assert f"is a directory: did you mean {tmp_path / 'journal'}?" in capsys.readouterr().err


def test_other_files_are_no_journals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert journal_main([str(tmp_path / "none")]) == EXIT_FAILED
    assert "none cannot be read: No such file or directory" in capsys.readouterr().err
    (tmp_path / "other").write_text("something else")
    assert journal_main([str(tmp_path / "other")]) == EXIT_FAILED
    assert capsys.readouterr().err.startswith("gdispy journal: ")
