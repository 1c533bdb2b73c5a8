"""The names of programs that submit jobs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.protocol.client_names import ClientName, client_name, parse
from gdispy.protocol.limits import NAME_LIMIT


@pytest.mark.parametrize(
    ("name", "parts", "person"),
    [
        ("lab3 (ann: fit.py)", ClientName("lab3", "ann", "fit.py"), "ann"),
        ("lab3", ClientName("lab3", "", ""), "lab3"),
        ("lab3 (ann: a: b (c).py)", ClientName("lab3", "ann", "a: b (c).py"), "ann"),
        ("lab3 (user 1000: python)", ClientName("lab3", "user 1000", "python"), "user 1000"),
        ("", ClientName("", "", ""), ""),
    ],
)
def test_name_has_host_user_and_program(name: str, parts: ClientName, person: str) -> None:
    assert parse(name) == parts and parse(name).person == person


def test_unknown_parts_have_substitutes() -> None:
    assert client_name("", "ann", "") == "client (ann: python)"


@given(st.text(), st.text(), st.text())
def test_any_name_can_be_sent_and_read(host: str, user: str, program: str) -> None:
    name = client_name(host, user, program)
    assert len(name) <= NAME_LIMIT
    parse(name)
