"""The messages, as the tables of docs/protocol.md have them: section 6 is read out of the document itself.

So a field that the document does not describe cannot be sent or taken, and a type that it describes wrongly is taken
wrongly, which the tests notice.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.independent.keys import Refused

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
ELEMENTS = 65_536


class Bulk(bytes):
    """A payload that came as a stream; `purpose` is that of the stream."""

    purpose = 0


class Field(NamedTuple):
    name: str
    type: str


class Kind(NamedTuple):
    """One kind of message."""

    tag: int
    name: str
    fields: tuple[Field, ...]
    #: What fields are that are missing at the end.
    defaults: dict[str, Any]


def _read() -> dict[str, Kind]:
    text = DOCUMENT.read_text()
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE)
    missing = dict(re.findall(r"^\| `(\w+)` \| (`[^|]*) \|$", text, re.MULTILINE))
    kinds: dict[str, Kind] = {}
    for tag, name, cell in rows:
        fields = tuple(Field(*each) for each in re.findall(r"`(\w+)` (\[*\w+\]*)", cell))
        defaults = {each: _default(value) for each, value in re.findall(r"`(\w+)` ([^,| ]+)", missing.get(name, ""))}
        kinds[name] = Kind(int(tag), name, fields, defaults)
    return kinds


def _default(text: str) -> Any:
    return "" if text == "''" else json.loads(text)


# The types


def _is_text(value: Any, limit: int = 1_048_576) -> bool:
    return type(value) is str and len(value) <= limit


def _is_bytes(*lengths: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is bytes and len(value) in lengths


def _is_int(last: int, first: int = 0) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and first <= value <= last


def _is_number(value: Any) -> bool:
    return type(value) is float and math.isfinite(value) and abs(value) < 1e300


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_bulk(value: Any) -> bool:
    return type(value) is bytes or (type(value) is Bulk and value.purpose == 0)


def _row(*types: str) -> Callable[[Any], bool]:
    return lambda value: (
        type(value) is list
        and len(value) == len(types)
        and all(fits(kind, each) for kind, each in zip(types, value, strict=True))
    )


def _is_option(value: Any) -> bool:
    types = ("node", "number", "number", "count", "count", "bulk", "[file]", "[content]", "number")
    return value is None or (_row(*types)(value) and len(value[6]) == len(value[7]))


_COUNT = _is_int((1 << 53) - 1)
_TYPES: dict[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "short": lambda value: _is_text(value, 1024),
    "id": _is_bytes(8),
    "instance": _is_bytes(16),
    "token": _is_bytes(0, 16),
    "proof": _is_bytes(0, 96),
    "node": _is_bytes(0, 16),
    "digest": lambda value: type(value) is bytes,
    "count": _COUNT,
    "cpus": _is_int(65_536),
    "status": _is_int(11, 8),
    "omitted": lambda value: _is_flag(value) or _COUNT(value),
    "number": _is_number,
    "time": lambda value: _is_number(value) and 0 <= value < 1 << 40,
    "flag": _is_flag,
    "bulk": _is_bulk,
    "content": lambda value: type(value) in (bytes, Bulk),
    "file": _row("text", "count", "time", "count", "digest"),
    "claim": _row("id", "instance", "count"),
    "option": _is_option,
    "free": lambda value: type(value) is list and len(value) in (0, 4) and all(map(_is_number, value)),
    "standing": _row(*["text"] * 2, *["count"] * 4, "number", *["count"] * 2),
    "member": _row("text", "text", "count", "count", "count", "flag"),
    "usage": _row("text", "text", "count", "count", "count", "number"),
    "running": _row("id", "count", "count", "number", "number", "count", *["text"] * 4),
    "position": _row("instance", "count"),
    "event": _row("instance", "count", "number", *["text"] * 3),
    "tenant": _row("text", "text", "text", "count", "count"),
}


def fits(kind: str, value: Any) -> bool:
    """Whether a value is of a type of the document."""
    if kind.startswith("["):
        return type(value) is list and len(value) <= ELEMENTS and all(fits(kind[1:-1], each) for each in value)
    return _TYPES[kind](value)


# Messages

KINDS = _read()
_BY_TAG = {kind.tag: kind for kind in KINDS.values()}
#: Columns that are as long as no other, and those that may be empty.
_INDEPENDENT = ("Status", "Overview", "RunningJobs", "LogEvents")
_OPTIONAL = {("Run", "options"), ("Prepare", "contents"), ("Inventory", "ended")}

#: A message that has arrived: its name, and its fields.
Message = tuple[str, dict[str, Any]]


def values_of(name: str, fields: dict[str, Any]) -> list[Any]:
    """The array that travels. Fields that are not given are as where they are missing."""
    kind = KINDS[name]
    unknown = fields.keys() - {field.name for field in kind.fields}
    if unknown:
        raise KeyError(f"{name} has no {unknown}")
    return [kind.tag, *(fields[each.name] if each.name in fields else _missing(kind, each) for each in kind.fields)]


def _missing(kind: Kind, field: Field) -> Any:
    if field.name not in kind.defaults:
        raise Refused(f"{kind.name} needs {field.name}")
    default = kind.defaults[field.name]
    return b"" if default == "" and field.type in ("bulk", "token", "node", "proof") else default


def read(values: Any) -> Message:
    """The message in an array. Raises Refused."""
    if type(values) is not list or not values or type(values[0]) is not int or values[0] not in _BY_TAG:
        raise Refused("an unknown message")
    kind, given = _BY_TAG[values[0]], values[1:]
    fields: dict[str, Any] = {}
    for place, field in enumerate(kind.fields):
        fields[field.name] = given[place] if place < len(given) else _missing(kind, field)
        if not fits(field.type, fields[field.name]):
            raise Refused(f"{kind.name}.{field.name} is no {field.type}")
    _check_columns(kind, fields)
    _check_further(kind.name, fields)
    return kind.name, fields


def _check_columns(kind: Kind, fields: dict[str, Any]) -> None:
    lengths = {
        len(fields[name])
        for name, type_ in kind.fields
        if type_.startswith("[") and not ((kind.name, name) in _OPTIONAL and not fields[name])
    }
    if len(lengths) > 1 and kind.name not in _INDEPENDENT:
        raise Refused(f"the columns of {kind.name} differ in length")


def _check_further(name: str, fields: dict[str, Any]) -> None:
    """What the text beside the fields says."""
    flaw = {
        "Inventory": lambda: list(map(len, fields["jobs"])) != list(map(len, fields["attempts"])),
        "NodeCommand": lambda: abs(fields["value"]) > 1 << 30,
        "Upload": lambda: len(fields["files"]) != 1,
        "Event": lambda: fields["what"] not in (4, 16, 17) or len(fields["rows"]) != 1,
        "NodeFound": lambda: not fields["names"],
    }.get(name, lambda: False)
    if flaw():
        raise Refused(f"the fields of {name} do not go together")
