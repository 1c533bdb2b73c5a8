"""Random worlds: clients, a scheduler and nodes, with everything that may happen to them.

One seed is one world. Chaos reigns for some time; then all is connected again, what would never end
is cancelled, and the world must come to rest with every promise kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from gdispy.protocol.ids import ComputationId, Instance
from gdispy.protocol.messages import Message
from gdispy.rules.scheduler.turns import EARLIEST, FAIR, ROUND_ROBIN
from tests.simulation.book import Book
from tests.simulation.clients import Client
from tests.simulation.links import Link
from tests.simulation.nodes import Health, Life
from tests.simulation.processes import Plan
from tests.simulation.scheduler import PORT, Scheduler
from tests.simulation.timeline import Broken, Timeline


@dataclass
class Climate:
    """How a world is."""

    #: Seconds until a node counts as lost; how long chaos reigns, in such leases.
    lease: float
    leases: float
    #: How many leases the scheduler waits at most before it connects again.
    pause: float
    #: How many of each happen.
    cuts: int
    crashes: int
    hushes: int
    deaths: int
    cancels: int
    #: How likely a death is a template's, and a load fails.
    templates: float
    load_errors: float
    #: How likely a worker dies before its first job.
    stillborn: float
    #: Seconds of a job, roughly; how likely it shows provisional results, and hangs.
    seconds: list[float]
    shows: float
    hangs: float
    #: How likely arguments and results are too long for a message.
    bulk: float
    #: How likely a job crashes its node.
    deadly: float

    @classmethod
    def random(cls, random: Random) -> Climate:
        lease = random.choice((0.6, 5.0, 30.0))
        short = [1e-5], [1e-4, 1e-3], [1e-5, 0.3], [0.003, 0.03]
        long = [0.1, 1.0], [1.0, 8.0], [0.3 * lease, 2 * lease], [1e-4, 2 * lease]
        return cls(
            lease=lease,
            leases=random.uniform(0.5, 6.0),
            pause=random.choice((0.1, 4.0)),
            cuts=random.choice((0, 0, 4, 20, 60)),
            crashes=random.choice((0, 0, 4, 30)),
            hushes=random.choice((0, 0, 3, 10)),
            deaths=random.choice((0, 0, 4, 20)),
            cancels=random.choice((0, 6, 24)),
            templates=random.choice((0.0, 0.2, 0.6)),
            load_errors=random.choice((0.0, 0.0, 0.2)),
            stillborn=random.choice((0.0, 0.0, 0.3)),
            seconds=random.choice((*short, *long)),
            shows=random.choice((0.0, 0.2, 0.7)),
            hangs=random.choice((0.0, 0.05, 0.2)),
            bulk=random.choice((0.0, 0.1, 0.5)),
            deadly=random.choice((0.0, 0.0, 0.02)),
        )


class Place:
    """A machine where a node runs, most of the time."""

    def __init__(self, number: int, cpus: int, health: set[ComputationId]) -> None:
        self.number = number
        self.host = f"10.0.0.{number + 1}"
        self.cpus = cpus
        #: Computations that it can always run.
        self.safe = health
        self.lives = 0
        #: What its disk has of results that wait for the scheduler.
        self.spool: dict[ComputationId, list[Message]] = {}
        #: It was taken away, and nobody will reach it again.
        self.is_removed = False
        #: None while it is down.
        self.life: Life | None = None
        self.link: Link | None = None


class World:
    """All that one seed makes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = random = Random(seed)
        self._climate = climate = Climate.random(random)
        self._timeline = timeline = Timeline()
        self._book = Book(timeline, seed)
        self._chaos_until = climate.lease * climate.leases
        self._scheduler = Scheduler(timeline, random, self._book, climate.lease)
        self._clients = [self._new_client(place) for place in range(random.randint(1, 3))]
        self._places = [Place(number, random.randint(1, 4), set()) for number in range(random.randint(1, 4))]
        #: When jobs are submitted.
        self._bursts: list[float] = []
        #: Which life each connection belongs to.
        self._ends: dict[Link, tuple[Place, Life]] = {}

    def run(self) -> None:
        """Let it all happen. Raises AssertionError, with the history, where a promise is broken."""
        try:
            self._run()
        except Exception as error:
            job = error.job if isinstance(error, Broken) else None
            head = f"seed {self.seed}: {type(error).__name__}: {error} (job {job}, GDISPY_SEED={self.seed})"
            raise AssertionError(f"{head}\n{self._climate}\n{self._timeline.history(job)}") from error

    def _run(self) -> None:
        for place in self._places:
            self._start(place)
        for client in self._clients:
            self._plan_client(client)
        self._plan_chaos()
        self._timeline.run(self._chaos_until)
        self._timeline.now = self._chaos_until
        self._timeline.note(None, "chaos is over")
        for place in self._places:
            self._set_cpus(place, place.cpus)
            self._order(place, "cpus", 64.0)
            self._order(place, "allocate", 0.0)
        for client in self._clients:
            self._scheduler.slow_down(client.peer, False)
        for client in self._clients:
            if not client.is_released:
                client.cancel_hanging()
        self._timeline.run()
        if any(client.is_exclusive for client in self._clients):
            self._take_turns()
        self._check_idle()
        for client in self._clients:
            client.release()
        self._timeline.run()
        self._check_empty()

    def _take_turns(self) -> None:
        """Whoever has nothing more to do leaves, so that others begin who want all nodes, or wait for one who does."""
        for _ in self._clients:
            for client in self._clients:
                if not client.open_jobs():
                    client.release()
            self._timeline.run()

    # Clients

    def _new_client(self, place: int) -> Client:
        is_reentrant = self._random.random() < 0.6
        return Client(self._timeline, self._random, self._book, self._scheduler, place, is_reentrant)

    def _plan_client(self, client: Client) -> None:
        random = self._random
        safe = random.choice(self._places)
        safe.safe.add(client.computation)
        client.pin = lambda: safe.life.instance if safe.life is not None else None
        client.widest = min(place.cpus for place in self._places)
        nodes = [safe.host] if random.random() < 0.15 else ["*"]
        begin = 0.0 if random.random() < 0.5 else self._chaos_until * 0.5 * random.random()
        after = self._timeline.after
        after(begin, client.open, nodes)
        for _ in range(random.randint(1, 8)):
            amount, moment = random.choice((1, 3, 8, 20, 50)), self._moment(begin)
            self._bursts.append(moment)
            after(moment, client.submit, [self._plan() for _ in range(amount)])
            # Soon after, when some of them have just begun, and some are on their way.
            for _ in range(random.randint(0, self._climate.cancels) // 2):
                after(moment + random.random() ** 4, client.cancel_some)
        for _ in range(random.randint(0, self._climate.cancels) // 2):
            after(self._moment(begin), client.cancel_some)
        after(self._moment(begin), client.ask)
        if random.random() < 0.25:
            after(self._moment(begin), client.release, random.random() < 0.5)

    def _moment(self, begin: float) -> float:
        """Some time of the chaos, rather early."""
        return begin + (self._chaos_until - begin) * self._random.random() ** 2

    def _plan(self) -> Plan:
        random, climate = self._random, self._climate
        seconds = random.choice(climate.seconds) * random.uniform(0.5, 1.5)
        return Plan(
            seconds=min(seconds, 3 * climate.lease),
            shows=random.randint(1, 4) if random.random() < climate.shows else 0,
            fails=random.random() < 0.05,
            kills=random.random() < 0.02,
            kills_later=random.random() < 0.02,
            is_stubborn=random.random() < 0.3,
            hangs=random.random() < climate.hangs,
            is_bulky=random.random() < climate.bulk,
            babbles=random.random() < 0.01,
            is_deadly=random.random() < climate.deadly,
        )

    # Nodes and their connections

    def _start(self, place: Place) -> None:
        if place.is_removed:
            return
        place.lives += 1
        instance = Instance(b"node%d-life%06d" % (place.number, place.lives))
        health = Health(self._random, place.safe, self._climate.load_errors, self._climate.stillborn)
        lease = 4 * self._climate.lease
        world = (self._timeline, self._random, self._book)
        place.life = Life(*world, instance, place.cpus, lease, health, place.spool)
        place.life.on_deadly_job = lambda: self._crash(place)
        self._scheduler.lives[instance] = place.life
        self._timeline.note(None, f"{instance!r} starts with {place.cpus} cpus")
        if place.link is None and place.lives == 1:
            self._timeline.after(0.1 * self._random.random(), self._dial, place)

    def _dial(self, place: Place) -> None:
        """The scheduler connects to a place, and tries again later where it is down."""
        if place.is_removed:
            return
        if place.life is None:
            self._scheduler.report(f"{place.host}:{PORT}", "refused")
            self._timeline.after(self._pause(), self._dial, place)
            return
        self._scheduler.report(f"{place.host}:{PORT}", "")
        to_node, to_scheduler = place.life.on_messages, self._scheduler.on_messages
        link = place.link = Link(self._timeline, self._random, to_node, to_scheduler, self._closed)
        self._ends[link] = place, place.life
        self._timeline.note(None, f"{place.life.instance!r} is connected")
        place.life.accept(link)
        self._scheduler.dialled(link, place.host)

    def _pause(self) -> float:
        """Seconds until the next attempt to connect: mostly few, sometimes longer than the lease."""
        return self._climate.lease * self._climate.pause * self._random.random() ** 2

    def _closed(self, link: Link, side: str) -> None:
        """One side hears that a connection is over."""
        place, life = self._ends[link]
        # Counted here too: until now one direction may have held after the other was cut.
        self._book.breaks[life.instance] += 1
        self._timeline.note(None, f"the {side} hears that the connection with {life.instance!r} is over")
        if side == "node":
            life.closed(link)
            return
        self._scheduler.closed(link)
        place.link = None
        self._timeline.after(self._pause(), self._dial, place)

    def _cut(self, place: Place) -> None:
        if place.link is None or place.link.is_cut:
            return
        _, life = self._ends[place.link]
        self._timeline.note(None, f"{life.instance!r} is cut off")
        self._book.breaks[life.instance] += 1
        place.link.cut(self._climate.lease * self._random.random() ** 2)

    # Chaos

    def _plan_chaos(self) -> None:
        climate, random = self._climate, self._random
        for amount, action in (
            (climate.cuts, self._cut),
            (climate.crashes, self._crash),
            (climate.hushes, self._hush),
            (climate.deaths, self._kill_some_process),
        ):
            for _ in range(random.randint(0, amount)):
                moment = self._moment(0.0)
                if random.random() < 0.7:  # While there is much to be lost.
                    moment = random.choice(self._bursts) + climate.lease * random.random() ** 4
                self._timeline.after(moment, action, random.choice(self._places))
        # With chances of their own, so that all else in a world is as it was without them.
        changing = Random(f"cpus {self.seed}")
        for _ in range(changing.choice((0, 0, 5, 30))):
            place, cpus = changing.choice(self._places), changing.choice((0, 0, 1, 2, 3, 4))
            self._timeline.after(self._chaos_until * changing.random() ** 2, self._set_cpus, place, cpus)
        self._plan_wishes()
        # The scheduler itself: what it has promised is in its journal.
        ending = Random(f"scheduler {self.seed}")
        amount = ending.choice((0, 0, 1, 4))
        for client in self._clients:
            client.is_kept = amount > 0
        for _ in range(amount):
            moment = ending.choice([*self._bursts, self._chaos_until * ending.random()])
            self._timeline.after(moment + climate.lease * ending.random() ** 4, self._kill_scheduler)
        spare = [place for place in self._places if not place.safe]
        if spare and random.random() < 0.3:
            self._timeline.after(self._moment(0.0), self._remove, random.choice(spare))

    def _plan_wishes(self) -> None:
        """How clients want nodes to be used, and who of them comes first."""
        limiting = Random(f"limits {self.seed}")
        for client in self._clients:
            client.takes = limiting.choice((0, 0, 1, 2))
        for _ in range(limiting.choice((0, 0, 5, 30))):
            place, cpus = limiting.choice(self._places), limiting.choice((0, 1, 1, 2, 3))
            self._timeline.after(self._chaos_until * limiting.random() ** 2, self._order, place, "cpus", float(cpus))
        preferring = Random(f"priorities {self.seed}")
        for _ in range(preferring.choice((0, 0, 0, 12, 60))):
            self._timeline.after(self._chaos_until * preferring.random() ** 2, self._scheduler.prefer, preferring)
        ordering = Random(f"orders {self.seed}")
        policy = ordering.choice((FAIR, FAIR, EARLIEST, ROUND_ROBIN))
        self._scheduler.begin(policy, {client.peer: ordering.choice((1.0, 1.0, 0.2, 5.0)) for client in self._clients})
        for _ in range(ordering.choice((0, 0, 4, 16))):
            moment, place = self._chaos_until * ordering.random() ** 2, ordering.choice(self._places)
            word = ordering.choice(("deallocate", "allocate", "close", "resetup", "resetup"))
            self._timeline.after(moment, self._order, place, word, ordering.choice((0.0, 0.0, 1.0)))
        for client in self._clients:
            client.is_exclusive = ordering.random() < 0.1
            if ordering.random() < 0.2:
                self._timeline.after(self._chaos_until * ordering.random(), client.want, ["*"])
        for _ in range(ordering.choice((0, 0, 6))):
            client, begin = ordering.choice(self._clients), self._chaos_until * ordering.random()
            self._timeline.after(begin, self._scheduler.slow_down, client.peer, True)
            self._timeline.after(begin + ordering.random(), self._scheduler.slow_down, client.peer, False)

    def _crash(self, place: Place) -> None:
        life = place.life
        if life is not None:
            self._timeline.note(None, f"{life.instance!r} crashes")
            life.crash()
            place.life = None
            self._cut(place)
            if not place.is_removed:
                self._timeline.after(self._pause(), self._start, place)

    def _kill_scheduler(self) -> None:
        for place in self._places:
            self._cut(place)
        self._scheduler.crash()

    def _remove(self, place: Place) -> None:
        """A place is taken away for good; its node may go on without being reached."""
        self._timeline.note(None, f"place {place.number} is taken away")
        place.is_removed = True
        if self._random.random() < 0.5:
            self._crash(place)
        else:
            self._cut(place)

    def _hush(self, place: Place) -> None:
        """Nothing comes from a node any more; some of them come back, others are cut off in the end."""
        link = place.link
        if link is None or link.is_cut:
            return
        lease = self._climate.lease
        seconds = lease * 1.2 * self._random.random()
        self._timeline.note(None, f"nothing is heard of place {place.number} for {seconds:.3f} s")
        link.freeze(seconds)
        if seconds > lease / 2:
            self._timeline.after(lease / 2, self._scheduler.silent, link, True)
        if seconds > lease:
            self._timeline.after(lease, self._cut_link, place, link)
        else:
            self._timeline.after(seconds + 0.001, self._scheduler.silent, link, False)

    def _cut_link(self, place: Place, link: Link) -> None:
        if place.link is link:
            self._cut(place)

    def _set_cpus(self, place: Place, cpus: int) -> None:
        if place.life is not None:
            place.life.set_cpus(cpus)

    def _order(self, place: Place, word: str, value: float) -> None:
        """All clients say how a node is to be used: it may be that only one has it."""
        if place.life is not None:
            for client in self._clients:
                client.order(place.life.instance, word, value)

    def _kill_some_process(self, place: Place) -> None:
        if place.life is not None:
            place.life.kill_some_process(self._climate.templates)

    # What must hold in the end

    def _check_idle(self) -> None:
        self._book.check_all_resolved({client.place for client in self._clients if not client.is_hasty})
        self._scheduler.check_idle()
        for client in self._clients:
            client.check_idle()
        for place in self._places:
            if place.is_removed:
                continue
            if place.life is None or place.link is None or place.link.is_cut:
                raise Broken(f"place {place.number} is not connected")
            place.life.check_idle()

    def _check_empty(self) -> None:
        for client in self._clients:
            client.check_closed()
        self._scheduler.check_empty()
        for place in self._places:
            if place.life is not None:
                place.life.check_empty()
