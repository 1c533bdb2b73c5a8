"""Which patterns of files to return are accepted, and which paths match them."""

from __future__ import annotations

import pytest

from gdispy.client.return_patterns import ReturnPatterns
from gdispy.errors import ConfigError


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("/etc/passwd", "is absolute"),
        ("../x", "is not the name of a file below"),
        ("a/../../x", "is not the name of a file below"),
        ("..", "is not the name of a file below"),
        (".", "is not the name of a file below"),
        ("", "is not the name of a file below"),
        ("a\0b", "zero character"),
    ],
)
def test_pattern_that_leaves_the_directory_is_refused(pattern: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ReturnPatterns(["good", pattern])


def test_patterns_are_shortened() -> None:
    assert ReturnPatterns(["./a//b", "a/./b/../c"]).patterns == ("a/b", "a/c")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a.txt", "a.txt"),
        ("*.txt", "a.txt"),
        ("out", "out/deep/a.txt"),
        ("out/*", "out/deep/a.txt"),
        ("**/*.txt", "a.txt"),
        ("**/*.txt", "x/y/a.txt"),
        ("x/**", "x/y/a.txt"),
        ("part[0-9].txt", "part7.txt"),
        (".*", ".hidden"),
        ("a\nb*", "a\nbc"),
    ],
)
def test_path_matches(pattern: str, path: str) -> None:
    assert ReturnPatterns(["other", pattern]).match(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a.txt", "b.txt"),
        ("a.txt", "x/a.txt"),
        ("*.txt", "x/a.txt"),
        ("*", ".bashrc"),
        ("**", ".ssh/config"),
        ("**/*.txt", ".git/a.txt"),
        ("out/a", "out"),
        ("A*", "abc"),
        ("part[0-9].txt", "part77.txt"),
    ],
)
def test_path_does_not_match(pattern: str, path: str) -> None:
    assert not ReturnPatterns([pattern]).match(path)


def test_no_patterns_match_nothing() -> None:
    assert not ReturnPatterns([]).match("a")
