"""`gdispy start-nodes` and `stop-nodes`, over a real sshd on the loopback interface."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import JobCluster
from gdispy.worker.process_tree import descendants
from tests.support.daemons import SCRIPTS, alive, lacking, run_script
from tests.support.jobs import wait_for_go
from tests.support.waiting import eventually

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host
AuthorizedKeysFile {directory}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """How to reach an sshd of these tests: an ssh command."""
    if SSHD is None:
        lacking("openssh-server is not installed; .ci/run installs it")
    directory = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (directory / "config").write_text(_CONFIG.format(port=port, directory=directory))
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    with open(directory / "log", "wb") as log:
        daemon = subprocess.Popen([SSHD, "-D", "-e", "-f", str(directory / "config")], stderr=log)

    def answers() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(answers, 10, "sshd does not answer")
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        yield f"ssh -F none -p {port} -i {directory}/user {options}"
    finally:
        below = descendants(daemon.pid)
        daemon.terminate()
        daemon.wait(10)
        for pid in filter(alive, below):
            os.kill(pid, signal.SIGKILL)


class Started:
    """A running `gdispy start-nodes`."""

    def __init__(self, *words: Any) -> None:
        command = [sys.executable, str(SCRIPTS / "gdispy"), "start-nodes", *map(str, words)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def lines(self, count: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline().rstrip("\n") for _ in range(count)]

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, complaint = self.process.communicate(timeout=40)
        return self.process.returncode, complaint


@pytest.fixture
def start(ssh: str, secret_file: str, tmp_path: Path) -> Iterator[Any]:
    made: list[Started] = []
    command = f"{sys.executable} {SCRIPTS / 'gdispy-node'}"

    def begin(hosts: str, *words: Any, command: str = command, own: tuple[str, ...] = ("-i", "127.0.0.1")) -> Started:
        options = ["--ssh", hosts, "--ssh_command", ssh, "--command", command, "--secret-file", secret_file]
        node = ["-p", "0", "--cpus", "1", "--dest_path_prefix", tmp_path / "prefix", *own]
        made.append(Started(*options, *node, *words))
        return made[-1]

    yield begin
    for each in made:
        each.end(signal.SIGTERM)


def nodes_of(tmp_path: Path) -> list[int]:
    """The processes of nodes that were started with files below this directory."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if str(tmp_path / "prefix").encode() in words and b"--exit-with-stdin" in words and alive(int(entry)):
            found.append(int(entry))
    return found


def places(line: str) -> list[Any]:
    names = [each.strip(" '") for each in line.partition("[")[2].partition("]")[0].split(",")]
    return [(host, int(port)) for host, _, port in (name.rpartition(":") for name in names)]


def test_nodes_on_two_hosts_run_jobs_until_ctrl_c(start: Any, secret_file: str, tmp_path: Path) -> None:
    started = start("127.0.0.1,localhost")
    header, first, second, last = started.lines(4)
    assert header.split() == ["HOST", "NODE", "STATE"]
    assert first.split()[::2] == ["127.0.0.1", "ready"] and second.split()[::2] == ["localhost", "ready"]
    with JobCluster(wait_for_go, nodes=places(last), secret_file=secret_file) as made:
        jobs = [made.submit(str(tmp_path / name)) for name in "ab"]
        eventually(lambda: all((tmp_path / name).exists() for name in "ab"))
        for name in "ab":
            (tmp_path / f"{name}.go").touch()
        assert [job.result_or_raise(20) for job in jobs] == [str(tmp_path / name) for name in "ab"]
    secret = Path(secret_file).read_text().strip().encode()
    assert nodes_of(tmp_path)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            assert secret not in Path(f"/proc/{pid}/cmdline").read_bytes(), "the secret is on a command line"
        except OSError:
            continue
    code, complaint = started.end()
    assert code == 0, complaint
    eventually(lambda: not nodes_of(tmp_path), 10)


def test_stop_nodes_ends_what_runs_and_says_so(start: Any, tmp_path: Path) -> None:
    started = start("localhost")
    assert "ready" in started.lines(3)[1]
    done = run_script("gdispy", "stop-nodes")
    assert done.returncode == 0 and done.stdout.decode().split() == ["localhost", "stopped"]
    assert started.process.wait(10) == 0
    eventually(lambda: not nodes_of(tmp_path), 10)
    assert b"no nodes" in run_script("gdispy", "stop-nodes").stdout


def test_nodes_end_when_the_command_is_killed(start: Any, tmp_path: Path) -> None:
    started = start("localhost")
    assert "ready" in started.lines(3)[1]
    started.end(signal.SIGKILL)
    eventually(lambda: not nodes_of(tmp_path), 15)
    assert b"no nodes" in run_script("gdispy", "stop-nodes").stdout


def test_a_host_that_cannot_be_reached_does_not_keep_the_others(start: Any) -> None:
    started = start("localhost,no-such-host.invalid")
    _, good, bad, last = started.lines(4)
    assert "ready" in good and "no-such-host.invalid" in bad and "resolve" in bad
    assert len(places(last)) == 1


def test_what_went_wrong_on_the_host_is_told(start: Any) -> None:
    started = start("localhost", command="/no/such/gdispy-node")
    code, complaint = started.process.wait(30), started.end()[1]
    assert code == 1 and "give its path with --command" in complaint
    started = start("localhost", own=("-i", "203.0.113.7"))
    code, complaint = started.process.wait(30), started.end()[1]
    assert code == 1 and "cannot listen on 203.0.113.7" in complaint


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--ssh", ","], "does not name a host"),
        (["--ssh", "a,a"], "more than once"),
        (["--ssh", "-oProxyCommand=x"], "expected one argument"),
        (["--ssh", "a,-oProxyCommand=x"], "must not contain '='"),
        (["--ssh", "a,-v"], "begins with a dash"),
        (["--ssh", "a", "--cpu", "many"], "--cpu"),
        (["--ssh", "a", "--no_such_option"], "unrecognized arguments"),
        (["--ssh", "a", "--insecure"], "omit --insecure"),
        (["--ssh", "a", "--ssh_command", "/no/such/ssh"], "cannot be started"),
        ([], "--ssh"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_started(words: list[str], told: str) -> None:
    done = run_script("gdispy", "start-nodes", *words)
    assert done.returncode == 2 and told in done.stderr.decode() and b"Traceback" not in done.stderr
