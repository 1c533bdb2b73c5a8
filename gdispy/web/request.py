"""Requests and answers of the page's server. Runs in the loop of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs

from gdispy.web.guard import Refused

#: Bytes of the body of a request.
BODY_LIMIT = 64 * 1024

#: The environment and the function of WSGI that starts an answer.
Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], object]

_REASONS = {
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    421: "Misdirected Request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

#: Sent with each answer. All that the page consists of comes from this server.
HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
]
#: The header of an answer after which the connection ends.
CLOSE = ("Connection", "close")
#: That of an answer that nothing keeps.
NO_STORE = ("Cache-Control", "no-store")


@dataclass(frozen=True)
class Request:
    """One request. Names of headers are in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    #: The address and the port of the other side.
    address: str
    port: str
    _input: Any = field(repr=False)

    @classmethod
    def of(cls, environ: Environ) -> Request:
        headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key[:5] == "HTTP_"}
        headers["content-type"] = environ.get("CONTENT_TYPE") or ""
        headers["content-length"] = environ.get("CONTENT_LENGTH") or ""
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True, max_num_fields=50, errors="replace")
        path, address = environ.get("PATH_INFO", "/"), environ.get("REMOTE_ADDR", "")
        port = environ.get("REMOTE_PORT", "")
        return cls(environ["REQUEST_METHOD"], path, query, headers, address, port, environ["wsgi.input"])

    def text(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return self.query.get(name, [default])[0]

    def number(self, name: str, default: int, least: int = 0, most: int = 1 << 53) -> int:
        """A whole number of the query. Raises Refused."""
        given = self.text(name)
        if not given:
            return default
        try:
            value = int(given)
        except ValueError:
            raise Refused(400, f"{name} must be a whole number") from None
        return max(least, min(value, most))

    def body(self) -> bytes:
        """Raises Refused if it is too large."""
        try:
            length = int(self.headers["content-length"] or 0)
        except ValueError:
            raise Refused(400, "the length of the request is not a number") from None
        if length > BODY_LIMIT:
            raise Refused(413, f"the request is larger than {BODY_LIMIT:,} bytes")
        if not length:
            return b""
        try:
            return bytes(self._input.read(BODY_LIMIT))
        except OSError:
            self._input.content_length = 0  # It is not waited for again.
            raise Refused(400, "the request is shorter than its Content-Length") from None

    def json(self) -> dict[str, Any]:
        """The body as an object of JSON. Raises Refused."""
        if self.headers["content-type"].partition(";")[0].strip().lower() != "application/json":
            raise Refused(400, "the request must be of the type application/json")
        try:
            found = json.loads(self.body())
        except (ValueError, RecursionError):
            raise Refused(400, "the request is not JSON") from None
        if not isinstance(found, dict):
            raise Refused(400, "the request must be an object")
        return found

    def form(self) -> dict[str, list[str]]:
        """The body as the fields of a form. Raises Refused."""
        try:
            return parse_qs(self.body().decode(), keep_blank_values=True, max_num_fields=2000)
        except ValueError:
            raise Refused(400, "the request is not a form") from None


@dataclass(frozen=True)
class Answer:
    """One answer: a body, or parts that are sent as they come."""

    body: bytes | Iterable[bytes]
    code: int = 200
    kind: str = "application/json"
    #: Besides `HEADERS`.
    headers: tuple[tuple[str, str], ...] = (NO_STORE,)

    def send(self, start: Start, has_body: bool = True) -> Iterable[bytes]:
        """Send it, without its body as the answer to HEAD. A refusal ends its connection, so that each refused request
        costs its sender a connection."""
        headers = [("Content-Type", self.kind), *HEADERS, *self.headers]
        if self.code >= 400:
            headers.append(CLOSE)
        if isinstance(self.body, bytes):
            headers.append(("Content-Length", str(len(self.body))))
        start(f"{self.code} {_REASONS[self.code]}", headers)
        if not has_body:
            return []
        return [self.body] if isinstance(self.body, bytes) else self.body


Action = TypeVar("Action")


def action_of(order: dict[str, Any], actions: Mapping[str, Action]) -> Action:
    """The action that the word `do` of an order names. Raises Refused."""
    word = order.get("do")
    if not isinstance(word, str) or word not in actions:
        raise Refused(400, f"do must be one of {', '.join(actions)}")
    return actions[word]


def json_answer(value: object, code: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer that scripts of the page read."""
    return Answer(dumps(value).encode(), code, headers=(NO_STORE, *headers))


def dumps(value: object) -> str:
    """JSON that stays valid with any text, also with halves of surrogate pairs, and that browsers can read: without
    NaN."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
