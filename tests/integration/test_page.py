"""The web page of a program, without a browser: what it shows of real jobs, and what its actions do."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import Executor, JobCluster, SharedJobCluster
from gdispy.errors import ClusterClosed
from gdispy.protocol.address import Address
from gdispy.web import job_lists
from tests.support.daemons import SCRIPTS, Daemon, ended
from tests.support.jobs import pass_gate, wait_for_file
from tests.support.pages import PageClient
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]


def fail(text: str) -> None:
    print("printed", text)
    raise ValueError(text)


def counts(client: PageClient) -> dict[str, Any]:
    (found,) = client.get("/api/state")["computations"]
    return {name: found[name] for name in ("made", "ended", "failed", "running", "waiting")}


def numbers(client: PageClient, query: str) -> list[int]:
    return [each["number"] for each in client.get(f"/api/jobs?{query}")["jobs"]]


def test_counts_and_lists_follow_the_jobs(one: Make, tmp_path: Path) -> None:
    made = one(pass_gate)
    gate = tmp_path / "gate"
    jobs = [made.submit(number, str(gate)) for number in range(4)]
    with made.serve_page() as page:
        client = PageClient(page.url)
        expected = {"made": 4, "ended": 0, "failed": 0, "running": 1, "waiting": 3}
        eventually(lambda: counts(client) == expected, what=str(counts(client)))
        (row,) = client.get("/api/jobs?kind=running")["jobs"]
        assert (row["number"], row["status"], row["computation"]) == (jobs[0]._number, "Running", "pass_gate")
        assert "arguments" not in row
        assert numbers(client, "kind=waiting") == [job._number for job in jobs[1:]]
        gate.touch()
        made.wait()
        eventually(lambda: counts(client)["ended"] == 4)
        ended = client.get("/api/jobs?kind=ended")["jobs"]
        assert [each["number"] for each in ended] == [job._number for job in reversed(jobs)]
        assert client.get("/api/timeline")["next"] == 4
        (node,) = client.get("/api/state")["nodes"]
        assert "Python 3" in node["versions"] and abs(node["since"] - made.start_time) < 60
        assert (node["state"], node["done"], node["cpus"]) == ("ready", 4, 1)
        eventually(lambda: client.get("/api/state")["nodes"][0]["free"], what="free resources of the node")


def test_failure_is_shown_with_its_last_lines_as_text(one: Make) -> None:
    made = one(fail)
    with made.serve_page(show_arguments=True) as page:
        job = made.submit("<img src=x onerror=alert(1)>")
        job.id = ("row", "<b>")
        job()
        client = PageClient(page.url)
        (row,) = client.get("/api/jobs?kind=failed&q=onerror")["jobs"]
        assert row["error"] == "ValueError: <img src=x onerror=alert(1)>" and row["id"] == "(row, <b>)"
        assert row["trace"].startswith("Traceback") and row["stdout"] == "printed <img src=x onerror=alert(1)>"
        assert row["arguments"] == "('<img src=x onerror=alert(1)>')"
        assert client.get("/api/jobs?kind=failed&q=absent")["jobs"] == []


def test_arguments_are_unpickled_outside_the_hub_and_not_while_a_callback_runs(one: Make, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    made = one(wait_for_file, callback=lambda job: wait_for_file(str(gate)))
    with made.serve_page(show_arguments=True) as page:
        (tmp_path / "first").touch()
        made.submit(str(tmp_path / "first")).wait()
        second = made.submit(str(tmp_path / "second"))
        client = PageClient(page.url)
        rows = eventually(lambda: client.get("/api/jobs?kind=running")["jobs"])
        assert "callback of the program is running" in rows[0]["arguments"]
        gate.touch()
        eventually(lambda: "second'" in client.get("/api/jobs?kind=running")["jobs"][0]["arguments"])
        (tmp_path / "second").touch()
        second()


def test_lists_are_read_in_pages_that_go_on_where_the_last_ended(one: Make, tmp_path: Path) -> None:
    made = one(pass_gate)
    gate = tmp_path / "gate"
    jobs = [made.submit(number, str(gate)) for number in range(130)]
    with made.serve_page() as page:
        client = PageClient(page.url)
        eventually(lambda: counts(client)["running"] == 1)
        found: list[int] = []
        begin: int | None = 0
        while begin is not None:
            answer = client.get(f"/api/jobs?kind=waiting&from={begin}")
            assert len(answer["jobs"]) <= job_lists.PAGE_ROWS
            found += [each["number"] for each in answer["jobs"]]
            begin = answer["next"]
        assert found == [job._number for job in jobs[1:]]
        last = jobs[-1]._number
        assert numbers(client, f"kind=waiting&q={last}") == [last]
        gate.touch()
        made.wait()
        first, second = numbers(client, "kind=ended"), numbers(client, "kind=ended&from=50")
        assert first + second == [job._number for job in reversed(jobs)][:100]


def test_request_looks_through_a_bounded_number_of_jobs(
    one: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lists, "LOOKED_AT", 40)
    made = one(pass_gate)
    jobs = [made.submit(number, str(tmp_path / "gate")) for number in range(130)]
    jobs[-1].id = "the last"
    last = jobs[-1]._number
    with made.serve_page() as page:
        client = PageClient(page.url)
        eventually(lambda: counts(client)["running"] == 1)
        assert numbers(client, f"kind=waiting&q={last}") == [last]  # A number is looked up.
        answer = client.get("/api/jobs?kind=waiting&q=the+last")
        assert answer["jobs"] == [] and answer["next"] is not None
        while answer["next"] is not None:
            answer = client.get(f"/api/jobs?kind=waiting&q=the+last&from={answer['next']}")
            if answer["jobs"]:
                break
        assert [each["number"] for each in answer["jobs"]] == [last]


def test_actions_cancel_jobs_and_change_and_release_nodes(cluster: Make, tmp_path: Path) -> None:
    made = cluster(pass_gate)
    made.submit(0, "")()
    with made.serve_page(admin=True) as page:
        client = PageClient(page.url)
        state = client.get("/api/state")
        node, computation = state["nodes"][0]["id"], state["computations"][0]["id"]
        assert state["nodes"][0]["cpus"] > 1
        assert client.act(do="cpus", node=node, cpus=1) == (200, {"done": "CPUs in use now: 1"})
        eventually(lambda: client.get("/api/state")["nodes"][0]["cpus"] == 1)
        jobs = [made.submit(number, str(tmp_path / "gate")) for number in range(6)]
        eventually(lambda: counts(client)["running"] == 1)
        assert client.act(do="cancel", job=jobs[5]._number)[0] == 200
        assert jobs[5].wait(20) and jobs[5].status == jobs[5].Cancelled
        assert client.act(do="cancel", job=jobs[5]._number)[0] == 404
        code, answer = client.act(do="cancel_all", computation=computation)
        assert (code, answer["done"]) == (200, "5 jobs of pass_gate are being cancelled")
        made.wait()
        assert client.act(do="close", node=node)[0] == 200
        eventually(lambda: client.get("/api/state")["nodes"][0]["state"] == "closed")
        assert client.act(do="close", node=node)[0] == 404
        assert client.act(do="allocate", node=node)[0] == 200
        eventually(lambda: client.get("/api/state")["nodes"][0]["state"] == "ready")
    assert [job.status_name for job in jobs] == ["Terminated", *["Cancelled"] * 5]


def test_jobs_that_wait_get_another_priority_and_nodes_tell_their_versions(one: Make, tmp_path: Path) -> None:
    made = one(pass_gate)
    with made.serve_page(admin=True) as page:
        see_waiting_jobs_get_another_priority(PageClient(page.url), made, tmp_path)


def test_jobs_of_a_shared_scheduler_get_another_priority_which_outlasts_it(
    start_scheduler: Callable[..., Daemon], start_node: Callable[..., Daemon], secret_file: str, tmp_path: Path
) -> None:
    node = start_node("--cpus", "1")
    options = ("-n", str(Address(*node.place)), "--journal", str(tmp_path / "journal"))
    scheduler = start_scheduler(*options)
    (host, port), secret = scheduler.place, {"secret_file": secret_file}
    with SharedJobCluster(pass_gate, scheduler_node=host, scheduler_port=port, **secret) as made:
        with made.serve_page(admin=True) as page:
            client = PageClient(page.url)
            jobs = [made.submit(number, str(tmp_path / "gate")) for number in range(6)]
            eventually(lambda: jobs[0].status == jobs[0].Running)
            last = jobs[-1]._number
            assert eventually(lambda: client.act(do="priority", job=last, priority=2))[0] == 200
            scheduler.kill()
            code, answer = client.act(do="priority", job=last, priority=3)
            assert code == 400 and "cannot be reached" in answer["error"]
            start_scheduler(*options, "-p", str(port))
            eventually(lambda: client.act(do="priority", job=jobs[4]._number, priority=1)[0] == 200)
        (tmp_path / "gate").touch()
        assert [job() for job in jobs] == list(range(6))
    assert sorted(range(1, 6), key=lambda number: jobs[number].start_time or 0.0)[:2] == [5, 4]


def see_waiting_jobs_get_another_priority(client: PageClient, made: JobCluster, directory: Path) -> None:
    jobs = [made.submit(0, str(directory / "gate"))]
    eventually(lambda: jobs[0].status == jobs[0].Running)
    jobs += [made.submit(number, str(directory / "gate"), dispy_priority=number) for number in range(1, 8)]
    eventually(lambda: len(client.get("/api/jobs?kind=waiting")["jobs"]) == 7)

    def priorities() -> dict[int, float]:
        return {each["number"]: each["priority"] for each in client.get("/api/jobs?kind=waiting")["jobs"]}

    last, best = jobs[1]._number, jobs[7]._number
    assert priorities()[last] == 1 and priorities()[best] == 7
    code, answer = client.act(do="priority", job=last, priority=9)
    assert (code, answer["done"]) == (200, f"the priority of job {last} is now 9")
    assert priorities()[last] == 9
    code, answer = client.act(do="priority", job=jobs[0]._number, priority=9)
    assert code == 400 and "is on a node" in answer["error"]
    for wrong in ("5", None, True, 1e300):
        assert client.act(do="priority", job=last, priority=wrong)[0] == 400
    assert client.act(do="priority", job=10**9, priority=1)[0] == 404
    assert client.act(do="priority", job="1", priority=1)[0] == 400
    (directory / "gate").touch()
    made.wait()
    assert made._engine.table.priorities == {}
    assert eventually(lambda: "Python 3" in client.get("/api/state")["nodes"][0]["versions"])


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"do": "drain"},
        {"do": ["cancel"]},
        {"do": "cancel", "job": "1"},
        {"do": "cancel", "job": True},
        {"do": "cpus", "node": "zz", "cpus": 1},
        {"do": "cpus", "node": 5, "cpus": 1},
        {"do": "close", "node": "00"},
        {"do": "cpus", "node": "00" * 16, "cpus": 1.5},
        {"do": "cpus", "node": "00" * 16, "cpus": 1 << 60},
        {"do": "cpus", "node": "00" * 16, "cpus": 1},
        {"do": "close", "node": "00" * 16},
        {"do": "cancel_all"},
        {"do": "allocate", "node": "00" * 16},
        {"do": "cancel", "job": 10**30},
    ],
)
def test_wrong_actions_are_refused_with_a_reason(one: Make, order: dict[str, Any]) -> None:
    made = one(abs)
    with made.serve_page(admin=True) as page:
        code, answer = PageClient(page.url).act(**order)
        assert code in (400, 404) and answer["error"]


def test_job_that_never_was_is_not_said_to_have_ended(one: Make) -> None:
    with one(abs).serve_page(admin=True) as page:
        for job in (99_999_999, -1):
            answer = PageClient(page.url).act(do="cancel", job=job)
            assert answer == (404, {"error": f"there is no job {job} that waits or runs"})


def test_closed_cluster_keeps_its_last_state_until_its_page_is_closed(cluster: Make) -> None:
    made = cluster(abs)
    with made.serve_page(admin=True) as page:
        made.submit(-1)()
        made.close()
        client = PageClient(page.url)
        (found,) = client.get("/api/state")["computations"]
        assert (found["state"], found["ended"]) == ("closed", 1)
        assert client.act(do="cancel_all", computation=found["id"])[0] == 404
    with pytest.raises(OSError):
        client.get("/api/state")
    with pytest.raises(ClusterClosed):
        made.submit(1)


def test_executor_serves_the_page_of_its_calls(node: Daemon, secret_file: str) -> None:
    with Executor([node.place], secret_file=secret_file) as executor, executor.serve_page(show_arguments=True) as page:
        assert executor.submit(abs, -7).result() == 7
        with pytest.raises(ValueError, match="seen"):
            executor.submit(fail, "seen").result()
        client = PageClient(page.url)
        eventually(lambda: counts(client) == {"made": 2, "ended": 2, "failed": 1, "running": 0, "waiting": 0})
        (row,) = client.get("/api/jobs?kind=failed")["jobs"]
        assert (row["error"], row["computation"]) == ("ValueError: seen", "executor")
        assert row["arguments"] == "fail('seen')"
        assert client.act(do="cancel", job=1)[0] == 403
        made = executor.cluster.executor()
        with made.serve_page() as other:
            assert made.submit(abs, -8).result() == 8
            eventually(lambda: counts(PageClient(other.url))["ended"] == 1)
        made.shutdown()


def test_nothing_is_recorded_without_a_page(one: Make) -> None:
    made = one(abs)
    table = made._engine.table
    assert table.watch is None
    with made.serve_page():
        assert table.watch is not None
    assert table.watch is None


def test_url_is_printed_on_standard_error_once(one: Make, capfd: pytest.CaptureFixture[str]) -> None:
    with one(abs).serve_page() as page:
        printed = capfd.readouterr()
        assert printed.out == "" and printed.err == f"The page of abs: {page.url}\n"


PROGRAM = """{patch}
import json, os, sys, time, urllib.request
import gdispy

def square(n):
    return n * n

def asked(page, path):
    url, token = page.url.split("/#token=")
    request = urllib.request.Request(url + path, headers={{"Authorization": "Bearer " + token}})
    return json.load(urllib.request.urlopen(request, timeout=20))

if __name__ == "__main__":
    with gdispy.JobCluster(square, nodes=["local"]) as cluster:
        page = cluster.serve_page()
        jobs = [cluster.submit(n) for n in range(20)]
        assert [job() for job in jobs] == [n * n for n in range(20)]
        print(asked(page, "/api/state")["computations"][0]["ended"], len(asked(page, "/api/jobs?kind=ended")["jobs"]))
        child = os.fork()
        if not child:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(asked(page, "/api/state")["computations"][0]["state"])
"""


@pytest.mark.parametrize("patch", ["", "from gevent import monkey; monkey.patch_all()"], ids=["plain", "patched"])
def test_page_works_in_a_whole_program_and_outlives_a_forked_child(tmp_path: Path, patch: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(patch=patch))
    result = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "20 20\nopen\n"


def test_page_of_a_node_that_is_lost_shows_it_as_closed(start_node: Callable[..., Daemon], secret_file: str) -> None:
    node = start_node("--cpus", "1")
    with JobCluster(abs, nodes=[node.place], secret_file=secret_file, pulse_interval=0.2) as made:
        made.submit(1)()
        with made.serve_page() as page:
            client = PageClient(page.url)
            assert client.get("/api/state")["nodes"][0]["state"] == "ready"
            node.bury()
            eventually(lambda: client.get("/api/state")["nodes"][0]["state"] == "closed")


def test_command_line_serves_a_page_that_counts_all_jobs(tmp_path: Path) -> None:
    script = tmp_path / "simulate"
    script.write_text(f"#!/bin/sh\nuntil [ -e '{tmp_path}/go' ]; do sleep .02; done\n")
    script.chmod(0o755)
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", "--page", "--page-arguments", str(script), ":::"]
    process = subprocess.Popen(
        [*command, *map(str, range(3000))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with ended(process):
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("The page of simulate: http://127.0.0.1:")
        client = PageClient(line.split()[-1])
        eventually(lambda: counts(client)["running"] > 0)
        found = counts(client)
        awaited = eventually(lambda: client.get("/api/state")["now"]["awaited"])
        assert counts(client)["made"] + awaited == 3000 and found["failed"] == 0
        assert client.get("/api/jobs?kind=running")["jobs"][0]["arguments"] == "('0')"
        assert client.act(do="cancel", job=1)[0] == 403
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_options_of_the_page_need_the_page() -> None:
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", "--page-admin", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "need --page" in done.stderr
