"""Talking to the web page of a program without a browser."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit


class PageClient:
    """A client of one page: with its token, or as a stranger."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self.host, self.port = parts.hostname, parts.port
        self.token = parts.fragment.removeprefix("token=")

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: object = None,
        headers: dict[str, str] | None = None,
        token: bool = True,
        within: float = 20,
    ) -> tuple[int, Any, dict[str, str]]:
        """The status, the answer (of JSON, else bytes), and its headers in lower case. No part of
        the answer may take longer than `within` seconds."""
        sent = {"Authorization": f"Bearer {self.token}"} if token else {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=within)
        try:
            connection.request(method, path, data, {**sent, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
            names = {name.lower(): value for name, value in answer.getheaders()}
            is_json = names.get("content-type") == "application/json" and content
            return answer.status, json.loads(content) if is_json else content, names
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, answer, _ = self.ask(path)
        assert status == 200, answer
        return answer

    def act(self, **order: object) -> tuple[int, Any]:
        return self.ask("/api/act", "POST", order)[:2]

    def raw(self, data: bytes, half_close: bool = True) -> bytes:
        """What is answered to these bytes."""
        with socket.create_connection((self.host, self.port), timeout=20) as sock:
            parts = []
            try:  # The server may have refused it and closed the connection already.
                sock.sendall(data)
                if half_close:
                    sock.shutdown(socket.SHUT_WR)
                while part := sock.recv(65536):
                    parts.append(part)
            except OSError:
                pass
            return b"".join(parts)

    def events(self, count: int) -> list[dict[str, Any]]:
        """The first live updates."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request("GET", "/api/events", headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            assert answer.status == 200 and answer.getheader("Content-Type") == "text/event-stream"
            found: list[dict[str, Any]] = []
            while len(found) < count:
                line = answer.readline()
                assert line, "the stream has ended"
                if line.startswith(b"data: "):
                    found.append(json.loads(line[6:]))
            return found
        finally:
            connection.close()
