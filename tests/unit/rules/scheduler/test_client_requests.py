"""What clients ask of the scheduler: single nodes, options of single jobs, files."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gdispy.protocol.ids import Instance, JobId, Peer
from gdispy.protocol.job_status import ABANDONED, AVAILABLE, CANCELLED, CLOSED, INITIALIZED, TERMINATED
from gdispy.protocol.messages import (
    NO_LIMIT,
    Availability,
    Cancel,
    Cpus,
    Ended,
    Event,
    FileContents,
    Follow,
    Inventory,
    Limit,
    MissingFiles,
    NodeCommand,
    NodeFound,
    Notice,
    Open,
    Prepare,
    Prepared,
    PutFile,
    Recall,
    Release,
    Released,
    Reply,
    Returned,
    Run,
    Status,
    StatusRequest,
    Upload,
    Uploaded,
    UseNode,
    Withdraw,
)
from gdispy.protocol.rows import JobOptions
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.refusals import NAMED_PATIENCE, NODE_PATIENCE
from gdispy.rules.scheduler.reminders import PATIENCE, SETUP_PATIENCE
from gdispy.rules.scheduler.turns import EARLIEST, FAIR, ROUND_ROBIN
from tests.unit.builders import C, D, checked, ended, hello, outcome, prepare, sent

CLIENT = Peer(100)
A, B = Peer(1), Peer(2)
FILE = ["f", 0o600, 0.0, 1, b"d" * 32]


def instance(peer: Peer) -> Instance:
    return Instance(bytes([peer]) * 16)


def scheduler(asks: bool = False, watches: bool = False, reentrant: bool = False, policy: str = FAIR) -> Dispatch:
    dispatch = checked(Dispatch(policy=policy))
    dispatch.receive_from_client(CLIENT, [Open(C, ["*"], reentrant, asks, watches), prepare()], 0.0)
    return dispatch


def join(dispatch: Dispatch, peer: Peer, cpus: int = 2, now: float = 0.0) -> Effects:
    word = hello(instance(peer), f"node{peer}", cpus)
    effects = dispatch.joined(peer, word, [f"10.0.0.{peer}"], 51348, now)
    return effects + dispatch.receive(peer, [Inventory([], [], [])], now)


def ready(dispatch: Dispatch, *peers: Peer, cpus: int = 2) -> None:
    for peer in peers:
        join(dispatch, peer, cpus)
        dispatch.receive(peer, [Prepared(C, "")], 0.0)


def wish(node: bytes = b"", priority: float = 0.0, cpus: int = 0) -> list[Any]:
    return JobOptions(node=node, priority=priority, cpus=cpus)


def submit(dispatch: Dispatch, jobs: dict[int, list[Any] | None], now: float = 0.0) -> Effects:
    numbers = [JobId(job) for job in jobs]
    run = Run(C, numbers, [1] * len(jobs), [b""] * len(jobs), list(jobs.values()))
    return dispatch.receive_from_client(CLIENT, [run], now)


def runs(effects: Effects, peer: Peer) -> list[int]:
    return [job for message in sent(effects, peer, Run) for job in message.jobs]


def finish(dispatch: Dispatch, peer: Peer, *jobs: int, attempt: int = 1) -> Effects:
    return dispatch.receive(peer, [ended(*[outcome(job, attempt) for job in jobs])], 1.0)


def order(dispatch: Dispatch, word: str, peer: Peer, value: float = 0.0, now: float = 0.0) -> Effects:
    return dispatch.receive_from_client(CLIENT, [NodeCommand(C, 7, word, instance(peer), value)], now)


# Which nodes


def test_client_that_asks_decides_about_each_node_once() -> None:
    dispatch = scheduler(asks=True)
    [question] = sent(join(dispatch, A), CLIENT, NodeFound)
    assert (question.names, question.port, question.cpus, question.platform) == (
        ["10.0.0.1", "node1"],
        51348,
        2,
        "linux",
    )
    take = UseNode(C, question.node, 1, b"args", [FILE], [b"x"])
    [told] = sent(dispatch.receive_from_client(CLIENT, [take], 0.0), A, Prepare)
    assert (told.arguments, told.files, told.contents) == (b"args", [FILE], [])
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    # One CPU of two is used.
    assert runs(submit(dispatch, {1: None, 2: None}), A) == [1]


def test_node_that_the_client_does_not_take_is_left_alone_and_told() -> None:
    dispatch = scheduler(asks=True)
    [question] = sent(join(dispatch, A), CLIENT, NodeFound)
    assert dispatch.receive_from_client(CLIENT, [UseNode(C, question.node, 0, b"", [], [])], 0.0) == []
    assert runs(submit(dispatch, {1: None}), A) == []
    [trouble] = sent(dispatch.tick(PATIENCE), CLIENT, Notice)
    assert "10.0.0.1:51348: not selected by this program" in trouble.text


def test_client_that_wants_more_nodes_is_asked_again() -> None:
    dispatch = scheduler(asks=True)
    [question] = sent(join(dispatch, A), CLIENT, NodeFound)
    dispatch.receive_from_client(CLIENT, [UseNode(C, question.node, 0, b"", [], [])], 0.0)
    assert sent(dispatch.receive_from_client(CLIENT, [Open(C, [], False, True)], 0.0), CLIENT) == [question]


def test_node_gets_the_contents_of_the_files_that_it_lacks_its_own_ones_last() -> None:
    dispatch = checked(Dispatch())
    files, contents = [FILE, ["g", *FILE[1:]]], [b"x", b"y"]
    word = Prepare(C, "f", "function", "", "", "", True, b"", files, contents)  # type: ignore[arg-type]
    dispatch.receive_from_client(CLIENT, [Open(C, ["*"], False, True), word], 0.0)
    [question] = sent(join(dispatch, A), CLIENT, NodeFound)
    take = UseNode(C, question.node, 2, b"", [["h", *FILE[1:]]], [b"z"])
    [told] = sent(dispatch.receive_from_client(CLIENT, [take], 0.0), A, Prepare)
    assert ([row[0] for row in told.files], told.contents) == (["f", "g", "h"], [])
    assert sent(dispatch.receive(A, [MissingFiles(C, [1, 2])], 0.0), A) == [FileContents(C, [1, 2], [b"y", b"z"])]
    [drop] = dispatch.receive(A, [MissingFiles(C, [3])], 0.0)
    assert "requests files that do not exist" in drop.reason


def test_deallocated_node_gets_no_jobs_until_it_is_allocated_again() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    assert sent(order(dispatch, "deallocate", A), CLIENT) == [Reply(C, 7, "", 0.0, [])]
    assert runs(submit(dispatch, {1: None}), A) == []
    [trouble] = sent(dispatch.tick(PATIENCE), CLIENT, Notice)
    assert "released by this program" in trouble.text
    assert runs(order(dispatch, "allocate", A), A) == [1]


def test_closed_node_is_left_when_its_jobs_have_ended() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: None, 2: None, 3: None})
    assert sent(order(dispatch, "close", A), A) == []
    assert Release(C) not in sent(finish(dispatch, A, 1), A)
    assert sent(finish(dispatch, A, 2), A, Release) == [Release(C)]
    [event] = sent(dispatch.receive(A, [Released(C)], 1.0), CLIENT)
    assert (event.what, event.node) == (CLOSED, instance(A))
    # The third job waits for another node.
    join(dispatch, B)
    assert runs(dispatch.receive(B, [Prepared(C, "")], 1.0), B) == [3]


def test_closed_node_is_left_when_its_last_job_comes_back_without_having_begun() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: None})
    order(dispatch, "close", A)
    assert sent(dispatch.receive(A, [Returned(C, [JobId(1)], [1])], 1.0), A) == [Release(C)]


def test_node_that_is_allocated_before_it_has_been_left_is_used_again() -> None:
    # Given a node that is to be left when its job has ended, and then is not.
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: None})
    order(dispatch, "close", A)
    order(dispatch, "allocate", A)
    assert sent(finish(dispatch, A, 1), A, Release) == []
    assert runs(submit(dispatch, {2: None}), A) == [2]
    finish(dispatch, A, 2)
    # Given that it has been told so already, then it is set up again.
    assert sent(order(dispatch, "close", A), A) == [Release(C)]
    order(dispatch, "allocate", A)
    assert sent(dispatch.receive(A, [Released(C)], 1.0), A, Prepare) == [prepare()]


def test_closing_a_node_can_end_its_jobs() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: None})
    assert sent(order(dispatch, "close", A, 1.0), A) == [Cancel(C, [JobId(1)], [1])]


@pytest.mark.parametrize("asks", [False, True])
def test_node_that_is_set_up_again_is_asked_about_and_prepared_again(asks: bool) -> None:
    dispatch = scheduler(asks)
    join(dispatch, A)
    take = UseNode(C, instance(A), 2, b"", [], [])
    dispatch.receive_from_client(CLIENT, [take] if asks else [], 0.0)
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert sent(order(dispatch, "resetup", A), A) == [Release(C)]
    effects = dispatch.receive(A, [Released(C)], 0.0)
    if asks:
        assert len(sent(effects, CLIENT, NodeFound)) == 1
        effects = dispatch.receive_from_client(CLIENT, [take], 0.0)
    assert len(sent(effects, A, Prepare)) == 1
    effects = dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert [each.what for each in sent(effects, CLIENT, Event)] == [INITIALIZED]
    assert runs(submit(dispatch, {1: None}), A) == [1]


def test_node_that_is_to_be_set_up_again_is_told_once_however_often_that_is_wanted() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    assert sent(order(dispatch, "resetup", A), A) == [Release(C)]
    assert sent(order(dispatch, "resetup", A), A) == []
    assert len(sent(dispatch.receive(A, [Released(C)], 0.0), A, Prepare)) == 1
    # Again while it prepares: what it says of that comes too late.
    assert sent(order(dispatch, "resetup", A), A) == [Release(C)]
    assert dispatch.receive(A, [Prepared(C, "")], 0.0) == []
    assert len(sent(dispatch.receive(A, [Released(C)], 0.0), A, Prepare)) == 1
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    assert runs(submit(dispatch, {1: None}), A) == [1]


def test_node_that_left_while_its_link_was_cut_is_set_up_again() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: None})
    dispatch.receive_from_client(CLIENT, [Open(D, ["*"], False), prepare(D)], 0.0)
    order(dispatch, "resetup", A)
    finish(dispatch, A, 1)
    dispatch.receive(A, [Prepared(D, "")], 0.0)
    submit_to_d = Run(D, [JobId(1)], [1], [b""])
    dispatch.receive_from_client(CLIENT, [submit_to_d], 0.0)
    dispatch.gone(A, 1.0)
    dispatch.joined(B, hello(instance(A), "node1", 2), ["10.0.0.1"], 51348, 2.0)
    effects = dispatch.receive(B, [Inventory([D], [[JobId(1)]], [[1]])], 2.0)
    assert [message.computation for message in sent(effects, B, Prepare)] == [C]
    dispatch.receive(B, [Prepared(C, "")], 2.0)
    assert runs(submit(dispatch, {2: None}), B) == [2]


def test_computation_whose_jobs_are_not_sent_ahead_gets_its_part_beside_one_whose_are() -> None:
    # Given a computation of short jobs, which has filled the node with jobs that wait there.
    dispatch = scheduler()
    dispatch.receive_from_client(CLIENT, [Open(D, ["*"], False), prepare(D)], 0.0)
    join(dispatch, A)
    dispatch.receive(A, [Prepared(C, ""), Prepared(D, "")], 0.0)
    submit(dispatch, dict.fromkeys(range(1, 100)))
    for job in range(1, 20):
        dispatch.receive(A, [ended(outcome(job, end=0.01))], 1.0)
    assert dispatch._state.nodes[instance(A)].load > 2
    # When another one comes, then it waits for one job to end, and not for all of them.
    run = Run(D, [JobId(1)], [1], [b""])
    dispatch.receive_from_client(CLIENT, [run], 1.0)
    effects = dispatch.receive(A, [ended(outcome(20, end=0.01))], 1.0)
    placed = [message.computation for message in sent(effects, A, Run)]
    assert D in placed or dispatch._state.nodes[instance(A)].assignments[D].placed


@pytest.mark.parametrize("policy", [FAIR, ROUND_ROBIN, EARLIEST])
def test_waves_of_one_computation_are_not_kept_out_by_what_another_has_ahead(policy: str) -> None:
    # Given two nodes that are full of short jobs of one computation, and known for short jobs of a later one.
    dispatch = scheduler(policy=policy)
    dispatch.receive_from_client(CLIENT, [Open(D, ["*"], False), prepare(D)], 0.0)
    for node in (A, B):
        join(dispatch, node)
        dispatch.receive(node, [Prepared(C, ""), Prepared(D, "")], 0.0)
    number = itertools.count(1)
    for node in (A, B, A, B):
        dispatch.receive_from_client(CLIENT, [Run(D, [JobId(next(number))], [1], [b""])], 0.0)
        placed = dispatch._state.nodes[instance(node)].assignments[D].placed
        dispatch.receive(node, [ended(outcome(job, end=0.001), computation=D) for job in list(placed)], 0.0)
    assert not any(node.assignments[D].placed for node in dispatch._state.nodes.values())
    assert all(node.assignments[D].depth > 1 for node in dispatch._state.nodes.values())
    submit(dispatch, dict.fromkeys(range(1, 1000)))
    for _ in range(5):
        for node in (A, B):
            jobs = list(dispatch._state.nodes[instance(node)].assignments[C].placed)[:-1]
            rows = [outcome(job, end=0.001) for job in jobs]
            dispatch.receive(node, [ended(*rows)] if rows else [], 1.0)
    # When more of that later one come, then it has its part as soon as a job ends; unless the earliest goes first.
    dispatch.receive_from_client(
        CLIENT, [Run(D, [JobId(next(number)) for _ in range(500)], [1] * 500, [b""] * 500)], 1.0
    )
    for node in (A, B):
        placed = dispatch._state.nodes[instance(node)].assignments[C].placed
        dispatch.receive(node, [ended(outcome(next(iter(placed)), end=0.001))], 1.0)
        assert bool(dispatch._state.nodes[instance(node)].assignments[D].placed) == (policy != EARLIEST)
    # And at last all are placed.
    for _ in range(200):
        for node in (A, B):
            for assignment, computation in (
                (dispatch._state.nodes[instance(node)].assignments[each], each) for each in (C, D)
            ):
                rows = [outcome(job, end=0.001) for job in list(assignment.placed)]
                dispatch.receive(node, [ended(*rows, computation=computation)] if rows else [], 1.0)
    assert not dispatch._state.computations[C].tasks and not dispatch._state.computations[D].tasks


@pytest.mark.parametrize(("value", "used"), [(1.0, 1), (-1.0, 3), (9.0, 4), (-9.0, 0), (0.0, 0)])
def test_cpus_of_a_node_are_limited_for_all(value: float, used: int) -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=4)
    assert sent(order(dispatch, "cpus", A, value), CLIENT) == [Reply(C, 7, "", float(used), [])]
    assert len(runs(submit(dispatch, dict.fromkeys(range(1, 10))), A)) == used


def test_node_that_is_away_is_not_told_of_fewer_cpus_before_it_is_back() -> None:
    # Given a node that is away with two jobs.
    dispatch = scheduler()
    ready(dispatch, A, cpus=4)
    submit(dispatch, dict.fromkeys((1, 2)))
    dispatch.gone(A, 1.0)
    assert sent(order(dispatch, "cpus", A, 1.0), A) == []
    # When it is back, then it hears how many of its CPUs are to be used.
    word = hello(instance(A), "node1", 4)
    dispatch.joined(A, word, ["10.0.0.1"], 51348, 2.0)
    effects = dispatch.receive(A, [Inventory([C], [[JobId(1), JobId(2)]], [[1, 1]])], 2.0)
    assert sent(effects, A) == [Limit(C, NO_LIMIT, 1)]


def test_what_is_said_of_a_former_time_does_not_make_a_node_ready_that_was_given_up() -> None:
    # Given a client that decides about nodes, and one that comes back after it was given up.
    dispatch = scheduler(asks=True)
    join(dispatch, A)
    # When it says that it has loaded the computation, for which it was not asked yet, then that counts for nothing.
    dispatch.receive(A, [Prepared(C, "")], 0.0)
    take = UseNode(C, instance(A), 2, b"", [], [])
    assert sent(dispatch.receive_from_client(CLIENT, [take], 1.0), A) == [prepare()]


def test_jobs_that_come_after_the_release_of_their_computation_are_nobodys() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    dispatch.receive_from_client(CLIENT, [Release(C)], 0.0)
    assert submit(dispatch, {1: None}) == []
    dispatch.receive(A, [Released(C)], 1.0)
    assert not dispatch._turns.waiting and not dispatch._turns._hungry  # type: ignore[truthy-bool]


def test_what_is_remembered_of_nodes_and_turns_does_not_grow_with_the_jobs() -> None:
    # Given clients that submit one job after the other.
    dispatch = scheduler()
    ready(dispatch, A, B)
    for job in range(1, 1000):
        submit(dispatch, {job: None})
        finish(dispatch, A if job in dispatch._state.nodes[instance(A)].assignments[C].placed else B, job)
    assert len(dispatch._placement._heap) < 100
    # When many come at once, then they go to the nodes in parts as large as ever.
    many = range(1000, 3000)
    assert len(runs(submit(dispatch, dict.fromkeys(many)), A)) == 2
    # Given two computations that wait, while jobs of both end.
    dispatch.receive_from_client(Peer(101), [Open(D, ["*"], False), prepare(D)], 0.0)
    dispatch.receive(A, [Prepared(D, "")], 0.0)
    dispatch.receive_from_client(Peer(101), [Run(D, [JobId(job) for job in many], [1] * 2000, [b""] * 2000)], 0.0)
    for _ in range(1000):
        for number, assignment in list(dispatch._state.nodes[instance(A)].assignments.items()):
            for job in list(assignment.placed)[:1]:
                dispatch.receive(A, [ended(outcome(job, end=1.0), computation=number)], 1.0)
    assert len(dispatch._turns._heap) < 100


def test_node_that_offers_fewer_cpus_gives_back_what_waits_there() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=4)
    submit(dispatch, dict.fromkeys(range(1, 5)))
    [recall] = sent(dispatch.receive(A, [Cpus(0)], 1.0), A)
    assert recall == Recall(C, 2)
    dispatch.receive(A, [Returned(C, [JobId(3), JobId(4)], [1, 1])], 1.0)
    [trouble] = sent(dispatch.tick(1.0 + PATIENCE), CLIENT, Notice)
    assert "not accepting jobs at present" in trouble.text
    finish(dispatch, A, 1, 2)
    assert runs(dispatch.receive(A, [Cpus(1)], 5.0), A) == [3]


def test_jobs_of_a_node_are_told() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: None, 2: None, 3: None})
    assert sent(order(dispatch, "jobs", A), CLIENT) == [Reply(C, 7, "", 0.0, [JobId(1), JobId(2)])]


def test_orders_for_nodes_that_there_are_not_and_unknown_orders_are_answered() -> None:
    dispatch = scheduler()
    assert "unknown node" in sent(order(dispatch, "close", A), CLIENT)[0].error
    ready(dispatch, A)
    assert "unknown command" in sent(order(dispatch, "explode", A), CLIENT)[0].error


# What single jobs ask for


def test_job_for_one_node_goes_there_or_nowhere() -> None:
    dispatch = scheduler(reentrant=True)
    ready(dispatch, A, B)
    pinned = {job: wish(instance(B)) for job in (1, 2, 3)}
    effects = submit(dispatch, pinned)
    assert (runs(effects, A), runs(effects, B)) == ([], [1, 2])
    dispatch.gone(B, 1.0)
    effects = dispatch.tick(1000.0)
    [first, second] = sent(effects, CLIENT, Ended)
    assert sorted([*first.jobs, *second.jobs]) == [1, 2, 3]
    assert {*first.statuses, *second.statuses} == {ABANDONED} and "is lost" in first.exceptions[0]
    # And one for a node that is gone already.
    [end] = sent(submit(dispatch, {4: wish(instance(B))}), CLIENT, Ended)
    assert end.statuses == [ABANDONED] and "no longer exists" in end.exceptions[0]


def test_job_for_a_node_that_was_never_to_run_it_ends_with_the_node() -> None:
    # Given a node that the client does not want, and a job for it all the same.
    dispatch = scheduler(asks=True)
    join(dispatch, A)
    dispatch.receive_from_client(CLIENT, [UseNode(C, instance(A), 0, b"", [], [])], 0.0)
    dispatch._state.nodes[instance(A)].assignments.clear()
    submit(dispatch, {1: wish(node=instance(A))})
    [end] = sent(dispatch.left(A, 1.0), CLIENT, Ended)
    assert (end.jobs, end.statuses) == ([1], [ABANDONED]) and "is lost" in end.exceptions[0]


def test_job_for_one_node_that_waits_is_cancelled_at_once() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    submit(dispatch, {1: wish(instance(A)), 2: wish(instance(A))})
    [end] = sent(dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(2)], [0])], 0.0), CLIENT, Ended)
    assert (end.jobs, end.statuses) == ([2], [CANCELLED])
    assert runs(finish(dispatch, A, 1), A) == []


def test_node_is_told_what_it_must_know_of_a_job_and_no_more() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=4)
    # Where it must run and when is the scheduler's business: such jobs may go with others in one message.
    [run] = sent(submit(dispatch, {1: wish(priority=2.0), 2: wish(node=instance(A)), 3: wish(cpus=1)}), A, Run)
    assert sorted(run.jobs) == [1, 2, 3] and run.options == []
    timed = JobOptions(b"", 0.0, 60.0, 0, 0, b"", [], [], 0.0)
    [run] = sent(submit(dispatch, {4: timed}), A, Run)
    assert run.options == [timed]


def test_jobs_of_higher_priority_go_first() -> None:
    dispatch = scheduler()
    submit(dispatch, {1: None, 2: wish(priority=-1.0), 3: wish(priority=5.0), 4: None, 5: wish(priority=5.0)})
    join(dispatch, A, 1)
    order_of_starts = runs(dispatch.receive(A, [Prepared(C, "")], 0.0), A)
    while len(order_of_starts) < 5:
        order_of_starts += runs(finish(dispatch, A, order_of_starts[-1]), A)
    assert order_of_starts == [3, 5, 1, 4, 2]


def test_job_of_several_cpus_waits_until_they_are_free_and_nothing_passes_it() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    assert runs(submit(dispatch, {1: None, 2: wish(cpus=2), 3: None}), A) == [1]
    assert runs(finish(dispatch, A, 1), A) == [2]
    assert runs(finish(dispatch, A, 2), A) == [3]


def test_job_of_more_cpus_than_there_are_is_told() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: wish(cpus=3)})
    [trouble] = sent(dispatch.tick(PATIENCE), CLIENT, Notice)
    assert "a job requires 3 CPUs, and 2 may be used there" in trouble.text
    join(dispatch, B, 4)
    assert runs(dispatch.receive(B, [Prepared(C, "")], 9.0), B) == [1]


# Files, events, patience


def test_file_goes_to_its_node_and_the_answer_to_its_client() -> None:
    dispatch = scheduler()
    word = PutFile(C, 3, instance(A), [FILE], [b"x"])
    assert "not connected" in sent(dispatch.receive_from_client(CLIENT, [word], 0.0), CLIENT)[0].error
    ready(dispatch, A)
    assert sent(dispatch.receive_from_client(CLIENT, [word], 0.0), A) == [word]
    reply = Reply(C, 3, "", 0.0, [])
    assert sent(dispatch.receive(A, [reply], 0.0), CLIENT) == [reply]
    assert dispatch.receive(A, [reply], 0.0) == []


def test_file_of_a_job_goes_to_its_client_and_the_answer_to_the_job() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: None})
    upload = Upload(C, JobId(1), 1, 0, [FILE], [b"x"])
    assert sent(dispatch.receive(A, [upload], 0.0), CLIENT) == [upload]
    answer = Uploaded(C, JobId(1), 1, 0, "")
    assert sent(dispatch.receive_from_client(CLIENT, [answer], 0.0), A) == [answer]
    finish(dispatch, A, 1)
    assert dispatch.receive(A, [upload], 0.0) == []
    assert dispatch.receive_from_client(CLIENT, [answer], 0.0) == []


def test_what_is_free_is_told_to_those_who_watch() -> None:
    for watches in (False, True):
        dispatch = scheduler(watches=watches)
        ready(dispatch, A)
        events = sent(dispatch.receive(A, [Availability([1.0, 2.0, 3.0, 4.0])], 0.0), CLIENT)
        assert [(each.what, each.free) for each in events] == ([(AVAILABLE, [1.0, 2.0, 3.0, 4.0])] if watches else [])


def test_setup_and_cleanup_that_take_long_are_told_and_waited_for() -> None:
    dispatch = scheduler()
    join(dispatch, A)
    assert dispatch.due() == SETUP_PATIENCE
    [trouble] = sent(dispatch.tick(SETUP_PATIENCE), CLIENT, Notice)
    assert "still waiting for 10.0.0.1:51348: setting up" in trouble.text
    assert dispatch.tick(SETUP_PATIENCE + 1) == []
    dispatch.receive(A, [Prepared(C, "")], 20.0)
    dispatch.receive_from_client(CLIENT, [Release(C)], 30.0)
    [trouble] = sent(dispatch.tick(30.0 + SETUP_PATIENCE), CLIENT, Notice)
    assert "cleaning up" in trouble.text
    assert sent(dispatch.receive(A, [Released(C)], 50.0), CLIENT) == [Released(C)]


def problems(dispatch: Dispatch, now: float) -> list[str]:
    [standing] = sent(dispatch.receive_from_client(CLIENT, [StatusRequest(C, 1)], now), CLIENT, Status)
    return list(standing.problems)


def test_setup_that_lasts_is_among_the_problems() -> None:
    dispatch = scheduler()
    join(dispatch, A)
    submit(dispatch, {1: None})
    assert problems(dispatch, PATIENCE - 1) == []
    [trouble] = sent(dispatch.tick(PATIENCE), CLIENT, Notice)
    assert trouble.text.endswith("\n  10.0.0.1:51348: setting up the computation for 3 s")
    assert problems(dispatch, 20.0) == ["10.0.0.1:51348: setting up the computation for 20 s"]
    dispatch.receive(A, [Prepared(C, "")], 21.0)
    assert problems(dispatch, 22.0) == []


# Jobs of more CPUs than any node has


def test_job_that_no_node_can_run_holds_up_no_other() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    assert runs(submit(dispatch, {1: None, 2: wish(cpus=3), 3: wish(cpus=9, priority=5.0), 4: None}), A) == [1, 4]
    # Also where it came before its node was known.
    dispatch = scheduler()
    submit(dispatch, {1: wish(cpus=3), 2: None, 3: wish(cpus=2), 4: None})
    join(dispatch, A)
    assert runs(dispatch.receive(A, [Prepared(C, "")], 0.0), A) == [2]
    # A job that fits an idle node keeps its turn.
    assert runs(finish(dispatch, A, 2), A) == [3]
    assert runs(finish(dispatch, A, 3), A) == [4]
    # And a larger node gets the first one.
    join(dispatch, B, 4)
    assert runs(dispatch.receive(B, [Prepared(C, "")], 9.0), B) == [1]


def test_user_hears_within_seconds_of_a_job_that_no_node_can_run_whatever_runs() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, dict.fromkeys(range(1, 9)) | {9: wish(cpus=3), 10: None}, now=20.0)
    line = "10.0.0.1:51348: a job requires 3 CPUs, and 2 may be used there"
    assert problems(dispatch, 20.0) == [line]
    [trouble] = sent(dispatch.tick(20.0 + PATIENCE), CLIENT, Notice)
    assert trouble.text == f"f: 1 job waits, and no node has enough CPUs for it.\n  {line}"
    submit(dispatch, {11: wish(cpus=3)}, now=24.0)
    dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(9)], [0])], 25.0)
    [ended_one] = sent(dispatch.receive_from_client(CLIENT, [Cancel(C, [JobId(11)], [0])], 25.0), CLIENT, Ended)
    assert (ended_one.jobs, ended_one.statuses) == ([11], [CANCELLED])
    assert problems(dispatch, 26.0) == [] and dispatch.tick(99.0) == []


def test_job_that_has_become_too_wide_lets_others_pass_and_comes_back() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=4)
    assert runs(submit(dispatch, {1: None, 2: None}), A) == [1, 2]
    assert runs(submit(dispatch, {3: wish(cpus=4), 4: None}), A) == []
    dispatch.receive(A, [Cpus(2, "")], 1.0)
    assert problems(dispatch, 2.0) == ["10.0.0.1:51348: a job requires 4 CPUs, and 2 may be used there"]
    assert runs(finish(dispatch, A, 1), A) == [4]
    assert runs(dispatch.receive(A, [Cpus(4, "")], 3.0), A) == []
    assert runs(submit(dispatch, {5: None}), A) == []
    assert runs(finish(dispatch, A, 2), A) == [] and problems(dispatch, 4.0) == []
    assert runs(finish(dispatch, A, 4), A) == [3]
    assert runs(finish(dispatch, A, 3), A) == [5]


def test_job_for_one_node_that_has_too_few_cpus_holds_up_no_other_there() -> None:
    dispatch = scheduler()
    ready(dispatch, A, B)
    assert runs(submit(dispatch, {1: wish(bytes(instance(A)), cpus=3), 2: wish(bytes(instance(A)))}), A) == [2]
    assert problems(dispatch, 0.0) == ["10.0.0.1:51348: a job requires 3 CPUs, and 2 may be used there"]
    # It goes with its node.
    finish(dispatch, A, 2)
    [(jobs, statuses, _)] = endings(dispatch.left(A, 2.0))
    assert (jobs, statuses) == ([1], [ABANDONED])
    assert problems(dispatch, 3.0) == []


def named(*nodes: str) -> Dispatch:
    dispatch = checked(Dispatch())
    dispatch.receive_from_client(CLIENT, [Open(C, list(nodes), False, False, False), prepare()], 0.0)
    return dispatch


def endings(effects: Effects) -> list[tuple[list[int], list[int], list[str]]]:
    return [(list(each.jobs), each.statuses, each.exceptions) for each in sent(effects, CLIENT, Ended)]


def test_job_ends_where_no_named_node_will_ever_have_its_cpus() -> None:
    dispatch = named("10.0.0.1", "10.0.0.2")
    ready(dispatch, A)
    submit(dispatch, {1: wish(cpus=3), 2: wish(cpus=5), 3: None})
    # The other one may have more.
    assert endings(dispatch.tick(PATIENCE)) == []
    join(dispatch, B, 4, now=5.0)
    dispatch.receive(B, [Prepared(C, "")], 5.0)
    text = "The job requires 5 CPUs (dispy_cpus), but only 4 may be used at 10.0.0.2:51348, the largest of 2 nodes.\n"
    effects = dispatch.tick(5.0 + NAMED_PATIENCE)
    assert endings(effects) == [([2], [TERMINATED], [text])]
    [told] = sent(effects, CLIENT, Notice)
    assert told.text == f"f: a job is terminated, since no node can run it: {text.rstrip()}"


def test_job_waits_longer_where_nodes_are_looked_for_and_on_as_long_as_there_may_be_cpus() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: wish(cpus=3)})
    assert endings(dispatch.tick(NODE_PATIENCE - 0.1)) == []
    text = "The job requires 3 CPUs (dispy_cpus), but only 2 may be used at 10.0.0.1:51348.\n"
    assert endings(dispatch.tick(NODE_PATIENCE)) == [([1], [TERMINATED], [text])]
    # What the program has taken from a node it can give back.
    dispatch = named("10.0.0.1")
    ready(dispatch, A)
    order(dispatch, "cpus", A, 1)
    submit(dispatch, {1: wish(cpus=2)})
    assert endings(dispatch.tick(NODE_PATIENCE)) == []
    assert runs(order(dispatch, "cpus", A, 2), A) == [1]
    # And its owner as well.
    dispatch = named("10.0.0.1")
    ready(dispatch, A)
    dispatch.receive(A, [Cpus(1, "")], 0.0)
    submit(dispatch, {1: wish(cpus=2)})
    assert endings(dispatch.tick(NODE_PATIENCE)) == []
    # A node that is away may come back with more.
    dispatch = named("10.0.0.1", "10.0.0.2")
    ready(dispatch, A, B)
    submit(dispatch, {1: None, 2: None, 3: None, 4: None, 5: wish(cpus=3)})
    dispatch.gone(B, 0.1)
    assert endings(dispatch.tick(NODE_PATIENCE)) == []


# Withdrawal


def withdraw(dispatch: Dispatch, *jobs: int, peer: Peer = CLIENT) -> Effects:
    return dispatch.receive_from_client(peer, [Withdraw(C, 7, [JobId(job) for job in jobs])], 0.0)


def test_client_is_answered_which_of_its_withdrawn_jobs_were_on_no_node() -> None:
    dispatch = scheduler()
    ready(dispatch, A, cpus=1)
    submit(dispatch, dict.fromkeys(range(1, 5)))
    [on_node] = dispatch._state.nodes[instance(A)].assignments[C].placed
    effects = withdraw(dispatch, *range(1, 4))
    assert on_node == 1 and sent(effects, A, Withdraw) == [Withdraw(C, 0, [JobId(1)])]
    assert endings(effects) == [([2, 3], [CANCELLED, CANCELLED], ["", ""])]
    # The answer follows the ends, so that they are known when it arrives.
    assert sent(effects, CLIENT)[-1] == Reply(C, 7, "", 0.0, [JobId(2), JobId(3)])
    # The node ends the one that it has, or runs it to its end.
    assert endings(dispatch.receive(A, [ended(outcome(1, status=CANCELLED))], 1.0)) == [([1], [CANCELLED], [""])]
    assert sent(withdraw(dispatch, 1, 2), CLIENT) == [Reply(C, 7, "", 0.0, [])]


def test_withdrawal_for_an_unknown_computation_is_answered() -> None:
    dispatch = checked(Dispatch())
    assert withdraw(dispatch, 1) == [Send(CLIENT, Reply(C, 7, "", 0.0, []))]


def test_withdrawn_job_that_no_node_can_run_ends() -> None:
    dispatch = scheduler()
    ready(dispatch, A)
    submit(dispatch, {1: wish(cpus=3), 2: wish(cpus=2, priority=-1.0)})
    assert [jobs for jobs, _, _ in endings(withdraw(dispatch, 1))] == [[1]]
    assert problems(dispatch, 1.0) == []


def test_wish_to_follow_jobs_goes_to_the_nodes_that_have_them() -> None:
    dispatch = scheduler()
    ready(dispatch, A, B, cpus=1)
    submit(dispatch, {1: None, 2: None, 3: None})
    effects = dispatch.receive_from_client(CLIENT, [Follow(C, [JobId(each) for each in (1, 2, 3, 9)])], 0.0)
    assert sorted(each.jobs[0] for peer in (A, B) for each in sent(effects, peer, Follow)) == [1, 2]
    assert dispatch.receive_from_client(CLIENT, [Follow(D, [JobId(1)])], 0.0) == []
