"""The command `gdispy certificate` and its files. With openssl: `tests/integration/test_tls.py`."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdispy.cli import certificate as module
from gdispy.cli.certificate import CERTIFICATE, DAYS, KEY, certificate_main, make_certificate
from gdispy.cli.options import EXIT_FAILED, EXIT_USAGE
from gdispy.errors import ConfigError


class Openssl:
    """Writes the two files as openssl does, or fails with this text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.error: str | None = None
        monkeypatch.setattr(module.shutil, "which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(module.subprocess, "run", self._run)

    def _run(self, words: list[str], **_: Any) -> Any:
        self.calls.append(words)
        if self.error is not None:
            return SimpleNamespace(returncode=1, stderr=self.error)
        Path(self.value("-keyout")).write_text("key")
        Path(self.value("-out")).write_text("certificate")
        return SimpleNamespace(returncode=0, stderr="")

    def value(self, option: str) -> str:
        words = self.calls[-1]
        return words[words.index(option) + 1]


@pytest.fixture
def openssl(monkeypatch: pytest.MonkeyPatch) -> Openssl:
    return Openssl(monkeypatch)


def test_key_is_for_the_user_alone_and_nothing_else_is_left(openssl: Openssl, tmp_path: Path) -> None:
    paths = make_certificate(str(tmp_path / "new" / "tls"), "lab.example.org")
    assert paths == (str(tmp_path / "new" / "tls" / CERTIFICATE), str(tmp_path / "new" / "tls" / KEY))
    assert [Path(path).read_text() for path in paths] == ["certificate", "key"]
    assert [os.stat(path).st_mode & 0o777 for path in paths] == [0o644, 0o600]
    assert sorted(os.listdir(tmp_path / "new" / "tls")) == [CERTIFICATE, KEY]
    assert openssl.value("-days") == str(DAYS)


@pytest.mark.parametrize(
    ("name", "written"),
    [("lab", "DNS:lab"), ("10.0.0.1", "IP:10.0.0.1"), ("fd00::1", "IP:fd00::1"), ("10.example", "DNS:10.example")],
)
def test_name_in_the_certificate_is_a_host_name_or_an_address(
    openssl: Openssl, tmp_path: Path, name: str, written: str
) -> None:
    make_certificate(str(tmp_path), name, 1)
    assert (openssl.value("-subj"), openssl.value("-addext")) == (f"/CN={name}", f"subjectAltName={written}")


@pytest.mark.parametrize("name", ["", "a b", "a/CN=b", "lab,DNS:other", "x" * 65, "caf\xe9", "lab\n"])
def test_name_that_is_no_host_is_refused(openssl: Openssl, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--name must be a host name or an address, not"):
        make_certificate(str(tmp_path / "tls"), name)
    assert openssl.calls == [] and not (tmp_path / "tls").exists()


@pytest.mark.parametrize("days", [0, -1, 100_001])
def test_time_until_it_expires_is_limited(openssl: Openssl, tmp_path: Path, days: int) -> None:
    with pytest.raises(ConfigError, match=f"--days must be between 1 and 100000, not {days}"):
        make_certificate(str(tmp_path), "lab", days)


@pytest.mark.parametrize("name", [CERTIFICATE, KEY])
def test_no_file_is_replaced(openssl: Openssl, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(ConfigError, match=f"{name} already exists: remove it, or choose another --out"):
        make_certificate(str(tmp_path), "lab")
    assert os.listdir(tmp_path) == [name]


def test_file_that_appears_meanwhile_is_not_replaced(
    openssl: Openssl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / KEY).write_text("another key")
    monkeypatch.setattr(module.os.path, "lexists", lambda path: False)
    with pytest.raises(FileExistsError):
        make_certificate(str(tmp_path), "lab")
    assert (tmp_path / KEY).read_text() == "another key" and os.listdir(tmp_path) == [KEY]


@pytest.mark.parametrize(
    ("text", "reason"), [("first\nunknown option -addext\n", "unknown option -addext"), ("", "no reason given")]
)
def test_failure_of_openssl_is_its_last_line(openssl: Openssl, tmp_path: Path, text: str, reason: str) -> None:
    openssl.error = text
    with pytest.raises(ConfigError, match=f"openssl could not create the certificate: {reason}$"):
        make_certificate(str(tmp_path), "lab")
    assert os.listdir(tmp_path) == []


def test_machine_without_openssl_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="the openssl program is not installed: install it"):
        make_certificate(str(tmp_path), "lab")


def test_command_prints_the_paths_and_names_the_host(
    openssl: Openssl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module.platform, "node", lambda: "worker")
    assert certificate_main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / CERTIFICATE), str(tmp_path / KEY)]
    assert openssl.value("-subj") == "/CN=worker"


def test_exit_code_tells_wrong_options_from_failures(
    openssl: Openssl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certificate_main(["--out", str(tmp_path), "--days", "0"]) == EXIT_USAGE
    (tmp_path / "file").write_text("")
    assert certificate_main(["--out", str(tmp_path / "file" / "below")]) == EXIT_FAILED
    assert capsys.readouterr().err.startswith("gdispy certificate: --days must be")
