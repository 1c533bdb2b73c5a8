"""Clusters of this process, joined to real nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
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
    """Makes clusters that use one CPU, so that one process after the other runs the jobs."""

    def make(computation: Any, **options: Any) -> JobCluster:
        return cluster(computation, nodes=[NodeAllocate(*node.place, cpus=1)], **options)

    return make


@pytest.fixture
def many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of more files than one batch takes, in `many` of the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "many").mkdir()
    names = [f"many/{number}" for number in range(4_200)]
    for name in names:
        Path(name).write_text("x")
    return names
