"""The keywords of `submit` that begin with `dispy_`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from gdispy.client.job_options import BYTES_LIMIT, CPU_LIMIT, SECONDS_LIMIT, take
from gdispy.errors import ConfigError
from gdispy.protocol.payload import joined
from gdispy.protocol.rows import JobOptions
from gdispy.worker import pickling


def test_call_without_such_keywords_has_no_options() -> None:
    assert take({}) is None
    kwargs = {"a": 1, "_dispy": 2}
    assert take(kwargs) is None and kwargs == {"a": 1, "_dispy": 2}


def test_keywords_are_taken_from_the_call_and_the_others_stay() -> None:
    kwargs = {"a": 1, "dispy_priority": 2, "dispy_timeout": 1.5, "dispy_cpus": 4, "dispy_memory": 10}
    options = take({**kwargs, "dispy_cpu_time": 3})
    assert options == JobOptions(b"", 2.0, 1.5, 4, 10, cpu_time=3.0)
    assert isinstance(options.priority, float)
    take(kwargs)
    assert kwargs == {"a": 1}


def test_named_node_alone_is_an_option() -> None:
    assert take({}, b"n" * 16) == JobOptions(b"n" * 16)


def test_value_none_is_no_wish() -> None:
    names = ("job_depends", "timeout", "cpus", "memory", "cpu_time", "priority")
    assert take({f"dispy_{name}": None for name in names}) == JobOptions()


def test_unknown_keyword_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        take({"dispy_job_dependes": []})
    assert str(caught.value).startswith("submit does not accept 'dispy_job_dependes': ")
    assert "dispy_job_depends" in str(caught.value) and "dispy_priority" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("dispy_priority", -1e9, 1e9),
        ("dispy_timeout", 0.001, SECONDS_LIMIT),
        ("dispy_cpu_time", 0.01, SECONDS_LIMIT),
    ],
)
def test_numbers_have_limits_which_are_valid_themselves(name: str, least: float, most: float) -> None:
    for value in (least, most):
        take({name: value})
    for wrong in (least - 1, most * 1.01, math.nan, math.inf, "1", True, [1], 1j):
        with pytest.raises(ConfigError) as caught:
            take({name: wrong})
        assert str(caught.value) == f"{name} must be a number from {least:g} to {most:g}, not {wrong!r}"


@pytest.mark.parametrize(("name", "most"), [("dispy_cpus", CPU_LIMIT), ("dispy_memory", BYTES_LIMIT)])
def test_whole_numbers_have_limits_which_are_valid_themselves(name: str, most: int) -> None:
    for value in (1, most):
        take({name: value})
    for wrong in (0, -1, most + 1, 1.0, "1", True, [1]):
        with pytest.raises(ConfigError) as caught:
            take({name: wrong})
        assert str(caught.value) == f"{name} must be a whole number from 1 to {most}, not {wrong!r}"


def helper() -> int:
    return 7


def test_dependencies_of_a_job_are_names_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_bytes(b"1,2")
    options = take({"dispy_job_depends": ["data.csv", helper]})
    assert options is not None
    assert [row[0] for row in options.files] == ["data.csv"] and list(map(joined, options.contents)) == [b"1,2"]
    assert pickling.loads(joined(options.names))["helper"]() == 7
    assert options.concern_worker and options.size > 3


def test_empty_dependencies_are_none() -> None:
    assert take({"dispy_job_depends": []}) == JobOptions()


@pytest.mark.parametrize(
    ("depends", "text"),
    [(["no such file"], "no such file"), (5, "dispy_job_depends"), ([object()], "a dependency must be a file's path")],
)
def test_dependency_that_cannot_be_sent_is_refused(depends: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        take({"dispy_job_depends": depends})
