"""When no more jobs are started."""

from __future__ import annotations

import pytest

from gdispy.cli.halt_rule import Halt, HaltRule
from gdispy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "ended", "failed", "halt"),
    [
        ("never", 9, 9, Halt.CONTINUE),
        ("0", 9, 9, Halt.CONTINUE),
        ("soon,fail=1", 9, 0, Halt.CONTINUE),
        ("soon,fail=1", 9, 1, Halt.SOON),
        ("1", 9, 1, Halt.SOON),
        ("2", 9, 1, Halt.NOW),
        ("now,fail=3", 9, 2, Halt.CONTINUE),
        ("now,fail=3", 9, 3, Halt.NOW),
        ("now,success=1", 3, 3, Halt.CONTINUE),
        ("now,success=1", 3, 2, Halt.NOW),
        ("soon,done=4", 4, 1, Halt.SOON),
        ("now,fail=50%", 1, 1, Halt.CONTINUE),
        ("now,fail=50%", 4, 1, Halt.CONTINUE),
        ("now,fail=50%", 4, 2, Halt.NOW),
        ("now,fail=100%", 3, 3, Halt.NOW),
    ],
)
def test_decision_after_a_job(text: str, ended: int, failed: int, halt: Halt) -> None:
    assert HaltRule.read(text).after(ended, failed) is halt


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("soon", "write never, or"),
        ("now,fail", "write never, or"),
        ("later,fail=1", "write never, or"),
        ("now,fail=0", "at least 1"),
        ("now,fail=101%", "at most 100"),
        ("now,done=10%", "not a percentage"),
    ],
)
def test_other_rules_are_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        HaltRule.read(text)
