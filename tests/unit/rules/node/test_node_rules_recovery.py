"""The node's rules where clients go away: what is written down, who takes computations over, and who loses them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gdispy.protocol.ids import JobId, Peer, WorkerId
from gdispy.protocol.job_status import TERMINATED
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    Fenced,
    Hello,
    Inventory,
    Limit,
    Open,
    OutcomesAcked,
    Prepare,
    Release,
    Run,
    Started,
)
from gdispy.protocol.rows import Claim
from gdispy.rules.effects import Drop, Effects, WriteFacts
from gdispy.rules.history.facts import Owned
from gdispy.rules.history.replay import JournalState
from gdispy.rules.node.effects import Load, Unload
from gdispy.rules.node.node_rules import NodeRules
from tests.unit.builders import C, D, checked, ended, hello, outcome, plain, prepare, sent

A, B, CLIENT, OTHER = Peer(1), Peer(2), Peer(100), Peer(101)
W1 = WorkerId(1)
TOKEN = b"t" * 16
LATER = b"l" * 16


def kept(epoch: int = 1) -> Prepare:
    return replace(prepare(), token=TOKEN, epoch=epoch)


def claiming(instance: bytes, epoch: int, token: bytes = TOKEN, role: str = "") -> Hello:
    return replace(hello(instance, role=role), claims=[Claim(C, token, epoch)])


def run(*jobs: int) -> Run:
    return Run(C, [JobId(job) for job in jobs], [1] * len(jobs), [b"arguments"] * len(jobs))


def node(cpus: int = 1, **options: Any) -> NodeRules:
    """A node with two jobs of a computation that somebody may take over; the first runs."""
    rules = checked(NodeRules(cpus, **options))
    rules.joined(A, claiming(b"c" * 16, 1), 0.0)
    rules.receive(A, [kept()], 0.0)
    rules.loaded(C, "", 0.0)
    rules.receive(A, [run(1, 2)], 0.0)
    return rules


def facts(effects: Effects) -> list[Any]:
    return [fact for effect in effects if isinstance(effect, WriteFacts) for fact in effect.facts]


def test_results_of_a_scheduler_that_is_away_are_written_down() -> None:
    rules = node()
    rules.gone(A, 1.0)
    written = facts(rules.answered(W1, [outcome(1)], 2.0))
    assert [type(fact) for fact in written] == [Open, Owned, Run, Ended]
    assert written[0].token == TOKEN
    assert written[3] == ended(outcome(1))
    # And only once, with the next one.
    assert facts(rules.answered(W1, [outcome(2)], 3.0)) == [
        Run(C, [JobId(2)], [1], [b""]),
        ended(outcome(2)),
    ]


def test_results_that_nobody_had_collected_are_written_down_when_the_scheduler_goes() -> None:
    rules = node()
    assert facts(rules.answered(W1, [outcome(1)], 2.0)) == []
    assert ended(outcome(1)) in facts(rules.gone(A, 3.0))


def test_nothing_is_written_of_a_computation_that_nobody_can_take_over() -> None:
    rules = checked(NodeRules(1))
    rules.joined(A, hello(), 0.0)
    rules.receive(A, [prepare()], 0.0)
    rules.loaded(C, "", 0.0)
    rules.receive(A, [run(1)], 0.0)
    rules.gone(A, 1.0)
    assert facts(rules.answered(W1, [outcome(1)], 2.0)) == []


def test_next_life_of_a_node_gives_out_what_was_written() -> None:
    rules = node()
    rules.gone(A, 1.0)
    known = JournalState()
    for fact in facts(rules.answered(W1, [outcome(1)], 2.0)):
        known.take(fact)
    # When another life of the node takes it up, and the scheduler comes back.
    later = checked(NodeRules(1))
    later.restore(known.histories[C], 10.0)
    effects = later.joined(B, claiming(b"c" * 16, 1), 11.0)
    assert sent(effects, B) == [Inventory([C], [[JobId(1)]], [[1]]), ended(outcome(1))]
    # Then what was collected is written as such, and what is released is forgotten.
    assert facts(later.receive(B, [OutcomesAcked(C, [JobId(1)], [1])], 12.0)) == [OutcomesAcked(C, [JobId(1)], [0])]
    assert facts(later.receive(B, [Release(C)], 13.0)) == [Release(C)]


def test_computation_of_which_only_results_are_left_is_loaded_afresh() -> None:
    rules = node()
    rules.gone(A, 1.0)
    known = JournalState()
    for fact in facts(rules.answered(W1, [outcome(1)], 2.0)):
        known.take(fact)
    later = checked(NodeRules(1))
    later.restore(known.histories[C], 10.0)
    later.joined(B, claiming(b"c" * 16, 1), 11.0)
    assert later.receive(B, [kept()], 11.0) == [Load(kept(), {})]
    later.loaded(C, "", 12.0)
    assert plain(later.receive(B, [run(3)], 12.0))


def test_jobs_of_a_client_that_stays_away_are_ended_and_their_results_kept() -> None:
    rules = node(lease=60.0, spool_age=1000.0)
    rules.gone(A, 0.0)
    effects = rules.tick(100.0)
    assert Unload(C) in effects
    written = [fact for fact in facts(effects) if isinstance(fact, Ended)]
    assert [(each.jobs, each.statuses) for each in written] == [([1, 2], [TERMINATED, TERMINATED])]
    assert "was disconnected for 1 minutes" in written[0].exceptions[0]
    rules.unloaded(C, 101.0)
    # Whoever takes it over gets them; later than that nobody does.
    assert [each.jobs for each in sent(rules.joined(B, claiming(LATER, 2), 200.0), B, Ended)] == [[1, 2]]
    rules.gone(B, 300.0)
    rules.tick(400.0)
    assert facts(rules.tick(2000.0)) == [Release(C)]


def test_who_knows_the_token_takes_over_and_the_former_owner_is_fenced() -> None:
    rules = node()
    effects = rules.joined(B, claiming(LATER, 2), 1.0)
    assert sent(effects, A) == [Fenced(C, TOKEN, 2)]
    assert sent(effects, B) == [Inventory([C], [[JobId(1), JobId(2)]], [[1, 1]])]
    # What the former one says of it has no effect, and its end goes to the new one.
    assert rules.receive(A, [Cancel(C, [JobId(1)], [1])], 2.0) == []
    assert sent(rules.answered(W1, [outcome(1)], 3.0), B) == [ended(outcome(1))]
    # And when it comes back with its older epoch, it hears it again.
    rules.gone(A, 4.0)
    assert Fenced(C, TOKEN, 2) in sent(rules.joined(A, claiming(b"c" * 16, 1), 5.0), A)
    assert sent(rules.receive(A, [kept(1)], 5.0), A) == [Fenced(C, TOKEN, 2)]


def test_fence_outlives_the_computation() -> None:
    rules = node()
    rules.gone(A, 1.0)
    rules.joined(B, claiming(LATER, 2), 1.0)
    rules.receive(B, [Release(C)], 2.0)
    rules.unloaded(C, 2.0)
    assert Fenced(C, TOKEN, 2) in sent(rules.joined(A, claiming(b"c" * 16, 1), 5.0), A)


def test_wrong_token_or_older_epoch_gets_nothing() -> None:
    rules = node()
    rules.gone(A, 1.0)
    assert sent(rules.joined(B, claiming(LATER, 2, token=b"w" * 16), 1.0), B) == [Inventory([], [], [])]
    rules.gone(B, 2.0)
    assert sent(rules.joined(B, claiming(LATER, 1), 3.0), B) == [
        Fenced(C, TOKEN, 1),
        Inventory([], [], []),
    ]


def test_who_does_not_know_the_token_neither_hears_of_it_nor_is_served_for_it() -> None:
    rules = node()
    rules.joined(B, claiming(LATER, 2), 1.0)
    # Said with another token, that it was overtaken is no reason to be served beside somebody else.
    effects = rules.joined(OTHER, claiming(b"o" * 16, 1, token=b"w" * 16), 2.0)
    assert [type(each) for each in effects] == [Drop]


def test_recoverer_may_collect_and_nothing_else() -> None:
    rules = node()
    rules.joined(B, replace(claiming(LATER, 2), role="recoverer"), 1.0)
    for message in (Limit(C, 0, 0), kept(2), run(3)):
        effects = rules.receive(B, [message], 2.0)
        assert [type(each) for each in effects] == [Drop]
    assert rules._capacity.cpus == 1


def test_who_only_collects_is_served_beside_a_scheduler_and_hears_what_has_ended() -> None:
    rules = node()
    rules.answered(W1, [outcome(1)], 1.0)
    other = replace(hello(b"r" * 16, role="recoverer"), claims=[Claim(D, TOKEN, 2)])
    assert sent(rules.joined(B, other, 2.0), B) == [Inventory([], [], [], [])]
    taking = claiming(LATER, 2, role="recoverer")
    assert sent(rules.joined(Peer(3), taking, 3.0), Peer(3)) == [
        Started(C, [JobId(2)], [1], [1.0], ""),
        Inventory([C], [[JobId(2), JobId(1)]], [[1, 1]], [[JobId(1)]]),
        ended(outcome(1)),
    ]


def test_older_life_of_a_scheduler_is_refused() -> None:
    rules = checked(NodeRules(1))
    rules.joined(A, replace(hello(), epoch=5), 0.0)
    rules.gone(A, 1.0)
    rules.joined(A, replace(hello(), epoch=6), 2.0)
    rules.receive(A, [kept()], 2.0)
    rules.gone(A, 3.0)
    effects = rules.joined(B, replace(hello(), epoch=5), 4.0)
    assert len(effects) == 1
    assert isinstance(effects[0], Drop) and "an old copy" in effects[0].reason
