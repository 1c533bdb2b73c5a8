"""Rows that describe arrays of numpy: what is invalid is refused. As part of values: `test_plain.py`."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from gdispy.worker.plain_arrays import described, is_one, made, size_of

numpy = pytest.importorskip("numpy")


def test_only_arrays_and_scalars_are_described() -> None:
    assert is_one(numpy.zeros(2)) and is_one(numpy.float32(1)) and not is_one([1.0])
    assert described([1.0]) is None and described(numpy.float32(1)) is not None


def test_array_of_objects_is_refused_with_its_type() -> None:
    reason, data = described(numpy.array([object()]))  # type: ignore[misc]
    assert data is None and reason.startswith("of the dtype object, which holds Python objects")


def test_size_is_that_of_the_data() -> None:
    row, data = described(numpy.zeros((3, 4), "<i2"))  # type: ignore[misc]
    assert size_of(row) == len(data) == 24


@pytest.mark.parametrize(
    "row",
    [
        None,
        ["<f8", [2], "C"],
        ["<f8", [2], "X", False],
        ["<f8", [2], "C", 0],
        ["<f8", [2], "C", True],
        ["|O8", [2], "C", False],
        ["<f8", [-1], "C", False],
        ["<f8", [True], "C", False],
        ["<f8", [0] * 65, "C", False],
        [[["a"], ["<f8"], [0], "8", False], [2], "C", False],
    ],
)
def test_invalid_row_is_refused(row: Any) -> None:
    with pytest.raises(ValueError, match="that is none"):
        size_of(row)


def test_invalid_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="neither true nor false"):
        made(["|b1", [1], "C", False], bytearray(b"\x02"))


def test_node_without_numpy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ValueError, match="arrays of numpy, which is not installed here"):
        size_of(["<f8", [2], "C", False])
