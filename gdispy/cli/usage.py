"""The command `gdispy usage [HOST]`: who has used the nodes of a shared scheduler, and how much.

Runs in a process that gevent has patched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from gdispy.cli.options import (
    Once,
    add_common_options,
    add_secret_options,
    add_tls_options,
    fail,
    parse,
    set_up_logging,
)
from gdispy.cli.scheduler_request import ask_scheduler
from gdispy.client.shared_cluster import scheduler_place
from gdispy.client.tables import format_table
from gdispy.errors import ConfigError, GdispyError
from gdispy.protocol.limits import printable
from gdispy.protocol.messages import Usage, UsageRequest
from gdispy.protocol.rows import UsageRow
from gdispy.transport.credentials import find_secret, with_tls

_ABOUT = """Show who has used the nodes of a gdispy-scheduler: for each user the jobs that have ended on nodes, and the
CPU hours: the time that they ran, multiplied by their CPUs (dispy_cpus)."""


def usage_parser() -> argparse.ArgumentParser:
    """The options of `gdispy usage`."""
    parser = argparse.ArgumentParser(prog="gdispy usage", description=_ABOUT)
    text = "host of the gdispy-scheduler (default: this machine)"
    parser.add_argument("host", nargs="?", default="", metavar="HOST[:PORT]", help=text)
    text = "the same, as an option like that of `gdispy`"
    names = ("-n", "--scheduler_node", "--scheduler_host")
    parser.add_argument(*names, dest="named", action=Once, default="", metavar="HOST[:PORT]", help=text)
    text = "the last DAYS days, today included (default: 30)"
    parser.add_argument("--days", type=int, action=Once, default=30, metavar="DAYS", help=text)
    text = "a row for each user (default), for each day, or for each user of each day"
    parser.add_argument("--by", choices=("user", "day", "both"), default="user", help=text)
    text = "print a list of rows: `day`, `user`, `finished`, `failed`, `other`, `seconds` (of CPUs)"
    parser.add_argument("--json", action="store_true", help=text)
    add_secret_options(parser)
    add_tls_options(parser)
    add_common_options(parser)
    return parser


def usage_main(words: Sequence[str] | None = None) -> int:
    """`gdispy usage`; the exit code."""
    options = parse(usage_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        if options.host and options.named:
            raise ConfigError("name one scheduler: HOST, or -n HOST")
        if not 1 <= options.days <= 36500:
            raise ConfigError("--days takes a number of days, at least 1")
        secret = find_secret(options.secret, options.secret_file, options.insecure)
        secret = with_tls(secret, options.certfile, options.keyfile)
        place = scheduler_place(options.host or options.named, None)
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
