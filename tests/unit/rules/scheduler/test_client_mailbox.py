"""The way between a client and a scheduler elsewhere: cut anywhere, nothing is lost and nothing is done twice."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from gdispy.errors import ProtocolError
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.job_status import ABANDONED, FINISHED
from gdispy.protocol.messages import (
    ALL,
    Accepted,
    Cancel,
    Ended,
    Inventory,
    JobNames,
    Message,
    NodeCommand,
    Open,
    OutcomesAcked,
    Prepare,
    Progress,
    ProgressAcked,
    PutFile,
    Release,
    Released,
    Reply,
    ResendRequest,
    Resume,
    Run,
    Status,
    StatusRequest,
    Unknown,
    Upload,
    Uploaded,
    UseNode,
    Withdraw,
)
from gdispy.rules.client.outbox import Outbox
from gdispy.rules.history.facts import Announced, Placed
from gdispy.rules.history.replay import ComputationHistory, Job, JournalState
from gdispy.rules.scheduler.client_mailbox import PARTS_LIMIT, ClientMailbox
from gdispy.rules.scheduler.quotas import ADDRESSES, PATTERNS, Quotas
from tests.unit.builders import C, D, ended, outcome, prepare

FILE = ["f", 0o600, 0.0, 1, b""]


def run(*jobs: int, options: Any = ()) -> Run:
    numbers = [JobId(job) for job in jobs]
    return Run(C, numbers, [1] * len(jobs), [b"a%d" % job for job in jobs], list(options))


def mailbox() -> ClientMailbox:
    found = ClientMailbox(Peer(9), Instance(b"c" * 16), "client")
    found.incoming(Open(C, ["*"], False))
    found.incoming(prepare())
    return found


def outbox(reentrant: bool = False) -> Outbox:
    found = Outbox("10.0.0.9:51347")
    found.outgoing(Open(C, ["*"], reentrant))
    found.outgoing(prepare())
    return found


# The scheduler's end


def test_job_that_is_said_again_is_handed_on_once_and_accepted_each_time() -> None:
    box = mailbox()
    assert box.incoming(run(1, 2)) == ([run(1, 2)], [Accepted(C, [JobId(1), JobId(2)])])
    forward, answers = box.incoming(run(2, 3))
    assert (forward, answers) == ([run(3)], [Accepted(C, [JobId(2), JobId(3)])])
    assert box.incoming(run(3))[0] == []


def test_outcome_is_said_on_each_connection_until_it_is_collected() -> None:
    box = mailbox()
    box.incoming(run(1, 2, 3))
    box.outgoing(ended(outcome(1), outcome(2)))
    resume = Resume([C], [[JobId(1), JobId(2), JobId(3)]])
    for _ in range(2):
        # The word that the jobs were accepted may have been lost, too.
        assert box.incoming(resume) == ([], [Accepted(C, [JobId(3)]), ended(outcome(1), outcome(2))])
    assert box.incoming(OutcomesAcked(C, [JobId(2)], [1])) == ([], [])
    answers = box.incoming(resume)[1]
    assert answers == [Accepted(C, [JobId(3)]), Unknown(C, [JobId(2)], False), ended(outcome(1))]
    # A job may not be forgotten before it has ended, whatever the client says.
    box.incoming(OutcomesAcked(C, [JobId(3)], [1]))
    assert box.pending() == 2


def test_provisional_results_and_files_are_kept_until_they_are_answered() -> None:
    box = mailbox()
    box.incoming(run(1))
    shown = [Progress(C, JobId(1), 1, index, b"x", "") for index in range(2)]
    upload = Upload(C, JobId(1), 1, 0, [FILE], [b"x"])
    for message in (*shown, upload):
        box.outgoing(message)
    resume = Resume([C], [[JobId(1)]])
    accepted = Accepted(C, [JobId(1)])
    assert box.incoming(resume)[1] == [accepted, *shown, upload]
    box.incoming(ProgressAcked(C, [JobId(1)], [1], [1]))
    answer = Uploaded(C, JobId(1), 1, 0, "")
    assert box.incoming(answer) == ([answer], [])
    assert box.incoming(resume)[1] == [accepted, shown[1]]
    box.outgoing(ended(outcome(1)))
    box.incoming(OutcomesAcked(C, [JobId(1)], [1]))
    # It may come after the end, which waits for it at the client.
    assert box.incoming(Resume([C], [[]]))[1] == [shown[1]]
    box.incoming(ProgressAcked(C, [JobId(1)], [1], [2]))
    assert box.incoming(Resume([C], [[]]))[1] == []


def test_computation_of_which_only_the_beginning_has_come_is_asked_for_again() -> None:
    # Given a connection that broke when the jobs were there, and what is to be run, being long, was not.
    box = ClientMailbox(Peer(9), Instance(b"c" * 16), "client")
    box.incoming(Open(C, ["*"], False))
    box.incoming(run(1))
    # When the client is back, then it is to say that again; and the job is not lost by it.
    accepted = Accepted(C, [JobId(1)])
    assert box.incoming(Resume([C], [[JobId(1)]]))[1] == [accepted, Unknown(C, [], True)]
    box.incoming(prepare())
    assert box.incoming(Resume([C], [[JobId(1)]]))[1] == [accepted]


def test_job_that_has_ended_for_the_client_is_not_run_for_nobody() -> None:
    # Given a job whose end the client has heard from a former life of this scheduler, which this one does not know.
    box = mailbox()
    box.incoming(run(1, 2))
    # When the client names the jobs that it still awaits, then the other one is cancelled.
    forward, _ = box.incoming(Resume([C], [[JobId(2)]]))
    assert forward == [Cancel(C, [JobId(1)], [0])]
    # But not one whose outcome is here, and comes now.
    box.outgoing(ended(outcome(1)))
    forward, answers = box.incoming(Resume([C], [[JobId(2)]]))
    assert (forward, answers[-1]) == ([], ended(outcome(1)))


def test_job_that_the_rules_give_back_is_taken_when_it_is_said_again() -> None:
    box = mailbox()
    box.incoming(run(1))
    assert box.incoming(run(1))[0] == []
    box.outgoing(ResendRequest(C, [JobId(1)], True))
    # On a new connection it is asked for again, and not accepted before it is said.
    assert box.incoming(Resume([C], [[JobId(1)]]))[1] == [ResendRequest(C, [JobId(1)], True)]
    assert box.incoming(run(1))[0] == [run(1)]
    assert box.incoming(Resume([C], [[JobId(1)]]))[1] == [Accepted(C, [JobId(1)])]


def test_job_of_which_a_former_life_had_only_heard_is_asked_for_wherever_it_is() -> None:
    # Given a journal that knows of two jobs, one of them on a node, but not what they are called with.
    known = JournalState()
    for fact in [Open(C, ["*"], False), prepare(), Announced(C, [JobId(1), JobId(2)], [])]:
        known.take(fact)
    known.take(Placed(C, Instance(b"n" * 16), [JobId(2)], [1]))
    box = ClientMailbox(Peer(9), Instance(b"c" * 16), "client")
    box.restore(known.histories[C])
    # Then the client is asked for both, and nothing is accepted before.
    resume = Resume([C], [[JobId(1), JobId(2)]])
    assert box.incoming(resume)[1] == [ResendRequest(C, [JobId(1)], True), ResendRequest(C, [JobId(2)], False)]
    # Who only collects is told of the one that nobody can run.
    assert [each for each in box.holding() if isinstance(each, ResendRequest)] == [ResendRequest(C, [JobId(1)], True)]
    assert box.incoming(run(1, 2)) == ([run(1, 2)], [Accepted(C, [JobId(1), JobId(2)])])
    assert box.incoming(resume)[1] == [Accepted(C, [JobId(1), JobId(2)])]


def test_job_that_ends_while_it_is_said_again_is_not_run_again() -> None:
    known = JournalState()
    for fact in [Open(C, ["*"], False), prepare(), Announced(C, [JobId(1), JobId(2)], [])]:
        known.take(fact)
    known.take(Placed(C, Instance(b"n" * 16), [JobId(1), JobId(2)], [1, 1]))
    box = ClientMailbox(Peer(9), Instance(b"c" * 16), "client")
    box.restore(known.histories[C])
    box.incoming(Resume([C], [[JobId(1), JobId(2)]]))
    # When its node says that it has ended, and the client's word that it has that overtakes its long arguments,
    box.outgoing(ended(outcome(1)))
    box.incoming(OutcomesAcked(C, [JobId(1)], [1]))
    box.outgoing(ended(outcome(2)))
    # then these come too late, whether that was collected or not.
    assert box.incoming(run(1, 2))[0] == []
    assert box.pending() == 1


def test_job_that_was_asked_for_twice_is_run_once() -> None:
    box = mailbox()
    box.incoming(run(1))
    for _ in range(2):  # When the client is back, and when a node does not have it.
        box.outgoing(ResendRequest(C, [JobId(1)], True))
    assert box.incoming(run(1))[0] == [run(1)]
    box.outgoing(ended(outcome(1)))
    box.incoming(OutcomesAcked(C, [JobId(1)], [1]))
    assert box.incoming(run(1))[0] == []


def test_client_says_again_what_it_is_asked_for_also_of_a_former_life() -> None:
    history = ComputationHistory(Open(C, ["*"], False))
    history.prepare = prepare()
    for number in (1, 2):
        history.jobs[JobId(number)] = Job(b"a%d" % number, None)
        history.jobs[JobId(number)].node = Instance(b"s" * 16)
    way = Outbox("10.0.0.9:51347")
    way.restore(history, prepare())
    assert way.incoming(ResendRequest(C, [JobId(1)], True)) == ([], [run(1)])
    # What it has no more, and a node has, it leaves to that; else it is lost.
    way.incoming(Accepted(C, [JobId(1)]))
    assert way.incoming(ResendRequest(C, [JobId(1)], False)) == ([], [])
    told, _ = way.incoming(ResendRequest(C, [JobId(1)], True))
    assert isinstance(told[0], Ended) and told[0].statuses == [ABANDONED]
    # A scheduler that does not know a job at all may have forgotten that it ran.
    told, _ = way.incoming(Unknown(C, [JobId(2)], False))
    assert isinstance(told[0], Ended) and told[0].statuses == [ABANDONED]


def test_cancel_of_a_job_that_the_scheduler_may_not_have_overtakes_nothing() -> None:
    way = outbox()
    cancel = Cancel(C, [JobId(1)], [0])
    way.outgoing(run(1, 2))
    way.outgoing(cancel)
    assert way.must_follow(cancel) and not way.must_follow(run(1, 2))
    # On the next connection it is said behind the job, if that is said again.
    way.gone("broken")
    way.connected()
    assert way.incoming(Unknown(C, [JobId(1), JobId(2)], False)) == ([], [run(1, 2), cancel])
    way.incoming(Accepted(C, [JobId(1)]))
    assert not way.must_follow(cancel)


def test_cancel_of_a_job_that_is_not_known_is_kept_nowhere() -> None:
    box = mailbox()
    box.incoming(Cancel(C, [JobId(number) for number in range(1000)], [0] * 1000))
    box.incoming(JobNames(C, [JobId(1), JobId(2)], [b"one", b"two"]))
    assert box.incoming(run(1))[0] == [run(1)]
    assert JobNames(C, [JobId(1)], [b"one"]) not in box.holding()


def test_message_that_no_scheduler_takes_from_a_client_is_refused_and_changes_nothing() -> None:
    box = mailbox()
    taken = (
        Open,
        Prepare,
        UseNode,
        Run,
        Cancel,
        Release,
        StatusRequest,
        NodeCommand,
        PutFile,
        Uploaded,
        Resume,
        OutcomesAcked,
        ProgressAcked,
        JobNames,
        Withdraw,
    )
    with pytest.raises(ProtocolError, match="a scheduler takes no Inventory from a client"):
        box.incoming(Inventory([], [], []))
    with pytest.raises(ProtocolError, match="Run names a job twice"):
        box.incoming(run(1, 1))
    assert box.pending() == 0 and set(taken) < set(ALL)


def test_client_reaches_its_own_computations_only() -> None:
    box = mailbox()
    for message in (
        StatusRequest(D, 1),
        Cancel(D, [JobId(1)], [0]),
        Run(D, [JobId(1)], [1], [b""]),
        OutcomesAcked(D, [], []),
    ):
        assert box.incoming(message) == ([], [])
    assert box.incoming(Release(D)) == ([], [Released(D)])


def test_computation_that_a_client_has_let_go_of_meanwhile_is_released() -> None:
    box = mailbox()
    assert box.incoming(Resume([D], [[JobId(4)]])) == ([Release(C)], [Unknown(D, [JobId(4)], True)])
    box.outgoing(Released(C))
    assert box.computations == []


# The client's end


def test_first_word_names_every_open_job_and_what_was_cancelled() -> None:
    ours = outbox()
    ours.outgoing(run(1, 2, 3))
    ours.outgoing(Cancel(C, [JobId(2)], [0]))
    ours.incoming(ended(outcome(1)))
    assert ours.connected() == [
        Resume([C], [[JobId(2), JobId(3)]]),
        Open(C, ["*"], False),
        Cancel(C, [JobId(2)], [0]),
    ]


def test_outcome_is_collected_also_when_it_comes_again() -> None:
    ours = outbox()
    ours.outgoing(run(1))
    for _ in range(2):
        assert ours.incoming(ended(outcome(1))) == ([ended(outcome(1))], [OutcomesAcked(C, [JobId(1)], [1])])


@pytest.mark.parametrize("reentrant", [False, True])
def test_job_that_a_new_scheduler_does_not_know_runs_again_only_if_it_may(reentrant: bool) -> None:
    ours = outbox(reentrant)
    ours.outgoing(run(1, 2))
    ours.incoming(Accepted(C, [JobId(1)]))
    told, answers = ours.incoming(Unknown(C, [JobId(1), JobId(2)], True))
    again = run(1, 2) if reentrant else run(2)
    assert answers == [Open(C, ["*"], reentrant), prepare(), again]
    if reentrant:
        assert told == []
        return
    [end] = told
    assert isinstance(end, Ended)
    assert (end.jobs, end.statuses) == ([1], [ABANDONED]) and "started again" in end.exceptions[0]
    # And not once more.
    assert ours.incoming(Unknown(C, [JobId(1)], False)) == ([], [])


def test_questions_are_answered_while_the_scheduler_is_away() -> None:
    ours = outbox()
    ours.outgoing(run(1, 2))
    ours.gone("connection refused")
    [standing] = ours.outgoing(StatusRequest(C, 5))
    assert isinstance(standing, Status) and (standing.question, standing.queued) == (5, 2)
    assert standing.problems == ["the scheduler at 10.0.0.9:51347 cannot be reached: connection refused"]
    [reply] = ours.outgoing(NodeCommand(C, 6, "jobs", Instance(b"n" * 16), 0.0))
    assert isinstance(reply, Reply) and reply.value == -1.0 and "cannot be reached" in reply.error
    ours.connected()
    assert ours.outgoing(StatusRequest(C, 7)) == []


def test_question_whose_connection_breaks_is_answered_all_the_same() -> None:
    ours = outbox()
    ours.connected()
    assert ours.outgoing(StatusRequest(C, 5)) == ours.outgoing(StatusRequest(C, 6)) == []
    ours.incoming(Status(C, 5, [], 0, []))
    [answer] = ours.gone("cut")
    assert isinstance(answer, Status) and answer.question == 6 and "cut" in answer.problems[0]
    assert ours.gone("cut") == []


def test_release_is_said_until_it_is_confirmed() -> None:
    ours = outbox()
    ours.outgoing(run(1))
    ours.outgoing(Release(C))
    assert ours.connected() == [Resume([C], [[]]), Release(C)]
    assert ours.incoming(Unknown(C, [], True)) == ([], [])
    assert ours.incoming(Released(C)) == ([Released(C)], [])
    assert ours.connected() == [Resume([], [])]


# Both together


class _World:
    """A client, a scheduler that runs jobs at its leisure, and a way between them that is cut again and again."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.client = outbox()
        self.mailbox = ClientMailbox(Peer(9), Instance(b"c" * 16), "client")
        self.there: list[Message] = []
        self.back: list[Message] = []
        self.connected = False
        self.begun: list[int] = []
        self.waiting: list[int] = []
        self.told: list[int] = []
        self.made = 0

    def say(self, message: Message) -> None:
        self.client.outgoing(message)
        if self.connected:
            self.there.append(message)

    def connect(self) -> None:
        self.there, self.back = list(self.client.connected()), []
        self.connected = True

    def cut(self) -> None:
        self.connected = False
        self.client.gone("cut")
        self.there, self.back = [], []

    def step(self) -> None:
        choice = self.random.random()
        if choice < 0.1 and self.made < 60:
            jobs = range(self.made + 1, self.made + self.random.randint(2, 6))
            self.made += len(jobs)
            self.say(run(*jobs))
        elif choice < 0.15:
            (self.cut if self.connected else self.connect)()
        elif choice < 0.4 and self.there:
            forward, answers = self.mailbox.incoming(self.there.pop(0))
            self.back += answers
            for message in forward:
                if isinstance(message, Run):
                    self.begun += message.jobs
                    self.waiting += message.jobs
        elif choice < 0.6 and self.back:
            told, answers = self.client.incoming(self.back.pop(0))
            if self.connected:
                self.there += answers
            for message in told:
                if isinstance(message, Ended):
                    assert message.statuses == [FINISHED] * len(message.jobs)
                    self.told += [job for job in message.jobs if job not in self.told]
        elif choice < 0.8 and self.waiting:
            job = self.waiting.pop(self.random.randrange(len(self.waiting)))
            message = ended(outcome(job))
            self.mailbox.outgoing(message)
            if self.connected:
                self.back.append(message)


@pytest.mark.parametrize("seed", range(60))
def test_every_job_begins_once_and_is_told_whatever_is_cut(seed: int) -> None:
    world = _World(seed)
    for _ in range(3000):
        world.step()
    if not world.connected:
        world.connect()
    world.random = Random(1)
    for _ in range(20_000):
        if not (world.there or world.back or world.waiting):
            break
        choice = world.random.choice((0.3, 0.5, 0.7))
        world.random.random = lambda choice=choice: choice  # type: ignore[method-assign, misc]
        world.step()
        world.random = Random(world.random.getrandbits(32))
    assert sorted(world.begun) == sorted(world.told) == list(range(1, world.made + 1))
    assert world.mailbox.pending() == 0 and world.client.waiting() == []


# Messages that one side refuses

REASON = "a message is refused: Ended.exceptions is not what it must be"


def test_jobs_of_a_connection_that_is_refused_twice_end_with_that_reason() -> None:
    ours = outbox()
    ours.outgoing(run(1, 2))
    assert ours.refused(REASON) == []
    [told] = ours.refused(REASON)
    assert (told.jobs, told.statuses) == ([1, 2], [ABANDONED, ABANDONED])
    assert all(REASON in text for text in told.exceptions)
    # What the scheduler has of them is not to be sent again.
    first, second, *_ = ours.connected()
    assert first == OutcomesAcked(C, [JobId(1), JobId(2)], [0, 0]) and second == Resume([C], [[]])
    assert ours.waiting() == []


def test_refusals_with_an_end_in_between_end_nothing() -> None:
    ours = outbox()
    ours.outgoing(run(1, 2))
    ours.refused(REASON)
    ours.incoming(ended(outcome(1)))
    assert ours.refused(REASON) == []


# What one client may have


def limited(**quotas: int) -> ClientMailbox:
    found = ClientMailbox(Peer(9), Instance(b"c" * 16), "client", Quotas(**quotas))
    found.incoming(Open(C, ["*"], False))
    found.incoming(prepare())
    return found


def sized(first: int, *sizes: int) -> Run:
    jobs = [JobId(first + place) for place in range(len(sizes))]
    return Run(C, jobs, [1] * len(jobs), [b"x" * size for size in sizes])


def test_jobs_beyond_the_bytes_of_a_client_end_with_that_reason_and_the_others_run() -> None:
    box = limited(bytes=50_000)
    forward, answers = box.incoming(sized(1, 20_000, 20_000, 20_000))
    assert [each.jobs for each in forward] == [[1, 2]]
    assert answers[0] == Accepted(C, [JobId(1), JobId(2), JobId(3)])
    [told] = [each for each in answers if isinstance(each, Ended)]
    assert (told.jobs, told.statuses) == ([3], [ABANDONED])
    kept = box.kept_bytes
    assert kept + 20_000 > 50_000
    assert f"20,000 bytes are too many beside the {kept:,} that" in told.exceptions[0]
    assert "--max_client_bytes" in told.exceptions[0]
    # It is said again until it is collected, as any other end.
    assert told in box.incoming(Resume([C], [[JobId(1), JobId(2), JobId(3)]]))[1]
    # When one has ended, there is room for another.
    box.outgoing(ended(outcome(1)))
    box.incoming(OutcomesAcked(C, [JobId(1), JobId(3)], [1, 1]))
    assert [each.jobs for each in box.incoming(sized(4, 20_000))[0]] == [[4]]


def test_jobs_beyond_the_number_of_a_client_end_with_that_reason() -> None:
    box = limited(jobs=3)
    assert [each.jobs for each in box.incoming(run(1, 2))[0]] == [[1, 2]]
    forward, answers = box.incoming(run(3, 4, 5))
    assert [each.jobs for each in forward] == [[3]]
    [told] = [each for each in answers if isinstance(each, Ended)]
    assert told.jobs == [4, 5] and "3 jobs here at once (--max_client_jobs)" in told.exceptions[0]


def test_computation_beyond_the_number_of_a_client_runs_nothing_and_says_why() -> None:
    box = limited(computations=1)
    other = ComputationId(b"another1")
    assert box.incoming(Open(other, ["*"], False)) == ([], [])
    [accepted, told] = box.incoming(Run(other, [JobId(1)], [1], [b""]))[1]
    assert isinstance(accepted, Accepted) and "--max_client_computations" in told.exceptions[0]  # type: ignore[attr-defined]
    # One that brings more and more is let go.
    with pytest.raises(ProtocolError, match="--max_client_computations"):
        box.incoming(Open(ComputationId(b"another2"), ["*"], False))
    # When one is released, there is room for another.
    box.outgoing(Released(C))
    box.outgoing(Released(other))
    assert box.incoming(Open(ComputationId(b"another2"), ["*"], False))[0]


def test_client_that_names_too_many_nodes_hears_to_use_patterns() -> None:
    box = limited()
    nodes = [f"10.0.{each >> 8}.{each & 255}" for each in range(ADDRESSES)]
    assert box.incoming(Open(C, nodes, False))[0]
    # The same ones again are no more of them.
    assert box.incoming(Open(D, nodes, False))[0]
    for computation, more in ((b"another2", ["10.1.0.0"]), (b"another3", ["*"] * (PATTERNS + 1))):
        assert box.incoming(Open(ComputationId(computation), more, False)) == ([], [])
        told = box.incoming(Run(ComputationId(computation), [JobId(1)], [1], [b""]))[1][1]
        assert "patterns" in told.exceptions[0]  # type: ignore[attr-defined]


def test_what_computations_and_names_of_jobs_bring_counts_too() -> None:
    box = limited(bytes=10_000)
    box.incoming(run(1))
    with pytest.raises(ProtocolError, match="--max_client_bytes"):
        box.incoming(JobNames(C, [JobId(1)], [b"x" * 10_000]))
    with pytest.raises(ProtocolError, match="--max_client_bytes"):
        box.incoming(replace(prepare(), body=b"x" * 10_000))
    box.incoming(JobNames(C, [JobId(1)], [b"x" * 5_000]))
    box.incoming(JobNames(C, [JobId(1)], [b"y" * 5_000]))  # In the place of the former one.
    assert box.kept_bytes < 10_000


def test_outcomes_that_are_not_collected_are_counted() -> None:
    box = limited()
    box.incoming(run(1, 2))
    box.outgoing(ended(outcome(1, result=b"x" * 100), outcome(2, result=b"x" * 50, stdout=b"y" * 5)))
    assert box.uncollected_bytes() == 155
    box.incoming(OutcomesAcked(C, [JobId(1), JobId(2)], [1, 1]))
    assert box.uncollected_bytes() == 0


def test_where_all_clients_together_have_too_much_no_more_jobs_are_taken() -> None:
    box = limited()
    box.incoming(run(1))
    box.closed_because = "jobs of all clients have 9 bytes"
    forward, answers = box.incoming(run(2))
    assert forward == [] and "jobs of all clients" in answers[1].exceptions[0]  # type: ignore[attr-defined]
    box.closed_because = ""
    assert box.incoming(run(3))[0] == [run(3)]


def test_what_a_client_has_may_come_in_several_parts() -> None:
    box = mailbox()
    box.incoming(run(1, 2))
    box.connected(Peer(1))
    assert box.incoming(Resume([C], [[JobId(1)]], more=True)) == ([], [])
    forward, answers = box.incoming(Resume([C], [[JobId(2)]]))
    # Nothing is taken for ended that another part has named.
    assert forward == [] and answers == [Accepted(C, [JobId(1), JobId(2)])]
    # What a broken connection has left of it is forgotten.
    box.incoming(Resume([C], [[JobId(1)]], more=True))
    box.connected(Peer(2))
    assert box.incoming(Resume([C], [[JobId(2)]]))[0] == [Cancel(C, [JobId(1)], [0])]
    for _ in range(PARTS_LIMIT):
        box.incoming(Resume([C], [[]], more=True))
    with pytest.raises(ProtocolError, match="too many parts"):
        box.incoming(Resume([C], [[]], more=True))
