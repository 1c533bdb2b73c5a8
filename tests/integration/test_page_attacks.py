"""What strangers, other sites and hostile requests get from the web page."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from gdispy.cli.certificate import make_certificate
from gdispy.errors import ConfigError
from gdispy.hub import Hub
from gdispy.transport.tls import tls_files
from gdispy.web import server as server_module
from gdispy.web.gauges import Gauge
from gdispy.web.guard import FAILURES, Refused
from gdispy.web.job_metrics import JobMetrics
from gdispy.web.request import BODY_LIMIT, Request
from gdispy.web.server import PageServer
from tests.support.pages import PageClient
from tests.support.waiting import eventually

SECRET_DATA = "what only the owner may see"


class FakeView:
    """A view with one value, and actions that are recorded."""

    def __init__(self, admin: bool = True) -> None:
        self.admin = admin
        self.orders: list[dict[str, Any]] = []
        self.fails = False
        self.value: object = SECRET_DATA

    def sections(self) -> dict[str, object]:
        if self.fails:
            raise ZeroDivisionError("a defect")
        return {"value": self.value}

    def jobs(self, request: Request) -> object:
        return {"from": request.number("from", 0), "q": request.text("q")}

    def timeline(self, since: int) -> object:
        return {"since": since}

    def history(self) -> object:
        return SECRET_DATA

    def act(self, order: dict[str, Any]) -> str:
        if order.get("do") == "refuse":
            raise Refused(400, "not possible")
        self.orders.append(order)
        return "done"


class Many:
    """Metrics whose text takes a while to make."""

    role = "program"

    def __init__(self) -> None:
        self.metrics = JobMetrics()

    def gauges(self) -> Iterable[Gauge]:
        return [Gauge("nodes", "Nodes.", ("state",), {(str(number),): 1.0 for number in range(1000)})]


class Made:
    def __init__(self, admin: bool = True, **options: Any) -> None:
        self.view = FakeView(admin)
        self.server = PageServer(self.view, options.pop("host", "127.0.0.1"), options.pop("port", 0), **options)
        Hub.get().call(self.server.start)
        self.client = PageClient(self.server.url)


@pytest.fixture
def made() -> Iterator[Made]:
    found = Made()
    yield found
    Hub.get().call(found.server.close)


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing that others do is written to standard error, which may be the log of a daemon."""
    yield
    assert "Traceback" not in capfd.readouterr().err


DATA = ["/api/state", "/api/jobs", "/api/timeline", "/api/history", "/api/events", "/api/session"]


@pytest.mark.parametrize("path", DATA)
def test_stranger_sees_nothing(made: Made, path: str) -> None:
    code, answer, _ = made.client.ask(path, token=False)
    assert code == 401 and SECRET_DATA not in json.dumps(answer)


def test_files_of_the_page_need_no_token_and_have_a_strict_policy(made: Made) -> None:
    for path, kind in (("/", "text/html"), ("/main.js", "text/javascript"), ("/page.css", "text/css")):
        code, content, headers = made.client.ask(path, token=False)
        assert code == 200 and content and headers["content-type"].startswith(kind)
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert made.client.ask(path, headers={"If-None-Match": headers["etag"]}, token=False)[0] == 304


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/..%2f..%2fpyproject.toml",
        "/vendor/../../server.py",
        "/%2e%2e/server.py",
        "//etc/passwd",
        "/....//server.py",
        "/vendor/LICENSE",
        "/index.html%00.js",
        "/assets/",
        "/..\\server.py",
        "/etc/passwd",
        "/vendor/",
    ],
)
def test_no_path_leads_out_of_the_files_of_the_page(made: Made, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = made.client.raw(request.encode())
    assert answer.split(b"\r\n")[0].split()[1] in (b"404", b"400"), answer
    assert b"root:" not in answer and b"import" not in answer


def test_cookie_of_a_login_shows_the_data_and_acts_only_with_its_key(made: Made) -> None:
    code, answer, headers = made.client.ask("/api/login", "POST", {"token": made.client.token}, token=False)
    assert code == 200 and "HttpOnly; SameSite=Strict" in headers["set-cookie"]
    cookie = {"Cookie": headers["set-cookie"].partition(";")[0]}
    assert made.client.ask("/api/state", headers=cookie, token=False)[0] == 401  # Servers at other ports get it, too.
    key = answer["page_key"]
    assert made.client.ask(f"/api/state?key={key}", headers=cookie, token=False)[1] == {"value": SECRET_DATA}
    assert made.client.ask(f"/api/act?key={key}", "POST", {"do": "cancel"}, cookie, token=False)[0] == 403
    order = {"do": "cancel"}
    assert made.client.ask("/api/act", "POST", order, cookie, token=False)[0] == 401
    wrong = {**cookie, "X-Gdispy-Page": "x" * 43}
    assert made.client.ask("/api/act", "POST", order, wrong, token=False)[0] == 401
    assert made.view.orders == []
    right = {**cookie, "X-Gdispy-Page": answer["page_key"]}
    assert made.client.ask("/api/act", "POST", order, right, token=False)[:2] == (200, {"done": "done"})
    assert made.view.orders == [order]


def test_wrong_tokens_are_refused_and_then_no_longer_compared(made: Made) -> None:
    for _ in range(FAILURES):
        assert made.client.ask("/api/login", "POST", {"token": "wrong"}, token=False)[0] == 403
    assert made.client.ask("/api/login", "POST", {"token": "wrong"}, token=False)[0] == 429
    assert made.client.ask("/api/state")[0] == 200  # On this machine all users have the same address.


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_address_gets_nothing(made: Made, host: str) -> None:
    code, answer, _ = made.client.ask("/api/state", headers={"Host": host})
    assert code == 421 and SECRET_DATA not in json.dumps(answer)


@pytest.mark.parametrize("path", ["/api/login", "/api/act"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_requests_of_other_sites_are_refused(made: Made, path: str, headers: dict[str, str]) -> None:
    body = {"token": made.client.token, "do": "cancel"}
    assert made.client.ask(path, "POST", body, headers)[0] == 403
    assert made.view.orders == []


def test_page_that_only_shows_refuses_actions() -> None:
    made = Made(admin=False)
    try:
        code, answer = made.client.act(do="cancel")
        assert code == 403 and "only shows" in answer["error"] and made.view.orders == []
    finally:
        Hub.get().call(made.server.close)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "HEAD"])
def test_actions_are_posts_only(made: Made, method: str) -> None:
    assert made.client.ask("/api/act", method)[0] == 405 and made.view.orders == []


@pytest.mark.parametrize(
    ("body", "headers", "wanted"),
    [
        (b"{", {}, 400),
        (b"[" * 20_000, {}, 400),
        (b"[1]", {}, 400),
        (b'"x"', {}, 400),
        (b"\xff\xfe{}", {}, 400),
        (b"do=cancel", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b'{"do": "cancel"}', {"Content-Type": "text/plain"}, 400),
        (b" " * (BODY_LIMIT + 1), {}, 413),
        (b'{"do": "refuse"}', {}, 400),
    ],
    ids=["half", "deep", "list", "text", "bytes", "form", "plain", "large", "refused"],
)
def test_hostile_bodies_are_refused_with_a_reason(
    made: Made, body: bytes, headers: dict[str, str], wanted: int
) -> None:
    code, answer, _ = made.client.ask("/api/act", "POST", body, headers)
    assert code == wanted and answer["error"]
    assert made.view.orders == []


@pytest.mark.parametrize("number", ["x", "1e3", "--1", "9" * 5000, "%00"])
def test_hostile_numbers_are_refused_or_bounded(made: Made, number: str) -> None:
    assert made.client.ask(f"/api/jobs?from={number}")[0] in (400, 414)
    assert made.client.get("/api/jobs?from=-5")["from"] == 0
    assert made.client.get(f"/api/jobs?from={1 << 60}")["from"] == 1 << 53


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\xff\x01" * 20,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 20000,
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
        b"GET /",
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["tls", "short", "version", "long", "zeros", "headers", "half", "length", "chunk"],
)
def test_garbage_ends_its_own_connection_only(made: Made, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    answer = made.client.raw(data)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert made.client.get("/api/state") == {"value": SECRET_DATA}
    assert "Traceback" not in capfd.readouterr().err


HEAD = "POST /api/act HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer "
NEXT = b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n"
FILE = b"GET /main.js HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "rest",
    [
        f"Content-Length: {BODY_LIMIT + 1}\r\n\r\n{{}}",
        "Content-Length: 2\r\nContent-Length: 70\r\n\r\n{}",
        "Content-Length: +2\r\n\r\n{}",
        "Content-Length: -2\r\n\r\n{}",
        "Content-Length: 1_0\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["large", "two", "plus", "minus", "underscore", "chunked", "both"],
)
def test_request_whose_length_is_wrong_ends_its_connection(made: Made, rest: str) -> None:
    answer = made.client.raw(f"{HEAD}{made.client.token}\r\n{rest}".encode() + NEXT, half_close=False)
    # Nothing, if the rest has arrived only when the connection was closed.
    assert answer == b"" or (answer.startswith(b"HTTP/1.1 4") and answer.count(b"HTTP/1.1") == 1), answer
    assert made.view.orders == []


def test_request_whose_rest_does_not_come_is_refused_and_its_connection_ends(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server_module, "SLOWEST", 0.3)
    made = Made()
    try:
        for half_close in (False, True):
            head = f"{HEAD}{made.client.token}\r\nContent-Length: 20\r\n\r\n{{}}".encode()
            answer = made.client.raw(head, half_close)
            assert answer.startswith(b"HTTP/1.1 400") and b"shorter than its Content-Length" in answer
            assert b"connection: close" in answer.lower()
        assert made.view.orders == [] and capfd.readouterr().err == ""
    finally:
        Hub.get().call(made.server.close)


def test_connection_that_sends_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SLOWEST", 0.2)
    made = Made()
    try:
        assert made.client.raw(b"GET / HTTP/1.1\r\nHost: lo", half_close=False)[:12] in (b"", b"HTTP/1.1 400")
        assert made.client.raw(b"", half_close=False) == b""
    finally:
        Hub.get().call(made.server.close)


def test_text_of_jobs_is_sent_as_json_that_no_browser_takes_for_html(made: Made) -> None:
    made.view.value = "<script>alert(1)</script>\u2028\ud800\x00"
    code, answer, headers = made.client.ask("/api/state")
    assert (code, answer["value"]) == (200, made.view.value)
    assert headers["content-type"] == "application/json" and headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_defect_is_logged_and_its_text_stays_here(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.view.fails = True
    code, answer, _ = made.client.ask("/api/state")
    assert code == 500 and "ZeroDivisionError" not in json.dumps(answer) and "see the log" in answer["error"]
    assert "ZeroDivisionError" in caplog.text


def test_update_has_only_what_this_browser_does_not_have_yet(made: Made) -> None:
    assert made.client.events(1) == [{"value": SECRET_DATA}]
    assert made.client.events(1) == [{"value": SECRET_DATA}]


def test_more_streams_than_allowed_are_told_to_poll(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "STREAMS", 0)
    assert made.client.ask("/api/events")[0] == 503
    assert made.client.get("/api/state") == {"value": SECRET_DATA}


def test_closed_page_answers_no_more() -> None:
    made = Made()
    port = made.client.port
    Hub.get().call(made.server.close)
    Hub.get().call(made.server.close)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_port_in_use_is_named(made: Made) -> None:
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{made.client.port}: .*choose another port"):
        Made(port=made.client.port)
    for port in (-1, 65536, "80", True):
        with pytest.raises(ConfigError, match="must be a number"):
            Made(port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.5", "lab.example"])
def test_network_without_tls_is_refused_with_the_way_out(host: str) -> None:
    with pytest.raises(ConfigError, match=r"certfile and keyfile.*ssh -L"):
        PageServer(FakeView(), host, 0)


def test_network_with_a_certificate_is_served_over_tls_only(tmp_path: Any) -> None:
    certfile, keyfile = make_certificate(str(tmp_path), "localhost")
    tls = tls_files(certfile, keyfile, True, "")
    made = Made(host="127.0.0.1", tls=tls)
    assert made.server.url.startswith("http://127.0.0.1:")
    Hub.get().call(made.server.close)
    # All addresses of this machine; the test connects to that of the loopback interface.
    made = Made(host="0.0.0.0", tls=tls)
    try:
        assert made.server.url.startswith("https://")
        port = made.server._port
        context = ssl.create_default_context(cafile=certfile)
        context.check_hostname = False
        body = json.dumps({"token": made.server.token}).encode()
        head = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            answer = eventually(lambda: sock.recv(65536))
        assert answer.startswith(b"HTTP/1.1 200") and b"; Secure" in answer
        client = PageClient(f"http://127.0.0.1:{port}/#token=x")
        assert b"200 OK" not in client.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    finally:
        Hub.get().call(made.server.close)


def test_silent_connections_do_not_keep_out_others(made: Made) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(200):
            sock = stack.enter_context(socket.create_connection((made.client.host, made.client.port), timeout=20))
            if number % 2:
                sock.sendall(b"GET /api/state HTTP/1.1\r\nHost:")
        assert made.client.ask("/api/state")[0] == 200


REFUSED = {
    "no token": b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "wrong token": b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n",
    "another host": b"GET /api/state HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "no such path": b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "method": b"HEAD /api/act HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/1.0": b"GET /none HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
}


@pytest.mark.parametrize("request_text", REFUSED.values(), ids=list(REFUSED))
def test_refusal_ends_its_connection(made: Made, request_text: bytes) -> None:
    answer = made.client.raw(request_text * 50, half_close=False)
    assert answer.startswith(b"HTTP/1.1 4") and answer.count(b"HTTP/1.1 4") == 1
    assert b"\r\nconnection: close\r\n" in answer.lower() and b"keep-alive" not in answer.lower()


METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("request_text", [METRICS, NEXT, FILE], ids=["metrics", "refused", "file"])
def test_many_requests_of_strangers_who_do_not_read_do_not_keep_out_the_owner(request_text: bytes) -> None:
    made = Made(source=Many())
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                sock = stack.enter_context(socket.create_connection((made.client.host, made.client.port), timeout=20))
                with contextlib.suppress(OSError):  # It may have been closed already.
                    sock.sendall(request_text * 400)
            assert made.client.ask("/api/state", within=5)[0] == 200
            assert made.client.ask("/metrics", within=5)[0] == 200
    finally:
        Hub.get().call(made.server.close)


def test_stranger_who_does_not_read_is_closed_soon(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SLOWEST_STRANGER", 0.2)
    with socket.create_connection((made.client.host, made.client.port), timeout=20) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(20)
        # Without an end, its sender sees that it is no longer read, and then that it is closed.
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                sock.sendall(FILE * 100)


def test_connections_that_do_not_begin_tls_do_not_keep_out_others(tmp_path: Any) -> None:
    certfile, keyfile = make_certificate(str(tmp_path), "localhost")
    made = Made(host="0.0.0.0", tls=tls_files(certfile, keyfile, True, ""))
    context = ssl.create_default_context(cafile=certfile)
    context.check_hostname = False
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", made.server._port), timeout=20))
            connection = http.client.HTTPSConnection("127.0.0.1", made.server._port, timeout=5, context=context)
            with contextlib.closing(connection):
                connection.request("GET", "/api/state", headers={"Authorization": f"Bearer {made.server.token}"})
                assert connection.getresponse().status == 200
    finally:
        Hub.get().call(made.server.close)


def test_connection_that_does_not_begin_tls_is_closed_soon(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SLOWEST_STRANGER", 0.2)
    made = Made(host="0.0.0.0", tls=tls_files(*make_certificate(str(tmp_path), "localhost"), True, ""))
    try:
        with socket.create_connection(("127.0.0.1", made.server._port), timeout=20) as sock:
            assert sock.recv(1) == b""
    finally:
        Hub.get().call(made.server.close)
