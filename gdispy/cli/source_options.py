"""The options of `gdispy PROGRAM` that describe the sources of arguments, and the sources that they mean.

Sources are created in the main thread, before any job runs. Raises ConfigError for invalid combinations.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from gdispy.cli.argument_shapes import ColumnSource, GroupedSource, HeadedSource, PackedSource, separator
from gdispy.cli.argument_sources import STDIN, CommandLineSource, Source, SourceGroups, StreamSource, TextSource
from gdispy.cli.command_line import SourceWords, is_source_text
from gdispy.cli.options import unmarked
from gdispy.errors import ConfigError

#: A template with a name; `${NAME}` is for a shell.
_NAMED = re.compile(r"(?<!\$)\{(?P<name>[^\W\d]\w*)(?://|/\.|/|\.)?\}")
#: The value of `--header`: the first line.
_FIRST_LINE = ":"


def add_source_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("arguments").add_argument
    text = (
        "arguments of one job, split as in a shell; repeat for each job. @FILE: a job for each line of a file; -: of "
    )
    text += (
        "standard input. ':::' and words at the end of the command line: a job for each word; ':::+': linked to the "
    )
    text += "source before; '::::' and files: as @FILE"
    add("-a", dest="args", type=unmarked, action="append", default=[], metavar="ARGS", help=text)
    add("-0", "--null", action="store_true", help="a NUL character ends each argument of a file, instead of a newline")
    text = "regular expression that separates the columns of each line, for {1}, {2} ..."
    add("-C", "--colsep", default=None, metavar="REGEXP", help=text)
    text = "with ':', the first line of each source has the names of its columns, for templates such as {name}"
    add("--header", default=None, metavar=":", help=text)
    text = "arguments of each job, for {1}, {2} ...; 0: run once for each argument, without it"
    add("-N", "--max-args", type=int, default=None, metavar="N", help=text)
    text = "as many arguments for each job as fit into a command line; a word with {} is repeated for each of them"
    add("-X", dest="packs", action="store_true", help=text)


class Sources(NamedTuple):
    """The sources of one run."""

    groups: SourceGroups
    #: The names of columns, from headers, by their numbers from 1.
    names: dict[str, int]
    #: The source whose arguments are packed, if any.
    packed: PackedSource | None


def gathers(options: argparse.Namespace) -> bool:
    """Whether a job gets several arguments of one source."""
    return options.max_args is not None or bool(options.packs)


def check_source_options(options: argparse.Namespace) -> None:
    if options.header not in (None, _FIRST_LINE):
        raise ConfigError(f"--header must be ':', for the first line, not {options.header!r}")
    if options.max_args is not None and options.max_args < (1 if options.packs else 0):
        least = "1 with -X" if options.packs else "0"
        raise ConfigError(f"-N (--max-args) must be at least {least}, not {options.max_args}")
    for name, option in (("colsep", "--colsep"), ("header", "--header")):
        if getattr(options, name) is not None and gathers(options):
            raise ConfigError(f"{option} and {'-X' if options.packs else '-N'} cannot be combined")


def sources(
    options: argparse.Namespace, words: list[SourceWords], has_templates: bool, jobs: int | None = None
) -> Sources:
    """All sources: the texts of `-a`, files of `-a`, then those of the command line. Standard input is a source if it
    is named, or if a template, or an option for sources, has no other source. `jobs` is the number of jobs among which
    -X distributes the arguments, if it is known."""
    texts = [text for text in options.args if not is_source_text(text)]
    shapes = gathers(options) or options.colsep is not None or options.header is not None
    if texts and shapes:
        raise ConfigError("each -a TEXT is one job: -N, -X, --colsep and --header are for ::: and -a @FILE")
    groups = _groups(options, words, (has_templates or shapes) and not texts)
    names: dict[str, int] = {}
    packed: PackedSource | None = None
    if options.colsep is not None:
        by = separator(options.colsep)
        groups = [[ColumnSource(source, by) for source in group] for group in groups]
    if options.header is not None:
        headed = [[HeadedSource(source) for source in group] for group in groups]
        names = _names([name for group in headed for source in group for name in source.names])
        groups = [list(group) for group in headed]
    if options.packs:
        packed = PackedSource(_only(groups, "-X"), options.max_args, jobs)
        groups = [[packed]]
    elif options.max_args is not None:
        groups = [[GroupedSource(_only(groups, "-N"), options.max_args)]]
    if texts:
        groups.insert(0, [TextSource(texts)])
    return Sources(SourceGroups(groups or [[TextSource([""])]]), names, packed)


def _only(groups: list[list[Source]], option: str) -> Source:
    if len(groups) != 1 or len(groups[0]) != 1:
        raise ConfigError(f"{option} needs one source of arguments, and there are {sum(map(len, groups))}")
    return groups[0][0]


def _names(names: Sequence[str]) -> dict[str, int]:
    for name in names:
        if not name:
            raise ConfigError("--header: a column has no name")
        if names.count(name) > 1:
            raise ConfigError(f"--header: two columns have the name {name!r}")
    return {name: place for place, name in enumerate(names, 1)}


def renamed(words: Sequence[str], names: dict[str, int]) -> list[str]:
    """The words with numbers instead of names in templates. Raises ConfigError for a name that no column has."""
    if not names:
        return list(words)
    for word in words:
        for match in _NAMED.finditer(word):
            if match["name"] not in names:
                known = ", ".join(names)
                raise ConfigError(
                    f"{match[0]} names no column: they are {known}. As text, write spaces inside the braces"
                )
    longest = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    template = re.compile(rf"\{{({longest})(//|/\.|/|\.)?\}}")
    return [template.sub(lambda match: f"{{{names[match[1]]}{match[2] or ''}}}", word) for word in words]


def _groups(options: argparse.Namespace, words: list[SourceWords], reads_input: bool) -> list[list[Source]]:
    """The sources that are not texts of `-a`."""
    names = [text.removeprefix("@") for text in options.args if is_source_text(text)]
    files = [*names, *(word for each in words if each.names_files for word in each.words)]
    if reads_input and not (files or words):
        if os.isatty(STDIN):
            raise ConfigError(
                "the templates have no arguments: add ::: and arguments, give -a @FILE, or pipe them into "
                "standard input"
            )
        files = names = ["-"]
    _check_standard_input(files, options)
    groups: list[list[Source]] = [
        [_stream(name, options.null, f" (to pass '@{name}' as an argument, quote it: -a \"'@{name}'\")")]
        for name in names
    ]
    for each in words:
        found = [_stream(word, options.null) for word in each.words] if each.names_files else []
        made: list[Source] = list(found) if each.names_files else [CommandLineSource(each.words)]
        if each.is_linked:
            groups[-1] += made
        else:
            groups += [[source] for source in made]
    return groups


def _stream(name: str, nul: bool, hint: str = "") -> StreamSource:
    if name == "-":
        return StreamSource(STDIN, "standard input", nul)
    try:
        return StreamSource.of_file(name, nul)
    except ConfigError as error:
        raise ConfigError(f"{error}{hint}") from None


def _check_standard_input(files: list[str], options: argparse.Namespace) -> None:
    if files.count("-") > 1:
        raise ConfigError("standard input can be only one source of arguments, but '-' is given more than once")
    if "-" in files and options.secret_file == "-":
        raise ConfigError("standard input cannot be both the secret (--secret-file -) and a source of arguments")
    if options.null and not files:
        raise ConfigError("--null (-0) is for arguments from a file or standard input: give -a @FILE or -a -")
