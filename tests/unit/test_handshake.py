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
from gdispy.core.handshake import (
    FIRST_BYTES,
    GENERATED,
    MAGIC,
    PROTOCOL,
    SECOND_BYTES,
    Initiator,
    Keys,
    Responder,
    encode_secret,
    next_key,
    purpose_key,
    refuse_other_version,
    seal,
    secret_key,
    unseal,
)
from gdispy.core.messages import from_values
from gdispy.core.wire import MemorySink, Receiver, Sender
from gdispy.errors import PeerRejected, ProtocolError, SecretError

PSK = bytes(range(32))
ROLES = b"scheduler>node"
INSTANCE = bytes(range(100, 116))
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())


def shake(
    psk: bytes = PSK, other_psk: bytes = PSK, roles: bytes = ROLES, other_roles: tuple[bytes, ...] = (ROLES,)
) -> tuple[Keys, Keys]:
    """A whole handshake: the keys of the initiator and of the responder."""
    initiator = Initiator(psk, roles, b"\x11" * 32)
    responder = Responder(other_psk, list(other_roles), b"\x22" * 32, INSTANCE)
    second, keys, _ = responder.answer(initiator.first)
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
    initiator = Initiator(PSK, ROLES, b"\x11" * 32)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(initiator.first)
    assert (len(initiator.first), len(second)) == (FIRST_BYTES, SECOND_BYTES) == (64, 80)
    assert initiator.first[:8] == second[:8] == MAGIC == b"gdispy\0\1"


def test_fresh_ephemerals_give_other_keys() -> None:
    first = Initiator(PSK, ROLES, b"\x11" * 32)
    again = Initiator(PSK, ROLES, b"\x12" * 32)
    one = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(first.first)[1]
    two = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(again.first)[1]
    three = Responder(PSK, [ROLES], b"\x23" * 32, INSTANCE).answer(first.first)[1]
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
    first = Initiator(PSK, ROLES, b"\x11" * 32).first
    responder = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE)
    bits = range(FIRST_BYTES * 8)
    assert [bit for bit in bits if not is_refused(lambda bit=bit: responder.answer(flipped(first, bit)))] == []


def test_second_message_with_any_bit_flipped_is_refused() -> None:
    initiator = Initiator(PSK, ROLES, b"\x11" * 32)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(initiator.first)
    bits = range(SECOND_BYTES * 8)
    assert [bit for bit in bits if not is_refused(lambda bit=bit: initiator.finish(flipped(second, bit)))] == []


@pytest.mark.parametrize("length", [0, 1, 8, 63, 65, 80])
def test_first_message_of_another_length_is_refused(length: int) -> None:
    first = (Initiator(PSK, ROLES, b"\x11" * 32).first + bytes(80))[:length]
    with pytest.raises(ProtocolError):
        Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(first)


@pytest.mark.parametrize("length", [0, 1, 8, 64, 79, 81])
def test_second_message_of_another_length_is_refused(length: int) -> None:
    initiator = Initiator(PSK, ROLES, b"\x11" * 32)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(initiator.first)
    with pytest.raises(ProtocolError):
        initiator.finish((second + b"\0")[:length])


def test_who_connects_in_another_role_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not fit the secret"):
        shake(roles=b"client>scheduler")


def test_responder_tells_which_of_its_roles_was_meant() -> None:
    responder = Responder(PSK, [b"client>scheduler", ROLES], b"\x22" * 32, INSTANCE)
    assert responder.answer(Initiator(PSK, ROLES, b"\x11" * 32).first)[2] == ROLES


def test_another_certificate_is_refused() -> None:
    first = Initiator(PSK, ROLES, b"\x11" * 32, certificate=b"a" * 32).first
    with pytest.raises(ProtocolError):
        Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE, certificate=b"b" * 32).answer(first)
    Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE, certificate=b"a" * 32).answer(first)


def test_messages_that_are_reflected_are_refused() -> None:
    initiator = Initiator(PSK, ROLES, b"\x11" * 32)
    responder = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE)
    second, _, _ = responder.answer(initiator.first)
    with pytest.raises(ProtocolError):
        initiator.finish(initiator.first)
    with pytest.raises(ProtocolError):
        initiator.finish(initiator.first + bytes(16))
    with pytest.raises(ProtocolError):
        responder.answer(second)
    with pytest.raises(ProtocolError):
        responder.answer(second[:64])


def test_answer_to_another_first_message_is_refused() -> None:
    first, other = Initiator(PSK, ROLES, b"\x11" * 32), Initiator(PSK, ROLES, b"\x12" * 32)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(other.first)
    with pytest.raises(ProtocolError):
        first.finish(second)


def test_recorded_session_that_is_replayed_to_the_responder_ends_at_its_first_frame() -> None:
    # Given the recording of a whole session: the first message and a frame.
    initiator = Initiator(PSK, ROLES, b"\x11" * 32)
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(initiator.first)
    recorded = b"".join(Sender(initiator.finish(second).send).pulse())
    # When it is sent again, to a responder with a fresh ephemeral key, as each connection has.
    _, keys, _ = Responder(PSK, [ROLES], b"\x33" * 32, INSTANCE).answer(initiator.first)
    # Then there is an answer, and no more.
    with pytest.raises(ProtocolError, match="does not open"):
        Receiver(keys.receive, lambda size, purpose: MemorySink()).receive(recorded)


def test_recorded_answer_that_is_replayed_to_an_initiator_is_refused() -> None:
    second, _, _ = Responder(PSK, [ROLES], b"\x22" * 32, INSTANCE).answer(Initiator(PSK, ROLES, b"\x11" * 32).first)
    with pytest.raises(ProtocolError, match="does not fit the secret"):
        Initiator(PSK, ROLES, b"\x13" * 32).finish(second)


@pytest.mark.parametrize("public", [bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_key_of_low_order_is_refused(public: bytes) -> None:
    with pytest.raises(ProtocolError):
        Initiator(PSK, ROLES, b"\x11" * 32).finish(MAGIC + public + bytes(40))


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
        Initiator(PSK, ROLES, b"\x11" * 32).finish(b"gdispy\2\1")


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
    with pytest.raises(SecretError, match="cut short or damaged"):
        secret_key(text)


@pytest.mark.parametrize("odd", ["=", "\n", " ", "!", "+", "/", "\0", "\u0660", "ä"])
def test_generated_secret_with_characters_outside_its_alphabet_is_refused(odd: str) -> None:
    text = encode_secret(PSK)
    for place in range(len(GENERATED), len(text) + 1):
        for changed in (text[:place] + odd + text[place:], text[:place] + odd + text[place + 1 :]):
            with pytest.raises(SecretError, match="cut short or damaged"):
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
    initiator = Initiator(unhex("psk"), VECTORS["roles"].encode(), unhex("initiator_ephemeral"))
    certified = Initiator(unhex("psk"), VECTORS["roles"].encode(), unhex("initiator_ephemeral"), unhex("certificate"))
    responder = Responder(
        unhex("psk"), [VECTORS["roles"].encode()], unhex("responder_ephemeral"), unhex("responder_instance")
    )
    second, _, _ = responder.answer(initiator.first)
    keys = initiator.finish(second)
    sender = Sender(keys.send)
    sender.put(from_values([*VECTORS["hello"][:2], unhex("initiator_instance"), *VECTORS["hello"][3:]]))
    found = {
        "first": initiator.first,
        "first_with_certificate": certified.first,
        "second": second,
        "key_i_to_r": keys.send,
        "next_key_i_to_r": next_key(keys.send),
        "key_r_to_i": keys.receive,
        "frame": b"".join(sender.frames()),
    }
    assert {name: value.hex() for name, value in found.items()} == {name: VECTORS[name] for name in found}


def test_vectors_follow_from_the_derivations_of_the_document() -> None:
    """docs/protocol.md, written down once more with nothing but hashlib and libsodium."""

    def derive(key: bytes, label: bytes, data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=32, key=key, person=label + bytes(16 - len(label))).digest()

    def digest(data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=32, person=b"gdispy hash\0\0\0\0\0").digest()

    magic, psk = b"gdispy\0\1", derive(unhex("secret_key"), b"gdispy purpose", b"tcp")
    assert psk == unhex("psk")
    ei = bindings.crypto_scalarmult_base(unhex("initiator_ephemeral"))
    er = bindings.crypto_scalarmult_base(unhex("responder_ephemeral"))
    shared = bindings.crypto_scalarmult(unhex("initiator_ephemeral"), er)

    h1 = digest(b"gdispy/1 " + b"scheduler>node          " + bytes(32) + magic + ei)
    box1 = bindings.crypto_secretbox(bytes(8), bytes(24), derive(psk, b"gdispy first", h1))
    h2 = digest(digest(h1 + box1) + er)
    chain = derive(psk, b"gdispy chain", shared)
    said = bytes(8) + unhex("responder_instance")
    box2 = bindings.crypto_secretbox(said, bytes(24), derive(chain, b"gdispy second", h2))
    h3 = digest(h2 + box2)

    assert (magic + ei + box1).hex() == VECTORS["first"]
    assert (magic + er + box2).hex() == VECTORS["second"]
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
    document = Path(__file__).parents[2] / "docs" / "protocol.md"
    text = "".join(document.read_text().split())
    missing = [name for name, value in VECTORS.items() if isinstance(value, str) and "".join(value.split()) not in text]
    assert missing == []
