"""The command `gdispy admin [HOST...]`: a web page over all nodes that are found, and over schedulers.

Runs in a process that gevent has patched. It needs the secret of the nodes and nothing else: no cluster is made, and no
node is reserved.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence

import gevent

from gdispy import config
from gdispy.cli.interruption import interrupted
from gdispy.cli.nodes import add_search_options
from gdispy.cli.options import add_common_options, add_secret_options, add_tls_options, fail, parse, set_up_logging
from gdispy.cli.page_options import PageOptions, page_place
from gdispy.client.shared_cluster import scheduler_place
from gdispy.discovery import targets
from gdispy.errors import ConfigError, GdispyError
from gdispy.runtime.process_hardening import harden
from gdispy.transport.credentials import Secret, find_secret, with_tls

_PROGRAM = "gdispy admin"

_EXAMPLES = """examples:
  gdispy admin                            all nodes found on the networks of this machine
  gdispy admin 10.0.0.5 lab               also these hosts, or the nodes behind a relay on them
  gdispy admin -n rack1 -n rack2          and these schedulers
  gdispy admin --http 8181 --http_admin   at this port, with buttons that drain and change nodes

The page needs the token in the URL that is printed. Ctrl-C ends it.
"""


def admin_parser() -> argparse.ArgumentParser:
    """The options of `gdispy admin`."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Serve a web page of all nodes that are found, and of schedulers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("hosts", nargs="*", metavar="HOST[:PORT]", help="a node or relay to show in addition to those that are found")
    text = "a gdispy-scheduler to show; may be repeated"
    names = ("-n", "--scheduler_node", "--scheduler_host")
    add(*names, dest="schedulers", action="append", default=[], metavar="HOST[:PORT]", help=text)
    text = "where to serve the page (default: a free port of this machine); other addresses require a certificate"
    add("--http", default="0", metavar="[HOST:]PORT", help=text)
    add(
        "--http_admin",
        "--http-admin",
        action="store_true",
        help="let the page drain nodes, have them take jobs again, and change their CPUs, service hours and clients",
    )
    add_search_options(parser)
    add_secret_options(parser)
    add_tls_options(parser)
    add_common_options(parser)
    return parser


def admin_main(words: Sequence[str] | None = None) -> int:
    """`gdispy admin`; the exit code."""
    options = parse(admin_parser(), words)
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        if options.only and not options.hosts and not options.schedulers:
            raise ConfigError("--only requires hosts or schedulers to show")
        config.port_number(options.node_port, "--node_port")
        secret = find_secret(options.secret, options.secret_file, options.insecure)
        harden([options.secret])
        _serve(with_tls(secret, options.certfile, options.keyfile), options)
    except (GdispyError, OSError) as error:
        return fail(_PROGRAM, error)
    return 0


def _serve(secret: Secret, options: argparse.Namespace) -> None:
    """Until Ctrl-C or SIGTERM. Raises ConfigError."""
    from gdispy.cli.admin_page import AdminView
    from gdispy.cli.network_watch import Attention, NodeWatch, WatchedScheduler

    page = PageOptions(*page_place(options.http), options.http_admin)
    named = targets.parse(options.hosts, options.node_port).targets if options.hosts else []
    places = dict.fromkeys(scheduler_place(each, None) for each in options.schedulers)
    attention = Attention()
    schedulers = [WatchedScheduler(secret, *place, attention) for place in places]
    view = AdminView(NodeWatch(secret, options, named, attention), schedulers, attention, page.admin)
    stop = interrupted()
    gevent.signal_handler(signal.SIGTERM, stop.set)
    server = page.serve(view, None, secret.tls, "", "these nodes")
    view.begin()
    stop.wait()
    server.close()
