"""The web page in a real browser: login, live updates, actions, paging, a program that ends, a phone, the dark."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdispy import DispyNode, JobCluster, SharedJobCluster
from gdispy.client.page import ClusterWatch, ServedPage
from gdispy.hub import Hub
from gdispy.protocol.job_status import FINISHED, TERMINATED
from gdispy.protocol.messages import Event
from gdispy.protocol.rows import NodeRow
from tests.support.browser import Browser, browser
from tests.support.daemons import SCRIPTS, Daemon, ended
from tests.support.jobs import pass_gate
from tests.support.waiting import eventually
from tests.unit.builders import C, outcome
from tests.unit.builders import ended as ended_message

PROGRAM = """
import os, sys, time
import gdispy, gdispy.httpd

def simulate(n, directory):
    print("step", n)
    if n % 10 == 3:
        raise ValueError(f"<b>level</b> {n} is not stable")
    while not (os.path.exists(f"{directory}/all") or os.path.exists(f"{directory}/{n}")):
        time.sleep(0.02)
    return n

if __name__ == "__main__":
    directory, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with gdispy.JobCluster(simulate, nodes=[gdispy.NodeAllocate("local", cpus=2)]) as cluster:
        server = gdispy.httpd.DispyHTTPServer(cluster, port=port, token="token-of-the-test")
        for n in range(count):
            cluster.submit(n, directory).id = f"run {n}"
        sys.stdin.read()
        cluster.cancel_all()
"""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(autouse=True)
def clean(window: Browser) -> Iterator[None]:
    window.resize(1280, 860)
    window.prefer("light")
    window.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    window.errors()
    yield
    window.open("about:blank")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Program:
    """A user's program with a page, whose jobs wait for files."""

    def __init__(self, directory: Path, port: int = 0, count: int = 20) -> None:
        path = directory / "climate.py"
        path.write_text(PROGRAM)
        self.directory = directory
        command = [sys.executable, str(path), str(directory), str(port or free_port()), str(count)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def url(self) -> str:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        return found[0]

    def let_end(self, *numbers: object) -> None:
        for number in numbers:
            (self.directory / str(number)).touch()


@contextlib.contextmanager
def program(directory: Path, **options: int) -> Iterator[Program]:
    made = Program(directory, **options)
    with ended(made.process):
        yield made


def test_login_by_the_url_removes_the_token_and_lasts(window: Browser, tmp_path: Path) -> None:
    with program(tmp_path) as made:
        url = made.url()
        window.open(url)
        window.shows("#n-running", "2")
        assert window.driver.current_url == url.partition("#")[0]
        assert window.script("return document.cookie") == ""
        window.open(url.partition("#")[0])
        window.shows("#link", "Live")
        window.shows("#n-waiting", "1")
        assert window.errors() == []


def test_stranger_is_asked_for_the_token_and_sees_nothing_else(window: Browser, tmp_path: Path) -> None:
    with program(tmp_path) as made:
        url = made.url()
        window.open(url.partition("#")[0])
        window.shows("#login", "paste its token")
        assert window.text("#app") == "" and window.text("nav") == ""
        window.type("#token", "wrong")
        window.click("#login button")
        window.shows("#login-error", "the token is wrong")
        window.type("#token", url)
        window.click("#login button")
        window.shows("#n-running", "2")
        # The browser itself notes the refusals of a request.
        assert all("/api/session" in each or "/api/login" in each for each in window.errors())


def test_page_follows_jobs_without_being_loaded_again(window: Browser, tmp_path: Path) -> None:
    with program(tmp_path) as made:
        window.open(made.url())
        window.shows("#n-running", "2")
        window.script("window.isTheSame = true")
        made.let_end(0, 1, 2)
        window.shows("#n-failed", "1")
        window.shows("#failures", "<b>level</b> 3 is not stable")
        window.click("#failures summary")
        window.shows("#failures pre", "Traceback (most recent call last)")
        assert window.script("return document.querySelector('#failures b')") is None
        made.let_end("all")
        window.shows("#n-done", "18")
        window.shows("#n-failed", "2")
        window.shows("#computations", "100 %")
        window.view("Timeline")
        eventually(lambda: window.script("return document.querySelector('#lanes').height > 20"))
        assert window.script("return window.isTheSame") is True
        assert window.errors() == []


def test_jobs_are_listed_searched_paged_and_cancelled(window: Browser, tmp_path: Path) -> None:
    with program(tmp_path, count=130) as made:
        window.open(made.url())
        window.shows("#n-running", "2")
        window.view("Jobs")
        window.shows("#joblist", "run 0")
        window.click(".kinds span", "Waiting")
        window.shows("#joblist tbody tr:first-child", "run 2")
        assert len(window.texts("#joblist tbody tr")) == 50
        window.click("#next")
        window.shows("#page", "Page 2")
        window.shows("#joblist tbody tr:first-child", "run 52")
        window.click("#next")
        window.shows("#joblist tbody tr:last-child", "run 129")
        assert not window.driver.find_element("id", "next").is_enabled()
        window.click("#previous")
        window.shows("#joblist tbody tr:first-child", "run 52")
        window.type("#search", "run 77")
        window.shows("#page", "Page 1")
        eventually(lambda: [each.split("\t")[0] for each in window.texts("#joblist tbody tr")] == ["run 77"])
        window.click("#joblist button", "Cancel")
        window.shows("dialog", "Cancel job run 77?")
        window.click("#ask-yes")
        window.shows("#said", "is being cancelled")
        window.shows("#joblist-empty", "No job fits.")
        window.click(".kinds span", "Failed")
        window.shows("#joblist", "Cancelled")
        assert window.errors() == []


def test_nodes_are_shown_and_their_cpus_set(window: Browser, tmp_path: Path) -> None:
    with program(tmp_path) as made:
        window.open(made.url())
        window.view("Nodes")
        window.shows("#nodes-sum", "1 of 1 nodes in use, 2 of 2 CPUs busy")
        window.click("#nodelist button", "CPUs")
        window.shows("dialog", "How many CPUs")
        window.type("#ask-number", "1")
        window.click("#ask-yes")
        window.shows("#said", "CPUs in use now: 1")
        window.shows("#nodelist", "of 1")
        assert window.errors() == []


def test_program_that_dies_leaves_its_last_state_and_the_page_continues_when_it_returns(
    window: Browser, tmp_path: Path
) -> None:
    port = free_port()
    with program(tmp_path, port=port) as made:
        window.open(made.url())
        window.shows("#n-running", "2")
    window.shows("#link", "Disconnected")
    window.shows("#banner", "No answer since")
    assert window.text("#n-running") == "2"
    with program(tmp_path, port=port, count=7) as made:
        made.url()
        window.shows("#link", "Live")
        window.shows("#n-waiting", "5")
        assert window.text("#banner") == ""
    assert all("net::ERR_" in each for each in window.errors())


def test_page_of_a_program_that_closes_it_says_so(window: Browser) -> None:
    with page_of_many(0, 0) as (_, page):
        window.open(page.url)
        window.shows("#link", "Live")
    window.shows("#link", "Ended")
    window.shows("#banner", "its last state")


def test_empty_page_says_what_it_waits_for(window: Browser) -> None:
    with page_of_many(0, 0) as (_, page):
        window.open(page.url)
        window.shows("#failures-card", "No job has failed.")
        window.shows("#overview", "The chart begins when jobs end.")
        window.view("Jobs")
        window.shows("#joblist-empty", "No job is running.")
        window.view("Nodes")
        window.shows("#nodelist-empty", "No node is connected yet.")
        window.view("Timeline")
        window.shows("#lanes-empty", "No job has ended yet.")
        assert window.errors() == []


def test_polling_takes_over_where_streams_do_not_get_through(window: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdispy.web.server.STREAMS", 0)
    with page_of_many(2, 10) as (_, page):
        window.open(page.url)
        window.shows("#link", "Live (polling)")
        window.shows("#n-waiting", "10")


def test_phone_and_dark_show_everything_within_the_width(window: Browser, tmp_path: Path) -> None:
    window.resize(360, 740)
    window.prefer("dark")
    with program(tmp_path) as made:
        window.open(made.url())
        window.shows("#n-running", "2")
        dark = window.script("return getComputedStyle(document.body.parentElement).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 150
        for view in ("Overview", "Jobs", "Nodes", "Timeline"):
            window.view(view)
            assert window.script("return document.documentElement.scrollWidth <= innerWidth"), view
            if view == "Nodes":
                title = "return getComputedStyle(document.querySelector('#nodelist td'), '::before').content"
                assert window.script(title) == "attr(data-label)" or "Node" in window.script(title)
        window.prefer("light")
        light = window.script("return getComputedStyle(document.body.parentElement).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", light)[:3])) > 600
        assert window.errors() == []


def test_page_is_used_by_keyboard_and_names_what_it_has(window: Browser, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    with program(tmp_path) as made:
        window.open(made.url())
        window.shows("#computations", "simulate")
        seen = []
        for _ in range(7):
            window.driver.switch_to.active_element.send_keys(Keys.TAB)
            seen.append(window.driver.switch_to.active_element.text)
        assert [each for each in seen if each in ("Overview", "Jobs", "Nodes", "Timeline")] == [
            *("Overview", "Jobs", "Nodes", "Timeline")
        ]
        button = window.driver.find_element("css selector", "#computations button")
        assert button.get_attribute("aria-label") == "Cancel all jobs of simulate"
        button.send_keys(Keys.ENTER)
        window.shows("dialog", "Cancel all jobs of simulate")
        window.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        eventually(lambda: not window.text("dialog"))
        unnamed = """return [...document.querySelectorAll('button, input, select, canvas, img, nav')].filter(e =>
            !(e.innerText || e.ariaLabel || e.getAttribute('aria-label') || e.alt === '' || e.labels?.length)).length"""
        assert window.script(unnamed) == 0
        assert window.text("#n-failed") == "0"


@contextlib.contextmanager
def page_of_many(nodes: int, jobs: int, rows: int = 0) -> Iterator[tuple[JobCluster, ServedPage]]:
    """A page of this process with that many nodes, which are only known to it, waiting jobs and ended jobs."""
    with JobCluster(abs, nodes=["127.0.0.1:1"], insecure=True, wait_for_nodes=True) as made:
        with made.serve_page(admin=True) as page:
            Hub.get().call(_fill, made, nodes, rows)
            for number in range(jobs):
                made.submit(number)
            yield made, page
        made.close(timeout=0, terminate=True)


def _fill(made: JobCluster, nodes: int, rows: int) -> None:
    now, engine = time.time(), made._engine
    watch = engine.table.watch
    assert isinstance(watch, ClusterWatch)
    for number in range(nodes):
        row = NodeRow(f"node{number:03}", f"10.0.{number // 100}.{number % 100}", 51348, 8, 0, 0, 0.0, 0, 0)
        free = [50.0, 8_000_000_000, 100_000_000_000, 0.0]
        engine.nodes.take(Event(C, DispyNode.Initialized, number.to_bytes(16, "big"), [row], free))
    for number in range(rows):
        node, start = number % max(1, nodes), now - 600 + 600 * number / rows
        status = TERMINATED if number % 50 == 3 else FINISHED
        text = f"ValueError: row {number}" if status == TERMINATED else ""
        ended_row = outcome(number, status=status, start=start, end=start + 2, exception=text)
        watch.records.ended_jobs(ended_message(ended_row, address="10.0.0.1", node=node.to_bytes(16, "big")), None)


def test_200_nodes_and_100000_jobs_are_shown_and_paged_quickly(window: Browser) -> None:
    with page_of_many(200, 100_000, 20_000) as (_, page):
        window.open(page.url)
        window.shows("#n-waiting", "100,000", 60)
        window.view("Nodes")
        window.shows("#nodes-sum", "200 of 200 nodes in use")
        assert len(window.texts("#nodelist tbody tr")) == 200
        window.view("Jobs")
        window.click(".kinds span", "Waiting")
        eventually(lambda: len(window.texts("#joblist tbody tr")) == 50)
        for number in range(2, 6):
            window.click("#next")
            window.shows("#page", f"Page {number}")
        window.type("#search", "no such job")
        window.shows("#joblist-empty", "the next page may have some")
        window.view("Timeline")
        eventually(lambda: window.script("return document.querySelector('#lanes').height") > 200 * 16)
        window.shows("#link", "Live")
        assert window.errors() == []


def test_pictures_of_the_guide_are_small() -> None:
    folder = Path(__file__).parents[2] / "docs" / "guide"
    pictures = sorted(folder.glob("page-*.png"))
    assert len(pictures) >= 3
    text = (folder / "page.md").read_text()
    for path in pictures:
        assert path.stat().st_size < 80_000 and path.name in text


def test_page_of_a_scheduler_that_dies_and_returns(
    window: Browser, start_scheduler: Callable[..., Daemon], start_node: Callable[..., Daemon], tmp_path: Path
) -> None:
    node, journal, place = start_node("--cpus", "1"), tmp_path / "journal", f"127.0.0.1:{free_port()}"
    words = ["-n", f"127.0.0.1:{node.place[1]}", "--journal", str(journal), "--http", place, "--http-admin"]
    scheduler = start_scheduler(*words)
    window.open(f"http://{place}/#token={(journal / 'page-token').read_text()}")
    window.shows("#link", "Live")
    assert window.texts("nav a") == ["Overview", "Jobs", "Nodes", "Timeline"]
    window.view("Nodes")
    window.shows("#nodelist", "Python 3")
    window.click("#nodelist button", "Drain")
    window.shows("dialog", "no more jobs?")
    window.click("#ask-yes")
    window.shows("#nodelist", "drained")
    window.click("#nodelist button", "Resume")
    window.click("#ask-yes")
    window.shows("#nodelist", "in use")
    assert window.errors() == []
    scheduler.stop()
    window.shows("#link", "Disconnected")
    start_scheduler(*words, "-p", str(scheduler.place[1]))
    window.shows("#link", "Live")
    window.shows("#nodelist", "in use")


def fail_or_wait(number: int, gate: str) -> int:
    print("step", number)
    if number == 0:
        raise ValueError("<b>level</b> is not stable")
    return pass_gate(number, gate)


def test_jobs_of_a_scheduler_are_listed_preferred_and_cancelled(
    window: Browser,
    start_scheduler: Callable[..., Daemon],
    start_node: Callable[..., Daemon],
    secret_file: str,
    tmp_path: Path,
) -> None:
    node, journal, place = start_node("--cpus", "1"), tmp_path / "journal", f"127.0.0.1:{free_port()}"
    options = ["--journal", str(journal), "--http", place, "--http-admin"]
    scheduler = start_scheduler("-n", f"127.0.0.1:{node.place[1]}", *options)
    where = {"scheduler_node": "127.0.0.1", "scheduler_port": scheduler.place[1], "secret_file": secret_file}
    with SharedJobCluster(fail_or_wait, **where) as made:
        numbers = [made.submit(number, str(tmp_path / "gate"))._number for number in range(120)]
        window.open(f"http://{place}/#token={(journal / 'page-token').read_text()}")
        window.shows("#failures", "<b>level</b> is not stable")
        window.shows("#clients", "100 %")
        window.view("Jobs")
        window.shows("#joblist tbody tr:first-child", "fail_or_wait")
        window.click(".kinds span", "Waiting")
        window.shows("#joblist tbody tr:first-child", str(numbers[2]))
        assert len(window.texts("#joblist tbody tr")) == 50
        window.click("#next")
        window.click("#next")
        window.shows("#joblist tbody tr:last-child", str(numbers[-1]))
        window.click("#joblist tbody tr:last-child button", "Priority")
        window.shows("dialog", f"Which priority has job {numbers[-1]}?")
        window.type("#ask-number", "2.5")
        window.click("#ask-yes")
        window.shows("#said", f"the priority of job {numbers[-1]} is now 2.5")
        window.shows("#joblist tbody tr:last-child", "2.5")
        window.type("#search", str(numbers[77]))
        eventually(lambda: [each.split("\t")[0] for each in window.texts("#joblist tbody tr")] == [str(numbers[77])])
        window.click("#joblist button", "Cancel")
        window.click("#ask-yes")
        window.shows("#said", "is being cancelled")
        window.shows("#joblist-empty", "No job fits.")
        window.click(".kinds span", "Failed")
        window.shows("#joblist", "Cancelled")
        (tmp_path / "gate").touch()
        made.wait()
        window.type("#search", "fail")
        window.click(".kinds span", "Ended")
        window.shows("#joblist", "Finished")
        window.view("Timeline")
        eventually(lambda: window.script("return document.querySelector('#lanes').height > 20"))
        assert window.errors() == []


def test_page_of_all_nodes_drains_and_resumes_them(
    window: Browser, start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    node = start_node("--cpus", "1", "--name", "<i>alpha</i>")
    place = f"127.0.0.1:{node.place[1]}"
    words = ["--secret-file", secret_file, "--only", place, "127.0.0.1:1", "-n", "127.0.0.1:1", "--http_admin"]
    command = [sys.executable, str(SCRIPTS / "gdispy"), "admin", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with ended(process), JobCluster(pass_gate, nodes=[node.place], secret_file=secret_file) as made:
        made.submit(1, str(tmp_path / "gate"))
        assert process.stderr is not None
        window.open(process.stderr.readline().split()[-1])
        window.shows("#computations", "pass_gate")
        window.shows("#n-running", "1")
        window.shows("#schedulers", "no gdispy-scheduler is listening")
        window.shows("#problems", "127.0.0.1:1: no gdispy-node is listening")
        window.shows("#n-cpus", "1 of 1")
        assert window.texts("nav a") == ["Overview", "Nodes"] and window.text("#n-done") == ""
        window.view("Nodes")
        window.shows("#nodes-sum", "1 of 2 nodes take jobs, 1 of 1 CPUs busy")
        window.shows("#nodelist", "pass_gate of")
        window.shows("#nodelist", "<i>alpha</i>")
        window.shows("#nodelist", "unreachable")
        assert window.texts("#nodelist button") == ["CPUs", "Drain", "Hours", "Clients"]
        window.click("#nodelist button", "Drain")
        window.click("#ask-yes")
        window.shows("#said", "accepts no new jobs")
        window.shows("#nodelist", "draining")
        (tmp_path / "gate").touch()
        window.shows("#nodelist", "drained")
        window.click("#nodelist button", "Resume")
        window.click("#ask-yes")
        window.shows("#nodelist", "takes jobs")
        window.click("#nodelist button", "Hours")
        window.shows("dialog", "When does <i>alpha</i> take jobs?")
        window.type("#ask-number", "noon")
        window.click("#ask-yes")
        window.shows("#said", "Not done: write service hours as START STOP")
        now = time.localtime()
        start, stop = (f"{(now.tm_hour + number) % 24:02}:{now.tm_min:02}" for number in (3, 6))
        window.click("#nodelist button", "Hours")
        window.type("#ask-number", f"{start} {stop}")
        window.click("#ask-yes")
        window.shows("#said", f"takes jobs from {start} to {stop} (now: service hours)")
        window.shows("#nodelist", "takes no jobs")
        window.shows("#nodelist", f"{start} to {stop}")
        window.click("#nodelist button", "Clients")
        window.type("#ask-number", "1")
        window.click("#ask-yes")
        window.shows("#nodelist", "1 more client")
        window.click("#nodelist button", "Hours")
        assert window.script("return document.querySelector('#ask-number').value") == f"{start} {stop}"
        window.type("#ask-number", "")
        window.click("#ask-yes")
        window.shows("#said", "takes jobs at any time")
        window.shows("#nodelist", "takes jobs")
        # The browser itself tells that the hour "noon" was refused.
        assert [each for each in window.errors() if "400 (Bad Request)" not in each] == []
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        window.shows("#link", "Ended")
