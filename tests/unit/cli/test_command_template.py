"""Templates in the words of a program."""

from __future__ import annotations

import pytest

from gdispy.cli.command_template import CommandTemplate
from gdispy.errors import ConfigError


@pytest.mark.parametrize(
    ("template", "argument", "expected"),
    [
        ("{}", "a/b.c.txt", "a/b.c.txt"),
        ("{.}", "a/b.c.txt", "a/b.c"),
        ("{.}", "a.d/b", "a.d/b"),
        ("{.}", ".bashrc", ".bashrc"),
        ("{.}", "a/.bashrc", "a/.bashrc"),
        ("{.}", "a.", "a."),
        ("{.}", "a..b", "a."),
        ("{.}", "..b", "."),
        ("{.}", "a.d/", "a.d/"),
        ("{.}", "a.b\n", "a"),
        ("{/.}", "x/.tar.gz", ".tar"),
        ("{/}", "a/b/", ""),
        ("{//}", "a/b/", "a"),
        ("{//}", "a/", "."),
        ("{//}", "/", "/"),
        ("{//}", "a//b", "a"),
        ("{-1/}", "a/b", "b"),
        ("{/}", "a/b.c.txt", "b.c.txt"),
        ("{//}", "a/b.c.txt", "a"),
        ("{//}", "b.c", "."),
        ("{//}", "/b.c", "/"),
        ("{/.}", "a/b.c.txt", "b.c"),
        ("{#}", "x", "7"),
        ("{1.}.jpg", "a.png", "a.jpg"),
        ("--x={}", "two words", "--x=two words"),
        ("{}{}", "a", "aa"),
    ],
)
def test_template_is_replaced(template: str, argument: str, expected: str) -> None:
    assert CommandTemplate([template]).fill(7, (argument,)) == (expected,)


@pytest.mark.parametrize("text", ["{x}", "{print $1}", "{0}", "{", "}", "{ }", "", "{//.}"])
def test_other_braces_are_plain_text(text: str) -> None:
    template = CommandTemplate([text])
    assert not template.has_fields and template.append(1, ("a",)) == (text, "a")


def test_arguments_are_appended_only_without_templates() -> None:
    assert CommandTemplate(["-l"]).append(1, ("a b", "c")) == ("-l", "a b", "c")
    assert CommandTemplate(["-l", "{2}"]).append(1, ("a b", "c")) == ("-l", "c")
    assert CommandTemplate(["{#}"]).append(3, ("a",)) == ("3",)


def test_word_that_is_only_a_template_becomes_a_word_for_each_source() -> None:
    assert CommandTemplate(["{}", "x{}", "{/}"]).fill(1, ("a/b", "c")) == ("a/b", "c", "xa/b c", "b", "c")


def test_source_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\{-3\} stands for an argument of source -3, but there are only 2"):
        CommandTemplate(["{-3}"]).check(2)
    with pytest.raises(ConfigError, match=r"\{3/\} stands for an argument of source 3, but there are only 2"):
        CommandTemplate(["{1}", "{3/}"]).check(2)
    CommandTemplate(["{1}", "{2}", "{#}", "{}"]).check(2)


def test_negative_positions_count_from_the_last_argument() -> None:
    template = CommandTemplate(["{-1}", "{-2.}", "x{-3}"], pads=True)
    assert template.fill(1, ("a.b", "c.d", "e")) == ("e", "c", "xa.b")
    assert template.fill(1, ("a.b",)) == ("a.b", "", "x")
    with pytest.raises(ConfigError, match=r"\{-2\}: job 4 has only 1 arguments"):
        CommandTemplate(["{-2}"]).fill(4, ("a",))
