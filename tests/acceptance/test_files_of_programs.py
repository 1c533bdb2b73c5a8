"""Files that programs make: `gdispy --return`, and `dispy_send_file` in programs that jobs run."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gdispy import JobCluster
from gdispy.protocol.address import Address
from gdispy.worker.send_file_command import VARIABLE
from gdispy.worker.send_file_command import __file__ as COMMAND
from tests.support.daemons import SCRIPTS, Daemon, ended, run_script
from tests.support.waiting import eventually

Start = Callable[..., Daemon]


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def gdispy(*words: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    return run_script("gdispy", "--local", *words, **options)


# --return


def test_files_come_back_beside_their_sources(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / f"{name}.txt").write_text(f"{name}\n")
    (tmp_path / "data" / "a.up").write_text("of an earlier run")
    script = program(tmp_path / "upper", 'tr a-z A-Z < "$1" > "$2"')
    words = ["-f", "{}", "--return", "{.}.up", script, "{}", "{.}.up", ":::", "data/a.txt", "data/b.txt"]
    done = gdispy(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {path.name: path.read_text() for path in (tmp_path / "data").glob("*.up")} == {"a.up": "A\n", "b.up": "B\n"}


def test_with_results_each_job_has_its_files(tmp_path: Path) -> None:
    script = program(tmp_path / "many", "mkdir -p out/deep; echo $1 > out/x; echo $1 > out/deep/y; echo no > other")
    done = gdispy("--results", "r", "--return", "out", script, ":::", "1", "2", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    for number in ("1", "2"):
        folder = tmp_path / "r" / number / "files"
        found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
        assert found == {"out/x": f"{number}\n", "out/deep/y": f"{number}\n"}
    assert not (tmp_path / "out").exists()


def test_wildcard_returns_what_the_job_has_made(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("x")
    script = program(tmp_path / "make", "echo 1 > made.txt; ln -s made.txt link.txt")
    done = gdispy("-f", "in.txt", "--results", "r", "--return", "*", script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {path.name for path in (tmp_path / "r" / "1" / "files").iterdir()} == {"made.txt", "link.txt"}


def test_missing_file_fails_its_job_and_failed_jobs_return_files(tmp_path: Path) -> None:
    script = program(tmp_path / "some", '[ $1 = 2 ] || echo $1 > "$1.out"; [ $1 != 3 ] || exit 7')
    done = gdispy("--joblog", "log", "--return", "{}.out", script, ":::", "1", "2", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "gdispy: job 2 (2): no file to return matches '2.out'",
        "gdispy: job 3 (3): exit code 7",
    ]
    assert {path.name for path in tmp_path.glob("*.out")} == {"1.out", "3.out"}
    rows = [line.split("\t") for line in (tmp_path / "log").read_text().splitlines()[1:]]
    assert sorted((row[0], row[6]) for row in rows) == [("1", "0"), ("2", "-1"), ("3", "7")]


def test_pattern_that_leaves_the_directory_is_refused(tmp_path: Path) -> None:
    done = gdispy("--return", "../x", "true", cwd=tmp_path)
    assert done.returncode == 2 and b"'../x' is not the name of a file below the directory" in done.stderr
    done = gdispy("--return", "{}", "echo", ":::", "/etc/x", "a", cwd=tmp_path)
    assert done.returncode == 1 and b"job 1 (/etc/x): the file to return '/etc/x' is absolute" in done.stderr


def test_links_out_of_the_directory_of_a_job_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("x" * 2_000_000)  # Large: jobs get a link to it.
    (tmp_path / "out").mkdir()
    script = program(tmp_path / "make", "echo 1 > made; chmod 700 made; ln -s /etc/passwd stolen; ln -s made link")
    words = ["-f", "../in.txt", "--return", "in.txt", "--return", "[ls]*", "--return", "made", script]
    done = run_script("gdispy", "--local", *words, cwd=tmp_path / "out", umask=0o027)
    told = b"gdispy: job 1 (): not returned: stolen: it is a link to a place outside of the job's directory\n"
    assert (done.returncode, done.stderr) == (1, told)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {"in.txt": 0o640, "link": 0o750, "made": 0o750}


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "out").symlink_to(tmp_path / "elsewhere")
    script = program(tmp_path / "make", "mkdir out; echo 1 > out/x")
    done = gdispy("--return", "out/x", script, cwd=tmp_path / "here")
    assert done.returncode == 1 and b"out/x would leave the client's directory" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_files_come_back_through_a_scheduler(
    start_scheduler: Start, node: Daemon, secret_file: str, tmp_path: Path
) -> None:
    place = str(Address(*start_scheduler("-n", str(Address(*node.place))).place))
    script = program(tmp_path / "make", 'head -c 3000000 /dev/zero > "$1"; echo 1 > sent; dispy_send_file sent')
    words = ["--scheduler_node", place, "--secret-file", secret_file, "--return", "{}.bin"]
    done = run_script("gdispy", *words, script, "{}.bin", ":::", "a", "b", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [(tmp_path / f"{name}.bin").stat().st_size for name in "ab"] == [3_000_000, 3_000_000]
    assert (tmp_path / "sent").read_text() == "1\n"


def test_files_return_after_a_retry(tmp_path: Path) -> None:
    tried = shlex.quote(str(tmp_path / "tried"))
    script = program(
        tmp_path / "twice", f"echo first > out; [ -e {tried} ] || {{ touch {tried}; exit 1; }}; echo second > out"
    )
    done = gdispy("--retries", "2", "--return", "out", script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"") and (tmp_path / "out").read_text() == "second\n"


# dispy_send_file


def test_program_sends_files_while_it_runs(tmp_path: Path) -> None:
    """The file is at the client when the command has returned: the job can read it there, since both are here."""
    home = shlex.quote(str(tmp_path))
    script = program(
        tmp_path / "send",
        f"""mkdir -p below; echo one > below/a; cp below/a b; echo "file c" > 'c d'
dispy_send_file b 'c d' && cat {home}/b {home}/'c d'
cd below; bash -c 'dispy_send_file a' && cat {home}/below/a
{shlex.quote(sys.executable)} -c 'import subprocess
assert subprocess.call(["dispy_send_file", "../b"]) == 0' || echo no""",
    )
    done = gdispy(script, cwd=tmp_path)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, "one\nfile c\none\n", b"")


def test_what_cannot_be_sent_is_said_and_fails(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("not to be replaced")
    script = program(
        tmp_path / "send",
        "echo 1 > mine; mkfifo pipe\nfor each in mine nothing pipe . ; do dispy_send_file $each; echo $?; done",
    )
    done = gdispy(script, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"1\n" * 4)
    complaints = done.stderr.decode().splitlines()
    assert len(complaints) == 4 and all(each.startswith("dispy_send_file: ") for each in complaints)
    assert "mine already exists at the client" in complaints[0] and "No such file" in complaints[1]
    assert "pipe: it is not a file" in complaints[2] and ".: it is not a file" in complaints[3]
    assert (tmp_path / "mine").read_text() == "not to be replaced"


def test_command_outside_of_a_job_says_so() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", COMMAND, "x"], capture_output=True, timeout=20)
    assert done.returncode == 1 and b"not a program that a job runs" in done.stderr
    done = subprocess.run([sys.executable, "-I", "-S", COMMAND], capture_output=True, timeout=20)
    assert done.returncode == 2 and b"usage: dispy_send_file FILE..." in done.stderr


def test_command_loads_nothing_slow() -> None:
    code = f"import sys; sys.argv[1:] = []; import runpy; runpy.run_path({COMMAND!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, timeout=20)
    assert not {"gevent", "dill", "msgpack", "gdispy"} & {*done.stdout.decode().split()} and done.stdout


def test_killed_command_does_not_stop_the_job(tmp_path: Path) -> None:
    """Killed while it is connected, and while its file is with the client."""
    script = program(
        tmp_path / "send",
        f"""head -c 50000000 /dev/zero > large; echo 1 > small
for delay in 0 .05 .1 .2; do dispy_send_file large & sleep $delay; kill -9 $!; wait $! 2>/dev/null; done
{shlex.quote(sys.executable)} -c 'import os, socket
end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
os.chdir(os.path.dirname(os.environ["{VARIABLE}"]))
end.connect(os.path.basename(os.environ["{VARIABLE}"]))
end.send(b"no file")
print(end.recv(100))'
dispy_send_file small && echo sent""",
    )
    done = gdispy(script, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"b''\nsent\n"), done.stderr
    assert (tmp_path / "small").read_text() == "1\n"


def test_job_ends_although_a_file_is_under_way(tmp_path: Path) -> None:
    """And the next job of the same worker sends its own."""
    script = program(
        tmp_path / "send",
        "head -c 50000000 /dev/zero > large$1; echo $1 > small$1\n"
        "if [ $1 -lt 3 ]; then dispy_send_file large$1 & sleep .1; else dispy_send_file small$1; fi",
    )
    done = gdispy("-j", "1", script, ":::", "1", "2", "3", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"small{number}").read_text() for number in (3, 4)] == ["3\n", "4\n"]


def test_other_processes_of_the_user_cannot_send_files_of_a_job(tmp_path: Path) -> None:
    script = program(tmp_path / "wait", f"echo $$ ${VARIABLE} > {shlex.quote(str(tmp_path))}/place; exec sleep 60")
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", str(script)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path)
    with ended(process):
        place = Path(eventually(lambda: (tmp_path / "place").exists() and (tmp_path / "place").read_text().split())[1])
        assert place.parent.stat().st_mode & 0o077 == 0
        (tmp_path / "foreign").write_text("not of the job")
        done = subprocess.run(
            [sys.executable, "-I", "-S", COMMAND, "foreign"],
            capture_output=True,
            timeout=20,
            cwd=tmp_path,
            env={**os.environ, VARIABLE: str(place)},
        )
        assert done.returncode == 1 and b"only processes of the job itself" in done.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_program_of_a_python_cluster_sends_files(
    node: Daemon, secret_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = program(tmp_path / "send", 'echo "$1" > "out$1"; dispy_send_file "out$1"')
    with JobCluster(str(script), nodes=[node.place], secret_file=secret_file) as cluster:
        jobs = [cluster.submit(number) for number in range(4)]
        assert [job() for job in jobs] == [0] * 4, jobs[0].stderr
    assert [Path(f"out{number}").read_text() for number in range(4)] == [f"{number}\n" for number in range(4)]


def test_socket_of_a_job_is_found_by_a_long_path(start_node: Start, secret_file: str, tmp_path: Path) -> None:
    """Longer than the address of a socket may be."""
    deep = tmp_path / ("long" * 40)
    daemon = start_node("--dest_path_prefix", str(deep))
    script = program(tmp_path / "send", "echo 1 > out; dispy_send_file out")
    words = ["-n", str(Address(*daemon.place)), "--secret-file", secret_file, script]
    done = run_script("gdispy", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"") and (tmp_path / "out").read_text() == "1\n"
    assert len(str(deep)) > 108
