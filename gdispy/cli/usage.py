"""The command `gdispy usage [HOST]`: who has used the nodes of a shared scheduler, and how much.

Runs in a process that gevent has patched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from gdispy.cli.options import (
    Once,
    fail,
    parse,
    set_up_logging,
)
from gdispy.cli.scheduler_request import add_connection_options, add_scheduler_argument, ask_scheduler, scheduler_of
from gdispy.client.tables import format_table
from gdispy.errors import ConfigError, GdispyError
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import Usage, UsageRequest
from gdispy.protocol.rows import UsageRow

_ABOUT = """Show who has used the nodes of a gdispy-scheduler: for each user the jobs that have ended on nodes, and the
CPU hours: the time that they ran, multiplied by their CPUs (dispy_cpus)."""


def usage_parser() -> argparse.ArgumentParser:
    """The options of `gdispy usage`."""
    parser = argparse.ArgumentParser(prog="gdispy usage", description=_ABOUT)
    add_scheduler_argument(parser)
    text = "the last DAYS days, today included (default: 30)"
    parser.add_argument("--days", type=int, action=Once, default=30, metavar="DAYS", help=text)
    text = "a row for each user (default), for each day, or for each user of each day"
    parser.add_argument("--by", choices=("user", "day", "both"), default="user", help=text)
    text = "print a list of rows: `day`, `user`, `finished`, `failed`, `other`, `seconds` (of CPUs)"
    parser.add_argument("--json", action="store_true", help=text)
    add_connection_options(parser)
    return parser


def usage_main(words: Sequence[str] | None = None) -> int:
    """`gdispy usage`; the exit code."""
    options = parse(usage_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        if not 1 <= options.days <= 36500:
            raise ConfigError("--days takes a number of days, at least 1")
        secret, place = scheduler_of(options)
        found = ask_scheduler(secret, *place, UsageRequest(1, options.days), Usage)
    except (GdispyError, OSError) as error:
        return fail("gdispy usage", error)
    if options.json:
        print(json.dumps([row._asdict() for row in found.rows], indent=2))
    else:
        print("\n".join(usage_lines(found.rows, options.by)))
    return 0


def usage_lines(rows: Sequence[UsageRow], by: str) -> list[str]:
    """The rows as a table. By users, those who have used most are first; by days, the first day is."""
    groups = grouped(rows, by)
    if not groups:
        return ["no job has ended on a node in these days"]
    total = sum(row.seconds for row in groups)
    head = {"user": ("User",), "day": ("Day",), "both": ("Day", "User")}[by]
    cells = [(*head, "Finished", "Failed", "Other", "CPU hours", "Share")]
    for row in groups:
        names = {"user": (row.user,), "day": (row.day,), "both": (row.day, row.user)}[by]
        counts = (f"{row.finished:,}", f"{row.failed:,}", f"{row.other:,}", f"{row.seconds / 3600:,.2f}")
        share = f"{row.seconds / total:.0%}" if total else "-"
        cells.append((*(printable(each[:30]) for each in names), *counts, share))
    return format_table(cells, "  ")


def grouped(rows: Sequence[UsageRow], by: str) -> list[UsageRow]:
    """The sums of the rows with the same user, the same day, or both."""
    sums: dict[tuple[str, str], UsageRow] = {}
    for row in rows:
        key = ("" if by == "user" else row.day, "" if by == "day" else row.user)
        old = sums.get(key, UsageRow(*key, 0, 0, 0, 0.0))
        counts = (old.finished + row.finished, old.failed + row.failed, old.other + row.other)
        sums[key] = UsageRow(*key, *counts, old.seconds + row.seconds)
    if by == "user":
        return sorted(sums.values(), key=lambda row: (-row.seconds, row.user))
    return [sums[key] for key in sorted(sums)]
