"""The answer to `/metrics`, read as Prometheus' own parser reads it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from gdispy import config
from gdispy.protocol.job_status import FINISHED, TERMINATED
from gdispy.rules.end_reason import REASONS
from gdispy.web.gauges import Gauge, jobs_of, single
from gdispy.web.job_metrics import KINDS, JobMetrics
from gdispy.web.metrics import exposition


class Made:
    """A source with jobs."""

    role = "scheduler"

    def __init__(self, most: int = 20) -> None:
        self.metrics = JobMetrics(most)

    def gauges(self) -> Iterable[Gauge]:
        yield from jobs_of(self.metrics, [("f", 3, 2)])
        yield single("cpus", "CPUs.", 8)
        yield Gauge("sent_bytes_total", "Bytes.", ("to",), {("nodes",): 5})


def samples(source: Made) -> dict[str, float]:
    text, kind = exposition(source, "")
    assert kind.startswith("text/plain")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_counts_gauges_and_histograms_are_there() -> None:
    made = Made()
    text = "Traceback (most recent call last):\nsecret"
    made.metrics.count("f", [FINISHED, TERMINATED], ["", text], [5.0, 5.0], [5.5, 7.0], [1.0, 1.0], [8.0, 8.0])
    found = samples(made)
    for name, computation in (("jobs", ""), ("computation_jobs", "computation=f,")):
        assert found[f"gdispy_{name}_ended_total{{{computation}outcome=finished,reason=}}"] == 1
        assert found[f"gdispy_{name}_ended_total{{{computation}outcome=failed,reason=exception}}"] == 1
    assert found["gdispy_jobs_waiting{computation=f}"] == 3
    assert found["gdispy_cpus{}"] == 8
    assert found["gdispy_sent_bytes_total{to=nodes}"] == 5
    assert found["gdispy_job_run_seconds_bucket{le=0.5}"] == 1
    assert found["gdispy_job_run_seconds_bucket{le=+Inf}"] == found["gdispy_job_run_seconds_count{}"] == 2
    assert found["gdispy_job_run_seconds_sum{}"] == pytest.approx(2.5)
    assert found["gdispy_job_queue_seconds_sum{}"] == pytest.approx(8.0)
    assert found["gdispy_job_overhead_seconds_sum{}"] == pytest.approx(3.5)
    [info] = [name for name in found if name.startswith("gdispy_info")]
    assert f"version={config.VERSION}" in info and "role=scheduler" in info
    assert found["process_resident_memory_bytes{}"] > 1e6
    assert not any("secret" in name for name in found)


def test_counts_of_all_outcomes_begin_with_zero() -> None:
    found = samples(Made())
    ends = {name: value for name, value in found.items() if name.startswith("gdispy_jobs_ended_total")}
    assert len(ends) == len(KINDS) and set(ends.values()) == {0}
    assert {reason for _, reason in KINDS} == {"", *REASONS}


def test_parts_of_histograms_rise() -> None:
    made = Made()
    made.metrics.count("f", [FINISHED] * 3, [""] * 3, [1.0] * 3, [1.0005, 4.0, 1e9], [], [1e9] * 3)
    found = samples(made)
    parts = [value for name, value in found.items() if name.startswith("gdispy_job_run_seconds_bucket")]
    assert parts == sorted(parts) and parts[0] == 1 and parts[-1] == 3


def test_without_names_no_label_has_a_name() -> None:
    made = Made(0)
    made.metrics.count("f", [FINISHED], [""], [1.0], [2.0], [], [2.0])
    found = samples(made)
    assert found["gdispy_jobs_ended_total{outcome=finished,reason=}"] == 1
    assert found["gdispy_jobs_waiting{}"] == 3
    assert not any("computation" in name for name in found)


def test_prometheus_gets_the_format_that_it_prefers() -> None:
    text, kind = exposition(Made(), "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert kind.startswith("application/openmetrics-text")
    assert {family.name for family in open_metrics(text.decode())} >= {"gdispy_jobs_ended", "gdispy_cpus"}
