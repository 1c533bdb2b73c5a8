"""The function of a cluster that was defined again."""

from __future__ import annotations

from types import FunctionType, SimpleNamespace
from typing import Any

import pytest

from gdispy.client.job_source import JobSource


def defined(names: dict[str, Any], text: str = "def f(): pass") -> FunctionType:
    exec(text, names)
    return names["f"]  # type: ignore[no-any-return]


def source(function: Any) -> JobSource:
    class Engine(SimpleNamespace):
        pass

    return JobSource("f", function, Engine())  # type: ignore[arg-type]


def test_new_definition_of_the_name_is_told_once_each(caplog: pytest.LogCaptureFixture) -> None:
    names: dict[str, Any] = {}
    made = source(defined(names))
    made.warn_if_redefined()
    assert caplog.records == []
    for _ in range(2):
        defined(names)
        made.warn_if_redefined()
        made.warn_if_redefined()
    assert len(caplog.records) == 2 and "f was defined again" in caplog.records[0].getMessage()


def test_name_that_was_removed_or_means_something_else_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    names: dict[str, Any] = {}
    made = source(defined(names))
    names["f"] = 5
    made.warn_if_redefined()
    del names["f"]
    made.warn_if_redefined()
    decorated = source(defined(names))
    decorated._globals = None  # A function that is not what its name means, as one that was decorated.
    defined(names)
    decorated.warn_if_redefined()
    source(None).warn_if_redefined()
    assert caplog.records == []


def test_function_with_another_meaning_of_its_name_from_the_start_is_not_watched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names: dict[str, Any] = {}
    function = defined(names)
    names["f"] = lambda: None
    made = source(function)
    defined(names)
    made.warn_if_redefined()
    assert caplog.records == []


def test_source_does_not_keep_the_engine() -> None:
    assert source(None).engine() is None
