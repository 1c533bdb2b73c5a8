"""Encoding of the results of a computation: pickles, or plain data (`results='plain'`).

The template selects it when it loads the computation; the workers forked from it inherit the selection.
"""

from __future__ import annotations

from gdispy.worker import pickling, plain

#: Values of `Prepare.results`.
PICKLED, PLAIN = "", "plain"

_is_plain = False


def choose(results: str) -> None:
    """Select the encoding. Raises ValueError for an unknown one."""
    global _is_plain
    if results not in (PICKLED, PLAIN):
        raise ValueError(f"results={results!r} is not known to this node: install the same gdispy on both")
    _is_plain = results == PLAIN


def encode_result(value: object) -> pickling.Payload:
    """The encoded result of a job. Raises NotPlain, or exceptions of pickling."""
    return plain.dumps(value) if _is_plain else pickling.dumps_result(value)


def encode_provisional(value: object) -> pickling.Payload:
    """An encoded provisional result. Raises likewise."""
    return plain.dumps(value, "the provisional result") if _is_plain else pickling.dumps(value)


def encode_failure(error: BaseException) -> bytes:
    """The encoded exception of a job, if possible: its text is always sent."""
    return b"" if _is_plain else pickling.dumps_failure(error)
