"""A private node on this machine, for the life of a cluster: `nodes=['local']`.

It is an ordinary `gdispy-node` process on the loopback interface, with a secret that only this program knows. It exits
when its standard input is closed, so it cannot outlive the program that started it. If it ends before, it is started
again on the same port, so that its scheduler finds it. Used in the hub, but for the constructor.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import gevent
from gevent import socket

from gdispy import config
from gdispy.errors import ConnectFailed
from gdispy.protocol.handshake import encode_secret
from gdispy.rules.history.facts import Met
from gdispy.runtime.subprocess_env import importable
from gdispy.transport.credentials import Secret
from gdispy.transport.reconnect import Backoff
from gdispy.worker.process_tree import signal_name

#: The code of `gdispy-node`, since the commands may not be in PATH. The working directory is removed from
#: `sys.path`, since a file named random.py there would shadow the standard module.
_CODE = """
import sys
if sys.path[:1] == [""]: del sys.path[0]
import os
for stream in (sys.stdin, sys.stdout, sys.stderr):
    if stream is None: os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
import gdispy.runtime.patching
from gdispy.cli import node_main
sys.exit(node_main())
"""
#: Time limit in seconds for it to become ready.
START_LIMIT = 30.0
#: Seconds before it is started again: at first, and at most. The pauses grow if it ends within `EARLY` seconds.
PAUSE = 0.1
PAUSE_LIMIT = 10.0
EARLY = 20.0

logger = logging.getLogger("gdispy")


class LocalNode:
    """The process of a private node; started by the constructor."""

    def __init__(self, secret: Secret, cpus: int = 0) -> None:
        """`cpus` is the number of CPUs to offer if it is more than this machine has; 0 for those of this machine."""
        self._secret, self._cpus = secret, cpus
        #: A unique name, which distinguishes it from nodes found by broadcast.
        self.name = f"local-{secrets.token_hex(4)}"
        #: The greenlet that waits for the node to be ready, or to end.
        self._waiter: gevent.Greenlet | None = None
        self._start(0)

    def _start(self, port: int) -> None:
        secret, self._reaped = self._secret, False
        #: As of `os.waitpid`; None if it is not known.
        self._status: int | None = None
        read_end, self._stdin = _pipe()
        self._stdout, write_end = _pipe()
        arguments = [
            sys.executable,
            "-c",
            _CODE,
            "--daemon",
            "--exit-with-stdin",
            "--private",
            "--secret-file",
            "-",
        ]
        arguments += ["--ip_addr", "127.0.0.1", "--node_port", str(port), "--name", self.name]
        if secret.tls is not None:
            arguments += ["--certfile", secret.tls.certfile, "--keyfile", secret.tls.keyfile]
        if self._cpus > (os.cpu_count() or 1):
            arguments += ["--cpus", str(self._cpus)]
        actions = [(os.POSIX_SPAWN_DUP2, read_end, 0), (os.POSIX_SPAWN_DUP2, write_end, 1)]
        self._pid = os.posix_spawn(sys.executable, arguments, _environment(), file_actions=actions, setsid=True)
        os.close(read_end)
        os.close(write_end)
        os.write(self._stdin, encode_secret(secret.key).encode() + b"\n")

    def keep_running(self, on_ready: Callable[[str, int], None]) -> NoReturn:
        """Call `on_ready(host, port)` when it accepts connections, and start it again when it ends. In a greenlet,
        until `close`. Raises ConnectFailed if it cannot be started the first time."""
        self._waiter = gevent.getcurrent()
        try:
            host, port = self._await_ready()
            backoff = Backoff(PAUSE, PAUSE_LIMIT)
            while True:
                on_ready(host, port)
                began = time.monotonic()
                how = self._await_end()
                logger.warning("the local node has ended unexpectedly (%s); it is started again", how)
                gevent.sleep(backoff.next(time.monotonic() - began < EARLY))
                host, port = self._start_again(port, backoff)
        finally:
            self._waiter = None

    def _start_again(self, port: int, backoff: Backoff) -> tuple[str, int]:
        """Start it on the port that its scheduler knows, or on another if that is in use now; returns its address."""
        while True:
            self._close_pipes()
            self._start(port)
            try:
                return self._await_ready()
            except ConnectFailed as error:
                logger.warning("%s; it is started again", error)
            self._end()
            gevent.sleep(backoff.next(True))
            port = 0

    def _await_end(self) -> str:
        """Wait until its standard output is closed; returns how it has ended."""
        while True:
            socket.wait_read(self._stdout)
            if not os.read(self._stdout, 4096):
                break
        self._end()
        if self._status is None:
            return "its exit status is unknown"
        code = os.waitstatus_to_exitcode(self._status)
        return f"it was ended by {signal_name(-code)}" if code < 0 else f"exit status {code}"

    def _await_ready(self) -> tuple[str, int]:
        """Wait until it accepts connections; returns its address. Raises ConnectFailed."""
        text = b""
        with gevent.Timeout(START_LIMIT, ConnectFailed("the local node did not start in time")):
            while not text.endswith(b"\n"):
                socket.wait_read(self._stdout)
                more = os.read(self._stdout, 4096)
                if not more:
                    raise ConnectFailed("the local node could not start; see its message above")
                text += more
        _, _, place = text.decode().strip().splitlines()[-1].partition("ready ")
        host, _, port = place.rpartition(":")
        return host, int(port)

    def close(self) -> None:
        """Stop it, and wait until it has exited."""
        if self._waiter is not None:
            # Before the descriptors are closed, since their numbers may be reused immediately.
            self._waiter.kill()
        self._close_stdin()
        self._end()
        # Last, because the node may be about to write that it is ready.
        self._close_pipes()

    def _close_stdin(self) -> None:
        stdin, self._stdin = self._stdin, -1
        _close(stdin)

    def _close_pipes(self) -> None:
        self._close_stdin()
        stdout, self._stdout = self._stdout, -1
        _close(stdout)

    def _end(self) -> None:
        """Wait until it has exited; kill it if it does not."""
        for _ in range(500):
            if self._is_over():
                return
            gevent.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._is_over(wait=True)

    def _is_over(self, wait: bool = False) -> bool:
        """Whether it has exited. It is reaped once: its process id may belong to another process afterwards."""
        if not self._reaped:
            try:
                pid, status = os.waitpid(self._pid, 0 if wait else os.WNOHANG)
                self._reaped = pid != 0
                self._status = status if self._reaped else None
            except ChildProcessError:  # Other code of this program has already waited for it.
                self._reaped = True
        return self._reaped

    def forget_in_child(self) -> None:
        """This is a forked child: its copy of the pipe must not keep the node alive."""
        self._close_stdin()


def _close(fd: int) -> None:
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.close(fd)


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors are not those of standard streams, which a program may have closed."""
    ends = os.pipe()
    found = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends]
    for end in ends:
        os.close(end)
    return found[0], found[1]


def died_with_its_program(met: Met) -> bool:
    """Whether a node in a recovery file was a private node of the program, and so has ended with it."""
    return re.fullmatch(r"local-[0-9a-f]{8}", met.name) is not None and config.is_loopback(met.names[0])


def _environment() -> dict[str, str]:
    return importable({key: value for key, value in os.environ.items() if not key.startswith("GDISPY_")})
