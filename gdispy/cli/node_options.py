"""The options of `gdispy-node`, as a person types them.

Called by `node.py`. Options that are not given are None, '' or False here: `options.Settled` then looks
elsewhere, and `serve.node_settings` knows the defaults.
"""

from __future__ import annotations

import argparse

from gdispy import config
from gdispy.cli.options import Once, add_common_options, add_secret_options, add_tls_options

_EXAMPLES = """examples:
  gdispy-node                             serve all CPUs to programs with this user's secret
  gdispy-node --cpus -1                   leave one CPU free
  gdispy-node -i 10.0.0.5 -p 51348        listen on one address
  gdispy-node --connect 192.0.2.1         come to the program or scheduler there, from behind NAT or a firewall
  gdispy-node --secret-file lab.key       use a secret that the lab shares
  gdispy-node --service_start 18:00 --service_stop 07:00 --service_end 08:00
                                          take jobs at night, end what still runs at eight

Every option can come from a variable (GDISPY_CPUS for --cpus) or from the file of --config as well; the
command line goes before the variable, and that before the file. Long options may be written with - for _.

Without a secret given, the user's own key file is used, and made on first use; copy it to the
machines that are to work together. Whoever has the secret can run programs as the user of this node.

On a terminal, these can be typed while it runs: quit, stop, start, cpus N, release; Enter shows how it stands.
"""


def node_parser() -> argparse.ArgumentParser:
    """The options of `gdispy-node`."""
    parser = argparse.ArgumentParser(
        prog="gdispy-node",
        description="Run jobs of gdispy clients on this machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_place(parser.add_argument_group("where"))
    _add_limits(parser.add_argument_group("how much"))
    _add_times(parser.add_argument_group("when and for whom"))
    _add_files(parser.add_argument_group("files"))
    parser.add_argument("--daemon", action="store_true", help="take no commands from standard input")
    parser.add_argument("--exit-with-stdin", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--private", action="store_true", help=argparse.SUPPRESS)
    add_secret_options(parser)
    add_tls_options(parser)
    add_common_options(parser)
    return parser


def _add_place(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "address to listen on and to be found by; once for each (default: all)"
    add("-i", "--ip_addr", "--host", action="append", metavar="ADDR", help=text)
    text = "address to announce, where it differs (NAT), with ':port' where that differs too"
    add("--ext_ip_addr", "--ext_host", action=Once, default="", metavar="ADDR", help=text)
    text = "connect to the program, or gdispy-scheduler, there, where it cannot connect to this node; once for each"
    add("--connect", "--scheduler_node", "--scheduler_host", action="append", metavar="HOST[:PORT]", help=text)
    text = f"port there, where --connect says none (default: {config.CLIENT_PORT})"
    add("--scheduler_port", type=int, metavar="PORT", help=text)
    text = "announce this node by multicast instead of broadcast"
    add("--ipv4_udp_multicast", action="store_true", help=text)
    text = f"port to listen on, 0 for any free one (default: {config.NODE_PORT})"
    add("-p", "--node_port", type=int, metavar="PORT", help=text)
    add("--dispy_port", type=int, metavar="PORT", help="the same, less one: dispy's base port")
    add("--name", default="", help="name of this node (default: host name)")
    text = "repeat the announcement of this node while nobody uses it; 10 or more, 0 for once (default: once)"
    add("--ping_interval", type=float, metavar="SECONDS", help=text)
    text = f"others must accept a connection, and prove who they are, within so long (default: {config.MsgTimeout})"
    add("--msg_timeout", type=float, metavar="SECONDS", help=text)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "CPUs to serve; negative leaves that many free, 0 is all (default: all)"
    add("-c", "--cpus", type=int, metavar="N", help=text)
    text = "refuse larger files; 10m, 2g (default: 0, no limit)"
    add("--max_file_size", default="", metavar="SIZE", help=text)
    text = "end jobs that use more memory, with all their processes (default: 0, no limit)"
    add("--job_memory", default="", metavar="SIZE", help=text)
    text = f"end jobs that have more processes, 0 for no limit (default: {config.PROCESS_LIMIT})"
    add("--job_processes", type=int, metavar="N", help=text)
    text = "end jobs that use more processor time, with all their processes (default: 0, no limit)"
    add("--job_cpu_time", type=float, metavar="SECONDS", help=text)
    text = "let jobs write no larger files, nor print more at once (default: 0, no limit)"
    add("--job_file_size", default="", metavar="SIZE", help=text)
    text = "run so many jobs in one process, then start another one (default: 0, any number)"
    add("--jobs_per_worker", type=int, metavar="N", help=text)
    text = "start another process for jobs when one has grown by so much memory (default: 0, never)"
    add("--worker_growth", default="", metavar="SIZE", help=text)
    text = "take no new jobs while less disk is free for their files (default: 256m, or 5 %% of a small disk)"
    add("--disk_floor", default="", metavar="SIZE", help=text)


def _add_times(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "take jobs from this time of day on (default: when the node is started)"
    add("--service_start", default="", metavar="HH:MM", help=text)
    text = "take no new jobs from then on until the start (default: the end)"
    add("--service_stop", default="", metavar="HH:MM", help=text)
    add("--service_end", default="", metavar="HH:MM", help="end the jobs that still run (default: let them run)")
    text = "exit when so many clients were served and have left; 0 with --clean: only clean (default: -1, never)"
    add("--serve", type=int, metavar="N", help=text)
    text = "minutes to keep the jobs and results of a disconnected client; 0 is for ever (default: 60)"
    add("--zombie_interval", type=float, metavar="MINUTES", help=text)
    text = "keep results of a client that is away longer than that, for who recovers them (default: 7)"
    add("--spool_age", type=float, metavar="DAYS", help=text)
    text = "take no new jobs while such results take more than this; 500m, 20g (default: 0, no limit)"
    add("--spool_size", default="", metavar="SIZE", help=text)
    text = "let cleanup functions of clients end this node, with dispynode_shutdown()"
    add("--client_shutdown", action="store_true", help=text)


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "where files of computations go (default: in the directory for temporary files)"
    add("--dest_path_prefix", default="", metavar="DIR", help=text)
    text = "first remove all that former nodes left there, also what clients wanted to keep"
    add("--clean", action="store_true", help=text)
    text = "remove files of computations also where their clients want to keep them"
    add("--force_cleanup", action="store_true", help=text)
    text = "Python file whose init() runs before all jobs and returns 0; they find its names; close() runs at the end"
    add("--init", default="", metavar="FILE", help=text)
    add("--unsafe_setup", action="store_true", help="for compatibility: jobs always find what setup has made")
    add("--config", default="", metavar="FILE", help="read options from the section [gdispy-node] of this file")
    add("--save_config", default="", metavar="FILE", help="write the options, but no secret, to this file and exit")
