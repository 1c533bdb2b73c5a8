"""What notebooks show: counts, problems first, tables of ten rows, and nothing unescaped."""

from __future__ import annotations

from gdispy import ClusterStatus, DispyJob, DispyNode
from gdispy.client.map_results import ChunkSize, MapResults
from gdispy.client.notebook_views import ROWS, count, job_html, status_html, view
from gdispy.protocol import job_status
from tests.unit.ends import end, end_with


def node(name: str) -> DispyNode:
    made = DispyNode("10.0.0.1", name, 4)
    made.port = 51348
    return made


def test_counts_have_their_noun_in_the_right_number() -> None:
    assert [count(number, "node") for number in (0, 1, 2, 1000)] == ["0 nodes", "1 node", "2 nodes", "1,000 nodes"]


def test_status_says_its_counts_and_its_first_problem() -> None:
    status = ClusterStatus([node("one"), node("two")], 1, ["10.0.0.3: no node", "another"])
    assert repr(status) == "<ClusterStatus: 2 nodes with 8 CPUs, 1 job pending; 10.0.0.3: no node>"
    shown = status_html(status)
    assert shown.index("10.0.0.3: no node") < shown.index("another") < shown.index("<table>") < shown.index("one")


def test_text_of_others_is_escaped() -> None:
    status = ClusterStatus([node("<script>alert(1)</script>")], 0, ["<img src=x>"])
    assert "<script>" not in status_html(status) and "<img" not in status_html(status)
    assert "&lt;script&gt;" in status_html(status)


def test_long_tables_are_cut_and_say_so() -> None:
    rows = [(f"row {number}",) for number in range(ROWS + 5)]
    shown = view("title", [], ("name",), rows)
    assert f"row {ROWS - 1}<" in shown and f"row {ROWS}<" not in shown and "and 5 more" in shown


def test_job_shows_its_error_first_and_its_output() -> None:
    job = DispyJob._new(7, 0.0)
    assert job_html(job) == job._repr_html_() and "DispyJob 7: Created" in job_html(job)
    end_with(job, b"", job_status.TERMINATED, "Traceback\nValueError: <no>", 0.5)
    job.stdout = "<b>printed</b>"
    shown = job_html(job)
    assert shown.index("ValueError: &lt;no&gt;") < shown.index("0.500 s") < shown.index("&lt;b&gt;printed")


def test_finished_job_shows_its_result() -> None:
    job = DispyJob._new(8, 0.0)
    end(job, {"a": 1})
    assert "{&#x27;a&#x27;: 1}" in job_html(job)


def test_results_of_a_map_say_how_many_are_to_come() -> None:
    class Cluster:
        def _enqueue(self, payload: object) -> DispyJob:
            return DispyJob._new(1, 0.0)

        def _cancel_jobs(self, jobs: list[DispyJob]) -> None:
            pass

        def _count_cpus(self) -> int:
            return 1

    results = MapResults(Cluster(), iter([(1,), (2,), (3,)]), lambda row: b"x", ChunkSize(1))
    assert repr(results) == "<MapResults: reading ahead, 0 jobs and 0 results to come>"
    results._read_ahead()
    assert repr(results) == "<MapResults: all items are read, 3 jobs and 0 results to come>"
