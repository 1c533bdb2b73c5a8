"""What the client gets of an exception of a job."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import pytest

from gdispy.worker import failures as module
from gdispy.worker import pickling
from gdispy.worker.failures import Unpicklable, describe, missing_module, raised, users_frames


def caught(work: Any) -> BaseException:
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError


def fail() -> None:
    raise ValueError("wrong")


def test_text_is_the_traceback_of_the_users_code(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = describe(caught(fail), False).splitlines()
    assert lines[0] == "Traceback (most recent call last):" and lines[-1] == "ValueError: wrong"
    assert any("in fail" in line for line in lines)


def test_leading_frames_of_gdispy_are_left_out() -> None:
    error = caught(lambda: pickling.loads(b"no pickle"))
    before = traceback.extract_tb(error.__traceback__)
    assert users_frames(error) is error.__traceback__  # The first frame is the user's.
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next
    while error.__traceback__ is not None and not error.__traceback__.tb_frame.f_code.co_filename.startswith(
        module._HERE
    ):
        error.__traceback__ = error.__traceback__.tb_next
    assert users_frames(error) is None and len(before) > 1


def test_cancelled_job_says_so_and_has_no_exception_for_the_client() -> None:
    error = caught(fail)
    assert describe(error, True).endswith("ValueError: wrong\nThe job was cancelled.\n")
    assert raised(error, True) == b"" and raised(error, False) != b""


def test_result_that_cannot_be_pickled_is_its_text_alone() -> None:
    error = Unpicklable("The result cannot be pickled")
    assert describe(error, False) == "The result cannot be pickled\n" and raised(error, False) == b""


def test_traceback_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise TypeError("replaced by the job")

    monkeypatch.setattr(module.traceback, "TracebackException", broken)
    text = "ValueError, and its traceback cannot be shown: TypeError\n"
    assert describe(ValueError("wrong"), False) == text
    assert describe(ValueError("wrong"), True) == text + "The job was cancelled.\n"


@pytest.mark.parametrize("name", ["numpi", "numpi.linalg"])
def test_missing_module_is_named_with_where_to_install_it(name: str) -> None:
    error = ModuleNotFoundError(f"No module named {name!r}", name=name)
    text = missing_module(error)
    assert text.startswith("The Python of this node does not have the module numpi: ") and sys.executable in text
    assert describe(error, False).endswith(text)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        ImportError("x", name="os"),
        ModuleNotFoundError("x"),
        ModuleNotFoundError("No module named 'os.none'", name="os.none"),
    ],
)
def test_other_errors_of_imports_are_not_a_missing_module(error: BaseException) -> None:
    assert missing_module(error) == ""
