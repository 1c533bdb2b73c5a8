"""The file with the history of use of a scheduler."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from gdispy.protocol.ids import Peer
from gdispy.shared_scheduler.usage_file import UsageFile
from tests.unit.builders import ended, outcome

PEER = Peer(7)


def one_end(usage: UsageFile) -> None:
    usage.count(PEER, ended(outcome(1, start=1.0, end=2.0)), {})


def test_history_is_found_again_by_the_next_scheduler(tmp_path: Path) -> None:
    first = UsageFile(str(tmp_path))
    first.admit(PEER, "lab3 (ann: fit.py)")
    one_end(first)
    first.write()
    second = UsageFile(str(tmp_path))
    assert second.rows(1) == first.rows(1)
    assert [(row.user, row.finished) for row in second.rows(1)] == [("ann", 1)]


def test_client_without_a_user_is_named_by_its_host_and_an_unknown_one_is_counted() -> None:
    usage = UsageFile("")
    one_end(usage)
    usage.admit(PEER, "lab3")
    one_end(usage)
    assert [row.user for row in usage.rows(30)] == ["(unknown)", "lab3"]


def test_without_a_directory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usage = UsageFile("")
    one_end(usage)
    usage.write()
    assert list(tmp_path.iterdir()) == []


def test_unchanged_history_is_not_written(tmp_path: Path) -> None:
    usage = UsageFile(str(tmp_path))
    usage.write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 2, "rows": []}', '{"format": 1, "rows": [["x", "ann", 1, 1, 1, 1]]}',
                '{"format": 1, "rows": [["2026-01-01", 3, 1, 1, 1, 1]]}', '{"format": 1, "rows": [[1]]}', "\x80"]
)  # fmt: skip
def test_damaged_file_is_set_aside(content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "usage.json"
    path.write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        usage = UsageFile(str(tmp_path))
    assert usage.rows(30) == [] and "cannot be read" in caplog.text
    assert (tmp_path / "usage.json.damaged").read_bytes() == content.encode("latin-1")
    one_end(usage)
    usage.write()
    assert json.loads(path.read_text())["rows"]


def test_failure_to_write_is_logged_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    usage = UsageFile(str(folder))
    one_end(usage)
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        usage.write()
    assert "could not be written" in caplog.text
    folder.mkdir()
    usage.write()
    assert (folder / "usage.json").exists()
