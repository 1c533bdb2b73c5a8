"""Source lines in tracebacks, of functions that were typed in."""

from __future__ import annotations

import linecache
from collections.abc import Iterator

import pytest

from gdispy.client.job_errors import with_source_lines

CELL = "<cell of a test>"


@pytest.fixture(autouse=True)
def cell() -> Iterator[None]:
    linecache.cache[CELL] = (9, None, ["def f(x):\n", "    raise ValueError(x)\n"], CELL)
    yield
    linecache.cache.pop(CELL, None)


def test_line_of_a_cell_is_shown_below_its_frame() -> None:
    text = f'Traceback (most recent call last):\n  File "{CELL}", line 2, in f\nValueError: 5\n'
    shown = (
        f'Traceback (most recent call last):\n  File "{CELL}", line 2, in f\n    raise ValueError(x)\nValueError: 5\n'
    )
    assert with_source_lines(text) == shown
    assert with_source_lines(shown) == shown


def test_frames_of_a_group_keep_their_bars() -> None:
    text = f'  | Traceback (most recent call last):\n  |   File "{CELL}", line 2, in f\n  | ExceptionGroup: two\n'
    assert f'  |   File "{CELL}", line 2, in f\n  |     raise ValueError(x)\n' in with_source_lines(text)


@pytest.mark.parametrize("place", [f'"{CELL}", line 99', f'"{__file__}", line 1', '"/no/such/file.py", line 1'])
def test_lines_that_do_not_exist_and_those_of_files_are_left_out(place: str) -> None:
    text = f"  File {place}, in f\nValueError: 5\n"
    assert with_source_lines(text) == text
