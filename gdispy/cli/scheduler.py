"""The command `gdispy-scheduler`: parses its options and runs a shared scheduler.

Runs in a process that gevent has patched. SIGTERM, SIGINT and SIGHUP stop it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
from collections.abc import Callable, Iterable, Sequence

import gevent

from gdispy import config
from gdispy.buffers.native import memory_size
from gdispy.cli import console
from gdispy.cli.options import (
    NEVER,
    FirstAndOthers,
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
from gdispy.cli.page_options import PageOptions, add_page_options, page_options
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
from gdispy.runtime.service_manager import ServiceManager
from gdispy.shared_scheduler.service import SharedScheduler, SharedSchedulerSettings
from gdispy.transport.credentials import Secret, find_secret, with_others, with_tls
from gdispy.transport.interfaces import announced

_PROGRAM = "gdispy-scheduler"
#: Default limits of one client.
MAX_JOBS, MAX_COMPUTATIONS = 10_000_000, 1000

_EXAMPLES = """examples:
  gdispy-scheduler                          share all nodes that are found, using this user's secret
  gdispy-scheduler -n 10.0.0.5 -n 10.0.0.6  share these nodes
  gdispy-scheduler --node-secret-file nodes.key --cluster-secret-file lab.key
                                            use different secrets for nodes and for clients

Programs use it with SharedJobCluster(..., scheduler_node='this host'), or `gdispy --scheduler_node HOST program`.
Every option can also be set by an environment variable (GDISPY_NODES for --nodes) or in the --config file.
"""


def scheduler_parser() -> argparse.ArgumentParser:
    """The options of `gdispy-scheduler`."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Share nodes between programs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_network(parser.add_argument_group("network"))
    _add_secrets(parser.add_argument_group("authentication"))
    _add_policies(parser.add_argument_group("scheduling"))
    _add_quotas(parser.add_argument_group("limits of one client; jobs above a limit are refused with the reason"))
    _add_files(parser.add_argument_group("files"))
    add_page_options(parser)
    parser.add_argument("--daemon", action="store_true", help="do not read commands from standard input")
    add_common_options(parser)
    return parser


def _add_network(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "node to use: a name or address, optionally with ':port', or a pattern; may be repeated (default: all found)"
    add("-n", "--nodes", "--node", action="append", metavar="HOST", help=text)
    text = "local address for listening and for discovery; may be repeated (default: all)"
    add("-i", "--ip_addr", "--host", action="append", metavar="ADDR", help=text)
    text = "address to announce if it differs (NAT)"
    add("--ext_ip_addr", "--ext_host", action=Once, default="", metavar="ADDR", help=text)
    add("--ipv4_udp_multicast", action="store_true", help="discover nodes by multicast instead of broadcast")
    text = f"port for clients, 0 for any free port (default: {config.CLIENT_PORT})"
    add("-p", "--port", "--scheduler_port", type=int, metavar="PORT", help=text)
    add("--node_port", type=int, metavar="PORT", help=f"port on which nodes listen (default: {config.NODE_PORT})")


def _add_secrets(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    for whose in ("node", "cluster"):
        peers = "nodes" if whose == "node" else "clients"
        text = f"secret shared with {peers}; visible in the process list, so prefer a file"
        add(f"--{whose}_secret", default="", metavar="SECRET", help=text)
        add(f"--{whose}_secret_file", default="", metavar="FILE", help=f"file with the secret shared with {peers}")
        add(f"--{whose}_certfile", default="", metavar="FILE", help=f"certificate for TLS with {peers}")
        add(
            f"--{whose}_keyfile",
            default="",
            metavar="FILE",
            help="private key of the certificate, if it is in a separate file",
        )
    add("-s", "--secret", default="", help="secret for both nodes and clients")
    text = "file with the secret for both; may be repeated: the first is used, all are accepted"
    add("--secret-file", "--secret_file", action=FirstAndOthers, default="", metavar="FILE", help=text)
    group.set_defaults(other_secret_files=[])
    add("--insecure", action="store_true", help="use no secret; works on this machine only")


def _add_policies(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--pulse_interval", type=float, metavar="SECONDS", help="interval of the heartbeats of nodes (default: 5)")
    add("--ping_interval", type=float, metavar="SECONDS", help="interval of node discovery (default: 10)")
    text = "for compatibility only: results are pushed, not polled"
    add("--poll_interval", type=float, metavar="SECONDS", help=text)
    text = f"timeout for connecting and for authentication (default: {config.MsgTimeout})"
    add("--msg_timeout", type=float, metavar="SECONDS", help=text)
    text = "minutes to keep the jobs and results of a disconnected client (at least 1; 0: for ever; default: 60)"
    add("--zombie_interval", type=float, metavar="MINUTES", help=text)
    text = "round-robin between computations (default: fair share per client)"
    add("--fair_cluster_scheduler", action="store_true", help=text)
    add("--early_cluster_scheduler", action="store_true", help="serve computations in order of arrival")
    text = "weight of the programs of a user, or on a host (its name or address); the default is 1; may be repeated"
    add("--weight", action="append", metavar="NAME=NUMBER", help=text)
    add("--cooperative", action="store_true", help="allow clients to change how many CPUs of a node are used")


def _add_quotas(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "total size of unfinished jobs and uncollected results, such as 4g (default: a quarter of the memory)"
    add("--max_client_bytes", default="", metavar="SIZE", help=text)
    text = f"number of unfinished or uncollected jobs; 0: no limit (default: {MAX_JOBS:,})"
    add("--max_client_jobs", type=int, metavar="NUMBER", help=text)
    text = f"number of open computations (functions or programs); 0: no limit (default: {MAX_COMPUTATIONS:,})"
    add("--max_client_computations", type=int, metavar="NUMBER", help=text)


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "directory for jobs and results, read again after a restart (default: per user and port)"
    add("--journal", default="", metavar="DIR", help=text)
    add("--dest_path_prefix", default="", metavar="DIR", help="as --journal, but in DIR/scheduler-PORT")
    add("--no_journal", action="store_true", help="keep no journal: jobs and results are lost on a restart")
    text = "first discard the journal of the previous scheduler; its jobs on nodes are terminated"
    add("--clean", action="store_true", help=text)
    text = "remove the files of computations on nodes even if their clients ask to keep them"
    add("--cleanup_nodes", action="store_true", help=text)
    add(
        "--max_file_size",
        default="",
        metavar="SIZE",
        help="maximum size of a file, such as 10m or 2g (default: 0, no limit)",
    )
    add("--config", default="", metavar="FILE", help=f"read options from the section [{_PROGRAM}] of this file")
    add(
        "--save_config", default="", metavar="FILE", help="write the options, without the secret, to this file and exit"
    )


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
        page = page_options(options)
        sharing = SharedScheduler(settings)
        if page is not None:
            _serve_page(sharing, page, settings.client_secret)
    except (GdispyError, OSError) as error:
        return fail(_PROGRAM, _bind_error(error, given))
    service = ServiceManager()

    def stop() -> None:
        service.stopping()
        sharing.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        gevent.signal_handler(number, stop)
    if not options.daemon and console.is_wanted():
        keep_running(console.run, lambda line: _obey(sharing, line), what="the console")
    try:
        sharing.run(lambda: _say_ready(sharing, service))
    except Exception as error:
        return fail(_PROGRAM, error)
    return 0


def _serve_page(sharing: SharedScheduler, page: PageOptions, secret: Secret) -> None:
    from gdispy.shared_scheduler.page import SchedulerView  # It imports a web server.

    view = SchedulerView(sharing, page.admin, page.metrics_computations)
    page.serve(view, view.source, secret.tls, sharing.directory)
    view.begin()


def _say_ready(sharing: SharedScheduler, service: ServiceManager) -> None:
    place = Address(sharing.host, sharing.port)
    service.ready(f"a scheduler at {place}")
    print(f"ready {place}", flush=True)


def sharing_settings(options: ResolvedOptions) -> SharedSchedulerSettings:
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


def _journal(options: ResolvedOptions) -> str:
    """The directory of the journal. With a random port there is none by default, since clients could not find the
    scheduler again."""
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


def _contradicts(other: str) -> Callable[[object], None]:
    """Returns a check that fails: the option excludes another."""

    def check(_: object) -> None:
        raise ConfigError(f"this and --{other} contradict each other")

    return check


def _forget(directory: str) -> None:
    """Empty the journal of the previous scheduler, if there is one. Raises JournalError, also if that still runs.

    Only the identity of the scheduler is kept, so that nodes that hold jobs of the previous run release them.
    """
    path = os.path.join(directory, "journal")
    if not directory or not os.path.lexists(path):
        return
    journal, reading = Journal.open(path)
    began = reading.remembered.began
    # A file that is not a scheduler's journal stays as it is: opening it later reports the error.
    is_ours = began is not None and began.kind == "scheduler"
    journal.close(remove=is_ours)
    if began is not None and is_ours:
        journal, _ = Journal.open(path)
        try:
            journal.begin("scheduler", began.instance, began.epoch)
        finally:
            journal.close()


def _weights(given: str | Iterable[str] | None) -> dict[str, float]:
    """The values of `--weight`; a variable or a file has them in one string."""
    found: dict[str, float] = {}
    for word in given.replace(",", " ").split() if isinstance(given, str) else given or ():
        name, _, number = word.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not name or not 0 < weight < 1e6:
            raise ConfigError(f"--weight {word!r}: write HOST=NUMBER or USER=NUMBER, such as lab3=2")
        found[name] = weight
    return found


def _nodes(given: str | Iterable[str] | None) -> list[str]:
    """The values of `-n`; a variable or a file has them in one string."""
    return given.replace(",", " ").split() if isinstance(given, str) else list(given or ["*"])


def _secret(options: ResolvedOptions, whose: str) -> Secret:
    own, file = getattr(options, f"{whose}_secret"), getattr(options, f"{whose}_secret_file")
    if own or file:
        found = find_secret(own, file)
    else:
        found = find_secret(options.secret, options.secret_file, options.insecure)
        found = with_others(found, options.other_secret_files)
    certfile, keyfile = getattr(options, f"{whose}_certfile"), getattr(options, f"{whose}_keyfile")
    return with_tls(found, certfile, keyfile, serves=whose == "cluster", what=f"--{whose}_")


def _bind_error(error: BaseException, given: argparse.Namespace) -> BaseException:
    if not isinstance(error, OSError) or isinstance(error, ConfigError):
        return error
    port = config.CLIENT_PORT if given.port is None else given.port
    return ConfigError(
        f"cannot listen on port {port}: {error.strerror}; another scheduler or program may already listen there "
        "(-p 0 selects a free port)"
    )


def _obey(sharing: SharedScheduler, line: str) -> str:
    """Run a command from the console; returns the reply."""
    if line.strip() in ("quit", "exit"):
        sharing.stop()
        return "ending"
    return "\n".join([*map(printable, overview_lines(sharing.overview())), "commands: quit; anything else shows this"])
