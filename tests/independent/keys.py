"""Secrets, the handshake, proofs and packets of discovery: sections 2, 3, 4.1 and 9 of docs/protocol.md.

Pure but for random bytes that are not handed in. Times are milliseconds since the epoch, as they travel.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import Any, NamedTuple

import msgpack
from nacl import bindings as untyped_bindings
from nacl.exceptions import CryptoError

sodium: Any = untyped_bindings

#: The version of the protocol, and what begins each handshake.
VERSION = 2
MAGIC = b"gdispy" + VERSION.to_bytes(2, "big")
CLOCK_LIMIT = 3_600_000
NO_CERTIFICATE = bytes(32)
ZERO_NONCE = bytes(24)
#: What a responder with certificate files sends where TLS is missing.
TLS_ALERT = bytes.fromhex("15030300020246")

PACKET_MAGIC = b"gdispyU1"


class Refused(Exception):
    """What has arrived breaks the protocol. `answer` is sent before the connection is closed."""

    def __init__(self, reason: str, answer: bytes = b"") -> None:
        super().__init__(reason)
        self.answer = answer


def derive(key: bytes, label: str, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32, key=key, person=label.encode("ascii").ljust(16, b"\0")).digest()


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32, person=b"gdispy hash".ljust(16, b"\0")).digest()


def box(key: bytes, nonce: bytes, text: bytes) -> bytes:
    return bytes(sodium.crypto_secretbox(text, nonce, key))


def opened(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    """The text in a box, None where it does not open."""
    try:
        return bytes(sodium.crypto_secretbox_open(sealed, nonce, key))
    except (CryptoError, ValueError, TypeError):
        return None


# Section 2


def secret_key(text: str) -> bytes:
    """The 32 bytes that a secret stands for. Raises Refused for a damaged one."""
    text = text.strip()
    if not text.startswith("gdk1_"):
        salt = hashlib.blake2b(b"gdispy pass phrase v1", digest_size=16).digest()
        kind = sodium.crypto_pwhash_ALG_ARGON2ID13
        return bytes(sodium.crypto_pwhash_alg(32, text.encode(), salt, 2, 67_108_864, kind))
    if re.fullmatch(r"[A-Za-z0-9_-]{43}", text[5:]):
        key = base64.urlsafe_b64decode(text[5:] + "=")
        if base64.urlsafe_b64encode(key).decode() == text[5:] + "=":
            return key
    raise Refused("a generated secret is damaged")


def purpose_key(key: bytes, purpose: str) -> bytes:
    return derive(key, "gdispy purpose", purpose.encode("ascii"))


def tcp_key(secret: str) -> bytes:
    return purpose_key(secret_key(secret), "tcp")


# Section 3


class Keys(NamedTuple):
    """What a handshake leaves: keys of both directions, what is signed, and the responder's instance."""

    send: bytes
    receive: bytes
    own_binding: bytes
    peer_binding: bytes
    instance: bytes


class _Script:
    """What both sides compute from the messages, in the order in which they come."""

    def __init__(self, psk: bytes, roles: str, certificate: bytes, public: bytes) -> None:
        self.psk = psk
        prologue = b"gdispy/2 " + roles.encode("ascii").ljust(24, b" ") + certificate
        self.hash = digest(prologue + MAGIC + public)
        self.first_key = derive(psk, "gdispy first", self.hash)

    def after_first(self, box1: bytes) -> None:
        self.hash = digest(self.hash + box1)

    def clock_key(self, now: bytes) -> bytes:
        return derive(self.psk, "gdispy clock", self.hash + now)

    def agree(self, private: bytes, public: bytes, responders: bytes) -> None:
        """Take in the Diffie-Hellman result. `responders` is the public key of the responder. Raises Refused."""
        try:
            shared = bytes(sodium.crypto_scalarmult(private, public))
        except (CryptoError, RuntimeError):
            shared = bytes(32)
        if shared == bytes(32):
            raise Refused("a public key of low order")
        self.hash = digest(self.hash + responders)
        self.chain = derive(self.psk, "gdispy chain", shared)
        self.second_key = derive(self.chain, "gdispy second", self.hash)

    def finish(self, box2: bytes) -> tuple[bytes, bytes, bytes, bytes]:
        """Keys from the initiator and from the responder, and their bindings."""
        self.hash = digest(self.hash + box2)
        labels = ("gdispy i to r", "gdispy r to i", "gdispy id of i", "gdispy id of r")
        to_r, to_i, of_i, of_r = (derive(self.chain, label, self.hash) for label in labels)
        return to_r, to_i, of_i, of_r


class Initiator:
    """The side that connects."""

    def __init__(
        self, psk: bytes, roles: str, now: int, private: bytes | None = None, certificate: bytes = NO_CERTIFICATE
    ) -> None:
        self._private = private or os.urandom(32)
        public = bytes(sodium.crypto_scalarmult_base(self._private))
        self._script = _Script(psk, roles, certificate, public)
        box1 = box(self._script.first_key, ZERO_NONCE, now.to_bytes(8, "big"))
        self._script.after_first(box1)
        self.first = MAGIC + public + box1

    def finish(self, second: bytes) -> Keys:
        """The keys, from the answer. Raises Refused."""
        if second[:6] == MAGIC[:6] and second[6:8] != MAGIC[6:]:
            raise Refused(f"the other side speaks version {int.from_bytes(second[6:8], 'big')}, this side {VERSION}")
        if second[:8] != MAGIC or len(second) != 80:
            raise Refused("no answer of a responder")
        public, box2 = second[8:40], second[40:]
        script = self._script
        if public[8:] == bytes(24) and opened(script.clock_key(public[:8]), ZERO_NONCE, box2) == bytes(24):
            raise Refused("the clocks differ by more than an hour")
        script.agree(self._private, public, public)
        text = opened(script.second_key, ZERO_NONCE, box2)
        if text is None or text[:8] != bytes(8):
            raise Refused("the secrets differ")
        to_r, to_i, of_i, of_r = script.finish(box2)
        return Keys(to_r, to_i, of_i, of_r, text[8:])


class Responder:
    """The side that is connected to; takes part in several pairs of roles, and in several connections."""

    def __init__(self, psk: bytes, roles: list[str], instance: bytes, certificate: bytes = NO_CERTIFICATE) -> None:
        self._psk, self._roles, self._instance, self._certificate = psk, roles, instance, certificate
        #: The first 8 bytes of keys that were seen -> when.
        self._seen: dict[bytes, int] = {}

    def answer(self, first: bytes, now: int, private: bytes | None = None) -> tuple[bytes, Keys, str]:
        """The answer, the keys, and the roles. Raises Refused."""
        if first[:6] == MAGIC[:6] and first[6:8] != MAGIC[6:]:
            raise Refused("another version", MAGIC + b"\x050.1.0")
        if first[:8] != MAGIC or len(first) != 64:
            raise Refused("no first message")
        public, box1 = first[8:40], first[40:]
        for roles in self._roles:
            script = _Script(self._psk, roles, self._certificate, public)
            text = opened(script.first_key, ZERO_NONCE, box1)
            if text is not None:
                break
        else:
            raise Refused("the secret differs, or the roles")
        script.after_first(box1)
        self.note(public, now)
        if abs(int.from_bytes(text, "big") - now) > CLOCK_LIMIT:
            ours = now.to_bytes(8, "big")
            refusal = box(script.clock_key(ours), ZERO_NONCE, bytes(24))
            raise Refused("the clocks differ", MAGIC + ours + bytes(24) + refusal)
        private = private or os.urandom(32)
        own = bytes(sodium.crypto_scalarmult_base(private))
        script.agree(private, public, own)
        box2 = box(script.second_key, ZERO_NONCE, bytes(8) + self._instance)
        to_r, to_i, of_i, of_r = script.finish(box2)
        return MAGIC + own + box2, Keys(to_i, to_r, of_r, of_i, b""), roles

    def note(self, key: bytes, now: int) -> None:
        """Raise Refused where a key, or the random number of a server name, was seen before."""
        self._seen = {each: when for each, when in self._seen.items() if when >= now - 2 * CLOCK_LIMIT}
        if key[:8] in self._seen:
            raise Refused("it was seen before")
        self._seen[key[:8]] = now
        if len(self._seen) > 65_536:
            del self._seen[next(iter(self._seen))]


def server_name(psk: bytes, now: int, random: bytes | None = None) -> str:
    """What a ClientHello asks for."""
    body = (random or os.urandom(16)) + now.to_bytes(8, "big")
    text = (body + derive(psk, "gdispy sni", body)[:16]).hex()
    return f"{text[:40]}.{text[40:]}"


def check_server_name(psk: bytes, name: str, now: int) -> bytes:
    """The random number in it. Raises Refused."""
    if not re.fullmatch(r"[0-9a-f]{40}\.[0-9a-f]{40}", name):
        raise Refused("no server name of a peer with the secret")
    data = bytes.fromhex(name.replace(".", ""))
    if derive(psk, "gdispy sni", data[:24])[:16] != data[24:]:
        raise Refused("the proof in the server name does not fit the secret")
    if abs(int.from_bytes(data[16:24], "big") - now) > CLOCK_LIMIT:
        raise Refused("the clocks differ")
    return data[:16]


# Section 4.1


class Identity:
    """What a process is known by."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._public, self._private = sodium.crypto_sign_seed_keypair(seed or os.urandom(32))
        self.instance = instance_of(self._public)

    def proof(self, binding: bytes) -> bytes:
        return bytes(self._public + sodium.crypto_sign(binding, self._private)[:64])


def instance_of(public: bytes) -> bytes:
    return hashlib.blake2b(public, digest_size=16, person=b"gdispy instance".ljust(16, b"\0")).digest()


def check_proof(instance: bytes, proof: bytes, keys: Keys) -> None:
    """Raise Refused where a `Hello` is not of the process that it names."""
    if len(proof) != 96 or instance_of(proof[:32]) != instance:
        raise Refused("the instance is not that of the public key")
    try:
        sodium.crypto_sign_open(proof[32:] + keys.peer_binding, proof[:32])
    except CryptoError:
        raise Refused("the proof is not one of this connection") from None
    if keys.instance not in (b"", instance):
        raise Refused("the handshake had another instance")


# Section 9


def packet(key: bytes, fields: list[Any], nonce: bytes) -> bytes:
    """A packet of the fields before the zeros."""
    bare = len(msgpack.packb([*fields, b""]))
    return PACKET_MAGIC + nonce + box(key, nonce, msgpack.packb([*fields, bytes(max(0, 240 - bare))]))


def open_packet(key: bytes, data: bytes, own: bytes, now: float, seen: set[bytes]) -> list[Any]:
    """The fields of a packet. Raises Refused for one that is to be ignored."""
    nonce = data[8:32]
    if not 288 <= len(data) <= 512 or data[:8] != PACKET_MAGIC:
        raise Refused("no packet")
    body = opened(key, nonce, data[32:])
    if body is None:
        raise Refused("it does not open")
    try:
        fields = msgpack.unpackb(body)
        kind, instance, time, port, address, name, udp, via, _ = fields
    except (ValueError, TypeError):
        raise Refused("not the fields of a packet") from None
    texts = [type(each) is str for each in (address, name, via)]
    numbers = [type(each) is int and 0 <= each < 65_536 for each in (port, udp)]
    kinds = [type(kind) is int and 1 <= kind <= 6, type(instance) is bytes and len(instance) == 16]
    if not all([*texts, *numbers, *kinds, type(time) is float]):
        raise Refused("a field is not what it must be")
    if instance == own or not abs(time - now) <= 300 or nonce in seen:
        raise Refused("its own, too old, or seen before")
    seen.add(nonce)
    return list(fields[:8])
