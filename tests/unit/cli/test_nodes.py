"""What `gdispy nodes` asks for and shows. On networks: `tests/network/test_nodes_command.py`."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from gdispy.cli import nodes as module
from gdispy.cli.nodes import LISTEN, LISTEN_NAMED, MOMENTS, Found, NodeSurvey, lines, nodes_main
from gdispy.cli.options import EXIT_USAGE
from gdispy.discovery.beacon import HERE, LOOK, Packet
from gdispy.discovery.route import Route
from gdispy.errors import ConnectFailed, PeerRejected
from gdispy.net import RelayAddress
from gdispy.protocol.discovery import RELAY
from gdispy.protocol.messages import Availability, Message, Overview
from gdispy.protocol.rows import ComputationOverviewRow, NodeOverviewRow
from gdispy.transport.credentials import Secret
from tests.unit.builders import hello

SECRET = Secret(bytes(32), "")
ROUTE = Route("10.0.0.9", 51348)


def overview(cpus: int = 4, load: int = 0, connected: bool = False, clients: tuple[str, ...] = ()) -> Overview:
    rows = [ComputationOverviewRow(each, "10.0.0.1", "f", 0, 1) for each in clients]
    return Overview(1, [NodeOverviewRow("", "", 51348, cpus, load, connected)], rows)


def found_by(*messages: Message, route: Route = ROUTE) -> Found:
    return module._found(route, [hello(b"n" * 16, "worker", 4), *messages])


def test_node_is_described_by_what_it_reports() -> None:
    found = found_by(Availability([12.4, 1.0, 1.0, 1.0]), overview(load=3))
    expected = Found("worker", "10.0.0.9:51348", "0.1.0", "3.11", 4, 3, 12.4, platform="linux", memory=1, disk=1)
    assert found == expected
    assert found_by(overview(clients=("a",))).computations == [{"client": "a", "name": "f", "waiting": 0, "running": 1}]
    assert found_by(Availability([]), overview()).idle is None


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (overview(), ""),
        (overview(cpus=0, connected=True), "not accepting jobs at present"),
        (overview(connected=True), "in use by another program"),
        (overview(connected=True, clients=("b", "a", "b")), "in use by a, b"),
        (overview(clients=("a",)), ""),
    ],
)
def test_node_that_cannot_be_used_says_why(answer: Overview, problem: str) -> None:
    assert found_by(answer).problem == problem


def test_node_behind_a_relay_is_shown_with_that() -> None:
    route = Route("10.2.0.9", 51348, RelayAddress("10.2.0.2", 51349, bytes(32)))
    found = found_by(overview(), route=route)
    assert found.relay == "10.2.0.2:51349"
    assert lines([found])[1].endswith("free, through the relay at 10.2.0.2:51349")


def test_table_has_a_row_for_each_node_without_numbers_that_are_not_known() -> None:
    free = Found("worker", "10.0.0.9:51348", "0.1.0", "3.11", 4, 0, 99.6)
    silent = Found("", "10.0.0.8:51348", problem="10.0.0.8:51348 cannot be reached: no answer")
    head, first, second = lines([free, silent])
    assert head.split() == ["node", "address", "gdispy", "Python", "CPUs", "busy", "idle", "state"]
    assert first.split() == ["worker", "10.0.0.9:51348", "0.1.0", "3.11", "4", "0", "100", "%", "free"]
    assert second.split(maxsplit=2) == ["?", "10.0.0.8:51348", "cannot be reached: no answer"]


def test_no_node_is_explained() -> None:
    (line,) = lines([])
    assert line.startswith("no gdispy-node was found: start gdispy-node") and "the same secret" in line


# The survey


class Made:
    """A survey without a network: nodes answer by route, and others fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *targets: tuple[str, int], **options: Any) -> None:
        self.answers: dict[Route, Any] = {}
        self.visited: list[tuple[Route, float]] = []
        values = {"ip_addr": "", "ipv4_udp_multicast": False, "only": False, "node_port": 51348}
        monkeypatch.setattr(module, "resolve", lambda host, port, kind: [(2, 1, 0, "", (host, 0))])
        monkeypatch.setattr(module, "spawn", lambda work, *args, what: gevent.spawn(work, *args))
        self.survey: Any = NodeSurvey(SECRET, SimpleNamespace(**{**values, **options}), list(targets))
        monkeypatch.setattr(self.survey, "_visit_by", self._visit)

    def _visit(self, route: Route, limit: float) -> tuple[Any, Found]:
        self.visited.append((route, limit))
        answer = self.answers.get(route, ConnectFailed(f"{route.place} cannot be reached"))
        if isinstance(answer, Exception):
            raise answer
        return answer, Found(str(answer), route.place, "0.1.0")

    def hear(self, kind: int, source: str, instance: bytes = b"i" * 16, **fields: Any) -> None:
        values: dict[str, Any] = {"time": 1.0, "port": 51348, "address": "", "name": "worker"}
        packet = Packet(kind, instance, **{**values, **fields})
        self.survey._on_packet(None, packet, (source, 999))

    def found(self) -> list[Found]:
        result: list[Found] = self.survey._visit_all()
        return result


def test_named_host_is_visited_although_it_was_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, ("10.0.0.9", 51348))
    assert made.found() == [Found("", ROUTE.place, problem=f"{ROUTE.place} cannot be reached")]
    assert made.visited == [(ROUTE, module.ANSWER_LIMIT)]


def test_named_host_that_was_found_is_visited_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, ("10.0.0.9", 51348))
    made.answers[ROUTE] = "a"
    made.hear(HERE, "10.0.0.9")
    made.hear(HERE, "10.0.0.9")
    assert [each.name for each in made.found()] == ["a"] and len(made.visited) == 1


def test_named_relay_is_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, ("10.0.0.2", 51348))
    made.hear(RELAY, "10.0.0.2")
    assert made.found() == [] and made.visited == []


def test_packets_without_a_port_are_of_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    made.hear(HERE, "10.0.0.9", port=0)
    made.hear(LOOK, "10.0.0.9")
    assert made.found() == []


def test_routes_of_a_node_are_tried_one_after_the_other_and_link_local_ones_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made(monkeypatch)
    for source in ("fe80::9%eth0", "10.0.0.9", "10.0.1.9"):
        made.hear(HERE, source)
    last = Route("fe80::9%eth0", 51348)
    made.answers[last] = "a"
    assert [each.name for each in made.found()] == ["a"]
    assert made.visited == [(each, module.ROUTE_LIMIT) for each in (ROUTE, Route("10.0.1.9", 51348), last)]


def test_node_that_no_route_reaches_is_shown_by_its_announced_name_with_each_reason_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made(monkeypatch)
    made.hear(HERE, "10.0.0.9")
    made.hear(HERE, "10.0.1.9")
    made.answers = dict.fromkeys([ROUTE, Route("10.0.1.9", 51348)], PeerRejected("the secrets differ"))
    assert made.found() == [Found("worker", ROUTE.place, problem="the secrets differ")]


def test_node_that_answers_at_two_places_is_shown_once_and_free_nodes_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made(monkeypatch, ("10.0.0.7", 51348), ("10.0.0.8", 51348), ("10.0.0.9", 51348), ("10.0.0.10", 51348))
    made.answers = {ROUTE: "b", Route("10.0.0.8", 51348): "b", Route("10.0.0.10", 51348): "a"}
    assert [(each.name, bool(each.problem)) for each in made.found()] == [("a", False), ("b", False), ("", True)]


def test_name_that_is_not_resolved_is_visited_for_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("not known")

    made = Made(monkeypatch, ("nowhere", 51348))
    monkeypatch.setattr(module, "resolve", fail)
    assert [each.problem for each in made.found()] == ["nowhere:51348 cannot be reached"]


@pytest.mark.parametrize(("only", "times"), [(False, len(MOMENTS)), (True, 0)])
def test_requests_are_repeated_unless_only_the_named_hosts_are_asked(
    only: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Any] = []
    slept: list[float] = []
    beacon = SimpleNamespace(
        start=lambda: None,
        close=lambda: steps.append("closed"),
        broadcast=lambda *about: steps.append(about),
        resolve=lambda host, port: None if host == "nowhere" else (host, port),
        tell=lambda kind, port, place: steps.append(place),
    )
    monkeypatch.setattr(module, "Beacon", lambda *_: beacon)
    made = Made(monkeypatch, ("10.0.0.9", 51348), ("nowhere", 1), only=only)
    monkeypatch.setattr(module, "spawn", lambda work, *args, what: work(*args))
    monkeypatch.setattr(made.survey, "_visit_all", list)
    monkeypatch.setattr(module.gevent, "sleep", slept.append)
    assert made.survey.run() == []
    assert steps.count((LOOK, 0, 51348)) == times and steps[-1] == "closed"
    assert steps.count(("10.0.0.9", 51348)) == max(1, times)
    assert sum(slept) == pytest.approx(LISTEN_NAMED if only else LISTEN)


# One visit


class Link:
    """A connection to a node that answers with these messages, or is closed for a reason."""

    def __init__(self, *answers: Message, closed: str = "") -> None:
        self.answers, self.reason = answers, closed
        self.instance = b"n" * 16
        self.steps: list[Any] = []

    def use(self, handlers: Any) -> Any:
        self.handlers = handlers
        return self

    def start(self) -> None: ...

    def introduce(self, *_: Any) -> None: ...

    def check_identity(self, message: Message) -> None:
        self.steps.append(message)

    def send(self, message: Message) -> None:
        if self.reason:
            self.handlers.on_closed(self, self.reason)
        for each in self.answers:
            self.handlers.on_messages(self, [each])

    def close(self, reason: str) -> None:
        self.steps.append("closed")


def visit(link: Link, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Found]:
    monkeypatch.setattr(module, "connect", lambda *args, **ways: link.use(args[4]))
    options: Any = SimpleNamespace()
    return NodeSurvey(SECRET, options, [])._visit_by(ROUTE, 1.0)


def test_identity_of_a_node_is_checked_before_its_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    said = hello(b"n" * 16, "worker", 4)
    link = Link(said, overview(load=2))
    instance, found = visit(link, monkeypatch)
    assert (instance, found.name, found.busy) == (b"n" * 16, "worker", 2)
    assert link.steps == [said, "closed"]


def test_connection_that_the_node_closes_is_its_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(closed="too many \x1b")
    with pytest.raises(ConnectFailed, match=r"10\.0\.0\.9:51348: too many \\x1b"):
        visit(link, monkeypatch)
    assert link.steps == ["closed"]


def test_node_that_does_not_report_its_status_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 0.0)
    link = Link(hello(b"n" * 16, "worker", 4))
    with pytest.raises(ConnectFailed, match=r"10\.0\.0\.9:51348 did not report its status"):
        visit(link, monkeypatch)
    assert link.steps[-1] == "closed"


# The command


def command(monkeypatch: pytest.MonkeyPatch, *found: Found) -> list[Any]:
    asked: list[Any] = []

    def survey(secret: Any, options: Any, targets: Any) -> Any:
        asked.extend(targets)
        return SimpleNamespace(run=lambda: list(found))

    monkeypatch.setattr(module, "NodeSurvey", survey)
    return asked


FREE, USED = Found("a", "10.0.0.9:51348", "0.1.0"), Found("b", "10.0.0.8:51348", problem="in use by c")


@pytest.mark.parametrize(("found", "code"), [((FREE, USED), 0), ((USED,), 1), ((), 1)])
def test_exit_code_tells_whether_any_node_can_be_used(
    found: tuple[Found, ...], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, *found)
    assert nodes_main(["--insecure"]) == code
    assert len(capsys.readouterr().out.splitlines()) == max(1, 1 + len(found) if found else 1)


def test_json_has_all_fields(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, USED)
    assert nodes_main(["--insecure", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["problem"], row["clients"], row["idle"]) == ("b", "in use by c", [], None)


def test_hosts_may_be_words_or_options(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = command(monkeypatch, FREE)
    assert nodes_main(["10.0.0.8:1", "-n", "10.0.0.9", "--node_port", "2", "--insecure"]) == 0
    assert asked == [("10.0.0.8", 1), ("10.0.0.9", 2)]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--only"], "--only requires hosts to query"),
        (["--node_port", "70000"], "--node_port"),
        (["a b"], "a host name must not contain ' '"),
    ],
)
def test_invalid_words_are_refused(
    words: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch)
    assert nodes_main([*words, "--insecure"]) == EXIT_USAGE
    assert text in capsys.readouterr().err
