"""How long a node waits before it connects to a scheduler again."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.discovery import scheduler_connector as module
from gdispy.discovery.scheduler_connector import (
    NOT_NEEDED,
    RETRY_FIRST,
    RETRY_LIMIT,
    SILENT_LIMIT,
    TELL_INTERVAL,
    SchedulerConnector,
    use,
)
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.protocol.roles import NODE_TO_SCHEDULER
from gdispy.protocol.texts import BUSY
from gdispy.transport import reconnect
from gdispy.transport.connection import CONNECTED
from gdispy.transport.credentials import Secret


class Over(Exception):
    pass


class Made:
    """A connector of a node: each attempt fails with an error, or is a connection that ends for a reason."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *outcomes: Any, host: str = "10.0.0.1") -> None:
        self.outcomes = list(outcomes)
        self.pauses: list[float] = []
        self.attempts: list[tuple[Any, ...]] = []
        self.smalls: list[bool] = []
        self.stuck = False
        self.is_good = False
        home: Any = SimpleNamespace(handlers=lambda: "handlers", use=self._use)
        monkeypatch.setattr(module, "connect", self._connect)
        monkeypatch.setattr(module.gevent, "sleep", self._pause)
        monkeypatch.setattr(reconnect.random, "uniform", lambda least, most: most)
        self.connector = SchedulerConnector(home, Secret(bytes(32), ""), (host, 51347), "10.0.0.9")
        self.freed: list[float] = []
        monkeypatch.setattr(self.connector, "_freed", SimpleNamespace(clear=lambda: None, wait=self.freed.append))

    def _connect(self, *place: Any, small: bool, tls: Any) -> Any:
        if not self.outcomes:
            raise Over
        self.attempts.append(place)
        self.smalls.append(small)
        if isinstance(self.outcomes[0], Exception):
            raise self.outcomes.pop(0)
        return SimpleNamespace(stuck=self.stuck)

    def _use(self, connection: Any, connector: SchedulerConnector) -> None:
        connector.good = self.is_good
        connector.closed(self.outcomes.pop(0))

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def run(self) -> list[float]:
        with pytest.raises(Over):
            self.connector._run()
        return self.pauses


def test_scheduler_that_is_not_started_yet_is_tried_often(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = Made(monkeypatch, *8 * [ConnectFailed("connection refused")]).run()
    assert pauses[:3] == [2 * RETRY_FIRST, 4 * RETRY_FIRST, 8 * RETRY_FIRST]
    assert set(pauses[4:]) == {RETRY_LIMIT}


def test_host_that_does_not_answer_is_tried_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Made(monkeypatch, *12 * [ConnectFailed("no answer")]).run()[-1] == SILENT_LIMIT


def test_permanent_refusal_is_tried_again_after_a_long_pause_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (pause,) = Made(monkeypatch, PeerRejected("the secrets differ")).run()
    assert pause > RETRY_LIMIT
    assert Made(monkeypatch, *3 * [PeerRejected("the secrets differ")]).run()[-1] == NOT_NEEDED


def test_good_connection_ends_the_growth_of_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, *5 * [ConnectFailed("refused")], "the connection broke")
    made.is_good = True
    assert made.run()[-2:] == [RETRY_LIMIT, RETRY_FIRST]


def test_connection_that_ends_before_the_other_side_has_answered_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Made(monkeypatch, *3 * ["the connection broke"]).run() == [
        2 * RETRY_FIRST,
        4 * RETRY_FIRST,
        8 * RETRY_FIRST,
    ]


def test_second_connection_with_the_same_scheduler_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Made(monkeypatch, CONNECTED, CONNECTED).run() == [NOT_NEEDED, NOT_NEEDED]


def test_busy_node_waits_until_it_is_free_or_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, f"{BUSY}in use by another")
    assert made.run() == [] and made.freed == [NOT_NEEDED]


def test_short_packets_are_tried_after_a_connection_got_stuck_and_long_ones_after_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made(monkeypatch, *4 * ["no answer"])
    made.stuck = True
    made.run()
    assert made.smalls == [False, True, False, True]


@pytest.mark.parametrize(("host", "source"), [("10.0.0.1", "10.0.0.9"), ("127.0.0.1", "")])
def test_nodes_address_is_the_source_except_on_this_machine(
    host: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(monkeypatch, CONNECTED, host=host)
    made.run()
    ((to, port, key, role, handlers, from_, _),) = made.attempts
    assert (to, port, role, handlers, from_) == (host, 51347, NODE_TO_SCHEDULER, "handlers", source)
    assert key == Secret(bytes(32), "").for_tcp()


def test_same_problem_is_logged_once_in_an_interval(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    hub = SimpleNamespace(loop=SimpleNamespace(now=lambda: now[0]))
    monkeypatch.setattr(module.gevent, "get_hub", lambda: hub)
    connector = Made(monkeypatch).connector
    monkeypatch.setattr(connector, "_log", module.logger)
    monkeypatch.setattr(module.logger, "log", lambda level, key, *text: logging.getLogger("test").error(*text))
    for now[0], text in [(0.0, "a"), (1.0, "a"), (2.0, "b"), (TELL_INTERVAL + 1, "b"), (TELL_INTERVAL + 2, "b")]:
        connector._tell(text)
    assert [record.getMessage() for record in caplog.records] == [
        f"--connect 10.0.0.1:51347: {text}; trying again" for text in "abb"
    ]


def test_connection_that_the_node_cannot_use_is_closed() -> None:
    aborted: list[str] = []

    def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    connection: Any = SimpleNamespace(abort=aborted.append)
    with pytest.raises(RuntimeError):
        use(SimpleNamespace(use=fail), connection, None)  # type: ignore[arg-type]
    assert aborted == ["a defect of gdispy on this side"]
