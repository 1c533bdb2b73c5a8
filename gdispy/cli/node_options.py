"""The command-line options of `gdispy-node`.

Options that are not given are None, '' or False here: `ResolvedOptions` then reads variables and the options file, and
`cli/node.py` has the defaults.
"""

from __future__ import annotations

import argparse

from gdispy import config
from gdispy.cli.options import Once, add_common_options, add_secret_options, add_tls_options

_EXAMPLES = """examples:
  gdispy-node                             offer all CPUs to programs with this user's secret
  gdispy-node --cpus -1                   leave one CPU free
  gdispy-node -i 10.0.0.5 -p 51348        listen on one address
  gdispy-node --connect 192.0.2.1         connect to the program or scheduler there, from behind NAT or a firewall
  gdispy-node --secret-file lab.key       use a secret shared by the lab
  gdispy-node --service_start 18:00 --service_stop 07:00 --service_end 08:00
                                          accept jobs at night, terminate running jobs at eight

Every option can also be set by an environment variable (GDISPY_CPUS for --cpus) or in the --config file. The command
line overrides the variable, and the variable overrides the file. Long options may be written with - instead of _.

If no secret is given, the user's key file is used; it is created on first use. Copy it to all machines that work
together. Anyone who has the secret can run programs as the user of this node.

Commands on a terminal while the node runs: quit, stop, start, cpus N, release; Enter shows the status.
"""


def node_parser() -> argparse.ArgumentParser:
    """The options of `gdispy-node`."""
    parser = argparse.ArgumentParser(
        prog="gdispy-node",
        description="Run jobs of gdispy clients on this machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_network(parser.add_argument_group("network"))
    _add_limits(parser.add_argument_group("resources and limits"))
    _add_times(parser.add_argument_group("service hours and clients"))
    _add_files(parser.add_argument_group("files"))
    parser.add_argument("--daemon", action="store_true", help="do not read commands from standard input")
    parser.add_argument("--exit-with-stdin", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--private", action="store_true", help=argparse.SUPPRESS)
    add_secret_options(parser, has_others=True)
    add_tls_options(parser)
    add_common_options(parser)
    return parser


def _add_network(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "local address to listen on and to announce; may be repeated (default: all)"
    add("-i", "--ip_addr", "--host", action="append", metavar="ADDR", help=text)
    text = "address to announce if it differs (NAT), with ':port' if the port differs too"
    add("--ext_ip_addr", "--ext_host", action=Once, default="", metavar="ADDR", help=text)
    text = "connect to the program or gdispy-scheduler there, if it cannot connect to this node; may be repeated"
    add("--connect", "--scheduler_node", "--scheduler_host", action="append", metavar="HOST[:PORT]", help=text)
    text = f"port to connect to if --connect gives none (default: {config.CLIENT_PORT})"
    add("--scheduler_port", type=int, metavar="PORT", help=text)
    text = "announce this node by multicast instead of broadcast"
    add("--ipv4_udp_multicast", action="store_true", help=text)
    text = f"port to listen on, 0 for any free one (default: {config.NODE_PORT})"
    add("-p", "--node_port", type=int, metavar="PORT", help=text)
    add("--dispy_port", type=int, metavar="PORT", help="dispy's base port: one less than --node_port")
    add("--name", default="", help="name of this node (default: host name)")
    text = "interval for announcing this node while no client uses it; at least 10, 0 announces once (default: 0)"
    add("--ping_interval", type=float, metavar="SECONDS", help=text)
    text = f"timeout for connecting and for authentication (default: {config.MsgTimeout})"
    add("--msg_timeout", type=float, metavar="SECONDS", help=text)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "number of CPUs to offer; negative: leave that many free, 0: all (default: all)"
    add("-c", "--cpus", type=int, metavar="N", help=text)
    text = "maximum size of a file, such as 10m or 2g (default: 0, no limit)"
    add("--max_file_size", default="", metavar="SIZE", help=text)
    text = "memory limit of a job, including all its processes (default: 0, no limit)"
    add("--job_memory", default="", metavar="SIZE", help=text)
    text = f"maximum number of processes of a job; 0: no limit (default: {config.PROCESS_LIMIT})"
    add("--job_processes", type=int, metavar="N", help=text)
    text = "CPU time limit of a job, including all its processes (default: 0, no limit)"
    add("--job_cpu_time", type=float, metavar="SECONDS", help=text)
    text = "maximum size of a file that a job writes, and of its output (default: 0, no limit)"
    add("--job_file_size", default="", metavar="SIZE", help=text)
    text = "number of jobs to run in one process before it is replaced (default: 0, no limit)"
    add("--jobs_per_worker", type=int, metavar="N", help=text)
    text = "memory growth after which a worker process is replaced (default: 0, never)"
    add("--worker_growth", default="", metavar="SIZE", help=text)
    text = "free disk space below which no new jobs are accepted (default: 256m, or 5 %% of a small disk)"
    add("--disk_floor", default="", metavar="SIZE", help=text)


def _add_times(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "time of day to start accepting jobs (default: when the node starts)"
    add("--service_start", default="", metavar="HH:MM", help=text)
    text = "time of day to stop accepting new jobs (default: --service_end)"
    add("--service_stop", default="", metavar="HH:MM", help=text)
    add("--service_end", default="", metavar="HH:MM", help="time of day to terminate running jobs (default: never)")
    text = "exit after N clients have been served and have left; 0 with --clean: only clean (default: -1, never)"
    add("--serve", type=int, metavar="N", help=text)
    text = "seconds that running jobs have to end after SIGTERM; others are returned at once (default: 0)"
    add("--grace", type=float, metavar="SECONDS", help=text)
    text = "minutes to keep the jobs and results of a disconnected client (at least 1; 0: for ever; default: 60)"
    add("--zombie_interval", type=float, metavar="MINUTES", help=text)
    text = "days to keep results for recovery after that time (default: 7)"
    add("--spool_age", type=float, metavar="DAYS", help=text)
    text = "size of such results above which no new jobs are accepted, such as 500m (default: 0, no limit)"
    add("--spool_size", default="", metavar="SIZE", help=text)
    text = "allow cleanup functions of clients to stop this node with dispynode_shutdown()"
    add("--client_shutdown", action="store_true", help=text)


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "directory for the files of computations (default: in the directory for temporary files)"
    add("--dest_path_prefix", default="", metavar="DIR", help=text)
    text = "first remove all files of previous nodes there, including files that clients asked to keep"
    add("--clean", action="store_true", help=text)
    text = "remove the files of computations even if their clients ask to keep them"
    add("--force_cleanup", action="store_true", help=text)
    text = "Python file whose init() runs before all jobs and returns 0; jobs see its names; close() runs at the end"
    add("--init", default="", metavar="FILE", help=text)
    add(
        "--unsafe_setup",
        action="store_true",
        help="for compatibility only: jobs always see the variables that setup defines",
    )
    add("--config", default="", metavar="FILE", help="read options from the section [gdispy-node] of this file")
    add(
        "--save_config", default="", metavar="FILE", help="write the options, without the secret, to this file and exit"
    )
