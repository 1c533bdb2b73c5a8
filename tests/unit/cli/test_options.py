"""Options of `gdispy-node`: command line, variables and files, and which of them goes first."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pytest

from gdispy.cli.node import count_cpus, node_main, node_settings, settle
from gdispy.cli.node_options import node_parser
from gdispy.cli.nodes import nodes_parser
from gdispy.cli.options import ResolvedOptions, parse
from gdispy.cli.options_file import read_options, save_options
from gdispy.cli.relay import relay_parser
from gdispy.cli.run_options import parser as run_parser
from gdispy.cli.scheduler import scheduler_parser
from gdispy.config import NODE_PORT, PROCESS_LIMIT
from gdispy.errors import ConfigError
from gdispy.execution.node_settings import NodeSettings
from gdispy.worker.limits import Limits


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDISPY_IP_ADDR")


def settled(*words: str) -> ResolvedOptions:
    parser = node_parser()
    return settle(parser, parse(parser, words))


def settings(*words: str) -> NodeSettings:
    return node_settings(settled("--insecure", *words))


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Writes an options file and returns its path."""

    def write(*lines: str, mode: int = 0o600, section: str = "gdispy-node") -> str:
        path = tmp_path / "node.ini"
        path.write_text("\n".join([f"[{section}]", *lines]))
        path.chmod(mode)
        return str(path)

    return write


# The command line


def test_defaults_are_those_of_the_help() -> None:
    found = settings()
    assert (found.cpus, found.node_port, found.serve) == (count_cpus(None), NODE_PORT, -1)
    assert (found.lease, found.ping_interval, found.hours, found.init) == (3600.0, 0.0, None, "")
    assert (found.max_file_size, found.disk_floor) == (0, None)
    assert found.limits == Limits(processes=PROCESS_LIMIT)
    assert not found.force_cleanup and not found.client_shutdown


@pytest.mark.parametrize(
    "words",
    [
        ["--service_start", "09:00", "--service_stop", "17:00"],
        ["--service-start", "09:00", "--service-stop", "17:00"],
        ["--service-start=09:00", "--service_stop=17:00"],
    ],
)
def test_long_options_may_be_written_with_either_sign(words: list[str]) -> None:
    hours = settings(*words).hours
    assert hours is not None and (hours.start, hours.stop) == (540, 1020)


def test_value_of_an_option_keeps_its_signs() -> None:
    assert settings("--name", "a-b_c").name == "a-b_c"
    assert settings("--name=--ping-interval").name == "--ping-interval"


@pytest.mark.parametrize("option", ["-i", "--ip_addr", "--ip-addr", "--host"])
def test_address_has_the_names_of_all_versions(option: str) -> None:
    assert settings(option, "127.0.0.1").ip_addrs == ("127.0.0.1",)
    assert settings(option, "127.0.0.1", option, "10.0.0.1").ip_addrs == ("127.0.0.1", "10.0.0.1")


@pytest.mark.parametrize(("words", "port"), [(["-p", "0"], 0), (["--dispy_port", "9700"], 9701)])
def test_port_or_base_port(words: list[str], port: int) -> None:
    assert settings(*words).node_port == port
    assert settings("--dispy_port", "0").node_port == 0


def test_minutes_become_seconds_and_numbers_are_taken() -> None:
    found = settings("--zombie_interval", "2.5", "--ping_interval", "10", "--serve", "3", "--msg_timeout", "5")
    assert (found.lease, found.ping_interval, found.serve) == (150.0, 10.0, 3)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--zombie_interval", "0.5"], "--zombie_interval: it must be between 1"),
        (["--zombie_interval", "nan"], "--zombie_interval"),
        (["--zombie_interval", "inf"], "--zombie_interval"),
        (["--ping_interval", "9"], "--ping_interval: it must be between 10"),
        (["--serve", "-2"], "--serve"),
        (["--msg_timeout", "-1"], "--msg_timeout"),
        (["--job_processes", "-1"], "--job_processes"),
        (["--cpus", "1000000"], "--cpus"),
        (["-p", "70000"], "node_port"),
        (["--dispy_port", "65535"], "node_port"),
        (["-p", "1", "--dispy_port", "1"], "contradict"),
        (["--max_file_size", "many"], "--max_file_size: 'many'"),
        (["--service_start", "25:00", "--service_stop", "09:00"], "--service_start: write a time"),
        (["--service_start", "09:00"], "needs --service_stop"),
        (["--connect", "a b"], "--connect: 'a b': a host name must not contain ' '"),
        (["--connect", ":5"], "--connect: ':5': it does not name a host"),
        (["--connect", "*"], "--connect: "),
        (["--scheduler_node", "a:http"], "--connect: 'a:http': 'http' is not a port"),
        (["--scheduler_node", "a", "--scheduler_port", "70000"], "--scheduler_port"),
        (["--ext_ip_addr", "224.0.0.1"], "--ext_ip_addr: '224.0.0.1' is not an address"),
        (["--init", "/no/such/file"], "--init: there is no file"),
        (["--config", "/no/such/file"], "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_its_option(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settings(*words)


# Variables and files


def test_command_line_goes_before_variable_and_variable_before_file(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file("name = of-file", "node-port = 1", "serve = 7", "host = 10.0.0.1", "force_cleanup = yes")
    monkeypatch.setenv("GDISPY_NAME", "of-variable")
    monkeypatch.setenv("GDISPY_NODE_PORT", "2")
    found = settings("--config", path, "-p", "3")
    assert (found.node_port, found.name, found.serve) == (3, "of-variable", 7)
    assert found.ip_addrs == ("10.0.0.1",) and found.force_cleanup


def test_zero_on_the_command_line_is_a_value(file: Any) -> None:
    assert settings("--config", file("node_port = 5"), "-p", "0").node_port == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("colour = red", "unknown option 'colour'"),
        ("config = other.ini", "unknown option 'config'"),
        ("node_port = high", "node_port in .*node.ini must be a whole number"),
        ("ping_interval = often", "ping_interval in .*node.ini must be a number"),
        ("clean = perhaps", "clean in .*node.ini must be yes or no"),
        ("max_file_size = many", "max_file_size in .*node.ini: 'many'"),
        ("service_stop = noon", "service_stop in .*node.ini: write a time"),
        ("zombie_interval = 0.5", "zombie_interval in .*node.ini: it must be"),
        ("just words", "node.ini is not an options file"),
        ("host = a\nip_addr = b", "repeats the option"),
        ("name = a\nname = b", "is not an options file"),
    ],
)
def test_file_is_refused_by_its_name_and_the_option(file: Any, line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settings("--config", file(line))


def test_variable_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_CPUS", "all")
    with pytest.raises(ConfigError, match="GDISPY_CPUS must be a whole number, not 'all'"):
        settings()


def test_values_are_not_evaluated(file: Any) -> None:
    assert settings("--config", file("name = %(home)s $HOME {1+1}")).name == "%(home)s $HOME {1+1}"


def test_file_without_the_section_is_refused(file: Any) -> None:
    with pytest.raises(ConfigError, match=r"no section \[gdispy-node\]"):
        settings("--config", file(section="other"))


# Secrets


def test_file_with_a_secret_must_be_private(file: Any) -> None:
    line = "secret = correct horse battery"
    for mode in (0o644, 0o640, 0o604):
        with pytest.raises(ConfigError, match="other users can read it"):
            settled("--config", file(line, mode=mode))
    assert settled("--config", file(line)).secret == "correct horse battery"
    assert settled("--config", file("name = public", mode=0o644)).name == "public"


def test_secret_of_the_file_counts_only_where_no_other_is_given(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file("secret = of the file")
    assert settled("--config", path).secret == "of the file"
    assert settled("--config", path, "--secret-file", "x").secret == ""
    assert settled("--config", path, "--insecure").secret == ""
    monkeypatch.setenv("GDISPY_SECRET", "of the variable")
    assert settled("--config", path).secret == ""


# Saving


def saved(path: Path, *words: str) -> dict[str, str]:
    parser = node_parser()
    save_options(str(path), "gdispy-node", parser, settled(*words))
    return read_options(str(path), "gdispy-node", parser)


def test_what_is_saved_means_the_same_when_it_is_read(tmp_path: Path) -> None:
    words = ["--name", "50% of %(it)s", "-p", "0", "--zombie_interval", "2.5", "--force_cleanup", "-c", "-1"]
    words += ["--connect", "a", "--connect", "[::1]:5", "--ext_ip_addr", "192.0.2.1:40001"]
    before = settings(*words)
    parser = node_parser()
    save_options(str(tmp_path / "node.ini"), "gdispy-node", parser, settled("--insecure", *words))
    options = settled("--config", str(tmp_path / "node.ini"))
    assert node_settings(options) == before


def test_secrets_are_never_saved(tmp_path: Path) -> None:
    path = tmp_path / "node.ini"
    path.write_text("[gdispy-node]\nsecret = an older one\n")
    assert saved(path, "--secret", "hush-hush", "--clean", "--name", "n") == {"name": "n"}
    assert "hush" not in path.read_text() and "older" not in path.read_text()
    assert saved(path, "--secret-file", "-") == {}
    assert path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [path]


def test_saved_paths_do_not_depend_on_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert saved(tmp_path / "node.ini", "--secret-file", "key") == {"secret_file": str(tmp_path / "key")}


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none/node.ini cannot be written"):
        saved(tmp_path / "none" / "node.ini")


def test_node_that_cannot_run_here_says_where_it_can(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr("gdispy.cli.node.set_up_logging", lambda *_: None)
    assert node_main(["--cpus", "1"]) == 2
    assert "nodes run only on Linux, and this is Darwin" in capsys.readouterr().err


def test_several_addresses_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_IP_ADDR", "127.0.0.1, 10.0.0.1")
    assert settings().ip_addrs == ("127.0.0.1", "10.0.0.1")


def test_zero_is_what_dispy_takes_it_for() -> None:
    found = settings("--zombie_interval", "0", "--ping_interval", "0", "--cpus", "0")
    assert found.lease > 100 * 365 * 86_400 and found.ping_interval == 0.0
    assert found.cpus == settings().cpus == len(os.sched_getaffinity(0))


def test_option_of_one_value_is_not_replaced_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    for made in (relay_parser(), nodes_parser(), run_parser()):
        with pytest.raises(SystemExit):
            made.parse_args(["-i", "127.0.0.1", "-i", "10.0.0.1", "x"])
        assert "-i can be given only once" in capsys.readouterr().err
    for made in (node_parser(), scheduler_parser()):
        with pytest.raises(SystemExit):
            made.parse_args(["--ext_ip_addr", "192.0.2.1", "--ext_host", "192.0.2.2"])
        assert "--ext_host can be given only once" in capsys.readouterr().err


# Files that dispynode has saved

DISPYNODE = """[DEFAULT]
cpus = 1
loglevel = True
ip_addrs = ['127.0.0.1', '10.0.0.5']
ext_ip_addrs = []
node_port = 51400
ipv4_udp_multicast = False
name = lab 3
dest_path_prefix =
scheduler_node = 192.0.2.1
scheduler_port = 51347
max_file_size = 20m
zombie_interval = 60.0
ping_interval = 0
service_start =
service_stop =
service_end =
serve = -1
client_shutdown = True
force_cleanup = False
msg_timeout = 5.0
secret =
certfile =
keyfile =
clean = False
safe_setup = True
daemon = False
"""


@pytest.fixture
def dispys_file(tmp_path: Path) -> Any:
    def write(text: str, mode: int = 0o644) -> str:
        path = tmp_path / "dispynode.ini"
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return write


def test_file_that_dispynode_has_saved_is_read(dispys_file: Any) -> None:
    found = settings("--config", dispys_file(DISPYNODE))
    assert (found.cpus, found.name, found.node_port) == (1, "lab 3", 51400)
    assert found.ip_addrs == ("127.0.0.1", "10.0.0.5") and found.ext_ip_addr == ""
    assert (found.connect, found.max_file_size) == ((("192.0.2.1", 51347),), 20 << 20)
    assert (found.lease, found.ping_interval, found.msg_timeout, found.serve) == (3600.0, 0.0, 5.0, -1)
    assert (found.client_shutdown, found.force_cleanup, found.multicast) == (True, False, False)
    assert settled("--config", dispys_file(DISPYNODE)).debug


def test_file_of_the_fourth_version_is_read(dispys_file: Any) -> None:
    lines = ["[DEFAULT]", "cpus = 0", "hosts = ['127.0.0.1']", "ext_hosts = ['192.0.2.1', '192.0.2.2']", "name = None"]
    found = settings(
        "--config", dispys_file("\n".join([*lines, "dispy_port = 9700", "admin_secret =", "save_config ="]))
    )
    assert (found.ip_addrs, found.ext_ip_addr, found.node_port) == (("127.0.0.1",), "192.0.2.1", NODE_PORT)
    assert settings("--config", dispys_file("[DEFAULT]\ndispy_port = 9800")).node_port == 9801


def test_command_line_goes_before_what_dispynode_has_saved(dispys_file: Any) -> None:
    assert settings("--config", dispys_file(DISPYNODE), "--name", "other", "-i", "10.0.0.6").ip_addrs == ("10.0.0.6",)


def test_nothing_that_dispynode_has_saved_is_evaluated(dispys_file: Any, tmp_path: Path) -> None:
    goal = tmp_path / "evaluated"
    with pytest.raises(ConfigError):
        settings("--config", dispys_file(f"[DEFAULT]\ncpus = __import__('os').mkdir({str(goal)!r})\n"))
    assert settings("--config", dispys_file(f"[DEFAULT]\nname = [open({str(goal)!r}, 'w')]\n")).name
    assert not goal.exists()


def test_secret_that_others_can_read_is_refused_from_such_a_file_too(dispys_file: Any) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        settled("--config", dispys_file("[DEFAULT]\nsecret = long enough to be one\n"))
    assert settled("--config", dispys_file("[DEFAULT]\nsecret = long enough to be one\n", 0o600)).secret


def test_unknown_name_in_such_a_file_is_refused(dispys_file: Any) -> None:
    with pytest.raises(ConfigError, match="unknown option 'cpu'"):
        settings("--config", dispys_file("[DEFAULT]\ncpu = 1\n"))


@pytest.mark.parametrize(("name", "is_called"), [("caf\udce9", r"caf\udce9"), ("x" * 1000, "x" * 252 + "...")])
def test_odd_name_of_a_node_becomes_one_that_can_travel(name: str, is_called: str) -> None:
    assert settings("--name", name).name == is_called


@pytest.mark.parametrize(
    "text", ["secret = gdk1_abc", "[gdispy-node]\ngdk1_abc", "[gdispy-node]\ncpus = 1\nsecret gdk1_abc"]
)
def test_line_of_a_file_that_makes_no_sense_is_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.ini"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"is not an options file: line [123] is neither \[section\]") as caught:
        read_options(str(path), "gdispy-node", node_parser())
    assert "gdk1" not in str(caught.value)
