"""The command `gdispy PROGRAM`: runs a program on the nodes, once for each `-a`, and prints the output of each run.

Runs in a process that gevent has patched.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from gdispy import config
from gdispy.buffers.memory_file import OpenFile
from gdispy.cli.commands import overview
from gdispy.cli.options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    Once,
    add_common_options,
    add_secret_options,
    add_tls_options,
    fail,
    parse,
    set_up_logging,
    unmarked,
)
from gdispy.client import progress_bar
from gdispy.client.cluster import JobCluster
from gdispy.client.job import DispyJob
from gdispy.client.progress_bar import Bar, Counts, bar_for
from gdispy.client.shared_cluster import SharedJobCluster
from gdispy.client.status import table
from gdispy.errors import ConfigError, GdispyError
from gdispy.protocol import job_status
from gdispy.protocol.limits import printable_lines
from gdispy.protocol.payload import Buffer

#: Bytes of large output that are written at once.
OUTPUT_STEP = 1024 * 1024
#: Seconds between two checks whether a node can still be expected.
LOOK_INTERVAL = 0.5

_EXAMPLES = """examples:
  gdispy --local -a 1 -a 2 -a 3 ./simulate        three jobs on this machine
  gdispy -n 10.0.0.5 -n 10.0.0.6 -f data.csv -a "data.csv --from 1" -a "data.csv --from 2" ./count
  gdispy -a "'two words' third" ./program         quoting in -a works as in a shell
  gdispy -- status                                run a program that has the name of a gdispy command
  gdispy --scheduler_node lab -a 1 -a 2 ./program  use the nodes of the scheduler on host lab
  gdispy status lab                               show the status of that scheduler: nodes, clients, jobs

Each job's output is printed in the order of the -a options. The exit status is 0 only if every job
ended with exit code 0.
"""


def parser() -> argparse.ArgumentParser:
    """The options of `gdispy`."""
    parser = argparse.ArgumentParser(
        prog="gdispy",
        description="Run a program on the nodes, with different arguments each time.",
        epilog=f"{overview()}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("program", help="the program to run: a path, or a name to look up in PATH")
    add(
        "-a",
        dest="args",
        type=unmarked,
        action="append",
        default=[],
        metavar="ARGS",
        help="arguments of one job; repeat for each job",
    )
    add("-f", dest="files", action="append", default=[], metavar="FILE", help="file that the program needs")
    add(
        "-n",
        "--nodes",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="node to use; may be repeated (default: all that are found)",
    )
    add("--local", action="store_true", help="use this machine; no running gdispy-node is needed")
    add(
        "--scheduler_node",
        "--scheduler-node",
        "--scheduler_host",
        default="",
        metavar="HOST[:PORT]",
        help="use the nodes of the gdispy-scheduler there, which other programs share",
    )
    add(
        "-i",
        "--ip_addr",
        action=Once,
        default=None,
        metavar="ADDR",
        help="local address to use (default: GDISPY_IP_ADDR, or any)",
    )
    add(
        "--node_port",
        type=int,
        default=config.NODE_PORT,
        metavar="PORT",
        help=f"port on which nodes listen (default: {config.NODE_PORT})",
    )
    add("--dest_path", default=None, metavar="DIR", help="directory on the nodes, reused by the next run")
    text = "keep the files on the nodes as long as the nodes run; always the case with --dest_path"
    add("-c", "--keep", action="store_true", help=text)
    add("--stats", action="store_true", help="print a table of the nodes and their jobs at the end")
    add_secret_options(parser)
    add_tls_options(parser)
    add_common_options(parser)
    return parser


def run_main(words: Sequence[str] | None = None) -> int:
    """`gdispy`; returns the exit code."""
    options = parse(parser(), words, verbatim="-a")
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        jobs = [_split(text) for text in options.args] or [[]]
        tally = Tally(len(jobs))
        cluster = _cluster(options, tally)
    except (GdispyError, OSError) as error:
        return fail("gdispy", error)
    with cluster:
        try:
            return _run(cluster, jobs, options.stats, tally)
        except GdispyError as error:  # No node can be expected, or the output cannot be written.
            cluster.close(timeout=0, terminate=True)
            return fail("gdispy", error)
        except KeyboardInterrupt:
            print("gdispy: interrupted; terminating the running jobs", file=sys.stderr)
            cluster.close(timeout=0, terminate=True)
            return EXIT_INTERRUPTED


def _cluster(options: argparse.Namespace, tally: Tally) -> JobCluster:
    nodes = [*options.nodes, *(["local"] if options.local else [])]
    both: dict[str, Any] = {
        "nodes": nodes or ["*"],
        "callback": tally.add,
        "depends": options.files,
        "ip_addr": options.ip_addr,
        "dest_path": options.dest_path,
        "job_directory": True,
        "output_limit": None,
        "results": "plain",  # Exit codes only: nothing is unpickled here.
        "cleanup": not options.keep and not options.dest_path,  # A dest_path is reused by the next run.
        "secret": options.secret,
        "secret_file": options.secret_file,
        "insecure": options.insecure,
        "certfile": options.certfile,
        "keyfile": options.keyfile,
    }
    if options.scheduler_node:
        cluster: JobCluster = SharedJobCluster(options.program, scheduler_node=options.scheduler_node, **both)
    else:
        cluster = JobCluster(options.program, node_port=options.node_port, **both)
    cluster._engine.table.takes_files = True  # Large output is copied from files to standard output.
    return cluster


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"-a {text!r} cannot be read: {error}") from None


def _run(cluster: JobCluster, arguments: list[list[str]], stats: bool, tally: Tally) -> int:
    jobs = [cluster.submit(*words) for words in arguments]
    good = True
    bar = bar_for(tally.counts, stays=False) if sys.stderr.isatty() else None
    try:
        for number, (job, words) in enumerate(zip(jobs, arguments, strict=True), 1):
            _wait(cluster, job, bar, tally)
            if bar is not None:
                bar.clear()
            _print(job, number, words)
            if bar is not None:
                bar.show(
                    tally.counts._replace(ended=max(number, tally.counts.ended))
                )  # The callback for this job may not have run yet.
            good = good and not has_failed(job)
    finally:
        if bar is not None:
            bar.close()
    if stats:
        print(table(cluster.status(), _wall_time(jobs)), file=sys.stderr)
    return 0 if good else EXIT_FAILED


def _wait(cluster: JobCluster, job: DispyJob, bar: Bar | None, tally: Tally) -> None:
    """Wait for a job as long as a node exists or may still appear; update the progress bar meanwhile."""
    look = 0.0
    while not job.wait(LOOK_INTERVAL if bar is None else progress_bar.LOOK_INTERVAL):
        if bar is not None:
            bar.show(tally.counts)
        if time.monotonic() < look:
            continue
        look = time.monotonic() + LOOK_INTERVAL
        status = cluster.status()
        if status.is_hopeless:
            raise _Hopeless("\n  ".join(["no node can run the jobs, and no other node is expected.", *status.problems]))


def has_failed(job: DispyJob) -> bool:
    """Whether a finished job of a program has failed."""
    return job.status != job_status.FINISHED or job.result != 0


class Tally:
    """Counts the jobs that have ended; `add` is their callback."""

    def __init__(self, total: int) -> None:
        self.counts = Counts(0, 0, total)

    def add(self, job: DispyJob) -> None:
        ended, failed, total = self.counts
        self.counts = Counts(ended + 1, failed + has_failed(job), total)


class _Hopeless(GdispyError):
    """Every node has refused permanently."""


def _wall_time(jobs: list[DispyJob]) -> float:
    ends = [job.end_time for job in jobs if job.end_time is not None]
    return max(ends, default=jobs[0].submit_time) - jobs[0].submit_time


def _print(job: DispyJob, number: int, words: list[str]) -> None:
    for stream, output in ((sys.stdout, job.stdout), (sys.stderr, job.stderr)):
        if output:
            stream.flush()
            for part in _parts(output):
                stream.buffer.write(part)
            stream.flush()
    trouble = (job.exception or "").strip()
    if not trouble and job.result != 0:
        trouble = f"exit code {job.result}"
    if trouble:
        # A program's output is printed unchanged; this line is gdispy's.
        print(f"gdispy: job {number} ({shlex.join(words)}): {printable_lines(trouble)}", file=sys.stderr)


def _parts(output: bytes | OpenFile) -> Iterator[Buffer]:
    """The output of a job in pieces; a file is released at the end."""
    if isinstance(output, bytes):
        yield output
        return
    for offset in range(0, output.size, OUTPUT_STEP):
        yield output.read(offset, OUTPUT_STEP)
    if output.error:
        raise GdispyError(f"the output of a job is incomplete: {output.error}")
    output.release()
