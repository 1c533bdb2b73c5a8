"""Bytes as docs/protocol.md writes them: hexadecimal digits, `x * n` for n times x, `+` between parts, and brackets."""

from __future__ import annotations

import re


def bytes_of(text: str) -> bytes:
    """The bytes that such a text stands for."""
    tokens = re.findall(r"\(|\)|\+|\* *[0-9]+|[0-9a-f]+", text)
    data, rest = _sum(tokens)
    assert not rest, text
    return data


def _sum(tokens: list[str]) -> tuple[bytes, list[str]]:
    data, tokens = _term(tokens)
    while tokens and tokens[0] == "+":
        more, tokens = _term(tokens[1:])
        data += more
    return data, tokens


def _term(tokens: list[str]) -> tuple[bytes, list[str]]:
    if tokens[0] == "(":
        data, tokens = _sum(tokens[1:])
        assert tokens[0] == ")"
    else:
        data = bytes.fromhex(tokens[0])
    tokens = tokens[1:]
    if tokens and tokens[0].startswith("*"):
        data, tokens = data * int(tokens[0][1:]), tokens[1:]
    return data, tokens
