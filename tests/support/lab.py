"""Networks for tests: each host is a network namespace, joined to others by veth pairs, bridges, routers and NAT.

Only root can make them. Names begin with `gd` and the process id of the test, so several tests do not meet, and
everything is removed at the end. Nothing of it is seen by the machine's own network.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.daemons import SCRIPTS, Daemon
from tests.support.waiting import eventually

_numbers = itertools.count(1)

#: Programs of the tests run in namespaces: nothing keeps their discovery on one machine.
_ENVIRONMENT = {"GDISPY_IP_ADDR": ""}


def why_not() -> str:
    """Why there can be no networks here, or ''."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    missing = [name for name in ("ip", "nft") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not found: apt-get install iproute2 nftables"
    name = f"gd{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "this system makes no network namespaces"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


def _run(*words: str, text: str | None = None, env: dict[str, str] | None = None) -> str:
    result = subprocess.run(words, capture_output=True, text=True, timeout=30, input=text, env=env)
    assert result.returncode == 0, f"{' '.join(words)}: {result.stderr}"
    return result.stdout


class Host:
    """A machine of the lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.space = f"{lab.prefix}-{next(_numbers)}"
        self._interfaces = itertools.count()
        _run("ip", "netns", "add", self.space)
        # Addresses of IPv6 are there at once, instead of after a second of asking whether others have them.
        self.set("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> str:
        return _run("ip", "-n", self.space, *words)

    def set(self, *settings: str) -> None:
        """Settings of the kernel, as `sysctl` has them."""
        for setting in settings:
            path, _, value = setting.partition("=")
            _run(*self.within, "sh", "-c", f"echo {value} > /proc/sys/{path.replace('.', '/')}")

    def nft(self, rules: str) -> None:
        _run(*self.within, "nft", "-f", "-", text=rules)

    def rules(self, *rules: str, hook: str = "input", kind: str = "filter") -> str:
        """Rules of nftables where packets come in, go out or pass; the name of their table, for `lift`."""
        table = f"lab{next(_numbers)}"
        priority = {"prerouting": -100, "postrouting": 100}.get(hook, 0)
        lines = [f"type {kind} hook {hook} priority {priority};", *rules]
        self.nft(f"table inet {table} {{\nchain rules {{\n" + "\n".join(lines) + "\n}\n}\n")
        return table

    def lift(self, table: str) -> None:
        """Take rules away again."""
        self.nft(f"delete table inet {table}\n")

    def _own_file(self, name: str, text: str) -> None:
        """A file that programs of this host find in /etc; `ip netns exec` puts it there."""
        directory = Path("/etc/netns") / self.space
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)  # In place: what is mounted is the file.

    def resolver(self, address: str) -> None:
        """Ask this server for names."""
        self._own_file("resolv.conf", f"nameserver {address}\n")

    def known_names(self, known: dict[str, str]) -> None:
        """What is in /etc/hosts."""
        self._own_file("hosts", "".join(f"{address} {name}\n" for name, address in known.items()))

    @property
    def within(self) -> list[str]:
        """The beginning of a command that is to run on this host."""
        return ["ip", "netns", "exec", self.space]

    def join(self, lan: Lan, *addresses: str) -> str:
        """Plug into a LAN; the name of the interface."""
        name = f"eth{next(self._interfaces)}"
        port = f"p{next(_numbers)}"
        self.ip("link", "add", name, "type", "veth", "peer", "name", port, "netns", lan.space)
        lan.ip("link", "set", port, "master", "br0", "up")
        for address in addresses:
            self.add_address(name, address)
        self.ip("link", "set", name, "up")
        return name

    def add_address(self, interface: str, address: str) -> None:
        if ":" in address:
            self.ip("address", "add", address, "dev", interface, "nodad")
        else:
            self.ip("address", "add", address, "broadcast", "+", "dev", interface)

    def gateway(self, address: str) -> None:
        self.ip("route", "add", "default", "via", address)

    def link_local(self, interface: str) -> str:
        """The address that every interface has by itself."""

        def look() -> str:
            rows = json.loads(self.ip("-j", "-6", "address", "show", "dev", interface, "scope", "link"))
            return next((info["local"] for row in rows for info in row.get("addr_info", []) if "local" in info), "")

        return eventually(look, 5)

    # Programs

    def _env(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, **_ENVIRONMENT, "GDISPY_SECRET_FILE": self.lab.secret_file, **(more or {})}

    def _start(self, script: str, *options: str, env: dict[str, str] | None = None) -> Daemon:
        daemon = Daemon(self.lab.directory, *options, env=self._env(env), script=script, within=self.within)
        self.lab.daemons.append(daemon)
        return daemon

    def node(self, *options: str, env: dict[str, str] | None = None, port: int = 51348) -> Daemon:
        prefix = self.lab.directory / f"prefix{next(_numbers)}"
        words = ["-p", str(port), "--name", self.name, "--cpus", "1", "--dest_path_prefix", str(prefix)]
        return self._start("gdispy-node", *words, *options, env=env)

    def scheduler(self, *options: str) -> Daemon:
        return self._start("gdispy-scheduler", "-p", "51347", *options)

    def relay(self, *options: str) -> Daemon:
        """The relay of discovery."""
        return self._start("gdispy", "relay", *options)

    def command(self, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run an installed command to its end."""
        script, *rest = words
        command = [*self.within, sys.executable, str(SCRIPTS / script), *rest]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=self._env(env))

    def python(self, code: str) -> str:
        """Run a piece of Python to its end; what it prints."""
        return _run(*self.within, sys.executable, "-c", code, env=self._env())

    def program(self, jobs: int = 1, count: int = 0, seconds: float = 0.0, **cluster: Any) -> Program:
        """Start a program that submits jobs; see `lab_program.py`."""
        return Program(self, {"jobs": jobs, "count": count, "seconds": seconds, "cluster": cluster})

    def run(self, jobs: int = 1, count: int = 0, seconds: float = 0.0, **cluster: Any) -> dict[str, Any]:
        """Run such a program to its end; what it tells."""
        return self.program(jobs, count, seconds, **cluster).result()


class Lan(Host):
    """A switch that hosts are plugged into."""

    def __init__(self, lab: Lab, name: str) -> None:
        super().__init__(lab, name)
        self.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        self.ip("link", "set", "br0", "up")


class Program:
    """A user's program on a host of the lab."""

    def __init__(self, host: Host, options: dict[str, Any]) -> None:
        command = [*host.within, sys.executable, "-m", "tests.support.lab_program", json.dumps(options)]
        self.log = host.lab.directory / f"program-{next(_numbers)}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=host._env()
            )
        host.lab.programs.append(self)

    def ask(self, word: str) -> Any:
        """Have it do something: see `lab_program.py`."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the program ended: {self.log.read_text()}"
        return json.loads(line)

    def until(self, word: str, condition: Any, within: float = 20.0) -> Any:
        """Ask again and again, until the answer is as wanted."""
        return eventually(lambda: answer if condition(answer := self.ask(word)) else None, within, self.log.read_text())

    def result(self) -> dict[str, Any]:
        """Wait until all its jobs have ended; what it tells, with its log."""
        told: dict[str, Any] = self.ask("result")
        self.close()
        return {**told, "log": self.log.read_text()}

    def result_of_jobs(self) -> list[str]:
        """Wait until all its jobs have ended: the names of the nodes where they ran."""
        told = self.ask("result")
        assert told["done"], f"{told} {self.log.read_text()}"
        return [name for _, name, *_ in told["results"]]

    def close(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                self.process.communicate("", timeout=15)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Lab:
    """All hosts and LANs of a test."""

    def __init__(self, directory: Path, secret_file: str) -> None:
        self.prefix = f"gd{os.getpid()}"
        self.directory = directory
        self.secret_file = secret_file
        self.hosts: list[Host] = []
        self.daemons: list[Daemon] = []
        self.programs: list[Program] = []

    def host(self, name: str) -> Host:
        host = Host(self, name)
        self.hosts.append(host)
        return host

    def lan(self, name: str = "lan") -> Lan:
        lan = Lan(self, name)
        self.hosts.append(lan)
        return lan

    def simple(self, *names: str, subnet: str = "10.1.0") -> list[Host]:
        """One LAN with hosts, numbered from 1."""
        lan = self.lan()
        hosts = [self.host(name) for name in names]
        for number, host in enumerate(hosts, 1):
            host.join(lan, f"{subnet}.{number}/24")
        return hosts

    def router(self, name: str, nat: str = "") -> Host:
        """A host that passes packets on; behind the interface `nat`, the others are hidden."""
        router = self.host(name)
        router.set("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        if nat:
            router.rules(f"oifname {nat} masquerade", hook="postrouting", kind="nat")
            router.rules(f"iifname {nat} ct state new ct status & dnat == 0 drop", hook="forward")
        return router

    @staticmethod
    def forward(router: Host, nat: str, port: int, to: str) -> None:
        """Pass a TCP port of the side that hides the others on to one of them."""
        router.rules(f"iifname {nat} tcp dport {port} dnat ip to {to}", hook="prerouting", kind="nat")

    def close(self) -> None:
        failures: list[BaseException] = []
        for each in (*self.programs, *self.daemons):
            if "Traceback" in (text := each.log.read_text()):
                failures.append(AssertionError(f"something failed on the way: {text}"))
        for thing in (*self.programs, *self.daemons):
            try:
                thing.close() if isinstance(thing, Program) else thing.stop()
            except Exception as error:
                failures.append(error)
        for host in self.hosts:
            self._end_processes(host)
            subprocess.run(["ip", "netns", "delete", host.space], capture_output=True, timeout=30)
            shutil.rmtree(Path("/etc/netns") / host.space, ignore_errors=True)
        if failures:
            raise failures[0]

    def _end_processes(self, host: Host) -> None:
        """Whatever a failed test has left in a namespace, which is its own."""
        left = subprocess.run(["ip", "netns", "pids", host.space], capture_output=True, text=True, timeout=30).stdout
        for pid in left.split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
