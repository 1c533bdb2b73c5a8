"""What is attacked: daemons, started by the installed commands, each with an honest program that works meanwhile.

Called in the main thread. A `Target` is started when an attack first needs it, and lives as long as the `Site`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gdispy import generate_secret
from gdispy.cli.certificate import make_certificate
from gdispy.errors import ConfigError
from tests.attack.processes import Process, Usage, free_port
from tests.support.daemons import SCRIPTS

HERE = Path(__file__).parent
HOST = "127.0.0.1"
#: Where false nodes and schedulers are, and a pattern of where those come from that come by themselves.
STUB_HOST, COMING_FROM = "127.0.0.2", "127.66.*"

#: What can be attacked.
NODE, TLS_NODE, LONE_NODE = "node", "node with TLS", "node without program"
SCHEDULER, JOURNAL = "scheduler", "scheduler with journal"
PROGRAM, SHARED_PROGRAM = "program", "program with scheduler"
NAMES = (NODE, TLS_NODE, LONE_NODE, SCHEDULER, JOURNAL, PROGRAM, SHARED_PROGRAM)


@dataclass
class Jobs:
    """What came of the jobs of an honest program."""

    right: int = 0
    wrong: int = 0
    lost: int = 0
    #: Its connections to the daemon that have broken, and seconds of its slowest job.
    breaks: int = 0
    slowest: float = 0.0
    #: Why the last one was lost.
    why: str = ""

    @property
    def ended(self) -> int:
        return self.right + self.wrong + self.lost


class Honest:
    """An honest program and what it has reported."""

    def __init__(self, name: str, todo: dict[str, Any], log: Path) -> None:
        command = [sys.executable, str(HERE / "honest_program.py"), json.dumps(todo)]
        self.process = Process(f"program of {name}", command, log, on_line=self._note)
        self.jobs = Jobs()
        #: Its computation and its own instance.
        self.computation = self.instance = b""
        self._former = Jobs()

    def _note(self, line: str) -> None:
        said = json.loads(line)
        if "computation" in said:
            self.computation, self.instance = bytes.fromhex(said["computation"]), bytes.fromhex(said["instance"])
            self._former = self.jobs
            return
        former = self._former
        counts = {each: said[each] + getattr(former, each) for each in ("right", "wrong", "lost", "breaks")}
        self.jobs = Jobs(**counts, slowest=said["slowest"], why=said["why"] or former.why)


@dataclass
class Target:
    """One daemon or program that is attacked, and what belongs to it."""

    name: str
    process: Process
    place: tuple[str, int]
    #: The roles by which somebody who only asks connects; '' for programs.
    roles: str
    honest: Honest | None = None
    #: Which honest program is started when an attack is over, where none may be connected during it.
    honest_later: dict[str, Any] = field(default_factory=dict)
    certfile: str = ""
    keyfile: str = ""
    #: The daemons that it needs.
    needs: list[Process] = field(default_factory=list)
    #: Where stubs of the attackers are awaited: ports of false nodes, or of a false scheduler.
    stub_ports: list[int] = field(default_factory=list)
    #: Where nodes are looked for by packets: UDP port.
    udp_port: int = 0
    is_started: bool = False
    #: An attack has spoilt it: all is to be started anew before the next.
    is_spoilt: bool = False
    #: What its process took when it had just been started.
    baseline: Usage = field(default_factory=Usage)

    def start(self) -> None:
        """Start all that belongs to it. Raises RuntimeError."""
        self.is_started = True
        for each in dict.fromkeys((*self.needs, self.process)):
            if not each.is_up():
                each.launch()
                if not each.await_ready():
                    raise RuntimeError(f"{each.name} does not start: {each.log_tail()}")
        if self.honest is not None and not self.honest.process.is_up() and not self.honest.process.start():
            raise RuntimeError(f"{self.honest.process.name} does not start: {self.honest.process.log_tail()}")

    def processes(self) -> list[Process]:
        honest = [] if self.honest is None else [self.honest.process]
        return [*honest, self.process, *self.needs]


class Site:
    """All targets of a run, in one directory with one secret."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        #: The working directory of all that is started: what nodes send to programs gets there.
        (directory / "work").mkdir()
        self.secret_file = directory / "secret"
        self.secret_file.touch(0o600)
        self.secret_file.write_text(generate_secret())
        try:
            self.certificate: tuple[str, str] | None = make_certificate(str(directory / "tls"), "localhost")
        except ConfigError:  # There is no openssl program.
            self.certificate = None
        makers: dict[str, Callable[[], Target]] = {
            NODE: lambda: self._node_target(NODE),
            TLS_NODE: lambda: self._node_target(TLS_NODE),
            LONE_NODE: lambda: self._node_target(LONE_NODE),
            SCHEDULER: lambda: self._scheduler_target(SCHEDULER, "--no_journal"),
            JOURNAL: lambda: self._scheduler_target(JOURNAL, "--journal", str(directory / "journal")),
            PROGRAM: self._program_target,
            SHARED_PROGRAM: self._shared_program_target,
        }
        self.targets = {name: maker() for name, maker in makers.items()}
        self.newcomers = Newcomers(self)

    def close(self) -> None:
        """End everything; helpers first, or they would complain of what is gone."""
        self.newcomers.process.kill()
        for target in self.targets.values():
            for process in target.processes():
                process.end()

    # Making targets

    def _daemon(self, name: str, script: str, port: int, *words: str, directory: Path) -> Process:
        command = [sys.executable, str(SCRIPTS / script), "--daemon", "-p", str(port), "--secret-file"]
        command += [str(self.secret_file), "--zombie_interval", "1", "-i", HOST, *words]
        return Process(name, command, self.directory / f"{name.replace(' ', '-')}.log", [directory])

    def _node(self, name: str, port: int, *words: str) -> Process:
        prefix = self.directory / f"files-of-{name.replace(' ', '-')}"
        words = ("--cpus", "2", "--dest_path_prefix", str(prefix), *words)
        return self._daemon(name, "gdispy-node", port, *words, directory=prefix)

    def _honest(self, name: str, todo: dict[str, Any]) -> Honest:
        whole = {"baits": [], **todo, "places": [f"at {HOST}:"]}
        return Honest(name, whole, self.directory / f"program-of-{name.replace(' ', '-')}.log")

    def _cluster(self, kind: str, **options: Any) -> dict[str, Any]:
        return {"kind": kind, "options": {"secret_file": str(self.secret_file), "ip_addr": HOST, **options}}

    def _node_target(self, name: str) -> Target:
        port = free_port()
        certfile, keyfile = (self.certificate or ("", "")) if name == TLS_NODE else ("", "")
        words = ("--certfile", certfile, "--keyfile", keyfile) if certfile else ()
        process = self._node(name, port, *words)
        cluster = self._cluster("JobCluster", nodes=[[HOST, port]])
        if certfile:
            cluster["options"] |= {"certfile": certfile, "keyfile": keyfile}
        target = Target(name, process, (HOST, port), "visitor>node", certfile=certfile, keyfile=keyfile, udp_port=port)
        if name == LONE_NODE:
            target.honest_later = {"honest": cluster}
        else:
            target.honest = self._honest(name, {"honest": cluster})
        return target

    def later_program(self, target: Target, looks: bool) -> Honest:
        """The honest program that comes when an attack is over; with `looks`, it has to find the node by itself."""
        cluster = dict(target.honest_later["honest"])
        if looks:
            found = {"nodes": ["127.0.0.*"], "node_port": target.place[1], "port": free_port()}
            cluster["options"] = {**cluster["options"], **found}
        return self._honest(f"{target.name} later", {"honest": cluster})

    def _scheduler_target(self, name: str, *words: str) -> Target:
        port, node_port = free_port(), free_port()
        node = self._node(f"node of {name}", node_port)
        words = ("-n", f"{HOST}:{node_port}", "--node_port", str(free_port()), "--max_client_bytes", "64m", *words)
        directory = self.directory / "journal"
        process = self._daemon(name, "gdispy-scheduler", port, *words, directory=directory)
        place = f"{HOST}:{port}"
        cluster = self._cluster("SharedJobCluster", scheduler_node=place, nodes=[[HOST, node_port]])
        honest = self._honest(name, {"honest": cluster})
        return Target(name, process, (HOST, port), "client>scheduler", honest, needs=[node])

    def _program_target(self) -> Target:
        """A program with an honest node, false nodes that it connects to, and a door for nodes that come."""
        node_port, door, look_port = free_port(), free_port(), free_port()
        stubs = [free_port() for _ in range(4)]
        node = self._node(f"node of {PROGRAM}", node_port)
        cluster = self._cluster("JobCluster", nodes=[[HOST, node_port]], port=door, node_port=look_port)
        bait = self._cluster("JobCluster", nodes=[[STUB_HOST, each] for each in stubs], port=door, node_port=look_port)
        open_to_all = self._cluster("JobCluster", nodes=[COMING_FROM], port=door, node_port=look_port)
        honest = self._honest(PROGRAM, {"honest": cluster, "baits": [bait, open_to_all]})
        return Target(
            *(PROGRAM, honest.process, (HOST, door), "", honest), needs=[node], stub_ports=stubs, udp_port=door
        )

    def _shared_program_target(self) -> Target:
        """A program with an honest scheduler and a false one."""
        stub = free_port()
        scheduler = self._scheduler_target(f"scheduler of {SHARED_PROGRAM}", "--no_journal")
        assert scheduler.honest is not None
        place = "{}:{}".format(*scheduler.place)
        cluster = self._cluster("SharedJobCluster", scheduler_node=place)
        bait = self._cluster("SharedJobCluster", scheduler_node=f"{STUB_HOST}:{stub}")
        honest = self._honest(SHARED_PROGRAM, {"honest": cluster, "baits": [bait]})
        needs = [*scheduler.needs, scheduler.process]
        return Target(SHARED_PROGRAM, honest.process, (STUB_HOST, stub), "", honest, needs=needs, stub_ports=[stub])


class Newcomers:
    """The process that makes honest newcomers, and what became of them."""

    def __init__(self, site: Site) -> None:
        targets = {
            each.name.replace(" ", "_"): {
                "place": each.place,
                "roles": each.roles,
                "certfile": each.certfile or None,
                "keyfile": each.keyfile or None,
            }
            for each in site.targets.values()
            if each.roles
        }
        todo = {"targets": targets, "secret_file": str(site.secret_file)}
        command = [sys.executable, str(HERE / "newcomer_program.py"), json.dumps(todo)]
        self.process = Process("newcomers", command, site.directory / "newcomers.log", on_line=self._note)
        self.rows: list[dict[str, Any]] = []

    def _note(self, line: str) -> None:
        self.rows.append(json.loads(line))

    @contextmanager
    def coming(self, target: Target, interval: float) -> Iterator[list[dict[str, Any]]]:
        """Have newcomers come to a daemon; what became of them is in the list afterwards."""
        rows: list[dict[str, Any]] = []
        self.rows = rows
        if target.roles:
            self.process.say(f"go {target.name.replace(' ', '_')} {interval}")
        try:
            yield rows
        finally:
            self.process.say("stop")
