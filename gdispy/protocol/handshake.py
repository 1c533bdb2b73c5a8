"""Keys, and the handshake that two peers open each connection with.

Libsodium through PyNaCl's bindings, random bytes handed in. `net.py` drives it.

    I -> R   magic 8 | Ei 32 | box(k1, time 8)                  64 bytes
    R -> I   magic 8 | Er 32 | box(k2, flags 8 | instance 16)   80 bytes
    then transport frames (wire.py), a key for each direction

Ei and Er are fresh X25519 keys. k1 comes from the shared secret, k2 and the transport keys from the
secret and the Diffie-Hellman result, and all from everything said before (as in Noise NNpsk0) and
from the roles of both sides. So a connection can be opened only by who has the secret, what was
recorded cannot be read later by who learns it, and a message cannot be used in any other place.

With TLS, the initiator's ClientHello carries a server name that only who has the secret can make (`server_name`), so
that nobody else gets an answer there either.

Invariants: nothing is answered before the initiator's box opened. A first message that was recorded and is sent again
is refused by its time, and by its key as far as the responder remembers that (`ReplayMemory`). Where it does not, as
after a restart, the message gets an answer and no more, so nothing may happen before the first transport frame.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Any

from nacl import bindings as untyped_bindings
from nacl.exceptions import CryptoError

from gdispy.config import VERSION
from gdispy.errors import PeerRejected, ProtocolError, SecretError
from gdispy.protocol.limits import printable
from gdispy.protocol.secretbox import KEY_BYTES, seal, unseal

bindings: Any = untyped_bindings

#: Version of the protocol, in the last two bytes of the magic.
PROTOCOL = 2
MAGIC = b"gdispy" + PROTOCOL.to_bytes(2, "big")
FIRST_BYTES = 64
SECOND_BYTES = 80

#: Beginning of a generated secret, which is random and needs no stretching.
GENERATED = "gdk1_"
#: Argon2id: passes, and bytes of memory.
STRETCH_PASSES = 2
STRETCH_MEMORY = 64 * 1024 * 1024

#: Seconds by which the clocks of two sides may differ.
CLOCK_LIMIT = 3600.0
#: Bytes of the text that says which gdispy the other side is, at most.
RELEASE_LIMIT = 32
#: First messages that a responder remembers: more than honest peers make in the time for which they are good.
MEMORY_LIMIT = 1 << 16
#: Bytes of a server name before it is written in hexadecimal digits, and of the random number and the proof in it.
NAME_BYTES = 40
_RANDOM_BYTES = _PROOF_BYTES = 16

_FLAGS = bytes(8)
_NONCE = bytes(24)
#: In place of the SHA-256 of the server's certificate, where there is no TLS.
NO_CERTIFICATE = bytes(32)


def encode_secret(random: bytes) -> str:
    """A secret in the form that key files hold, from 32 random bytes."""
    return GENERATED + base64.urlsafe_b64encode(random).decode().rstrip("=")


def secret_key(secret: str) -> bytes:
    """The key that a secret stands for: 32 bytes.

    A generated secret is its own key; a pass phrase is stretched (Argon2id, about 0.1 s).
    Raises SecretError where the secret looks generated but is damaged.
    """
    if secret.startswith(GENERATED):
        # Decoding passes over what is not of the alphabet, and over bits that stand for nothing: each key has one text.
        try:
            raw = base64.urlsafe_b64decode(f"{secret[len(GENERATED) :]}=")
        except ValueError:
            raw = b""
        if len(raw) != KEY_BYTES or encode_secret(raw) != secret:
            raise SecretError(f"the secret begins with {GENERATED} but is incomplete or damaged: copy it again")
        return raw
    salt = blake2b(b"gdispy pass phrase v1", digest_size=16).digest()
    phrase = secret.encode("utf-8")
    try:
        return bytes(
            bindings.crypto_pwhash_alg(
                KEY_BYTES,
                phrase,
                salt,
                STRETCH_PASSES,
                STRETCH_MEMORY,
                bindings.crypto_pwhash_ALG_ARGON2ID13,
            )
        )
    except (CryptoError, MemoryError, RuntimeError) as error:
        raise SecretError(f"deriving a key from the pass phrase needs 64 MiB of memory: {error}") from error


def purpose_key(key: bytes, purpose: bytes) -> bytes:
    """The key for one purpose ('tcp', 'udp'), so that no two purposes share one."""
    return _derive(key, b"gdispy purpose", purpose)


def next_key(key: bytes) -> bytes:
    """The key that takes the place of this one in a direction of a connection; from it this one cannot be found."""
    return _derive(key, b"gdispy rekey", b"")


def _derive(key: bytes, label: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=KEY_BYTES, key=key, person=label.ljust(16, b"\0")[:16]).digest()


def _hash(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=KEY_BYTES, person=b"gdispy hash").digest()


@dataclass(frozen=True)
class Keys:
    """What a finished handshake leaves. `instance` is the peer's, where the peer is the responder; else nothing."""

    send: bytes
    receive: bytes
    instance: bytes
    #: What this side, and the peer, sign to prove who they are: known to these two only, and to no other connection.
    own_binding: bytes
    peer_binding: bytes


class ClockRefused(ProtocolError):
    """The initiator has the secret, and a clock that differs by too much; `answer` is what tells it so."""

    def __init__(self, text: str, answer: bytes) -> None:
        super().__init__(text)
        self.answer = answer


class ReplayMemory:
    """The keys of first messages that have come in, so that none is taken twice.

    Those that the limit of clocks refuses anyway are forgotten, and the oldest where there are too many.
    """

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self._limit = limit
        #: When each came, the oldest first. A part of a key, which is random, names it.
        self._seen: dict[int, float] = {}

    def note(self, key: bytes, now: float) -> bool:
        """Whether a message with this key comes for the first time; it is remembered."""
        number = int.from_bytes(key[:8], "big")
        if number in self._seen:
            return False
        seen = self._seen
        seen[number] = now
        while len(seen) > self._limit or next(iter(seen.values())) < now - 2 * CLOCK_LIMIT:
            del seen[next(iter(seen))]
        return True


class Initiator:
    """The side that connects. `ephemeral` is 32 random bytes, used once; `now` seconds since the epoch."""

    def __init__(
        self, psk: bytes, roles: bytes, ephemeral: bytes, now: float, certificate: bytes = NO_CERTIFICATE
    ) -> None:
        self._psk = psk
        self._private = ephemeral
        self._time = _time_bytes(now)
        public = bindings.crypto_scalarmult_base(ephemeral)
        heard = _hash(_prologue(roles, certificate), MAGIC, public)
        box = seal(_derive(psk, b"gdispy first", heard), _NONCE, self._time)
        self._heard = _hash(heard, box)
        #: The message to send.
        self.first = MAGIC + public + box

    def finish(self, second: bytes) -> Keys:
        """The keys, from the responder's answer. Raises PeerRejected or ProtocolError."""
        refuse_other_version(second)
        if len(second) != SECOND_BYTES or second[:8] != MAGIC:
            raise ProtocolError("the answer to the handshake is malformed")
        public, box = second[8:40], second[40:]
        if public[8:] == bytes(24):
            self._note_clock(public[:8], box)
        shared = _agree(self._private, public)
        heard, chain = _hash(self._heard, public), _derive(self._psk, b"gdispy chain", shared)
        said = unseal(_derive(chain, b"gdispy second", heard), _NONCE, box)
        if said is None or said[:8] != _FLAGS:
            raise ProtocolError("the answer to the handshake does not fit the secret")
        heard = _hash(heard, box)
        to_responder, to_initiator = _transport(chain, heard)
        return Keys(to_responder, to_initiator, said[8:], *_bindings(chain, heard))

    def _note_clock(self, theirs: bytes, box: bytes) -> None:
        """Raise PeerRejected where the answer says that the clocks differ."""
        if unseal(_clock_key(self._psk, self._heard, theirs), _NONCE, box) == bytes(24):
            there, here = (int.from_bytes(each, "big") / 1000 for each in (theirs, self._time))
            raise PeerRejected(
                f"its clock is {_span(abs(there - here))} {'ahead of' if there > here else 'behind'} the clock of this "
                f"machine, and may differ by {_span(CLOCK_LIMIT)} at most: set the clocks of both"
            )


class Responder:
    """The side that is connected to. `roles` are the pairs of roles it takes part in."""

    def __init__(
        self,
        psk: bytes,
        roles: list[bytes],
        ephemeral: bytes,
        instance: bytes,
        certificate: bytes = NO_CERTIFICATE,
    ) -> None:
        self._psk = psk
        self._roles = roles
        self._private = ephemeral
        self._instance = instance
        self._certificate = certificate

    def answer(
        self, first: bytes, now: float, admit: Callable[[bytes], None] = lambda key: None
    ) -> tuple[bytes, Keys, bytes]:
        """The answer to send, the keys, and which pair of roles it is.

        Raises ProtocolError where the first message is not from a peer with the secret, and ClockRefused where its
        clock differs by too much. Else `admit` is given its key, and may raise ProtocolError: for one that came before,
        or for one too many. Only after that a Diffie-Hellman is computed.
        """
        if len(first) != FIRST_BYTES or first[:8] != MAGIC:
            raise ProtocolError("not the first message of a handshake")
        public, box = first[8:40], first[40:]
        for roles in self._roles:
            heard = _hash(_prologue(roles, self._certificate), MAGIC, public)
            sent = unseal(_derive(self._psk, b"gdispy first", heard), _NONCE, box)
            if sent is not None:
                heard = _hash(heard, box)
                admit(public)
                self._check_clock(sent, now, heard)
                second, keys = self._accept(heard, public)
                return second, keys, roles
        raise ProtocolError("the first message of a handshake does not fit the secret")

    def _check_clock(self, sent: bytes, now: float, heard: bytes) -> None:
        difference = int.from_bytes(sent, "big") / 1000 - now
        if abs(difference) > CLOCK_LIMIT:
            ours = _time_bytes(now)
            # The key is of this time, too: no two texts are ever sealed with one.
            box = seal(_clock_key(self._psk, heard, ours), _NONCE, bytes(24))
            text = f"its clock differs by {_span(abs(difference))}, or it was recorded that long ago"
            raise ClockRefused(text, MAGIC + ours + bytes(24) + box)

    def _accept(self, heard: bytes, public: bytes) -> tuple[bytes, Keys]:
        own = bindings.crypto_scalarmult_base(self._private)
        shared = _agree(self._private, public)
        heard, chain = _hash(heard, own), _derive(self._psk, b"gdispy chain", shared)
        box = seal(_derive(chain, b"gdispy second", heard), _NONCE, _FLAGS + self._instance)
        heard = _hash(heard, box)
        to_responder, to_initiator = _transport(chain, heard)
        ours, theirs = reversed(_bindings(chain, heard))
        return MAGIC + own + box, Keys(to_initiator, to_responder, b"", ours, theirs)


def refuse_other_version(beginning: bytes, release: Callable[[], str] = lambda: "") -> None:
    """Raise PeerRejected where a peer's first eight bytes are of another version of the protocol. `release` is asked
    then which gdispy the peer is, and answers '' where that is not known."""
    if beginning[:6] == MAGIC[:6] and beginning[:8] != MAGIC and len(beginning) >= 8:
        theirs = int.from_bytes(beginning[6:8], "big")
        known = release()
        other = f" (gdispy {printable(known, RELEASE_LIMIT)})" if known else ""
        raise PeerRejected(
            f"the other side speaks version {theirs} of the gdispy protocol{other}, this side version "
            f"{PROTOCOL} (gdispy {VERSION}): install the same gdispy on both"
        )


def server_name(psk: bytes, random: bytes, now: float) -> str:
    """The server name of a ClientHello, which shows that its sender has the secret. `random` is 16 bytes."""
    body = random + _time_bytes(now)
    text = (body + _proof(psk, body)).hex()
    return f"{text[:NAME_BYTES]}.{text[NAME_BYTES:]}"


def check_server_name(psk: bytes, name: str, now: float) -> bytes:
    """What names such a ClientHello, for a `ReplayMemory`. Raises ProtocolError for any other name."""
    try:
        data = bytes.fromhex(name.replace(".", "", 1))
    except ValueError:
        data = b""
    body, proof = data[:-_PROOF_BYTES], data[-_PROOF_BYTES:]
    if len(data) != NAME_BYTES or not compare_digest(proof, _proof(psk, body)):
        raise ProtocolError("the server name of its ClientHello does not fit the secret")
    difference = int.from_bytes(body[_RANDOM_BYTES:], "big") / 1000 - now
    if abs(difference) > CLOCK_LIMIT:
        raise ProtocolError(f"its clock differs by {_span(abs(difference))}, or it was recorded that long ago")
    return body


def _proof(psk: bytes, body: bytes) -> bytes:
    return _derive(psk, b"gdispy sni", body)[:_PROOF_BYTES]


def _clock_key(psk: bytes, heard: bytes, time: bytes) -> bytes:
    return _derive(psk, b"gdispy clock", heard + time)


def _time_bytes(now: float) -> bytes:
    """Seconds since the epoch as milliseconds in 8 bytes."""
    return max(0, min(int(now * 1000), (1 << 64) - 1)).to_bytes(8, "big")


def _span(seconds: float) -> str:
    return f"{seconds / 86400:.1f} days" if seconds >= 2 * 86400 else f"{seconds / 60:.0f} minutes"


def _prologue(roles: bytes, certificate: bytes) -> bytes:
    return b"gdispy/%d " % PROTOCOL + roles.ljust(24, b" ") + certificate


def _agree(private: bytes, public: bytes) -> bytes:
    try:
        return bytes(bindings.crypto_scalarmult(private, public))
    except (CryptoError, RuntimeError) as error:  # a point of low order
        raise ProtocolError("the peer's key is not one") from error


def _transport(chain: bytes, heard: bytes) -> tuple[bytes, bytes]:
    return _derive(chain, b"gdispy i to r", heard), _derive(chain, b"gdispy r to i", heard)


def _bindings(chain: bytes, heard: bytes) -> tuple[bytes, bytes]:
    """What the initiator signs, and the responder."""
    return _derive(chain, b"gdispy id of i", heard), _derive(chain, b"gdispy id of r", heard)
