"""The commands where what they print has nowhere to go, and where a word is not what was meant."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdispy import JobCluster
from gdispy.config import VERSION
from tests.support.daemons import SCRIPTS, ended, run_python, run_script

SUBCOMMANDS = ["help", "nodes", "status", "start-nodes", "stop-nodes", "relay", "certificate", "journal"]
COMMANDS = {
    "jobs": "gdispy --local -a '1 100000' -a '1 9' seq",
    "help": "gdispy --help",
    "version": "gdispy --version",
    "nodes": "gdispy nodes --only 127.0.0.1:9",
    "nodes --help": "gdispy nodes --help",
    "stop-nodes": "gdispy stop-nodes",
    "relay": "gdispy relay -p 0",
    "node": "gdispy-node --daemon -p 0",
    "node --help": "gdispy-node --help",
    "scheduler": "gdispy-scheduler --daemon -p 0 --no_journal",
}


def shell(command: str, rest: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with its output as `rest` says; the status is that of the command."""
    name, _, words = command.partition(" ")
    line = f"{shlex.quote(sys.executable)} {shlex.quote(str(SCRIPTS / name))} {words}"
    env = {**os.environ, "HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd)}
    whole = ["bash", "-c", f"set -o pipefail; {line} {rest}"]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60, cwd=cwd, env=env)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
@pytest.mark.parametrize(
    ("rest", "told"),
    [("> /dev/full", "standard output cannot be written: No space left"), (">&-", "standard output is closed")],
    ids=["full", "closed"],
)
def test_output_that_cannot_be_written_is_one_line_and_a_failure(
    command: str, rest: str, told: str, tmp_path: Path
) -> None:
    done = shell(command, rest, tmp_path)
    lines = [line for line in done.stderr.splitlines() if "INFO" not in line and "WARNING" not in line]
    assert done.returncode == 1
    assert len(lines) == 1 and lines[0].startswith("gdispy") and told in lines[0]
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_reader_that_leaves_is_one_line_and_a_failure(tmp_path: Path) -> None:
    done = shell(COMMANDS["jobs"], "| head -1", tmp_path)
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert done.stderr == "gdispy: standard output was closed before all output was written\n"


@pytest.mark.parametrize("rest", ["<&-", "2>&-", "<&- 2>&-"])
def test_other_closed_streams_do_no_harm(rest: str, tmp_path: Path) -> None:
    done = shell("gdispy --local -a 1 -a 2 echo", rest, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n2\n", "")


def test_output_of_jobs_on_a_full_standard_error_is_a_failure(tmp_path: Path) -> None:
    done = shell("gdispy --local -a 'echo out; echo err >&2' -- sh", "2> /dev/full", tmp_path)
    assert done.returncode == 1
    done = shell("""gdispy --local -a '-c "echo out; echo err >&2"' sh""", "2> /dev/full", tmp_path)
    assert (done.returncode, done.stdout) == (1, "out\n")


@pytest.mark.parametrize(
    ("word", "other"),
    [("node", "'gdispy nodes' or 'gdispy-node'"), ("nodess", "'gdispy nodes'")],
)
def test_near_miss_is_asked_back(word: str, other: str) -> None:
    done = run_script("gdispy", word)
    assert done.returncode == 2
    text = done.stderr.decode()
    assert f"unknown command '{word}'; did you mean {other}" in text and f"gdispy -- {word}" in text
    assert len(text.splitlines()) == 1


@pytest.fixture
def program_called_help(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "help"
    path.write_text("#!/bin/sh\necho helped $*\n")
    path.chmod(0o755)
    yield path


@pytest.mark.parametrize(
    "words", [["--", "help"], ["./help"], ["--local", "help"]], ids=["after dashes", "path", "after an option"]
)
def test_program_that_is_called_as_a_command_runs_all_the_same(program_called_help: Path, words: list[str]) -> None:
    words = words if "--local" in words else ["--local", *words]
    done = run_script("gdispy", *words, cwd=program_called_help.parent)
    assert (done.returncode, done.stdout) == (0, b"helped\n"), done.stderr


@pytest.mark.parametrize("text", ["-n hello", "--local hello", "-d", "--"])
def test_word_after_a_reaches_the_program(text: str) -> None:
    done = run_script("gdispy", "--local", "-a", f"-c 'printf %s: $0 $*' {text}", "sh")
    assert (done.returncode, done.stdout.decode()) == (0, f"{text.replace(' ', ':')}:"), done.stderr


def test_help_lists_the_subcommands() -> None:
    text = run_script("gdispy", "--help").stdout.decode()
    for name in SUBCOMMANDS:
        assert [line for line in text.splitlines() if line.startswith(f"  gdispy {name} ")]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_has_help_and_version(name: str) -> None:
    assert run_script("gdispy", name, "--version").stdout.decode() == f"gdispy {name} {VERSION}\n"
    text = run_script("gdispy", name, "--help").stdout.decode()
    assert "-d, --debug" in text and "--version" in text


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gdispy", "--local", "-a", "one", "echo"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\n", "")
    done = subprocess.run([sys.executable, "-m", "gdispy", "nodes", "--version"], capture_output=True, text=True)
    assert done.stdout == f"gdispy nodes {VERSION}\n"


def test_long_options_are_written_either_way(tmp_path: Path) -> None:
    for option in ("--dest-path", "--dest_path"):
        done = run_script("gdispy", "--local", option, "here", "-a", "x", "echo", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b"x\n"), done.stderr


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("gdispy.dispynode", "gdispy-node"),
        ("gdispy.dispyscheduler", "gdispy-scheduler"),
        ("gdispy.dispynetrelay", "gdispy relay"),
    ],
)
def test_modules_have_the_names_of_dispy_for_programs_that_start_them(module: str, name: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} {VERSION}\n", "")


def test_node_that_is_started_by_its_name_in_dispy_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gdispy.dispynode", "--daemon", "-p", "0", "--insecure", "-i", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--dest_path_prefix", str(tmp_path / "prefix")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with ended(process):
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("ready 127.0.0.1:")
        with JobCluster(is_the_same_logger, nodes=[line.split()[1]], insecure=True) as made:
            assert made.submit().result_or_raise(30)


def is_the_same_logger() -> bool:
    """Whether the logger that a job imports is the one that it finds."""
    from gdispy.dispynode import dispynode_logger as imported

    return imported is dispynode_logger


def test_what_jobs_import_from_it_brings_no_gevent() -> None:
    code = (
        "import sys; from gdispy.dispynode import dispynode_logger as found; print(found.name, 'gevent' in sys.modules)"
    )
    assert run_python(code).stdout == b"dispynode False\n"


def test_output_that_does_not_block_is_waited_for(tmp_path: Path) -> None:
    """As where a terminal is shared with a program that has made it so."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    command = [sys.executable, str(SCRIPTS / "gdispy"), "--local", "-a", "1 100000", "seq"]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    with ended(process), open(ours, "rb") as output:
        assert output.read().splitlines() == [b"%d" % number for number in range(1, 100_001)]
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, b"")


def test_journal_that_is_a_directory_is_named(tmp_path: Path) -> None:
    done = run_script("gdispy", "journal", tmp_path)
    told = f"gdispy journal: {tmp_path} is a directory; name a recovery file or journal\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", told)
    (tmp_path / "journal").touch()
    done = run_script("gdispy", "journal", tmp_path)
    assert done.stderr.decode() == f"gdispy journal: {tmp_path} is a directory: did you mean {tmp_path}/journal?\n"


def test_node_at_an_address_of_another_machine_says_so(secret_file: str) -> None:
    done = run_script("gdispy-node", "--daemon", "-p", "0", "-i", "192.0.2.1", "--secret-file", secret_file)
    assert done.returncode == 2
    text = done.stderr.decode()
    assert "192.0.2.1" in text and "this machine does not have that address" in text and "another node" not in text


def test_hosts_are_named_by_n_as_for_gdispy_itself(tmp_path: Path) -> None:
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = run_script("gdispy", "nodes", "--only", "-n", "127.0.0.1:9", "-n", "127.0.0.1:19", env=env)
    assert done.returncode == 1
    assert b"127.0.0.1:9 " in done.stdout and b"127.0.0.1:19 " in done.stdout, done.stderr
    done = run_script("gdispy", "status", "-n", "127.0.0.1:9", env=env)
    assert done.returncode == 1 and b"127.0.0.1:9" in done.stderr
    done = run_script("gdispy", "status", "-n", "127.0.0.1:9", "127.0.0.1:9", env=env)
    assert (done.returncode, done.stderr) == (2, b"gdispy status: name one scheduler: HOST, or -n HOST\n")
    done = run_script("gdispy", "start-nodes", "-n", "a,a", env=env)
    assert (done.returncode, done.stderr) == (2, b"gdispy start-nodes: --ssh names a more than once\n")
