"""Packs a function with everything it refers to: the bytes that a node loads, and the source files that it needs.

Runs in the user's thread, once for each cluster.

Functions and classes are sent by value (`worker/by_value.py`). Modules of the program that code imports at run time, or
uses in a way that cannot be analysed, are sent as files, and their contents by name. Packing a function reveals which
modules these are; then it is packed once more.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from gdispy.client import module_sources, module_state
from gdispy.errors import ConfigError
from gdispy.worker import pickling, source
from gdispy.worker.imported_names import imports_of_code
from gdispy.worker.manner import Findings, Manner
from gdispy.worker.paths_to import name_of, unpicklable

#: Maximum number of packing rounds: each round but the last finds at least one more module to send as a file.
_ROUNDS = 100

logger = logging.getLogger(__name__)


@dataclass
class Packed:
    """A packed computation, and how the arguments of its jobs are encoded."""

    body: pickling.Payload = b""
    #: The same as source text, for nodes with another version of Python; b'' if that is impossible.
    source: bytes = b""
    #: Path on the node -> path here, or the source itself.
    files: dict[str, module_sources.Content] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    manner: Manner = field(default_factory=Manner)
    #: The names of the definitions in `body`.
    titles: list[str] = field(default_factory=list)


def pack(name: str, value: tuple[Any, ...], manner: Manner) -> Packed:
    """Pack a computation: its function, the names in `depends`, setup and cleanup. Raises ConfigError."""
    packed = Packed(manner=manner)
    own: frozenset[str] = frozenset()
    for _ in range(_ROUNDS):
        findings = Findings()
        states = _changed(own, packed.manner)
        packed.body = _pickled(name, (*value, states) if states else value, packed.manner, findings)
        wanted = _wanted(findings)
        found = module_sources.find(wanted)
        modules = found.modules | packed.manner.as_files
        _refuse_unsendable(name, findings.whole - modules, packed.manner)
        packed.files.update(found.files)
        packed.reasons.update(found.reasons)
        if modules == packed.manner.as_files:
            break
        own |= found.modules - packed.manner.as_files
        packed.manner = replace(packed.manner, as_files=modules)
    packed.source = _source((*value, states) if states else value, packed.manner)
    packed.manner = replace(packed.manner, known=frozenset(findings.defined), kept=tuple(findings.objects))
    packed.titles = sorted(findings.titles)
    return packed


def _changed(names: frozenset[str], manner: Manner) -> dict[str, bytes]:
    """The changes of the program to modules that are sent as files, by module. Each is pickled separately: it is loaded
    when the module is imported."""
    found: dict[str, bytes] = {}
    for name in sorted(names & sys.modules.keys()):
        module = sys.modules[name]
        source_of = module_sources.source_of(name, module)
        if source_of is None or not source_of[0].endswith(".py"):
            continue
        values: dict[str, Any] = {}
        for key, value in module_state.changed(module, _text_of(source_of[1])).items():
            try:
                pickling.dumps_by_value(value, manner)
            except Exception as error:
                logger.debug("%s.%s, which the program has set, is not sent: %s", name, key, error)
            else:
                values[key] = value
        if values:
            found[name] = joined(pickling.dumps_by_value(values, manner))
            logger.debug("the changes of the program to %s are sent: %s", name, ", ".join(values))
    return found


def _text_of(content: module_sources.Content) -> bytes:
    if isinstance(content, bytes):
        return content
    with open(content, "rb") as file:
        return file.read()


def joined(payload: pickling.Payload) -> bytes:
    """A payload as one bytes object."""
    return payload if isinstance(payload, bytes) else b"".join(payload)


def _wanted(findings: Findings) -> set[str]:
    """The modules that are needed as files."""
    wanted = set(findings.whole)
    for code, package in findings.codes:
        wanted |= imports_of_code(code, package)
    return wanted


def _refuse_unsendable(name: str, missing: set[str], manner: Manner) -> None:
    for each in sorted(missing):
        if manner.is_by_value(each) and each in sys.modules:
            raise ConfigError(f"{name} needs the whole module {each}, which has no source to send")


def _pickled(name: str, value: tuple[Any, ...], manner: Manner, findings: Findings) -> pickling.Payload:
    try:
        return pickling.dumps_by_value(value, manner, findings)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        where = _place(name, value, manner)
        raise ConfigError(
            f"{name} cannot be sent to nodes: {reason}{f' ({where})' if where else ''}. It refers to something that "
            "cannot be copied to another machine; create that inside the function"
        ) from error


def _place(name: str, value: tuple[Any, ...], manner: Manner) -> str:
    function, given, setup, cleanup = value[:4]
    parts = {name: function, "depends": given}
    parts.update((f"{word} {name_of(each)}", each) for word, each in (("setup", setup), ("cleanup", cleanup)))
    for begin, each in parts.items():
        found = unpicklable(each, manner, begin)
        if found:
            return found
    return ""


def _source(value: Any, manner: Manner) -> bytes:
    try:
        return source.dumps(value, manner)
    except Exception as error:
        logger.debug("nodes of another version of Python cannot be used: %s", error)
        return b""


def size_of(payload: pickling.Payload) -> int:
    """The size of a payload in bytes."""
    return len(payload) if isinstance(payload, bytes) else sum(map(len, payload))
