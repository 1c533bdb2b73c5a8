"""Reports as pages, data and traces."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gdispy import ConfigError
from gdispy.client.run_record import JobRecord
from gdispy.client.run_report import seconds, write

ROWS = [
    JobRecord(1, 11, 100.0, 100.5, 101.0, "lab<1>", ""),
    JobRecord(2, 9, 100.0, 100.5, 102.0, "lab<1>", "ValueError: <script>alert(1)</script>"),
    JobRecord(3, 11, 100.0, 101.0, 102.5, "lab<1>", ""),
    JobRecord(4, 10, 100.0, 0.0, 0.0, "", "no node can run it"),
]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_complete_needs_nothing_else_and_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    write(path, "f<b>", lambda: iter(ROWS), 7)
    page = Page(path.read_text())
    assert "script" not in page.tags and "b" not in page.tags and page.tags.count("svg") == 1
    for text in (
        "f<b>",
        "lab<1>",
        "ValueError: <script>alert(1)</script>",
        "7 jobs could not be recorded",
        "Abandoned",
    ):
        assert text in page.text
    assert "4 jobs in 2.50 s" in page.text and "on 1 node with 2 CPUs in use: 70% of their time" in page.text


def test_empty_run_has_a_page(tmp_path: Path) -> None:
    write(tmp_path / "run.html", "f", lambda: iter(()))
    assert "No job has ended." in (tmp_path / "run.html").read_text()


def test_data_have_durations_and_counts(tmp_path: Path) -> None:
    write(str(tmp_path / "run.json"), "f", lambda: iter(ROWS))
    found = json.loads((tmp_path / "run.json").read_text())
    assert (found["jobs"], found["cpus_used"], found["wall_time"]) == (4, 2, 2.5)
    assert found["outcomes"] == {"Finished": 2, "Terminated": 1, "Abandoned": 1}
    assert found["nodes"]["lab<1>"]["jobs"] == 3 and found["longest"][0]["job"] in (2, 3)
    assert found["running"]["count"] == 3 and found["running"]["max"] == 1.5


def test_trace_tells_waiting_from_sending_where_that_is_known(tmp_path: Path) -> None:
    rows = [
        JobRecord(1, 11, 100.0, 100.5, 101.0, "lab", "", 101.25, 100.2),
        JobRecord(2, 11, 100.0, 100.5, 101.0, "lab", "", 0.0, 0.0),
        JobRecord(3, 11, 100.0, 100.5, 101.0, "lab", "", 0.0, 100.75),  # Clocks differ.
        JobRecord(4, 11, 100.0, 100.5, 101.0, "lab", "", 0.0, 100.0),
    ]
    write(tmp_path / "run.trace.json", "f", lambda: iter(rows))
    events = json.loads((tmp_path / "run.trace.json").read_text())["traceEvents"]
    found = [(each["id"], each["name"], each["ph"], each["ts"]) for each in events if each["ph"] in "be"]
    assert found == [
        *((1, "waiting", "b", 0), (1, "waiting", "e", 200_000), (1, "sending", "b", 200_000)),
        *((1, "sending", "e", 500_000), (1, "returning", "b", 1_000_000), (1, "returning", "e", 1_250_000)),
        *((2, "waiting", "b", 0), (2, "waiting", "e", 500_000), (3, "waiting", "b", 0), (3, "waiting", "e", 500_000)),
        *((4, "waiting", "b", 0), (4, "waiting", "e", 0), (4, "sending", "b", 0), (4, "sending", "e", 500_000)),
    ]


def test_trace_has_a_process_for_each_node_and_jobs_of_a_thread_do_not_overlap(tmp_path: Path) -> None:
    write(tmp_path / "run.trace.json", "f", lambda: iter(ROWS))
    events = json.loads((tmp_path / "run.trace.json").read_text())["traceEvents"]
    names = [event["args"]["name"] for event in events if event["ph"] == "M"]
    assert names == ["lab<1>", "CPU 0", "CPU 1"]
    runs = [event for event in events if event["ph"] == "X"]
    assert [(each["tid"], each["ts"], each["dur"]) for each in runs] == [
        (0, 0.5e6, 0.5e6),
        (1, 0.5e6, 1.5e6),
        (0, 1.0e6, 1.5e6),
    ]
    assert runs[1]["args"]["error"].startswith("ValueError") and runs[1]["name"] == "f: Terminated"
    begins = [event["id"] for event in events if event["ph"] == "b"]
    assert begins == [event["id"] for event in events if event["ph"] == "e"] == [1, 2, 3]
    assert all({"ph", "pid", "tid"} <= event.keys() for event in events)


@pytest.mark.parametrize("path", ["run.txt", "html", 5, b"run.html", None])
def test_other_endings_are_refused(path: object) -> None:
    with pytest.raises(ConfigError, match=r"ends with .html, .json or .trace.json"):
        write(path, "f", lambda: iter(ROWS))


def test_report_that_fails_leaves_nothing_behind_and_the_former_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_text("former")

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(path, "f", fail)  # type: ignore[arg-type]
    assert path.read_text() == "former" and os.listdir(tmp_path) == ["run.html"]
    with pytest.raises(ConfigError, match="there is no directory"):
        write(tmp_path / "none" / "run.html", "f", lambda: iter(ROWS))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 us"),
        (0.00005, "50 us"),
        (0.0123, "12.3 ms"),
        (5.0, "5.00 s"),
        (150.0, "2 min 30 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_are_readable(value: float, text: str) -> None:
    assert seconds(value) == text
