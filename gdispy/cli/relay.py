"""The command `gdispy relay`: parses its options and runs a relay.

Runs in the main greenlet of a process that gevent has patched, until a signal stops it.
"""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Sequence

import gevent

from gdispy import config
from gdispy.cli.options import Once, add_common_options, add_secret_options, fail, parse, set_up_logging
from gdispy.discovery.relay import Relay, RelaySettings
from gdispy.errors import ConfigError, GdispyError
from gdispy.protocol.address import Address, host_flaw
from gdispy.runtime.process_hardening import harden
from gdispy.transport.credentials import find_secret

_PROGRAM = "gdispy relay"

_EXAMPLES = """examples:
  gdispy relay                           on a machine in the nodes' network; programs elsewhere name that machine:
                                         JobCluster(compute, nodes=["*", "that machine"])
  gdispy relay --scheduler_node lab      have the nodes here connect to the gdispy-scheduler on lab

The relay uses the port of nodes (51348, TCP and UDP); choose another with -p if a node runs on the same machine. It
needs the secret for discovery packets only: connections between programs and nodes stay encrypted end to end.
"""


def relay_parser() -> argparse.ArgumentParser:
    """The options of `gdispy relay`."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Make the nodes in this machine's networks known to programs in other networks.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "-i", "--ip_addr", "--host", action=Once, default="", metavar="ADDR", help="address to listen on (default: all)"
    )
    text = f"port to listen on, 0 for any free port (default: {config.NODE_PORT})"
    add("-p", "--relay_port", "--port", type=int, default=config.NODE_PORT, metavar="PORT", help=text)
    text = f"port on which nodes listen (default: {config.NODE_PORT})"
    add("--node_port", type=int, default=config.NODE_PORT, metavar="PORT", help=text)
    text = "gdispy-scheduler to announce to the nodes; may be repeated"
    add("--scheduler_node", "--scheduler_host", action="append", default=[], metavar="HOST[:PORT]", help=text)
    add("--ipv4_udp_multicast", action="store_true", help="use multicast instead of broadcast")
    add("--daemon", action="store_true", help="for compatibility only: a relay reads no commands")
    add_secret_options(parser)
    add_common_options(parser)
    return parser


def relay_main(words: Sequence[str] | None = None) -> int:
    """`gdispy relay`; the exit code."""
    options = parse(relay_parser(), words)
    set_up_logging("%(asctime)s %(levelname)s %(message)s", options.debug, logging.INFO)
    try:
        secret = find_secret(options.secret, options.secret_file, options.insecure)
        harden([options.secret])
        relay = Relay(secret, _settings(options))
    except OSError as error:
        text = f"cannot listen on port {options.relay_port}: {error.strerror}; a node may run here (-p selects another)"
        return fail(_PROGRAM, error if isinstance(error, GdispyError) else ConfigError(text))
    except GdispyError as error:
        return fail(_PROGRAM, error)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        gevent.signal_handler(number, relay.stop)
    relay.start()
    print(f"ready {Address(relay.host, relay.port)}", flush=True)
    relay.wait()
    return 0


def _settings(options: argparse.Namespace) -> RelaySettings:
    return RelaySettings(
        options.ip_addr,
        config.port_number(options.relay_port, "--relay_port"),
        config.port_number(options.node_port, "--node_port"),
        [_scheduler(text) for text in options.scheduler_node],
        options.ipv4_udp_multicast,
    )


def _scheduler(text: str) -> tuple[str, int]:
    try:
        host, port = Address.parse(text)
    except ValueError as error:
        raise ConfigError(f"--scheduler_node {text!r}: {error}") from None
    flaw = "it does not name a host" if "*" in host else host_flaw(host)
    if flaw:
        raise ConfigError(f"--scheduler_node {text!r}: {flaw}")
    return host, port or config.CLIENT_PORT
