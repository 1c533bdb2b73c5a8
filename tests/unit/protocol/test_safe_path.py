"""Names of files from a peer: what stays below a directory, and nothing else."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdispy.errors import ProtocolError
from gdispy.protocol.safe_path import PART_LIMIT, PATH_LIMIT, safe_parts


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a", ["a"]),
        ("a/b.py", ["a", "b.py"]),
        (".hidden/..b/c..", [".hidden", "..b", "c.."]),
        ("with space/ä", ["with space", "ä"]),
        ("-rf", ["-rf"]),
        ("x" * PART_LIMIT, ["x" * PART_LIMIT]),
    ],
)
def test_relative_name_is_taken_apart(path: str, parts: list[str]) -> None:
    assert safe_parts(path) == parts


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "/", "/etc/x", "../x", "a/../../x", "a/..", "./a", "a//b", "a/", "//a"),
        *("a\\b", "..\\x", "C:x", "a:b", "a\0b", "a\nb", "a\x1fb", "a\x7fb", "\udc80", "a\ud800"),
        *(".gdispy", ".gdispy_spool", ".gdispy-x/a", "a/.gdispy/b"),
        *("x" * (PART_LIMIT + 1), "ä" * (PART_LIMIT // 2 + 1), "/".join(["x" * 100] * 11)),
    ],
)
def test_name_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ProtocolError):
        safe_parts(path)


def test_refusal_names_the_path_briefly() -> None:
    with pytest.raises(ProtocolError, match=r"\.\./x"):
        safe_parts("../x")
    with pytest.raises(ProtocolError) as caught:
        safe_parts("x" * 100_000)
    assert len(str(caught.value)) < 200


@given(st.text(alphabet="ab./\\:\0\n~-é\ud800", max_size=30))
def test_whatever_is_let_through_stays_below_the_directory(path: str) -> None:
    try:
        parts = safe_parts(path)
    except ProtocolError:
        return
    joined = os.path.normpath(os.path.join("/base", *parts))
    assert joined.startswith("/base/")
    assert joined == "/base/" + path
    assert len(path.encode()) <= PATH_LIMIT
