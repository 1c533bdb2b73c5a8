"""The node's rules as a service: CPUs that change, hours, clients that are counted, and the end."""

from __future__ import annotations

from typing import Any

import pytest

from gdispy.protocol.ids import JobId, Peer, WorkerId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import (
    NO_LIMIT,
    Cpus,
    Ended,
    Hello,
    Inventory,
    Limit,
    OutcomesAcked,
    Prepared,
    Release,
    Released,
    Returned,
    Run,
)
from gdispy.rules.effects import Drop, Send
from gdispy.rules.node.effects import AssignJobs, Kill, NewWorker, RecallJobs, Shutdown, Unload
from gdispy.rules.node.node_rules import NodeRules
from gdispy.rules.node.service_hours import CLOSED, DRAINING, OPEN
from tests.unit.builders import Announced, C, D, checked, ended, hello, outcome, plain, prepare, sent

A, B = Peer(1), Peer(2)
W1, W2, W3 = WorkerId(1), WorkerId(2), WorkerId(3)


def node(cpus: int = 2, **options: Any) -> NodeRules:
    """A node whose scheduler is A, with the computation C loaded."""
    rules = checked(NodeRules(cpus, **options))
    rules.joined(A, hello(), 0.0)
    rules.receive(A, [prepare()], 0.0)
    rules.loaded(C, "", 0.0)
    return rules


def run(*jobs: int) -> Run:
    return Run(C, [JobId(job) for job in jobs], [1] * len(jobs), [b""] * len(jobs))


def start(rules: NodeRules, *jobs: int, now: float = 0.0) -> list[Any]:
    return plain(rules.receive(A, [run(*jobs)], now))


def returned(*jobs: int) -> Send:
    return Send(A, Returned(C, [JobId(job) for job in jobs], [1] * len(jobs)))


def begun(effects: list[Any]) -> list[Any]:
    return [job for each in effects if isinstance(each, AssignJobs) for job in each.jobs]


def other(now: float = 0.0) -> Hello:
    return hello(b"d" * 16, "another")


# CPUs


def test_scheduler_hears_of_another_number_of_cpus_once() -> None:
    rules = node(cpus=2)
    assert rules.set_cpus(4, 1.0) == [Send(A, Cpus(4))]
    assert rules.set_cpus(4, 2.0) == []


def test_more_cpus_are_used_at_once() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2, 3)
    assert begun(plain(rules.set_cpus(3, 1.0))) == [2, 3]


def test_with_fewer_cpus_what_runs_goes_on_and_no_other_begins_before_there_is_room() -> None:
    # Given three jobs that run on three CPUs, and one that waits.
    rules = node(cpus=3)
    start(rules, 1, 2, 3, 4)
    # When there is only one CPU, then what runs is left alone.
    assert plain(rules.set_cpus(1, 1.0)) == [Send(A, Cpus(1))]
    # Then the fourth begins when the last of the three has ended.
    assert begun(plain(rules.answered(W1, [outcome(1)], 2.0))) == []
    assert begun(plain(rules.answered(W2, [outcome(2)], 2.0))) == []
    assert begun(plain(rules.answered(W3, [outcome(3)], 2.0))) == [4]


def test_fewer_cpus_take_what_has_not_begun_out_of_the_workers_hands() -> None:
    # Given two workers with several short jobs each.
    rules = node(cpus=2)
    start(rules, 1, 2)
    rules.answered(W1, [outcome(1, start=1.0, end=1.0001)], 1.0)
    rules.answered(W2, [outcome(2, start=1.0, end=1.0001)], 1.0)
    start(rules, *range(3, 40), now=1.0)
    # When the number is lowered, then what lies ahead comes back, and is not handed out while both are busy.
    effects = rules.set_cpus(1, 2.0)
    workers = rules._state.workers  # type: ignore[attr-defined]
    assert effects == [Send(A, Cpus(1)), RecallJobs(W1), RecallJobs(W2)]
    for number in (W1, W2):
        taken = [(job.number, job.attempt) for job in list(workers[number].hand)[1:]]
        assert begun(plain(rules.took_back(number, taken, 2.0))) == []
    assert [len(workers[number].hand) for number in (W1, W2)] == [1, 1]


def test_scheduler_that_comes_later_hears_of_the_number_that_holds() -> None:
    rules = checked(NodeRules(2))
    rules.set_cpus(1, 0.0)
    assert rules.joined(A, hello(), 1.0) == [Send(A, Inventory([], [], [])), Send(A, Cpus(1))]
    rules.gone(A, 2.0)
    rules.set_cpus(2, 3.0)
    assert rules.joined(B, hello(), 4.0)[1] == Send(B, Cpus(2))


# CPUs that the scheduler wants to use


def test_no_more_cpus_are_used_than_the_scheduler_wants_for_a_computation_and_in_all() -> None:
    # Given a node of four CPUs whose scheduler wants one for the computation, and three for all that it has.
    rules = node(cpus=4)
    rules.receive(A, [prepare(D)], 0.0)
    rules.loaded(D, "", 0.0)
    assert rules.receive(A, [Limit(C, 1, 3), Limit(D, NO_LIMIT, 3)], 0.0) == []
    assert begun(start(rules, 1, 2, 3)) == [1]
    others = Run(D, [JobId(job) for job in (11, 12, 13)], [1] * 3, [b""] * 3)
    assert begun(plain(rules.receive(A, [others], 0.0))) == [11, 12]
    # When one of the other computation has ended, then its next begins.
    assert begun(plain(rules.answered(W2, [outcome(11)], 1.0))) == [13]
    # Then what the other one leaves is not for the first.
    assert begun(plain(rules.answered(W2, [outcome(13)], 2.0))) == []
    assert begun(plain(rules.answered(W1, [outcome(1)], 2.0))) == [2]


def test_what_a_computation_may_not_use_is_for_others_that_wait() -> None:
    # Given two computations with jobs that wait while the node is shut; one may use a single CPU.
    rules = node(cpus=4)
    rules.receive(A, [prepare(D), Limit(C, 1, NO_LIMIT)], 0.0)
    rules.loaded(D, "", 0.0)
    rules.receive(A, [Limit(D, NO_LIMIT, 1)], 0.0)
    start(rules, 1, 2, 3)
    rules.receive(A, [Run(D, [JobId(job) for job in (11, 12, 13, 14)], [1] * 4, [b""] * 4)], 0.0)
    # When there is no other limit any more, then the other one has all the rest at once.
    assert sorted(begun(plain(rules.receive(A, [Limit(D, NO_LIMIT, NO_LIMIT)], 1.0)))) == [11, 12, 13]


def test_short_jobs_are_put_behind_what_runs_where_cpus_are_limited() -> None:
    rules = node(cpus=2)
    rules.receive(A, [Limit(C, 1, NO_LIMIT)], 0.0)
    assert begun(start(rules, 1)) == [1]
    rules.answered(W1, [outcome(1, start=1.0, end=1.0001)], 1.0)
    effects = start(rules, *range(2, 10), now=1.0)
    assert {each.worker for each in effects if isinstance(each, AssignJobs)} == {W1} and len(begun(effects)) > 1


def test_with_a_lower_limit_what_runs_goes_on_and_nothing_is_put_behind_it() -> None:
    # Given two workers with one short job each.
    rules = node(cpus=2)
    start(rules, 1)
    rules.answered(W1, [outcome(1, start=1.0, end=1.0001)], 1.0)
    start(rules, 2, 3, now=1.0)
    # When only one CPU may be used, then nothing is put behind them, until one has ended.
    rules.receive(A, [Limit(C, 1, NO_LIMIT)], 1.0)
    assert begun(start(rules, 4, 5, now=1.0)) == []
    effects = plain(rules.answered(W1, [outcome(2, start=1.0, end=1.0001)], 1.0))
    assert [each.worker for each in effects if isinstance(each, AssignJobs)] == [W2]


def test_scheduler_that_wants_no_cpus_gets_back_what_waits_and_others_hear_what_is_offered() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    assert rules.receive(A, [Limit(C, NO_LIMIT, 0)], 1.0) == [RecallJobs(W1), returned(2)]
    rules.answered(W1, [outcome(1)], 2.0)
    # When another one comes, then its wishes count.
    rules.receive(A, [Release(C)], 3.0)
    rules.unloaded(C, 3.0)
    rules.gone(A, 3.0)
    assert rules.joined(B, other(), 4.0) == [Send(B, Inventory([], [], []))]
    rules.receive(B, [prepare(D)], 4.0)
    rules.loaded(D, "", 4.0)
    assert begun(plain(rules.receive(B, [Run(D, [JobId(1)], [1], [b""])], 4.0))) == [1]


# No jobs at present


def test_node_that_is_shut_gives_back_what_waits_after_it_has_said_so() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2, 3)
    assert plain(rules.shut("stopped", 1.0)) == [Send(A, Cpus(0, "stopped")), RecallJobs(W1), returned(2, 3)]
    # What has begun goes on and ends as ever.
    assert rules.took_back(W1, [], 1.0) == []
    assert rules.answered(W1, [outcome(1)], 2.0) == [Send(A, ended(outcome(1)))]


def test_job_in_a_hand_that_has_not_begun_goes_back_too() -> None:
    rules = node(cpus=1)
    start(rules, 1)
    rules.shut("stopped", 1.0)
    assert rules.took_back(W1, [(JobId(1), 1)], 1.0) == [returned(1)]


def test_jobs_that_were_on_their_way_to_a_node_that_is_shut_go_back() -> None:
    rules = node()
    rules.shut("stopped", 1.0)
    assert start(rules, 1, 2, now=1.0) == [returned(1, 2)]
    assert rules.joined(B, hello(), 2.0)[1] == Send(B, Inventory([C], [[]], [[]]))


def test_jobs_of_a_scheduler_that_is_away_go_back_when_it_is_there() -> None:
    rules = node(cpus=1)
    start(rules, 1, 2)
    rules.gone(A, 1.0)
    assert rules.shut("stopped", 2.0) == [RecallJobs(W1)]
    rules.took_back(W1, [], 2.0)
    held = Inventory([C], [[JobId(1), JobId(2)]], [[1, 1]])
    back = Send(B, Returned(C, [JobId(2)], [1]))
    assert rules.joined(B, hello(), 3.0) == [Send(B, held), Send(B, Cpus(0, "stopped")), back]


def test_node_opens_when_no_reason_is_left_to_be_shut() -> None:
    rules = node(cpus=2)
    rules.shut("stopped", 1.0)
    assert rules.shut("another reason", 2.0) == []
    assert rules.reopen("stopped", 3.0) == []
    assert rules.reopen("another reason", 4.0) == [Send(A, Cpus(2))]
    assert start(rules, 1, now=5.0) == [NewWorker(W1, C), AssignJobs(W1, [1])]  # type: ignore[list-item]


def test_cpus_that_are_set_while_it_is_shut_count_when_it_opens() -> None:
    rules = node(cpus=2)
    rules.shut("stopped", 1.0)
    assert rules.set_cpus(3, 2.0) == []
    assert rules.reopen("stopped", 3.0) == [Send(A, Cpus(3))]


# Hours


def test_at_the_end_of_the_service_hours_running_jobs_are_ended_with_the_reason() -> None:
    # Given a job that runs and one that waits, when no new ones are taken any more.
    rules = node(cpus=1)
    start(rules, 1, 2)
    assert rules.keep_hours(DRAINING, "18:00", 1.0) == [Send(A, Cpus(0, "service hours")), RecallJobs(W1), returned(2)]
    rules.took_back(W1, [], 1.0)
    # When the hours end, then the worker is ended, and its job with the reason.
    assert rules.keep_hours(CLOSED, "18:00", 60.0) == [Kill(W1)]
    (message,) = sent(rules.exited(W1, [], "killed by SIGKILL", 60.1), A, Ended)
    assert message.statuses == [TERMINATED]
    assert message.exceptions == ["the node's service hours ended at 18:00\n"]
    # When they begin again, then it takes jobs.
    assert rules.keep_hours(OPEN, "18:00", 100.0) == [Send(A, Cpus(1))]
    assert begun(start(rules, 3, now=101.0)) == [3]


def test_hours_that_end_without_draining_give_back_what_had_not_begun() -> None:
    rules = node(cpus=2)
    start(rules, 1, 2, 3)
    effects = rules.keep_hours(CLOSED, "18:00", 1.0)
    assert effects == [
        Send(A, Cpus(0, "service hours")),
        RecallJobs(W1),
        RecallJobs(W2),
        returned(3),
        Kill(W1),
        Kill(W2),
    ]
    # The second had not begun: it goes back, as often as that happens.
    for job in (2, 4, 5, 6, 7):
        if job > 2:
            rules.keep_hours(OPEN, "18:00", 2.0)
            (new,) = [each.worker for each in start(rules, job) if isinstance(each, NewWorker)]
            rules.keep_hours(CLOSED, "18:00", 2.0)
        assert rules.exited(W2 if job == 2 else new, [(JobId(job), 1)], "killed", 2.0) == [returned(job)]


def test_console_does_not_open_what_the_hours_have_shut() -> None:
    rules = node()
    rules.keep_hours(DRAINING, "18:00", 1.0)
    assert rules.reopen("stopped", 2.0) == []


# The end


def leave(rules: NodeRules, peer: Peer = A, now: float = 1.0) -> list[Any]:
    """A scheduler releases C and goes."""
    effects = rules.receive(peer, [Release(C)], now)
    effects += rules.unloaded(C, now)
    return effects + rules.gone(peer, now)


def test_node_that_is_to_finish_ends_when_its_last_computation_is_over() -> None:
    rules = node()
    start(rules, 1)
    assert rules.finish(1.0) == []
    # What is there gets jobs as before, and nothing new is taken.
    assert begun(start(rules, 2, now=1.0)) == [2]
    (answer,) = sent(rules.receive(A, [prepare(D)], 1.0), A)
    assert isinstance(answer, Prepared) and "current work" in answer.error
    rules.gone(A, 2.0)
    assert [type(each) for each in rules.joined(B, other(), 2.0)] == [Drop]
    assert not any(isinstance(each, Drop) for each in rules.joined(A, hello(), 3.0))
    # When nothing is left of the computation, then its scheduler hears that before the node ends.
    assert rules.receive(A, [Release(C)], 4.0) == [Unload(C)]
    assert rules.unloaded(C, 4.0) == [Send(A, Released(C)), Shutdown()]


def test_node_without_work_that_is_to_finish_ends_at_once() -> None:
    assert checked(NodeRules(1)).finish(0.0) == [Shutdown()]
    rules = checked(NodeRules(1))
    rules.joined(A, hello(), 0.0)
    assert rules.finish(0.0) == [Shutdown()]


def test_node_that_is_to_finish_does_not_wait_longer_than_the_lease() -> None:
    rules = node(lease=50.0)
    rules.finish(0.0)
    rules.gone(A, 10.0)
    assert rules.due() == 60.0
    assert rules.tick(60.0) == [Unload(C)]
    assert rules.due() is None
    assert rules.unloaded(C, 60.0) == [Shutdown()]


def test_node_ends_when_so_many_clients_were_served_and_have_left() -> None:
    # Given a node for two clients, when the first has left, then it goes on.
    rules = node(serve=2)
    assert Shutdown() not in leave(rules)
    rules.joined(B, other(), 2.0)
    rules.receive(B, [prepare()], 2.0)
    # When the second has no computation any more, then it could still bring another one.
    assert Shutdown() not in rules.receive(B, [Release(C)], 3.0) + rules.unloaded(C, 3.0)
    # When it has left, then the node ends.
    assert rules.gone(B, 3.0) == [Shutdown()]


def test_number_of_clients_can_be_changed_with_those_that_are_here_included() -> None:
    rules = node(serve=1)
    assert rules.clients_left() == 1
    assert rules.serve(0, 1.0) == [] and rules.clients_left() == -1
    assert Shutdown() not in leave(rules)
    rules.joined(B, other(), 2.0)
    rules.receive(B, [prepare()], 2.0)
    assert rules.serve(1, 3.0) == [] and rules.clients_left() == 1
    rules.receive(B, [Release(C)], 3.0) + rules.unloaded(C, 3.0)
    assert rules.gone(B, 4.0) == [Shutdown()]


def test_client_that_never_brought_a_computation_does_not_count() -> None:
    rules = checked(NodeRules(1, serve=1))
    rules.joined(A, hello(), 0.0)
    assert rules.gone(A, 1.0) == []
    assert not any(isinstance(each, Drop) for each in rules.joined(B, other(), 2.0))


def test_client_that_is_away_has_not_left_before_its_lease_is_over() -> None:
    rules = node(serve=1, lease=50.0)
    assert rules.gone(A, 0.0) == []
    assert rules.tick(50.0) == [Unload(C)]
    assert rules.unloaded(C, 50.0) == [Shutdown()]


def test_node_that_has_served_enough_waits_for_who_came_meanwhile() -> None:
    # Given a client that is away, and another one that is served meanwhile.
    rules = node(serve=1, lease=50.0)
    rules.gone(A, 0.0)
    rules.joined(B, other(), 1.0)
    rules.receive(B, [prepare(D)], 1.0)
    # When the first counts as gone, then the second's work goes on.
    assert rules.tick(50.0) == [Unload(C)]
    assert rules.unloaded(C, 50.0) == []
    rules.receive(B, [Release(D)], 60.0)
    assert rules.unloaded(D, 60.0) == [Send(B, Released(D)), Shutdown()]


# Clients that are away


def test_client_that_is_connected_keeps_its_work_however_long_its_jobs_take() -> None:
    rules = node(cpus=1, lease=60.0)
    start(rules, 1, 2)
    for hours in range(1, 100):
        assert not any(isinstance(each, Unload | Drop) for each in rules.tick(hours * 3600.0))
    effects = plain(rules.answered(W1, [outcome(1)], 360_000.0))
    assert begun(effects) == [2]


def test_client_that_is_away_can_be_given_up_at_once() -> None:
    rules = node()
    start(rules, 1)
    rules.gone(A, 1.0)
    assert rules.clients() == ([], ["client"])
    assert rules.give_up(2.0) == [Unload(C)]
    rules.unloaded(C, 2.0)
    assert rules.clients() == ([], [])
    # Nothing of it is left, also where it comes back.
    assert rules.joined(A, hello(), 3.0) == [Send(A, Inventory([], [], []))]


def test_client_that_is_connected_is_not_given_up() -> None:
    rules = node()
    start(rules, 1)
    assert rules.give_up(1.0) == []
    assert rules.clients() == (["client"], [])
    assert begun(start(rules, 2, now=1.0)) == [2]


def test_client_that_holds_nothing_is_forgotten_when_it_goes() -> None:
    rules = node()
    leave(rules)
    assert rules.clients() == ([], []) and rules.due() is None


# How it stands


def test_status_tells_cpus_computations_and_clients() -> None:
    rules = node(cpus=2)
    start(rules, 1, 2, 3)
    rules.answered(W1, [outcome(1)], 1.0)
    assert rules.standing(1.0) == [
        "CPUs: 2, busy: 2",
        "computation f of client, jobs: 2 running, 0 waiting, 1 done, 1 not collected",
        "client client: connected",
    ]
    rules.receive(A, [OutcomesAcked(C, [JobId(1)], [1])], 1.0)
    rules.shut("stopped", 1.0)
    rules.gone(A, 1.0)
    assert rules.standing(601.0) == [
        "CPUs: 0 of 2 (stopped), busy: 2",
        "computation f of client, jobs: 2 running, 0 waiting, 1 done",
        "client client: away; its jobs and results are kept for 50 minutes",
    ]


@pytest.mark.parametrize(("error", "state"), [("", ", being loaded"), ("no module", ", cannot be loaded")])
def test_status_tells_what_is_not_ready(error: str, state: str) -> None:
    rules = checked(NodeRules(1))
    rules.joined(A, hello(), 0.0)
    rules.receive(A, [prepare()], 0.0)
    if error:
        rules.loaded(C, error, 0.0)
    assert rules.standing(0.0)[1] == f"computation f of client{state}, jobs: 0 running, 0 waiting, 0 done"


def test_jobs_that_go_back_give_back_what_they_occupy() -> None:
    arguments = Announced(100_000)
    rules = node(cpus=1)
    start(rules, 1)
    rules.receive(A, [Run(C, [JobId(2)], [1], [arguments])], 0.0)
    rules.shut("stopped", 1.0)
    assert arguments.released == 1
