"""What a daemon shows of its secret, to whom, and which limits its jobs have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gdispy import JobCluster, generate_secret
from tests.support.daemons import Daemon, lacking, run_python

SECRET = generate_secret()
#: An ordinary user, who may read all files, since the interpreter may lie in root's home.
AS_USER = ["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"]
AS_USER += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]

Start = Callable[..., Daemon]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts daemons with one more variable, or within another command; ends them after the test."""
    started: list[Daemon] = []
    monkeypatch.delenv("GDISPY_SECRET", raising=False)
    monkeypatch.delenv("GDISPY_SECRET_FILE", raising=False)

    def begin(*words: str, script: str = "gdispy-node", within: Any = (), **variables: str) -> Daemon:
        started.append(Daemon(tmp_path, *words, "-i", "127.0.0.1", env=variables, script=script, within=within))
        return started[-1]

    yield begin
    for daemon in started:
        daemon.stop()


def shown(pid: int) -> bytes:
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))


def options_of(script: str, directory: Path) -> list[str]:
    if script == "gdispy-node":
        return ["--cpus", "1", "--dest_path_prefix", str(directory / "prefix")]
    return ["relay", "-p", "0"] if script == "gdispy" else ["--no_journal", "-n", "127.0.0.9"]


@pytest.mark.parametrize("script", ["gdispy-node", "gdispy-scheduler", "gdispy"])
@pytest.mark.parametrize("way", ["variable", "--secret WORD", "--secret=WORD", "-sWORD", "-s WORD"])
def test_no_secret_is_shown_by_the_system(start: Start, tmp_path: Path, script: str, way: str) -> None:
    words = [] if way == "variable" else way.replace("WORD", SECRET).split()
    variables = {"GDISPY_SECRET": SECRET} if way == "variable" else {}
    daemon = start(*options_of(script, tmp_path), *words, script=script, GDISPY_MARK="it is there", **variables)
    for pid in (daemon.pid, *daemon.below()):
        assert SECRET.encode() not in shown(pid)
    assert b"GDISPY_MARK=it is there" in shown(daemon.pid) and script.encode() in shown(daemon.pid)


def test_secrets_of_a_scheduler_for_each_side_are_not_shown(start: Start) -> None:
    other = generate_secret()
    words = ["--no_journal", "-n", "127.0.0.9", "--node_secret", other]
    daemon = start(*words, script="gdispy-scheduler", GDISPY_CLUSTER_SECRET=SECRET)
    assert SECRET.encode() not in shown(daemon.pid) and other.encode() not in shown(daemon.pid)


def look_around(node: int) -> dict[str, Any]:
    import ctypes
    import resource

    found: dict[str, Any] = {"environment": repr(dict(os.environ))}
    for name in ("environ", "cmdline", "mem"):
        try:
            with open(f"/proc/{node}/{name}", "rb") as file:
                found[name] = repr(file.read()) if name != "mem" else "readable"
        except OSError as error:
            found[name] = type(error).__name__
    found["files"], found["core"] = (
        resource.getrlimit(each) for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)
    )
    found["dumpable"] = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    return found


@pytest.mark.parametrize("as_root", [True, False])
def test_job_sees_no_secret_and_has_the_limits_from_before(start: Start, tmp_path: Path, as_root: bool) -> None:
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    within = ["prlimit", "--nofile=700:4000", "--core=5000:6000"]
    if not as_root:
        if os.geteuid() != 0:
            lacking("only root can start a node as another user")
        os.chown(own, 4711, 4711)
        within = [*AS_USER, *within]
    daemon = start(
        *("--cpus", "1", "--dest_path_prefix", str(own / "prefix")),
        within=within,
        GDISPY_SECRET=SECRET,
        GDISPY_CLUSTER_SECRET=SECRET,
        HOME=str(own),
    )
    with JobCluster(look_around, nodes=[daemon.place], secret=SECRET) as made:
        found = made.submit(daemon.pid).result_or_raise(30)
    assert SECRET not in repr(found)
    assert (found["files"], found["core"], found["dumpable"]) == ((700, 4000), (0, 6000), 1)
    if not as_root:
        assert (found["environ"], found["mem"]) == ("PermissionError", "PermissionError")
    # The daemon itself may open more files, and leaves no core.
    limits = Path(f"/proc/{daemon.pid}/limits").read_text().splitlines()
    assert [line.split()[3:5] for line in limits if line.startswith("Max open files")] == [["4000", "4000"]]
    assert [line.split()[4:6] for line in limits if line.startswith("Max core file")] == [["0", "6000"]]


_FALLBACK = """
import logging, os, sys
from gdispy.runtime import process_hardening as module
logging.basicConfig(stream=sys.stdout, format="%(message)s")
def fail(*args):
    raise OSError("not here")
module._write = fail
module.harden([sys.argv[2]])
print(open("/proc/self/environ", "rb").read().count(sys.argv[2].encode()), os.environ.get("GDISPY_SECRET"))
"""


def test_variable_is_overwritten_also_where_memory_is_no_file_and_an_argument_is_told() -> None:
    environment = {**os.environ, "GDISPY_SECRET": SECRET}
    done = run_python(_FALLBACK, "--secret", SECRET, env=environment)
    assert done.stdout.decode().splitlines() == [
        "the secret is visible in the process list of this machine: use a file for the secret",
        "0 None",
    ], done.stderr


def test_variable_that_cannot_be_overwritten_is_told() -> None:
    code = _FALLBACK.replace("module._write = fail", "module._write = module._overwrite_by_pointer = fail2").replace(
        "def fail", "fail2 = lambda *args: None\ndef fail"
    )
    done = run_python(code, "-", SECRET, env={**os.environ, "GDISPY_SECRET": SECRET})
    assert "GDISPY_SECRET is visible in /proc to processes of this user: use a file" in done.stdout.decode(), (
        done.stderr
    )
