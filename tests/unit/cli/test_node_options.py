"""The options of `gdispy-node` by name. What they come to: `test_options.py`."""

from __future__ import annotations

import re
import shlex

import pytest

from gdispy.cli.node_options import node_parser
from gdispy.cli.options import adjustable, as_declared, is_given


def test_option_that_is_not_given_leaves_room_for_a_variable_or_a_file() -> None:
    parser = node_parser()
    options = parser.parse_args([])
    assert [each.dest for each in adjustable(parser) if is_given(getattr(options, each.dest))] == []


def examples() -> list[str]:
    text = node_parser().epilog or ""
    return [match[1].strip() for match in re.finditer(r"^  gdispy-node(.*?)(?:   |$)", text, re.MULTILINE)]


@pytest.mark.parametrize("example", examples())
def test_examples_of_the_help_are_valid(example: str) -> None:
    parser = node_parser()
    parser.parse_args(as_declared(parser, shlex.split(example)))


def test_there_are_examples() -> None:
    assert len(examples()) == 6


@pytest.mark.parametrize("name", ["--exit-with-stdin", "--private"])
def test_options_for_other_commands_are_valid_and_not_in_the_help(name: str) -> None:
    assert name not in node_parser().format_help()
    assert getattr(node_parser().parse_args([name]), name[2:].replace("-", "_"))


@pytest.mark.parametrize(
    ("names", "dest"),
    [
        (("-i", "--ip_addr", "--host"), "ip_addr"),
        (("--ext_ip_addr", "--ext_host"), "ext_ip_addr"),
        (("--connect", "--scheduler_node", "--scheduler_host"), "connect"),
        (("-c", "--cpus"), "cpus"),
        (("-p", "--node_port"), "node_port"),
        (("-s", "--secret"), "secret"),
        (("-d", "--debug"), "debug"),
    ],
)
def test_all_names_of_an_option_mean_the_same(names: tuple[str, ...], dest: str) -> None:
    parser = node_parser()
    words = [[name] if dest == "debug" else [name, "1"] for name in names]
    assert len({str(getattr(parser.parse_args(each), dest)) for each in words}) == 1


@pytest.mark.parametrize("words", [["--cpus", "two"], ["--ping_interval", "often"], ["--serve", "1.5"], ["extra"]])
def test_words_of_the_wrong_kind_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        node_parser().parse_args(words)
    assert ended.value.code == 2 and words[-1] in capsys.readouterr().err
