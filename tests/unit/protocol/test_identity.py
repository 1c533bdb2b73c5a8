"""An instance is its process's own: nobody else can prove to be it, whatever they have heard."""

from __future__ import annotations

import pytest

from gdispy.errors import ProtocolError
from gdispy.protocol.handshake import Initiator, Keys, Responder
from gdispy.protocol.identity import Identity, check_proof, computation_token

PSK, ROLES, NOW = bytes(range(32)), b"scheduler>node", 1_800_000_000.0
OURS, OTHER = Identity(b"a" * 32), Identity(b"b" * 32)


def connection(ephemeral: bytes = b"\x11" * 32) -> tuple[Keys, Keys]:
    """The keys of both ends."""
    initiator = Initiator(PSK, ROLES, ephemeral, NOW)
    second, theirs, _ = Responder(PSK, [ROLES], b"\x22" * 32, OTHER.instance).answer(initiator.first, NOW)
    return initiator.finish(second), theirs


def test_proof_is_good_at_the_other_end_of_its_connection() -> None:
    ours, theirs = connection()
    check_proof(OURS.instance, OURS.proof(ours.own_binding), theirs.peer_binding)
    check_proof(OTHER.instance, OTHER.proof(theirs.own_binding), ours.peer_binding)


def test_same_seed_is_the_same_instance() -> None:
    assert Identity(b"a" * 32).instance == OURS.instance != OTHER.instance
    assert len(OURS.instance) == 16


@pytest.mark.parametrize("case", ["another connection", "the other way", "other instance", "damaged", "nothing", "key"])
def test_proof_is_good_for_nothing_else(case: str) -> None:
    ours, theirs = connection()
    proof = OURS.proof(ours.own_binding)
    instance, binding = OURS.instance, theirs.peer_binding
    if case == "another connection":
        binding = connection(b"\x12" * 32)[1].peer_binding
    elif case == "the other way":
        binding = ours.peer_binding
    elif case == "other instance":
        instance = OTHER.instance
    elif case == "damaged":
        proof = proof[:-1] + bytes([proof[-1] ^ 1])
    elif case == "nothing":
        proof = b""
    else:  # The public key of the one, and a signature of the other.
        proof = proof[:32] + OTHER.proof(ours.own_binding)[32:]
    with pytest.raises(ProtocolError, match="does not prove that the instance is its own"):
        check_proof(instance, proof, binding)


def test_token_of_a_computation_needs_the_seed_of_its_scheduler() -> None:
    token = computation_token(b"a" * 32, b"computat")
    assert len(token) == 16
    assert token != computation_token(b"b" * 32, b"computat") != computation_token(b"b" * 32, b"another1")
