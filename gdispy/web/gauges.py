"""Figures of the present, for metrics. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from gdispy.web.job_metrics import JobMetrics


class Gauge(NamedTuple):
    """A figure at the time of the request; a counter if its name ends with `_total`."""

    #: Without the prefix `gdispy_`.
    name: str
    about: str
    labels: tuple[str, ...]
    #: By the values of the labels.
    values: dict[tuple[str, ...], float]


def single(name: str, about: str, value: float) -> Gauge:
    """A gauge without labels."""
    return Gauge(name, about, (), {(): value})


def states(name: str, about: str, known: Iterable[str], found: Iterable[str]) -> Gauge:
    """How many things are in each state; `known` are all states, so that a state without things is reported as 0."""
    counts = Counter(found)
    return Gauge(name, about, ("state",), {(state.replace(" ", "_"),): counts[state] for state in known})


def jobs_of(metrics: JobMetrics, counts: Iterable[tuple[str, int, int]]) -> list[Gauge]:
    """Waiting and running jobs, of rows with the name of a computation and both numbers."""
    waiting: Counter[tuple[str, ...]] = Counter()
    running: Counter[tuple[str, ...]] = Counter()
    names = ("computation",) if metrics.most_computations else ()
    for label in metrics.labels if names else [()]:  # Also those without jobs: lines of charts end at 0.
        waiting[tuple(label)] = running[tuple(label)] = 0
    for computation, waits, runs in counts:
        key = (metrics.label(computation),) if names else ()
        waiting[key] += waits
        running[key] += runs
    return [
        Gauge("jobs_waiting", "Jobs that wait for a CPU.", names, dict(waiting)),
        Gauge("jobs_running", "Jobs that run.", names, dict(running)),
    ]
