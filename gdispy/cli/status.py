"""The command `gdispy status [HOST]`: shows the status of a shared scheduler.

Runs in a process that gevent has patched. It connects like a client, sends one request and prints the answer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from gdispy.cli.interruption import interrupted
from gdispy.cli.options import (
    fail,
    parse,
    set_up_logging,
)
from gdispy.cli.scheduler_request import add_connection_options, add_scheduler_argument, ask_scheduler, scheduler_of
from gdispy.client.tables import format_table
from gdispy.errors import ConfigError, ConnectFailed, GdispyError
from gdispy.protocol import client_names
from gdispy.protocol.address import Address
from gdispy.protocol.limits import printable, printable_for_log
from gdispy.protocol.messages import Overview, OverviewRequest
from gdispy.transport.credentials import Secret


def status_parser() -> argparse.ArgumentParser:
    """The options of `gdispy status`."""
    parser = argparse.ArgumentParser(prog="gdispy status", description="Show the status of a gdispy-scheduler.")
    add_scheduler_argument(parser)
    text = "print an object with `nodes`, `computations` and `notes`"
    parser.add_argument("--json", action="store_true", help=text)
    text = "show it again every SECONDS (default: 2), until Ctrl-C"
    parser.add_argument("--watch", nargs="?", type=float, const=2.0, default=None, metavar="SECONDS", help=text)
    add_connection_options(parser)
    return parser


def status_main(words: Sequence[str] | None = None) -> int:
    """`gdispy status`; the exit code."""
    options = parse(status_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        secret, place = scheduler_of(options)
        if options.watch is None:
            print(_shown(ask(secret, *place), options.json))
            return 0
        if not 0.1 <= options.watch <= 86400:
            raise ConfigError("--watch takes a number of seconds, at least 0.1")
        return _watch(secret, place, options.watch, options.json)
    except (GdispyError, OSError) as error:
        return fail("gdispy status", error)


def _shown(found: Overview, as_json: bool) -> str:
    return json.dumps(as_object(found), indent=2) if as_json else "\n".join(overview_lines(found))


def _watch(secret: Secret, place: tuple[str, int], interval: float, as_json: bool) -> int:
    """Show the status again and again; a scheduler that is away is waited for."""
    clear = "\033[H\033[J" if sys.stdout.isatty() else ""
    ask(secret, *place)  # An error in the first request is more likely a mistake of the user.
    stop = interrupted()
    while True:
        try:
            shown = _shown(ask(secret, *place), as_json)
        except ConnectFailed as error:
            shown = str(error)
        sys.stdout.write(f"{clear}{shown}\n" if as_json else f"{clear}{time.strftime('%X')}\n\n{shown}\n")
        sys.stdout.flush()
        if stop.wait(interval):
            return 0


def ask(secret: Secret, host: str, port: int) -> Overview:
    """Request the status of a scheduler. Raises ConnectFailed or PeerRejected."""
    return ask_scheduler(secret, host, port, OverviewRequest(1), Overview)


def as_object(overview: Overview) -> dict[str, list[object]]:
    """The overview as JSON data."""
    nodes = ("name", "address", "port", "cpus", "in_use", "connected")
    computations = ("client", "address", "computation", "waiting", "on_nodes")
    rows = [dict(zip(computations, row, strict=True)) for row in overview.computations]
    for row in rows:
        row.update(client_names.parse(str(row.pop("client")))._asdict())
    return {
        "nodes": [dict(zip(nodes, row, strict=True)) for row in overview.nodes],
        "computations": list(rows),
        "notes": list(overview.notes),
    }


def overview_lines(overview: Overview) -> list[str]:
    """The status of a scheduler as a table."""
    nodes = [("Node", "CPUs", "In use", "State")]
    for name, address, port, cpus, load, connected in overview.nodes:
        place = f"{printable(str(Address(address, port)))} ({printable(name[:12])})"
        nodes.append((place, str(cpus), str(load), "connected" if connected else "away"))
    rows = [("Client", "Computation", "Waiting", "On nodes")]
    for client, address, name, waiting, running in overview.computations:
        host, user, program = client_names.parse(client)
        source = f"{user[:15]}@{host[:15]}: {program[:20]}" if user else host[:15]
        who = f"{printable(source)} ({printable(address) or 'away'})"
        rows.append((who, printable(name[:20]), str(waiting), str(running)))
    # Texts of peers: a line after the first must not look like a separate note.
    notes = ["", *map(printable_for_log, overview.notes)] if overview.notes else []
    return [*format_table(nodes, " | ", (30, 5, 6)), "", *format_table(rows, " | ", (30, 20, 9, 8)), *notes]
