"""What the commands have in common: options, logging, exit codes.

Floor 3. Used by `cli.py` and `run.py`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from gdispy import config
from gdispy.errors import ConfigError

#: Exit codes, besides 0.
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


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


def from_environment(name: str, default: str = "") -> str:
    """The value of an option that is not given."""
    return os.environ.get(f"GDISPY_{name}", default)
