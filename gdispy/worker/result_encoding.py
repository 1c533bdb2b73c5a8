"""How results of a computation leave: as pickles, or as plain data (`results='plain'`).

The template chooses when it loads the computation; the workers that are forked from it do the same.
"""

from __future__ import annotations

from gdispy.worker import pickling, plain

#: Values of `Prepare.results`.
PICKLED, PLAIN = "", "plain"

_is_plain = False


def choose(results: str) -> None:
    """Encode so from now on. Raises ValueError for a way that is not known here."""
    global _is_plain
    if results not in (PICKLED, PLAIN):
        raise ValueError(f"results={results!r} is not known to this node: install the same gdispy on both")
    _is_plain = results == PLAIN


def encode_result(value: object) -> pickling.Payload:
    """What a job returned. Raises NotPlain, or what pickling raises."""
    return plain.dumps(value) if _is_plain else pickling.dumps_result(value)


def encode_provisional(value: object) -> pickling.Payload:
    """A provisional result. Raises likewise."""
    return plain.dumps(value, "the provisional result") if _is_plain else pickling.dumps(value)


def encode_failure(error: BaseException) -> bytes:
    """What a job raised, as far as it travels: its text does in any case."""
    return b"" if _is_plain else pickling.dumps_failure(error)
