"""The command `gdispy explain [HOST] [JOB]`: why jobs at a shared scheduler wait, and what a job does.

Runs in a process that gevent has patched.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence

from gdispy.cli.options import EXIT_FAILED, fail, parse, set_up_logging
from gdispy.cli.scheduler_request import add_connection_options, add_scheduler_argument, ask_scheduler, scheduler_of
from gdispy.client.explanation import Explanation
from gdispy.errors import GdispyError
from gdispy.protocol.limits import printable, printable_lines
from gdispy.protocol.messages import JobFacts, JobFactsRequest

_ABOUT = """Show what the jobs at a gdispy-scheduler wait for, of each computation; or what a job waits for, or does:
its node, process, CPU time, memory, last output and Python stack. JOB is as `gdispy status --jobs` and `gdispy
explain` show it: the first digits of the computation, a colon, and the number of the job, such as c41f:17."""

#: A single argument in this form is a job, not a host.
_JOB = re.compile(r"[0-9a-fA-F]{1,16}:[0-9]+", re.ASCII)


def explain_parser() -> argparse.ArgumentParser:
    """The options of `gdispy explain`."""
    parser = argparse.ArgumentParser(prog="gdispy explain", description=_ABOUT)
    add_scheduler_argument(parser)
    text = "the job, such as c41f:17, or c41f:0 for a computation (default: all computations)"
    parser.add_argument("job", nargs="?", default="", metavar="JOB", help=text)
    text = "print a list with an object for each computation, or the job: lists of texts by keys"
    parser.add_argument("--json", action="store_true", help=text)
    add_connection_options(parser)
    return parser


def explain_main(words: Sequence[str] | None = None) -> int:
    """`gdispy explain`; the exit code."""
    options = parse(explain_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    _tell_apart(options)
    try:
        secret, place = scheduler_of(options)
        found = ask_scheduler(secret, *place, JobFactsRequest(1, options.job), JobFacts)
    except (GdispyError, OSError) as error:
        return fail("gdispy explain", error)
    if found.error:
        fail("gdispy explain", GdispyError(printable(found.error)))
        return EXIT_FAILED
    groups = grouped(found.facts)
    if options.json:
        print(json.dumps([as_object(each) for each in groups], indent=2))
    else:
        print("\n\n".join(str(Explanation(each)) for each in groups) or "no program has a computation here")
    return 0


def _tell_apart(options: argparse.Namespace) -> None:
    """A single argument may be the host or the job."""
    if options.host and not options.job and (options.named or _JOB.fullmatch(options.host)):
        options.host, options.job = "", options.host


def grouped(facts: Sequence[str]) -> list[list[tuple[str, str]]]:
    """The facts of each computation, or of one job, in pairs."""
    groups: list[list[tuple[str, str]]] = []
    for key, value in zip(facts[::2], facts[1::2], strict=False):
        # A job's own name comes before that of its computation.
        if not groups or (key == "computation" and groups[-1][-1][0] != "job"):
            groups.append([])
        groups[-1].append((printable(key), printable_lines(value)))
    return groups


def as_object(facts: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The facts as JSON data: a key may occur several times."""
    found: dict[str, list[str]] = {}
    for key, value in facts:
        found.setdefault(key, []).append(value)
    return found
