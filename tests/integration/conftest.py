"""Clusters of this process, joined to real nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gdispy import JobCluster, NodeAllocate
from tests.support.daemons import Daemon


@pytest.fixture
def cluster(node: Daemon, secret_file: str) -> Iterator[Callable[..., JobCluster]]:
    """Makes clusters on the module's node; closes them after the test."""
    made: list[JobCluster] = []

    def make(computation: Any, **options: Any) -> JobCluster:
        options.setdefault("nodes", [node.place])
        options.setdefault("secret_file", secret_file)
        made.append(JobCluster(computation, **options))
        return made[-1]

    yield make
    for each in made:
        each.close(timeout=0, terminate=True)


@pytest.fixture
def one(cluster: Callable[..., JobCluster], node: Daemon) -> Callable[..., JobCluster]:
    """Callable[..., JobCluster]s clusters that use one CPU, so that one process after the other runs the jobs."""

    def make(computation: Any, **options: Any) -> JobCluster:
        return cluster(computation, nodes=[NodeAllocate(*node.place, cpus=1)], **options)

    return make
