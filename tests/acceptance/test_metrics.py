"""Metrics of real daemons, as a real Prometheus reads them; the alert rules and the dashboard in `deploy/`."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gdispy import DispyJob, SharedJobCluster
from tests.support.daemons import Daemon, ended, lacking, run_script
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
Start = Callable[..., Daemon]

FINISHED, RAISED, LATE, KILLED, CANCELLED = 40, 3, 1, 2, 2
TOKEN = "token-of-the-metrics-0123456789"


class Place(NamedTuple):
    """A page with metrics, and the token for them."""

    url: str
    token: str = ""

    def text(self) -> str:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}metrics", headers=headers), timeout=20) as found:
            return str(found.read().decode())

    def values(self) -> dict[str, float]:
        """By name and values of labels, in the order of the names of labels."""
        families = text_string_to_metric_families(self.text())
        samples = (sample for family in families for sample in family.samples)
        return {" ".join([each.name, *(v for _, v in sorted(each.labels.items()))]): each.value for each in samples}


def page_of(daemon: Daemon) -> str:
    found = re.search(r"http://[0-9.]+:\d+/", daemon.log.read_text())
    assert found is not None
    return found[0]


def various(kind: str) -> None:
    import os
    import signal

    if kind == "raises":
        raise ValueError("a text of the user")
    if kind == "late":
        signal.pause()
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def run_jobs(cluster: SharedJobCluster) -> None:
    """Jobs with each outcome."""
    kinds = ["plain"] * FINISHED + ["raises"] * RAISED + ["killed"] * KILLED
    jobs: list[DispyJob] = [cluster.submit(kind) for kind in kinds]
    jobs += [cluster.submit("late", dispy_timeout=0.2) for _ in range(LATE)]
    for job in [cluster.submit("late") for _ in range(CANCELLED)]:
        cluster.cancel(job)
        jobs.append(job)
    for job in jobs:
        job.wait(60)


@pytest.fixture
def places(start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path) -> list[Place]:
    """A scheduler that needs a token, a node that needs none, and a program: all have run the same jobs."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    node = start_node("--cpus", "2", "--http", "0")
    words = ("-n", f"{node.place[0]}:{node.place[1]}", "--journal", str(tmp_path / "journal"), "--http", "0")
    scheduler = start_scheduler(*words, "--metrics_token_file", str(tmp_path / "token"))
    return [Place(page_of(scheduler), TOKEN), Place(page_of(node)), Place(str(scheduler.place[1]))]


def clustered(places: list[Place], secret_file: str) -> SharedJobCluster:
    where = {"scheduler_node": "127.0.0.1", "scheduler_port": int(places[2].url)}
    return SharedJobCluster(various, secret_file=secret_file, **where)


def test_scheduler_node_and_program_count_alike(places: list[Place], secret_file: str) -> None:
    with clustered(places, secret_file) as cluster, cluster.serve_page() as page:
        run_jobs(cluster)
        everywhere = [*places[:2], Place(page.url.partition("#")[0])]
        for place in everywhere:
            values = eventually(lambda place=place: _settled(place), 10, "jobs are still running")  # type: ignore[misc]
            ends = {name: count for name, count in values.items() if name.startswith("gdispy_jobs_ended_total ")}
            assert ends["gdispy_jobs_ended_total finished "] == FINISHED
            assert ends["gdispy_jobs_ended_total failed exception"] == RAISED
            assert ends["gdispy_jobs_ended_total failed killed"] == KILLED
            assert ends["gdispy_jobs_ended_total failed time_limit"] == LATE
            cancels = [ends[f"gdispy_jobs_ended_total {outcome} cancel"] for outcome in ("failed", "cancelled")]
            # A job that is cancelled before it is sent to a node is not known there.
            assert sum(cancels) == CANCELLED or (place is places[1] and sum(cancels) < CANCELLED)
            assert sum(ends.values()) == FINISHED + RAISED + LATE + KILLED + sum(cancels)
            begun = values["gdispy_job_run_seconds_count"]
            assert FINISHED + RAISED + LATE + KILLED <= begun <= sum(ends.values())
            assert values["gdispy_job_overhead_seconds_count"] == begun
            assert values["gdispy_job_queue_seconds_count"] == begun
            assert 0.2 <= values["gdispy_job_run_seconds_sum"] < 60
            assert values["gdispy_nodes ready"] == 1 and values["gdispy_cpus"] == 2
            text = place.text()
            assert "a text of the user" not in text and str(Path.home()) not in text


def _settled(place: Place) -> dict[str, float]:
    values = place.values()
    is_settled = values["gdispy_jobs_running various"] == values["gdispy_jobs_waiting various"] == 0
    return values if is_settled else {}


def test_token_is_needed_where_one_was_given(places: list[Place]) -> None:
    assert "gdispy_cpus" in places[0].text()
    for token in ("", "wrong"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            Place(places[0].url, token).text()
        assert caught.value.code in (401, 403)
        caught.value.close()


def test_waiting_and_running_jobs_are_gauges(places: list[Place], secret_file: str) -> None:
    with clustered(places, secret_file) as cluster:
        jobs = [cluster.submit("late") for _ in range(20)]
        values = eventually(lambda: _busy(places[0]), 20, "two jobs are not running")
        assert values["gdispy_jobs_waiting various"] == 18 and values["gdispy_cpus_busy"] == 2
        assert values["gdispy_clients connected"] == 1 and values["gdispy_kept_bytes"] > 0
        cluster.cancel_all()
        for job in jobs:
            job.wait(60)


def test_jobs_on_a_draining_node_still_run_and_a_lost_node_is_counted(
    start_node: Start, start_scheduler: Start, secret_file: str
) -> None:
    node = start_node("--cpus", "2")
    place = f"{node.place[0]}:{node.place[1]}"
    scheduler = start_scheduler("-n", place, "-n", "127.0.0.1:1", "--no_journal", "--http", "0")
    page = Place(page_of(scheduler))
    with SharedJobCluster(
        various, scheduler_node="127.0.0.1", scheduler_port=scheduler.place[1], secret_file=secret_file
    ) as cluster:
        jobs = [cluster.submit("late") for _ in range(3)]
        eventually(lambda: page.values().get("gdispy_jobs_running various") == 2)
        assert all(job.status == DispyJob.Running or job.status == DispyJob.Created for job in jobs)
        eventually(lambda: sum(job.status == DispyJob.Running for job in jobs) == 2)
        assert page.values()["gdispy_nodes unreachable"] == 1
        run_script("gdispy", "drain", "--timeout", "0", "--only", "--secret-file", secret_file, place)
        values = eventually(lambda: _in_state(page, "draining"))
        assert (values["gdispy_jobs_running various"], values["gdispy_jobs_waiting various"]) == (2, 1)
        assert (values["gdispy_cpus"], values["gdispy_cpus_busy"]) == (0, 2)
        done = run_script("gdispy", "status", "--secret-file", secret_file, f"127.0.0.1:{scheduler.place[1]}")
        assert b"draining: 2 jobs still here" in done.stdout
        assert values["gdispy_nodes_lost_total"] == 0
        cluster.cancel_all()
        for job in jobs:
            job.wait(60)
        eventually(lambda: _in_state(page, "drained"))
        node.bury()
        eventually(lambda: page.values()["gdispy_nodes_lost_total"] == 1)


def _in_state(place: Place, state: str) -> dict[str, float]:
    values = place.values()
    return values if values[f"gdispy_nodes {state}"] == 1 else {}


def test_restarted_scheduler_knows_how_long_its_jobs_have_waited(
    start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path
) -> None:
    words = ("--journal", str(tmp_path / "journal"), "--http", "0", "--metrics_computations", "0")
    scheduler = start_scheduler("-n", "127.0.0.1:1", *words)
    before = time.time()
    with SharedJobCluster(
        various, scheduler_node="127.0.0.1", scheduler_port=scheduler.place[1], secret_file=secret_file
    ) as cluster:
        job = cluster.submit("plain")
        eventually(lambda: Place(page_of(scheduler)).values()["gdispy_jobs_waiting"] == 1)
        scheduler.kill()
        scheduler.process.wait(10)
        node = start_node("--cpus", "1")
        # The same port, which the client knows.
        again = start_scheduler("-p", str(scheduler.place[1]), "-n", f"{node.place[0]}:{node.place[1]}", *words)
        job.wait(60)
        values = eventually(lambda: _counted(Place(page_of(again))), 10)
        assert 0 < values["gdispy_job_queue_seconds_sum"] <= time.time() - before
        assert values["gdispy_jobs_ended_total finished "] == 1


def _counted(place: Place) -> dict[str, float]:
    values = place.values()
    return values if values["gdispy_job_queue_seconds_count"] == 1 else {}


def _busy(place: Place) -> dict[str, float]:
    values = place.values()
    return values if values.get("gdispy_jobs_running various") == 2 else {}


# Prometheus itself


def program(name: str) -> str:
    return shutil.which(name) or lacking(f"{name} is not installed")


def promtool(*words: str, text: str = "") -> None:
    done = subprocess.run([program("promtool"), *words], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_text_is_what_promtool_accepts(places: list[Place], secret_file: str) -> None:
    with clustered(places, secret_file) as cluster, cluster.serve_page() as page:
        run_jobs(cluster)
        for place in [*places[:2], Place(page.url.partition("#")[0])]:
            promtool("check", "metrics", text=place.text())


def test_alert_rules_are_right(tmp_path: Path) -> None:
    promtool("check", "config", str(DEPLOY / "prometheus.yml"))
    shutil.copy(DEPLOY / "prometheus-alerts.yml", tmp_path)
    shutil.copy(Path(__file__).with_name("prometheus_alerts_test.yml"), tmp_path)
    promtool("test", "rules", str(tmp_path / "prometheus_alerts_test.yml"))


class Prometheus:
    """A running Prometheus that reads these pages every second."""

    def __init__(self, directory: Path, places: list[Place]) -> None:
        jobs = [_scraped(number, place) for number, place in enumerate(places)]
        config = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML.
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._place = f"127.0.0.1:{free.getsockname()[1]}"
        words = ["--config.file", str(directory / "prometheus.yml"), "--storage.tsdb.path", str(directory / "data")]
        with open(directory / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                [program("prometheus"), *words, f"--web.listen-address={self._place}"], stdout=log, stderr=log
            )

    def query(self, text: str) -> list[dict[str, Any]]:
        """The result of an expression; [] while Prometheus does not answer."""
        url = f"http://{self._place}/api/v1/query?{urllib.parse.urlencode({'query': text})}"
        try:
            with urllib.request.urlopen(url, timeout=20) as found:
                answer = json.load(found)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:  # It starts.
                    return []
                raise AssertionError(f"{text}: {error.read().decode()}") from None
        except OSError:
            return []
        assert answer["status"] == "success"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def value(self, text: str) -> float:
        return sum(float(each["value"][1]) for each in self.query(text))


def _scraped(number: int, place: Place) -> dict[str, object]:
    host = urllib.parse.urlsplit(place.url).netloc
    found: dict[str, object] = {"job_name": f"gdispy{number}", "static_configs": [{"targets": [host]}]}
    return {**found, "authorization": {"credentials": place.token}} if place.token else found


def dashboard() -> list[tuple[str, str]]:
    """The expressions of the panels, with values for Grafana's variables."""
    made = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    names = {each["name"] for each in made["templating"]["list"]}
    assert names == {"datasource", "role", "instance"}
    found = []
    for panel in made["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$instance", ".+").replace("$__rate_interval", "1m")
            assert "$" not in text
            found.append((panel["title"], text))
    return found


def test_prometheus_reads_a_scheduler_and_the_dashboard_shows_it(
    places: list[Place], secret_file: str, tmp_path: Path
) -> None:
    made = Prometheus(tmp_path, places[:2])
    with ended(made.process), clustered(places, secret_file) as cluster:
        warm = cluster.submit("plain")
        warm.wait(60)
        # Counters rise only from the second reading on.
        eventually(
            lambda: made.value('count_over_time(gdispy_jobs_waiting{job="gdispy0"}[1m])') >= 2, 30, "no readings"
        )
        run_jobs(cluster)
        total = 1 + FINISHED + RAISED + LATE + KILLED + CANCELLED
        ends = 'sum(gdispy_jobs_ended_total{job="gdispy0"})'
        eventually(lambda: made.value(ends) == total, 30, "the jobs are not in Prometheus")
        assert made.value('sum(increase(gdispy_jobs_ended_total{job="gdispy0",reason="killed"}[5m]))') > 0
        assert made.value("sum(up)") == 2
        for title, text in dashboard():
            eventually(lambda text=text: made.query(text), 30, f"{title}: {text} has no result")  # type: ignore[misc]
