"""The names that jobs see without importing them."""

from __future__ import annotations

import builtins
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.worker import injected_names as module
from gdispy.worker.injected_names import (
    _Late,
    _LateClass,
    allow_shutdown,
    dispy_provisional_result,
    dispy_send_file,
    dispynode_shutdown,
    provide,
)


@pytest.fixture(autouse=True)
def same_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(vars(builtins))
    for name in ("dispy_node_name", "dispy_node_ip_addr", "dispy_job_path"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setattr(module, "_shutdown", [])
    yield
    for name in vars(builtins).keys() - before.keys():
        delattr(builtins, name)


def test_names_are_builtins_and_texts_are_variables_for_programs() -> None:
    names = provide("worker", "10.0.0.9", "/files")
    for name, value in names.items():
        assert getattr(builtins, name) is value
    assert (names["dispy_node_name"], names["dispy_node_ip_addr"], names["dispy_job_path"]) == (
        "worker",
        "10.0.0.9",
        "/files",
    )
    variables = dict(os.environ)
    assert variables["dispy_node_name"] == "worker" and os.environ["PATH"] == f"/files{os.pathsep}/bin"
    assert names["dispynode_logger"].name and {"os", "sys", "time"} <= set(names)


def test_module_that_may_not_be_installed_is_imported_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    late = _Late("late_module")
    monkeypatch.setitem(sys.modules, "late_module", None)
    assert late.__name__ == "late_module" and not hasattr(late, "__wrapped__")
    with pytest.raises(ImportError):
        late.value  # noqa: B018
    made: Any = types.ModuleType("late_module")
    made.value = 5
    monkeypatch.setitem(sys.modules, "late_module", made)
    assert late.value == 5


def test_class_is_imported_on_first_use() -> None:
    late = _LateClass("decimal", "Decimal")
    assert late("1.5") == 1.5 and isinstance(late("1"), late) and not isinstance(1, late)  # type: ignore[arg-type]
    assert late.from_float(0.5) == 0.5
    with pytest.raises(AttributeError):
        late.__none__  # noqa: B018


class Job:
    """The running job: what it sends."""

    def __init__(self, is_sent: bool = True, error: str = "") -> None:
        self.is_sent, self.error = is_sent, error
        self.sent: list[Any] = []

    def provide(self, value: Any) -> bool:
        self.sent.append(value)
        return self.is_sent

    def send_file(self, path: str, shown: str) -> str:
        if path.endswith("none"):
            raise FileNotFoundError(2, "No such file or directory")
        if "\0" in path:
            raise ValueError("embedded null byte")
        self.sent.append((path, shown))
        return self.error


def use(monkeypatch: pytest.MonkeyPatch, job: Any) -> Any:
    monkeypatch.setattr(module, "running", SimpleNamespace(job=job))
    return job


def test_outside_a_job_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    assert (dispy_provisional_result(1), dispy_send_file("x"), dispynode_shutdown()) == (-1, -1, -1)


@pytest.mark.parametrize(("is_sent", "code"), [(True, 0), (False, -1)])
def test_provisional_result_tells_whether_it_was_sent(
    is_sent: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = use(monkeypatch, Job(is_sent))
    assert dispy_provisional_result(5, relay=True, timeout=1.0) == code and job.sent == [5]


@pytest.mark.parametrize(
    ("path", "shown"),
    [("a/b.txt", "a/b.txt"), ("./a/../b.txt", "b.txt"), ("../other/c.txt", "c.txt"), ("/etc/hosts", "hosts")],
)
def test_file_is_stored_at_its_relative_path_or_by_its_name(
    path: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = use(monkeypatch, Job())
    assert dispy_send_file(path) == 0 and job.sent == [(path, shown)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("none", "dispy_send_file: none: No such file or directory\n"),
        ("a\0b", "dispy_send_file: 'a\\x00b': embedded null byte\n"),
        ("full", "dispy_send_file: the disk of the client is full\n"),
    ],
)
def test_file_that_cannot_be_sent_is_reported_on_standard_error(
    path: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, Job(error="the disk of the client is full"))
    assert dispy_send_file(path) == -1 and capsys.readouterr().err == text


def test_node_is_stopped_only_if_that_is_allowed() -> None:
    asked: list[None] = []
    assert dispynode_shutdown() == -1
    allow_shutdown(lambda: asked.append(None))
    assert dispynode_shutdown() == 0 and asked == [None]
