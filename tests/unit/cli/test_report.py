"""What `gdispy report` makes of a file that is damaged or torn, and of nodes of one name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.cli.report import report_main
from gdispy.journal.file import Journal
from gdispy.journal.format import read
from gdispy.protocol.ids import Instance
from gdispy.protocol.message import Message
from gdispy.protocol.messages import Ended, Open
from gdispy.rules.history.facts import Met, Owned
from tests.unit.builders import C, ended, outcome

CLIENT = Instance(b"c" * 16)
FIRST, SECOND = Instance(b"1" * 16), Instance(b"2" * 16)
OPENED: list[Message] = [Open(C, ["*"], False), Owned(C, CLIENT, "compute", "")]


def ends(*jobs: int, node: bytes = FIRST, begin: float = 1.0) -> Ended:
    rows = [outcome(job, start=begin, end=begin + 1) for job in jobs]
    return ended(*rows, address="127.0.0.1", node=node)


def met(node: Instance, port: int) -> Met:
    return Met(C, node, "lab", ["10.0.0.1"], port, "3.11", "linux", 2)


class Kept:
    """A recovery file with these facts, each in its own record."""

    def __init__(self, path: Path, *facts: Message) -> None:
        self.path = path
        journal, _ = Journal.open(str(path))
        journal.begin("client", CLIENT, 1)
        #: The size of the file before each fact.
        self.sizes: list[int] = []
        for fact in facts:
            self.sizes.append(path.stat().st_size)
            journal.append([fact])
        journal.close()

    def damage(self, place: int) -> None:
        """Change a byte in the record of the fact at this place."""
        data = bytearray(self.path.read_bytes())
        data[self.sizes[place] + 20] ^= 1
        self.path.write_bytes(data)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "jobs.recover", *OPENED, *[ends(job) for job in range(1, 41)])


def figures(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    assert report_main([str(path), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    found: dict[str, Any] = json.loads(printed.out)
    return found


def test_whole_file_has_no_warning(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(capsys, kept.path)
    assert (found["jobs"], found["warning"]) == (40, None)


@pytest.mark.parametrize("jobs", [1, 7, 26, 39])
def test_report_of_a_damaged_file_says_so_in_every_form(
    kept: Kept, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.damage(len(OPENED) + jobs)
    end = read(str(kept.path)).end
    warning = f"{kept.path} is valid up to byte {end:,} and damaged there: jobs that ended later are missing"
    assert report_main([str(kept.path), "--json"]) == EXIT_FAILED
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["jobs"], found["warning"]) == (jobs, warning)
    assert printed.err == f"gdispy report: {warning}\n"
    page, trace = Path(f"{kept.path}.html"), kept.path.with_name("run.trace.json")
    assert report_main([str(kept.path)]) == EXIT_FAILED
    assert report_main([str(kept.path), "--trace", str(trace)]) == EXIT_FAILED
    printed = capsys.readouterr()
    assert printed.out == f"{page}\n{trace}\n" and printed.err == f"gdispy report: {warning}\n" * 2
    assert f"<p class=bad>{warning}</p>" in page.read_text()
    assert sum(event["ph"] == "X" for event in json.loads(trace.read_text())["traceEvents"]) == jobs


def test_it_is_not_said_of_a_damaged_file_that_no_job_has_ended(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    kept.damage(len(OPENED))
    assert report_main([str(kept.path)]) == EXIT_FAILED
    text = capsys.readouterr().err
    assert f"no job of compute in {kept.path} has ended before the damage; {kept.path} is valid up to byte" in text
    assert not Path(f"{kept.path}.html").exists()


def test_it_is_not_said_of_a_damaged_file_that_it_has_no_computation(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.damage(0)
    assert report_main([str(kept.path)]) == EXIT_USAGE
    assert "has no computation before the damage; " in capsys.readouterr().err


@pytest.mark.parametrize("cut", [1, 30])
def test_incomplete_last_record_is_normal(kept: Kept, cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    kept.path.write_bytes(kept.path.read_bytes()[:-cut])
    found = figures(capsys, kept.path)
    assert (found["jobs"], found["warning"]) == (39, None)


def test_other_files_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").write_text("something else")
    assert report_main([str(tmp_path / "other")]) == EXIT_FAILED
    assert capsys.readouterr().err == f"gdispy report: {tmp_path / 'other'} is not a journal of gdispy\n"


def test_nodes_of_one_address_are_told_apart_without_a_description(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "jobs.recover"
    Kept(path, *OPENED, ends(1, 2), ends(3, 4, node=SECOND), ends(5, begin=2.0))
    nodes = figures(capsys, path)["nodes"]
    assert {name: (node["jobs"], node["cpus_used"]) for name, node in nodes.items()} == {
        "127.0.0.1": (3, 2),
        "127.0.0.1 (2)": (2, 2),
    }


def test_nodes_of_one_name_are_told_apart_by_port_and_one_that_was_restarted_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, again = tmp_path / "jobs.recover", Instance(b"3" * 16)
    Kept(
        path,
        *[*OPENED, met(FIRST, 51348), met(SECOND, 51349), met(again, 51348)],
        *[ends(1, 2), ends(3, node=SECOND), ends(4, node=again)],
    )
    nodes = figures(capsys, path)["nodes"]
    assert {name: node["jobs"] for name, node in nodes.items()} == {"lab": 3, "lab (2)": 1}
