"""Interrupted cells."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.client import notebook_cells
from gdispy.client.job_numbers import next_number


class Shell:
    """The events of an IPython shell."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Any]] = {}
        self.events = SimpleNamespace(register=lambda name, call: self.calls.setdefault(name, []).append(call))

    def run(self, what: Any, error: BaseException | None = None) -> None:
        for call in self.calls.get("pre_run_cell", ()):
            call(SimpleNamespace())
        what()
        for call in self.calls.get("post_run_cell", ()):
            call(SimpleNamespace(error_in_exec=error))


class FakeExecutor:
    def __init__(self) -> None:
        self.cancelled: list[int] = []

    def _cancel_since(self, number: int) -> None:
        self.cancelled.append(number)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(notebook_cells, "_cells", {})
    return shell


def test_what_an_interrupted_cell_has_submitted_is_cancelled(shell: Shell) -> None:
    made: Any = FakeExecutor()
    shell.run(lambda: notebook_cells.watch(made))
    numbers: list[int] = []
    shell.run(lambda: numbers.append(next_number()))
    shell.run(lambda: numbers.append(next_number()), ValueError())
    assert made.cancelled == []
    shell.run(lambda: numbers.append(next_number()), KeyboardInterrupt())
    [before] = made.cancelled
    assert numbers[1] <= before < numbers[2]


def test_cell_that_creates_the_executor_may_be_interrupted_too(shell: Shell) -> None:
    made: Any = FakeExecutor()
    numbers: list[int] = []

    def cell() -> None:
        notebook_cells.watch(made)
        notebook_cells.watch(made)
        numbers.append(next_number())
        for call in shell.calls["post_run_cell"]:
            call(SimpleNamespace(error_in_exec=KeyboardInterrupt()))

    cell()
    assert len(made.cancelled) == 1 and made.cancelled[0] < numbers[0]
    assert {name: len(calls) for name, calls in shell.calls.items()} == {"pre_run_cell": 1, "post_run_cell": 1}


def test_executor_that_fails_to_cancel_does_not_disturb_the_shell(shell: Shell) -> None:
    class Shut(FakeExecutor):
        def _cancel_since(self, number: int) -> None:
            raise RuntimeError

    first, second = Shut(), FakeExecutor()
    notebook_cells.watch(first)  # type: ignore[arg-type]
    notebook_cells.watch(second)  # type: ignore[arg-type]
    shell.run(lambda: None, KeyboardInterrupt())
    assert len(second.cancelled) == 1


def test_nothing_is_watched_outside_of_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook_cells, "_cells", {})
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    notebook_cells.watch(FakeExecutor())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    notebook_cells.watch(FakeExecutor())  # type: ignore[arg-type]
    assert notebook_cells._cells == {}
