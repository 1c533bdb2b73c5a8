"""The server of the page: routes, live updates, and the sockets.

It runs in one loop, that of the thread that calls `start`. What it shows comes from a `View`.

Invariants:
1. Without a session there are only the files of the page, which contain nothing of the jobs.
2. An action needs a view that allows it, a session, and its key in a header.
3. A browser that reads slowly delays only itself: each stream is made when its browser has taken the previous part.
4. What is sent does not depend on other browsers: each stream knows what its browser has.
5. Those without a session or a token cannot keep out others: they have at most `STRANGERS` connections, of which the
   oldest is closed, each has one refusal, and answers take turns.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import secrets
import socket as native_socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent import socket, ssl
from gevent.pywsgi import WSGIHandler, WSGIServer

from gdispy import config
from gdispy.errors import ConfigError
from gdispy.protocol.address import Address
from gdispy.runtime.limited_log import LimitedLog
from gdispy.transport.interfaces import main_address
from gdispy.transport.tls import Tls
from gdispy.web import assets
from gdispy.web.guard import KEY_BYTES, Guard, Refused
from gdispy.web.request import BODY_LIMIT, CLOSE, NO_STORE, Answer, Environ, Request, Start, dumps, json_answer

if TYPE_CHECKING:
    from gdispy.web.metrics import Source

logger = logging.getLogger("gdispy")

#: Seconds between two updates of a browser, and after which an unchanged page is told that the server is alive.
UPDATE_INTERVAL = 1.0
ALIVE_INTERVAL = 5.0
#: Live streams at the same time; further browsers poll. And connections at the same time.
STREAMS = 32
CONNECTIONS = 128
#: Of these connections, those without a session.
STRANGERS = 64
#: Connections that may wait to be accepted.
BACKLOG = 1024
#: Seconds that a connection may take to send a request, or to take a part of an answer.
SLOWEST = 30.0
#: The same for one without a session to take a part of an answer, and for any to begin TLS.
SLOWEST_STRANGER = 5.0
#: Seconds for which the text of the metrics is kept, and the number of formats of which it is made meanwhile.
METRICS_INTERVAL = 1.0
FORMATS = 4


class View(Protocol):
    """What a page shows. All methods are called in the loop of the server; they must not take long."""

    #: Whether the actions are allowed.
    admin: bool

    def sections(self) -> dict[str, object]:
        """The parts of the page that are sent when they have changed, as values of JSON."""

    def jobs(self, request: Request) -> object:
        """A page of a list of jobs."""

    def timeline(self, since: int) -> object:
        """Jobs that have ended, from the number `since`."""

    def history(self) -> object:
        """Samples of the counts, for the chart."""

    def act(self, order: dict[str, Any]) -> str:
        """Perform an action; returns what has happened. Raises Refused."""


Route = Callable[[Request], Answer]


class _Strangers:
    """Connections that have not shown a session, by address and port. When there are too many, the oldest is closed,
    so that those who send nothing do not keep out others."""

    def __init__(self) -> None:
        self._sockets: OrderedDict[tuple[str, str], socket.socket] = OrderedDict()

    def add(self, place: tuple[str, str], sock: socket.socket) -> None:
        self._sockets[place] = sock
        if len(self._sockets) > STRANGERS:
            _, oldest = self._sockets.popitem(last=False)
            with contextlib.suppress(OSError):
                # Not the method of a socket of TLS, which takes its state from a greenlet that waits for it.
                socket.socket.shutdown(oldest, native_socket.SHUT_RDWR)

    def remove(self, place: tuple[str, str]) -> None:
        self._sockets.pop(place, None)

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._sockets


class _Metrics:
    """The text of the metrics, made once for all that read it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        #: By content type.
        self._texts: dict[str, bytes] = {}
        self._until = 0.0

    def text(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type; `accept` is the header of the request. Raises Refused."""
        try:  # An extra.
            from prometheus_client.exposition import choose_encoder

            from gdispy.web.metrics import exposition
        except ImportError:
            raise Refused(404, "metrics need prometheus_client: pip install 'gdispy[metrics]'") from None
        now = time.monotonic()
        if now >= self._until:
            self._texts.clear()
            self._until = now + METRICS_INTERVAL
        try:
            kind = choose_encoder(accept)[1]
        except (TypeError, ValueError):  # A version that is no number.
            accept, kind = "", choose_encoder("")[1]
        if kind not in self._texts and len(self._texts) >= FORMATS:
            accept, kind = "", choose_encoder("")[1]  # Content types have versions, of which there are many.
        if kind not in self._texts:
            self._texts[kind], _ = exposition(self._source, accept)
        return self._texts[kind], kind


class _Handler(WSGIHandler):  # type: ignore[misc]
    """A connection: what is wrong with it is not written to standard error."""

    def __init__(self, strangers: _Strangers, sock: socket.socket, address: tuple[object, ...], server: object) -> None:
        super().__init__(sock, address, server)
        self._strangers, self._place = strangers, (str(address[0]), str(address[1]))

    def handle(self) -> None:
        self.socket.settimeout(SLOWEST)
        self._strangers.add(self._place, self.socket)
        try:
            if isinstance(self.socket, ssl.SSLSocket):
                with gevent.Timeout(SLOWEST_STRANGER, TimeoutError("it has not begun TLS")):
                    self.socket.do_handshake()
            super().handle()
        except OSError as error:  # The other side has left, or has not begun TLS.
            logger.debug("page: %s: %s", self._place[0], error)
        finally:
            self._strangers.remove(self._place)

    def handle_one_request(self) -> Any:
        result = super().handle_one_request()
        if result is True:
            gevent.sleep(0)  # What has been sent with this request is answered after requests of others.
        return result

    def _sendall(self, data: bytes) -> None:
        self.socket.settimeout(SLOWEST_STRANGER if self._place in self._strangers else SLOWEST)
        try:
            super()._sendall(data)
        finally:
            self.socket.settimeout(SLOWEST)

    def read_request(self, raw_requestline: str) -> Any:
        # What is raised here, but no ValueError, pywsgi writes to standard error.
        try:
            with gevent.Timeout(SLOWEST, ValueError("the request took too long")):
                is_valid = super().read_request(raw_requestline)
        except (OSError, http.client.HTTPException) as error:
            raise ValueError(str(error)) from None
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) > 1 or not all(each.isascii() and each.isdecimal() for each in lengths):
            raise ValueError("the length of the request is not clear")
        return is_valid

    def get_environ(self) -> Any:
        """A body that is too large, or whose length is not told, is not read: its connection ends, since what follows
        would be taken for the next request."""
        environ = super().get_environ()
        environ["wsgi.input"] = body = self.wsgi_input  # Also if another protocol is asked for.
        if body.chunked_input or (body.content_length or 0) > BODY_LIMIT:
            body.chunked_input, body.content_length, self.close_connection = False, 0, True
        return environ

    def finalize_headers(self) -> None:
        super().finalize_headers()
        if self.close_connection and not any(name.lower() == b"connection" for name, _ in self.response_headers):
            self.response_headers.append((b"Connection", b"close"))

    def log_error(self, msg: str, *args: object) -> None:
        logger.debug("page: " + msg, *args)

    def handle_error(self, t: Any, v: BaseException, tb: Any) -> None:
        self.close_connection = True
        if not isinstance(v, OSError | gevent.GreenletExit):
            logger.error("gdispy: a defect in the server of the page", exc_info=(t, v, tb))


class _Server(WSGIServer):  # type: ignore[misc]
    """What is wrong with TLS is not written to standard error."""

    def wrap_socket_and_handle(self, client_socket: socket.socket, address: tuple[object, ...]) -> None:
        try:
            super().wrap_socket_and_handle(client_socket, address)
        except OSError as error:
            logger.debug("page: %s: %s", address[0], error)


class PageServer:
    """One page at one address. `start` and `close` are called in the loop that serves it."""

    def __init__(
        self,
        view: View,
        host: str,
        port: int,
        tls: Tls | None = None,
        token: str = "",
        source: Source | None = None,
        metrics_token: str = "",
    ) -> None:
        """Raises ConfigError for an address that would show the page to the network without TLS. `source` has the
        metrics. Without `metrics_token` they are for programs on this machine, and for those that have the token of the
        page."""
        self._view, self._is_closed, self._streams = view, False, 0
        self._is_local = config.is_loopback(host)
        self._tls = None if self._is_local else _for_network(tls, host)
        self._host, self._port = host, port
        self.token = token or secrets.token_urlsafe(KEY_BYTES)
        self._metrics_of, self._metrics_token = None if source is None else _Metrics(source), metrics_token
        self._assets = assets.load()
        self._texts: dict[str, str] = {}
        self._texts_until = 0.0
        self._log = LimitedLog(logger)
        self._strangers = _Strangers()
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "/api/session"): lambda request: json_answer({}),
            ("GET", "/api/state"): self._state,
            ("GET", "/api/events"): self._events,
            ("GET", "/api/jobs"): lambda request: json_answer(view.jobs(request)),
            ("GET", "/api/timeline"): lambda request: json_answer(view.timeline(request.number("since", 0))),
            ("GET", "/api/history"): lambda request: json_answer(view.history()),
            ("POST", "/api/act"): self._act,
        }
        #: Routes that decide themselves who may use them.
        self._open_routes: dict[tuple[str, str], Route] = {
            ("POST", "/api/login"): self._log_in,
            ("GET", "/metrics"): self._metrics,
            ("HEAD", "/metrics"): self._metrics,
        }

    def add_routes(self, routes: dict[tuple[str, str], Route]) -> None:
        """Routes by method and path. A POST among them is an action."""
        self._routes.update(routes)

    def start(self) -> None:
        """Listen. Raises ConfigError if that is not possible."""
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        name = self._shown_host()
        own = frozenset({self._host, name, native_socket.gethostname(), native_socket.getfqdn()} - {""})
        self._guard = Guard(self.token, f"gdispy-{self._port}", self._tls is not None, own)
        options: dict[str, object] = {}
        if self._tls is not None:  # The handler begins TLS, as one of the strangers.
            options = {"ssl_context": self._tls.for_servers, "do_handshake_on_connect": False}
        self._server = _Server(
            listener,
            self._serve,
            log=None,
            error_log=None,
            handler_class=partial(_Handler, self._strangers),
            spawn=CONNECTIONS,
            **options,
        )
        self._server.start()

    @property
    def address(self) -> str:
        """The URL without the token."""
        return f"{'https' if self._tls is not None else 'http'}://{Address(self._shown_host(), self._port)}/"

    @property
    def url(self) -> str:
        """The URL with the token, in the part that browsers do not send."""
        return f"{self.address}#token={self.token}"

    def _shown_host(self) -> str:
        return self._host if self._host not in ("0.0.0.0", "::", "") else main_address()

    def close(self) -> None:
        """End. Browsers are told."""
        if self._is_closed:
            return
        self._is_closed = True
        self._server.close()
        until = time.monotonic() + 2 * UPDATE_INTERVAL
        while self._streams and time.monotonic() < until:
            gevent.sleep(UPDATE_INTERVAL / 20)
        self._server.stop(timeout=0)

    def forget_in_child(self) -> None:
        """In a forked child: close its copy of the socket. The loop belongs to the parent."""
        with contextlib.suppress(OSError):
            os.close(self._server.socket.fileno())

    # Requests

    def _serve(self, environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            answer = self._answer(Request.of(environ))
        except Refused as refusal:
            answer = json_answer({"error": refusal.reason}, refusal.code)
        except Exception as error:
            self._log.log_failure(logging.ERROR, type(error), error, "gdispy: a defect in the page")
            answer = json_answer({"error": "the page has failed, see the log of gdispy"}, 500)
        return answer.send(start, environ["REQUEST_METHOD"] != "HEAD")

    def _answer(self, request: Request) -> Answer:
        own = self._open_routes.get((request.method, request.path))
        if own is not None:
            return own(request)
        self._guard.check_source(request.headers)
        found = self._assets.get(request.path)
        if found is not None and request.method in ("GET", "HEAD"):
            return _file(found, request)
        route = self._routes.get((request.method, request.path))
        if route is None:
            raise Refused(*self._why_none(request))
        self._check(request)
        return route(request)

    def _why_none(self, request: Request) -> tuple[int, str]:
        paths = {path for _, path in (*self._routes, *self._open_routes)}
        if request.path in paths or request.path in self._assets:
            return 405, f"{request.method} is not possible here"
        return 404, "there is nothing here"

    def _check(self, request: Request) -> None:
        session = self._guard.session(request.headers, request.text("key"), request.address, time.monotonic())
        self._strangers.remove((request.address, request.port))
        if request.method != "GET":
            self._guard.check_action(session, request.headers)

    def _log_in(self, request: Request) -> Answer:
        self._guard.check_source(request.headers)
        token = request.json().get("token")
        if not isinstance(token, str):
            raise Refused(400, "the token is missing")
        session = self._guard.log_in(token, request.address, time.monotonic())
        cookie = ("Set-Cookie", self._guard.cookie_of(session))
        return json_answer({"page_key": session.page_key}, headers=(cookie,))

    def _metrics(self, request: Request) -> Answer:
        has_token = self._guard.check_reader(request.headers, self._metrics_token, request.address, time.monotonic())
        if has_token:
            self._strangers.remove((request.address, request.port))
        if self._metrics_of is None:
            raise Refused(404, "this page has no metrics")
        text, kind = self._metrics_of.text(request.headers.get("accept", ""))
        return Answer(text, kind=kind, headers=(NO_STORE,) if has_token else (NO_STORE, CLOSE))

    def _act(self, request: Request) -> Answer:
        if not self._view.admin:
            raise Refused(403, "this page only shows: actions must be allowed where it is started")
        done = self._view.act(request.json())
        self._texts_until = 0.0
        return json_answer({"done": done})

    # Updates

    def texts(self) -> dict[str, str]:
        """The sections of the view as JSON, made once for all browsers."""
        now = time.monotonic()
        if now >= self._texts_until:
            self._texts = {name: dumps(value) for name, value in self._view.sections().items()}
            self._texts_until = now + UPDATE_INTERVAL / 2
        return self._texts

    def _state(self, request: Request) -> Answer:
        return Answer(_object(self.texts()).encode())

    def _events(self, request: Request) -> Answer:
        if self._streams >= STREAMS or self._is_closed:
            raise Refused(503, "too many pages are open: this one asks from time to time")
        headers = (NO_STORE, ("X-Accel-Buffering", "no"))
        return Answer(self._stream(), kind="text/event-stream", headers=headers)

    def _stream(self) -> Iterator[bytes]:
        self._streams += 1
        try:
            sent: dict[str, str] = {}
            last = 0.0
            while not self._is_closed:
                texts = self.texts()
                changed = {name: text for name, text in texts.items() if sent.get(name) != text}
                if changed:
                    yield f"event: state\ndata: {_object(changed)}\n\n".encode()
                elif time.monotonic() - last > ALIVE_INTERVAL:
                    yield b"event: alive\ndata: {}\n\n"
                else:
                    gevent.sleep(UPDATE_INTERVAL)
                    continue
                sent, last = dict(texts), time.monotonic()
                gevent.sleep(UPDATE_INTERVAL)
            yield b"event: end\ndata: {}\n\n"
        finally:
            self._streams -= 1


def _object(texts: dict[str, str]) -> str:
    return "{" + ",".join(f"{dumps(name)}:{text}" for name, text in texts.items()) + "}"


def _file(found: assets.Asset, request: Request) -> Answer:
    headers = (("Cache-Control", "no-cache"), ("ETag", found.tag))
    if request.headers.get("if-none-match") == found.tag:
        return Answer(b"", 304, found.kind, headers)
    return Answer(found.content, 200, found.kind, headers)


def _for_network(tls: Tls | None, host: str) -> Tls:
    if tls is None or tls.for_servers is None:
        raise ConfigError(
            f"the page would be readable on the network at {host or 'all addresses'}: give certfile and keyfile, so "
            "that it is served over TLS, or serve it on 127.0.0.1 and forward the port, as in "
            "ssh -L 8181:127.0.0.1:8181 HOST"
        )
    return tls


def _listen(host: str, port: int) -> socket.socket:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port < 65536:
        raise ConfigError(f"the port of the page must be a number from 0 (any free port) to 65535, not {port!r}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"the page cannot be served at {host!r}: {error}") from None
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        text = f"the page cannot be served at {Address(host, port)}: {error.strerror}"
        raise ConfigError(f"{text}; choose another port, or 0 for any free one") from None
    return listener
