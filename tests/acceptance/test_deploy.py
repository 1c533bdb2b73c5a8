"""The files in `deploy/`: their names and options are real, and what can be run here is run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gdispy import JobCluster
from gdispy.cli.node_options import node_parser
from gdispy.cli.options import adjustable, parse
from gdispy.cli.scheduler import scheduler_parser
from gdispy.config import CLIENT_PORT, NODE_PORT
from gdispy.worker.process_tree import children, end_marked
from tests.support.daemons import SCRIPTS, Daemon, lacking
from tests.support.jobs import orphan
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "gdispy-node.service"
SCHEDULER_UNIT = DEPLOY / "gdispy-scheduler.service"


def commands(text: str) -> list[list[str]]:
    """The command lines of gdispy-node in a file, without their variables."""
    text = re.sub(r"(?m)^\s*#(?! docker).*$", "", text)
    found = re.findall(r"gdispy-node (--?\w[^\n&;]*)", text)
    return [shlex.split(re.sub(r'"?\$(\{[^}]*\}|\w+)"?', "1", each)) for each in found]


def check_variables(names: set[str]) -> None:
    known = {f"GDISPY_{action.dest.upper()}" for action in adjustable(node_parser())}
    assert names and names <= known


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_options_of_nodes_are_real(path: Path) -> None:
    for words in commands(path.read_text()):
        parse(node_parser(), words)
    if path == SCHEDULER_UNIT:
        (command,) = re.findall(r"gdispy-scheduler (--daemon.*)", path.read_text())
        parse(scheduler_parser(), shlex.split(command))
    elif path.suffix in (".service", ".sbatch", ".sh"):
        assert commands(path.read_text())


@pytest.mark.parametrize("name", ["slurm.sbatch", "ec2-user-data.sh"])
def test_scripts_are_shell(name: str) -> None:
    subprocess.run(["bash", "-n", str(DEPLOY / name)], check=True)


def test_the_page_shows_every_file() -> None:
    page = (ROOT / "docs" / "cloud.md").read_text()
    shown = set(re.findall(r"literalinclude\} \.\./deploy/(\S+)", page))
    metrics = (ROOT / "docs" / "guide" / "metrics.md").read_text()
    shown |= set(re.findall(r"`((?:prometheus|grafana)\S*\.(?:yml|json))`", metrics))
    assert shown == {path.name for path in DEPLOY.iterdir()}
    assert str(NODE_PORT) in page and str(CLIENT_PORT) in page


# systemd


def _sections(text: str) -> str:
    return text[text.index("[Unit]") :]


def test_the_unit_of_the_user_data_is_the_one_of_the_package() -> None:
    script = (DEPLOY / "ec2-user-data.sh").read_text()
    assert script.partition("<<'UNIT'\n")[2].partition("UNIT\n")[0] == _sections(UNIT.read_text())
    check_variables(set(re.findall(r"GDISPY_\w+", script)))
    # The jobs of a node that drains must not get the signal.
    assert "KillMode=mixed" in UNIT.read_text()


@pytest.mark.parametrize("source", [UNIT, SCHEDULER_UNIT], ids=lambda path: path.stem)
def test_systemd_has_nothing_to_say_of_the_unit(source: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")  # It comes with systemd, which containers lack.
    unit = tmp_path / source.name
    unit.write_text(source.read_text().replace("/opt/gdispy/bin", str(SCRIPTS)))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    told = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert told == [] and "gdispy" not in done.stderr


# Containers


def test_the_image_has_what_it_needs() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    instructions = dict(line.split(" ", 1) for line in lines)
    assert list(instructions) == ["FROM", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT"]
    program, *words = yaml.safe_load(instructions["ENTRYPOINT"])
    assert (SCRIPTS / program).exists()
    parse(node_parser(), words)
    assert instructions["EXPOSE"] == f"{NODE_PORT}/tcp {NODE_PORT}/udp"
    (extra,) = re.findall(r"\[(\w+)\]", instructions["RUN"])
    assert re.search(rf"(?m)^{extra} = ", (ROOT / "pyproject.toml").read_text())
    assert f"useradd --create-home {instructions['USER']}" in instructions["RUN"]


def test_a_node_is_a_good_first_process_of_a_container(tmp_path: Path, secret_file: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a space of processes")
    words = ["-i", "127.0.0.1", "-p", "0", "--cpus", "1", "--secret-file", secret_file]
    words += ["--dest_path_prefix", str(tmp_path / "prefix")]
    command = [sys.executable, str(SCRIPTS / "gdispy-node"), "--daemon", *words]
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    node = subprocess.Popen([*unshare, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None
        place = node.stdout.readline().split()[1]
        with JobCluster(orphan, nodes=[place], secret_file=secret_file) as made:
            assert [made.submit().result_or_raise(20) for _ in range(3)] == [1, 1, 1]
        (first,) = children(node.pid)
        os.kill(first, signal.SIGTERM)  # As `docker stop` does.
        assert node.wait(10) == 0
    finally:
        if node.poll() is None:
            node.kill()
        node.communicate(timeout=10)


def test_the_manifest_fits_together() -> None:
    service, nodes = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    assert (service["kind"], nodes["kind"]) == ("Service", "StatefulSet")
    pod = nodes["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert service["spec"]["selector"] == nodes["spec"]["selector"]["matchLabels"] == labels
    assert nodes["spec"]["serviceName"] == service["metadata"]["name"]
    (container,) = pod["spec"]["containers"]
    ports = [each["port"] for each in service["spec"]["ports"]]
    assert ports == [each["containerPort"] for each in container["ports"]] == [NODE_PORT]
    check_variables({each["name"] for each in container["env"]})
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "gdispy", "key": "secret"}
    assert "create secret generic gdispy --from-literal=secret=" in (DEPLOY / "kubernetes.yaml").read_text()


# An address that the machine does not have


def test_a_node_announces_an_address_that_its_machine_does_not_have(
    start_node: Callable[..., Daemon], secret_file: str
) -> None:
    daemon = start_node("--cpus", "1", "--ext_ip_addr", "203.0.113.7")
    with JobCluster(lambda: dispy_node_ip_addr, nodes=[daemon.place], secret_file=secret_file) as made:
        assert made.submit().result_or_raise(20) == "203.0.113.7"


# Slurm

_SLURM = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Slurm of one machine; the environment in which its commands find it."""
    if os.geteuid() != 0:
        pytest.skip("a Slurm of one's own needs root")
    if shutil.which("slurmctld") is None or shutil.which("slurmd") is None:
        lacking("slurm-wlm is not installed; .ci/run installs it")
    for name in ("state", "spool"):
        (tmp_path / name).mkdir()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
    path = tmp_path / "slurm.conf"
    path.write_text(_SLURM.format(user="root", ports=ports, directory=tmp_path, cpus=os.cpu_count()))
    environment = {**os.environ, "SLURM_CONF": str(path), "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    with open(tmp_path / "slurm.log", "wb") as log:
        options: dict[str, Any] = {"stdout": log, "stderr": log, "env": environment}
        daemons = [
            subprocess.Popen(["slurmctld", "-D", "-f", str(path)], **options),
            subprocess.Popen(["slurmd", "-D", "-N", "localhost", "-f", str(path)], **options),
        ]
    try:
        words = ["sinfo", "-h", "-o", "%T"]
        eventually(
            lambda: subprocess.run(words, env=environment, capture_output=True).stdout.strip() == b"idle",
            30,
            "Slurm is not ready",
        )
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)
        # What runs in a job outlives the daemons, where the test fails.
        end_marked("SLURM_CONF", str(path))


PROGRAM = """
import os, sys
import gdispy

def compute(n):
    import os
    return n * n, os.environ["SLURM_JOB_ID"]

with gdispy.JobCluster(compute, nodes=os.environ["GDISPY_NODES"].split()) as cluster:
    print(*(cluster.submit(n).result_or_raise(30) for n in range(4)), cluster.status().nodes[0].cpus)
sys.exit(7)
"""


def test_a_program_runs_with_nodes_in_a_job_of_slurm(slurm: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ["sbatch", "--wait", "--cpus-per-task=2" if (os.cpu_count() or 1) > 1 else "--cpus-per-task=1"]
    words += ["-D", str(tmp_path), "-o", "out", str(DEPLOY / "slurm.sbatch"), sys.executable, "program.py"]
    done = subprocess.run(words, env=slurm, capture_output=True, text=True, timeout=100)
    out = (tmp_path / "out").read_text()
    # The exit code is the program's.
    assert done.returncode == 7, done.stderr + out
    assert f"(0, '1') (1, '1') (4, '1') (9, '1') {words[2][-1]}" in out
    assert "Killed" not in out, "the nodes were not ended in order"
