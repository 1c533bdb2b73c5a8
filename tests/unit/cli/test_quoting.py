"""Command lines as text."""

from __future__ import annotations

import subprocess

from gdispy.cli.quoting import quoted, shortened


def test_shell_reads_the_same_words_back_from_one_line() -> None:
    words = ["plain", "two words", "", "it's", 'a"b', "$HOME", "new\nline", "tab\t'\\", "\x1b[1m", "ä"]
    text = quoted(words)
    assert "\n" not in text and "\t" not in text
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, timeout=20)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_many_arguments_are_shortened_in_messages() -> None:
    assert shortened(["a b", "c"]) == "'a b' c"
    text = shortened(["x" * 100_000])
    assert len(text) < 250 and text.startswith("xxx") and text.endswith(" ..., 100,000 characters in all")
