"""Log records as provisional results."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from gdispy.worker import forwarded_logs
from gdispy.worker.forwarded_logs import (
    MARK,
    TEXT_LIMIT,
    ForwardHandler,
    Forwarding,
    client_levels,
    pack_record,
    unpack_record,
)
from gdispy.worker.node_log import NODE_LOGGER
from gdispy.worker.runner import running


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("gdispy.test.forwarded").setLevel(logging.NOTSET)


def record(message: str = "step %d of %s", *args: object, **more: Any) -> logging.LogRecord:
    found = logging.getLogger("a.b").makeRecord("a.b", logging.WARNING, "/f.py", 12, message, args, None, "run")
    vars(found).update(more)
    return found


def test_record_arrives_with_its_text_its_place_and_what_the_user_adds() -> None:
    packed = pack_record(record("step %d of %s", 3, object, user="u", size=5, parts=[1]))
    found = unpack_record(packed)
    assert found is not None and packed[:1] == MARK
    made = logging.makeLogRecord(found)
    assert (made.name, made.levelno, made.getMessage()) == ("a.b", logging.WARNING, f"step 3 of {object}")
    assert (made.pathname, made.lineno, made.funcName) == ("/f.py", 12, "run")
    assert (made.user, made.size, made.parts) == ("u", 5, "[1]")  # type: ignore[attr-defined]


def test_percent_sign_in_the_text_is_no_format_any_more() -> None:
    assert logging.makeLogRecord(unpack_record(pack_record(record("%s", "100 %d"))) or {}).getMessage() == "100 %d"


def test_traceback_is_sent_as_text() -> None:
    try:
        raise ValueError("bad")
    except ValueError as error:
        found = unpack_record(pack_record(record("failed", exc_info=(type(error), error, error.__traceback__))))
    assert found is not None and found["exc_text"].endswith("ValueError: bad") and "exc_info" not in found


def test_texts_and_numbers_are_bounded() -> None:
    found = unpack_record(pack_record(record("x" * 100_000, huge=1 << 100, text="y" * 100_000)))
    assert found is not None
    assert len(found["msg"]) <= TEXT_LIMIT and len(found["text"]) <= TEXT_LIMIT and found["huge"] == str(1 << 100)


@pytest.mark.parametrize("value", [b"", b"\x80\x04", b"\x03abc", None, 5])
def test_other_provisional_results_are_no_records(value: object) -> None:
    assert unpack_record(value) is None


@pytest.mark.parametrize("fields", [5, [1, 2], [{}, {}], [{"levelno": 1}, {}], [{"levelno": "x"}, 5]])
def test_damaged_record_is_refused(fields: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        unpack_record(MARK + msgpack.packb(fields))


def test_attributes_of_records_cannot_be_replaced_by_additional_ones() -> None:
    head = {"name": "a", "levelno": 30, "levelname": "WARNING", "msg": "m", "args": (1,)}
    found = unpack_record(MARK + msgpack.packb([head, {"args": "x", "exc_info": "y", "own": 1}]))
    assert found is not None and found["own"] == 1 and "args" not in found and "exc_info" not in found


def test_levels_that_were_set_are_those_of_the_client() -> None:
    logging.getLogger("gdispy.test.forwarded").setLevel(logging.DEBUG)
    logging.getLogger("x" * 1000).setLevel(logging.DEBUG)
    levels = client_levels()
    assert levels[""] == logging.getLogger().level and levels["gdispy.test.forwarded"] == logging.DEBUG
    assert "x" * 1000 not in levels


def test_records_of_a_job_are_sent_by_it_and_others_go_to_the_log_of_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[bytes] = []
    kept: list[logging.LogRecord] = []
    Forwarding({"": logging.INFO, "gdispy.test.forwarded": logging.ERROR})
    assert [type(each) for each in logging.getLogger().handlers] == [ForwardHandler]
    monkeypatch.setattr(logging.getLogger(NODE_LOGGER), "handle", kept.append)
    logging.getLogger("gdispy.test.forwarded").error("in setup")
    monkeypatch.setattr(running, "job", SimpleNamespace(send_progress=sent.append))
    logging.getLogger("gdispy.test.forwarded").error("in a job")
    logging.getLogger("gdispy.test.forwarded").info("too low")
    assert [each.getMessage() for each in kept] == ["in setup"]
    assert [(forwarded_logs.unpack_record(each) or {})["msg"] for each in sent] == ["in a job"]


def test_what_a_job_does_to_handlers_and_loggers_does_not_concern_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Forwarding({"": logging.INFO})
    [handler] = logging.getLogger().handlers
    seen: list[list[logging.Handler]] = []
    run = made.around(lambda arguments, job: seen.append(list(logging.getLogger().handlers)) or (11, b"", ""))  # type: ignore[func-returns-value]
    logging.getLogger().handlers.clear()
    logging.getLogger("gdispy.test.forwarded").disabled = True
    monkeypatch.setitem(forwarded_logs.sys.modules, "logging.config", None)
    assert run(b"", None) == (11, b"", "")  # type: ignore[arg-type]
    assert seen == [[handler]] and not logging.getLogger("gdispy.test.forwarded").disabled
