"""`gdispy-scheduler`: from its command line to a shared scheduler that runs.

Called by `cli.scheduler_main`, in a patched program. SIGTERM, SIGINT and SIGHUP end it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import gevent

from gdispy import config
from gdispy.buffers.native import memory_size
from gdispy.cli import console
from gdispy.cli.options import (
    NEVER,
    Once,
    ResolvedOptions,
    add_common_options,
    addresses,
    fail,
    parse,
    set_up_logging,
    within,
    zero_means,
)
from gdispy.cli.options_file import read_options, save_options
from gdispy.cli.status import overview_lines
from gdispy.errors import ConfigError, GdispyError
from gdispy.filesystem.own_directory import private_directory
from gdispy.journal.file import Journal
from gdispy.protocol.address import Address
from gdispy.protocol.limits import printable
from gdispy.rules.scheduler.quotas import Quotas
from gdispy.rules.scheduler.turns import EARLIEST, FAIR, ROUND_ROBIN
from gdispy.runtime.greenlets import keep_running
from gdispy.runtime.process_hardening import harden
from gdispy.shared_scheduler.service import SharedScheduler, SharedSchedulerSettings
from gdispy.transport.credentials import Secret, find_secret, with_tls
from gdispy.transport.interfaces import announced

_PROGRAM = "gdispy-scheduler"
#: What one client may have, where nobody says otherwise.
MAX_JOBS, MAX_COMPUTATIONS = 10_000_000, 1000

_EXAMPLES = """examples:
  gdispy-scheduler                          share all nodes that are found, with this user's secret
  gdispy-scheduler -n 10.0.0.5 -n 10.0.0.6  share these nodes
  gdispy-scheduler --node-secret-file nodes.key --cluster-secret-file lab.key
                                            another secret towards nodes than towards clients

Programs use it with SharedJobCluster(..., scheduler_node='this host'), or `gdispy --scheduler_node HOST program`.
Every option can come from a variable (GDISPY_NODES for --nodes) or from the file of --config as well.
"""


def scheduler_parser() -> argparse.ArgumentParser:
    """The options of `gdispy-scheduler`."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Share nodes among programs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_places(parser.add_argument_group("where"))
    _add_secrets(parser.add_argument_group("who may come in"))
    _add_ways(parser.add_argument_group("how"))
    _add_quotas(parser.add_argument_group("what one client may have; more is refused, job by job, with a reason"))
    _add_files(parser.add_argument_group("files"))
    parser.add_argument("--daemon", action="store_true", help="take no commands from standard input")
    add_common_options(parser)
    return parser


def _add_places(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "node to use: a name or address with ':port' if wanted, or a pattern; once for each (default: all found)"
    add("-n", "--nodes", "--node", action="append", metavar="HOST", help=text)
    text = "address to listen on and to look for nodes by; once for each (default: all)"
    add("-i", "--ip_addr", "--host", action="append", metavar="ADDR", help=text)
    text = "address to announce, where it differs (NAT)"
    add("--ext_ip_addr", "--ext_host", action=Once, default="", metavar="ADDR", help=text)
    add("--ipv4_udp_multicast", action="store_true", help="look for nodes by multicast instead of broadcast")
    text = f"port for clients, 0 for any free one (default: {config.CLIENT_PORT})"
    add("-p", "--port", "--scheduler_port", type=int, metavar="PORT", help=text)
    add("--node_port", type=int, metavar="PORT", help=f"where nodes listen (default: {config.NODE_PORT})")


def _add_secrets(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    for whose in ("node", "cluster"):
        towards = "nodes" if whose == "node" else "clients"
        text = f"secret towards {towards}; it shows in the list of processes, so a file is better"
        add(f"--{whose}_secret", default="", metavar="SECRET", help=text)
        add(f"--{whose}_secret_file", default="", metavar="FILE", help=f"file with the secret towards {towards}")
        add(f"--{whose}_certfile", default="", metavar="FILE", help=f"certificate for TLS towards {towards}")
        add(f"--{whose}_keyfile", default="", metavar="FILE", help="its private key, if that is in another file")
    add("-s", "--secret", default="", help="secret towards both, where it is one")
    add("--secret-file", "--secret_file", default="", metavar="FILE", help="file with the secret towards both")
    add("--insecure", action="store_true", help="no secret at all; on this machine only")


def _add_ways(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--pulse_interval", type=float, metavar="SECONDS", help="how often nodes give a sign of life (default: 5)")
    add("--ping_interval", type=float, metavar="SECONDS", help="how often to look for nodes (default: 10)")
    text = "for compatibility: results come by themselves"
    add("--poll_interval", type=float, metavar="SECONDS", help=text)
    text = f"others must accept a connection, and prove who they are, within so long (default: {config.MsgTimeout})"
    add("--msg_timeout", type=float, metavar="SECONDS", help=text)
    text = "minutes to keep the jobs and results of a disconnected client; 0 is for ever (default: 60)"
    add("--zombie_interval", type=float, metavar="MINUTES", help=text)
    text = "serve the computation first that was not served for longest (default: the client that has least)"
    add("--fair_cluster_scheduler", action="store_true", help=text)
    add("--early_cluster_scheduler", action="store_true", help="serve the computation first that came first")
    text = "give the programs of a machine, by its name or address, a part of this size; others have 1; once for each"
    add("--weight", action="append", metavar="HOST=NUMBER", help=text)
    add("--cooperative", action="store_true", help="let clients change how many CPUs of a node are used")


def _add_quotas(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "bytes of jobs that wait or run, and of uncollected results; 500m, 4g (default: a quarter of the memory)"
    add("--max_client_bytes", default="", metavar="SIZE", help=text)
    text = f"jobs that have not ended, or were not collected; 0 is no limit (default: {MAX_JOBS:,})"
    add("--max_client_jobs", type=int, metavar="NUMBER", help=text)
    text = f"computations, such as functions, at once; 0 is no limit (default: {MAX_COMPUTATIONS:,})"
    add("--max_client_computations", type=int, metavar="NUMBER", help=text)


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "where to remember jobs and results over restarts (default: a directory of this user for the port)"
    add("--journal", default="", metavar="DIR", help=text)
    add("--dest_path_prefix", default="", metavar="DIR", help="the same, but in DIR/scheduler-PORT")
    add("--no_journal", action="store_true", help="remember nothing over restarts")
    text = "first forget what a former scheduler has left in the journal; its jobs on nodes are ended"
    add("--clean", action="store_true", help=text)
    text = "have nodes remove files of computations also where their clients want to keep them"
    add("--cleanup_nodes", action="store_true", help=text)
    add("--max_file_size", default="", metavar="SIZE", help="refuse larger files; 10m, 2g (default: 0, no limit)")
    add("--config", default="", metavar="FILE", help=f"read options from the section [{_PROGRAM}] of this file")
    add("--save_config", default="", metavar="FILE", help="write the options, but no secret, to this file and exit")


def scheduler_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-scheduler`; the exit code."""
    parser = scheduler_parser()
    given = parse(parser, words)
    set_up_logging("%(asctime)s %(levelname)s %(message)s", given.debug, logging.INFO)
    try:
        file = read_options(given.config, _PROGRAM, parser) if given.config else {}
        options = ResolvedOptions(parser, given, file, given.config)
        if options.debug:
            logging.getLogger("gdispy").setLevel(logging.DEBUG)
        settings = sharing_settings(options)
        config.MsgTimeout = settings.msg_timeout
        if given.save_config:
            save_options(given.save_config, _PROGRAM, parser, options)
            return 0
        harden([options.secret, options.node_secret, options.cluster_secret])
        if settings.journal:
            private_directory(settings.journal, "--dest_path_prefix" if options.dest_path_prefix else "--journal")
        if options.clean:
            _forget(settings.journal)
        sharing = SharedScheduler(settings)
    except (GdispyError, OSError) as error:
        return fail(_PROGRAM, _bind_error(error, given))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        gevent.signal_handler(number, sharing.stop)
    if not options.daemon and console.is_wanted():
        keep_running(console.run, lambda line: _obey(sharing, line), what="the console")
    try:
        sharing.run(lambda: print(f"ready {Address(sharing.host, sharing.port)}", flush=True))
    except Exception as error:
        return fail(_PROGRAM, error)
    return 0


def sharing_settings(options: Any) -> SharedSchedulerSettings:
    """The options, checked. Raises ConfigError."""
    if options.fair_cluster_scheduler and options.early_cluster_scheduler:
        raise ConfigError("--fair_cluster_scheduler and --early_cluster_scheduler contradict each other")
    options.read("poll_interval", zero_means(None, within(5, 1000)), None)  # Results come without being asked for.
    policy = ROUND_ROBIN if options.fair_cluster_scheduler else EARLIEST if options.early_cluster_scheduler else FAIR
    return SharedSchedulerSettings(
        node_secret=_secret(options, "node"),
        client_secret=_secret(options, "cluster"),
        nodes=_nodes(options.nodes),
        ip_addrs=options.read("ip_addr", addresses, ()),
        ext_ip_addr=options.read("ext_ip_addr", announced, ""),
        multicast=bool(options.ipv4_udp_multicast),
        port=options.read("port", config.port_number, config.CLIENT_PORT),
        node_port=options.read("node_port", config.port_number, config.NODE_PORT),
        pulse_interval=options.read("pulse_interval", zero_means(None, within(0.1, 1000)), None),
        ping_interval=options.read("ping_interval", zero_means(None, within(1, 1000)), None),
        msg_timeout=options.read("msg_timeout", within(1), config.MsgTimeout),
        policy=policy,
        lease=60.0 * options.read("zombie_interval", zero_means(NEVER, within(1, NEVER)), 60.0),
        cooperative=bool(options.cooperative),
        cleanup_nodes=bool(options.cleanup_nodes),
        max_file_size=options.read("max_file_size", config.parse_size, 0),
        journal=_journal(options),
        weights=_weights(options.weight),
        quotas=Quotas(
            options.read("max_client_bytes", config.parse_size, memory_size() // 4),
            options.read("max_client_jobs", zero_means(0, within(1, NEVER)), MAX_JOBS),
            options.read("max_client_computations", zero_means(0, within(1, NEVER)), MAX_COMPUTATIONS),
        ),
    )


def _journal(options: Any) -> str:
    """The directory of the journal. A scheduler on a port by chance could not be found again: it has none unasked."""
    if options.no_journal:
        for name in ("journal", "dest_path_prefix", "clean"):
            options.read(name, _contradicts("no_journal"), None)
        return ""
    port = options.read("port", config.port_number, config.CLIENT_PORT)
    if options.journal:
        options.read("dest_path_prefix", _contradicts("journal"), None)
        return str(options.journal)
    if options.dest_path_prefix:
        return os.path.join(options.dest_path_prefix, f"scheduler-{port}")
    if not port:
        return ""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "gdispy", f"scheduler-{port}")


def _contradicts(other: str) -> Callable[[Any], None]:
    """A check of an option that must not be given beside another one."""

    def check(_: Any) -> None:
        raise ConfigError(f"this and --{other} contradict each other")

    return check


def _forget(directory: str) -> None:
    """Empty the journal of a former scheduler, if there is one. Raises JournalError, for one that lives as well.

    Only the name of the scheduler stays: nodes that hold jobs of the former life know it by that, and let go of them.
    """
    path = os.path.join(directory, "journal")
    if not directory or not os.path.lexists(path):
        return
    journal, reading = Journal.open(path)
    began = reading.remembered.began
    # Of what is no scheduler's journal nothing is removed: whoever opens it next says what is wrong.
    is_ours = began is not None and began.kind == "scheduler"
    journal.close(remove=is_ours)
    if began is not None and is_ours:
        journal, _ = Journal.open(path)
        try:
            journal.begin("scheduler", began.instance, began.epoch)
        finally:
            journal.close()


def _weights(given: Any) -> dict[str, float]:
    """What `--weight` says; a variable or a file says it in one text."""
    found: dict[str, float] = {}
    for word in given.replace(",", " ").split() if isinstance(given, str) else given or ():
        name, _, number = word.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not name or not 0 < weight < 1e6:
            raise ConfigError(f"--weight {word!r}: write HOST=NUMBER, such as lab3=2")
        found[name] = weight
    return found


def _nodes(given: Any) -> list[str]:
    """What `-n` says; a variable or a file says it in one text."""
    return given.replace(",", " ").split() if isinstance(given, str) else list(given or ["*"])


def _secret(options: Any, whose: str) -> Secret:
    own, file = getattr(options, f"{whose}_secret"), getattr(options, f"{whose}_secret_file")
    if own or file:
        found = find_secret(own, file)
    else:
        found = find_secret(options.secret, options.secret_file, options.insecure)
    certfile, keyfile = getattr(options, f"{whose}_certfile"), getattr(options, f"{whose}_keyfile")
    return with_tls(found, certfile, keyfile, serves=whose == "cluster", what=f"--{whose}_")


def _bind_error(error: BaseException, given: Any) -> BaseException:
    if not isinstance(error, OSError) or isinstance(error, ConfigError):
        return error
    port = config.CLIENT_PORT if given.port is None else given.port
    return ConfigError(
        f"cannot listen on port {port}: {error.strerror}; another scheduler, or a program, may listen there "
        "(-p 0 takes a free port)"
    )


def _obey(sharing: SharedScheduler, line: str) -> str:
    """Do what was typed; the answer."""
    if line.strip() in ("quit", "exit"):
        sharing.stop()
        return "ending"
    return "\n".join([*map(printable, overview_lines(sharing.overview())), "commands: quit; anything else shows this"])
