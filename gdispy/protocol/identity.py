"""The identity of a process: an instance that no other process can use.

Libsodium through PyNaCl's bindings; random bytes are passed in.

All peers with the secret can connect, and an instance is known to all peers of its process. So an instance is the hash
of a public key, and `Hello` contains a proof: that key, and a signature of values known only to the two ends of this
connection. A proof is therefore useless on any other connection, also for its receiver.
"""

from __future__ import annotations

from hashlib import blake2b

from nacl import bindings
from nacl.exceptions import CryptoError

from gdispy.errors import ProtocolError
from gdispy.protocol.field_checks import INSTANCE_BYTES, PROOF_BYTES
from gdispy.protocol.ids import Instance

SEED_BYTES = 32
_PUBLIC_BYTES, _SIGNATURE_BYTES = 32, 64


class Identity:
    """A process, or all runs of a scheduler with a journal. `seed` is 32 random bytes, kept secret."""

    def __init__(self, seed: bytes) -> None:
        self._public, self._private = bindings.crypto_sign_seed_keypair(seed)
        self.instance = _instance_of(self._public)

    def proof(self, binding: bytes) -> bytes:
        """The proof of this identity on a connection; `binding` as in `Keys.own_binding`."""
        signed: bytes = bindings.crypto_sign(binding, self._private)
        public: bytes = self._public
        return public + signed[:_SIGNATURE_BYTES]


def check_proof(instance: bytes, proof: bytes, binding: bytes) -> None:
    """Raise ProtocolError if a peer is not the process of this instance; `binding` as in `Keys.peer_binding`."""
    public, signature = proof[:_PUBLIC_BYTES], proof[_PUBLIC_BYTES:]
    if len(proof) != PROOF_BYTES or _instance_of(public) != instance:
        raise ProtocolError("its Hello does not prove that the instance is its own")
    try:
        bindings.crypto_sign_open(signature + binding, public)
    except CryptoError as error:
        raise ProtocolError("its Hello does not prove that the instance is its own") from error


def computation_token(seed: bytes, computation: bytes) -> bytes:
    """The token that a shared scheduler gives nodes for a computation: taking it over requires the same seed."""
    return blake2b(computation, key=seed, digest_size=16, person=b"gdispy token").digest()


def _instance_of(public: bytes) -> Instance:
    return Instance(blake2b(public, digest_size=INSTANCE_BYTES, person=b"gdispy instance").digest())
