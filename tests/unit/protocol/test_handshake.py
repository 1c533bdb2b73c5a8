"""Keys and the handshake: only who has the secret, in its own role, gets a connection."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nacl import bindings

from gdispy.config import VERSION
from gdispy.errors import PeerRejected, ProtocolError, SecretError
from gdispy.protocol.handshake import (
    CLOCK_LIMIT,
    FIRST_BYTES,
    GENERATED,
    MAGIC,
    PROTOCOL,
    SECOND_BYTES,
    ClockRefused,
    Initiator,
    Keys,
    ReplayMemory,
    Responder,
    check_server_name,
    encode_secret,
    next_key,
    purpose_key,
    refuse_other_version,
    seal,
    secret_key,
    server_name,
    unseal,
)
from gdispy.protocol.identity import Identity
from gdispy.protocol.messages import from_values
from gdispy.protocol.wire import MemorySink, Receiver, Sender

PSK = bytes(range(32))
ROLES = b"scheduler>node"
INSTANCE = bytes(range(100, 116))
#: Seconds since the epoch.
NOW = 1_800_000_000.0
LATER = NOW + CLOCK_LIMIT + 1
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())


def shake(
    psk: bytes = PSK, other_psk: bytes = PSK, roles: bytes = ROLES, other_roles: tuple[bytes, ...] = (ROLES,)
) -> tuple[Keys, Keys]:
    """A whole handshake: the keys of the initiator and of the responder."""
    initiator = Initiator(psk, roles, b"\x11" * 32, NOW)
    responder = Responder(other_psk, list(other_roles), b"\x22" * 32, INSTANCE)
    second, keys, _ = responder.answer(initiator.first, NOW)
    return initiator.finish(second), keys


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# The handshake


def test_both_sides_get_the_same_keys_crosswise_and_the_initiator_learns_the_instance() -> None:
    mine, theirs = shake()
    assert (mine.send, mine.receive) == (theirs.receive, theirs.send)
    assert mine.send != mine.receive
    assert mine.instance == INSTANCE


def test_messages_have_the_announced_lengths_and_begin_with_the_magic() -> None:
    initiator = Initiator(PSK, ROLES, b"\x11" * 32, NOW)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(initiator.first, NOW)
    assert (len(initiator.first), len(second)) == (FIRST_BYTES, SECOND_BYTES) == (64, 80)
    assert initiator.first[:8] == second[:8] == MAGIC == b"gdispy\0\2"


def test_fresh_ephemerals_give_other_keys() -> None:
    first = Initiator(PSK, ROLES, b"\x11" * 32, NOW)
    again = Initiator(PSK, ROLES, b"\x12" * 32, NOW)
    one = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(first.first, NOW)[1]
    two = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(again.first, NOW)[1]
    three = Responder(PSK, [ROLES], b"\x23" * 32, INSTANCE).answer(first.first, NOW)[1]
    assert len({one.send, two.send, three.send, one.receive, two.receive, three.receive}) == 6


def test_another_secret_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not fit the secret"):
        shake(other_psk=bytes(32))


def is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (ProtocolError, PeerRejected):
        return True
    return False


def test_first_message_with_any_bit_flipped_is_refused() -> None:
    first = Initiator(PSK, ROLES, b"\x11" * 32, NOW).first
    responder = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE)
    bits = range(FIRST_BYTES * 8)
    assert [bit for bit in bits if not is_refused(lambda bit=bit: responder.answer(flipped(first, bit), NOW))] == []


def test_second_message_with_any_bit_flipped_is_refused() -> None:
    initiator = Initiator(PSK, ROLES, b"\x11" * 32, NOW)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(initiator.first, NOW)
    bits = range(SECOND_BYTES * 8)
    assert [bit for bit in bits if not is_refused(lambda bit=bit: initiator.finish(flipped(second, bit)))] == []


@pytest.mark.parametrize("length", [0, 1, 8, 63, 65, 80])
def test_first_message_of_another_length_is_refused(length: int) -> None:
    first = (Initiator(PSK, ROLES, b"\x11" * 32, NOW).first + bytes(80))[:length]
    with pytest.raises(ProtocolError):
        Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(first, NOW)


@pytest.mark.parametrize("length", [0, 1, 8, 64, 79, 81])
def test_second_message_of_another_length_is_refused(length: int) -> None:
    initiator = Initiator(PSK, ROLES, b"\x11" * 32, NOW)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(initiator.first, NOW)
    with pytest.raises(ProtocolError):
        initiator.finish((second + b"\0")[:length])


def test_who_connects_in_another_role_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not fit the secret"):
        shake(roles=b"client>scheduler")


def test_responder_tells_which_of_its_roles_was_meant() -> None:
    responder = Responder(PSK, [b"client>scheduler", ROLES], b"\x22" * 32, INSTANCE)
    assert responder.answer(Initiator(PSK, ROLES, b"\x11" * 32, NOW).first, NOW)[2] == ROLES


def test_clocks_may_differ_by_an_hour_and_by_more_they_are_told() -> None:
    initiator = Initiator(PSK, ROLES, b"\x11" * 32, NOW)
    responder = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE)
    for now in (NOW - CLOCK_LIMIT, NOW, NOW + CLOCK_LIMIT):
        responder.answer(initiator.first, now)
    for now, text in ((NOW - CLOCK_LIMIT - 60, "61 minutes behind"), (NOW + 30 * 86400, "30.0 days ahead of")):
        with pytest.raises(ClockRefused, match="its clock differs by") as refused:
            responder.answer(initiator.first, now)
        with pytest.raises(PeerRejected, match=f"its clock is {text} the clock of this machine, .*: set the clocks"):
            initiator.finish(refused.value.answer)
        # Nobody without the secret can say so, nor somebody who has recorded it.
        with pytest.raises(ProtocolError):
            Initiator(bytes(32), ROLES, b"\x11" * 32, NOW).finish(refused.value.answer)
        with pytest.raises(ProtocolError):
            Initiator(PSK, ROLES, b"\x12" * 32, NOW).finish(refused.value.answer)


def test_responder_asks_before_it_computes_and_only_for_who_has_the_secret() -> None:
    asked: list[bytes] = []

    def refuse(key: bytes) -> None:
        asked.append(key)
        raise ProtocolError("no")

    first = Initiator(PSK, ROLES, b"\x11" * 32, NOW).first
    with pytest.raises(ProtocolError, match="no"):
        Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(first, NOW, refuse)
    with pytest.raises(ProtocolError, match="does not fit"):
        Responder(bytes(32), [ROLES], b"\x22" * 32, INSTANCE).answer(first, NOW, refuse)
    assert asked == [first[8:40]]


def test_first_message_is_new_once_for_as_long_as_it_is_good() -> None:
    memory = ReplayMemory()
    assert memory.note(b"a" * 32, 0.0) and not memory.note(b"a" * 32, 2 * CLOCK_LIMIT)
    assert memory.note(b"b" * 32, 2 * CLOCK_LIMIT + 1)
    assert memory.note(b"a" * 32, 2 * CLOCK_LIMIT + 1)


def test_memory_of_first_messages_is_bounded() -> None:
    memory = ReplayMemory(limit=3)
    for number in range(10):
        assert memory.note(bytes([number]) * 32, 1.0)
    assert [memory.note(bytes([number]) * 32, 1.0) for number in (9, 8, 7, 6)] == [False, False, False, True]


def test_server_name_shows_the_secret_and_its_time() -> None:
    name = server_name(PSK, b"r" * 16, NOW)
    assert max(map(len, name.split("."))) <= 63
    assert check_server_name(PSK, name, NOW + CLOCK_LIMIT) == check_server_name(PSK, name, NOW)
    for psk, said, now in (
        *((PSK, each, NOW) for each in ("", "localhost", name[1:], name + "0", "é" * 40)),
        (bytes(32), name, NOW),
        (PSK, name, NOW + CLOCK_LIMIT + 1),
        (PSK, ("1" if name[0] == "0" else "0") + name[1:], NOW),
    ):
        with pytest.raises(ProtocolError):
            check_server_name(psk, said, now)


def test_another_certificate_is_refused() -> None:
    first = Initiator(PSK, ROLES, b"\x11" * 32, NOW, certificate=b"a" * 32).first
    with pytest.raises(ProtocolError):
        Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE, certificate=b"b" * 32).answer(first, NOW)
    Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE, certificate=b"a" * 32).answer(first, NOW)


def test_messages_that_are_reflected_are_refused() -> None:
    initiator = Initiator(PSK, ROLES, b"\x11" * 32, NOW)
    responder = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE)
    second, _, _ = responder.answer(initiator.first, NOW)
    with pytest.raises(ProtocolError):
        initiator.finish(initiator.first)
    with pytest.raises(ProtocolError):
        initiator.finish(initiator.first + bytes(16))
    with pytest.raises(ProtocolError):
        responder.answer(second, NOW)
    with pytest.raises(ProtocolError):
        responder.answer(second[:64], NOW)


def test_answer_to_another_first_message_is_refused() -> None:
    first, other = Initiator(PSK, ROLES, b"\x11" * 32, NOW), Initiator(PSK, ROLES, b"\x12" * 32, NOW)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(other.first, NOW)
    with pytest.raises(ProtocolError):
        first.finish(second)


def test_recorded_session_that_is_replayed_to_the_responder_ends_at_its_first_frame() -> None:
    # Given the recording of a whole session: the first message and a frame.
    initiator = Initiator(PSK, ROLES, b"\x11" * 32, NOW)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(initiator.first, NOW)
    recorded = b"".join(Sender(initiator.finish(second).send).pulse())
    # When it is sent again, to a responder with a fresh ephemeral key, as each connection has.
    _, keys, _ = Responder(PSK, [ROLES], b"\x33" * 32, INSTANCE).answer(initiator.first, NOW)
    # Then there is an answer, and no more.
    with pytest.raises(ProtocolError, match="does not open"):
        Receiver(keys.receive, lambda size, purpose: MemorySink()).receive(recorded)


def test_recorded_answer_that_is_replayed_to_an_initiator_is_refused() -> None:
    first = Initiator(PSK, ROLES, b"\x11" * 32, NOW).first
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(first, NOW)
    with pytest.raises(ProtocolError, match="does not fit the secret"):
        Initiator(PSK, ROLES, b"\x13" * 32, NOW).finish(second)


@pytest.mark.parametrize("public", [bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_key_of_low_order_is_refused(public: bytes) -> None:
    with pytest.raises(ProtocolError):
        Initiator(PSK, ROLES, b"\x11" * 32, NOW).finish(MAGIC + public + bytes(40))


# Other versions


def test_other_version_is_named_with_both_numbers() -> None:
    with pytest.raises(PeerRejected) as caught:
        refuse_other_version(b"gdispy\0\7")
    assert str(caught.value) == (
        f"the other side speaks version 7 of the gdispy protocol, this side version {PROTOCOL} (gdispy {VERSION}): "
        "install the same gdispy on both"
    )


def test_other_release_is_named_where_the_peer_says_it() -> None:
    with pytest.raises(PeerRejected, match=rf"version 7 of the gdispy protocol \(gdispy 9\.1\), this side .*{VERSION}"):
        refuse_other_version(b"gdispy\0\7", lambda: "9.1")


def test_initiator_refuses_the_answer_of_another_version_before_anything_else() -> None:
    with pytest.raises(PeerRejected, match="version 513 of the gdispy protocol"):
        Initiator(PSK, ROLES, b"\x11" * 32, NOW).finish(b"gdispy\2\1")


@pytest.mark.parametrize("beginning", [b"", b"gdispy", b"gdispy\0", MAGIC, b"GET / HT", b"\x16\3\1\2\0\1\0\1"])
def test_what_is_not_another_version_is_not_taken_for_one(beginning: bytes) -> None:
    refuse_other_version(beginning)


# Secrets and keys


def test_generated_secret_stands_for_its_own_bytes() -> None:
    text = encode_secret(PSK)
    assert text == "gdk1_" + base64.urlsafe_b64encode(PSK).decode().rstrip("=")
    assert secret_key(text) == PSK


@pytest.mark.parametrize("text", ["gdk1_", "gdk1_AAAA", encode_secret(PSK)[:-2], encode_secret(PSK) + "AA", "gdk1_ä"])
def test_damaged_generated_secret_is_refused_and_never_taken_for_a_pass_phrase(text: str) -> None:
    with pytest.raises(SecretError, match="incomplete or damaged"):
        secret_key(text)


@pytest.mark.parametrize("odd", ["=", "\n", " ", "!", "+", "/", "\0", "\u0660", "ä"])
def test_generated_secret_with_characters_outside_its_alphabet_is_refused(odd: str) -> None:
    text = encode_secret(PSK)
    for place in range(len(GENERATED), len(text) + 1):
        for changed in (text[:place] + odd + text[place:], text[:place] + odd + text[place + 1 :]):
            with pytest.raises(SecretError, match="incomplete or damaged"):
                secret_key(changed)


def test_only_one_text_stands_for_a_key() -> None:
    text = encode_secret(PSK)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = []
    for last in alphabet:
        with contextlib.suppress(SecretError):
            accepted.append((text[:-1] + last, secret_key(text[:-1] + last)))
    # The last character stands for four bits of the key, and two that are zero.
    assert len(accepted) == len({key for _, key in accepted}) == 16 and (text, PSK) in accepted


def test_pass_phrase_is_stretched() -> None:
    key = secret_key("a pass phrase of some length")
    assert len(key) == 32
    assert key != secret_key("a pass phrase of some lengtH")


def test_purposes_have_keys_of_their_own() -> None:
    assert len({PSK, purpose_key(PSK, b"tcp"), purpose_key(PSK, b"udp")}) == 3


def test_box_opens_with_its_own_key_and_nonce_only() -> None:
    box = seal(PSK, bytes(24), b"text")
    assert unseal(PSK, bytes(24), box) == b"text"
    assert unseal(PSK, bytes(24), memoryview(box)) == b"text"
    assert unseal(PSK, b"\1" + bytes(23), box) is None
    assert unseal(bytes(32), bytes(24), box) is None
    assert unseal(PSK, bytes(24), b"") is None
    assert unseal(PSK, bytes(24), box[:-1]) is None


# Test vectors


def unhex(name: str) -> bytes:
    return bytes.fromhex(VECTORS[name])


def test_vectors_are_what_the_code_does() -> None:
    about = (unhex("psk"), VECTORS["roles"].encode(), unhex("initiator_ephemeral"), NOW)
    initiator, certified = Initiator(*about), Initiator(*about, unhex("certificate"))
    responder = Responder(
        unhex("psk"), [VECTORS["roles"].encode()], unhex("responder_ephemeral"), unhex("responder_instance")
    )
    second, _, _ = responder.answer(initiator.first, NOW)
    keys = initiator.finish(second)
    sender = Sender(keys.send)
    about = VECTORS["hello"]
    sender.put(from_values([*about[:2], unhex("initiator_instance"), *about[3:12], unhex("proof_i")]))
    identity = Identity(unhex("initiator_seed"))
    with pytest.raises(ClockRefused) as refused:
        responder.answer(initiator.first, LATER)
    found = {
        "time": int(NOW * 1000).to_bytes(8, "big"),
        "server_name": server_name(unhex("psk"), unhex("server_name_random"), NOW).encode(),
        "later": int(LATER * 1000).to_bytes(8, "big"),
        "clock_refusal": refused.value.answer,
        "first": initiator.first,
        "first_with_certificate": certified.first,
        "second": second,
        "initiator_instance": identity.instance,
        "responder_instance": Identity(unhex("responder_seed")).instance,
        "binding_i": keys.own_binding,
        "binding_r": keys.peer_binding,
        "proof_i": identity.proof(keys.own_binding),
        "key_i_to_r": keys.send,
        "next_key_i_to_r": next_key(keys.send),
        "key_r_to_i": keys.receive,
        "frame": b"".join(sender.frames()),
    }
    texts = {name: value.decode() if name == "server_name" else value.hex() for name, value in found.items()}
    assert texts == {name: VECTORS[name] for name in found}


def test_vectors_follow_from_the_derivations_of_the_document() -> None:
    """docs/protocol.md, written down once more with nothing but hashlib and libsodium."""

    def derive(key: bytes, label: bytes, data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=32, key=key, person=label + bytes(16 - len(label))).digest()

    def digest(data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=32, person=b"gdispy hash\0\0\0\0\0").digest()

    magic, psk = b"gdispy\0\2", derive(unhex("secret_key"), b"gdispy purpose", b"tcp")
    assert psk == unhex("psk")
    ei = bindings.crypto_scalarmult_base(unhex("initiator_ephemeral"))
    er = bindings.crypto_scalarmult_base(unhex("responder_ephemeral"))
    shared = bindings.crypto_scalarmult(unhex("initiator_ephemeral"), er)

    h1 = digest(b"gdispy/2 " + b"scheduler>node          " + bytes(32) + magic + ei)
    box1 = bindings.crypto_secretbox(unhex("time"), bytes(24), derive(psk, b"gdispy first", h1))
    h2 = digest(digest(h1 + box1) + er)
    chain = derive(psk, b"gdispy chain", shared)
    said = bytes(8) + unhex("responder_instance")
    box2 = bindings.crypto_secretbox(said, bytes(24), derive(chain, b"gdispy second", h2))
    h3 = digest(h2 + box2)

    assert (magic + ei + box1).hex() == VECTORS["first"]
    assert (magic + er + box2).hex() == VECTORS["second"]
    later = unhex("later")
    refusal = bindings.crypto_secretbox(bytes(24), bytes(24), derive(psk, b"gdispy clock", digest(h1 + box1) + later))
    assert (magic + later + bytes(24) + refusal).hex() == VECTORS["clock_refusal"]
    body = unhex("server_name_random") + unhex("time")
    name = (body + derive(psk, b"gdispy sni", body)[:16]).hex()
    assert f"{name[:40]}.{name[40:]}" == VECTORS["server_name"]
    assert derive(chain, b"gdispy id of i", h3).hex() == VECTORS["binding_i"]
    assert derive(chain, b"gdispy id of r", h3).hex() == VECTORS["binding_r"]
    public, private = bindings.crypto_sign_seed_keypair(unhex("initiator_seed"))
    person = b"gdispy instance\0"
    assert hashlib.blake2b(public, digest_size=16, person=person).hexdigest() == VECTORS["initiator_instance"]
    assert (public + bindings.crypto_sign(unhex("binding_i"), private)[:64]).hex() == VECTORS["proof_i"]
    assert derive(chain, b"gdispy i to r", h3).hex() == VECTORS["key_i_to_r"]
    assert derive(chain, b"gdispy r to i", h3).hex() == VECTORS["key_r_to_i"]
    assert derive(unhex("key_i_to_r"), b"gdispy rekey", b"").hex() == VECTORS["next_key_i_to_r"]
    box = bindings.crypto_secretbox(unhex("chunk"), bytes(24), unhex("key_i_to_r"))
    assert (len(box).to_bytes(4, "big") + box).hex() == VECTORS["frame"]


def test_vectors_of_secrets_are_what_the_code_does() -> None:
    assert secret_key(VECTORS["generated_secret"]).hex() == VECTORS["secret_key"]
    assert secret_key(VECTORS["pass_phrase"]).hex() == VECTORS["pass_phrase_key"]
    assert purpose_key(unhex("secret_key"), b"tcp").hex() == VECTORS["psk"]
    assert purpose_key(unhex("secret_key"), b"udp").hex() == VECTORS["udp_key"]


def test_vectors_are_quoted_in_the_document() -> None:
    document = Path(__file__).parents[3] / "docs" / "protocol.md"
    text = "".join(document.read_text().split())
    missing = [name for name, value in VECTORS.items() if isinstance(value, str) and "".join(value.split()) not in text]
    assert missing == []
