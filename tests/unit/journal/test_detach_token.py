"""The text with which any program can collect the results of a detached computation."""

from __future__ import annotations

import base64
from typing import Any

import msgpack
import pytest

from gdispy.errors import ConfigError
from gdispy.journal.detach_token import PREFIX, DetachToken, joined_dump, joined_plain, read_token, write_token
from gdispy.worker import pickling
from gdispy.worker.plain import NotPlain
from tests.unit.builders import C

TOKEN = DetachToken("lab:51347", C, b"t" * 16, "caf\xe9", True, "plain")


def text_of(row: Any) -> str:
    return PREFIX + base64.urlsafe_b64encode(msgpack.packb(row)).decode().rstrip("=")


@pytest.mark.parametrize("name", ["", "f", "ff", "fff", "ffff"])
def test_token_is_read_as_it_was_written_whatever_its_length(name: str) -> None:
    token = TOKEN._replace(name=name)
    assert read_token(write_token(token)) == token


def test_text_is_one_word_of_safe_characters() -> None:
    text = write_token(TOKEN)
    assert text.startswith(PREFIX) and text.replace("_", "").replace("-", "").isalnum() and text.isascii()


def test_spaces_around_it_and_a_missing_prefix_do_no_harm() -> None:
    text = write_token(TOKEN)
    assert read_token(f"  {text}\n") == TOKEN == read_token(text.removeprefix(PREFIX))


def test_token_of_an_earlier_version_has_pickled_results() -> None:
    assert read_token(text_of(list(TOKEN)[:-1])) == TOKEN._replace(results="")


@pytest.mark.parametrize(
    "row",
    [
        None,
        5,
        [],
        list(TOKEN)[:-2],
        [*TOKEN, ""],
        ["lab", b"short", b"t" * 16, "f", True, ""],
        ["lab", C, b"short", "f", True, ""],
        ["lab", C, b"t" * 16, "f", 1, ""],
        [5, C, b"t" * 16, "f", True, ""],
    ],
)
def test_other_data_is_no_token(row: Any) -> None:
    with pytest.raises(ConfigError, match=r"^gdt1_.*\.\.\. is not a whole text that detach\(\) has returned$"):
        read_token(text_of(row))


@pytest.mark.parametrize("text", ["", "gdt1_", "word", "gdt1_!!!!", write_token(TOKEN)[:-3], write_token(TOKEN)[9:]])
def test_part_of_a_token_is_refused_and_not_shown_whole(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_token(text)
    assert str(caught.value).startswith(f"{text[:20]}...") and len(str(caught.value)) < 80


def test_large_value_is_pickled_in_one_piece() -> None:
    value = {"a": bytes(1 << 20)}
    assert pickling.loads(joined_dump(value)) == value and pickling.loads(joined_dump(1)) == 1


def test_id_that_is_no_plain_data_is_refused() -> None:
    assert isinstance(joined_plain(("a", 1)), bytes) and isinstance(joined_plain(bytes(1 << 20)), bytes)
    with pytest.raises(NotPlain, match="the id of a job"):
        joined_plain(object())
