"""The log of a message that could not be handled."""

from __future__ import annotations

import pytest

from gdispy.protocol.messages import Release, Released
from gdispy.runtime import fault_log as module
from gdispy.runtime.fault_log import log_fault
from gdispy.runtime.limited_log import LimitedLog
from tests.unit.builders import C


def test_traceback_is_logged_once_for_a_kind_of_message_and_of_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "_log", LimitedLog(module.logger, module.INTERVAL, lambda: now[0]))
    for message, error in ((Release(C), ValueError("a")), (Release(C), ValueError("b")), (Release(C), KeyError("c"))):
        log_fault(message, error)
    log_fault(Released(C), ValueError("d"))
    now[0] = module.INTERVAL
    log_fault(Release(C), ValueError("e"))
    kinds = [text.splitlines()[0].split()[2] for text in caplog.messages]
    assert kinds == ["Release", "Release", "Released", "Release"]
    assert [text.rpartition(" ")[2].strip("'") for text in caplog.messages] == ["a", "c", "d", "e"]
    assert all(record.levelname == "ERROR" for record in caplog.records)
