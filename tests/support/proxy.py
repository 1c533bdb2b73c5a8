"""A TCP proxy between a client and a node, which the test cuts, holds and damages."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable


class Proxy:
    """Passes connections on to `goal`. `change` may replace, or drop, each piece on its way to the node."""

    def __init__(self, goal: tuple[str, int]) -> None:
        self.goal = goal
        self.connections = 0
        #: Connections that were taken and closed, since nobody was behind.
        self.turned_away = 0
        self.change: Callable[[bytes], bytes] = lambda data: data
        #: Seconds that each piece is late.
        self.delay = 0.0
        #: Swallow what goes to the node, or what comes from it: the connection stays open.
        self.swallow_to = self.swallow_from = False
        #: Accept connections and do nothing more.
        self.is_hole = False
        self._swallowed: list[socket.socket] = []
        #: Cut each connection after this many bytes in either direction; 0 never.
        self.cut_after = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.place: tuple[str, int] = self._server.getsockname()
        self._open: list[socket.socket] = []
        #: New connections are broken at once.
        self.is_blocked = False
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, without a goodbye."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def reset(self) -> None:
        """Break all connections with a reset, as a firewall does that has forgotten them."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    # Threads that read from it would keep it open.
                    sock.shutdown(socket.SHUT_RD)
        self.cut()

    def block(self) -> None:
        """Break all connections, and each new one, until `unblock`."""
        self.is_blocked = True
        self.cut()

    def unblock(self) -> None:
        self.is_blocked = False

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for sock in self._swallowed:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.is_blocked:
                client.close()
                continue
            if self.is_hole:
                with self._lock:
                    self._swallowed.append(client)
                continue
            try:
                node = socket.create_connection(self.goal)
            except OSError:
                client.close()
                self.turned_away += 1
                continue
            with self._lock:
                is_late = self.is_blocked
                self._open += [] if is_late else [client, node]
            if is_late:  # `block` has come meanwhile, and has not seen it.
                client.close()
                node.close()
                continue
            self.connections += 1
            ends = [2]
            for source, goal, change in ((client, node, True), (node, client, False)):
                threading.Thread(target=self._pass, args=(source, goal, change, ends), daemon=True).start()

    def _pass(self, source: socket.socket, goal: socket.socket, change: bool, ends: list[int]) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if self.cut_after and passed > self.cut_after:
                    break
                if self.delay:
                    time.sleep(self.delay)
                if not (self.swallow_to if change else self.swallow_from):
                    goal.sendall(self.change(data) if change else data)
        for sock in (source, goal):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        with self._lock:
            ends[0] -= 1
            if not ends[0]:
                source.close()
                goal.close()
