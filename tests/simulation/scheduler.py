"""The simulated scheduler: the real `Dispatch`, driven as `scheduler.py` does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.message import picked
from gdispy.protocol.messages import (
    Accepted,
    Cancel,
    Ended,
    Hello,
    Message,
    NodeCommand,
    Open,
    OutcomesAcked,
    Prepare,
    ProgressAcked,
    Release,
    Released,
    ResendRequest,
    Run,
    SetPriority,
)
from gdispy.protocol.payload import Payload
from gdispy.rules.effects import Drop, Effects, Send, WriteFacts
from gdispy.rules.history.facts import Announced
from gdispy.rules.history.replay import ComputationHistory, JournalState, outcomes
from gdispy.rules.scheduler.dispatch import Dispatch
from gdispy.rules.scheduler.turns import FAIR
from tests.simulation.book import Book
from tests.simulation.links import Link, received
from tests.simulation.nodes import Life
from tests.simulation.timeline import Broken, Timeline, Turns

PORT = 51348


class Scheduler:
    """The one scheduler of a world."""

    def __init__(self, timeline: Timeline, random: Random, book: Book, lease: float) -> None:
        self._timeline = timeline
        self._book = book
        self.instance = Instance(b"scheduler-------")
        self._random, self._lease = random, lease
        self.policy = FAIR
        self.weights: dict[Peer, float] = {}
        self._renew()
        self._turns = Turns(timeline, random, self, self._perform)
        #: What a journal has of it: the facts, and who brought each computation.
        self._facts: list[Message] = []
        #: How long it takes until clients hear `Accepted`; and the jobs that they may have to say again until then.
        self._lag = random.choice([0.05, 1.0, 1000.0])
        self._unaccepted: dict[tuple[ComputationId, JobId], Run] = {}
        #: Whether large outcomes take time to get to clients.
        self._is_far = random.random() < 0.5
        #: Large outcomes that could not be written for so long, the disk being full; and what nodes are told then.
        self._delay = random.choice([0.05, 1.0, 1000.0])
        self._unwritten: list[Ended] = []
        self._waiting: list[tuple[Peer, OutcomesAcked]] = []
        #: As in `rules/scheduler/client_mailbox.py`: jobs that were accepted and not collected.
        self._kept_by_client: set[tuple[ComputationId, JobId]] = set()
        self._absent: set[tuple[ComputationId, JobId]] = set()
        self._asked: Counter[tuple[ComputationId, JobId]] = Counter()
        self._early: set[tuple[ComputationId, JobId]] = set()
        #: Jobs whose ends clients have heard.
        self._told: set[tuple[ComputationId, JobId]] = set()
        self._lives = 1
        self._owners: dict[ComputationId, Peer] = {}
        self._clients: dict[Peer, Callable[[list[Message]], None]] = {}
        self._links: dict[Peer, Link] = {}
        #: Where each connection leads.
        self._hosts: dict[Peer, str] = {}
        #: All lives of nodes, so that it is known what is on one that is given up.
        self.lives: dict[Instance, Life] = {}
        self._known: set[Instance] = set()

    # What `Turns` needs of rules

    def tick(self, now: float) -> Effects:
        return self.dispatch.tick(now)

    def due(self) -> float | None:
        return self.dispatch.due()

    def check(self) -> None:
        self.dispatch.check()
        known = self.dispatch._state.nodes.keys()
        if known != self._known:
            for instance in self._known - known:
                self._timeline.note(None, f"{instance!r} is given up")
                self._book.lost(instance, self.lives[instance].held())
            self._known = set(known)

    # Clients

    def begin(self, policy: str, weights: dict[Peer, float]) -> None:
        """Before anything happens: who comes first, and has how much."""
        self.policy, self.weights = policy, weights
        self._renew()

    def _renew(self) -> None:
        self.dispatch = Dispatch(lease=self._lease, policy=self.policy)
        self.dispatch.weights.update(self.weights)

    def slow_down(self, client: Peer, is_slow: bool) -> None:
        """A client does not take its results as fast as they come, or does again."""
        self._turns.put(self._slow_down, client, is_slow)

    def _slow_down(self, client: Peer, is_slow: bool, now: float) -> Effects:
        return self.dispatch.slow_down(client, is_slow, now)

    def prefer(self, choices: Random) -> None:
        """An administrator gives one of the jobs another priority."""
        self._turns.put(self._prefer, choices)

    def _prefer(self, choices: Random, now: float) -> Effects:
        tasks = [(each.id, job) for each in self.dispatch.state.computations.values() for job in each.tasks]
        if not tasks:
            return []
        computation, job = choices.choice(tasks)
        message = SetPriority(computation, 0, job, choices.choice((-1.0, 0.0, 1.0)))
        return self._receive_from_client(self._owners[computation], message, now)

    def attach(self, client: Peer, deliver: Callable[[list[Message]], None]) -> None:
        self._clients[client] = deliver

    def from_client(self, client: Peer, message: Message) -> None:
        self._turns.put(self._receive_from_client, client, message)

    def _receive_from_client(self, client: Peer, message: Message, now: float) -> Effects:
        if isinstance(message, Cancel):
            self._book.cancel_arrived(message)
            keys = {(message.computation, job) for job in message.jobs}
            self._early |= keys - self._kept_by_client
        if isinstance(message, Run):
            message = self._new_ones(message)
            if not message.jobs:
                return []
        if isinstance(message, NodeCommand):
            self._note_order(message)
        if isinstance(message, Open | Prepare | Run | Cancel | SetPriority | Release):
            self._remember(message)
        if isinstance(message, Run):
            self._accept(message)
        if isinstance(message, Open):
            self._owners[message.computation] = client
        heard = [message, *self._cancel_early(message)] if isinstance(message, Run) else [message]
        return self.dispatch.receive_from_client(client, heard, now)

    def _note_order(self, message: NodeCommand) -> None:
        """Leaving a node may end the jobs that are there."""
        node = self.dispatch._state.nodes.get(message.node)
        assignment = node.assignments.get(message.computation) if node is not None else None
        if assignment is not None and message.word in ("close", "resetup") and message.value:
            for job in assignment.placed:
                self._book.cancelled(self._book.key(message.computation, job))

    def _cancel_early(self, message: Run) -> list[Message]:
        """Cancels that have overtaken their jobs."""
        early = [job for job in message.jobs if (message.computation, job) in self._early]
        self._early.difference_update((message.computation, job) for job in early)
        for job in early:
            self._remember(Cancel(message.computation, [job], [0]))
        return [Cancel(message.computation, early, [0] * len(early))] if early else []

    # Its end, and its next life

    def _remember(self, fact: Message) -> None:
        copy, is_large = received(fact)
        if isinstance(copy, OutcomesAcked):  # By then at the latest.
            for each in self._unwritten_of(copy):
                self._write(self._lives, each)
        if isinstance(copy, Ended) and is_large:
            self._unwritten.append(copy)
            self._timeline.after(self._delay, self._write, self._lives, copy)
        else:
            self._facts.append(copy)

    def _write(self, life: int, fact: Ended) -> None:
        """There is room again."""
        if life == self._lives and any(each is fact for each in self._unwritten):
            self._unwritten = [each for each in self._unwritten if each is not fact]
            self._facts.append(fact)
            waiting, self._waiting = self._waiting, []
            for peer, message in waiting:
                self._tell_node(peer, message)

    def _unwritten_of(self, message: OutcomesAcked) -> list[Ended]:
        """What is not written of the outcomes that it speaks of."""
        jobs, computation = set(message.jobs), message.computation
        return [each for each in self._unwritten if each.computation == computation and not jobs.isdisjoint(each.jobs)]

    def _has_to_wait(self, message: OutcomesAcked) -> bool:
        """Whether what it promises is not written."""
        return bool(self._unwritten_of(message))

    def _lose_payloads(self, chance: float) -> None:
        """The machine has died, too: of jobs that were not accepted yet, some large arguments were not on its disk."""
        self._facts = [part for fact in self._facts for part in self._left_of(fact, chance)]

    def _left_of(self, fact: Message, chance: float) -> list[Message]:
        """What is found of a fact then."""
        if not isinstance(fact, Run):
            return [fact]
        lost = [
            place for place in range(len(fact.jobs)) if self._can_lose(fact, place) and self._random.random() < chance
        ]
        if not lost:
            return [fact]
        rest = [place for place in range(len(fact.jobs)) if place not in lost]
        part = picked(fact, lost)
        found: list[Message] = [Announced(fact.computation, part.jobs, part.options)]
        return [picked(fact, rest), *found] if rest else found

    def _can_lose(self, fact: Run, place: int) -> bool:
        return isinstance(fact.arguments[place], Payload) and (fact.computation, fact.jobs[place]) in self._unaccepted

    def _new_ones(self, message: Run) -> Run:
        """A job is handed on once, however often it is said."""
        keys = [(message.computation, job) for job in message.jobs]
        fresh = [
            place
            for place, key in enumerate(keys)
            if (key in self._absent if key in self._asked else key not in self._kept_by_client or key in self._absent)
        ]
        self._absent.difference_update(keys)
        self._asked -= Counter(keys)
        self._kept_by_client.update((message.computation, job) for job in message.jobs)
        columns: Any = {name: [getattr(message, name)[place] for place in fresh] for name in Run.columns}
        options = [message.options[place] for place in fresh] if message.options else []
        return replace(message, **columns, options=options)

    def _accept(self, message: Run) -> None:
        """The client will hear that these are in safe hands; until then it can say them again."""
        options = message.options or [None] * len(message.jobs)
        for job, arguments, wishes in zip(message.jobs, message.arguments, options, strict=True):
            run = Run(message.computation, [job], [1], [arguments], [wishes] if wishes is not None else [])
            self._unaccepted[message.computation, job] = run
        accepted = Accepted(message.computation, message.jobs)
        self._timeline.after(self._lag, self._hear_accepted, self._lives, accepted)

    def _hear_accepted(self, life: int, message: Accepted) -> None:
        """The client hears it; where the connection has ended meanwhile, it does not."""
        if life == self._lives:
            self._forget_runs(message)

    def _forget_runs(self, message: Any) -> None:
        for job in message.jobs:
            self._unaccepted.pop((message.computation, job), None)

    def _say_again(self, client: Peer, computation: ComputationId, jobs: list[JobId]) -> None:
        """What `rules/client/outbox.py` does for jobs that the scheduler does not know."""
        self._asked.update((computation, job) for job in jobs)
        for job in jobs:
            if (computation, job) in self._told:
                continue
            run = self._unaccepted.get((computation, job))
            if run is None:
                raise Broken("a job is nowhere", self._book.key(computation, job))
            # It is long: what is short overtakes it.
            self._timeline.after(self._random.choice([0.0, 0.01, 0.3, 2.0]), self._said, self._lives, client, run)

    def _said(self, life: int, client: Peer, run: Run) -> None:
        """A job that was asked for is said again; where the connection has ended meanwhile, it was not."""
        if life == self._lives:
            self.from_client(client, run)

    def _is_said_again(self, message: Message) -> bool:
        """Whether the client says this because it was asked; it will be asked again."""
        return isinstance(message, Run) and (message.computation, message.jobs[0]) in self._unaccepted

    def crash(self) -> None:
        """All at once, without a word; the next life begins with what the journal says."""
        self._timeline.note(None, "the scheduler is killed")
        self._book.scheduler_killed(self._kept_by_client & self._told)
        # What clients have said and it had not heard, they say again: so says `rules/client/outbox.py`.
        unheard = [args for stimulus, args in self._turns._inbox if stimulus == self._receive_from_client]
        unheard = [args for args in unheard if not self._is_said_again(args[1])]
        self._turns.stop()
        self._links.clear()
        self._renew()
        self._turns = Turns(self._timeline, self._random, self, self._perform)
        self._unwritten, self._waiting = [], []
        self._lose_payloads(self._random.choice([0.0, 0.5, 1.0]))
        known = JournalState()
        for fact in self._facts:
            known.take(fact)
        self._facts = list(known.facts())
        self._asked.clear()
        self._early.clear()
        self._absent.clear()
        self._lives += 1
        for computation, peer in self._owners.items():
            history = known.histories.get(computation)
            if history is None:  # Its release was accepted: its client asks again, and hears this.
                self._clients[peer]([Released(computation)])
            else:
                self._restore(peer, history)
        self._owners = {number: peer for number, peer in self._owners.items() if number in known.histories}
        for (
            computation,
            peer,
        ) in self._owners.items():  # As `client/remote_scheduler.py` does for a scheduler in another life.
            self._clients[peer]([ProgressAcked(computation, [], [], [])])
        for args in unheard:
            self._turns.put(self._receive_from_client, *args)

    def _restore(self, peer: Peer, history: ComputationHistory) -> None:
        waiting, placed = history.absent()
        absent = [*waiting, *placed]
        cancelled = [job for job in absent if history.jobs[job].cancelled]
        ended = list(outcomes(history.jobs.values()))
        for effect in self.dispatch.restore(peer, history, history.prepare, self._timeline.now):
            if not (isinstance(effect, Send) and isinstance(effect.message, ResendRequest)):
                self._perform(effect)
        self._kept_by_client.difference_update((history.id, job) for job in waiting)
        self._absent.update((history.id, job) for job in absent)
        lost = [job for number, job in self._unaccepted if number == history.id and job not in history.jobs]
        self._say_again(peer, history.id, [*absent, *lost])
        if cancelled:
            self.from_client(peer, Cancel(history.id, cancelled, [0] * len(cancelled)))
        for message in ended:  # As `rules/scheduler/client_mailbox.py` says it on the next connection.
            self._tell(peer, message)

    # Nodes

    def dialled(self, link: Link, host: str) -> None:
        """A connection to that host is made."""
        self._links[link.at_scheduler] = link
        self._hosts[link.at_scheduler] = host
        ours = ("scheduler", self.instance, "client", "1", "3.11", "linux")
        link.to_node.send(Hello(*ours, 0, "", 5.0, self.dispatch.claims()))

    def on_messages(self, link: Link, messages: list[Message]) -> None:
        if link.at_scheduler not in self._links:
            return
        if not link.scheduler_greeted:
            hello = messages.pop(0)
            if not isinstance(hello, Hello):
                raise Broken(f"the first word of a node is {hello}")
            link.scheduler_greeted = True
            names = [self._hosts[link.at_scheduler]]
            self._turns.put(self.dispatch.joined, link.at_scheduler, hello, names, PORT)
        if link.silent:
            self.silent(link, False)
        if messages:
            self._turns.put(self.dispatch.receive, link.at_scheduler, messages)

    def silent(self, link: Link, silent: bool) -> None:
        if link.at_scheduler in self._links:
            link.silent = silent
            self._turns.put(self.dispatch.silent, link.at_scheduler, silent)

    def closed(self, link: Link) -> None:
        if self._links.pop(link.at_scheduler, None) is not None:
            self._turns.put(self.dispatch.gone, link.at_scheduler)

    def report(self, place: str, text: str) -> None:
        def stimulus(now: float) -> Effects:
            return self.dispatch.problem(place, text)

        self._turns.put(stimulus)

    # Effects

    def _perform(self, effect: Any) -> None:
        if isinstance(effect, WriteFacts):
            for fact in effect.facts:
                self._remember(fact)
        elif isinstance(effect, Send):
            client = self._clients.get(effect.peer)
            link = self._links.get(effect.peer)
            if client is not None:
                self._tell(effect.peer, effect.message)
            elif link is not None:
                self._tell_node(effect.peer, effect.message)
        elif isinstance(effect, Drop):
            raise Broken(f"the scheduler closes a connection: {effect.reason}")

    def _tell_node(self, peer: Peer, message: Message) -> None:
        link = self._links.get(peer)
        if isinstance(message, OutcomesAcked) and self._has_to_wait(message):
            self._waiting.append((peer, message))
            return
        if link is not None:
            if isinstance(message, Run):
                self._book.placed(message)
            link.to_node.send(message)

    def _tell(self, peer: Peer, message: Message) -> None:
        if isinstance(message, Ended) and received(message)[1] and self._is_far:
            # It is long: what is short overtakes it, and where the scheduler is killed meanwhile, it does not arrive.
            self._timeline.after(self._random.choice([0.01, 0.5, 5.0]), self._arrive, self._lives, peer, message)
        else:
            self._tell_now(peer, message)

    def _arrive(self, life: int, peer: Peer, message: Message) -> None:
        if life == self._lives and message.computation in self._owners:  # type: ignore[attr-defined]
            self._tell_now(peer, message)

    def _tell_now(self, peer: Peer, message: Message) -> None:
        self._note_told(message)
        if isinstance(message, ResendRequest):
            self._kept_by_client.difference_update((message.computation, job) for job in message.jobs)
            self._absent.update((message.computation, job) for job in message.jobs)
            self._say_again(peer, message.computation, message.jobs)
        else:
            self._clients[peer]([message])

    def _collect(self, life: int, message: Ended) -> None:
        """What clients have, nobody need remember; where they say so too late, they say it again."""
        if life == self._lives:
            self._remember(OutcomesAcked(message.computation, message.jobs, message.attempts))
            self._kept_by_client.difference_update((message.computation, job) for job in message.jobs)

    def _note_told(self, message: Message) -> None:
        if isinstance(message, Ended):
            self._forget_runs(message)
            self._absent.difference_update((message.computation, job) for job in message.jobs)
            self._told.update((message.computation, job) for job in message.jobs)
            lag = self._random.choice([0.0, 0.0, 0.01, 0.5])
            if lag:
                self._timeline.after(lag, self._collect, self._lives, message)
            else:
                self._collect(self._lives, message)
        elif isinstance(message, Released):
            self._owners.pop(message.computation, None)

    # What is left

    def check_idle(self) -> None:
        """No job waits or is on a node, and nothing is to be said."""
        for computation in self.dispatch._state.computations.values():
            for job in computation.tasks:
                raise Broken("the scheduler still has a job", self._book.key(computation.id, job))
        for node in self.dispatch._state.nodes.values():
            if node.receipts.due_at is not None or node.load or node.bulk:
                raise Broken(f"the scheduler still counts {node.load} jobs on {node.name}")
            if any(assignment.recalling for assignment in node.assignments.values()):
                raise Broken(f"the scheduler still waits for jobs it asked {node.name} for")

    def check_empty(self) -> None:
        dispatch = self.dispatch
        left = [*dispatch._state.computations, *dispatch._turns.waiting]
        left += [number for node in dispatch._state.nodes.values() for number in node.assignments]
        if left:
            raise Broken(f"the scheduler still knows of computations: {left}")
