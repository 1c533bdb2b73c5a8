"""A private node on this machine, for the life of a cluster: `nodes=['local']`.

It is an ordinary `gdispy-node` process on the loopback interface, with a secret that only this program knows. It exits
when its standard input is closed, so it cannot outlive the program that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import signal
import sys

import gevent
from gevent import socket

from gdispy import config
from gdispy.errors import ConnectFailed
from gdispy.protocol.handshake import encode_secret
from gdispy.rules.history.facts import Met
from gdispy.runtime.subprocess_env import importable
from gdispy.transport.credentials import Secret

#: The code of `scripts/gdispy-node`, since the scripts may not be in PATH. The working directory is removed from
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


class LocalNode:
    """The process of a private node; started by the constructor."""

    def __init__(self, secret: Secret) -> None:
        text = encode_secret(secret.key)
        #: A unique name, which distinguishes it from nodes found by broadcast.
        self.name = f"local-{secrets.token_hex(4)}"
        read_end, stdin = _pipe()
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
        arguments += ["--ip_addr", "127.0.0.1", "--node_port", "0", "--name", self.name]
        if secret.tls is not None:
            arguments += ["--certfile", secret.tls.certfile, "--keyfile", secret.tls.keyfile]
        actions = [(os.POSIX_SPAWN_DUP2, read_end, 0), (os.POSIX_SPAWN_DUP2, write_end, 1)]
        self._pid = os.posix_spawn(sys.executable, arguments, _environment(), file_actions=actions, setsid=True)
        os.close(read_end)
        os.close(write_end)
        self._stdin = stdin
        #: The greenlet that waits for the node to be ready.
        self._waiter: gevent.Greenlet | None = None
        os.write(stdin, text.encode() + b"\n")

    def await_ready(self) -> tuple[str, int]:
        """Wait until it accepts connections; returns its address. In a greenlet. Raises ConnectFailed."""
        text = b""
        self._waiter = gevent.getcurrent()
        with gevent.Timeout(START_LIMIT, ConnectFailed("the local node did not start in time")):
            while not text.endswith(b"\n"):
                socket.wait_read(self._stdout)
                more = os.read(self._stdout, 4096)
                if not more:
                    raise ConnectFailed("the local node could not start; see its message above")
                text += more
        self._waiter = None
        _, _, place = text.decode().strip().splitlines()[-1].partition("ready ")
        host, _, port = place.rpartition(":")
        return host, int(port)

    def close(self) -> None:
        """Stop it, and wait until it has exited."""
        if self._waiter is not None:
            # Before the descriptor is closed, since its number may be reused immediately.
            self._waiter.kill()
        with contextlib.suppress(OSError):
            os.close(self._stdin)
        self._end()
        # Last, because the node may be about to write that it is ready.
        with contextlib.suppress(OSError):
            os.close(self._stdout)

    def _end(self) -> None:
        for _ in range(500):
            if self._is_over():
                return
            gevent.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._is_over(wait=True)

    def _is_over(self, wait: bool = False) -> bool:
        try:
            return os.waitpid(self._pid, 0 if wait else os.WNOHANG)[0] != 0
        except ChildProcessError:  # Other code of this program has already waited for it.
            return True

    def forget_in_child(self) -> None:
        """This is a forked child: its copy of the pipe must not keep the node alive."""
        with contextlib.suppress(OSError):
            os.close(self._stdin)


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
