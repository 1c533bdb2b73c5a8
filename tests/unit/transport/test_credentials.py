"""Which secret applies, and the key file that is made on first use."""

from __future__ import annotations

import io
import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gdispy.errors import ConfigError, SecretError
from gdispy.protocol.handshake import encode_secret, purpose_key
from gdispy.transport import credentials
from gdispy.transport.credentials import find_secret, generate_secret, own_key_path

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
SECRET, OTHER = encode_secret(KEY), encode_secret(OTHER_KEY)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any setting; the key file would be below this directory."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GDISPY_SECRET", raising=False)
    monkeypatch.delenv("GDISPY_SECRET_FILE", raising=False)
    return tmp_path


def private_file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    path.write_text(text)
    return path


# Which one applies


def test_argument_comes_before_environment_and_key_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_SECRET", OTHER)
    found = find_secret(SECRET)
    assert (found.key, found.source, found.is_new, found.insecure) == (KEY, "the secret given", False, False)
    assert not own_key_path().exists()


def test_file_given_comes_before_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_SECRET", OTHER)
    path = private_file(home / "given", f"  {SECRET}\n")
    found = find_secret(secret_file=str(path))
    assert (found.key, found.source) == (KEY, str(path))


def test_variable_with_the_secret_comes_before_the_one_with_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_SECRET", SECRET)
    monkeypatch.setenv("GDISPY_SECRET_FILE", str(private_file(home / "given", OTHER)))
    assert find_secret().source == "GDISPY_SECRET"
    monkeypatch.delenv("GDISPY_SECRET")
    assert find_secret().key == OTHER_KEY


def test_key_file_of_the_user_comes_last() -> None:
    private_file(own_key_path(), SECRET)
    found = find_secret()
    assert (found.key, found.source, found.is_new) == (KEY, str(own_key_path()), False)


def test_variables_that_are_empty_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    private_file(own_key_path(), SECRET)
    monkeypatch.setenv("GDISPY_SECRET", "")
    monkeypatch.setenv("GDISPY_SECRET_FILE", "")
    assert find_secret().key == KEY


def test_secret_comes_from_standard_input_for_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\nmore\n"))
    assert find_secret(secret_file="-").key == KEY


def test_empty_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SecretError, match="the secret on standard input is empty"):
        find_secret(secret_file="-")


def test_key_file_is_in_the_home_directory_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert own_key_path() == Path("/home/somebody/.config/gdispy/secret")


def test_secret_and_file_together_are_refused() -> None:
    with pytest.raises(SecretError, match="give a secret or a file with the secret, not both"):
        find_secret(SECRET, "file")


@pytest.mark.parametrize("arguments", [("x", ""), ("", "file")])
def test_insecure_contradicts_a_secret(arguments: tuple[str, str]) -> None:
    with pytest.raises(SecretError, match="contradict"):
        find_secret(*arguments, insecure=True)


def test_insecure_is_a_known_key_and_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDISPY_SECRET", SECRET)
    found = find_secret(insecure=True)
    assert (found.key, found.insecure) == (bytes(32), True)
    assert not own_key_path().exists()


def test_secret_that_is_no_text_is_refused() -> None:
    with pytest.raises(SecretError, match="secret must be text, not bytes"):
        find_secret(b"secret")  # type: ignore[arg-type]


def test_blank_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SecretError, match="the secret given is empty"):
        find_secret("   ")
    monkeypatch.setenv("GDISPY_SECRET", " ")
    with pytest.raises(SecretError, match="GDISPY_SECRET is empty"):
        find_secret()


def test_secret_error_is_a_config_error() -> None:
    assert issubclass(SecretError, ConfigError)


def test_short_pass_phrase_is_warned_of_and_a_generated_key_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        find_secret(SECRET)
        assert caplog.text == ""
        find_secret("short")
    assert "the pass phrase is short" in caplog.text
    assert "short" not in caplog.text.replace("the pass phrase is short", "")


def test_purposes_have_keys_of_their_own() -> None:
    found = find_secret(SECRET)
    assert found.for_tcp() == purpose_key(KEY, b"tcp")
    assert found.for_udp() == purpose_key(KEY, b"udp")


def test_generated_secrets_are_all_different_and_usable() -> None:
    assert len({find_secret(generate_secret()).key for _ in range(10)}) == 10


# Files that are not to be trusted


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601, 0o620])
def test_file_that_others_may_use_is_refused(home: Path, mode: int) -> None:
    path = private_file(home / "given", SECRET)
    path.chmod(mode)
    with pytest.raises(SecretError, match=f"other users can read the secret file {path}: run chmod 600 {path}"):
        find_secret(secret_file=str(path))


def test_key_file_that_others_may_read_is_refused_too() -> None:
    private_file(own_key_path(), SECRET).chmod(0o644)
    with pytest.raises(SecretError, match="run chmod 600"):
        find_secret()


def test_file_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = private_file(home / "given", SECRET)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(SecretError, match="belongs to another user"):
        find_secret(secret_file=str(path))


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_file_is_refused(home: Path, text: str) -> None:
    with pytest.raises(SecretError, match="is empty: write the secret into it"):
        find_secret(secret_file=str(private_file(home / "given", text)))


def test_file_that_is_missing_is_refused_and_not_made(home: Path) -> None:
    path = home / "given"
    with pytest.raises(SecretError, match=f"the secret file {path} cannot be read: No such file"):
        find_secret(secret_file=str(path))
    assert not path.exists()


def test_directory_is_refused(home: Path) -> None:
    path = home / "given"
    path.mkdir(0o700)
    with pytest.raises(SecretError, match="is not a file"):
        find_secret(secret_file=str(path))


def test_directory_in_place_of_the_key_file_is_refused() -> None:
    own_key_path().mkdir(0o700, parents=True)
    with pytest.raises(SecretError, match="is not a file"):
        find_secret()


def test_fifo_is_refused_and_not_waited_for(home: Path) -> None:
    path = home / "given"
    os.mkfifo(path, 0o600)
    with pytest.raises(SecretError, match="is not a file"):
        find_secret(secret_file=str(path))


def test_file_that_holds_no_text_is_refused(home: Path) -> None:
    path = private_file(home / "given", "")
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(SecretError, match="is not UTF-8 text"):
        find_secret(secret_file=str(path))


def test_file_with_a_damaged_key_is_refused(home: Path) -> None:
    with pytest.raises(SecretError, match="incomplete or damaged"):
        find_secret(secret_file=str(private_file(home / "given", SECRET[:-3])))


# The key file that is made


def test_key_file_is_made_on_first_use_for_its_user_only() -> None:
    found = find_secret()
    path = own_key_path()
    assert found.is_new
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["secret"]
    assert path.read_text().startswith("gdk1_")


def test_key_file_is_used_again_and_not_new_then() -> None:
    first, second = find_secret(), find_secret()
    assert first.key == second.key
    assert (first.is_new, second.is_new) == (True, False)


def test_key_file_that_cannot_be_made_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_file(home / "config", "a file where the directory should be")
    with pytest.raises(SecretError, match=r"the key file .* cannot be created: Not a directory"):
        find_secret()


def test_dangling_link_in_place_of_the_key_file_is_not_followed(home: Path) -> None:
    own_key_path().parent.mkdir(parents=True)
    own_key_path().symlink_to(home / "elsewhere")
    with pytest.raises(SecretError, match="cannot be read"):
        find_secret()
    assert not (home / "elsewhere").exists()


def test_threads_that_start_at_once_agree_on_one_key() -> None:
    found, barrier = [], threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        found.append(find_secret())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.key for each in found}) == 1
    assert [each.is_new for each in found].count(True) == 1
    assert [each.name for each in own_key_path().parent.iterdir()] == ["secret"]


def test_processes_that_start_at_once_agree_on_one_key() -> None:
    # Given two processes that have loaded all they need and wait for a word.
    code = (
        "from gdispy.transport.credentials import find_secret as f; print(); input(); s = f(); "
        "print(s.key.hex(), s.is_new)"
    )
    started = [
        subprocess.Popen([sys.executable, "-uc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "\n"
    # When they get it at once.
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    # Then they have the same key, and one has made it.
    words = [process.communicate(timeout=20)[0].split() for process in started]
    assert len({key for key, _ in words}) == 1
    assert sorted(new for _, new in words) == ["False", "False", "True"]


def test_who_comes_second_takes_the_key_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given that another process makes the file between the look and the link.
    def look(path: Path) -> bool:
        private_file(path, SECRET)
        return False

    monkeypatch.setattr(Path, "exists", look)
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    assert (credentials._make_key(own_key_path()), own_key_path().read_text()) == (False, SECRET)


@pytest.mark.parametrize("begin", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n  "])
def test_mark_at_the_beginning_of_a_file_is_no_part_of_the_secret(home: Path, begin: bytes) -> None:
    file = home / "secret"
    file.write_bytes(begin + SECRET.encode() + b"\r\n")
    file.chmod(0o600)
    assert find_secret(secret_file=str(file)).key == find_secret(SECRET).key


def test_mark_before_a_secret_from_standard_input_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeff" + SECRET + "\n"))
    assert find_secret(secret_file="-").key == find_secret(SECRET).key


def test_who_has_another_secret_hears_where_this_sides_comes_from(home: Path) -> None:
    path = str(home / "config" / "gdispy" / "secret")
    made = find_secret()
    assert made.is_new and f"was created just now, in {path}: replace it with the file" in made.advice()
    assert "~/.config/gdispy/secret" in made.advice()
    assert find_secret().advice() == f"this side's is from {path}"


def test_secret_that_is_no_text_in_utf_8_is_refused() -> None:
    with pytest.raises(SecretError, match="the secret given is not UTF-8 text"):
        find_secret("\udcff" * 20)


def test_name_that_no_file_has_is_refused() -> None:
    with pytest.raises(SecretError, match="not a valid file name"):
        find_secret(secret_file="a\0b")


class _Bytes(io.TextIOWrapper):
    """Standard input with these bytes."""

    def __init__(self, data: bytes, errors: str) -> None:
        super().__init__(io.BytesIO(data), encoding="ascii", errors=errors)


BAD = [
    (b"\xff\xfe secret", "UTF-8"),
    ("Stra\u00dfe".encode("latin-1") * 5, "UTF-8"),
    (b"one\0two three four", "zero character"),
    (b"x" * 5000, "longer than 4096 bytes"),
]


@pytest.mark.parametrize(("data", "told"), [*BAD, (b"first line\nsecond line", "more than one line")])
def test_what_is_no_secret_is_said_in_a_sentence_wherever_it_comes_from(
    home: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, told: str
) -> None:
    path = private_file(home / "given", "")
    path.write_bytes(data + b"\n")
    with pytest.raises(SecretError, match=told):
        find_secret(secret_file=str(path))
    private_file(own_key_path(), "").write_bytes(data)
    with pytest.raises(SecretError, match=told):
        find_secret()
    text = os.fsdecode(data)
    with pytest.raises(SecretError, match=told):
        find_secret(text)
    if b"\0" not in data:
        monkeypatch.setenv("GDISPY_SECRET", text)
        with pytest.raises(SecretError, match=f"GDISPY_SECRET.*{told}"):
            find_secret()


@pytest.mark.parametrize(("data", "told"), BAD)
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_the_same_from_standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes, told: str, errors: str) -> None:
    monkeypatch.setattr("sys.stdin", _Bytes(data, errors))
    with pytest.raises(SecretError, match=f"the secret on standard input.*{told}"):
        find_secret(secret_file="-")


def test_text_from_standard_input_is_utf_8_in_each_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Bytes("Straße der Nationen\n".encode(), "strict"))
    assert find_secret(secret_file="-").key == find_secret("Straße der Nationen").key


def test_standard_input_that_is_closed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SecretError, match="standard input, which is closed"):
        find_secret(secret_file="-")
