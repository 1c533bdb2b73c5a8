"""Explanations as text, and of jobs that nothing more is known of."""

from __future__ import annotations

import pytest

from gdispy import ConfigError, DispyJob
from gdispy.client.explanation import Explanation, explain_job, stack_of


def test_facts_are_shown_in_lines_with_their_values_below_each_other() -> None:
    made = Explanation([("state", "Running"), ("last output", "one\ntwo"), ("state", "again")])
    assert str(made) == "state:       Running\nlast output: one\n             two\nstate:       again"
    assert made.get("state") == "Running" and made.get("none") == "" and list(made)[1] == ("last output", "one\ntwo")
    assert str(Explanation([])) == ""


def test_job_that_has_ended_is_explained_without_its_cluster() -> None:
    job = DispyJob._new(7, 1.0)
    job._status, job._exception, job._done = DispyJob.Terminated, "Traceback\nValueError: 5\n", True
    job.start_time, job.end_time, job.ip_addr = 2.0, 4.5, "10.0.0.1"
    found = explain_job(job)
    assert found.get("state") == "Terminated" and found.get("error") == "Traceback\nValueError: 5"
    assert found.get("started").endswith("on 10.0.0.1") and found.get("ended").endswith("after 2.500 s")
    with pytest.raises(ConfigError, match="nothing is known of job 7: its cluster does not exist"):
        stack_of(job)


def test_unfinished_job_without_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match="its cluster does not exist in this process any more"):
        DispyJob().explain()
