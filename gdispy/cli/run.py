"""`gdispy PROGRAM`: run a program on the nodes, once for each `-a`, and print what each printed.

Called by `cli.main`, in a patched program.
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

#: Bytes of much output that are written at once.
OUTPUT_STEP = 1024 * 1024
#: Seconds between two looks at whether any node can be expected.
LOOK_INTERVAL = 0.5

_EXAMPLES = """examples:
  gdispy --local -a 1 -a 2 -a 3 ./simulate        three jobs on this machine
  gdispy -n 10.0.0.5 -n 10.0.0.6 -f data.csv -a "data.csv --from 1" -a "data.csv --from 2" ./count
  gdispy -a "'two words' third" ./program         quoting in -a works as in a shell
  gdispy -- status                                run a program that is called as a command of gdispy
  gdispy --scheduler_node lab -a 1 -a 2 ./program  share the nodes of the scheduler on host lab
  gdispy status lab                               how that scheduler stands: nodes, clients, jobs

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
    add("program", help="the program to run: its path, or a name that is found in PATH")
    add(
        "-a",
        dest="args",
        type=unmarked,
        action="append",
        default=[],
        metavar="ARGS",
        help="arguments of one job; give it once for each job",
    )
    add("-f", dest="files", action="append", default=[], metavar="FILE", help="file that the program needs")
    add(
        "-n",
        "--nodes",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="node to use (default: all that are found)",
    )
    add("--local", action="store_true", help="use this machine, without any gdispy-node running")
    add(
        "--scheduler_node",
        "--scheduler-node",
        "--scheduler_host",
        default="",
        metavar="HOST[:PORT]",
        help="use the nodes of the gdispy-scheduler there, which shares them among programs",
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
        help=f"where nodes listen (default: {config.NODE_PORT})",
    )
    add("--dest_path", default=None, metavar="DIR", help="directory on the nodes that is used again next time")
    text = "let the files stay on the nodes as long as those run; with --dest_path they stay anyway"
    add("-c", "--keep", action="store_true", help=text)
    add("--stats", action="store_true", help="print a table of the nodes and their work at the end")
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
        except GdispyError as error:  # No node will come, or nobody reads what is printed.
            cluster.close(timeout=0, terminate=True)
            return fail("gdispy", error)
        except KeyboardInterrupt:
            print("gdispy: interrupted; ending the jobs that run", file=sys.stderr)
            cluster.close(timeout=0, terminate=True)
            return EXIT_INTERRUPTED


def _cluster(options: Any, tally: Tally) -> JobCluster:
    nodes = [*options.nodes, *(["local"] if options.local else [])]
    both: dict[str, Any] = {
        "nodes": nodes or ["*"],
        "callback": tally.add,
        "depends": options.files,
        "ip_addr": options.ip_addr,
        "dest_path": options.dest_path,
        "job_directory": True,
        "output_limit": None,
        "results": "plain",  # Exit codes: nothing is to be unpickled here.
        "cleanup": not options.keep and not options.dest_path,  # The latter is there to be used again.
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
    cluster._engine.table.takes_files = True  # Much output goes from there to standard output.
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
                )  # It may not have heard of this one.
            good = good and not has_failed(job)
    finally:
        if bar is not None:
            bar.close()
    if stats:
        print(table(cluster.status(), _wall_time(jobs)), file=sys.stderr)
    return 0 if good else EXIT_FAILED


def _wait(cluster: JobCluster, job: DispyJob, bar: Bar | None, tally: Tally) -> None:
    """Wait for the end of a job, as long as there is a node, or one may still come; show how far all are meanwhile."""
    look = 0.0
    while not job.wait(LOOK_INTERVAL if bar is None else progress_bar.LOOK_INTERVAL):
        if bar is not None:
            bar.show(tally.counts)
        if time.monotonic() < look:
            continue
        look = time.monotonic() + LOOK_INTERVAL
        status = cluster.status()
        if status.is_hopeless:
            raise _Hopeless("\n  ".join(["no node can run the jobs, and none will come.", *status.problems]))


def has_failed(job: DispyJob) -> bool:
    """Whether a job of a program that has ended did not end well."""
    return job.status != job_status.FINISHED or job.result != 0


class Tally:
    """Counts the jobs that have ended, in whatever order; `add` is called for each of them."""

    def __init__(self, total: int) -> None:
        self.counts = Counts(0, 0, total)

    def add(self, job: DispyJob) -> None:
        ended, failed, total = self.counts
        self.counts = Counts(ended + 1, failed + has_failed(job), total)


class _Hopeless(GdispyError):
    """All nodes have refused for good."""


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
        # What a program prints passes as it is; this is what gdispy says of it.
        print(f"gdispy: job {number} ({shlex.join(words)}): {printable_lines(trouble)}", file=sys.stderr)


def _parts(output: bytes | OpenFile) -> Iterator[bytes]:
    """What a job has printed, piece by piece; a file is given back at its end."""
    if isinstance(output, bytes):
        yield output
        return
    for offset in range(0, output.size, OUTPUT_STEP):
        yield output.read(offset, OUTPUT_STEP)
    if output.error:
        raise GdispyError(f"not all output of a job is here: {output.error}")
    output.release()
