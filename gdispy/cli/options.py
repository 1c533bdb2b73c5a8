"""What the commands have in common: options, logging, exit codes.

Used by `__init__.py`, `run.py` and `node.py`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gdispy import config
from gdispy.errors import ConfigError

#: Exit codes, besides 0.
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

#: Minutes for which what is never to be given up is kept: 190 years.
NEVER = 1e8

#: Options that say whose secret applies; `transport/credentials.py` knows their variables.
SECRETS = ("secret", "secret_file", "insecure")

_ONLY_ON_COMMAND_LINE = ("help", "version", "config", "save_config", "exit_with_stdin", "private")
_FLAGS = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}

T = TypeVar("T")


def add_secret_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-s",
        "--secret",
        default="",
        help="the shared secret; it shows in the list of processes, so --secret-file is better",
    )
    add(
        "--secret-file",
        "--secret_file",
        default="",
        metavar="FILE",
        help="file with the shared secret; '-' reads a line from standard input",
    )
    add("--insecure", action="store_true", help="no secret at all; on this machine only")


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    text = "certificate, where TLS is demanded: the same file on all sides, or the own first and the others' after it"
    parser.add_argument("--certfile", default="", metavar="FILE", help=text)
    text = "its private key, if that is in another file"
    parser.add_argument("--keyfile", default="", metavar="FILE", help=text)


class Once(argparse.Action):
    """An option whose second value would silently replace the first: it is refused."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if getattr(namespace, f"_{self.dest}_was_given", False):
            parser.error(f"{option_string} can be given once only")
        setattr(namespace, f"_{self.dest}_was_given", True)
        setattr(namespace, self.dest, values)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--debug", action="store_true", help="tell in detail what happens")
    parser.add_argument("--version", action="version", version=f"%(prog)s {config.VERSION}")


def set_up_logging(form: str, debug: bool, level: int = logging.WARNING) -> None:
    logging.basicConfig(format=form, stream=sys.stderr)
    logging.getLogger("gdispy").setLevel(logging.DEBUG if debug else level)


def fail(program: str, error: BaseException) -> int:
    """Print what went wrong; the exit code."""
    print(f"{program}: {error}", file=sys.stderr)
    return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED


def parse(
    parser: argparse.ArgumentParser, words: Sequence[str] | None, verbatim: str | None = None
) -> argparse.Namespace:
    """Parse a command line in which long options may have `-` for `_`, and the other way round. The word after the
    option `verbatim`, a short one, belongs to that, whatever it begins with."""
    words = sys.argv[1:] if words is None else words
    return parser.parse_args(as_declared(parser, words, verbatim))


def as_declared(parser: argparse.ArgumentParser, words: Sequence[str], verbatim: str | None = None) -> list[str]:
    """The words as `argparse` takes them; see `parse`."""
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*found, word, *rest]
        following = next(rest, None) if word == verbatim else None
        found.append(_as_declared(parser, word) if following is None else f"{word}={_MARK}{following}")
    return found


#: No word of a command line has it. `argparse` would take some words for what they are not, also behind an option.
_MARK = "\0"


def unmarked(word: str) -> str:
    """The type of an option that is given as `verbatim` to `parse`."""
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
    """Options, each from the command line, a `GDISPY_*` variable, or the options file, in this order."""

    def __init__(self, parser: argparse.ArgumentParser, options: argparse.Namespace, file: dict[str, str], path: str):
        self._options = options
        #: Where a value came from that is not of the command line.
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
        """An option's value, checked; what is wrong with it is told with where it came from."""
        value = getattr(self._options, name)
        if not is_given(value):
            return default
        try:
            return convert(value)
        except ConfigError as error:
            raise ConfigError(f"{self._sources.get(name, f'--{name}')}: {error}") from None


def addresses(given: Any) -> tuple[str, ...]:
    """What `--ip_addr` says; a variable or a file says it in one text."""
    return tuple(given.replace(",", " ").split() if isinstance(given, str) else given)


def within(least: float, most: float = 1e8) -> Callable[[Any], Any]:
    """A check of a number."""

    def check(number: Any) -> Any:
        if not least <= number <= most:
            raise ConfigError(f"it must be from {least} to {most:.0f}, not {number}")
        return number

    return check


def zero_means(none: T, check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A check of a number that may also be 0: then `none` stands for it, as in dispy."""
    return lambda number: check(number) if number else none


def adjustable(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options that may come from elsewhere than the command line."""
    return [action for action in parser._actions if action.option_strings and action.dest not in _ONLY_ON_COMMAND_LINE]


def is_given(value: object) -> bool:
    """Whether an option has a value, 0 included."""
    return value is not None and value is not False and value != ""


def _converted(action: argparse.Action, text: str, source: str) -> Any:
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
