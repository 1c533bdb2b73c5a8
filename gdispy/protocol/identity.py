"""Who a process is: an instance that nobody else can take.

Libsodium through PyNaCl's bindings, random bytes handed in. Used by whoever sends or receives `Hello`.

All that have the secret can connect, and an instance is known to everybody that its process has talked to. So an
instance is the hash of a public key, and `Hello` brings a proof: that key, and with it a signature of what is known to
the two ends of this connection only. A proof is therefore of no use on any other connection, to its receiver neither.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from nacl import bindings as untyped_bindings
from nacl.exceptions import CryptoError

from gdispy.errors import ProtocolError
from gdispy.protocol.field_checks import INSTANCE_BYTES, PROOF_BYTES
from gdispy.protocol.ids import Instance

bindings: Any = untyped_bindings

SEED_BYTES = 32
_PUBLIC_BYTES, _SIGNATURE_BYTES = 32, 64


class Identity:
    """One process, or all lives of a scheduler with a journal. `seed` is 32 random bytes, known to nobody else."""

    def __init__(self, seed: bytes) -> None:
        self._public, self._private = bindings.crypto_sign_seed_keypair(seed)
        self.instance = _instance_of(self._public)

    def proof(self, binding: bytes) -> bytes:
        """What shows on a connection that it is this one; `binding` as in `Keys.own_binding`."""
        signed: bytes = bindings.crypto_sign(binding, self._private)
        public: bytes = self._public
        return public + signed[:_SIGNATURE_BYTES]


def check_proof(instance: bytes, proof: bytes, binding: bytes) -> None:
    """Raise ProtocolError where a peer is not the process of this instance; `binding` as in `Keys.peer_binding`."""
    public, signature = proof[:_PUBLIC_BYTES], proof[_PUBLIC_BYTES:]
    if len(proof) != PROOF_BYTES or _instance_of(public) != instance:
        raise ProtocolError("its Hello does not prove that the instance is its own")
    try:
        bindings.crypto_sign_open(signature + binding, public)
    except CryptoError as error:
        raise ProtocolError("its Hello does not prove that the instance is its own") from error


def computation_token(seed: bytes, computation: bytes) -> bytes:
    """The token with which a shared scheduler brings a computation to nodes: who takes it over must have its seed."""
    return blake2b(computation, key=seed, digest_size=16, person=b"gdispy token").digest()


def _instance_of(public: bytes) -> Instance:
    return Instance(blake2b(public, digest_size=INSTANCE_BYTES, person=b"gdispy instance").digest())
