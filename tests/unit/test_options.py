"""Options of `gdispy-node`: command line, variables and files, and which of them goes first."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest

from gdispy.config import NODE_PORT, PROCESS_LIMIT
from gdispy.errors import ConfigError
from gdispy.node_options import node_parser
from gdispy.node_settings import NodeSettings
from gdispy.optionfile import read_options, save_options
from gdispy.options import Settled, parse
from gdispy.serve import count_cpus, node_main, node_settings, settle
from gdispy.worker.limits import Limits


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDISPY_IP_ADDR")


def settled(*words: str) -> Settled:
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
    assert settings(option, "127.0.0.1").ip_addr == "127.0.0.1"


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
        (["--zombie_interval", "0.5"], "--zombie_interval: it must be from 1"),
        (["--zombie_interval", "nan"], "--zombie_interval"),
        (["--zombie_interval", "inf"], "--zombie_interval"),
        (["--ping_interval", "9"], "--ping_interval: it must be from 10"),
        (["--serve", "-2"], "--serve"),
        (["--msg_timeout", "-1"], "--msg_timeout"),
        (["--job_processes", "-1"], "--job_processes"),
        (["--cpus", "0"], "--cpus"),
        (["-p", "70000"], "node_port"),
        (["--dispy_port", "65535"], "node_port"),
        (["-p", "1", "--dispy_port", "1"], "contradict"),
        (["--max_file_size", "many"], "--max_file_size: 'many'"),
        (["--service_start", "25:00", "--service_stop", "09:00"], "--service_start: write a time"),
        (["--service_start", "09:00"], "needs --service_stop"),
        (["--connect", "a b"], "--connect: 'a b': a host name must not hold ' '"),
        (["--connect", ":5"], "--connect: ':5': it names no host"),
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
    assert found.ip_addr == "10.0.0.1" and found.force_cleanup


def test_zero_on_the_command_line_is_a_value(file: Any) -> None:
    assert settings("--config", file("node_port = 5"), "-p", "0").node_port == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("colour = red", "there is no option 'colour'"),
        ("config = other.ini", "there is no option 'config'"),
        ("node_port = high", "node_port in .*node.ini must be a whole number"),
        ("ping_interval = often", "ping_interval in .*node.ini must be a number"),
        ("clean = perhaps", "clean in .*node.ini must be yes or no"),
        ("max_file_size = many", "max_file_size in .*node.ini: 'many'"),
        ("service_stop = noon", "service_stop in .*node.ini: write a time"),
        ("zombie_interval = 0", "zombie_interval in .*node.ini: it must be"),
        ("just words", "node.ini is no options file"),
        ("host = a\nip_addr = b", "says again"),
        ("name = a\nname = b", "is no options file"),
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
        with pytest.raises(ConfigError, match="others can read it"):
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
    monkeypatch.setattr("gdispy.serve.set_up_logging", lambda *_: None)
    assert node_main(["--cpus", "1"]) == 2
    assert "nodes run on Linux only, and this is Darwin" in capsys.readouterr().err
