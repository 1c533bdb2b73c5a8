"""What messages can hold: the one place that knows each limit, for those who send and those who check what arrives.

Pure; processes of jobs use it, too. `field_checks.py` checks fields against these limits, `splitting.py` brings
messages within them before they are sent.
"""

from __future__ import annotations

#: Bytes of a payload up to which it travels inside its message; a larger one is kept and sent apart.
INLINE = 32 * 1024
#: Characters of a text field at most.
TEXT_LIMIT = 1 << 20
#: Items of a column at most.
COLUMN_LIMIT = 1 << 16
#: A count is less than this: also what counts in floats can hold it.
COUNT_LIMIT = 1 << 53
#: A number is less than this, in absolute value.
NUMBER_LIMIT = 1e300
#: Characters of a name, a version, an address or a platform in `Hello` at most.
SHORT_TEXT_LIMIT = 1024
#: CPUs of one node at most.
CPUS_LIMIT = 1 << 16
#: A point of time, and a date of a file, is less than this, in seconds since the epoch; and not before it.
DATE_LIMIT = 1 << 40
#: Bytes of plaintext in one frame at most.
CHUNK_LIMIT = 64 * 1024
#: Bytes of one encoded message, its payloads aside, at most.
MESSAGE_LIMIT = 64 * 1024 * 1024
#: Streams of one direction that have begun and that no message has referred to yet, at most. A computation with as many
#: files as a column holds is one message.
STREAM_LIMIT = 1 << 17
#: Of those the ones that lie in memory, or in memory files: a message refers to `BATCH_STREAMS` at most.
PAYLOAD_LIMIT = 1 << 12
#: Bytes of those where they are more than a few: one message refers to few that are large, or to many small ones.
PAYLOADS_BYTES = 256 * 1024 * 1024
FEW_PAYLOADS = 16
#: Streams of one direction that have begun and not ended, at most.
OPEN_LIMIT = 16
#: Elements of all arrays of one message together, at most: what they occupy is many times what they are on the wire.
ELEMENT_LIMIT = 1 << 21
#: Streams of one message at most, where what it says can be said in several.
BATCH_STREAMS = 1024
#: Bytes of payloads of one message, where what it says can be said in several: with those of the next message, whose
#: streams may begin before it has arrived, they are fewer than `PAYLOADS_BYTES`.
BATCH_BYTES = 64 * 1024 * 1024
#: Characters of the name of a function, a program, a host or a node at most.
NAME_LIMIT = 255


def encodable(text: str) -> str:
    """The text with what UTF-8 cannot express, such as parts of file names of other systems, written as `\\udcff`."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def shortened(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text that can travel: where it has more characters than `limit`, its first and its last part, and between
    them how many were left out."""
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
    """A name that can travel, in one line of text: where it is too long, its beginning."""
    text = encodable(text)
    return text if len(text) <= NAME_LIMIT else text[: NAME_LIMIT - 3] + "..."


def file_date(seconds: float) -> float:
    """A file's time of modification, as messages hold it: from 1970 on, and not in the far future."""
    if not seconds >= 0:  # Nor is it a number at all.
        return 0.0
    return float(min(seconds, DATE_LIMIT - 1))


#: Bytes of a text of a peer, in a line that people read, at most.
PRINTED_LIMIT = 1024
#: The same of texts of several lines, which say what is wrong with several peers, or hold a traceback.
PRINTED_LINES_LIMIT = 16 * 1024
_CUT = "[...]"


def printable(text: str, limit: int = PRINTED_LIMIT) -> str:
    """A text of a peer as one line for a log, a table or a message: what is no printable character (control characters
    and escape sequences, line breaks, marks that change the direction of text, surrogates) is written as in Python, and
    what is longer than `limit` bytes is cut, with a mark."""
    return _printable(text, limit, "")


def printable_lines(text: str, limit: int = PRINTED_LINES_LIMIT) -> str:
    """The same of a text that may have several lines, such as a traceback."""
    return _printable(text, limit, "\n")


def printable_for_log(text: str, limit: int = PRINTED_LINES_LIMIT) -> str:
    """The same for a log: lines after the first are indented, so that none looks like another entry."""
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
