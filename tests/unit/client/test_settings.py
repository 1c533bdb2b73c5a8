"""The settings of a cluster are fixed when it is created."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from gdispy.client.scheduler_pool import SharedSchedulerKey
from gdispy.client.settings import ClusterSettings

KEY = SharedSchedulerKey("lab", 51347, b"k" * 32, "", (False, None))


@pytest.mark.parametrize(("name", "value"), [("reentrant", True), ("key", None), ("results", "plain")])
def test_settings_do_not_change(name: str, value: Any) -> None:
    settings = ClusterSettings(KEY, 51348, False)
    with pytest.raises(FrozenInstanceError):
        setattr(settings, name, value)


def test_job_runs_once_and_its_results_are_pickled_unless_that_is_set() -> None:
    settings = ClusterSettings(KEY, 51348, False)
    flags = (
        settings.has_cleanup,
        settings.reentrant,
        settings.exclusive,
        settings.waits_for_nodes,
        settings.overwrites,
    )
    assert not any(flags) and settings.results == ""
    assert settings.jobs is not ClusterSettings(KEY, 51348, False).jobs
