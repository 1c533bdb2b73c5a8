"""No greenlet ends unseen, and those that must go on do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from gdispy.errors import ForkedError
from gdispy.runtime import greenlets
from gdispy.runtime.greenlets import PAUSE_FIRST, PAUSE_LIMIT, guarded, keep_running, spawn, spawn_later


@pytest.fixture(autouse=True)
def fresh_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have logged does not count."""
    monkeypatch.setattr(greenlets, "_once", greenlets.LimitedLog(greenlets.logger))
    monkeypatch.setattr(greenlets, "_again", greenlets.LimitedLog(greenlets.logger, greenlets.TELL_INTERVAL))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    found: list[float] = []
    monkeypatch.setattr(greenlets, "_pause", found.append)
    yield found


def failing(*errors: BaseException) -> Callable[[], str]:
    """A work that raises these, one after the other, and then returns."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def test_a_failure_is_logged_with_its_traceback_and_what_the_work_was_for(caplog: pytest.LogCaptureFixture) -> None:
    greenlet = spawn(failing(KeyError("the cause")), what="a look for clients")
    greenlet.join()
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    text = record.getMessage()
    assert "a look for clients" in text and "KeyError: 'the cause'" in text and "in work" in text
    assert greenlet.value is None


def test_what_depends_on_a_work_hears_of_its_failure(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[BaseException] = []
    spawn(failing(KeyError("x")), what="a test", on_failure=heard.append).join()
    spawn(failing(), what="a test", on_failure=heard.append).join()
    assert [type(each) for each in heard] == [KeyError]


def test_a_failure_to_deal_with_a_failure_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    def fail(error: BaseException) -> None:
        raise LookupError("the second")

    spawn(failing(KeyError("the first")), what="a test", on_failure=fail).join()
    assert "the first" in caplog.text and "the second" in caplog.text


def test_a_work_gives_what_it_returns_and_gets_its_arguments() -> None:
    greenlet = spawn(max, 3, 5, what="a test")
    greenlet.join()
    assert greenlet.value == 5


def test_what_is_killed_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    for start in (spawn, keep_running):
        greenlet = start(gevent.sleep, 100.0, what="a test")
        gevent.idle()
        greenlet.kill()
        assert greenlet.dead
    spawn(failing(gevent.GreenletExit()), what="a test").join()
    assert caplog.records == []


def test_a_work_that_is_later_is_guarded_too(caplog: pytest.LogCaptureFixture) -> None:
    spawn_later(0.0, failing(KeyError("x")), what="a test").join()
    assert "a test" in caplog.text


def test_what_must_go_on_is_started_again_after_pauses_that_grow(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    errors = [OSError("gone"), UnicodeError("no host"), gevent.Timeout(1), *(KeyError(n) for n in range(7))]
    greenlet = keep_running(failing(*errors), what="a dialer")
    greenlet.join()
    assert pauses[:3] == [PAUSE_FIRST, 2 * PAUSE_FIRST, 4 * PAUSE_FIRST]
    assert pauses[-1] == PAUSE_LIMIT and len(pauses) == len(errors)
    assert sum("KeyError" in record.getMessage() for record in caplog.records) == 1  # At most one a minute.
    assert all("a dialer" in record.getMessage() for record in caplog.records)


def test_after_a_good_while_the_pauses_are_short_again(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 2.0, 3.0, 4.0, 4.0 + 2 * PAUSE_LIMIT, 100.0])
    monkeypatch.setattr(greenlets, "_now", lambda: next(now))
    keep_running(failing(*(KeyError(n) for n in range(3))), what="a test").join()
    assert pauses == [PAUSE_FIRST, 2 * PAUSE_FIRST, PAUSE_FIRST]


def test_what_goes_on_ends_in_a_forked_child(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    keep_running(failing(ForkedError()), what="a test").join()
    assert (pauses, caplog.records) == ([], [])


def test_a_callback_of_the_loop_is_guarded(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []
    guarded(failing(KeyError("x")), "a test", heard.append)()
    assert "a test" in caplog.text and [type(each) for each in heard] == [KeyError]
    caplog.clear()
    guarded(heard.append, "a test")(5)
    assert heard[1:] == [5] and caplog.records == []


def test_texts_of_peers_in_tracebacks_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    spawn(failing(ValueError("\x1b[2J\u202eevil" + 100_000 * "x")), what="the node \x1b[1m").join()
    (record,) = caplog.records
    assert "\x1b" not in record.getMessage() and "\u202e" not in record.getMessage()
    assert len(record.getMessage()) < 20_000
