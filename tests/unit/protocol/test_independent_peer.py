"""docs/protocol.md: its vectors, refusals, messages and limits, on gdispy and on another implementation."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import msgpack
import pytest

from gdispy import config
from gdispy.client import packaging
from gdispy.errors import PeerRejected, ProtocolError
from gdispy.protocol import client_hello, discovery, handshake, identity, limits, safe_path, wire
from gdispy.protocol.messages import ALL, from_values
from gdispy.protocol.payload import FilePayload, MemoryPayload, joined
from gdispy.protocol.wire import MemorySink, Receiver, Sender
from gdispy.rules.node import loading
from gdispy.rules.scheduler import client_mailbox, node_reports
from gdispy.transport import admission, liveness
from gdispy.worker import pickling, plain
from tests.independent import frames, keys, messages, payloads
from tests.independent.keys import Refused
from tests.support.byte_specs import bytes_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "protocol.md"
TEXT = DOCUMENT.read_text()
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
#: The time of the vectors, in milliseconds and in seconds.
NOW = int(VECTORS["time"], 16)
SECONDS = NOW / 1000
ROLES = VECTORS["roles"]


def unhex(name: str) -> bytes:
    return bytes.fromhex(VECTORS[name])


PSK = unhex("psk")


# Vectors, on the other implementation


def test_secrets_and_keys_of_purposes() -> None:
    for text, key in (("generated_secret", "secret_key"), ("pass_phrase", "pass_phrase_key")):
        assert keys.secret_key(f" {VECTORS[text]}\n") == unhex(key)
    assert keys.purpose_key(unhex("secret_key"), "tcp") == PSK
    assert keys.purpose_key(unhex("secret_key"), "udp") == unhex("udp_key")


@pytest.mark.parametrize(("suffix", "certificate"), [("", bytes(32)), ("_with_certificate", unhex("certificate"))])
def test_handshake_of_both_sides(suffix: str, certificate: bytes) -> None:
    initiator = keys.Initiator(PSK, ROLES, NOW, unhex("initiator_ephemeral"), certificate)
    assert initiator.first == unhex(f"first{suffix}")
    responder = keys.Responder(PSK, ["visitor>node", ROLES], unhex("responder_instance"), certificate)
    second, theirs, roles = responder.answer(initiator.first, NOW, unhex("responder_ephemeral"))
    ours = initiator.finish(second)
    assert (second, roles) == (unhex(f"second{suffix}"), ROLES)
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert (ours.send, ours.receive) == (unhex(f"key_i_to_r{suffix}"), unhex(f"key_r_to_i{suffix}"))
    assert ours.instance == unhex("responder_instance")
    if not suffix:
        assert (ours.own_binding, ours.peer_binding) == (unhex("binding_i"), unhex("binding_r"))


def test_clock_refusal_and_server_name() -> None:
    responder = keys.Responder(PSK, [ROLES], unhex("responder_instance"))
    with pytest.raises(Refused) as refused:
        responder.answer(unhex("first"), int(VECTORS["later"], 16), unhex("responder_ephemeral"))
    assert refused.value.answer == unhex("clock_refusal")
    with pytest.raises(Refused, match="the clocks differ"):
        keys.Initiator(PSK, ROLES, NOW, unhex("initiator_ephemeral")).finish(unhex("clock_refusal"))
    assert keys.server_name(PSK, NOW, unhex("server_name_random")) == VECTORS["server_name"]
    assert keys.check_server_name(PSK, VECTORS["server_name"], NOW) == unhex("server_name_random")


@pytest.mark.parametrize(("side", "other"), [("i", "r"), ("r", "i")])
def test_proofs(side: str, other: str) -> None:
    seed = unhex("initiator_seed" if side == "i" else "responder_seed")
    own = keys.Identity(seed)
    name = "initiator_instance" if side == "i" else "responder_instance"
    assert (own.instance, own.proof(unhex(f"binding_{side}"))) == (unhex(name), unhex(f"proof_{side}"))
    seen = keys.Keys(b"", b"", unhex(f"binding_{other}"), unhex(f"binding_{side}"), b"")
    keys.check_proof(own.instance, unhex(f"proof_{side}"), seen)


def test_packet_of_discovery() -> None:
    fields = [2, unhex("udp_instance"), 1_700_000_000.0, 51348, "", "host", 0, ""]
    key, data = unhex("udp_key"), unhex("udp_packet")
    assert keys.packet(key, fields, unhex("udp_nonce")) == data
    seen: set[bytes] = set()
    assert keys.open_packet(key, data, b"", 1_700_000_000.0, seen) == fields
    for changed in (data, data[:-1], data[:-1] + b"\0", data + bytes(300), b"gdispyU2" + data[8:]):
        with pytest.raises(Refused):
            keys.open_packet(key, changed, b"", 1_700_000_000.0, seen)
    for own, now in ((fields[1], 1_700_000_000.0), (b"", 1_700_000_301.0)):
        with pytest.raises(Refused):
            keys.open_packet(key, data, own, now, set())


# Frames, on both


def hello_values(name: str, instance: bytes, proof: bytes) -> list[Any]:
    about = {"INSTANCE": instance, "PROOF": proof}
    return [about.get(each, each) if isinstance(each, str) else each for each in VECTORS[name]]


def sent_by_initiator() -> list[tuple[bytes, bytes]]:
    """The chunks and the frames of the initiator, in their order."""
    first = (unhex("chunk"), unhex("frame"))
    return [first, *((bytes.fromhex(chunk), bytes.fromhex(frame)) for _, chunk, frame in VECTORS["frames"])]


class File(FilePayload):
    """What arrived to be put on disk."""

    __slots__ = ()


class FileSink(MemorySink):
    """Collects a stream of purpose 1."""

    def finish(self) -> File:
        return File()


def receiver() -> Receiver:
    return Receiver(unhex("key_i_to_r"), lambda size, purpose: FileSink() if purpose == wire.FILE else MemorySink())


def test_frames_are_sealed_alike() -> None:
    sealer, sender = frames.Sealer(unhex("key_i_to_r")), Sender(unhex("key_i_to_r"))
    for chunk, frame in sent_by_initiator():
        assert sealer.frame(chunk) == frame
        assert b"".join(sender.rekey() if chunk == b"\5" else sender._sealed(chunk)) == frame
    chunk = bytes([0]) + msgpack.packb(hello_values("hello_r", unhex("responder_instance"), unhex("proof_r")))
    for own in (frames.Sealer(unhex("key_r_to_i")).frame, lambda data: Sender(unhex("key_r_to_i"))._sealed(data)[0]):
        assert (own(chunk), chunk) == (unhex("frame_r"), unhex("chunk_r"))


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_frames_are_read_alike(size: int) -> None:
    data = b"".join(frame for _, frame in sent_by_initiator())
    into, opener, reader = receiver(), frames.Opener(unhex("key_i_to_r")), frames.Reader()
    ours: list[Any] = []
    theirs: list[Any] = []
    for begin in range(0, len(data), size):
        part = data[begin : begin + size]
        ours += into.receive(part)
        theirs += [found for chunk in opener.chunks(part) for found in reader.read(chunk)]
    hello, run, recall, bye = theirs
    assert messages.values_of(*hello) == ours[0].values()
    assert hello[1]["proof"] == unhex("proof_i")
    assert run[1]["arguments"] == [b"abcdef"] == [joined(each) for each in ours[1].arguments]
    assert messages.values_of(*recall) == ours[2].values()
    assert bye.reason == ours[3].reason == "the client has closed"
    assert (into.granted, into.promised) == (reader.granted, reader.promised) == (1_048_576, 6)
    assert into.taken + into.streamed == reader.owed


def test_payloads_are_read_alike() -> None:
    expected = {
        "function body": (math.sqrt, {}, None, None),
        "arguments": ((16.0,), {}),
        "result": 4.0,
        "command line": ("hello", "world"),
        "bytes aside": b"abcdef",
    }
    found = {name: bytes.fromhex(data) for name, data in VECTORS["payloads"]}
    assert {name: payloads.load(data) for name, data in found.items()} == expected
    assert {name: pickling.loads(data) for name, data in found.items()} == expected
    value = (1, 2.5, {"a": b"b"}, {3}, 2**64, 1j, None)
    assert payloads.load_plain(unhex("plain")) == plain.loads(unhex("plain")) == value
    assert plain.dumps(value) == unhex("plain")


@pytest.mark.parametrize("value", [b"x" * 100_000, b"", [1, "a" * 70_000], {"k": (None, 2**70)}])
def test_large_payloads_of_one_are_read_by_the_other(value: Any) -> None:
    written = pickling.dumps_result(value)
    assert payloads.load(b"".join(written) if isinstance(written, list) else written) == value
    assert pickling.loads(payloads.dump(value)) == value
    assert payloads.load_plain(b"".join([plain.dumps(value)])) == value  # type: ignore[list-item]
    if isinstance(value, bytes):
        assert pickling.loads(payloads.dump_aside(value)) == value


# Refusals, on both


def cut(data: bytes) -> list[bytes]:
    """The chunks of a stream of purpose 2."""
    return list(frames.pieces(1, data, frames.LONG_MESSAGE))


def numbered(chunk: bytes, count: int) -> list[bytes]:
    return [chunk[:1] + number.to_bytes(4, "big") + chunk[5:] for number in range(count)]


def chunks_of(entry: dict[str, Any]) -> list[bytes]:
    """What is sealed, of the stages that are."""
    if entry["stage"] == "message":
        return cut(bytes_of(entry["bytes"][0]))
    if entry["stage"] == "streams":
        return numbered(bytes_of(entry["bytes"][1]), int(entry["bytes"][0]))
    return list(map(bytes_of, entry["bytes"]))


def sealed(chunks: list[bytes]) -> Iterator[bytes]:
    return map(frames.Sealer(unhex("key_i_to_r")).frame, chunks)


def own_first(texts: list[str]) -> list[Callable[[], Any]]:
    responder = handshake.Responder(PSK, [ROLES.encode()], bytes(range(32)), unhex("responder_instance"))
    memory = handshake.ReplayMemory()

    def admit(key: bytes) -> None:
        if not memory.note(key, 0.0):
            raise ProtocolError("seen before")

    def answer(first: bytes) -> None:
        handshake.refuse_other_version(first)
        responder.answer(first, SECONDS, admit)

    return [lambda text=text: answer(bytes.fromhex(text)) for text in texts]  # type: ignore[misc]


def their_first(texts: list[str]) -> list[Callable[[], Any]]:
    responder = keys.Responder(PSK, [ROLES], unhex("responder_instance"))
    return [lambda text=text: responder.answer(bytes.fromhex(text), NOW) for text in texts]  # type: ignore[misc]


def own_second(texts: list[str]) -> list[Callable[[], Any]]:
    initiator = handshake.Initiator(PSK, ROLES.encode(), unhex("initiator_ephemeral"), SECONDS)
    return [lambda text=text: initiator.finish(bytes.fromhex(text)) for text in texts]  # type: ignore[misc]


def their_second(texts: list[str]) -> list[Callable[[], Any]]:
    initiator = keys.Initiator(PSK, ROLES, NOW, unhex("initiator_ephemeral"))
    return [lambda text=text: initiator.finish(bytes.fromhex(text)) for text in texts]  # type: ignore[misc]


def own_name(texts: list[str]) -> list[Callable[[], Any]]:
    memory = handshake.ReplayMemory()

    def check(name: str) -> None:
        if not memory.note(handshake.check_server_name(PSK, name, SECONDS), 0.0):
            raise ProtocolError("seen before")

    return [lambda text=text: check(text) for text in texts]  # type: ignore[misc]


def their_name(texts: list[str]) -> list[Callable[[], Any]]:
    responder = keys.Responder(PSK, [ROLES], unhex("responder_instance"))
    return [
        lambda text=text: responder.note(keys.check_server_name(PSK, text, NOW), NOW)  # type: ignore[misc]
        for text in texts
    ]


def own_frames(data: list[bytes]) -> list[Callable[[], Any]]:
    into = receiver()
    return [lambda each=each: into.receive(each) for each in data]  # type: ignore[misc]


def their_frames(data: list[bytes]) -> list[Callable[[], Any]]:
    opener, reader = frames.Opener(unhex("key_i_to_r")), frames.Reader()

    def receive(part: bytes) -> None:
        for chunk in opener.chunks(part):
            list(reader.read(chunk))

    return [lambda each=each: receive(each) for each in data]  # type: ignore[misc]


def own_hello(chunks: list[bytes]) -> list[Callable[[], Any]]:
    def check(frame: bytes) -> None:
        [hello] = receiver().receive(frame)
        assert not isinstance(hello, wire.Bye)
        identity.check_proof(hello.instance, hello.proof, unhex("binding_i"))  # type: ignore[attr-defined]

    return [lambda frame=frame: check(frame) for frame in sealed(chunks)]  # type: ignore[misc]


def their_hello(chunks: list[bytes]) -> list[Callable[[], Any]]:
    def check(chunk: bytes) -> None:
        [hello] = frames.Reader().read(chunk)
        assert not isinstance(hello, frames.Bye)
        found = keys.Keys(b"", b"", b"", unhex("binding_i"), b"")
        keys.check_proof(hello[1]["instance"], hello[1]["proof"], found)

    return [lambda chunk=chunk: check(chunk) for chunk in chunks]  # type: ignore[misc]


def steps(entry: dict[str, Any], own: bool) -> list[Callable[[], Any]]:
    """What is to be done one after the other; the last is to be refused."""
    stage, texts = entry["stage"], entry["bytes"]
    if stage == "first":
        return own_first(texts) if own else their_first(texts)
    if stage == "second":
        return own_second(texts) if own else their_second(texts)
    if stage == "server name":
        return own_name(texts) if own else their_name(texts)
    if stage == "hello":
        return own_hello(chunks_of(entry)) if own else their_hello(chunks_of(entry))
    data = list(map(bytes.fromhex, texts)) if stage == "frames" else list(sealed(chunks_of(entry)))
    return own_frames(data) if own else their_frames(data)


#: Those that one side of the two refuses by itself; what only a role refuses, real nodes show.
REFUSED = [entry for entry in VECTORS["refused"] if entry["stage"] not in ("role", "node")]


@pytest.mark.parametrize("own", [True, False], ids=["gdispy", "independent"])
@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: f"{entry['no']}: {entry['what']}")
def test_what_must_be_refused_is(entry: dict[str, Any], own: bool) -> None:
    *good, bad = steps(entry, own)
    for step in good:
        step()
    with pytest.raises((ProtocolError, PeerRejected) if own else Refused):
        bad()


def test_what_is_not_changed_is_taken() -> None:
    """So that the refusals are of what is changed, and of nothing else."""
    for own in (True, False):
        for entry in (
            {"stage": "first", "bytes": [VECTORS["first"]]},
            {"stage": "second", "bytes": [VECTORS["second"]]},
            {"stage": "server name", "bytes": [VECTORS["server_name"]]},
            {"stage": "frames", "bytes": [VECTORS["frame"]]},
            {"stage": "hello", "bytes": [VECTORS["chunk"]]},
            {"stage": "streams", "bytes": ["16", "01000000000100000000000000010000"]},
            {"stage": "message", "bytes": ["930ec408c0c1c2c3c4c5c6c701"]},
            # Flags that are not known, a piece without bytes, and a goodbye that is not UTF-8.
            {
                "stage": "chunks",
                "bytes": ["0100000001f9000000000000000100", "0100000001f8", "0100000001fa61", "04ff"],
            },
        ):
            for step in steps(entry, own):
                step()


def test_refusals_are_quoted_in_the_document() -> None:
    text = "".join(TEXT.split())
    for entry in VECTORS["refused"]:
        cells = [str(entry["no"]), entry["what"], entry["stage"], "; ".join(f"`{each}`" for each in entry["bytes"])]
        assert "".join(f"|{'|'.join(cells)}|".split()) in text, entry["what"]


#: What shows violations that no bytes of the vectors do: a file of tests, and a test in it.
SHOWN_ELSEWHERE = {
    7: ("integration/test_strangers.py", "test_a_handshake_byte_by_byte_is_ended_in_time"),
    8: ("integration/test_independent_peer.py", "test_who_speaks_without_tls_gets_an_alert"),
    22: ("integration/test_independent_peer.py", "test_violations_of_a_client_are_refused_with_a_reason"),
    23: ("integration/test_one_peer.py", "test_peer_that_reads_no_answers_is_let_go"),
    24: ("integration/test_one_peer.py", "test_more_open_questions_than_are_allowed_end_the_connection"),
}


def test_each_violation_of_the_table_has_a_test() -> None:
    section = TEXT.split("\n## 10.")[1].split("\n### 10.1")[0]
    numbers = list(map(int, re.findall(r"^\| (\d+) \| [^`]", section, re.MULTILINE)))
    assert numbers == list(range(1, len(numbers) + 1))
    assert {entry["no"] for entry in VECTORS["refused"]} | SHOWN_ELSEWHERE.keys() == set(numbers)
    for path, name in SHOWN_ELSEWHERE.values():
        assert f"def {name}" in (Path(__file__).parents[2] / path).read_text()


# The table of messages


def test_other_vectors_are_quoted_in_the_document() -> None:
    text = "".join(TEXT.split())
    rows = [*(each for row in VECTORS["frames"] for each in row[1:]), *(row[1] for row in VECTORS["payloads"])]
    assert [each for each in rows if each not in text] == []


def test_document_has_the_defaults_of_the_code_and_no_others() -> None:
    expected = {}
    for kind in ALL:
        for name, field in kind.__dataclass_fields__.items():  # type: ignore[attr-defined]
            if field.default is not MISSING or field.default_factory is not MISSING:
                default = field.default_factory() if field.default is MISSING else field.default
                expected[kind.__name__, name] = "" if default == b"" else default
    assert {
        (kind.name, name): default for kind in messages.KINDS.values() for name, default in kind.defaults.items()
    } == expected


#: Values of all kinds; each field of each message is tried with each of them.
ROW = ["a", "b", 1, 2, 3, 4, 0.5, 6, 7]
FILE = ["a/b", 0o644, 1.0, 3, bytes(32)]
OPTION = [b"", 0.0, 0.0, 1, 0, b"", [FILE], [b"x"], 0.0]
PROBES: list[Any] = [
    *(None, True, False, 0, 1, 4, 5, 7, 8, 9, 10, 11, 12, 16, 17, -1, 65_536, 65_537, 1 << 30, (1 << 53) - 1, 1 << 53),
    *(0.0, -0.0, 1.5, -1.5, 1e299, 1e300, -1e300, float("inf"), float("nan"), float(1 << 40), float((1 << 40) - 1)),
    *("", "a", "a" * 1024, "a" * 1025, "*", "a" * 1_048_577, b"", bytes(7), bytes(8), bytes(16), bytes(96), bytes(97)),
    *([], [None], [True], [0], [1, 2], [-1], [1 << 53], [8], [12], [0.5], [float(1 << 40)], [-0.5], ["a"], [b""]),
    *([bytes(8)], [bytes(16)], [[]], [[1]], [[-1]], [["a"]], [0.0] * 4, [0.0] * 3, [1.0, 2, 3.0, 4.0], [0] * 65_537),
    *([FILE], [[*FILE[:4], "d"]], [[*FILE[:2], -1.0, 3, b""]], [[*FILE[:4], b""]], [FILE[:4]], [ROW], [ROW[:8]]),
    *([[*ROW[:6], 1, 6, 7]], [["a", "b", 1, 2, 3, True]], [["a", "b", 1, 2, 3, 4]], [["a", "b", "c", 1, 2]]),
    *([OPTION], [[*OPTION[:7], [], 0.0]], [[*OPTION[:3], -1, *OPTION[4:]]], [[bytes(16), *OPTION[1:]]], [OPTION[:8]]),
    *([[bytes(8), bytes(16), 1]], [[bytes(8), b"", 1]], [[bytes(8), bytes(16)]], {}, {"a": 1}),
]
#: A value of each type of the document that is good, for the fields that are not tried.
GOOD: dict[str, Any] = {
    **dict.fromkeys(("text", "short"), "a"),
    "content": b"",
    "id": bytes(8),
    "instance": bytes(16),
    "token": b"",
    "proof": b"",
    "node": b"",
    "count": 1,
    "cpus": 1,
    "number": 0.5,
    "flag": True,
    "bulk": b"",
    "free": [],
    "status": 8,
    "time": 0.5,
    "omitted": 0,
    "file": FILE,
    "option": OPTION,
    "claim": [bytes(8), bytes(16), 1],
    "standing": ROW,
    "member": ["a", "b", 1, 2, 3, True],
    "usage": ["2026-01-31", "ann", 1, 2, 3, 4.5],
    "running": [bytes(8), 1, 2, 3.0, 4.0, 5, "c41f", "f", "ann", "node"],
    "position": [bytes(16), 1],
    "event": [bytes(16), 1, 2.0, "INFO", "node", "text"],
    "tenant": ["a", "b", "c", 1, 2],
}


def good_value(type_: str, rows: int) -> Any:
    return [good_value(type_[1:-1], 0)] * rows if type_.startswith("[") else GOOD[type_]


def good_values(kind: messages.Kind, rows: int) -> list[Any]:
    """A message whose columns have so many rows; one where there must be one."""
    values = [kind.tag, *(good_value(each.type, rows) for each in kind.fields)]
    for name, field, value in (
        ("Event", "what", 4),
        ("Event", "rows", [ROW]),
        ("Upload", "files", [FILE]),
        ("Upload", "contents", [b""]),
        ("NodeFound", "names", ["a"]),
    ):
        if kind.name == name:
            values[1 + [each.name for each in kind.fields].index(field)] = value
    return values


def verdict(read: Callable[[Any], Any], refusal: type[Exception], values: list[Any]) -> bool:
    try:
        read(values)
    except refusal:
        return False
    return True


def as_arrays(value: Any) -> Any:
    """Rows as they are on the wire."""
    return [as_arrays(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("kind", messages.KINDS.values(), ids=messages.KINDS)
def test_document_and_code_take_the_same_values_in_each_field(kind: messages.Kind, rows: int) -> None:
    values = good_values(kind, rows)
    assert as_arrays(from_values(values).values()) == values
    assert messages.values_of(*messages.read(values)) == values
    for place in range(1, len(values)):
        for probe in PROBES:
            tried = [*values[:place], probe, *values[place + 1 :]]
            own, theirs = verdict(from_values, ProtocolError, tried), verdict(messages.read, Refused, tried)
            if kind.name == "Open" and kind.fields[place - 1].name == "nodes":
                own = own or theirs  # Which texts are patterns, section 6 does not say in detail.
            assert own == theirs, (kind.fields[place - 1], repr(probe)[:80])
    for length in range(len(values)):
        tried = values[:length]
        assert verdict(from_values, ProtocolError, tried) == verdict(messages.read, Refused, tried), length


def of_purpose(purpose: int) -> messages.Bulk:
    found = messages.Bulk(b"")
    found.purpose = purpose
    return found


@pytest.mark.parametrize("kind", messages.KINDS.values(), ids=messages.KINDS)
def test_files_are_taken_where_the_document_says_and_nowhere_else(kind: messages.Kind) -> None:
    values = good_values(kind, 1)
    for place, (_, type_) in enumerate(kind.fields, 1):
        for purpose, payload in ((0, MemoryPayload([])), (1, File())):
            own, theirs = payload, of_purpose(purpose)
            if type_.startswith("["):
                own, theirs = [own], [theirs]  # type: ignore[assignment]
            if type_ == "[option]":  # The names in it.
                own, theirs = ([[*OPTION[:5], each, *OPTION[6:]]] for each in (payload, of_purpose(purpose)))
            begin, end = values[:place], values[place + 1 :]
            taken = verdict(from_values, ProtocolError, [*begin, own, *end])
            assert taken == verdict(messages.read, Refused, [*begin, theirs, *end]), (kind.name, type_, purpose)


def test_fields_of_later_versions_are_ignored_by_both() -> None:
    values = [14, bytes(8), 3]
    assert from_values([*values, "new", {}]).values() == values
    assert messages.values_of(*messages.read([*values, "new", {}])) == values


# Limits


def test_limits_of_the_document_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", TEXT.split("\n## 11.")[1], re.MULTILINE))
    del rows["limit"]
    expected = dict(_limits())
    assert {name: text for name, text in rows.items() if not name.startswith("---")} == expected


def _limits() -> Iterator[tuple[str, str]]:
    """The rows of the document, with the numbers of the code."""
    clock, spread = handshake.CLOCK_LIMIT, discovery.CLOCK_LIMIT
    yield "difference of two clocks: handshake and server name, packet of discovery", f"{clock:.0f} s, {spread:.0f} s"
    memory = f"{handshake.MEMORY_LIMIT:,}, {2 * clock:.0f} s"
    yield "first messages that a responder remembers, and for how long", memory
    yield "time until the first frame has opened", f"{config.MsgTimeout} s"
    yield "connections without a first message, and without a first frame", f"{admission.PLACES:,}, {admission.PROVING}"
    yield "answers to one address at once, and each second", f"{admission.BURST}, {admission.RATE:.0f}"
    yield "first record of TLS", f"{client_hello.RECORD_LIMIT:,} bytes"
    yield "box, and chunk, of a frame", f"{wire.BOX_LIMIT:,} bytes, {limits.CHUNK_LIMIT:,} bytes"
    yield "frames, and time, for one key", f"{wire.KEY_FRAMES:,}, {liveness.REKEY_INTERVAL:.0f} s"
    yield "window, and credit given at once at least", f"{wire.WINDOW:,} bytes, {wire.CREDIT_STEP:,} bytes"
    yield "payload in a message, which a sender keeps to", f"{packaging.INLINE:,} bytes"
    yield "message", f"{limits.MESSAGE_LIMIT:,} bytes"
    streams = f"{limits.STREAM_LIMIT:,}, {limits.PAYLOAD_LIMIT:,}"
    yield "streams that no message has referred to, and of those with purpose 0", streams
    yield "streams that are open, and of those with purpose 2", f"{limits.OPEN_LIMIT}, 1"
    yield "streams of one message, where it can be sent in several", f"{limits.BATCH_STREAMS:,}"
    yield "elements of an array, and of all arrays of a message", f"{limits.COLUMN_LIMIT:,}, {limits.ELEMENT_LIMIT:,}"
    texts = f"{limits.TEXT_LIMIT:,} characters, {limits.SHORT_TEXT_LIMIT:,} characters"
    yield "text, and short text", texts
    powers = (limits.COUNT_LIMIT.bit_length() - 1, limits.NUMBER_LIMIT, limits.DATE_LIMIT.bit_length() - 1)
    yield "count, number, time", "2^{} - 1, {:.0e}, 2^{} - 1".format(*powers).replace("e+", "e")
    yield "CPUs of a node", f"{limits.CPUS_LIMIT:,}"
    yield "path of a file, and each part of it", f"{safe_path.PATH_LIMIT:,} bytes, {safe_path.PART_LIMIT} bytes"
    [bye] = Sender(bytes(32)).bye("x" * 10_000)
    yield "reason of BYE, which a sender keeps to", f"{len(bye) - 4 - 16 - 1:,} bytes"
    yield "pulse interval", "0.05 s to 1000 s"
    yield "messages of a node before its `Inventory`", f"{node_reports.EARLY_LIMIT:,}"
    yield "parts of a `Resume`", str(client_mailbox.PARTS_LIMIT)
    yield "computations on a node", f"{loading.COMPUTATIONS_LIMIT:,}"
    packets = f"{discovery.PACKET_BYTES} bytes, {discovery.PACKET_LIMIT} bytes"
    yield "packet of discovery, sent and received", packets
    yield "packets of discovery remembered", f"{discovery.MEMORY:,}"
