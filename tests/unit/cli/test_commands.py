"""What a first word of `gdispy` means, and how its words reach the options."""

from __future__ import annotations

import argparse

import pytest

from gdispy.cli.commands import SUBCOMMANDS, meant, overview
from gdispy.cli.options import as_declared, parse, unmarked


@pytest.mark.parametrize(
    ("word", "commands"),
    [
        ("node", ["gdispy nodes", "gdispy-node"]),
        ("nodess", ["gdispy nodes"]),
        ("Nodes", ["gdispy nodes"]),
        ("run", ["gdispy PROGRAM"]),
        ("start_nodes", ["gdispy start-nodes"]),
        ("stop-node", ["gdispy stop-nodes"]),
        ("certificates", ["gdispy certificate"]),
        ("journals", ["gdispy journal"]),
        ("scheduler", ["gdispy-scheduler", "gdispy status"]),
    ],
)
def test_word_that_is_nearly_a_command_is_not_taken_for_a_program(word: str, commands: list[str]) -> None:
    assert meant(word)[: len(commands)] == commands


@pytest.mark.parametrize(
    "word", ["./node", "bin/help", "simulate", "echo", "--local", "-a", "", "python3", "seq", "helm"]
)
def test_other_words_are_programs(word: str) -> None:
    assert meant(word) == []


def test_overview_has_a_line_for_each_command() -> None:
    lines = overview().splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [["gdispy", name] for name in SUBCOMMANDS]
    assert all(len(line) <= 100 for line in lines)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser()
    found.add_argument("program")
    found.add_argument("-a", dest="args", action="append", default=[], type=unmarked)
    found.add_argument("--dest_path")
    found.add_argument("--secret-file")
    found.add_argument("--local", action="store_true")
    return found


@pytest.mark.parametrize("text", ["-n hello", "--local", "-a", "--dest-path=x", "", "=", "-", "--", "-n a=b", "'"])
def test_word_after_a_is_its_own_whatever_it_begins_with(text: str) -> None:
    options = parse(parser(), ["-a", text, "-a", "second", "echo"], verbatim="-a")
    assert (options.args, options.program, options.local) == ([text, "second"], "echo", False)


@pytest.mark.parametrize("words", [["-ahello", "echo"], ["-a=hello", "echo"], ["echo", "-a", "hello"]])
def test_other_ways_to_write_a_stay(words: list[str]) -> None:
    assert parse(parser(), words, verbatim="-a").args == ["hello"]


def test_a_without_a_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(parser(), ["echo", "-a"], verbatim="-a")
    assert "expected one argument" in capsys.readouterr().err


def test_options_take_dashes_and_underscores_alike() -> None:
    for words in (["--dest-path", "d", "--secret_file", "s", "p"], ["--dest_path=d", "--secret-file=s", "p"]):
        options = parse(parser(), words)
        assert (options.dest_path, options.secret_file) == ("d", "s")


def test_words_after_two_dashes_are_no_options() -> None:
    assert as_declared(parser(), ["--dest-path", "d", "--", "--dest-path", "-a"], "-a") == [
        *("--dest_path", "d", "--", "--dest-path", "-a")
    ]
