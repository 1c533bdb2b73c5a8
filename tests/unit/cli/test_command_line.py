"""Which words are options of gdispy, words of the program, and arguments."""

from __future__ import annotations

import pytest

from gdispy.cli.command_line import CommandLine, SourceWords
from gdispy.cli.run_options import parser
from gdispy.errors import ConfigError


def split(text: str) -> tuple[str, str, list[SourceWords]]:
    line = CommandLine.split(parser(), text.split())
    return " ".join(line.options), " ".join(line.words), line.sources


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("prog", "prog", ""),
        ("--local -n host prog -n 3 x", "--local -n host prog", "-n 3 x"),
        ("-cn host prog a", "-cn host prog", "a"),
        ("-nhost --node_port=3 --node-port 3 --secret-file s --secret_file s prog -c", "", "-c"),
        ("-a -x prog word", "-a -x prog", "word"),
        ("-a @list wc -c", "-a @list wc", "-c"),
        ("--loc -d prog -x", "--loc -d prog", "-x"),
        ("-- prog --local", "-- prog", "--local"),
        ("prog -a 1 -a 2 --local", "prog -a 1 -a 2 --local", ""),
        ("prog --local x", "prog", "--local x"),
        ("--unknown prog x", "--unknown prog", "x"),
        ("", "", ""),
    ],
)
def test_options_end_at_the_program(text: str, options: str, words: str) -> None:
    found = split(text)
    if options or not text:
        assert found == (options, words, [])


def test_sources_follow_the_words() -> None:
    _, words, sources = split("--local grep -c x ::: a b ::: c :::+ d :::: file")
    assert words == "-c x"
    assert sources == [(":::", ("a", "b")), (":::", ("c",)), (":::+", ("d",)), ("::::", ("file",))]
    assert [(each.names_files, each.is_linked) for each in sources] == [
        *((False, False), (False, False), (False, True), (True, False))
    ]


def test_separator_in_the_value_of_an_option_is_text() -> None:
    assert split("-a ::: prog") == ("-a ::: prog", "", [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--local ::: a", "the program is missing before :::"),
        ("prog :::+ a", "there is none"),
        ("-a 1 prog -a 2", "write it before the program, or write -- before prog"),
    ],
)
def test_other_lines_are_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        split(text)
