"""Validation of the fields of messages: one check for each kind of field.

Pure. Each message is checked once, on arrival. Columns are checked by their types as a whole if possible: a thousand
short jobs are one message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from gdispy.protocol.job_status import FINAL
from gdispy.protocol.limits import (
    COLUMN_LIMIT,
    COUNT_LIMIT,
    CPUS_LIMIT,
    DATE_LIMIT,
    NUMBER_LIMIT,
    SHORT_TEXT_LIMIT,
    TEXT_LIMIT,
)
from gdispy.protocol.payload import FilePayload, Payload

INSTANCE_BYTES = 16
COMPUTATION_BYTES = 8
#: A public key of Ed25519, and a signature.
PROOF_BYTES = 32 + 64

Check = Callable[[object], bool]

_BYTES = frozenset({bytes})
_COUNTS = frozenset({int, bool})


def is_text(value: object) -> bool:
    return type(value) is str and len(value) <= TEXT_LIMIT


def is_short_text(value: object) -> bool:
    return type(value) is str and len(value) <= SHORT_TEXT_LIMIT


def is_cpus(value: object) -> bool:
    return type(value) is int and 0 <= value <= CPUS_LIMIT


def is_flag(value: object) -> bool:
    return type(value) is bool


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < COUNT_LIMIT


def is_number(value: object) -> bool:
    return type(value) is float and value == value and abs(value) < NUMBER_LIMIT


def is_bulk(value: object) -> bool:
    """A payload that must not be a file, because workers and unpicklers need it in memory."""
    return type(value) is bytes or (isinstance(value, Payload) and not isinstance(value, FilePayload))


def is_instance(value: object) -> bool:
    return type(value) is bytes and len(value) == INSTANCE_BYTES


def is_computation(value: object) -> bool:
    return type(value) is bytes and len(value) == COMPUTATION_BYTES


def column(types: frozenset[type], check: Check | None = None) -> Check:
    def is_column(value: object) -> bool:
        if type(value) is not list or len(value) > COLUMN_LIMIT:
            return False
        if len(value) == 1:
            return type(value[0]) in types and (check is None or check(value[0]))
        if not types.issuperset(map(type, value)):
            return False
        return check is None or all(map(check, value))

    return is_column


def is_count_column(value: object) -> bool:
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    if len(value) == 1:
        only = value[0]
        return type(only) is int and 0 <= only < COUNT_LIMIT
    return not value or (set(map(type, value)) == {int} and min(value) >= 0 and max(value) < COUNT_LIMIT)


def is_text_column(value: object) -> bool:
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    return not value or (set(map(type, value)) == {str} and max(map(len, value)) <= TEXT_LIMIT)


def is_number_column(value: object) -> TypeGuard[list[float]]:
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    if not value:
        return True
    if set(map(type, value)) != {float}:
        return False
    total = sum(value)  # The sum is NaN if any number is; for few numbers of moderate size it is always finite.
    return min(value) > -NUMBER_LIMIT and max(value) < NUMBER_LIMIT and total == total


def is_status_column(value: object) -> bool:
    """The outcomes of jobs: final statuses only."""
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    return not value or (set(map(type, value)) == {int} and FINAL.issuperset(value))


def is_time_column(value: object) -> bool:
    """Seconds since the epoch."""
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    # The sum is NaN if any number is, which neither the minimum nor the maximum need show.
    if not value:
        return True
    return set(map(type, value)) == {float} and min(value) >= 0 and max(value) < DATE_LIMIT and sum(value) >= 0


is_flag_column = column(frozenset({bool}))


def is_left_out_column(value: object) -> bool:
    """Bytes dropped from each job's output; or, from an earlier version, whether any were dropped."""
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    return not value or (_COUNTS.issuperset(map(type, value)) and min(value) >= 0 and max(value) < COUNT_LIMIT)


is_computation_column = column(frozenset({bytes}), is_computation)


def is_bulk_column(value: object) -> bool:
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    if len(value) == 1:
        return is_bulk(value[0])
    if _BYTES.issuperset(map(type, value)):
        return True
    kinds = set(map(type, value))
    return all(kind is bytes or (issubclass(kind, Payload) and not issubclass(kind, FilePayload)) for kind in kinds)


def is_content_column(value: object) -> bool:
    """Payloads that may also be files."""
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    if _BYTES.issuperset(map(type, value)):
        return True
    return all(kind is bytes or issubclass(kind, Payload) for kind in set(map(type, value)))


def is_file_list(value: object) -> bool:
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(map(is_file, value))


def is_file(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 5:
        return False
    path, mode, modified, size, digest = value
    counts = is_count(mode) and is_count(size)
    date = is_number(modified) and 0 <= modified < DATE_LIMIT
    return counts and is_text(path) and date and type(digest) is bytes


def is_option_column(value: object) -> bool:
    """Empty if no job has options; else for each job None or `[node, priority, seconds, cpus, bytes of memory, names,
    files, contents, seconds of CPU time]`."""
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    return all(row is None or (is_row(OPTION_ROW, row) and len(row[6]) == len(row[7])) for row in value)


def is_row(checks: tuple[Check, ...], value: object) -> bool:
    """Whether a value is a row, a list or a type of `rows.py`, whose fields pass the checks, one check per field."""
    if not isinstance(value, list | tuple) or len(value) != len(checks):
        return False
    return all(check(field) for check, field in zip(checks, value, strict=True))


def is_availability(value: object) -> bool:
    """Empty, or free CPU (percent), memory (bytes), disk (bytes) and swap (percent)."""
    return is_number_column(value) and len(value) in (0, 4)


def is_column_list(value: object) -> bool:
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(map(is_count_column, value))


NODE_ROW = (is_text, is_text, *[is_count] * 4, is_number, is_count, is_count)


def is_node_list(value: object) -> bool:
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(map(is_node, value))


def is_node(value: object) -> bool:
    return is_row(NODE_ROW, value)


def is_node_name(value: object) -> bool:
    """The instance of a node, or empty for any node."""
    return type(value) is bytes and len(value) in (0, INSTANCE_BYTES)


def is_proof(value: object) -> bool:
    """A public key and a signature, or empty; `identity.py` verifies it."""
    return type(value) is bytes and len(value) in (0, PROOF_BYTES)


#: Sixteen random bytes, or empty.
is_token = is_node_name


def is_claim_list(value: object) -> bool:
    """Rows `[computation, token, epoch]`."""
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(is_row(CLAIM_ROW, row) for row in value)


CLAIM_ROW = (is_computation, is_instance, is_count)


OPTION_ROW = (
    is_node_name,
    is_number,
    is_number,
    is_count,
    is_count,
    is_bulk,
    is_file_list,
    is_content_column,
    is_number,
)


NODE_OVERVIEW = (is_text, is_text, is_count, is_count, is_count, is_flag)
USAGE_ROW = (is_text, is_text, *[is_count] * 3, is_number)
RUNNING_JOB_ROW = (is_computation, is_count, is_count, is_number, is_number, is_count, *[is_text] * 4)
LOG_POSITION = (is_instance, is_count)
LOG_ROW = (is_instance, is_count, is_number, is_text, is_text, is_text)
COMPUTATION_OVERVIEW = (is_text, is_text, is_text, is_count, is_count)


def is_node_overview(value: object) -> bool:
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(is_row(NODE_OVERVIEW, row) for row in value)


def is_computation_overview(value: object) -> bool:
    if type(value) is not list or len(value) > COLUMN_LIMIT:
        return False
    return all(is_row(COMPUTATION_OVERVIEW, row) for row in value)


def is_usage(value: object) -> bool:
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(is_row(USAGE_ROW, row) for row in value)


def is_running_jobs(value: object) -> bool:
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(is_row(RUNNING_JOB_ROW, row) for row in value)


def is_log_positions(value: object) -> bool:
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(is_row(LOG_POSITION, row) for row in value)


def is_log_rows(value: object) -> bool:
    return type(value) is list and len(value) <= COLUMN_LIMIT and all(is_row(LOG_ROW, row) for row in value)
