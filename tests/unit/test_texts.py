"""Texts that are made fit to travel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gdispy.worker.texts import shortened


def test_short_texts_stay_as_they_are() -> None:
    assert shortened("näme\n", 100) == "näme\n"


def test_what_is_no_character_is_shown() -> None:
    assert shortened("caf\udce9.csv", 100) == "caf\\udce9.csv"


def test_of_long_texts_the_first_and_last_parts_are_left() -> None:
    text = shortened("a" * 1000 + "z" * 1000, 200)
    assert text.startswith("aaa") and text.endswith("zzz")
    assert "\n[... 1,800 bytes are left out here ...]\n" in text


@given(st.text(st.characters(codec=None), max_size=300), st.integers(60, 400))
def test_no_text_is_too_long_or_cannot_travel(text: str, limit: int) -> None:
    assert len(shortened(text, limit).encode()) <= limit
