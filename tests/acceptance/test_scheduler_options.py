"""What the options of gdispy-scheduler and of gdispy relay do, in the installed commands."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster, SharedJobCluster
from gdispy.journal.file import Journal
from gdispy.protocol.address import Address
from gdispy.protocol.ids import Instance
from tests.support.crashing import Program, begun
from tests.support.daemons import SCRIPTS, Daemon, alive, run_script
from tests.support.jobs import note_and_wait, wait_for_go
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


def computations(place: tuple[str, int], secret_file: str) -> list[dict[str, Any]]:
    """What a scheduler has of programs."""
    done = run_script("gdispy", "status", str(Address(*place)), "--secret-file", secret_file, "--json")
    return list(json.loads(done.stdout)["computations"])


# How it works


def test_options_of_schedulers(start_scheduler: Start, node: Daemon, secret_file: str) -> None:
    words = ["-d", "-i", "127.0.0.1", "--ext_host", "127.0.0.1", "--ipv4_udp_multicast", "--node_port"]
    words += [str(node.place[1]), "--pulse_interval", "2", "--ping_interval", "1", "--poll_interval", "30"]
    words += ["--zombie_interval", "1", "--msg_timeout", "5", "--max_file_size", "1m", "--cooperative"]
    # No port is said for the node: it is where the option says that nodes listen.
    host, port = start_scheduler("-n", "127.0.0.1", *words).place
    with SharedJobCluster(abs, scheduler_node=host, scheduler_port=port, secret_file=secret_file) as made:
        assert made.submit(-3).result_or_raise(20) == 3


def turn(log: str, number: int, gate: str) -> None:
    """Takes so long that no other job is sent ahead of its time."""
    if gate:
        wait_for_go(gate)
    note_and_wait(log, number, 0.3)


@pytest.mark.parametrize(
    ("option", "order"), [("--early_cluster_scheduler", "1111222"), ("--fair_cluster_scheduler", "1212121")]
)
def test_which_computation_is_served_first(
    option: str, order: str, start_node: Start, start_scheduler: Start, secret_file: str, tmp_path: Path
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    host, port = start_scheduler("-n", str(Address(*start_node("--cpus", "1").place)), option).place
    options = {"scheduler_node": host, "scheduler_port": port, "secret_file": secret_file}
    with SharedJobCluster(turn, **options) as first, SharedJobCluster(turn, **options) as second:
        first.submit(str(log), 1, str(gate))
        eventually(gate.exists)
        for made, number in ((second, 2), (first, 1)):
            for _ in range(3):
                made.submit(str(log), number, "")
        eventually(lambda: sum(row["waiting"] for row in computations((host, port), secret_file)) == 6, 20)
        (tmp_path / "gate.go").touch()
        assert first.wait(20) and second.wait(20)
    assert "".join(log.read_text().split()) == order


def test_files_that_are_too_large_are_refused(
    start_scheduler: Start, node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    host, port = start_scheduler("-n", str(Address(*node.place)), "--max_file_size", "10k").place
    options = {"scheduler_node": host, "scheduler_port": port, "secret_file": secret_file}
    for name, size in (("large", 20_000), ("small", 9_000)):
        (tmp_path / name).write_bytes(os.urandom(size))
    with SharedJobCluster(os.path.getsize, depends=[str(tmp_path / "large")], **options) as made:
        job = made.submit("large")
        eventually(
            lambda: (
                "the file 'large' is refused: 20,000 bytes, and this scheduler accepts"
                in " ".join(made.status().problems)
            ),
            20,
        )
        assert job.status == DispyJob.Created
        made.close(timeout=0, terminate=True)
    with SharedJobCluster(os.path.getsize, depends=[str(tmp_path / "small")], **options) as made:
        assert made.submit("small").result_or_raise(20) == 9_000


def test_who_says_nothing_is_sent_away_in_time(start_scheduler: Start) -> None:
    with socket.create_connection(start_scheduler("-n", "127.0.0.9", "--msg_timeout", "1").place) as sock:
        sock.settimeout(6)  # Without the option it would take ten.
        assert sock.recv(1) == b""


#: A scheduler whose minutes may be as short as a test wants them.
_HASTY = """
import gevent.monkey
gevent.monkey.patch_all(subprocess=False, os=False, signal=False)
import sys
from gdispy.cli import scheduler
from gdispy.shared_scheduler import service
service.CLIENT_LOOK_INTERVAL = 0.1
scheduler.within = lambda least, most=0: float
sys.exit(scheduler.scheduler_main())
"""


def test_a_client_that_stays_away_is_given_up(node: Daemon, secret_file: str, tmp_path: Path) -> None:
    script, log = tmp_path / "hasty.py", tmp_path / "begun"
    script.write_text(_HASTY)
    words = ["-n", str(Address(*node.place)), "--zombie_interval", "0.02", "--secret-file", secret_file]
    scheduler = Daemon(tmp_path, *words, script=str(script))
    try:
        options = {"scheduler_node": str(Address(*scheduler.place)), "secret_file": secret_file}
        todo = {"jobs": 2, "seconds": 0, "log": str(log), "gate": str(tmp_path / "gate"), "options": options}
        program = Program(tmp_path, kind="SharedJobCluster", **todo)
        try:
            eventually(lambda: len(begun(log)) == 2, 20)
            assert len(computations(scheduler.place, secret_file)) == 1
        finally:
            program.end()
        eventually(lambda: not computations(scheduler.place, secret_file), 20)
    finally:
        scheduler.stop()


@pytest.fixture
def terminal(tmp_path: Path, secret_file: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A scheduler on a terminal of its own, and the other end of that."""
    ours, theirs = pty.openpty()

    def in_foreground() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    command = [sys.executable, str(SCRIPTS / "gdispy-scheduler"), "-p", "0", "-n", "127.0.0.9"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--secret-file", secret_file],
            stdin=theirs,
            stdout=theirs,
            stderr=log,
            preexec_fn=in_foreground,
        )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait(10)
        os.close(ours)


@pytest.mark.parametrize("word", ["quit", "exit"])
def test_console_shows_how_it_stands_and_ends(terminal: tuple[subprocess.Popen[bytes], int], word: str) -> None:
    process, ours = terminal
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(ours, 65536).decode()

    until("ready ")
    os.write(ours, b"\n")
    until("commands: quit")
    os.write(ours, f"{word}\n".encode())
    until("ending")
    assert process.wait(10) == 0


# What it keeps


@pytest.fixture
def restarted(
    start_scheduler: Start, node: Daemon, tmp_path: Path, secret_file: str
) -> Callable[..., tuple[Daemon, Path]]:
    """Starts a scheduler again and again, at the same place and with the same journal; kills the one before."""
    lives: list[Daemon] = []

    def start(*words: str) -> tuple[Daemon, Path]:
        if lives:
            lives[-1].kill()
            lives[-1].process.wait(10)
        port = str(lives[-1].place[1]) if lives else "0"
        journal = tmp_path / "journal"
        lives.append(start_scheduler("-p", port, "-n", str(Address(*node.place)), "--journal", str(journal), *words))
        return lives[-1], journal / "journal"

    return start


def test_clean_forgets_the_jobs_of_a_former_life_and_ends_them(
    restarted: Callable[..., tuple[Daemon, Path]], secret_file: str, tmp_path: Path
) -> None:
    scheduler, journal = restarted()
    host, port = scheduler.place
    options = {"scheduler_node": host, "scheduler_port": port, "secret_file": secret_file}
    made = SharedJobCluster(wait_for_go, **options)
    try:
        job = made.submit(str(tmp_path / "mark"))
        pid = int(eventually(lambda: (tmp_path / "mark").exists() and (tmp_path / "mark").read_text()))
        size = journal.stat().st_size
        restarted("--clean")
        assert job.wait(20) and job.status == DispyJob.Abandoned and "started again" in (job.exception or "")
        eventually(lambda: not alive(pid), 20, "the node goes on with the job")
        assert journal.stat().st_size < size + 1000
        # It works as others do.
        (tmp_path / "next.go").touch()
        assert made.submit(str(tmp_path / "next")).result_or_raise(20) == str(tmp_path / "next")
    finally:
        made.close(timeout=0, terminate=True)


def test_clean_is_refused_while_a_scheduler_uses_the_journal(
    restarted: Callable[..., tuple[Daemon, Path]], secret_file: str
) -> None:
    scheduler, journal = restarted()
    before = journal.stat().st_ino, journal.read_bytes()
    words = ["--daemon", "-p", "0", "--journal", journal.parent, "--clean", "--secret-file", secret_file]
    done = run_script("gdispy-scheduler", *words)
    assert done.returncode == 1 and f"in use by process {scheduler.pid}" in done.stderr.decode(), done.stderr
    assert (journal.stat().st_ino, journal.read_bytes()[: len(before[1])]) == before


def write_text(path: Path) -> None:
    path.write_text("notes of somebody")


def write_journal_of_a_client(path: Path) -> None:
    journal, _ = Journal.open(str(path))
    journal.begin("client", Instance(bytes(16)), 1)
    journal.close()


@pytest.mark.parametrize(
    ("write", "told"),
    [(write_text, "is not a journal of gdispy"), (write_journal_of_a_client, "is the journal of a client")],
)
def test_clean_leaves_alone_what_is_no_journal_of_a_scheduler(
    write: Callable[[Path], None], told: str, secret_file: str, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    write(path)
    before = path.read_bytes()
    words = ["--daemon", "-p", "0", "--journal", tmp_path, "--clean", "--secret-file", secret_file]
    done = run_script("gdispy-scheduler", *words)
    assert done.returncode == 1 and told in done.stderr.decode(), done.stderr
    assert path.read_bytes() == before


def test_files_of_a_scheduler_are_below_the_prefix(start_scheduler: Start, tmp_path: Path) -> None:
    first = start_scheduler("-n", "127.0.0.9")
    port = str(first.place[1])
    first.stop()
    start_scheduler("-n", "127.0.0.9", "-p", port, "--dest_path_prefix", str(tmp_path / "kept"), "--clean")
    assert (tmp_path / "kept" / f"scheduler-{port}" / "journal").stat().st_size > 0


@pytest.mark.parametrize(("words", "stays"), [([], True), (["--cleanup_nodes"], False)])
def test_files_that_a_client_wants_to_keep_go_where_the_scheduler_says_so(
    words: list[str], stays: bool, start_scheduler: Start, node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    host, port = start_scheduler("-n", str(Address(*node.place)), *words).place
    (tmp_path / "data").write_text("data")
    options: dict[str, Any] = {"scheduler_node": host, "scheduler_port": port, "secret_file": secret_file}
    options |= {"depends": [str(tmp_path / "data")], "dest_path": f"mine-{port}", "cleanup": False}
    with SharedJobCluster(os.path.abspath, **options) as made:
        path = Path(made.submit("data").result_or_raise(20))
        assert path.exists()
    if not stays:
        eventually(lambda: not path.exists())
    assert path.exists() == stays


# Relays


@pytest.fixture
def start_relay(tmp_path: Path, secret_file: str) -> Iterator[Start]:
    """Starts relays; ends them after the test."""
    started: list[Daemon] = []

    def start(*words: str) -> Daemon:
        started.append(Daemon(tmp_path, "relay", *words, "--secret-file", secret_file, script="gdispy"))
        return started[-1]

    yield start
    for relay in started:
        relay.stop()


def test_a_relay_makes_nodes_known_to_programs_that_name_it(
    start_relay: Start, start_node: Start, secret_file: str
) -> None:
    # The node is at a port where the program does not look, and announces itself at one where it does not listen.
    node = start_node("--cpus", "1", "--name", "behind")
    words = ["-d", "-i", "127.0.0.1", "--relay_port", "0", "--node_port", str(node.place[1]), "--daemon"]
    words += ["--ipv4_udp_multicast"]  # It has no effect on the loopback interface: there are no groups.
    nodes = ["*", str(Address(*start_relay(*words).place))]
    with JobCluster(os.getpid, nodes=nodes, port=0, secret_file=secret_file) as made:
        job = eventually(lambda: made.submit_node("behind"), 20)
        assert job is not None and job.result_or_raise(20) in node.below()


@pytest.mark.parametrize(("words", "told"), [(["-p", "99999"], "--relay_port"), (["--netmask", "x"], "--netmask")])
def test_options_of_relays_that_cannot_be_are_refused(words: list[str], told: str, secret_file: str) -> None:
    done = run_script("gdispy", "relay", "--secret-file", secret_file, *words)
    assert done.returncode == 2 and told in done.stderr.decode(), done.stderr
