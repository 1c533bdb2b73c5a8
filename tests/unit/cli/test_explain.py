"""What `gdispy explain` asks and prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gdispy.cli import explain as module
from gdispy.cli.explain import explain_main, grouped
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.protocol.messages import JobFacts, JobFactsRequest

ALL = ["computation", "aa00: f", "waits for", "a", "waits for", "b", "computation", "bb00: g\x1b", "jobs", "1"]
ONE = ["job", "c41f:17", "computation", "c41f: f", "stack", "a\n\x1bb"]


def command(monkeypatch: pytest.MonkeyPatch, facts: list[str], error: str = "") -> list[tuple[str, int, str]]:
    asked: list[tuple[str, int, str]] = []

    def answer(secret: Any, host: str, port: int, request: JobFactsRequest, kind: Any) -> JobFacts:
        asked.append((host, port, request.job))
        return JobFacts(1, error, facts)

    monkeypatch.setattr(module, "ask_scheduler", answer)
    monkeypatch.setenv("GDISPY_IP_ADDR", "127.0.0.1")
    return asked


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], ("127.0.0.1", 51347, "")),
        (["lab"], ("lab", 51347, "")),
        (["lab:5"], ("lab", 5, "")),
        (["c41f:17"], ("127.0.0.1", 51347, "c41f:17")),
        (["lab:5", "c41f:17"], ("lab", 5, "c41f:17")),
        (["lab", "c41f"], ("lab", 51347, "c41f")),
        (["-n", "lab", "c41f"], ("lab", 51347, "c41f")),
        (["-n", "beef:5"], ("beef", 5, "")),
    ],
)
def test_single_word_is_the_job_or_the_host(
    words: list[str], asked: tuple[str, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = command(monkeypatch, ONE)
    assert explain_main([*words, "--insecure"]) == 0
    assert found == [asked]


def test_computations_are_paragraphs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, ALL)
    assert explain_main(["--insecure"]) == 0
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert first.splitlines() == ["computation: aa00: f", "waits for:   a", "waits for:   b"]
    assert second.splitlines() == [r"computation: bb00: g\x1b", "jobs:        1"]


def test_job_is_one_paragraph_and_its_texts_are_printable() -> None:
    assert grouped(ONE) == [[("job", "c41f:17"), ("computation", "c41f: f"), ("stack", "a\n\\x1bb")]]


def test_output_may_be_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, ALL)
    assert explain_main(["--insecure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {"computation": ["aa00: f"], "waits for": ["a", "b"]}


def test_nothing_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, [])
    assert explain_main(["--insecure"]) == 0
    assert capsys.readouterr().out == "no program has a computation here\n"


def test_error_is_a_line_and_a_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, [], "no computation here\x1b")
    assert explain_main(["--insecure", "c41f:1"]) == EXIT_FAILED
    assert capsys.readouterr().err == "gdispy explain: no computation here\\x1b\n"
    assert explain_main(["--insecure", "-n", "lab", "other", "c41f:1"]) == EXIT_USAGE
