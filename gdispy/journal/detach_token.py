"""The token of a detached computation: a text with which any program can collect its results later."""

from __future__ import annotations

import base64
from typing import NamedTuple

import msgpack

from gdispy.errors import ConfigError
from gdispy.protocol.field_checks import is_computation, is_flag, is_instance, is_row, is_text
from gdispy.protocol.ids import ComputationId
from gdispy.worker import pickling, plain

PREFIX = "gdt1_"


class DetachToken(NamedTuple):
    """A detached computation: its scheduler, and the proof of ownership."""

    place: str
    computation: ComputationId
    token: bytes
    name: str
    is_program: bool
    #: The form of its results, as in `Prepare`.
    results: str = ""


def write_token(left: DetachToken) -> str:
    """The token as a text."""
    return PREFIX + base64.urlsafe_b64encode(msgpack.packb(list(left))).decode().rstrip("=")


def read_token(text: str) -> DetachToken:
    """The token in such a text. Raises ConfigError."""
    data = text.strip().removeprefix(PREFIX)
    try:
        row = msgpack.unpackb(base64.b64decode(data + "=" * (-len(data) % 4), b"-_", validate=True))
    except ValueError:
        row = None
    checks = (is_text, is_computation, is_instance, is_text, is_flag, is_text)
    if not is_row(checks, row) and not is_row(checks[:-1], row):
        raise ConfigError(f"{text[:20]}... is not a whole text that detach() has returned")
    return DetachToken(*row)


def joined_dump(value: object) -> bytes:
    """Any value, pickled, in one piece."""
    data = pickling.dumps(value)
    return data if isinstance(data, bytes) else b"".join(data)


def joined_plain(name: object) -> bytes:
    """The id of a job as plain data, in one piece. Raises NotPlain."""
    data = plain.dumps(name, "the id of a job")
    return data if isinstance(data, bytes) else b"".join(data)
