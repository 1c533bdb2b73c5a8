"""Names of jobs for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.errors import ConfigError
from gdispy.protocol.ids import ComputationId
from gdispy.shared_scheduler.job_names import find, prefixes


def number(text: str) -> ComputationId:
    return ComputationId(bytes.fromhex(text.ljust(16, "0")))


A, B, OTHER = number("c41f00"), number("c41f01"), number("d")


def test_prefix_is_as_long_as_it_must_be() -> None:
    assert prefixes([A, B, OTHER]) == {A: "c41f00", B: "c41f01", OTHER: "d000"}
    assert prefixes([A]) == {A: "c41f"} and prefixes([]) == {}


@given(st.sets(st.binary(min_size=8, max_size=8).map(ComputationId), max_size=30), st.integers(0, 1 << 52))
def test_name_finds_its_job(computations: set[ComputationId], job: int) -> None:
    for computation, prefix in prefixes(computations).items():
        assert find(f"{prefix}:{job}", computations) == (computation, job)


@pytest.mark.parametrize(("name", "job"), [("d", 0), ("d:", 0), ("D000:17", 17), ("d0:0017", 17)])
def test_digits_that_suffice_are_enough(name: str, job: int) -> None:
    assert find(name, [A, B, OTHER]) == (OTHER, job)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("x:1", "'x:1' is not the name of a job"),
        ("c41f:-1", "is not the name of a job"),
        ("c41f:9007199254740992", "is not the name of a job"),
        ("c41f:" + "9" * 5000, "is not the name of a job"),
        ("\x1b[31m", r"'\\x1b\[31m' is not the name of a job"),
        ("c41f:\u0661", "is not the name of a job"),
        ("aaaa:1", "no computation here begins with aaaa"),
        ("c41f:1", "2 computations begin with c41f: c41f000000000000, c41f010000000000; write more digits"),
    ],
)
def test_name_that_finds_none_or_several_has_a_reason(name: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        find(name, [A, B, OTHER])
