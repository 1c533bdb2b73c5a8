"""Honest newcomers: connects as real programs do, again and again while it is told to, and asks how the daemon stands.

Its own process, on one gevent loop. Standard input: 'go NAME SECONDS' (a try every so many seconds) and 'stop'; it ends
when that ends. Prints a line of JSON for each try. A newcomer that is turned away tries again, as programs do, until
its time is over.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import sys
import time
from typing import Any

import gevent
import gevent.event
from gevent import socket

from gdispy import config
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.net import connect
from gdispy.protocol.identity import SEED_BYTES, Identity
from gdispy.protocol.messages import Hello, Overview, OverviewRequest
from gdispy.transport.connection import Handlers
from gdispy.transport.credentials import find_secret, with_tls

#: Seconds within which a newcomer is to be served, and between two attempts within them.
SERVED_WITHIN = 2.0
AGAIN_AFTER = 0.1


class Newcomers:
    """The tries, one after the other."""

    def __init__(self, todo: dict[str, Any]) -> None:
        self._targets = todo["targets"]
        self._secret = find_secret("", todo["secret_file"])
        self._name = ""
        self._interval = 1.0
        self._changed = gevent.event.Event()
        self._over = False

    def obey(self) -> None:
        rest = b""
        while not self._over:
            socket.wait_read(0)
            data = os.read(0, 4096)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                word, *values = line.decode().split()
                self._name, self._interval = (values[0], float(values[1])) if word == "go" else ("", 1.0)
            self._over = not data
            self._changed.set()

    def run(self) -> None:
        while not self._over:
            if not self._name:
                self._changed.wait(1.0)
                self._changed.clear()
                continue
            began = time.monotonic()
            self._try(self._name)
            self._changed.clear()
            self._changed.wait(max(0.001, self._interval - (time.monotonic() - began)))

    def _try(self, name: str) -> None:
        began, attempts, served, why = time.monotonic(), 0, False, ""
        with gevent.Timeout(SERVED_WITHIN, False):
            while not served:
                attempts += 1
                try:
                    self._visit(self._targets[name])
                    served = True
                except (ConnectFailed, PeerRejected, OSError) as error:
                    why = str(error)
                    self._changed.wait(AGAIN_AFTER)
        took = time.monotonic() - began
        row = {"name": name, "served": served, "seconds": took, "attempts": attempts, "why": why[:200]}
        print(json.dumps(row), flush=True)

    def _visit(self, target: dict[str, Any]) -> None:
        answer = gevent.event.AsyncResult()

        def on_messages(connection: Any, messages: list[Any]) -> None:
            if any(isinstance(each, Overview) for each in messages):
                answer.set(True)

        def on_closed(connection: Any, reason: str) -> None:
            answer.set_exception(ConnectFailed(reason))

        secret = with_tls(self._secret, target["certfile"], target["keyfile"])
        roles = target["roles"].encode()
        host, port = target["place"]
        handlers = Handlers(on_messages, on_closed)
        connection = connect(host, port, self._secret.for_tcp(), roles, handlers, tls=secret.tls)
        connection.start()
        try:
            identity = Identity(secrets.token_bytes(SEED_BYTES))
            ours = (identity.instance, platform.node() or "new", config.VERSION, config.PYTHON)
            connection.introduce(Hello(roles.decode().partition(">")[0], *ours, sys.platform, 0, "", 0.0), identity)
            connection.send(OverviewRequest(1))
            answer.get()
        finally:
            connection.close("asked and answered")


def main() -> None:
    newcomers = Newcomers(json.loads(sys.argv[1]))
    gevent.spawn(newcomers.obey)
    print("ready", flush=True)
    newcomers.run()


if __name__ == "__main__":
    main()
