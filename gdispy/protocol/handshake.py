"""Keys, and the handshake that opens each connection between two peers.

Libsodium through PyNaCl's bindings; random bytes are passed in.

    I -> R   magic 8 | Ei 32 | box(k1, time 8)                  64 bytes
    R -> I   magic 8 | Er 32 | box(k2, flags 8 | instance 16)   80 bytes
    then transport frames (wire.py), a key for each direction

Ei and Er are fresh X25519 keys. k1 is derived from the shared secret, k2 and the transport keys from the secret and the
Diffie-Hellman result, and all from the transcript (as in Noise NNpsk0) and the roles of both sides. So only a process
with the secret can open a connection, recorded traffic cannot be decrypted later with the secret, and a message cannot
be used in another context.

With TLS, the initiator's ClientHello has a server name that only a process with the secret can make (`server_name`), so
that other processes get no answer there either.

Invariants: nothing is answered before the initiator's box was opened. A replayed first message is refused by its time,
and by its key if the responder remembers it (`ReplayMemory`). If it does not, as after a restart, the message gets an
answer but nothing else, so nothing may happen before the first transport frame.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

from nacl import bindings
from nacl.exceptions import CryptoError

from gdispy.config import VERSION
from gdispy.errors import PeerRejected, ProtocolError, SecretError
from gdispy.protocol.limits import printable
from gdispy.protocol.secretbox import KEY_BYTES, seal, unseal

#: Version of the protocol, in the last two bytes of the magic.
PROTOCOL = 2
MAGIC = b"gdispy" + PROTOCOL.to_bytes(2, "big")
FIRST_BYTES = 64
SECOND_BYTES = 80

#: Prefix of a generated secret, which is random and needs no key derivation.
GENERATED = "gdk1_"
#: Argon2id: passes, and bytes of memory.
STRETCH_PASSES = 2
STRETCH_MEMORY = 64 * 1024 * 1024

#: Maximum difference, in seconds, between the clocks of two sides.
CLOCK_LIMIT = 3600.0
#: Maximum size of the text that names the version of gdispy of the other side.
RELEASE_LIMIT = 32
#: Number of first messages that a responder remembers: more than honest peers send within their validity.
MEMORY_LIMIT = 1 << 16
#: Bytes of a server name before it is written in hexadecimal digits, and of the random number and the proof in it.
NAME_BYTES = 40
_RANDOM_BYTES = _PROOF_BYTES = 16

_FLAGS = bytes(8)
_NONCE = bytes(24)
#: Stands for the SHA-256 of the server's certificate without TLS.
NO_CERTIFICATE = bytes(32)


def encode_secret(random: bytes) -> str:
    """A secret in the format of key files, from 32 random bytes."""
    return GENERATED + base64.urlsafe_b64encode(random).decode().rstrip("=")


def secret_key(secret: str) -> bytes:
    """The key of a secret: 32 bytes.

    A generated secret is used as the key; from a pass phrase the key is derived with Argon2id. Raises SecretError if
    the secret looks generated but is damaged.
    """
    if secret.startswith(GENERATED):
        # Decoding ignores characters outside the alphabet and unused bits: compare, so that each key has only one text.
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
    """The key that replaces this one in a direction of a connection; this one cannot be computed from it."""
    return _derive(key, b"gdispy rekey", b"")


def _derive(key: bytes, label: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=KEY_BYTES, key=key, person=label.ljust(16, b"\0")[:16]).digest()


def _hash(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=KEY_BYTES, person=b"gdispy hash").digest()


@dataclass(frozen=True)
class Keys:
    """The result of a finished handshake. `instance` is the peer's if the peer is the responder; else empty."""

    send: bytes
    receive: bytes
    instance: bytes
    #: What this side, and the peer, sign to prove their identity: known only to both, and different for each
    #: connection.
    own_binding: bytes
    peer_binding: bytes


class ClockRefused(ProtocolError):
    """The initiator has the secret, but its clock differs too much; `answer` informs it."""

    def __init__(self, text: str, answer: bytes) -> None:
        super().__init__(text)
        self.answer = answer


class ReplayMemory:
    """The keys of received first messages, so that none is accepted twice.

    Those that the clock limit refuses anyway are dropped, and the oldest if there are too many.
    """

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self._limit = limit
        #: The time of each, oldest first, by a part of its key, which is random.
        self._seen: dict[int, float] = {}

    def note(self, key: bytes, now: float) -> bool:
        """Whether a message with this key arrives for the first time; it is remembered."""
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
        """Raise PeerRejected if the answer reports a clock difference."""
        if unseal(_clock_key(self._psk, self._heard, theirs), _NONCE, box) == bytes(24):
            there, here = (int.from_bytes(each, "big") / 1000 for each in (theirs, self._time))
            raise PeerRejected(
                f"its clock is {_span(abs(there - here))} {'ahead of' if there > here else 'behind'} the clock of this "
                f"machine, and may differ by {_span(CLOCK_LIMIT)} at most: set the clocks of both"
            )


class Responder:
    """The side that is connected to. `roles` are the pairs of roles that it accepts."""

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
        """The answer to send, the keys, and the pair of roles.

        Raises ProtocolError if the first message is not from a peer with the secret, and ClockRefused if its clock
        differs too much. Else `admit` is called with its key, and may raise ProtocolError for a replay or for too many
        messages. Only after that a Diffie-Hellman is computed.
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
            # The key also depends on this time: no two texts are ever encrypted with the same key.
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
    """Raise PeerRejected if a peer's first eight bytes are of a different version of the protocol. `release` is then
    called for the version of gdispy of the peer, and returns '' if that is not known."""
    if beginning[:6] == MAGIC[:6] and beginning[:8] != MAGIC and len(beginning) >= 8:
        theirs = int.from_bytes(beginning[6:8], "big")
        known = release()
        other = f" (gdispy {printable(known, RELEASE_LIMIT)})" if known else ""
        raise PeerRejected(
            f"the other side speaks version {theirs} of the gdispy protocol{other}, this side version "
            f"{PROTOCOL} (gdispy {VERSION}): install the same gdispy on both"
        )


def server_name(psk: bytes, random: bytes, now: float) -> str:
    """The server name of a ClientHello, which proves that its sender has the secret. `random` is 16 bytes."""
    body = random + _time_bytes(now)
    text = (body + _proof(psk, body)).hex()
    return f"{text[:NAME_BYTES]}.{text[NAME_BYTES:]}"


def check_server_name(psk: bytes, name: str, now: float) -> bytes:
    """The identifier of such a ClientHello, for a `ReplayMemory`. Raises ProtocolError for any other name."""
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
