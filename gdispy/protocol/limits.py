"""The limits of messages, in one place for senders and receivers.

Pure; workers use it, too. `field_checks.py` checks fields against these limits, `splitting.py` splits messages so that
they comply before they are sent.
"""

from __future__ import annotations

#: Maximum size of a payload inside its message; larger payloads are stored and sent separately.
INLINE = 32 * 1024
#: Maximum length of a text field in characters.
TEXT_LIMIT = 1 << 20
#: Maximum number of items of a column.
COLUMN_LIMIT = 1 << 16
#: Counts are less than this, so that floats can represent them.
COUNT_LIMIT = 1 << 53
#: Numbers are less than this in absolute value.
NUMBER_LIMIT = 1e300
#: Maximum length of a name, a version, an address or a platform in `Hello`.
SHORT_TEXT_LIMIT = 1024
#: Maximum number of CPUs of one node.
CPUS_LIMIT = 1 << 16
#: Times, and dates of files, are less than this, in seconds since the epoch, and not negative.
DATE_LIMIT = 1 << 40
#: Maximum size of the plaintext of one frame.
CHUNK_LIMIT = 64 * 1024
#: Maximum size of one encoded message without its payloads.
MESSAGE_LIMIT = 64 * 1024 * 1024
#: Maximum number of started streams of one direction that no message has referred to yet. A computation with as many
#: files as a column holds is one message.
STREAM_LIMIT = 1 << 17
#: Maximum number of those that are in memory or in memory files: a message refers to at most `BATCH_STREAMS`.
PAYLOAD_LIMIT = 1 << 12
#: Maximum size of those if they are many: one message refers to few large payloads, or to many small ones.
PAYLOADS_BYTES = 256 * 1024 * 1024
FEW_PAYLOADS = 16
#: Maximum number of streams of one direction that have started and not ended.
OPEN_LIMIT = 16
#: Maximum number of elements of all arrays of one message: in memory they take much more than on the wire.
ELEMENT_LIMIT = 1 << 21
#: Maximum number of streams of one message, if it can be split.
BATCH_STREAMS = 1024
#: Maximum size of the payloads of one message, if it can be split into several: together with those of the next
#: message, whose streams may begin before it has arrived, they are smaller than `PAYLOADS_BYTES`.
BATCH_BYTES = 64 * 1024 * 1024
#: Maximum length of the name of a function, a program, a host or a node.
NAME_LIMIT = 255


def encodable(text: str) -> str:
    """The text, with characters that UTF-8 cannot encode, such as parts of file names, written as escape sequences."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def shortened(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text that can be sent: if it has more than `limit` characters, its first and last part with a note between them
    about the number of omitted characters."""
    text = encodable(text)
    if len(text) <= limit:
        return text
    gap = f"[... {len(text):,} characters, of which the middle was left out ...]"
    if limit <= 2 * len(gap):
        return text[: limit - 3] + "..." if limit > 3 else text[:limit]
    gap = f"\n{gap}\n"
    first = (limit - len(gap)) // 2
    return text[:first] + gap + text[len(text) - (limit - len(gap) - first) :]


def short_name(text: str) -> str:
    """A name that can be sent, in one line: cut at the end if it is too long."""
    text = encodable(text)
    return text if len(text) <= NAME_LIMIT else text[: NAME_LIMIT - 3] + "..."


def file_date(seconds: float) -> float:
    """A file's time of modification in messages: from 1970 on, and not in the far future."""
    if not seconds >= 0:  # It may be NaN.
        return 0.0
    return float(min(seconds, DATE_LIMIT - 1))


#: Maximum size of a peer's text in a line for people.
PRINTED_LIMIT = 1024
#: The same for texts of several lines, which describe the problems of several peers or contain a traceback.
PRINTED_LINES_LIMIT = 16 * 1024
_CUT = "[...]"


def printable(text: str, limit: int = PRINTED_LIMIT) -> str:
    """A peer's text as one line for a log, a table or a message: non-printable characters (control characters and
    escape sequences, line breaks, marks that change the direction of text, surrogates) are escaped as in Python, and
    text beyond `limit` bytes is cut, with a mark."""
    return _printable(text, limit, "")


def printable_lines(text: str, limit: int = PRINTED_LINES_LIMIT) -> str:
    """The same for a text that may have several lines, such as a traceback."""
    return _printable(text, limit, "\n")


def printable_for_log(text: str, limit: int = PRINTED_LINES_LIMIT) -> str:
    """The same for a log: lines after the first are indented, so that they cannot look like another entry."""
    first, *others = printable_lines(text, limit).split("\n")
    return "\n".join([first, *(each if each.startswith("  ") or not each else f"  {each}" for each in others)])


def _printable(text: str, limit: int, breaks: str) -> str:
    is_long = len(text) > limit
    text = text[:limit]  # Each character is a byte at least.
    if not text.isprintable():
        text = "".join(char if char.isprintable() or char in breaks else _escaped(char) for char in text)
    data = text.encode()
    if len(data) <= limit and not is_long:
        return text
    return data[: max(0, limit - len(_CUT))].decode("utf-8", "ignore") + _CUT[: max(0, limit)]


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def counted(number: int, noun: str) -> str:
    """The number with its noun: `1 job`, `2 jobs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
