"""The commands `gdispy start-nodes` and `gdispy stop-nodes`: nodes on other machines, started over ssh.

Runs in a process that gevent has patched. For each host, one ssh process runs the `gdispy-node` that is installed
there. The secret is sent through ssh's standard input, never on a command line.

Invariants:
1. The nodes live as long as this command: each ends with its standard input, even if ssh, the network or this process
   fails.
2. When this command has ended, so have all nodes that it started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import gevent
import gevent.event
from gevent import socket

from gdispy.cli.node import node_settings, settle
from gdispy.cli.node_options import node_parser
from gdispy.cli.options import (
    EXIT_FAILED,
    add_common_options,
    add_secret_options,
    as_declared,
    fail,
    parse,
    set_up_logging,
)
from gdispy.client.tables import format_table
from gdispy.errors import ConfigError, GdispyError
from gdispy.protocol.address import Address, host_flaw
from gdispy.protocol.handshake import encode_secret
from gdispy.protocol.limits import printable
from gdispy.runtime.greenlets import spawn
from gdispy.transport.credentials import find_secret, own_key_path
from gdispy.worker.process_tree import began

#: Seconds until a node must be ready, and until it must have ended.
START_LIMIT = 60.0
STOP_LIMIT = 20.0
#: ssh never prompts, and detects a broken connection.
_SSH = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
#: Exit code of a shell that does not find the program.
_NOT_FOUND = 127
#: Last lines of a node's log, kept to report why it ended.
_KEPT = 20

_EXAMPLES = """examples:
  gdispy start-nodes --ssh host1,user@host2          one node on each host, until Ctrl-C
  gdispy start-nodes --ssh host1 --cpus 4 -p 51400   options of gdispy-node apply to each node
  gdispy start-nodes --ssh host1 --command /opt/gdispy/bin/gdispy-node
  gdispy start-nodes --ssh host1 --ssh_command 'ssh -p 2222 -i key'
  gdispy stop-nodes                                  stop the nodes that this user started from here

gdispy must be installed on the hosts, and ssh must accept a key of this user.
"""


def start_parser() -> argparse.ArgumentParser:
    """The options of `gdispy start-nodes`, besides those of `gdispy-node`."""
    parser = argparse.ArgumentParser(
        prog="gdispy start-nodes",
        description="Start gdispy-node on other machines over ssh; the nodes stop when this command ends.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    text = "hosts on which to start nodes, by the names that ssh uses"
    add("--ssh", "-n", "--nodes", action="append", required=True, metavar="HOST,HOST", help=text)
    text = "path of gdispy-node on the hosts, if it is not in the PATH of ssh (default: gdispy-node)"
    add("--command", default="gdispy-node", metavar="PATH", help=text)
    add(
        "--ssh_command",
        "--ssh-command",
        default="ssh",
        metavar="COMMAND",
        help="ssh command with options (default: ssh)",
    )
    text = f"time limit for a node to become ready (default: {START_LIMIT:.0f})"
    add("--timeout", type=float, default=START_LIMIT, metavar="SECONDS", help=text)
    add_secret_options(parser)
    add_common_options(parser)
    return parser


def start_main(words: Sequence[str] | None = None) -> int:
    """`gdispy start-nodes`; the exit code."""
    options, rest = start_parser().parse_known_args(
        as_declared(start_parser(), sys.argv[1:] if words is None else words)
    )
    set_up_logging("gdispy: %(message)s", options.debug)
    try:
        hosts = _hosts(options.ssh)
        _check_node_options(rest)
        secret = find_secret(options.secret, options.secret_file, options.insecure)
        if secret.insecure:
            raise ConfigError("without a secret, nodes serve only their own machine: omit --insecure")
        command = shlex.join([*shlex.split(options.command), *_OWN_OPTIONS, *rest])
        fleet = Fleet([_SshNode(host, shlex.split(options.ssh_command), command) for host in hosts])
        fleet.start(encode_secret(secret.key))
    except (GdispyError, OSError) as error:
        return fail("gdispy start-nodes", error)
    return fleet.serve(options.timeout)


_OWN_OPTIONS = ("--daemon", "--exit-with-stdin", "--secret-file", "-")


def _hosts(given: list[str]) -> list[str]:
    hosts = [host.strip() for text in given for host in text.split(",") if host.strip()]
    for host in hosts:
        flaw = host_flaw(host.rpartition("@")[2].strip("[]"))
        if host.startswith("-") or flaw:
            raise ConfigError(f"--ssh {host!r} is not a valid host: {flaw or 'it begins with a dash'}")
    doubles = {host for host in hosts if hosts.count(host) > 1}
    if doubles:
        raise ConfigError(f"--ssh names {', '.join(sorted(doubles))} more than once")
    if not hosts:
        raise ConfigError("--ssh does not name a host")
    return hosts


def _check_node_options(words: list[str]) -> None:
    """Errors in them are reported here once, and not by each host."""
    parser = node_parser()
    given = parse(parser, words)
    for name in ("secret", "secret_file", "insecure", "config", "save_config"):
        if getattr(given, name):
            raise ConfigError(f"--{name} cannot be given to the nodes")
    # The secret comes through a pipe. Files and CPUs are those of the hosts.
    given.insecure, given.private, given.init, given.certfile, given.keyfile = True, True, "", "", ""
    given.cpus = None if given.cpus is None else abs(given.cpus)
    node_settings(settle(parser, given))


class _SshNode:
    """The ssh process of one host, and its state."""

    def __init__(self, host: str, ssh: list[str], command: str) -> None:
        self.host = host
        self.state = "starting"
        #: The node's address, once it is ready.
        self.place = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._words = [*ssh, *_SSH, host, command]
        self._log: list[str] = []
        self._readers: list[gevent.Greenlet] = []

    def start(self, secret: str) -> None:
        # In a new session, so that Ctrl-C reaches only this command, which then stops the nodes in order.
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(self._words, start_new_session=True, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise ConfigError(f"{self._words[0]} cannot be started: {error.strerror}") from error
        self.process = process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        with contextlib.suppress(BrokenPipeError):  # ssh has already ended, and reports why on its standard error.
            os.write(process.stdin.fileno(), secret.encode() + b"\n")
        self._readers = [
            spawn(self._read, process.stdout.fileno(), what=f"the output of {self.host}", on_failure=self._fail),
            spawn(self._read_log, process.stderr.fileno(), what=f"the log of {self.host}"),
        ]

    def _fail(self, error: BaseException) -> None:
        self.state = f"ended: a defect of gdispy start-nodes: {printable(repr(error))}"

    @property
    def is_up(self) -> bool:
        return self.state == "ready"

    def _read(self, fd: int) -> None:
        for line in _lines(fd):
            if line.startswith("ready "):
                _, _, port = line[6:].rpartition(":")
                with contextlib.suppress(ValueError):  # Another program there printed a line like it.
                    self.place = str(Address(self.host.rpartition("@")[2], int(port)))
                    self.state = "ready"
        gevent.joinall(self._readers[1:], timeout=1)
        self.state = f"ended: {self._why()}"

    def _read_log(self, fd: int) -> None:
        for line in _lines(fd):
            self._log = [*self._log, line][-_KEPT:]
            if self.is_up:
                print(f"{self.host}: {printable(line)}", file=sys.stderr, flush=True)

    def _why(self) -> str:
        code = self._wait(5)
        if code == _NOT_FOUND:
            return "gdispy-node was not found: install gdispy, or give its path with --command"
        last = next((line for line in reversed(self._log) if line.strip()), "")
        return printable(last) or f"ssh ended with exit code {code}"

    def _wait(self, seconds: float) -> int | None:
        assert self.process is not None
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(seconds):
            while self.process.poll() is None:
                gevent.sleep(0.02)
        return self.process.returncode

    def give_up(self, reason: str) -> None:
        self.end()
        self.state = f"ended: {reason}"

    def let_go(self) -> None:
        """The node ends with its standard input."""
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def end(self) -> None:
        self.let_go()
        if self.process is not None and self._wait(STOP_LIMIT) is None:
            self.process.kill()
            self._wait(5)
        for reader in self._readers:
            reader.join(1)
            reader.kill()


class Fleet:
    """The nodes of one `gdispy start-nodes`."""

    def __init__(self, nodes: list[_SshNode]) -> None:
        self.nodes = nodes
        self._stop = gevent.event.Event()

    def start(self, secret: str) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            gevent.signal_handler(number, self._stop.set)
        try:
            for node in self.nodes:
                node.start(secret)
        except BaseException:
            self._end()
            raise

    def serve(self, limit: float) -> int:
        """Wait until the nodes are ready, then until they have ended or this command is stopped; the exit code."""
        note = _note(self.nodes)
        try:
            self._await(lambda: all(node.state != "starting" for node in self.nodes), limit)
            for node in self.nodes:
                if node.state == "starting" and not self._stop.is_set():
                    node.give_up(f"not ready within {limit:g} s")
            print("\n".join(self.table()), flush=True)
            up = [node for node in self.nodes if node.is_up]
            if up:
                places = ", ".join(repr(node.place) for node in up)
                print(f"nodes=[{places}]; Ctrl-C or `gdispy stop-nodes` stops them", flush=True)
            self._await(lambda: not any(node.is_up for node in self.nodes), None)
            all_well = self._stop.is_set() and bool(up)
            for node in self.nodes if not all_well else []:
                print(f"gdispy start-nodes: {node.host}: {node.state}", file=sys.stderr)
            return 0 if all_well else EXIT_FAILED
        finally:
            self._end()
            with contextlib.suppress(OSError):
                note.unlink()

    def _await(self, condition: Callable[[], bool], limit: float | None) -> None:
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(limit):
            while not condition() and not self._stop.is_set():
                self._stop.wait(0.05)

    def _end(self) -> None:
        for node in self.nodes:  # Signal all nodes first, then wait for each.
            node.let_go()
        for node in self.nodes:
            node.end()

    def table(self) -> list[str]:
        rows = [("HOST", "NODE", "STATE"), *((node.host, node.place or "-", node.state) for node in self.nodes)]
        return format_table(rows, "  ", align="<")


def _lines(fd: int) -> Iterator[str]:
    """The lines of a pipe, without blocking other greenlets."""
    text = b""
    while True:
        socket.wait_read(fd)
        data = os.read(fd, 65536)
        if not data:
            break
        *whole, text = (text + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
    if text:
        yield text.decode("utf-8", "replace")


# Stopping them from another process


def _notes() -> Path:
    return own_key_path().parent / "started"


def _note(nodes: list[_SshNode]) -> Path:
    """Write a file that records that this process has started nodes."""
    directory = _notes()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{os.getpid()}.json"
    path.write_text(json.dumps({"began": began(os.getpid()), "hosts": [node.host for node in nodes]}))
    return path


def stop_parser() -> argparse.ArgumentParser:
    """The options of `gdispy stop-nodes`."""
    parser = argparse.ArgumentParser(
        prog="gdispy stop-nodes",
        description="Stop the nodes that this user has started from this machine with `gdispy start-nodes`.",
    )
    add_common_options(parser)
    return parser


def stop_main(words: Sequence[str] | None = None) -> int:
    """`gdispy stop-nodes`; the exit code."""
    set_up_logging("gdispy: %(message)s", parse(stop_parser(), words).debug)
    running = list(_running())
    if not running:
        print("no nodes started from this machine are running")
        return 0
    for pid, _ in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    good = True
    with contextlib.suppress(gevent.Timeout), gevent.Timeout(2 * STOP_LIMIT):
        while any(began(pid) == started["began"] for pid, started in running):
            gevent.sleep(0.05)
    for pid, started in running:
        is_gone = began(pid) != started["began"]
        good = good and is_gone
        state = "stopped" if is_gone else f"does not stop: process {pid} on this machine"
        print("\n".join(f"{host}  {state}" for host in started["hosts"]))
    return 0 if good else EXIT_FAILED


class _Started(TypedDict):
    """The record of a process that has started nodes: its start time, and the hosts."""

    began: int
    hosts: list[str]


def _running() -> Iterator[tuple[int, _Started]]:
    """The running `start-nodes` processes, each with its pid and its record."""
    for path in sorted(_notes().glob("*.json")):
        try:
            started = json.loads(path.read_text())
            pid = int(path.stem)
            is_there = began(pid) == started["began"] and isinstance(started["hosts"], list)
        except (OSError, ValueError, KeyError, TypeError):
            is_there = False
        if is_there:
            yield pid, started
        else:
            with contextlib.suppress(OSError):
                path.unlink()
