"""The command `gdispy-node`: parses its options, runs a node, and handles its console and its signals.

Runs in a process that gevent has patched.

Signals: SIGTERM stops the node when its running jobs have ended, after `--grace` seconds at the latest; jobs that have
not begun are returned to their schedulers at once. SIGHUP, or a second SIGTERM, stops it immediately. SIGINT stops it
when the current computations have ended; a second SIGINT stops it immediately.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import platform
import signal
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import gevent

from gdispy import config
from gdispy.cli.node_options import node_parser
from gdispy.cli.options import (
    NEVER,
    ResolvedOptions,
    addresses,
    fail,
    is_given,
    parse,
    set_up_logging,
    within,
    zero_means,
)
from gdispy.cli.options_file import read_options, save_options
from gdispy.cli.page_options import PageOptions, page_options
from gdispy.errors import ConfigError, GdispyError
from gdispy.execution.host_resources import usable_cpus
from gdispy.execution.node_settings import NodeSettings
from gdispy.execution.state_directory import clean, find_prefix
from gdispy.protocol.address import Address, host_flaw
from gdispy.protocol.limits import short_name
from gdispy.rules.node.service_hours import Hours, clock, minutes, parse_hours
from gdispy.runtime.greenlets import keep_running, spawn
from gdispy.runtime.process_hardening import harden
from gdispy.runtime.service_manager import ServiceManager
from gdispy.transport.credentials import ALL_ADDRESSES, Secret, find_secret, with_others, with_tls
from gdispy.transport.interfaces import announced
from gdispy.worker.limits import Limits

if TYPE_CHECKING:
    from gdispy.node import Node

_PROGRAM = "gdispy-node"

logger = logging.getLogger("gdispy")


def node_main(words: Sequence[str] | None = None) -> int:
    """`gdispy-node`; the exit code."""
    parser = node_parser()
    given = parse(parser, words)
    level = logging.WARNING if given.exit_with_stdin else logging.INFO
    set_up_logging("%(asctime)s %(levelname)s %(message)s", given.debug, level)
    try:
        _refuse_other_systems()
        options = settle(parser, given)
        if options.serve == 0:
            return _only_clean(options)
        settings = node_settings(options)
        config.MsgTimeout = settings.msg_timeout
        if given.save_config:
            save_options(given.save_config, _PROGRAM, parser, options)
            return 0
        if options.clean:
            clean(find_prefix(settings.dest_path_prefix))
        harden([options.secret])
        page = page_options(options)
        node = _new_node(settings, options)
    except (GdispyError, OSError) as error:
        return fail(_PROGRAM, error)
    service = ServiceManager()
    _listen_to_owner(node, options, settings.grace, service)

    def ready() -> None:
        # Here, so that a page that cannot be served ends the node as any error does.
        if page is not None:
            _serve_page(node, page, settings.secret, find_prefix(settings.dest_path_prefix))
        _say_ready(node, options.private, service)

    try:
        node.run(ready)
    except ConfigError as error:
        return fail(_PROGRAM, error)
    except Exception as error:
        return fail(_PROGRAM, error)
    return 0


def _refuse_other_systems() -> None:
    system = platform.system()
    if system != "Linux":
        advice = "start it on a Linux machine or in a container or virtual machine, and list that in `nodes`"
        raise ConfigError(f"nodes run only on Linux, and this is {system}: {advice}")


def _serve_page(node: Node, page: PageOptions, secret: Secret, directory: str) -> None:
    from gdispy.cli.node_page import NodeView  # It imports a web server.

    view = NodeView(node, page.admin, page.metrics_computations)
    page.serve(view, view.source, secret.tls, directory)
    view.begin()


def _say_ready(node: Node, is_private: bool, service: ServiceManager) -> None:
    service.ready(f"a node at {Address(node.host, node.port)}")
    try:
        os.write(1, f"ready {Address(node.host, node.port)}\n".encode())
    except OSError as error:
        if not is_private or not isinstance(error, BrokenPipeError):
            raise GdispyError(f"standard output cannot be written: {error.strerror}") from error
        # The program that started this private node has gone; the node ends with its standard input.


def _only_clean(options: ResolvedOptions) -> int:
    if not options.clean:
        raise ConfigError("--serve 0 is valid only with --clean: give the number of clients, or omit --serve")
    clean(find_prefix(options.dest_path_prefix))
    return 0


def settle(parser: argparse.ArgumentParser, given: argparse.Namespace) -> ResolvedOptions:
    """The given options, completed from the environment and the options file. Raises ConfigError."""
    if is_given(given.dispy_port) and is_given(given.node_port):
        raise ConfigError("--dispy_port and --node_port contradict each other: give one of them")
    if is_given(given.dispy_port):
        given.node_port = _after_base(given.dispy_port)
    file = read_options(given.config, _PROGRAM, parser) if given.config else {}
    options = ResolvedOptions(parser, given, file, given.config)
    if options.debug:
        logger.setLevel(logging.DEBUG)
    return options


def node_settings(options: ResolvedOptions) -> NodeSettings:
    """The options, checked. Raises ConfigError."""
    port = options.read("dispy_port", _after_base, config.NODE_PORT)
    return NodeSettings(
        secret=_secret(options),
        cpus=options.read("cpus", partial(count_cpus, may_exceed=options.private), count_cpus(None)),
        ip_addrs=options.read("ip_addr", addresses, ()),
        ext_ip_addr=options.read("ext_ip_addr", announced, ""),
        connect=_to_connect_to(options),
        multicast=bool(options.ipv4_udp_multicast),
        node_port=options.read("node_port", _port, _port(port)),
        name=short_name(options.name),
        dest_path_prefix=options.dest_path_prefix,
        max_file_size=options.read("max_file_size", config.parse_size, 0),
        limits=_limits(options),
        disk_floor=options.read("disk_floor", config.parse_size, None),
        hours=_hours(options),
        serve=options.read("serve", within(-1), -1),
        lease=60.0 * options.read("zombie_interval", zero_means(NEVER, within(1, NEVER)), 60.0),
        grace=options.read("grace", within(0), 0.0),
        spool_age=24 * 3600.0 * options.read("spool_age", within(0), 7.0),
        spool_size=options.read("spool_size", config.parse_size, 0),
        ping_interval=options.read("ping_interval", zero_means(0.0, within(10, 1e8)), 0.0),
        msg_timeout=options.read("msg_timeout", within(1), config.MsgTimeout),
        force_cleanup=bool(options.force_cleanup),
        client_shutdown=bool(options.client_shutdown),
        init=options.read("init", _existing, ""),
        private=options.private,
    )


def _to_connect_to(options: ResolvedOptions) -> tuple[tuple[str, int], ...]:
    own = options.read("scheduler_port", lambda number: config.port_number(number, "it"), config.CLIENT_PORT)
    nowhere: list[tuple[str, int | None]] = []
    return tuple((host, port or own) for host, port in options.read("connect", _places, nowhere))


def _places(given: str | Iterable[str]) -> list[tuple[str, int | None]]:
    """The values of `--connect`; a variable or a file has them in one string."""
    found = []
    for text in given.replace(",", " ").split() if isinstance(given, str) else given:
        try:
            host, port = Address.parse(text)
        except ValueError as error:
            raise ConfigError(f"{text!r}: {error}") from None
        flaw = "it does not name a host to connect to" if "*" in host else host_flaw(host)
        if flaw:
            raise ConfigError(f"{text!r}: {flaw}")
        found.append((host, port))
    return found


def _secret(options: ResolvedOptions) -> Secret:
    found = find_secret(options.secret, options.secret_file, options.insecure)
    found = with_others(found, options.other_secret_files)
    return with_tls(found, options.certfile, options.keyfile, serves=True, what="--")


def _limits(options: ResolvedOptions) -> Limits:
    return Limits(
        memory=options.read("job_memory", config.parse_size, 0),
        processes=options.read("job_processes", within(0), config.PROCESS_LIMIT),
        processor=options.read("job_cpu_time", within(0), 0.0),
        file=options.read("job_file_size", config.parse_size, 0),
        jobs=options.read("jobs_per_worker", within(0), 0),
        growth=options.read("worker_growth", config.parse_size, 0),
    )


def count_cpus(wanted: int | None, may_exceed: bool = False) -> int:
    """The number of CPUs to offer; `wanted` may be 0 for all. Raises ConfigError if they are none, or, unless it
    `may_exceed` them, do not exist."""
    there = usable_cpus()
    cpus = wanted or there
    if cpus < 0:
        cpus += there
    if cpus < 1 or (cpus > there and not may_exceed):
        raise ConfigError(
            f"cpus must be between 1 and {there}, 0 for all, or negative to leave some free, not {wanted}"
        )
    return cpus


def _port(number: int) -> int:
    return config.port_number(number, "node_port")


def _after_base(base: int) -> int:
    """The port of nodes for dispy's base port."""
    return base + 1 if base else 0


def _existing(path: str) -> str:
    if not os.path.isfile(path):
        raise ConfigError(f"there is no file {path}")
    return os.path.abspath(path)


def _hours(options: ResolvedOptions) -> Hours | None:
    # Each is checked alone first, so that an error message names its source.
    start, stop, end = (
        options.read(f"service_{name}", lambda text: clock(minutes(text)), "") for name in ("start", "stop", "end")
    )
    return parse_hours(start, stop, end, time.strftime("%H:%M"))


def _new_node(settings: NodeSettings, options: ResolvedOptions) -> Node:
    from gdispy.node import Node

    if settings.secret.insecure:
        logger.warning("no secret: every user of this machine can run programs as this user")
    try:
        return Node(settings)
    except OSError as error:
        hosts = settings.ip_addrs or [config.default_ip_addr() or ALL_ADDRESSES]
        where = " or ".join(str(Address(host, settings.node_port)) for host in hosts)
        raise ConfigError(f"cannot listen on {where}: {error.strerror}{_advice(error)}") from error


def _advice(error: OSError) -> str:
    """What to do where a node cannot listen."""
    if error.errno == errno.EADDRINUSE:
        return "; another node may already listen there (-p 0 selects a free port)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; this machine does not have that address (-i takes a local address; --ext_ip_addr announces another)"
    if error.errno == errno.EACCES:
        return "; ports below 1024 require root (-p selects another port)"
    return ""


def _listen_to_owner(node: Node, options: ResolvedOptions, grace: float, service: ServiceManager) -> None:
    """Handle signals and the commands from standard input."""
    from gdispy.cli import console

    interrupts: list[None] = []

    def interrupted() -> None:
        interrupts.append(None)
        if len(interrupts) > 1:
            node.stop()
        else:
            logger.warning("stopping when the current computations have ended; a second SIGINT stops immediately")
            node.shutdown_after_clients()

    def terminated() -> None:
        service.stopping()
        node.stop_gently(grace)

    gevent.signal_handler(signal.SIGHUP, node.stop)
    gevent.signal_handler(signal.SIGTERM, node.stop if options.private else terminated)
    gevent.signal_handler(signal.SIGINT, interrupted)
    if options.exit_with_stdin:
        spawn(
            _stop_with_stdin,
            node,
            what="the monitor of standard input",
            on_failure=lambda error: node.stop(),
        )
    elif not options.daemon and console.is_wanted():
        keep_running(console.run, lambda line: console.obey(node, line, count_cpus), what="the console")


def _stop_with_stdin(node: Node) -> None:
    """Stop when the program that started this node ends: the kernel then closes its end of the pipe."""
    from gevent import socket

    while True:
        socket.wait_read(0)
        if not os.read(0, 4096):
            node.stop()
            return
