"""A storm: real daemons and a program, and everything that may happen to them, for a while.

    python -m tests.chaos.storm --seconds 1800 --seed 7 --kind shared

In rounds: a program with a recovery file submits jobs to nodes, or to a shared scheduler, through proxies. Meanwhile
processes are killed and stopped, and links are cut, blocked and made deaf. The program is started again whenever it
was killed, until it ends by itself. Then everything must have ended exactly once (`Round.check`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gdispy import generate_secret
from gdispy.protocol import job_status
from tests.support.daemons import Daemon, alive, run_script
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

PROGRAM = Path(__file__).with_name("client_program.py")
#: Seconds between two signs of life, and until a node is lost.
PULSE = 0.3
LEASE = 6 * PULSE
#: Seconds that a round may take when nothing goes wrong any more.
REST_LIMIT = 60.0
#: Jobs of a round at most.
JOBS_LIMIT = 150


class Broken(AssertionError):
    """A promise is broken."""


class Machine:
    """A node that can be killed and comes back at the same place."""

    def __init__(self, directory: Path, secret_file: Path, number: int) -> None:
        self._directory, self._secret_file = directory, secret_file
        self._prefix = directory / f"prefix{number}"
        self.daemon = self._start("0")
        self.proxy = Proxy(self.daemon.place)

    def _start(self, port: str) -> Daemon:
        words = ("--cpus", "2", "--dest_path_prefix", str(self._prefix), "--secret-file", str(self._secret_file))
        return Daemon(self._directory, "-p", port, *words)

    def restart(self) -> None:
        self.daemon = self._start(str(self.daemon.place[1]))

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def leftovers(self) -> list[str]:
        """Of which computations a node has something when nobody uses it: in its spool, or in its own directory."""
        return [path.name for path in self._prefix.glob("*/*") if path.parent.name != "kept"]


class Round:
    """One program, from its first start to its end, and what happened meanwhile."""

    def __init__(self, storm: Storm, number: int) -> None:
        self._storm = storm
        self.directory = storm.directory / f"round{number}"
        self.directory.mkdir()
        self.log, self.told = self.directory / "begun", self.directory / "told"
        chance = storm.random
        self.seconds = [
            chance.choice((0.0, 0.01, 0.1, 0.5)) * chance.random() for _ in range(chance.randint(20, JOBS_LIMIT))
        ]
        #: Bytes that each job carries there and back; large ones are kept in other ways.
        most = chance.choice((0, 0, 300_000))
        self.sizes = [int(most * chance.random()) for _ in self.seconds]
        self.is_reentrant = chance.random() < 0.5
        self.faults: list[tuple[float, str]] = []
        self.program: subprocess.Popen[bytes] | None = None
        self.lives = 0

    def start(self) -> None:
        """Start the program, for the first time or again."""
        options: dict[str, Any] = {
            "secret_file": str(self._storm.secret_file),
            "fault_recover": str(self.directory / "jobs"),
            "reentrant": self.is_reentrant,
        }
        options |= self._storm.places()
        todo = {"kind": self._storm.kind, "options": options, "seconds": self.seconds, "sizes": self.sizes}
        todo |= {"log": str(self.log), "told": str(self.told), "rows": str(self.directory / "rows")}
        self.lives += 1
        with open(self.directory / "errors", "ab") as errors:
            self.program = subprocess.Popen([sys.executable, str(PROGRAM), json.dumps(todo)], stderr=errors)

    def has_ended(self) -> bool:
        return self.program is not None and self.program.poll() is not None

    def kill(self) -> None:
        if self.program is not None and self.program.poll() is None:
            self.program.kill()
        if self.program is not None:
            self.program.wait(10)
            self.program = None

    def rows(self) -> list[list[Any]]:
        assert self.program is not None
        if self.program.returncode != 0:
            raise Broken(f"the program ended with {self.program.returncode}: {self._errors()}")
        self.program = None
        return list(json.loads((self.directory / "rows").read_text()))

    def left_something(self) -> bool:
        """Whether it has said that nobody could be told of its end."""
        errors = (self.directory / "errors").read_text()
        return "has not said in time" in errors or "cannot be asked" in errors

    def _errors(self) -> str:
        return (self.directory / "errors").read_text()[-3000:]

    # What must hold

    def check(self, rows: list[list[Any]]) -> Counter[str]:
        """Each job has one outcome, and that is true. Raises Broken, with the history of the job."""
        begun, ended = self._lines()
        outcomes: Counter[str] = Counter()
        if [row[0] for row in rows] != list(range(len(self.seconds))):
            raise Broken(f"outcomes of other jobs than were submitted: {[row[0] for row in rows]}")
        for number, status, result, exception in rows:
            outcomes[_NAMES.get(status, str(status))] += 1
            limit = 3 if self.is_reentrant else 1
            if len(begun[number]) > limit:
                raise Broken(self._history(number, f"begun {len(begun[number])} times"))
            if status == job_status.FINISHED and (result != number * 7 or not ended[number]):
                raise Broken(self._history(number, f"finished with {result}"))
            if status not in (job_status.FINISHED, job_status.ABANDONED, job_status.TERMINATED):
                raise Broken(self._history(number, f"ended with {status}, which nobody wanted"))
            if status != job_status.FINISHED and not self.faults:
                raise Broken(self._history(number, f"{exception} though nothing went wrong"))
        self._check_told({row[0]: row[1] for row in rows})
        return outcomes

    def _check_told(self, final: dict[int, int]) -> None:
        told: dict[int, list[int]] = defaultdict(list)
        for line in self.told.read_text().splitlines():
            words = line.split()
            told[int(words[0])].append(int(words[1]))
        for number, status in final.items():
            if set(told[number]) != {status}:
                raise Broken(self._history(number, f"told as {told[number]}, and ended as {status}"))
        twice = sum(len(each) - 1 for each in told.values())
        if twice > self.lives - 1:
            raise Broken(f"{twice} ends were told twice in {self.lives} lives")

    def _lines(self) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
        found: tuple[dict[int, list[float]], dict[int, list[float]]] = (defaultdict(list), defaultdict(list))
        for line in self.log.read_text().splitlines() if self.log.exists() else ():
            number, what, when, _ = line.split()
            found[what == "end"][int(number)].append(float(when))
        return found

    def longest_silence(self) -> float:
        """Seconds from what hit a job that had begun, and did not end, to its outcome, at most."""
        begun, ended = self._lines()
        told: dict[int, float] = {}
        for line in self.told.read_text().splitlines():
            words = line.split()
            told.setdefault(int(words[0]), float(words[2]))
        longest = 0.0
        for number, when in told.items():
            if len(begun[number]) > len(ended[number]):
                hit = next((at for at, _ in self.faults if at > begun[number][-1]), when)
                longest = max(longest, when - hit)
        return longest

    def _history(self, number: int, what: str) -> str:
        lines = [f"job {number}: {what} (reentrant: {self.is_reentrant}, {self.lives} lives)"]
        for path in (self.log, self.told):
            lines += [line for line in path.read_text().splitlines() if line.split()[0] == str(number)]
        lines += [f"{when:.3f} {fault}" for when, fault in self.faults]
        return "\n".join([*lines, self._errors()])


_NAMES = {job_status.FINISHED: "Finished", job_status.ABANDONED: "Abandoned", job_status.TERMINATED: "Terminated"}


class Storm:
    """The daemons, and what happens to them."""

    def __init__(self, directory: Path, kind: str, seed: int) -> None:
        self.directory, self.kind = directory, kind
        self.random = random.Random(seed)
        self.secret_file = directory / "secret"
        self.secret_file.touch(0o600)
        self.secret_file.write_text(generate_secret())
        self.machines: list[Machine] = []
        self.scheduler: Daemon | None = None
        self.front: Proxy | None = None
        self._round: Round | None = None
        self.faults: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.jobs = self.rounds = 0
        self.longest = 0.0
        #: Programs that ended while nobody could be told that their computations are over.
        self.untold = 0

    def __enter__(self) -> Storm:
        try:
            self.machines += [Machine(self.directory, self.secret_file, number) for number in range(2)]
            if self.kind == "SharedJobCluster":
                self.scheduler = self._start_scheduler("0")
                self.front = Proxy(self.scheduler.place)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start_scheduler(self, port: str) -> Daemon:
        words = ["-p", port, "--journal", str(self.directory / "journal"), "--pulse_interval", str(PULSE)]
        for machine in self.machines:
            words += ["-n", "{}:{}".format(*machine.proxy.place)]
        return Daemon(self.directory, *words, "--secret-file", str(self.secret_file), script="gdispy-scheduler")

    def __exit__(self, *_: object) -> None:
        if self._round is not None:
            self._round.kill()
        for proxy in [*(machine.proxy for machine in self.machines), *([self.front] if self.front else [])]:
            proxy.close()
        for daemon in [*([self.scheduler] if self.scheduler else []), *(each.daemon for each in self.machines)]:
            daemon.stop()

    def places(self) -> dict[str, Any]:
        """Where the program finds what it uses."""
        if self.front is not None:
            return {"scheduler_node": "{}:{}".format(*self.front.place)}
        return {"nodes": [machine.proxy.place for machine in self.machines], "pulse_interval": PULSE}

    # What goes wrong

    def _kill_node(self) -> None:
        machine = self.random.choice(self.machines)
        below = machine.daemon.below()
        machine.daemon.bury()
        eventually(lambda: not any(map(alive, below)), 5, "processes of a killed node are left")
        self._pause(self.random.choice((0.0, 0.5, 1.5 * LEASE)))
        machine.restart()

    def _stop_node(self) -> None:
        machine = self.random.choice(self.machines)
        machine.daemon.kill(signal.SIGSTOP)
        self._pause(self.random.choice((0.1, 0.7 * LEASE, 1.5 * LEASE)))
        machine.daemon.kill(signal.SIGCONT)

    def _kill_worker(self) -> None:
        # The spawner is the first below a node; templates and workers come behind it.
        below = self.random.choice(self.machines).daemon.below()
        if below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(below), signal.SIGKILL)

    def _kill_program(self) -> None:
        assert self._round is not None
        if not self._round.has_ended():
            self._round.kill()
            self._pause(self.random.choice((0.0, 0.3, 1.0)))
            self._round.start()

    def _stop_program(self) -> None:
        assert self._round is not None and self._round.program is not None
        if not self._round.has_ended():
            self._round.program.send_signal(signal.SIGSTOP)
            self._pause(self.random.choice((0.1, 1.5 * LEASE)))
            self._round.program.send_signal(signal.SIGCONT)

    def _kill_scheduler(self) -> None:
        assert self.scheduler is not None
        self.scheduler.bury()
        self._pause(self.random.choice((0.0, 0.5)))
        self.scheduler = self._start_scheduler(str(self.scheduler.place[1]))

    def _stop_scheduler(self) -> None:
        assert self.scheduler is not None
        self.scheduler.kill(signal.SIGSTOP)
        self._pause(self.random.choice((0.1, 1.5 * LEASE)))
        self.scheduler.kill(signal.SIGCONT)

    def _cut(self) -> None:
        self._some_proxy().cut()

    def _block(self) -> None:
        proxy = self._some_proxy()
        proxy.block()
        self._pause(self.random.choice((0.2, 1.5 * LEASE)))
        proxy.unblock()

    def _go_deaf(self) -> None:
        """One direction carries nothing any more, until the connection is given up."""
        proxy = self._some_proxy()
        name = self.random.choice(("swallow_to", "swallow_from"))
        setattr(proxy, name, True)
        self._pause(self.random.choice((0.3, 1.3 * LEASE)))
        setattr(proxy, name, False)
        proxy.cut()  # What was swallowed is missing.

    def _some_proxy(self) -> Proxy:
        proxies = [machine.proxy for machine in self.machines]
        return self.random.choice([*proxies, *([self.front] * 2 if self.front else [])])

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        eventually(lambda: time.monotonic() >= until, seconds + 5)

    def _strike(self) -> None:
        acts: list[Callable[[], None]] = self.acts()
        act = self.random.choice(acts)
        name = act.__name__.strip("_").replace("_", " ")
        assert self._round is not None
        self._round.faults.append((time.time(), name))
        self.faults[name] += 1
        act()

    def acts(self) -> list[Callable[[], None]]:
        """All that may happen."""
        acts: list[Callable[[], None]] = [self._kill_node, self._stop_node, self._kill_worker, self._cut, self._block]
        acts += [self._go_deaf, self._kill_program, self._kill_program, self._stop_program]
        if self.scheduler is not None:
            acts += [self._kill_scheduler, self._kill_scheduler, self._stop_scheduler]
        return acts

    def _scene(self, current: Round) -> str:
        """What everybody says, for who looks for the defect."""
        lines = [f"{when:.3f} {fault}" for when, fault in current.faults]
        told = {line.split()[0] for line in current.told.read_text().splitlines()}
        lines.append(f"not told: {[each for each in range(len(current.seconds)) if str(each) not in told]}")
        daemons = [machine.daemon for machine in self.machines]
        for daemon in [*daemons, *([self.scheduler] if self.scheduler is not None else [])]:
            lines.append(f"{daemon.place}: {daemon.log.read_text()[-1500:]}")
        if self.scheduler is not None:
            place = "{}:{}".format(*self.scheduler.place)
            lines.append(run_script("gdispy", "status", place, "--secret-file", self.secret_file).stdout.decode())
            lines.append(run_script("gdispy", "journal", "--jobs", self.directory / "journal/journal").stdout.decode())
        lines.append(run_script("gdispy", "journal", "--jobs", current.directory / "jobs").stdout.decode())
        return "\n".join([*lines, current._errors()])

    def _leftovers(self) -> set[str]:
        return {name for machine in self.machines for name in machine.leftovers()}

    # Rounds

    def run(self, seconds: float) -> None:
        """Rounds for so long. Raises Broken."""
        until = time.monotonic() + seconds
        files = [machine.open_files() for machine in self.machines]
        while time.monotonic() < until or not self.rounds:
            self._run_round(until)
        if self.scheduler is not None:  # A program that ends while a node cannot be reached leaves it something.
            try:
                eventually(lambda: len(self._leftovers()) <= self.untold, 15)
            except AssertionError:
                left = f"something is left on nodes: {self._leftovers()}"
                raise Broken(f"{left}\n{self._scene(self._round)}" if self._round else left) from None

        # A node that was given up, or whose program ended unheard, keeps for its lease what nobody has collected: large
        # results among it are open files.
        # And memory files are kept for the next jobs, until nothing is under way.
        def grown() -> list[int]:
            return [machine.open_files() - before for machine, before in zip(self.machines, files, strict=True)]

        try:
            eventually(lambda: max(grown()) <= 10 + JOBS_LIMIT * len(self._leftovers()), 25)
        except AssertionError:
            left = f"{grown()}, with {self._leftovers()}"
            raise Broken(f"nodes have more open files than at the beginning: {left}") from None

    def _run_round(self, until: float) -> None:
        self.rounds += 1
        current = self._round = Round(self, self.rounds)
        current.start()
        for _ in range(self.random.choice((1, 3, 6, 10))):
            self._pause(self.random.choice((0.05, 0.3, 1.0)) * self.random.random())
            if current.has_ended() or time.monotonic() > until:
                break
            self._strike()
        try:
            eventually(current.has_ended, REST_LIMIT)
        except AssertionError:
            raise Broken(f"round {self.rounds} comes to no end\n{self._scene(current)}") from None
        rows = current.rows()
        self.untold += current.left_something()
        self.outcomes += current.check(rows)
        self.jobs += len(rows)
        self.longest = max(self.longest, current.longest_silence())

    def report(self) -> str:
        """What it was, in lines."""
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return (
            f"{self.kind}: {self.jobs} jobs in {self.rounds} rounds; faults: {faults or 'none'}\n"
            f"outcomes: {outcomes}; violations: 0; longest from a fault to the outcome of a job that it hit: "
            f"{self.longest:.1f} s (a node is lost after {LEASE:.1f} s)"
        )


def run(kind: str, seconds: float, seed: int, directory: Path) -> str:
    """One storm; what it was. Raises AssertionError, with the seed, where a promise is broken."""
    print(f"{kind}: {seconds:.0f} s, seed {seed} (GDISPY_SEED={seed})", flush=True)
    try:
        with Storm(directory, kind, seed) as storm:
            storm.run(seconds)
            return storm.report()
    except AssertionError as error:
        raise Broken(f"{kind}, seed {seed}: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--kind", choices=["private", "shared", "both"], default="both")
    options = parser.parse_args()
    os.environ["GDISPY_IP_ADDR"] = "127.0.0.1"
    kinds = {"private": ["JobCluster"], "shared": ["SharedJobCluster"]}.get(options.kind)
    for kind in kinds or ["JobCluster", "SharedJobCluster"]:
        with tempfile.TemporaryDirectory(prefix="gdispy-storm-") as directory:
            print(run(kind, options.seconds / (1 if kinds else 2), options.seed, Path(directory)), flush=True)


if __name__ == "__main__":
    main()
