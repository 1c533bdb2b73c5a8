"""`gdispy-node` as a service: what its owner says with options, at the console and with signals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdispy import DispyJob, JobCluster
from gdispy.filesystem.own_directory import MARKER
from tests.support.daemons import SCRIPTS, Daemon, alive, run_script
from tests.support.jobs import wait_for_go
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


@pytest.fixture
def use(secret_file: str) -> Iterator[Callable[..., JobCluster]]:
    """Makes clusters on a node; closes them after the test."""
    made: list[JobCluster] = []

    def make(place: tuple[str, int], computation: object = abs, **options: object) -> JobCluster:
        made.append(JobCluster(computation, nodes=[place], secret_file=secret_file, **options))
        return made[-1]

    yield make
    for each in made:
        each.close(timeout=0, terminate=True)


Use = Callable[..., JobCluster]


def go(path: Path) -> None:
    """Let a job that waits go on."""
    Path(f"{path}.go").touch()


def has_begun(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and bool(path.read_text())


@contextlib.contextmanager
def client(place: tuple[str, int], secret_file: str, mark: Path) -> Iterator[None]:
    """A program with a job that runs; killed in the end."""
    code = f"""
import gdispy
from tests.support.jobs import wait_for_go
cluster = gdispy.JobCluster(wait_for_go, nodes=[{place!r}], secret_file={secret_file!r})
cluster.submit({str(mark)!r})
input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        eventually(has_begun(mark))
        yield
    finally:
        process.kill()
        process.communicate()


# The init file


def lookup(n: int) -> object:
    return table[n]  # type: ignore[name-defined]  # noqa: F821


def init_file(path: Path, body: str) -> str:
    path.write_text(body)
    return str(path)


def test_names_of_the_init_file_reach_the_jobs_and_close_is_called(start_node: Start, use: Use, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    body = f"""
def init():
    global table
    table = {{1: "one"}}
    print("not for standard output")
    return 0

def close():
    open({str(closed)!r}, "w").write(table[1])
"""
    daemon = start_node("--init", init_file(tmp_path / "init.py", body), "--cpus", "1")
    assert use(daemon.place, lookup).submit(1)() == "one"
    assert not closed.exists()
    daemon.stop()
    assert closed.read_text() == "one"
    assert daemon.process.returncode == 0


def test_process_that_the_init_file_starts_lives_as_long_as_the_node(
    start_node: Start, use: Use, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    body = f"""
import subprocess
def init():
    open({str(mark)!r}, "w").write(str(subprocess.Popen(["sleep", "60"]).pid))
"""
    daemon = start_node("--init", init_file(tmp_path / "init.py", body))
    helper = int(mark.read_text())
    cluster = use(daemon.place)
    assert cluster.submit(-1)() == 1
    cluster.close()
    assert alive(helper)
    daemon.stop()
    assert not alive(helper)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def init():\n    return 3", "returned 3"),
        ("def init():\n    return False", "returned False"),
        ("def init():\n    1 / 0", "ZeroDivisionError"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("def init(:", "SyntaxError"),
        ("table = 1", "does not define init()"),
        ("import sys; sys.exit('no GPU')", "no GPU"),
    ],
)
def test_init_file_that_fails_ends_the_node_with_the_reason(
    body: str, told: str, tmp_path: Path, secret_file: str
) -> None:
    path = init_file(tmp_path / "init.py", body)
    options = ["-p", "0", "--dest_path_prefix", tmp_path / "prefix", "--secret-file", secret_file]
    done = run_script("gdispy-node", "--daemon", "--init", path, *options)
    assert done.returncode == 2
    assert told in done.stderr.decode() and path in done.stderr.decode()
    assert b"ready" not in done.stdout


def test_node_can_be_ended_in_the_middle_of_its_init_file(tmp_path: Path, secret_file: str) -> None:
    mark = tmp_path / "mark"
    path = init_file(
        tmp_path / "init.py", f"import time\ndef init():\n    open({str(mark)!r}, 'w').close(); time.sleep(60)"
    )
    command = [sys.executable, str(SCRIPTS / "gdispy-node"), "--daemon", "-p", "0", "--init", path]
    command += ["--dest_path_prefix", str(tmp_path / "prefix"), "--secret-file", secret_file]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        eventually(mark.exists)
        process.terminate()
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.communicate()


# Hours, and CPUs


def test_node_out_of_its_hours_takes_no_jobs_and_the_user_hears_why(start_node: Start, use: Use) -> None:
    now = time.localtime()
    hours = [f"{(now.tm_hour + later) % 24:02}:00" for later in (3, 4)]
    daemon = start_node("--service_start", hours[0], "--service_stop", hours[1])
    cluster = use(daemon.place)
    job = cluster.submit(-1)
    eventually(lambda: any("not accepting jobs at present" in each for each in cluster.status().problems))
    assert job.status == DispyJob.Created
    cluster.cancel(job)
    assert job.wait(10)


# Signals


def test_first_sigint_lets_the_computation_end_and_a_new_one_is_refused(
    start_node: Start, use: Use, tmp_path: Path
) -> None:
    daemon = start_node("--cpus", "1")
    mark = tmp_path / "mark"
    cluster = use(daemon.place, wait_for_go)
    job, later = cluster.submit(str(mark)), cluster.submit(str(tmp_path / "later"))
    eventually(has_begun(mark))
    daemon.process.send_signal(signal.SIGINT)
    eventually(lambda: "current computations" in daemon.log.read_text())
    other = use(daemon.place)
    waiting = other.submit(-1)
    eventually(lambda: any("current work" in each for each in other.status().problems))
    assert daemon.process.poll() is None
    go(mark)
    go(tmp_path / "later")
    assert job.wait(10) and job.result == str(mark)
    assert later.wait(10) and later.status == DispyJob.Finished
    cluster.close()
    assert daemon.process.wait(10) == 0
    other.cancel(waiting)


@pytest.mark.parametrize("numbers", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP]])
def test_other_signals_end_at_once(numbers: list[int], start_node: Start, secret_file: str, tmp_path: Path) -> None:
    daemon = start_node("--cpus", "1")
    with client(daemon.place, secret_file, tmp_path / "mark"):
        below = daemon.below()
        for count, number in enumerate(numbers, 1):
            daemon.process.send_signal(number)
            if count < len(numbers):
                eventually(lambda: "a second SIGINT" in daemon.log.read_text())
        assert daemon.process.wait(10) == 0
    eventually(lambda: not any(map(alive, below)), 5)


def test_sigint_ends_a_node_that_nobody_uses(start_node: Start) -> None:
    daemon = start_node()
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(10) == 0


# Clients


def test_node_for_one_client_ends_when_that_has_left(start_node: Start, secret_file: str) -> None:
    daemon = start_node("--serve", "1")
    code = f"""
import gdispy
with gdispy.JobCluster(abs, nodes=[{daemon.place!r}], secret_file={secret_file!r}) as cluster:
    assert cluster.submit(-2)() == 2
"""
    assert daemon.process.poll() is None
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert daemon.process.wait(10) == 0


def shut_down() -> object:
    return dispynode_shutdown()  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(("options", "answer"), [(["--client_shutdown"], "0"), ([], "-1")])
def test_cleanup_function_ends_the_node_where_it_may(
    options: list[str], answer: str, start_node: Start, use: Use, tmp_path: Path
) -> None:
    daemon = start_node(*options)
    path = tmp_path / "answer"

    cluster = use(daemon.place, shut_down, cleanup=lambda: path.write_text(str(shut_down())))
    # A job is no cleanup function.
    assert cluster.submit()() == -1
    cluster.close()
    eventually(lambda: path.exists() and path.read_text() == answer)
    if options:
        assert daemon.process.wait(10) == 0
    else:
        assert use(daemon.place).submit(-1)() == 1


# What is left behind


def test_clean_removes_what_former_nodes_left_and_spares_those_that_live(tmp_path: Path, secret_file: str) -> None:
    prefix = tmp_path / "prefix"
    dead = os.urandom(16).hex()
    (prefix / dead).mkdir(parents=True)
    (prefix / dead / "file").touch()
    (prefix / ("1" * 32)).mkdir()
    (prefix / "kept" / "data").mkdir(parents=True)
    (prefix / f"{dead}.lock").touch()
    sleeper = subprocess.Popen(["sleep", "60"], env={**os.environ, "GDISPY_NODE": dead})
    daemon = None
    try:
        daemon = Daemon(tmp_path, "--dest_path_prefix", str(prefix), "--secret-file", secret_file)
        # A node removes what the dead have left at each start.
        assert sleeper.wait(5) == -signal.SIGKILL and not (prefix / dead).exists()
        # Cleaning removes more, and nothing of the node that lives, or that is not gdispy's.
        (prefix / "notes").mkdir()
        own = [each for each in prefix.iterdir() if each.name.endswith(".lock")]
        assert run_script("gdispy-node", "--clean", "--serve", "0", "--dest_path_prefix", prefix).returncode == 0
        stays = [*own, own[0].with_suffix(""), *(prefix / name for name in ("kept", "notes", "spool", MARKER))]
        assert sorted(prefix.iterdir()) == sorted(stays)
    finally:
        sleeper.kill()
        sleeper.wait()
        if daemon is not None:
            daemon.stop()
    assert run_script("gdispy-node", "--clean", "--serve", "0", "--dest_path_prefix", prefix).returncode == 0
    assert sorted(each.name for each in prefix.iterdir()) == [MARKER, "notes"]


def test_serve_none_needs_clean() -> None:
    done = run_script("gdispy-node", "--serve", "0")
    assert done.returncode == 2 and b"--clean" in done.stderr


def test_files_that_a_client_wants_to_keep_go_where_the_owner_says_so(
    start_node: Start, use: Use, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("data")
    kept = []
    for options in ([], ["--force_cleanup"]):
        daemon = start_node(*options)
        cluster = use(daemon.place, os.path.abspath, depends=[str(tmp_path / "data")], dest_path="mine", cleanup=False)
        path = Path(cluster.submit("data")())
        assert path.exists()
        cluster.close()
        if options:
            eventually(lambda path=path: not path.exists())  # type: ignore[misc]
        daemon.stop()
        kept.append(path.exists())
    assert kept == [True, False]


# The console


class Terminal:
    """A node on a terminal of its own."""

    def __init__(self, tmp_path: Path, secret_file: str, *options: str) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, str(SCRIPTS / "gdispy-node"), "-p", "0", "--dest_path_prefix", str(tmp_path / "p")]

        def in_foreground() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*command, "--secret-file", secret_file, *options],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            preexec_fn=in_foreground,
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.shown = ""
        try:
            self.await_("ready ")
            eventually(lambda: self.read().endswith("\n"))
        except BaseException:
            self.close()
            raise
        host, _, port = self.shown.split("ready ")[1].split()[0].rpartition(":")
        self.place = (host, int(port))

    def read(self) -> str:
        with contextlib.suppress(OSError):
            self.shown += os.read(self._ours, 65536).decode()
        return self.shown

    def await_(self, text: str) -> str:
        eventually(lambda: text in self.read(), what=text)
        return self.shown

    def say(self, line: str, answer: str) -> str:
        """Type a line; what is shown until the answer."""
        self.shown = ""
        os.write(self._ours, f"{line}\n".encode())
        return self.await_(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path, secret_file: str) -> Iterator[Terminal]:
    made = Terminal(tmp_path, secret_file)
    yield made
    made.close()


def test_console_shows_stops_starts_and_ends(terminal: Terminal, use: Use, tmp_path: Path) -> None:
    cluster = use(terminal.place, wait_for_go)
    cpus = len(os.sched_getaffinity(0))
    marks = [tmp_path / f"mark{number}" for number in range(cpus + 1)]
    jobs = [cluster.submit(str(each)) for each in marks]
    eventually(lambda: all(has_begun(each)() for each in marks[:cpus]))
    shown = terminal.say("", "commands: ")
    assert f"CPUs: {cpus}, busy: {cpus}" in shown and "computation wait_for_go" in shown and "up 0 days" in shown
    # Stopped, it lets go on what runs, and gives back what waits.
    terminal.say("stop", "no new jobs")
    eventually(lambda: f"CPUs: 0 of {cpus} (stopped)" in terminal.say("status", "commands: "))
    for each in marks:
        go(each)
    eventually(lambda: sum(job.status == DispyJob.Finished for job in jobs) == cpus)
    eventually(lambda: "0 waiting" in terminal.say("status", "commands: "))
    assert sum(job.status == DispyJob.Finished for job in jobs) == cpus
    # Started, it does the rest.
    terminal.say("start", "jobs are accepted")
    assert cluster.wait(10)
    assert "is connected" in terminal.say("release", "nothing was released")
    terminal.say("cpus 1", "CPUs: 1")
    eventually(lambda: cluster.status().nodes[0].cpus == 1)
    assert "between 1 and" in terminal.say("cpus 100000", "cpus must")
    terminal.say("cpus some", "write a number")
    terminal.say("quit", "ending")
    assert terminal.process.wait(10) == 0


def test_client_that_died_is_given_up_at_the_console(terminal: Terminal, secret_file: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with client(terminal.place, secret_file, mark):
        pass
    eventually(lambda: "away" in terminal.say("status", "commands: "))
    assert alive(int(mark.read_text()))
    terminal.say("release", "given up")
    eventually(lambda: not alive(int(mark.read_text())))
    assert "computation" not in terminal.say("status", "commands: ").replace("commands", "")


def test_ctrl_d_ends_the_console_and_not_the_node(terminal: Terminal, use: Use) -> None:
    os.write(terminal._ours, b"\x04")
    assert use(terminal.place).submit(-3)() == 3
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(10) == 0


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("closed", [False, True])
def test_node_without_a_terminal_neither_ends_nor_spins(
    closed: bool, use: Use, secret_file: str, tmp_path: Path
) -> None:
    command = [sys.executable, str(SCRIPTS / "gdispy-node"), "-p", "0", "--dest_path_prefix", str(tmp_path / "p")]
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *command] if closed else command
    process = subprocess.Popen(
        [*command, "--secret-file", secret_file],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().split()[1].rpartition(":")
        assert use((host, int(port))).submit(-3)() == 3
        before, until = processor_seconds(process.pid), time.monotonic() + 0.5
        eventually(lambda: time.monotonic() > until)
        assert processor_seconds(process.pid) - before < 0.25
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
