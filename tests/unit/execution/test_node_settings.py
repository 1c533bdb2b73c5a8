"""The settings of a node: a node without options is safe and keeps results. The options: `tests/unit/cli`."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from gdispy import config
from gdispy.execution.node_settings import NodeSettings
from gdispy.rules.node.sessions import LEASE
from gdispy.transport.credentials import Secret

SECRET = Secret(bytes(32), "")


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        NodeSettings(SECRET, 1).cpus = 2  # type: ignore[misc]


def test_node_without_options_serves_for_ever_and_no_program_may_stop_it() -> None:
    settings = NodeSettings(SECRET, 1)
    assert settings.serve == -1 and settings.hours is None and settings.lease == LEASE
    assert not settings.client_shutdown and not settings.private


def test_number_of_processes_of_a_job_is_limited_unless_that_is_set() -> None:
    assert NodeSettings(SECRET, 1).limits.processes == config.PROCESS_LIMIT > 0
    assert NodeSettings(SECRET, 1).limits.memory == 0
