"""The answer to `/metrics`: what a daemon or a program counts, in the format that Prometheus reads.

Runs in the loop of the page's server. `prometheus_client` (the extra `gdispy[metrics]`) is imported with this module;
it is only used to write the format: the counts are kept by `JobMetrics`, and gauges are read when they are requested.

Invariant: no label has an id, a text of a user or a process number. Names of computations are bounded, see
`JobMetrics.label`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gdispy import config
from gdispy.web.gauges import Gauge
from gdispy.web.job_metrics import BOUNDS, KINDS, Histogram, JobMetrics


class Source(Protocol):
    """What has metrics."""

    #: What the process is: scheduler, node or program.
    role: str

    @property
    def metrics(self) -> JobMetrics:
        """The jobs that have ended."""

    def gauges(self) -> Iterable[Gauge]:
        """Figures at present. Takes a time that does not grow with the number of jobs."""


def exposition(source: Source, accept: str) -> tuple[bytes, str]:
    """The metrics, and their content type; `accept` is the header of the request."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Families(source))
    encode, kind = choose_encoder(accept)
    return bytes(encode(registry)), kind


class _Families(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        metrics, gauges = self._source.metrics, list(self._source.gauges())
        versions: dict[tuple[str, ...], float] = {(self._source.role, config.VERSION, platform.python_version()): 1.0}
        yield _family(Gauge("info", "The version, as labels; the value is 1.", ("role", "version", "python"), versions))
        yield from _ended(metrics)
        text = "Seconds from the arrival of a job here to its start, for jobs that have ended."
        yield _histogram("gdispy_job_queue_seconds", text, metrics.queued)
        yield _histogram("gdispy_job_run_seconds", "Seconds from the start of a job to its end.", metrics.ran)
        text = "Seconds from the end of a job on its node until its result was here."
        yield _histogram("gdispy_job_overhead_seconds", text, metrics.returned)
        for gauge in gauges:
            yield _family(gauge)


def _ended(metrics: JobMetrics) -> Iterator[CounterMetricFamily]:
    text = "Jobs that have ended, by outcome and reason."
    family = CounterMetricFamily("gdispy_jobs_ended", text, None, ("outcome", "reason"))
    for kind in KINDS:
        family.add_metric(kind, metrics.ended[kind])
    yield family
    if not metrics.most_computations:
        return
    text = "The same, of the computations that are named."
    family = CounterMetricFamily("gdispy_computation_jobs_ended", text, None, ("computation", "outcome", "reason"))
    known = {(*each, *kind): 0 for each in metrics.labels for kind in KINDS}
    for labels, count in sorted({**known, **metrics.ended_of}.items()):
        family.add_metric(labels, count)
    yield family


def _histogram(name: str, about: str, found: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, about, None, None, ())
    total, parts = 0, []
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], found.counts, strict=True):
        total += count
        parts.append((bound, float(total)))
    family.add_metric((), parts, found.total)
    return family


def _family(gauge: Gauge) -> Metric:
    name = f"gdispy_{gauge.name}"
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(name, gauge.about, None, gauge.labels)
    for values, value in gauge.values.items():
        family.add_metric(values, value)
    return family
