"""The options for sources of arguments: which combinations are valid, and what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdispy.cli.command_line import CommandLine
from gdispy.cli.job_lines import arrived
from gdispy.cli.options import parse
from gdispy.cli.run_options import RunOptions, parser
from gdispy.cli.source_options import renamed
from gdispy.errors import ConfigError


def commands(*words: str) -> list[str]:
    """The command lines that are run."""
    known = parser()
    line = CommandLine.split(known, words)
    lines = RunOptions(parse(known, line.options, verbatim="-a"), line).lines
    return [lines.command(each) for each in arrived(lines.lines())]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-N", "2", "p", ":::", "1", "2", "3"], ["p 1 2", "p 3"]),
        (["--max-args", "2", "p", "{2}-{1}", ":::", "1", "2", "3"], ["p 2-1", "p -3"]),
        (["-N2", "p", "{2}", "{1}", ":::", "1", "2", "3"], ["p 2 1", "p '' 3"]),
        (["-N", "0", "p", "{#}", ":::", "a", "b"], ["p 1", "p 2"]),
        (["-N", "2", "p", "x{/}y", ":::", "a/1", "b/2"], ["p x1y x2y"]),
        (["-X", "p", ":::", "1", "2", "3"], ["p 1 2 3"]),
        (["-X", "-j", "2", "p", "{}.gz", ":::", "1", "2", "3"], ["p 1.gz 2.gz", "p 3.gz"]),
        (["-X", "-N", "2", "p", "{}", "end", ":::", "1", "2", "3"], ["p 1 2 end", "p 3 end"]),
        (["--colsep", ",", "p", "{2}", "{1.}", ":::", "a.x, b", "c"], ["p b a", "p '' c"]),
        (["-C", "[ :]+", "p", ":::", "a b:c"], ["p a b c"]),
        (
            ["--header", ":", "p", "--n={n}", "{m.}", ":::", "n", "1", "2", ":::", "m", "x.y"],
            ["p --n=1 x", "p --n=2 x"],
        ),
        (["-j", "3", "p", "{%}", "{}", ":::", "a"], ["p '{%}' a"]),
    ],
)
def test_arguments_reach_the_templates(words: list[str], expected: list[str]) -> None:
    assert commands(*words) == expected


def test_columns_with_names_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffname,size\na,1\nb,2\n", "utf-8")
    words = ["--colsep", ",", "--header", ":", "-a", f"@{tmp_path}/t.csv", "p", "--{name}", "{size}", "{ other }"]
    assert commands(*words) == ["p --a 1 '{ other }'", "p --b 2 '{ other }'"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max-args=-1", "p", ":::", "1"], r"-N \(--max-args\) must be at least 0"),
        (["-X", "-N", "0", "p", ":::", "1"], "must be at least 1 with -X"),
        (["-N", "2", "p", ":::", "1", ":::", "2"], "-N needs one source of arguments, and there are 2"),
        (["-X", "p", ":::", "1", ":::+", "2"], "-X needs one source"),
        (["-N", "2", "-a", "x", "p"], "each -a TEXT is one job"),
        (["-N", "2", "-a", "x", "p", "{}"], "each -a TEXT is one job"),
        (["-N", "2", "p", "{3}", ":::", "1"], "there are only 2"),
        (["-N", "2", "--colsep", ",", "p", ":::", "1"], "--colsep and -N cannot be combined"),
        (["-X", "--header", ":", "p", ":::", "1"], "--header and -X cannot be combined"),
        (["--header", "x", "p", ":::", "1"], "--header must be ':'"),
        (["--header", ":", "p", ":::", "a", "1", ":::", "a", "2"], "two columns have the name 'a'"),
        (["--header", ":", "p", "x{sice}", ":::", "size", "1"], r"\{sice\} names no column: they are size"),
        (["--header", ":", "-f", "{sice/.}", "p", ":::", "size", "1"], r"\{sice/\.\} names no column"),
        (["--header", ":", "p", ":::", "", "1"], "a column has no name"),
        (["p", "{%}", ":::", "1"], "needs -j N"),
        (["-j", "2", "-f", "{%}", "p", ":::", "1"], "not in -f and --return"),
        (["-j", "2", "--return", "{%}", "p", ":::", "1"], "not in -f and --return"),
    ],
)
def test_what_cannot_be_combined_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        commands(*words)


def test_names_become_numbers_in_templates_only() -> None:
    names = {"a": 1, "a.b": 2, "x+": 3}
    assert renamed(["{a}", "{a.b}", "{a.b/.}", "a", "{x+//}", "${b}{ b }{1b}"], names) == [
        "{1}",
        "{2}",
        "{2/.}",
        "a",
        "{3//}",
        "${b}{ b }{1b}",
    ]
