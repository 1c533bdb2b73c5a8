"""Common parts of the commands: options, logging, exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from gdispy import config
from gdispy.errors import ConfigError

#: Exit codes, besides 0.
EXIT_FAILED = 1
EXIT_USAGE = 2

#: Minutes that stand for "for ever": 190 years.
NEVER = 1e8

#: Options that select the secret; `transport/credentials.py` reads their variables.
SECRETS = ("secret", "secret_file", "insecure")

_ONLY_ON_COMMAND_LINE = ("help", "version", "config", "save_config", "exit_with_stdin", "private")
_FLAGS = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}

T = TypeVar("T")
Number = TypeVar("Number", int, float)


class FirstAndOthers(argparse.Action):
    """An option that may be given several times: the first value is the value, the others are in `other_<name>s`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        others = list(getattr(namespace, f"other_{self.dest}s", ()))
        if getattr(namespace, self.dest):
            setattr(namespace, f"other_{self.dest}s", [*others, values])
        else:
            setattr(namespace, self.dest, values)


def add_secret_options(parser: argparse.ArgumentParser, has_others: bool = False) -> None:
    """With `has_others`, several files may be given: see docs/security."""
    add = parser.add_argument
    add(
        "-s",
        "--secret",
        default="",
        help="the shared secret; visible in the process list, so prefer --secret-file",
    )
    add(
        "--secret-file",
        "--secret_file",
        action=FirstAndOthers if has_others else "store",
        default="",
        metavar="FILE",
        help="file that holds the shared secret; '-' reads one line from standard input"
        + ("; may be repeated while the secret is being replaced: the first is used, all are accepted" * has_others),
    )
    parser.set_defaults(**({"other_secret_files": []} if has_others else {}))
    add("--insecure", action="store_true", help="use no secret; works on this machine only")


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    text = "certificate, if TLS is required: the same file on all sides, or the own certificate followed by the others'"
    parser.add_argument("--certfile", default="", metavar="FILE", help=text)
    text = "private key of the certificate, if it is in a separate file"
    parser.add_argument("--keyfile", default="", metavar="FILE", help=text)


class Once(argparse.Action):
    """An option that may be given once: a second value would silently replace the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, f"_{self.dest}_was_given", False):
            parser.error(f"{option_string} can be given only once")
        setattr(namespace, f"_{self.dest}_was_given", True)
        setattr(namespace, self.dest, values)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--debug", action="store_true", help="verbose logging")
    parser.add_argument("--version", action="version", version=f"%(prog)s {config.VERSION}")


def set_up_logging(form: str, debug: bool, level: int = logging.WARNING) -> None:
    logging.basicConfig(format=form, stream=sys.stderr)
    logging.getLogger("gdispy").setLevel(logging.DEBUG if debug else level)


def fail(program: str, error: BaseException) -> int:
    """Print the error; returns the exit code."""
    print(f"{program}: {error}", file=sys.stderr)
    return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED


def parse(
    parser: argparse.ArgumentParser, words: Sequence[str] | None, verbatim: str | None = None
) -> argparse.Namespace:
    """Parse a command line whose long options may be written with `-` or `_`. The argument after the short option
    `verbatim` is its value, whatever it begins with."""
    words = sys.argv[1:] if words is None else words
    return parser.parse_args(as_declared(parser, words, verbatim))


def as_declared(parser: argparse.ArgumentParser, words: Sequence[str], verbatim: str | None = None) -> list[str]:
    """The arguments in the form that `argparse` expects; see `parse`."""
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*found, word, *rest]
        following = next(rest, None) if word == verbatim else None
        own = _as_declared(parser, word) if following is None else f"{word}={_MARK}{following}"
        if found and _NEGATIVE.match(own) and _takes_value(parser, found[-1]):
            found[-1] += f"={own}"  # Otherwise an option such as -0 makes it look like an option.
        else:
            found.append(own)
    return found


_NEGATIVE = re.compile(r"-[0-9]*\.?[0-9]+[a-z%]?\Z")


def _takes_value(parser: argparse.ArgumentParser, word: str) -> bool:
    action = parser._option_string_actions.get(word)
    return action is not None and action.nargs is None


#: Cannot occur in a command line. Marks values that `argparse` would misread as options.
_MARK = "\0"


def unmarked(word: str) -> str:
    """The `type` of the option that `parse` gets as `verbatim`."""
    return word.removeprefix(_MARK)


def _as_declared(parser: argparse.ArgumentParser, word: str) -> str:
    name, equals, value = word.partition("=")
    known = parser._option_string_actions
    if not name.startswith("--") or name in known:
        return word
    for other in (name[2:].replace("-", "_"), name[2:].replace("_", "-")):
        if f"--{other}" in known:
            return f"--{other}{equals}{value}"
    return word


class ResolvedOptions:
    """Options, each taken from the command line, a `GDISPY_*` variable, or the options file, in this order."""

    def __init__(self, parser: argparse.ArgumentParser, options: argparse.Namespace, file: dict[str, str], path: str):
        self._options = options
        #: The source of each value that did not come from the command line.
        self._sources: dict[str, str] = {}
        for action in adjustable(parser):
            name = action.dest
            text = os.environ.get(f"GDISPY_{name.upper()}", "").strip()
            if is_given(getattr(options, name)) or name in SECRETS:
                continue
            if text:
                self._take(action, text, f"GDISPY_{name.upper()}")
            elif name in file:
                self._take(action, file[name], f"{name} in {path}")
        if not self._has_secret():
            for action in adjustable(parser):
                if action.dest in SECRETS and action.dest in file:
                    self._take(action, file[action.dest], f"{action.dest} in {path}")

    def _has_secret(self) -> bool:
        given = any(is_given(getattr(self._options, name)) for name in SECRETS)
        return given or any(os.environ.get(name) for name in ("GDISPY_SECRET", "GDISPY_SECRET_FILE"))

    def _take(self, action: argparse.Action, text: str, source: str) -> None:
        self._sources[action.dest] = source
        setattr(self._options, action.dest, _converted(action, text, source))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._options, name)

    def read(self, name: str, convert: Callable[[Any], T], default: T) -> T:
        """The checked value of an option; an error message names the source of the value."""
        value = getattr(self._options, name)
        if not is_given(value):
            return default
        try:
            return convert(value)
        except ConfigError as error:
            raise ConfigError(f"{self._sources.get(name, f'--{name}')}: {error}") from None


def addresses(given: str | Iterable[str]) -> tuple[str, ...]:
    """The values of `--ip_addr`; a variable or a file has them in one string."""
    return tuple(given.replace(",", " ").split() if isinstance(given, str) else given)


def within(least: float, most: float = 1e8) -> Callable[[Number], Number]:
    """Returns a check that a number is in a range."""

    def check(number: Number) -> Number:
        if not least <= number <= most:
            raise ConfigError(f"it must be between {least} and {most:.0f}, not {number}")
        return number

    return check


def zero_means(none: T, check: Callable[[Number], Number]) -> Callable[[Number], Number | T]:
    """Returns a check of a number for which 0 means `none`, as in dispy."""
    return lambda number: check(number) if number else none


def adjustable(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options that a variable or an options file may set."""
    return [action for action in parser._actions if action.option_strings and action.dest not in _ONLY_ON_COMMAND_LINE]


def is_given(value: object) -> bool:
    """Whether an option has a value, 0 included."""
    return value is not None and value is not False and value != ""


def _converted(action: argparse.Action, text: str, source: str) -> bool | int | float | str:
    if action.nargs == 0:
        value = _FLAGS.get(text.lower())
        if value is None:
            raise ConfigError(f"{source} must be yes or no, not {text!r}")
        return value
    if action.type in (int, float):
        try:
            return action.type(text)
        except ValueError:
            kind = "a whole number" if action.type is int else "a number"
            raise ConfigError(f"{source} must be {kind}, not {text!r}") from None
    return text
