"""What an options file may contain. Through the options of a command: `test_options.py`, `test_scheduler.py`."""

from __future__ import annotations

import argparse
import logging
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from gdispy.cli import options_file as module
from gdispy.cli.node_options import node_parser
from gdispy.cli.options_file import read_options, save_options, saved_by_dispy
from gdispy.cli.scheduler import scheduler_parser
from gdispy.errors import ConfigError

NODE, SCHEDULER = "gdispy-node", "gdispy-scheduler"


def read(path: Path, text: str | bytes, section: str = NODE) -> dict[str, str]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return read_options(str(path), section, node_parser() if section == NODE else scheduler_parser())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "options.ini"


def test_keys_may_be_written_like_the_option_with_either_sign(path: Path) -> None:
    lines = ["job-memory = 1g", "job_cpu_time = 5", "Secret-File = key", "scheduler-host = lab"]
    assert read(path, "\n".join([f"[{NODE}]", *lines])) == {
        "job_memory": "1g",
        "job_cpu_time": "5",
        "secret_file": "key",
        "connect": "lab",
    }


def test_sections_of_other_commands_are_ignored(path: Path) -> None:
    assert read(path, f"[{SCHEDULER}]\nport = 1\n[{NODE}]\nname = a\n") == {"name": "a"}


@pytest.mark.parametrize("key", ["p", "h", "help", "version", "exit_with_stdin", "private"])
def test_short_names_and_options_of_one_run_are_unknown(path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown option '{key}'; see gdispy-node --help"):
        read(path, f"[{NODE}]\n{key} = 1\n")


@pytest.mark.parametrize("text", [b"\xff\xfe[gdispy-node]", b"[gdispy-node]\nname = \xe9"])
def test_file_that_is_no_text_is_named(path: Path, text: bytes) -> None:
    with pytest.raises(ConfigError, match=r"options\.ini is not an options file: it is not text"):
        read(path, text)


@pytest.mark.parametrize(
    ("owner", "mode", "is_private"),
    [(1000, 0o600, True), (0, 0o600, True), (1001, 0o600, False), (1000, 0o640, False), (0, 0o604, False)],
)
def test_secret_must_be_in_a_file_of_the_user_or_of_root_alone(
    path: Path, owner: int, mode: int, is_private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(f"[{NODE}]\nsecret = long enough\n")
    about = SimpleNamespace(st_mode=stat.S_IFREG | mode, st_uid=owner)
    monkeypatch.setattr(module, "os", SimpleNamespace(fstat=lambda fd: about, geteuid=lambda: 1000))
    if is_private:
        assert read_options(str(path), NODE, node_parser()) == {"secret": "long enough"}
    else:
        with pytest.raises(ConfigError, match="contains a secret and other users can read it: run chmod 600"):
            read_options(str(path), NODE, node_parser())


@pytest.mark.parametrize("name", ["node_secret", "cluster_secret"])
def test_each_secret_of_a_scheduler_must_be_private(path: Path, name: str) -> None:
    read(path, f"[{SCHEDULER}]\n{name} = long enough\n", SCHEDULER)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="contains a secret"):
        read_options(str(path), SCHEDULER, scheduler_parser())


# Files of dispy


def of_dispy(section: str = NODE, **values: str) -> dict[str, str]:
    return dict(saved_by_dispy(values, section, "dispy.ini"))


def test_values_that_were_not_given_there_are_not_given_here() -> None:
    assert of_dispy(name="None", ip_addrs="[]", secret="", dispy_port="9700", cpus="0") == {"cpus": "0"}


@pytest.mark.parametrize(
    ("value", "text"), [("['a', 'b']", "a b"), ('["a"]', "a"), ("a b", "a b"), (" [ 'a' ] ", "a"), ("[a", "[a")]
)
def test_list_becomes_its_items(value: str, text: str) -> None:
    assert of_dispy(hosts=value) == {"ip_addr": text}


@pytest.mark.parametrize(("name", "same", "other"), [("safe_setup", "True", "False"), ("config", "", "x")])
def test_option_without_effect_here_is_named_only_if_it_had_one(
    name: str, same: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    assert of_dispy(**{name: same}) == {} and caplog.messages == []
    assert of_dispy(**{name: other}) == {}
    assert caplog.messages == [f"dispy.ini: {name} = {other} has no effect here"]


def test_secret_without_effect_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    assert of_dispy(admin_secret="hush") == {}
    assert caplog.messages == ["dispy.ini: admin_secret = ... has no effect here"]


def test_only_one_address_can_be_announced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gdispy")
    assert of_dispy(ext_ip_addrs="['192.0.2.1', '192.0.2.2']") == {"ext_ip_addr": "192.0.2.1"}
    assert caplog.messages == ["dispy.ini: only the first of several addresses is announced, 192.0.2.1"]


def test_algorithm_of_dispy_is_an_option_here() -> None:
    assert of_dispy(SCHEDULER, scheduler_alg="fair_cluster") == {"fair_cluster_scheduler": "yes"}
    assert of_dispy(SCHEDULER, scheduler_alg="fcfs_cluster") == {"early_cluster_scheduler": "yes"}
    with pytest.raises(ConfigError, match="scheduler_alg must be one of fair_cluster, fcfs_cluster, not 'random'"):
        of_dispy(SCHEDULER, scheduler_alg="random")


def test_port_of_the_scheduler_is_where_a_node_connects_and_nothing_to_the_scheduler() -> None:
    assert of_dispy(NODE, scheduler_port="51347") == {"scheduler_port": "51347"}
    assert of_dispy(SCHEDULER, scheduler_port="51347") == {}


# Saving


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    for name in ("--certfile", "--name", "--secret-file"):
        made.add_argument(name, default="")
    made.add_argument("--host", action="append")
    made.add_argument("--clean", action="store_true")
    made.add_argument("--force", action="store_true")
    made.add_argument("--count", type=int)
    return made


def saved(path: Path, *words: str) -> dict[str, str]:
    save_options(str(path), "section", parser(), parser().parse_args(words))
    return read_options(str(path), "section", parser())


def test_only_given_options_are_saved_and_zero_is_given(path: Path) -> None:
    assert saved(path) == {}
    words = ["--count", "0", "--force", "--host", "a", "--host", "b", "--name", "100%"]
    assert saved(path, *words) == {"count": "0", "force": "yes", "host": "a b", "name": "100%"}


def test_option_for_one_run_is_not_saved(path: Path) -> None:
    assert saved(path, "--clean", "--secret-file", "-") == {}


def test_paths_are_saved_so_that_they_hold_in_any_directory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert saved(path, "--certfile", "a/b.pem", "--name", "a/b") == {
        "certfile": str(path.parent / "a" / "b.pem"),
        "name": "a/b",
    }


def test_file_that_existed_is_replaced_whole_or_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(path, "--name", "before")

    def fail(draft: str, goal: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ConfigError, match=r"options\.ini cannot be written: No space left on device"):
        saved(path, "--name", "after")
    assert read_options(str(path), "section", parser()) == {"name": "before"}
    assert list(path.parent.iterdir()) == [path]
