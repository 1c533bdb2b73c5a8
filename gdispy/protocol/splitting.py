"""Splits a message into messages that the other side accepts.

Pure. Used for messages that are not obviously within the limits; the receiver's checks (`field_checks.py`) and this
module use the same limits (`limits.py`).

Texts that are too long are shortened in the middle, with a note; numbers become the nearest valid number; messages
about many jobs are split. Invalid data of users is refused earlier.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from gdispy.errors import InternalError
from gdispy.protocol import field_checks
from gdispy.protocol.field_checks import Check
from gdispy.protocol.limits import (
    BATCH_BYTES,
    BATCH_STREAMS,
    COLUMN_LIMIT,
    COUNT_LIMIT,
    CPUS_LIMIT,
    DATE_LIMIT,
    ELEMENT_LIMIT,
    NUMBER_LIMIT,
    SHORT_TEXT_LIMIT,
    encodable,
    file_date,
    shortened,
)
from gdispy.protocol.message import Message
from gdispy.protocol.messages import (
    Accepted,
    Cancel,
    Ended,
    Inventory,
    OutcomesAcked,
    ProgressAcked,
    Recall,
    Resume,
    Returned,
    Run,
    Started,
)
from gdispy.protocol.payload import Payload
from gdispy.protocol.record import fields
from gdispy.protocol.rows import FileFields, FileRow

#: A greater number is rounded up to an invalid one.
_GREATEST = NUMBER_LIMIT * (1 - 1e-15)
#: Maximum length of all texts of one message together, so that the rest still fits.
_TEXTS = 8 << 20

T = TypeVar("T")
_Repair = Callable[[Any], object]


def _are_times(column: list[float]) -> bool:
    """As `is_time_column` for values known to be floats, but faster."""
    # The sum is NaN if any of them is.
    return min(column) >= 0 and max(column) < DATE_LIMIT and sum(column) >= 0


#: Fields that are still checked in messages whose numbers this program has counted. There are many such messages, and
#: excessive lengths are detected when they are packed.
_LOOKED_AT: dict[type[Message], tuple[tuple[str, Callable[[Any], bool]], ...]] = {
    Run: (("options", field_checks.is_option_column),),
    Ended: (("starts", _are_times), ("ends", _are_times)),
    Started: (("times", _are_times),),
    **dict.fromkeys((Accepted, Cancel, OutcomesAcked, Recall, Returned, ProgressAcked), ()),
}


def seems_fit(message: Message) -> bool:
    """Whether everything in a message is within the limits, except lengths and characters of texts, which are detected
    when it is packed."""
    looked_at = _LOOKED_AT.get(type(message))
    if looked_at is None:
        return fits(message)
    for name, check in looked_at:
        value = getattr(message, name)
        if value and not check(value):
            return False
    return True


def fits(message: Message) -> bool:
    """Whether everything in a message is within the limits, except invalid characters and its size."""
    return all(check(value) for check, value in zip(message.shape, fields(message), strict=True))


def _is_sound(check: Check, value: object) -> bool:
    """Whether a field can be packed, too."""
    return check(value) and (check in _TEXTLESS or all(encodable(text) is text for text in _texts(value)))


def fitted(message: Message) -> list[Message]:
    """The same content in messages that the other side accepts; for their size in bytes, see `smaller`.

    Raises InternalError if that is impossible, which earlier checks should have prevented.
    """
    found: list[Message] = []
    for part in _parts(message):
        sound = all(_is_sound(check, value) for check, value in zip(part.shape, fields(part), strict=True))
        found.append(part if sound else type(part)(*_repaired(part)))
    return found


def divided(message: Message) -> list[Message]:
    """The same content in messages whose columns are within the limits, for a journal. Almost free for short messages,
    which are nearly all."""
    return [message] if _length(message) <= COLUMN_LIMIT else list(_parts(message))


def smaller(message: Message) -> list[Message]:
    """The same for a message of too many bytes: split in two, or with shorter texts. Raises InternalError."""
    rows = _length(message)
    if rows > 1:
        half = (rows + 1) // 2
        return [_part(message, 0, half), _part(message, half, rows)]
    texts = list(_texts(list(fields(message))))
    total = sum(map(len, texts))
    if total <= _TEXTS:
        raise InternalError(f"a {type(message).__name__} is too long to be sent")
    limit = max(1, _TEXTS // len(texts))
    return [type(message)(*(_with_texts(value, limit) for value in fields(message)))]


def has_too_many(values: list[object], data: bytes) -> bool:
    """Whether a message has too many elements; each takes at least a byte."""
    return len(data) > ELEMENT_LIMIT and _elements(values) > ELEMENT_LIMIT


def _elements(value: Sequence[object]) -> int:
    return len(value) + sum(_elements(each) for each in value if isinstance(each, list | tuple))


def _texts(value: object) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _with_texts(value: object, limit: int) -> object:
    if type(value) is str:
        return shortened(value, limit)
    return [_with_texts(each, limit) for each in value] if isinstance(value, list | tuple) else value


# Several messages


def _length(message: Message) -> int:
    """The number of items that may be split between several messages; 0 if it cannot be split."""
    return len(getattr(message, message.parts[0])) if message.parts else 0


def _part(message: Message, begin: int, end: int) -> Message:
    values = dict(zip(message.__match_args__, fields(message), strict=True))
    for name in message.parts:
        values[name] = values[name][begin:end]
    if begin:
        values.update(dict.fromkeys(message.once, False))
    if end < _length(message):
        values.update(dict.fromkeys(message.unfinished, True))
    return type(message)(**values)


def _parts(message: Message) -> Iterator[Message]:
    if isinstance(message, Inventory | Resume):
        yield _in_short_rows(message)
        return
    rows = _length(message)
    if rows == 0:
        yield message
        return
    begin = 0
    for end in _ends(message, rows):
        yield message if end - begin == rows else _part(message, begin, end)
        begin = end


def _ends(message: Message, rows: int) -> Iterator[int]:
    """The indexes at which the parts of a message end: a part fits into a column, its payloads into the limits."""
    streams = _streams(message)
    if not streams:
        yield from range(COLUMN_LIMIT, rows, COLUMN_LIMIT)
    begin = count = size = 0
    for index, (more, larger) in enumerate(streams):
        is_full = count + more > BATCH_STREAMS or size + larger > BATCH_BYTES or index - begin == COLUMN_LIMIT
        if is_full and index > begin:
            yield index
            begin, count, size = index, 0, 0
        count, size = count + more, size + larger
    yield rows


def brings_little(sizes: list[int]) -> bool:
    """Whether payloads of these sizes may accompany one message that could be split."""
    return len(sizes) < 2 or (len(sizes) <= BATCH_STREAMS and sum(sizes) <= BATCH_BYTES)


def _streams(message: Message) -> list[tuple[int, int]]:
    """The number of payloads of each item, and their size in bytes; empty if there are none."""
    counts = [[_payloads(item) for item in getattr(message, name)] for name in message.parts]
    rows = zip(*(column for column in counts if column), strict=True)
    found = [(sum(count for count, _ in row), sum(size for _, size in row)) for row in rows]
    return found if any(count for count, _ in found) else []


def _payloads(value: object) -> tuple[int, int]:
    """How many payloads are in an item, and their bytes."""
    if isinstance(value, list | tuple):
        found = [_payloads(each) for each in value]
        return sum(count for count, _ in found), sum(size for _, size in found)
    return (1, value.size) if isinstance(value, Payload) else (0, 0)


def _in_short_rows(message: Inventory | Resume) -> Message:
    """The content for each computation in rows of limited length: a computation may occur several times."""
    columns = [getattr(message, name) for name in message.__match_args__ if name not in message.unfinished]
    if all(len(row) <= COLUMN_LIMIT for column in columns[1:] for row in column):
        return message
    found: list[list[object]] = [[] for _ in columns]
    for place, computation in enumerate(columns[0]):
        rows = [column[place] if column else [] for column in columns[1:]]
        for begin in range(0, max(1, *map(len, rows)), COLUMN_LIMIT):
            found[0].append(computation)
            for goal, row in zip(found[1:], rows, strict=True):
                goal.append(row[begin : begin + COLUMN_LIMIT])
    # A column that is empty for all computations, such as ended jobs, stays empty.
    rows = [new if old else [] for new, old in zip(found, columns, strict=True)]
    return replace(message, **dict(zip(message.__match_args__, rows, strict=False)))


# Bringing fields within the limits


def _repaired(message: Message) -> Iterator[object]:
    for name, check, value in zip(message.__match_args__, message.shape, fields(message), strict=True):
        if not _is_sound(check, value):
            with contextlib.suppress(TypeError, ValueError, AttributeError):
                # Of a list for people, the first items are kept if it is too long.
                value = _REPAIRS[check](value if name in _WHOLE or type(value) is not list else value[:COLUMN_LIMIT])
            if not _is_sound(check, value):
                what = f"{type(message).__name__}.{name}"
                raise InternalError(f"a {type(value).__name__} cannot be sent in a message as {what}")
        yield value


#: Columns from which nothing may be dropped.
_WHOLE = ("files", "contents", "places", "jobs", "claims")


def _count(value: int) -> int:
    return max(0, min(int(value), COUNT_LIMIT - 1))


def _number(value: float) -> float:
    try:
        value = float(value)
    except OverflowError:
        value = _GREATEST if value > 0 else -_GREATEST
    return max(-_GREATEST, min(value, _GREATEST)) if value == value else 0.0


def _same(value: T) -> T:
    return value


def _column(repair: _Repair) -> _Repair:
    return lambda values: [repair(value) for value in values]


def _row(*checks: Check) -> _Repair:
    repairs = [_REPAIRS[check] for check in checks]
    return lambda row: [repair(value) for repair, value in zip(repairs, row, strict=True)]


def _file(row: FileFields) -> FileFields:
    path, mode, modified, size, digest = FileRow._make(row)
    return [shortened(path), _count(mode), file_date(modified), _count(size), digest]


#: Checks of fields that hold many items and no text.
_TEXTLESS = frozenset(
    [
        field_checks.is_count_column,
        field_checks.is_status_column,
        field_checks.is_number_column,
        field_checks.is_time_column,
        field_checks.is_bulk_column,
        field_checks.is_content_column,
        field_checks.is_flag_column,
        field_checks.is_column_list,
    ]
)
_REPAIRS: dict[Check, _Repair] = {
    field_checks.is_text: shortened,
    field_checks.is_short_text: lambda text: shortened(text, SHORT_TEXT_LIMIT),
    field_checks.is_count: _count,
    field_checks.is_cpus: lambda cpus: min(_count(cpus), CPUS_LIMIT),
    field_checks.is_number: _number,
    field_checks.is_flag: bool,
    **dict.fromkeys(
        (
            field_checks.is_bulk,
            field_checks.is_instance,
            field_checks.is_computation,
            field_checks.is_node_name,
            field_checks.is_proof,
            field_checks.is_bulk_column,
            field_checks.is_content_column,
        ),
        _same,
    ),
    field_checks.is_computation_column: _same,
    field_checks.is_proof: _same,
    field_checks.is_text_column: _column(shortened),
    field_checks.is_count_column: _column(_count),
    field_checks.is_status_column: _same,
    field_checks.is_number_column: _column(_number),
    field_checks.is_time_column: _column(file_date),
    field_checks.is_flag_column: _column(bool),
    field_checks.is_left_out_column: _column(_count),
    field_checks.is_availability: _column(_number),
    field_checks.is_column_list: _column(_column(_count)),
    field_checks.is_file_list: _column(_file),
}
_OPTIONS = _row(*field_checks.OPTION_ROW)
_REPAIRS[field_checks.is_option_column] = _column(lambda row: None if row is None else _OPTIONS(row))
_REPAIRS[field_checks.is_node_list] = _column(_row(*field_checks.NODE_ROW))
_REPAIRS[field_checks.is_claim_list] = _column(_row(*field_checks.CLAIM_ROW))
_REPAIRS[field_checks.is_node_overview] = _column(_row(*field_checks.NODE_OVERVIEW))
_REPAIRS[field_checks.is_usage] = _column(_row(*field_checks.USAGE_ROW))
_REPAIRS[field_checks.is_computation_overview] = _column(_row(*field_checks.COMPUTATION_OVERVIEW))
_REPAIRS[field_checks.is_running_jobs] = _column(_row(*field_checks.RUNNING_JOB_ROW))
_REPAIRS[field_checks.is_log_positions] = _column(_row(*field_checks.LOG_POSITION))
_REPAIRS[field_checks.is_log_rows] = _column(_row(*field_checks.LOG_ROW))
