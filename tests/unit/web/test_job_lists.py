"""Lists of jobs on a page: paging and searching in a bounded time."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.ids import JobId
from gdispy.protocol.job_status import TERMINATED
from gdispy.web import job_lists
from gdispy.web.ended_jobs import EndedJobs, Origin
from gdispy.web.guard import Refused
from gdispy.web.job_lists import PAGE_ROWS, Query, running, waiting
from gdispy.web.request import Request
from tests.unit.builders import ended, outcome

NODE = b"n" * 16


def request(**query: object) -> Request:
    return Request("GET", "/api/jobs", {name: [str(value)] for name, value in query.items()}, {}, "", "", None)


def table(*numbers: int) -> dict[JobId, str]:
    return {JobId(number): f"job {number}" for number in numbers}


def listed(tables: list[dict[JobId, str]], sought: str = "") -> tuple[list[tuple[int, int]], int]:
    """All pages: the rows, and the number of requests."""
    fits = Query("waiting", sought).fits
    query, rows, count = Query("waiting", sought), list[tuple[int, int]](), 0
    while True:
        found, after = waiting(query, tables, lambda at, number, job: (at, number) if fits([job]) else None)
        rows, count = rows + found, count + 1
        assert len(found) <= PAGE_ROWS
        if after is None:
            return rows, count
        assert after > query.begin
        query = query._replace(begin=after)


def test_pages_of_several_tables_have_every_job_once() -> None:
    tables = [table(*range(1, 131)), {}, table(5, 7), table(*range(60))]
    wanted = [(at, number) for at, each in enumerate(tables) for number in each]
    assert listed(tables) == (wanted, -(-len(wanted) // PAGE_ROWS))


@pytest.mark.parametrize("first", [[], [1], list(range(100))], ids=["none", "one", "a hundred"])
def test_numbers_that_are_gone_behind_long_jobs_are_passed_at_once(first: list[int]) -> None:
    found, count = listed([table(*first, *range(5_000_000, 5_004_000))])
    assert found == [(0, number) for number in (*first, *range(5_000_000, 5_004_000))]
    assert count <= 2 + len(found) // PAGE_ROWS


def test_jobs_that_were_sent_again_are_listed_in_their_order() -> None:
    found, _ = listed([table(*range(100, 3000), *range(50))])
    assert sorted(found) == [(0, number) for number in (*range(50), *range(100, 3000))]


@pytest.mark.parametrize("number", [0, 7, 99_999])
def test_job_whose_number_is_sought_is_on_the_first_page_and_only_there(number: int) -> None:
    tables = [table(*range(100_000)), table(*range(3)), table(number)]

    def row_of(at: int, each: JobId, job: str) -> tuple[int, int] | None:
        return (at, each) if str(number) in job else None

    query = Query("waiting", str(number))
    rows, _ = waiting(query, tables, row_of)
    wanted = [(at, number) for at, each in enumerate(tables) if number in each]
    assert rows[: len(wanted)] == wanted
    found, _ = listed(tables, str(number))
    assert sorted(found) == [(at, each) for at, jobs in enumerate(tables) for each in jobs if str(number) in str(each)]


def test_number_that_very_many_computations_have_is_listed_once_for_each() -> None:
    tables = [table(0, 1) for _ in range(3 * PAGE_ROWS)]
    found, _ = listed(tables, "0")
    assert sorted(found) == [(at, 0) for at in range(len(tables))]


def test_running_job_whose_number_is_sought_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lists, "LOOKED_AT", 10)
    tables = [table(*range(20)), table(*range(20))]
    found = [(at, number) for at, number, _ in running(Query("running", "15"), tables)]
    assert found == [(0, 15), (1, 15), *((0, number) for number in range(10))]
    found = [(at, number) for at, number, _ in running(Query("running", "5"), tables)]
    assert found == [(0, 5), (1, 5), *((0, number) for number in range(10) if number != 5)]
    assert [number for _, number, _ in running(Query("running"), tables)] == list(range(10))


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "٣", "²", "9" * 200, "1e3"])
def test_other_texts_are_no_numbers_of_jobs(text: str) -> None:
    assert Query("waiting", text).number is None and Query("waiting", "0012").number == 12


def test_request_looks_through_a_bounded_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lists, "LOOKED_AT", 100)
    looked: list[int] = []
    query = Query("waiting", "job 999")
    found, after = waiting(query, [table(*range(1000))], lambda at, number, job: looked.append(number))
    assert found == [] and after == 100 and len(looked) == 100
    assert listed([table(*range(1000))], "job 999") == ([(0, 999)], 10)
    assert waiting(Query("waiting", "", (1 << 53) - 1), [table(1)], lambda at, number, job: number) == ([], None)


def test_query_is_checked() -> None:
    assert Query.of(request()) == Query("running") and Query.of(request(kind="ended", q=" A ")).sought == "a"
    for wrong in ({"kind": "all"}, {"from": "x"}):
        with pytest.raises(Refused):
            Query.of(request(**wrong))


def made(count: int) -> EndedJobs:
    jobs = EndedJobs(lambda node: ("worker", 1))
    for number in range(count):
        row = outcome(number, status=TERMINATED, exception=f"Error: {number}", start=0.5, end=1.0 + number)
        jobs.note(ended(row, node=NODE), None, Origin("f", "ann"))
    return jobs


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [row["number"] for row in rows]


def test_failures_and_ended_jobs_are_paged_with_the_newest_first() -> None:
    jobs = made(130)
    rows = job_lists.ended(Query("ended", begin=50), [(jobs, row) for row in jobs.newest()])
    assert numbers(rows) == list(range(79, 28, -1)) and rows[0]["client"] == "ann"
    answer = Query("ended", begin=50).answer(rows)
    assert answer["next"] == 100 and len(answer["jobs"]) == PAGE_ROWS  # type: ignore[arg-type]
    assert Query("ended").answer(rows[:50])["next"] is None
    assert [each.number for each in job_lists.failures(Query("failed", "error: 12"), jobs.failures)] == [
        *range(129, 119, -1),
        12,
    ]
    assert [each.number for each in job_lists.failures(Query("failed", "", 120), jobs.failures)] == list(
        range(9, -1, -1)
    )
