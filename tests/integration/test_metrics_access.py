"""Who gets the metrics of a page, and what they give access to."""

from __future__ import annotations

import contextlib
import http.client
import sys
from collections.abc import Iterable, Iterator

import pytest

from gdispy import JobCluster
from gdispy.hub import Hub
from gdispy.web import server as server_module
from gdispy.web.gauges import Gauge, single
from gdispy.web.guard import FAILURES
from gdispy.web.job_metrics import JobMetrics
from gdispy.web.server import PageServer
from tests.integration.test_page_attacks import FakeView

TOKEN = "token-of-the-metrics"


class Figures:
    """A source with one figure."""

    role = "program"

    def __init__(self) -> None:
        self.metrics = JobMetrics()
        self.reads = 0

    def gauges(self) -> Iterable[Gauge]:
        self.reads += 1
        return [single("cpus", "CPUs.", 5)]


@contextlib.contextmanager
def served(source: Figures | None, token: str) -> Iterator[PageServer]:
    made = PageServer(FakeView(), "127.0.0.1", 0, None, "token-of-the-page", source, token)
    Hub.get().call(made.start)
    try:
        yield made
    finally:
        Hub.get().call(made.close)


def connected(made: PageServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", int(made.address.rstrip("/").rpartition(":")[2]), timeout=20)


def ask(made: PageServer, path: str = "/metrics", **headers: str) -> tuple[int, str]:
    with contextlib.closing(connected(made)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_metrics_need_no_token_on_this_machine_if_none_was_given() -> None:
    with served(Figures(), "") as made:
        code, text = ask(made)
        assert code == 200 and "gdispy_cpus 5.0\n" in text
        assert ask(made, Host="evil.example")[0] == 421
        assert ask(made, Origin="http://evil.example")[0] == 403
        assert ask(made, **{"X-Forwarded-For": "10.0.0.5"})[0] == 401
        assert ask(made, "/api/state")[0] == 401


def test_token_of_the_metrics_gives_access_to_nothing_else() -> None:
    with served(Figures(), TOKEN) as made:
        assert ask(made)[0] == 401
        assert ask(made, Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(made, Authorization="Bearer token-of-the-page")[0] == 200
        for path in ("/api/state", "/api/jobs", "/api/events"):
            assert ask(made, path, Authorization=f"Bearer {TOKEN}")[0] in (401, 403)


def test_guesses_do_not_lock_out_prometheus() -> None:
    with served(Figures(), TOKEN) as made:
        codes = [ask(made, Authorization="Bearer x")[0] for _ in range(FAILURES + 2)]
        assert codes == [403] * FAILURES + [429, 429]
        assert ask(made, Authorization=f"Bearer {TOKEN}")[0] == 200


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(None, "") as made:
        assert ask(made) == (404, '{"error":"this page has no metrics"}')
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "gdispy.web.metrics", raising=False)
    with served(Figures(), "") as made:
        code, text = ask(made)
        assert code == 404 and "pip install 'gdispy[metrics]'" in text


def square(number: int) -> int:
    return number * number


def test_defect_in_counting_does_not_concern_the_jobs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*values: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(JobMetrics, "count", fail)
    with JobCluster(square, nodes=["local"]) as cluster, cluster.serve_page():
        assert [job() for job in [cluster.submit(number) for number in range(5)]] == [0, 1, 4, 9, 16]
    assert "a defect in counting ended jobs" in caplog.text


def test_other_methods_are_refused() -> None:
    with served(Figures(), "") as made, contextlib.closing(connected(made)) as connection:
        connection.request("POST", "/metrics", body=b"x")
        assert connection.getresponse().status == 405


@pytest.mark.parametrize("path", ["/metrics", "/", "/main.js"])
def test_head_is_answered_as_get_without_the_body(path: str) -> None:
    with served(Figures(), TOKEN) as made, contextlib.closing(connected(made)) as connection:
        lengths = []
        for method in ("HEAD", "GET"):
            connection.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            content = answer.read()
            lengths.append(answer.getheader("Content-Length"))
            assert answer.status == 200 and bool(content) == (method == "GET")
        assert lengths[0] == lengths[1] == str(len(content))


@pytest.mark.parametrize("token", ["", TOKEN, "token-of-the-page"])
def test_connection_goes_on_after_metrics_only_for_those_with_a_token(token: str) -> None:
    with served(Figures(), TOKEN if token else "") as made, contextlib.closing(connected(made)) as connection:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (200, None if token else "close") and answer.read()


def test_text_is_made_once_for_all_readers_in_each_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "METRICS_INTERVAL", 1000.0)
    source = Figures()
    with served(source, "") as made:
        first = ask(made)
        assert [ask(made) for _ in range(5)] == [first] * 5
        assert source.reads == 1
        assert ask(made, Accept="application/openmetrics-text")[1].endswith("# EOF\n") and source.reads == 2
        for number in range(100):  # The version is in the content type.
            assert ask(made, Accept=f"application/openmetrics-text; version=1.{number}.1")[0] == 200
        assert source.reads == server_module.FORMATS
        assert ask(made) == first


def test_text_is_made_again_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "METRICS_INTERVAL", 0.0)
    source = Figures()
    with served(source, "") as made:
        assert [ask(made)[0] for _ in range(3)] == [200] * 3 and source.reads == 3


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x", "text/plain; version=x", "\xff,;=,"])
def test_format_that_is_not_known_is_answered_in_the_plain_one(accept: str) -> None:
    with served(Figures(), "") as made:
        code, text = ask(made, Accept=accept)
        assert code == 200 and "gdispy_cpus 5.0\n" in text
