"""The command `gdispy status [HOST]`: shows the status of a shared scheduler.

Runs in a process that gevent has patched. It connects like a client, sends one request and prints the answer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

from gdispy.cli.durations import shown
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
from gdispy.protocol.limits import counted, printable, printable_for_log
from gdispy.protocol.messages import Overview, OverviewRequest, RunningJobs, RunningJobsRequest
from gdispy.protocol.rows import RunningJobRow
from gdispy.transport.credentials import Secret

#: Most running jobs that are shown.
JOBS = 200


def status_parser() -> argparse.ArgumentParser:
    """The options of `gdispy status`."""
    parser = argparse.ArgumentParser(prog="gdispy status", description="Show the status of a gdispy-scheduler.")
    add_scheduler_argument(parser)
    text = "print an object with `nodes`, `computations` and `notes`, with --jobs also `jobs`"
    parser.add_argument("--json", action="store_true", help=text)
    text = "show the running jobs, too, the longest running first"
    parser.add_argument("--jobs", action="store_true", help=text)
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

        def look() -> str:
            found = ask(secret, *place)
            return _shown(found, ask_jobs(secret, *place) if options.jobs else None, options.json)

        if options.watch is None:
            print(look())
            return 0
        if not 0.1 <= options.watch <= 86400:
            raise ConfigError("--watch takes a number of seconds, at least 0.1")
        return _watch(look, options.watch, options.json)
    except (GdispyError, OSError) as error:
        return fail("gdispy status", error)


def _shown(found: Overview, jobs: RunningJobs | None, as_json: bool) -> str:
    if as_json:
        return json.dumps({**as_object(found), **(jobs_as_object(jobs) if jobs is not None else {})}, indent=2)
    return "\n".join([*overview_lines(found), *(["", *job_lines(jobs)] if jobs is not None else [])])


def _watch(look: Callable[[], str], interval: float, as_json: bool) -> int:
    """Show the status again and again; a scheduler that is away is waited for."""
    clear = "\033[H\033[J" if sys.stdout.isatty() else ""
    look()  # An error in the first request is more likely a mistake of the user.
    stop = interrupted()
    while True:
        try:
            text = look()
        except ConnectFailed as error:
            text = str(error)
        sys.stdout.write(f"{clear}{text}\n" if as_json else f"{clear}{time.strftime('%X')}\n\n{text}\n")
        sys.stdout.flush()
        if stop.wait(interval):
            return 0


def ask(secret: Secret, host: str, port: int) -> Overview:
    """Request the status of a scheduler. Raises ConnectFailed or PeerRejected."""
    return ask_scheduler(secret, host, port, OverviewRequest(1), Overview)


def ask_jobs(secret: Secret, host: str, port: int) -> RunningJobs:
    """Request the running jobs of a scheduler. Raises ConnectFailed or PeerRejected."""
    return ask_scheduler(secret, host, port, RunningJobsRequest(1, JOBS), RunningJobs)


def states_of(overview: Overview) -> list[str]:
    """The state of each node. An earlier version of the scheduler says only whether it is connected."""
    if len(overview.states) == len(overview.nodes):
        return overview.states
    return ["connected" if is_connected else "away" for *_, is_connected in overview.nodes]


def as_object(overview: Overview) -> dict[str, list[object]]:
    """The overview as JSON data."""
    nodes = ("name", "address", "port", "cpus", "in_use", "connected")
    computations = ("client", "address", "computation", "waiting", "on_nodes")
    rows = [dict(zip(computations, row, strict=True)) for row in overview.computations]
    for row in rows:
        row.update(client_names.parse(str(row.pop("client")))._asdict())
    return {
        "nodes": [
            {**dict(zip(nodes, row, strict=True)), "state": state}
            for row, state in zip(overview.nodes, states_of(overview), strict=True)
        ],
        "computations": list(rows),
        "notes": list(overview.notes),
    }


def overview_lines(overview: Overview) -> list[str]:
    """The status of a scheduler as a table."""
    nodes = [("Node", "CPUs", "In use", "State")]
    for (name, address, port, cpus, load, _), state in zip(overview.nodes, states_of(overview), strict=True):
        place = f"{printable(str(Address(address, port)))} ({printable(name[:12])})"
        nodes.append((place, str(cpus), str(load), printable(state)))
    rows = [("Client", "Computation", "Waiting", "On nodes")]
    for client, address, name, waiting, running in overview.computations:
        host, user, program = client_names.parse(client)
        source = f"{user[:15]}@{host[:15]}: {program[:20]}" if user else host[:15]
        who = f"{printable(source)} ({printable(address) or 'away'})"
        rows.append((who, printable(name[:20]), str(waiting), str(running)))
    # Texts of peers: a line after the first must not look like a separate note.
    notes = ["", *map(printable_for_log, overview.notes)] if overview.notes else []
    return [*_table(nodes, (30, 5, 6)), "", *format_table(rows, " | ", (30, 20, 9, 8)), *notes]


def _table(rows: Sequence[tuple[str, ...]], widths: Sequence[int]) -> list[str]:
    """A table whose last column is text."""
    table = format_table([row[:-1] for row in rows], " | ", widths)
    return [f"{line} | {row[-1]}" for line, row in zip(table, rows, strict=True)]


def job_lines(jobs: RunningJobs) -> list[str]:
    """The running jobs as a table."""
    cells = [("Job", "User", "Program", "Computation", "Node", "PID", "Since", "CPU time", "Memory")]
    for row in jobs.rows:
        host, user, program = client_names.parse(row.client)
        who = (printable(user or host)[:15], printable(program)[:20], printable(row.name)[:20])
        is_known = row.processor >= 0
        used = (shown(row.processor), f"{row.memory / (1 << 20):,.1f} MiB") if is_known else ("-", "-")
        cells.append((job_name(row), *who, printable(row.node), str(row.pid or "-"), shown(row.age), *used))
    lines = format_table(cells, " | ", align="<")
    if jobs.left_out:
        lines.append(f"and {counted(jobs.left_out, 'other running job')}")
    return [*lines, *map(printable, jobs.problems)]


def job_name(row: RunningJobRow) -> str:
    """The name of a job, as `gdispy explain` takes it."""
    return f"{printable(row.prefix)}:{row.job}"


def jobs_as_object(jobs: RunningJobs) -> dict[str, object]:
    """The running jobs as JSON data; what was not measured is None."""
    rows: list[object] = []
    for row in jobs.rows:
        is_known = row.processor >= 0
        used = {"cpu_seconds": row.processor if is_known else None, "memory": row.memory if is_known else None}
        place = {"node": row.node, "pid": row.pid or None, "seconds": row.age}
        about = {"job": job_name(row), **client_names.parse(row.client)._asdict(), "computation": row.name}
        rows.append({**about, **place, **used})
    return {"jobs": rows, "jobs_left_out": jobs.left_out, "jobs_problems": list(jobs.problems)}
