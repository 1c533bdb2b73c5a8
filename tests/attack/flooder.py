"""One flooding process: strangers come as fast as they can. argv: what to do, as JSON.

Prints how many came and were cut off, as JSON, when its time is over. It holds a bounded number of connections.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import socket
import ssl
import sys
import time
from collections import deque
from typing import Any

from gdispy.protocol.handshake import MAGIC
from tests.attack.peer import abort, some_source

#: Connections that are held at once, of those that say something and of those that are silent.
HELD, HELD_SILENT = 64, 500
#: Connections of one flood at most.
MOST = 2_000_000


def client_hello() -> bytes:
    """The first message of somebody who speaks TLS and has no secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    out = ssl.MemoryBIO()
    tunnel = context.wrap_bio(ssl.MemoryBIO(), out)
    with contextlib.suppress(ssl.SSLWantReadError):
        tunnel.do_handshake()
    return out.read()


class Flood:
    """One kind of stranger. Kinds: close, silent, garbage, magic, hello, half."""

    def __init__(self, kind: str, chance: random.Random) -> None:
        self._kind = kind
        self._chance = chance
        self._hellos = [client_hello() for _ in range(30)] if kind in ("hello", "half") else []
        self.held: deque[socket.socket] = deque()
        self._most = HELD if kind not in ("silent", "half") else HELD_SILENT

    def words(self) -> bytes:
        """What a stranger says."""
        if self._kind == "garbage":
            return self._chance.randbytes(self._chance.choice((1, 7, 64, 1500)))
        if self._kind == "magic":
            return MAGIC + self._chance.randbytes(self._chance.choice((3, 56, 400)))
        if self._kind == "hello":
            return self._chance.choice(self._hellos)
        if self._kind == "half":
            hello = self._chance.choice(self._hellos)
            return hello[: self._chance.randrange(1, len(hello))]
        return b""

    def come(self, place: tuple[str, int], source: str) -> bool:
        """One more stranger; whether it was let as far as the listener's queue."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(0.5)
        try:
            if source:
                sock.bind((source, 0))
            sock.connect(place)
            words = self.words()
            if words:
                sock.sendall(words)
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRNOTAVAIL:
                self.drop(len(self.held))
            return False
        if self._kind == "close":
            abort(sock)
        else:
            self.held.append(sock)
            self.drop(len(self.held) - self._most)
        return True

    def drop(self, count: int) -> None:
        for _ in range(count):
            abort(self.held.popleft())


def main() -> None:
    todo: dict[str, Any] = json.loads(sys.argv[1])
    chance = random.Random(todo["seed"])
    flood = Flood(todo["kind"], chance)
    place = (todo["place"][0], todo["place"][1])
    counts = {"came": 0, "failed": 0}
    until = time.monotonic() + todo["seconds"]
    for _ in range(MOST):
        if time.monotonic() >= until or os.getppid() != todo["parent"]:
            break
        source = some_source(chance) if todo["many"] else ""
        counts["came" if flood.come(place, source) else "failed"] += 1
    flood.drop(len(flood.held))
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
