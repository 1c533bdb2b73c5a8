"""A job: what its options ask for, and what it occupies."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.protocol.rows import JobOptions
from gdispy.rules.node.job import Job
from tests.unit.builders import Announced
from tests.unit.rules.node.building import job


def test_options_say_how_many_cpus_it_has_and_for_how_long() -> None:
    made = job(1, options=JobOptions(b"", 0, 1.5, 3, 0, b"", [], [], []))
    assert (made.cpus, made.limit, made.options is not None) == (3, 1.5, True)


def test_options_in_which_nothing_is_for_the_worker_are_left_out() -> None:
    made = job(1, options=JobOptions(b"node", 7, 1.5, 1, 0, b"", [], [], []))
    assert (made.cpus, made.limit, made.options) == (1, 1.5, None)


def test_all_that_it_needed_is_given_back() -> None:
    arguments, names, content = Announced(1), Announced(1), Announced(1)
    Job(JobId(1), 1, arguments, JobOptions(names=names, files=[["f"]], contents=[content], cpus=1)).release()
    assert [each.released for each in (arguments, names, content)] == [1, 1, 1]
