"""The commands: options, logging, signals, exit codes.

Floor 4. `scripts/` patch first and import this module then. Each `..._main` takes the words of the
command line and returns the exit code.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import gevent

from gdispy import config
from gdispy.core.patterns import join
from gdispy.errors import ConfigError, GdispyError
from gdispy.keys import find_secret
from gdispy.options import EXIT_FAILED, add_common_options, add_secret_options, fail, from_environment, set_up_logging

_NODE_EXAMPLES = """examples:
  gdispy-node                             serve all CPUs to programs with this user's secret
  gdispy-node --cpus -1                   leave one CPU free
  gdispy-node -i 10.0.0.5 -p 51348        listen on one address
  gdispy-node --secret-file lab.key       use a secret that the lab shares

Without a secret given, the user's own key file is used, and made on first use; copy it to the
machines that are to work together. Whoever has the secret can run programs as the user of this node.
"""


def node_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gdispy-node",
        description="Run jobs of gdispy clients on this machine.",
        epilog=_NODE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_place_options(parser)
    _add_limits(parser)
    parser.add_argument("--daemon", action="store_true", help="take no commands from standard input")
    parser.add_argument("--exit-with-stdin", action="store_true", help=argparse.SUPPRESS)
    add_secret_options(parser)
    add_common_options(parser)
    return parser


def _add_place_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-c",
        "--cpus",
        type=int,
        default=None,
        metavar="N",
        help="CPUs to serve; negative leaves that many free (default: all)",
    )
    add(
        "-i",
        "--ip_addr",
        "--host",
        default="",
        metavar="ADDR",
        help="address to listen on (default: GDISPY_IP_ADDR, or all)",
    )
    add(
        "--ext_ip_addr",
        "--ext_host",
        default=from_environment("EXT_IP_ADDR"),
        metavar="ADDR",
        help="address to announce, where it differs (NAT)",
    )
    add(
        "-p",
        "--node_port",
        "--dispy_port",
        type=int,
        default=None,
        metavar="PORT",
        help=f"port to listen on, 0 for any free one (default: {config.NODE_PORT})",
    )
    add("--name", default=from_environment("NAME"), help="name of this node (default: host name)")
    add(
        "--dest_path_prefix",
        default=from_environment("DEST_PATH_PREFIX"),
        metavar="DIR",
        help="where files of computations go (default: in the directory for temporary files)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--max_file_size",
        default=from_environment("MAX_FILE_SIZE", "0"),
        metavar="SIZE",
        help="refuse larger files; 10m, 2g (default: 0, no limit)",
    )
    add(
        "--job_memory",
        "--job-memory",
        default=from_environment("JOB_MEMORY", "0"),
        metavar="SIZE",
        help="end jobs that use more memory, with all their processes (default: 0, no limit)",
    )
    add(
        "--job_processes",
        "--job-processes",
        type=int,
        default=config.PROCESS_LIMIT,
        metavar="N",
        help=f"end jobs that have more processes, 0 for no limit (default: {config.PROCESS_LIMIT})",
    )


def count_cpus(wanted: int | None) -> int:
    """How many CPUs to serve. Raises ConfigError for more than there are, or none."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpus = there if wanted is None else wanted
    if cpus < 0:
        cpus += there
    if not 1 <= cpus <= there:
        raise ConfigError(f"--cpus must be from 1 to {there}, or negative to leave some free, not {wanted}")
    return cpus


def node_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-node`."""
    options = node_parser().parse_args(words)
    level = logging.WARNING if options.exit_with_stdin else logging.INFO
    set_up_logging("%(asctime)s %(levelname)s %(message)s", options.debug, level)
    from gdispy.node import Node, NodeSettings

    try:
        settings = NodeSettings(
            secret=find_secret(options.secret, options.secret_file, options.insecure),
            cpus=count_cpus(options.cpus),
            ip_addr=options.ip_addr,
            ext_ip_addr=options.ext_ip_addr,
            node_port=config.port_number(_node_port(options.node_port), "--node_port"),
            name=options.name,
            dest_path_prefix=options.dest_path_prefix,
            max_file_size=config.parse_size(options.max_file_size),
            job_memory=config.parse_size(options.job_memory),
            job_processes=options.job_processes,
        )
        if settings.secret.insecure:
            logging.getLogger("gdispy").warning("no secret: every user of this machine can run programs as this one")
        node = Node(settings)
    except (GdispyError, OSError) as error:
        return fail("gdispy-node", _bind_error(error, options))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        gevent.signal_handler(number, node.stop)
    if options.exit_with_stdin:
        gevent.spawn(_stop_with_stdin, node)
    try:
        node.run(lambda: print(f"ready {join(node.host, node.port)}", flush=True))
    except Exception as error:
        return fail("gdispy-node", error)
    return 0


def _node_port(given: int | None) -> int:
    if given is not None:
        return given
    text = from_environment("NODE_PORT", str(config.NODE_PORT))
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"GDISPY_NODE_PORT must be a number, not {text!r}") from None


def _bind_error(error: BaseException, options: Any) -> BaseException:
    if not isinstance(error, OSError) or isinstance(error, ConfigError):
        return error
    where = f"{options.ip_addr or config.default_ip_addr() or '0.0.0.0'}:{_node_port(options.node_port)}"
    return ConfigError(
        f"cannot listen on {where}: {error.strerror}; another node may run there (-p 0 takes a free port)"
    )


def _stop_with_stdin(node: Any) -> None:
    """End with the program that started this node: its end of the pipe closes, however it ends."""
    from gevent import socket

    while True:
        socket.wait_read(0)
        if not os.read(0, 4096):
            node.stop()
            return


def main(words: Sequence[str] | None = None) -> int:
    """`gdispy`."""
    from gdispy.run import run_main

    return run_main(words)


def scheduler_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-scheduler`."""
    parser = argparse.ArgumentParser(prog="gdispy-scheduler", description="Share nodes among clients.")
    add_common_options(parser)
    parser.parse_args(words)
    print("gdispy-scheduler: sharing nodes among clients is not part of this version", file=sys.stderr)
    return EXIT_FAILED
