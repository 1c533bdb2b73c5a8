"""Tables of text."""

from __future__ import annotations

from gdispy.client.tables import format_table


def test_columns_are_as_wide_as_their_widest_cell_and_the_last_is_not_padded() -> None:
    rows = [("HOST", "STATE"), ("a long name", "free"), ("b", "")]
    assert format_table(rows, "  ", align="<") == ["HOST         STATE", "a long name  free", "b"]


def test_given_widths_are_the_least_and_more_text_is_not_cut() -> None:
    rows = [("Node", "CPUs", "State"), ("a longer name", "4", "away")]
    assert format_table(rows, " | ", (8, 5)) == ["    Node |  CPUs | State", "a longer name |     4 | away"]


def test_no_rows_are_no_lines() -> None:
    assert format_table([], " | ") == []
