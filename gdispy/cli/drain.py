"""The commands `gdispy drain NODE...` and `gdispy undrain NODE...`.

Run in a process that gevent has patched. A drained node returns the jobs that have not begun and takes no others; its
running jobs continue. It stays drained until `undrain`, or until it is started again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from gdispy import config
from gdispy.cli.interruption import interrupted
from gdispy.cli.nodes import Found, NodeSurvey
from gdispy.cli.options import (
    Once,
    add_common_options,
    add_secret_options,
    add_tls_options,
    fail,
    parse,
    set_up_logging,
)
from gdispy.client.tables import count
from gdispy.discovery import targets
from gdispy.errors import ConfigError, GdispyError
from gdispy.protocol.address import Address, host_flaw
from gdispy.protocol.limits import printable
from gdispy.transport.credentials import find_secret, with_tls

#: Seconds between two requests for the number of running jobs.
INTERVAL = 0.5

_EXAMPLES = """examples:
  gdispy drain lab3                   no new jobs on lab3; wait until its jobs have ended
  gdispy drain --timeout 600 lab3     the same; exit status 1 if jobs still run after ten minutes
  gdispy drain --timeout 0 lab3 lab4  do not wait
  gdispy undrain lab3                 use it again

NODE is a host name or address, with :PORT if it is not 51348, or the name of a node that is found by broadcast,
quoted if it has spaces.
"""


def drain_parser(name: str = "drain") -> argparse.ArgumentParser:
    """The options of `gdispy drain` and `gdispy undrain`."""
    about = {
        "drain": "Have nodes return the jobs that have not begun, take no others, and finish those that run.",
        "undrain": "Have drained nodes take jobs again.",
    }
    parser = argparse.ArgumentParser(
        prog=f"gdispy {name}",
        description=about[name],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("hosts", nargs="+", metavar="NODE", help="host or name of a node")
    if name == "drain":
        text = "seconds to wait for running jobs (default: until they have ended; 0: not at all)"
        add("--timeout", type=float, default=None, metavar="SECONDS", help=text)
    text = "local address whose network to search for names (default: GDISPY_IP_ADDR, or all networks)"
    add("-i", "--ip_addr", action=Once, default="", metavar="ADDR", help=text)
    text = f"port on which nodes listen (default: {config.NODE_PORT})"
    add("--node_port", type=int, default=config.NODE_PORT, metavar="PORT", help=text)
    add("--ipv4_udp_multicast", action="store_true", help="discover nodes by multicast instead of broadcast")
    add("--only", action="store_true", help="connect to the given hosts only; no discovery")
    add_secret_options(parser)
    add_tls_options(parser)
    add_common_options(parser)
    return parser


def undrain_parser() -> argparse.ArgumentParser:
    return drain_parser("undrain")


def drain_main(words: Sequence[str] | None = None) -> int:
    """`gdispy drain`; the exit code: 0 if all nodes are empty or are not waited for, 1 if jobs still run."""
    options = parse(drain_parser(), words)
    return _main(options, "drain")


def undrain_main(words: Sequence[str] | None = None) -> int:
    """`gdispy undrain`; the exit code."""
    options = parse(undrain_parser(), words)
    return _main(options, "undrain")


def _main(options: argparse.Namespace, word: str) -> int:
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        if word == "drain" and options.timeout is not None and not options.timeout >= 0:
            raise ConfigError("--timeout must be a number of seconds, at least 0")
        config.port_number(options.node_port, "--node_port")
        secret = find_secret(options.secret, options.secret_file, options.insecure)
        secret = with_tls(secret, options.certfile, options.keyfile)
        hosts = [each for each in options.hosts if _may_be_host(each)]
        wanted = targets.parse(hosts, options.node_port) if hosts else targets.NodeTargets()
        if wanted.local or wanted.look or not all(options.hosts):
            raise ConfigError("give hosts, or names of nodes, without patterns")
        if options.only and len(hosts) < len(options.hosts):
            [name, *_] = [each for each in options.hosts if each not in hosts]
            raise ConfigError(f"{name!r} is not a host, and names of nodes are not searched for with --only")
        survey = NodeSurvey(secret, options, wanted.targets)
        chosen = _chosen(survey, options.hosts, options.node_port)
        ordered = [survey.order(survey.routes[each.address], word) for each in chosen]
    except (GdispyError, OSError) as error:
        return fail(f"gdispy {word}", error)
    for each in ordered:
        print(_line(each, word))
    if word == "undrain" or options.timeout == 0:
        return 0
    return _wait(survey, ordered, options.timeout)


def _chosen(survey: NodeSurvey, words: list[str], port: int) -> list[Found]:
    """The nodes that the words name. Raises ConfigError if one names none, or several."""
    found = survey.run()
    chosen: dict[str, Found] = {}
    for word in words:
        named: list[Found] = []
        if _may_be_host(word):
            host, own = Address.parse(word)
            place = str(Address(*survey.place_of((host, own or port))))
            named = [each for each in found if each.address == place]
        if not any(each.version for each in named):
            named += [each for each in found if each.name == word and each.version]
        usable = [each for each in named if each.version]
        if len(usable) > 1:
            places = ", ".join(each.address for each in usable)
            raise ConfigError(f"{word} is the name of several nodes: give the address of one of {places}")
        if not usable:
            raise ConfigError(f"{word}: {named[0].problem if named else 'no such node was found'}")
        chosen[usable[0].address] = usable[0]
    return list(chosen.values())


def _may_be_host(word: str) -> bool:
    """Whether this can be a host, with a port or without; otherwise it can only be the name of a node."""
    try:
        return "*" in word or not host_flaw(Address.parse(word).host)
    except ValueError:
        return False


def _line(found: Found, word: str) -> str:
    place = f"{printable(found.name)} at {found.address}"
    if word == "undrain":
        state = f"takes no jobs: {found.problem}" if not found.cpus else f"takes jobs on {count(found.cpus, 'CPU')}"
        return f"{place}: {state}"
    return f"{place}: draining, {count(found.busy, 'CPU')} busy" if found.busy else f"{place}: drained"


def _wait(survey: NodeSurvey, nodes: list[Found], timeout: float | None) -> int:
    until = None if timeout is None else time.monotonic() + timeout
    left = {each.address: each for each in nodes if each.busy}
    stop = interrupted()
    try:
        while left and (until is None or time.monotonic() < until):
            if stop.wait(INTERVAL):
                sys.stderr.write("gdispy drain: interrupted; the nodes stay drained (gdispy undrain)\n")
                return 130
            for address in list(left):
                left[address] = now = survey.order(survey.routes[address])
                if not now.busy:
                    print(_line(now, "drain"))
                    del left[address]
    except (GdispyError, OSError) as error:
        return fail("gdispy drain", error)
    for each in left.values():
        print(f"{_line(each, 'drain')} after {timeout:g} s; it stays drained")
    return 1 if left else 0
