"""Which words are secrets, and limits of open files. On daemons: `tests/integration/test_hardening.py`."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.runtime import process_hardening as module
from gdispy.runtime.process_hardening import FILES, is_secret_variable, open_files_before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GDISPY_SECRET", True),
        ("GDISPY_NODE_SECRET", True),
        ("GDISPY_CLUSTER_SECRET_FILE", True),
        ("GDISPY_SECRET_FILE", True),
        ("GDISPY_SECRETS", False),
        ("MY_GDISPY_SECRET", False),
        ("GDISPY_A_B_SECRET", False),
        ("SECRET", False),
    ],
)
def test_variables_with_secrets_are_known_by_name(name: str, expected: bool) -> None:
    assert is_secret_variable(name) is expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (b"hush", True),
        (b"--secret=hush", True),
        (b"-shush", True),
        (b"hush-hush", False),
        (b"--hush=x", False),
        (b"", False),
    ],
)
def test_argument_is_the_secret_alone_or_after_an_option(word: bytes, expected: bool) -> None:
    assert module._is_argument(word, b"hush") is expected


def test_secret_is_overwritten_in_the_memory_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = bytearray(b"node\0--secret\0hush\0-shush\0hushed\0\0A=1\0GDISPY_SECRET=hush\0GDISPY_SECRET_FILE=f\0")
    begin = memory.index(b"A=1")

    def texts(first: int, last: int) -> Any:
        offset = first
        for text in bytes(memory[first:last]).split(b"\0"):
            yield offset, text
            offset += len(text) + 1

    def write(place: int, data: bytes) -> None:
        memory[place : place + len(data)] = data

    monkeypatch.setattr(module, "_variables_and_arguments", lambda: ((0, begin), (begin, len(memory))))
    monkeypatch.setattr(module, "_texts", texts)
    monkeypatch.setattr(module, "_write", write)
    monkeypatch.setattr(module, "_shows", lambda beginning: False)
    monkeypatch.setenv("GDISPY_SECRET", "hush")
    module._hide_variables()
    module._hide_arguments(["hush"])
    assert bytes(memory[:begin]) == b"node\0--secret\0****\0-s****\0hushed\0\0"
    assert bytes(memory[begin:]) == b"A=1\0GDISPY_SECRET=\0\0\0\0\0GDISPY_SECRET_FILE=f\0"
    assert "GDISPY_SECRET" not in os.environ


def test_secret_that_stays_visible_is_a_warning_without_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError

    monkeypatch.setattr(module, "_variables_and_arguments", fail)
    monkeypatch.setattr(module, "_overwrite_by_pointer", lambda name: None)
    monkeypatch.setattr(module, "_shows", lambda beginning: True)
    monkeypatch.setattr(module.sys, "argv", ["node", "--secret", "hush"])
    monkeypatch.setenv("GDISPY_SECRET", "hush")
    module._hide_variables()
    module._hide_arguments(["hush"])
    assert [text.partition(" ")[0] for text in caplog.messages] == ["GDISPY_SECRET", "the"]
    assert "use a file for the secret" in caplog.text and "hush" not in caplog.text
    module._hide_arguments(["another"])
    assert len(caplog.messages) == 2


class Resource:
    """The limits of open files of a process."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, error: Exception | None = None) -> None:
        self.limits = (soft, hard)
        self.error = error
        monkeypatch.setattr(module, "resource", self)
        monkeypatch.setattr(module, "_open_files", None)

    def getrlimit(self, which: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, which: int, limits: tuple[int, int]) -> None:
        if self.error is not None:
            raise self.error
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "goal"),
    [(1024, 4096, 4096), (1024, -1, FILES), (1024, 4 * FILES, FILES), (4096, 4096, 4096), (-1, -1, -1)],
)
def test_open_files_are_raised_as_far_as_allowed_and_jobs_get_the_limit_before(
    soft: int, hard: int, goal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Resource(monkeypatch, soft, hard)
    module._raise_open_files()
    assert found.limits == (goal, hard) and open_files_before() == soft


def test_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gdispy")
    found = Resource(monkeypatch, 1024, 4096, ValueError("not permitted"))
    module._raise_open_files()
    assert found.limits == (1024, 4096) and open_files_before() == 1024
    assert caplog.messages == ["the limit of open files remains 1024: not permitted"]


def test_system_without_such_a_call_is_hardened_as_far_as_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ctypes", SimpleNamespace(CDLL=lambda name: SimpleNamespace()))
    module._forbid_dumps()
