"""What becomes of open clusters at the end of a program. With programs: `tests/integration/test_ctrl_c.py`."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.client import program_exit as module
from gdispy.client.engine import Stage
from gdispy.client.program_exit import HASTY_LIMIT, close_all


@pytest.fixture(autouse=True)
def no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("last_exc", "last_value"):
        monkeypatch.setattr(sys, name, None, raising=False)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """How often the exit code for Ctrl-C was requested."""
    found: list[None] = []
    monkeypatch.setattr(module, "_exit_as_interrupted", lambda: found.append(None))
    return found


def cluster(
    pending: int = 0, recovery: Any = None, stage: Stage = Stage.OPEN, error: BaseException | None = None
) -> Any:
    """A cluster that records what is done with it; waiting for it ends its jobs, or raises an error."""
    steps: list[Any] = []
    count = SimpleNamespace(pending=pending)

    def wait() -> None:
        steps.append("wait")
        if error is not None:
            raise error
        count.pending = 0

    count.wait_patiently = wait
    return SimpleNamespace(
        name="f",
        steps=steps,
        _engine=SimpleNamespace(stage=stage, cancel_all=lambda is_requested: steps.append("cancel")),
        _hub=SimpleNamespace(call=lambda function, *args: function(*args)),
        _count=count,
        _recovery=recovery,
        _leave_for_recovery=lambda: steps.append("leave for recovery"),
        _leave=lambda limit, patience: steps.append(("leave", limit, patience)),
    )


LEFT = ("leave", HASTY_LIMIT, None)


def test_program_waits_for_its_jobs_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    made = cluster(3)
    close_all([made])
    assert made.steps == ["wait", LEFT]
    assert caplog.messages == ["f: waiting for 3 jobs; Ctrl-C cancels what is left"]


def test_program_without_pending_jobs_waits_for_callbacks_silently(caplog: pytest.LogCaptureFixture) -> None:
    made = cluster()
    close_all([made])
    assert made.steps == ["wait", LEFT] and caplog.messages == []


def test_program_that_ends_with_an_exception_cancels_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "last_value", ValueError("wrong"))
    made = cluster(3)
    close_all([made])
    assert made.steps == ["cancel", LEFT]


def test_jobs_with_a_recovery_file_continue_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "last_value", ValueError("wrong"))
    pending, idle = cluster(3, recovery="file"), cluster(0, recovery="file")
    close_all([pending, idle])
    assert pending.steps == ["leave for recovery"] and idle.steps == [LEFT]


def test_callbacks_have_little_time_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "last_value", KeyboardInterrupt())
    made = cluster(1)
    close_all([made])
    assert made.steps == ["cancel", ("leave", HASTY_LIMIT, HASTY_LIMIT)]


def test_ctrl_c_while_the_program_waits_cancels_all_jobs_and_is_its_exit_code(interrupted: list[None]) -> None:
    first, second = cluster(2, error=KeyboardInterrupt()), cluster(1)
    close_all([first, second])
    assert first.steps == ["wait", "cancel", ("leave", HASTY_LIMIT, HASTY_LIMIT)]
    assert second.steps == ["cancel", ("leave", HASTY_LIMIT, HASTY_LIMIT)]
    assert interrupted == [None]


def test_ctrl_c_while_one_cluster_is_left_does_not_keep_the_others_open() -> None:
    def leave(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    first, second = cluster(), cluster()
    first._leave = leave
    close_all([first, second])
    assert second.steps == ["wait", LEFT]


def test_clusters_of_the_parent_are_not_touched_by_a_forked_child() -> None:
    made = cluster(3, stage=Stage.FORKED)
    close_all([made])
    assert made.steps == []


def test_exit_code_after_ctrl_c_is_set_when_all_else_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(module._Last.__del__, "__defaults__", (codes.append, 130))
    monkeypatch.setattr(module, "_last", None)
    module._exit_as_interrupted()
    assert codes == []
    module._last = None
    assert codes == [130]
