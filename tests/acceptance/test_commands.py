"""The installed commands, as a person types them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gdispy.config import VERSION
from tests.support.daemons import SCRIPTS, Daemon, alive, ended, run_script
from tests.support.waiting import eventually


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program that prints its words and a file's contents, and exits as it is told."""
    path = tmp_path / "program"
    path.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do echo "[$word]"; done\n'
        "cat file1 2>/dev/null\n"
        'case "$1" in fail) echo broken >&2; exit 3;; wait) touch "$2"; sleep 60;; esac\n'
    )
    path.chmod(0o755)
    return str(path)


def gdispy(*words: object) -> subprocess.CompletedProcess[bytes]:
    return run_script("gdispy", *words)


def test_each_a_is_a_job_and_their_output_comes_in_order(node: Daemon, secret_file: str, program: str) -> None:
    place = f"{node.place[0]}:{node.place[1]}"
    options = ["-n", place, "--secret-file", secret_file]
    done = gdispy(*options, "-a", "arg11 arg12", "-a", "arg21 'two words'", "-a", "arg3", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"[arg11]\n[arg12]\n[arg21]\n[two words]\n[arg3]\n"


def test_files_go_along_and_failures_show_in_the_exit_status(tmp_path: Path, program: str) -> None:
    (tmp_path / "file1").write_text("contents\n")
    done = gdispy("--local", "-f", tmp_path / "file1", "-a", "one", "-a", "fail now", program)
    assert done.returncode == 1
    assert done.stdout == b"[one]\ncontents\n[fail]\n[now]\ncontents\n"
    assert b"broken\n" in done.stderr and b"job 2 (fail now): exit code 3" in done.stderr


def test_without_a_the_program_runs_once_and_a_name_is_found_in_path() -> None:
    done = gdispy("--local", "echo")
    assert done.returncode == 0 and done.stdout == b"\n"


def test_ctrl_c_ends_what_runs(tmp_path: Path, program: str) -> None:
    mark = tmp_path / "mark"
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", "-a", f"wait {mark}", program]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    with ended(process):
        eventually(mark.exists)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=15)
    assert process.returncode == 130 and b"interrupted" in complaint
    assert time.monotonic() - began < 8


def test_a_terminal_shows_a_progress_bar(program: str) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", "-a", "1", "-a", "2", program]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=60)
    shown = os.read(ours, 65536)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 0 and done.stdout == b"[1]\n[2]\n"
    assert b"2/2" in shown or b"1/2" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--local", "/no/such/program"], "does not exist"),
        (["--local", "-a", "'unfinished", "true"], "-a"),
        (["--local", "-f", "/no/such/file", "true"], "does not exist"),
        (["-n", "host:port", "--insecure", "true"], "in nodes"),
        (["--secret-file", "/no/such/secret", "true"], "secret file"),
        ([], "program"),
    ],
)
def test_what_cannot_be_done_is_told_with_status_2(words: list[str], told: str) -> None:
    done = gdispy(*words)
    assert done.returncode == 2
    assert told in done.stderr.decode() and "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize("name", ["gdispy", "gdispy-node", "gdispy-scheduler"])
def test_help_and_version(name: str) -> None:
    assert run_script(name, "--version").stdout.decode().strip() == f"{name} {VERSION}"
    assert b"usage" in run_script(name, "--help").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cpus", "1000000"], "--cpus"),
        (["--cpus", "-1000"], "--cpus"),
        (["-p", "70000"], "node_port"),
        (["--max_file_size", "many"], "not a size"),
        (["--secret", "a", "--secret-file", "b"], "not both"),
        (["--dest_path_prefix", "/proc/none"], "cannot be used"),
    ],
)
def test_a_node_refuses_options_it_cannot_use(words: list[str], told: str) -> None:
    done = run_script("gdispy-node", "--insecure" if "--secret" not in words else "--daemon", *words)
    assert done.returncode == 2
    assert told in done.stderr.decode() and "Traceback" not in done.stderr.decode()


def test_a_port_that_is_taken_is_named(node: Daemon, secret_file: str) -> None:
    done = run_script("gdispy-node", "-p", node.place[1], "--secret-file", secret_file)
    assert done.returncode == 2 and str(node.place[1]) in done.stderr.decode()


def test_cpus_below_zero_leave_that_many_free(start_node: Callable[..., Daemon], secret_file: str) -> None:
    from gdispy import JobCluster

    there = len(os.sched_getaffinity(0))
    if there < 2:
        pytest.skip("this machine has one CPU")
    daemon = start_node("--cpus", "-1")
    with JobCluster(abs, nodes=[daemon.place], secret_file=secret_file) as cluster:
        cluster.submit(1)()
        assert cluster.status().nodes[0].cpus == there - 1


def test_a_stopped_node_leaves_nothing_and_exits_with_0(start_node: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start_node("--cpus", "1")
    below = daemon.below()
    daemon.process.terminate()
    assert daemon.process.wait(10) == 0
    eventually(lambda: not any(map(alive, below)), 2)


USER = """
import json, os, sys, time
import gdispy as dispy

def compute(n):
    return n * n

if __name__ == "__main__":
    cluster = dispy.JobCluster(compute, nodes=["local"])
    jobs = [cluster.submit(n) for n in range(10)]
    print(json.dumps([job() for job in jobs]))
    END
"""


def user(end: str, tmp_path: Path, before: str = "") -> tuple[subprocess.CompletedProcess[bytes], float]:
    """A program of a user that ends in some way; how it did, and how long the end took."""
    path = tmp_path / "program.py"
    marked = f"sys.stdout.flush(); open({str(tmp_path / 'began')!r}, 'w').close(); {end}"
    path.write_text(before + USER.replace("END", marked))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, timeout=60)
    took = time.time() - (tmp_path / "began").stat().st_mtime
    assert json.loads(done.stdout.splitlines()[0]) == [n * n for n in range(10)], done.stderr
    return done, took


def no_nodes_left() -> bool:
    """Whether no private node is left that this run of the tests has started."""
    mark = f"GDISPY_TEST_RUN={os.environ['GDISPY_TEST_RUN']}".encode()
    return not any(_is_private_node(Path("/proc", name), mark) for name in os.listdir("/proc") if name.isdigit())


def _is_private_node(process: Path, mark: bytes) -> bool:
    try:
        is_one = b"exit-with-stdin" in (process / "cmdline").read_bytes()
        return is_one and mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("pass", 0),
        ("raise ZeroDivisionError", 1),
        ("sys.exit(5)", 5),
        ("os._exit(6)", 6),
        ("os.kill(os.getpid(), 15)", -15),
        ("raise KeyboardInterrupt", 130),
        ("cluster.submit(3); raise ZeroDivisionError", 1),
    ],
)
def test_however_a_program_ends_it_ends_soon_and_its_node_too(end: str, status: int, tmp_path: Path) -> None:
    done, took = user(end, tmp_path)
    assert done.returncode == status or (status == 130 and done.returncode in (130, -2, 1))
    assert took < 3
    eventually(no_nodes_left, 5)


def test_a_program_without_close_waits_for_its_jobs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    end = f"cluster._callback = None; [cluster.submit(n) for n in range(20)]; open({str(log)!r}, 'w')"
    done, _ = user(end, tmp_path)
    assert done.returncode == 0, done.stderr
    eventually(no_nodes_left, 5)


def test_a_forked_child_is_told_so_and_the_parent_goes_on(tmp_path: Path) -> None:
    end = """
    pid = os.fork()
    if pid == 0:
        try:
            cluster.submit(1)
        except dispy.ForkedError as error:
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert cluster.submit(5)() == 25
    cluster.close()
    if os.fork() == 0:
        other = dispy.JobCluster(compute, nodes=["local"])
        assert other.submit(6)() == 36
        other.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""
    done, _ = user(end, tmp_path)
    assert done.returncode == 0, done.stderr.decode()


PATCH = "import gevent.monkey\ngevent.monkey.patch_all()\n"


@pytest.mark.parametrize("before", ["", PATCH], ids=["plain", "patched"])
def test_a_program_works_patched_and_not(before: str, tmp_path: Path) -> None:
    end = "import logging; logging.warning('works'); assert cluster.wait(30); cluster.close()"
    done, took = user(end, tmp_path, before)
    assert done.returncode == 0, done.stderr.decode()
    assert took < 10


def test_a_program_that_patches_after_making_its_cluster_works(tmp_path: Path) -> None:
    end = """
    import gevent.monkey
    gevent.monkey.patch_all()
    jobs = [cluster.submit(n) for n in range(50)]
    assert [job() for job in jobs] == [n * n for n in range(50)]
    assert cluster.wait(30)
    cluster.close()
"""
    done, _ = user(end, tmp_path)
    assert done.returncode == 0, done.stderr.decode()


def test_greenlets_of_a_patched_program_wait_for_their_jobs_side_by_side(tmp_path: Path) -> None:
    end = """
    import gevent
    waits = [gevent.spawn(lambda n=n: cluster.submit(n)()) for n in range(20)]
    gevent.joinall(waits, timeout=30)
    assert [each.value for each in waits] == [n * n for n in range(20)]
    cluster.close()
"""
    done, _ = user(end, tmp_path, PATCH)
    assert done.returncode == 0, done.stderr.decode()


def test_a_job_that_crashes_is_told_so_where_gevents_subprocess_is_used(tmp_path: Path) -> None:
    end = """
    import gevent.subprocess, signal
    gevent.subprocess.run(["true"])
    crash = dispy.JobCluster(lambda: os.kill(os.getpid(), signal.SIGSEGV), nodes=["local"])
    job = crash.submit()
    assert job.wait(20) and job.status == job.Terminated and "SIGSEGV" in job.exception, job.exception
    crash.close(); cluster.close()
"""
    done, _ = user(end, tmp_path)
    assert done.returncode == 0, done.stderr.decode()


def test_ctrl_c_while_waiting_works_at_once(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    mark = tmp_path / "mark"
    path.write_text(
        "import gdispy, time\n"
        "def compute(path):\n    open(path, 'w').close(); time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    cluster = gdispy.JobCluster(compute, nodes=['local'])\n"
        f"    try:\n        cluster.submit({str(mark)!r})()\n"
        "    except KeyboardInterrupt:\n        print('interrupted', flush=True); raise\n"
    )
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        eventually(mark.exists)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == b"interrupted\n"
        assert time.monotonic() - began < 2
        process.communicate(timeout=10)
    assert time.monotonic() - began < 8
    eventually(no_nodes_left, 5)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor runs one job after the other")
def test_the_bar_counts_jobs_that_have_ended_and_not_those_up_to_the_first_that_has_not(tmp_path: Path) -> None:
    """The first job waits for all others to be shown; one of those fails. Without tqdm, which has a bar of its own."""
    gate = tmp_path / "gate"
    waiting = f"-c 'until test -e {gate}; do sleep 0.05; done; echo first'"
    words = ["--local", "-a", waiting, "-a", "-c true", "-a", "-c 'exit 3'", "sh"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "tqdm" / "__init__.py").write_text("raise ImportError('none here')")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(SCRIPTS / "gdispy"), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=env)
    os.close(theirs)
    with ended(process):
        shown = b""
        while b"2/3 jobs, 1 failed" not in shown:
            shown += os.read(ours, 65536)
        gate.touch()
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, out) == (1, b"first\n")
    os.close(ours)
