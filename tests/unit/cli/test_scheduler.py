"""Options of `gdispy-scheduler`: what they come to, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from gdispy import config
from gdispy.cli.options import ResolvedOptions, parse
from gdispy.cli.options_file import read_options, save_options
from gdispy.cli.page_options import page_options
from gdispy.cli.scheduler import scheduler_main, scheduler_parser, sharing_settings
from gdispy.config import CLIENT_PORT, NODE_PORT
from gdispy.errors import ConfigError
from gdispy.rules.scheduler.turns import EARLIEST, FAIR, ROUND_ROBIN
from gdispy.shared_scheduler.service import SharedSchedulerSettings


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDISPY_IP_ADDR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def settled(*words: str) -> ResolvedOptions:
    parser = scheduler_parser()
    given = parse(parser, words)
    file = read_options(given.config, "gdispy-scheduler", parser) if given.config else {}
    return ResolvedOptions(parser, given, file, given.config)


def settings(*words: str) -> SharedSchedulerSettings:
    return sharing_settings(settled("--insecure", *words))


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Writes an options file and returns its path."""

    def write(*lines: str) -> str:
        path = tmp_path / "scheduler.ini"
        path.write_text("\n".join(["[gdispy-scheduler]", *lines]))
        return str(path)

    return write


def test_defaults_are_those_of_the_help(tmp_path: Path) -> None:
    found = settings()
    assert (found.nodes, found.port, found.node_port) == (["*"], CLIENT_PORT, NODE_PORT)
    assert (found.policy, found.lease, found.cooperative, found.cleanup_nodes) == (FAIR, 3600.0, False, False)
    assert (found.pulse_interval, found.ping_interval, found.msg_timeout) == (None, None, 10)
    assert (found.max_file_size, found.multicast, found.ext_ip_addr) == (0, False, "")
    assert found.journal == str(tmp_path / "state" / "gdispy" / f"scheduler-{CLIENT_PORT}")


def test_every_option_comes_to_its_setting() -> None:
    words = ["-n", "10.0.0.5", "--node", "10.0.0.6", "--host", "127.0.0.1", "--ext_host", "192.0.2.1"]
    words += ["--scheduler_port", "5", "--node_port", "6", "--ipv4_udp_multicast", "--cooperative", "--cleanup_nodes"]
    words += ["--pulse_interval", "2", "--ping-interval", "3", "--poll_interval", "5", "--zombie_interval", "2.5"]
    words += ["--msg_timeout", "4", "--max_file_size", "10k"]
    found = settings(*words)
    assert (found.nodes, found.ip_addrs, found.ext_ip_addr) == (["10.0.0.5", "10.0.0.6"], ("127.0.0.1",), "192.0.2.1")
    assert (found.port, found.node_port, found.multicast) == (5, 6, True)
    assert (found.pulse_interval, found.ping_interval, found.msg_timeout, found.lease) == (2, 3, 4, 150)
    assert (found.cooperative, found.cleanup_nodes, found.max_file_size) == (True, True, 10240)


@pytest.mark.parametrize(
    ("words", "policy"),
    [([], FAIR), (["--fair_cluster_scheduler"], ROUND_ROBIN), (["--early_cluster_scheduler"], EARLIEST)],
)
def test_who_is_served_first(words: list[str], policy: str) -> None:
    assert settings(*words).policy == policy


@pytest.mark.parametrize("words", [["-d"], ["--config", "debug.ini"]])
def test_details_are_told_where_that_is_wanted(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "MsgTimeout", config.MsgTimeout)
    (tmp_path / "debug.ini").write_text("[gdispy-scheduler]\ndebug = yes\n")
    logger, before = logging.getLogger("gdispy"), logging.getLogger("gdispy").level
    try:
        for added, level in ((words, logging.DEBUG), ([], logging.INFO)):
            assert scheduler_main(["--insecure", "--save_config", "saved.ini", *added]) == 0
            assert logger.level == level
    finally:
        logger.setLevel(before)


# Where the journal is


@pytest.mark.parametrize(
    ("words", "journal"),
    [
        (["--journal", "here"], "here"),
        (["--journal", "here", "-p", "0"], "here"),
        (["--dest_path_prefix", "/kept"], f"/kept/scheduler-{CLIENT_PORT}"),
        (["--dest-path-prefix", "kept", "-p", "5"], "kept/scheduler-5"),
        (["--dest_path_prefix", "/kept", "-p", "0"], "/kept/scheduler-0"),
        (["--no_journal"], ""),
        (["-p", "0"], ""),
    ],
)
def test_journal_is_where_it_is_wanted(words: list[str], journal: str) -> None:
    assert settings(*words).journal == journal


def test_options_come_from_variables_and_files_too(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file("dest-path-prefix = /of-file", "cleanup_nodes = yes", "poll_interval = 7", "clean = no")
    found = settings("--config", path, "-p", "5")
    assert (found.journal, found.cleanup_nodes) == ("/of-file/scheduler-5", True)
    monkeypatch.setenv("GDISPY_DEST_PATH_PREFIX", "/of-variable")
    monkeypatch.setenv("GDISPY_CLEAN", "yes")
    assert settings("--config", path, "-p", "5").journal == "/of-variable/scheduler-5"
    assert settled("--config", path).clean is True


def test_what_is_saved_means_the_same_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-n", "a", "-n", "b:5", "--dest_path_prefix", str(tmp_path / "kept"), "--cleanup_nodes", "-p", "0"]
    words += ["--weight", "lab=2", "--poll_interval", "6", "--clean", "--early_cluster_scheduler"]
    path = tmp_path / "scheduler.ini"
    save_options(str(path), "gdispy-scheduler", scheduler_parser(), settled("--insecure", *words))
    again = settled("--config", str(path))
    assert sharing_settings(again) == settings(*words)
    assert again.poll_interval == 6.0
    # What is for one start is not saved, and paths mean the same from everywhere.
    assert again.clean is False
    save_options(str(path), "gdispy-scheduler", scheduler_parser(), settled("--dest_path_prefix", "kept"))
    assert settled("--config", str(path)).dest_path_prefix == str(tmp_path / "kept")


# What is refused


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--poll_interval", "4"], "--poll_interval: it must be between 5 and 1000, not 4"),
        (["--poll_interval", "nan"], "--poll_interval"),
        (["--pulse_interval", "0.01"], "--pulse_interval"),
        (["--ping_interval", "1001"], "--ping_interval"),
        (["--msg_timeout", "0"], "--msg_timeout"),
        (["--max_file_size", "many"], "--max_file_size: 'many'"),
        (["--weight", "lab"], "--weight 'lab': write HOST=NUMBER"),
        (["--journal", "a", "--no_journal"], "--journal: this and --no_journal contradict each other"),
        (["--journal", "a", "--dest_path_prefix", "b"], "--dest_path_prefix: this and --journal contradict"),
        (["--no_journal", "--dest_path_prefix", "b"], "--dest_path_prefix: this and --no_journal contradict"),
        (["--no_journal", "--clean"], "--clean: this and --no_journal contradict each other"),
        (["--fair_cluster_scheduler", "--early_cluster_scheduler"], "contradict each other"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_its_option(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settings(*words)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("poll_interval = often", "poll_interval in .*scheduler.ini must be a number"),
        ("poll_interval = 2", "poll_interval in .*scheduler.ini: it must be between 5"),
        ("clean = perhaps", "clean in .*scheduler.ini must be yes or no"),
        ("cleanup_nodes = all", "cleanup_nodes in .*scheduler.ini must be yes or no"),
        ("dest_path_prefix = kept\nno_journal = yes", "dest_path_prefix in .*scheduler.ini: this and --no_journal"),
        ("httpd = perhaps", "httpd in .*scheduler.ini must be yes or no"),
    ],
)
def test_file_is_refused_by_its_name_and_the_option(file: Any, line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settings("--config", file(line))


def test_variable_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_DEST_PATH_PREFIX", "/kept")
    with pytest.raises(ConfigError, match="GDISPY_DEST_PATH_PREFIX: this and --no_journal contradict each other"):
        settings("--no_journal")


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ((), None),
        (("--httpd",), ("127.0.0.1", 8181)),
        (("--httpd", "--http", "9000"), ("127.0.0.1", 9000)),
        (("--http", "9000"), ("127.0.0.1", 9000)),
    ],
)
def test_page_is_served_where_it_is_wanted(words: tuple[str, ...], place: tuple[str, int] | None) -> None:
    found = page_options(settled(*words))
    assert (found and (found.host, found.port)) == place


def test_zero_is_what_dispy_takes_it_for() -> None:
    found = settings("--zombie_interval", "0", "--ping_interval", "0", "--pulse_interval", "0", "--poll_interval", "0")
    assert (found.ping_interval, found.pulse_interval) == (None, None)
    assert found.lease > 100 * 365 * 86_400


def test_several_addresses() -> None:
    assert settings("-i", "127.0.0.1", "--host", "10.0.0.1").ip_addrs == ("127.0.0.1", "10.0.0.1")


def test_file_that_dispyscheduler_has_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dispyscheduler.ini"
    lines = ["[DEFAULT]", "loglevel = False", "nodes = ['10.0.0.5', '10.0.0.6']", "ip_addrs = []", "ext_ip_addrs = []"]
    lines += [
        "port = 51400",
        "node_port = 51348",
        "scheduler_port = 51349",
        "pulse_interval = 0",
        "ping_interval = 0.0",
    ]
    lines += [
        "zombie_interval = 30.0",
        "dest_path_prefix = None",
        "http_server = False",
        "scheduler_alg = fcfs_cluster",
    ]
    lines += ["cooperative = True", "node_secret =", "cluster_secret =", "daemon = True"]
    path.write_text("\n".join(lines))
    found = settings("--config", str(path))
    assert (found.nodes, found.ip_addrs, found.port) == (["10.0.0.5", "10.0.0.6"], (), 51400)
    assert (found.pulse_interval, found.ping_interval, found.lease) == (None, None, 1800.0)
    assert (found.policy, found.cooperative) == (EARLIEST, True)
