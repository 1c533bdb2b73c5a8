"""Secret boxes: what was changed is not opened. Vectors: `test_independent_peer.py`."""

from __future__ import annotations

import nacl.secret
import pytest

from gdispy.protocol.secretbox import EXTRA, LENGTH, opened, seal, sealed_frame, unseal

KEY, NONCE = bytes(range(32)), bytes(range(24))
TEXT = b"plaintext"


@pytest.mark.parametrize("text", [b"", b"x", TEXT, bytes(100_000)])
def test_box_is_that_of_libsodium(text: bytes) -> None:
    box = nacl.secret.SecretBox(KEY)
    assert seal(KEY, NONCE, text) == box.encrypt(text, NONCE).ciphertext
    assert unseal(KEY, NONCE, box.encrypt(text, NONCE).ciphertext) == text


def test_frame_is_the_length_and_a_box_around_all_parts() -> None:
    frame = sealed_frame(KEY, NONCE, TEXT[:3], memoryview(TEXT[3:]))
    assert LENGTH.unpack_from(frame) == (len(TEXT) + EXTRA,)
    assert frame[LENGTH.size :] == seal(KEY, NONCE, TEXT)


@pytest.mark.parametrize("place", range(len(TEXT) + EXTRA))
def test_box_of_which_any_bit_was_changed_is_not_opened(place: int) -> None:
    box = bytearray(seal(KEY, NONCE, TEXT))
    box[place] ^= 0x80
    before = bytes(box)
    assert unseal(KEY, NONCE, bytes(box)) is None
    assert opened(KEY, NONCE, memoryview(box)) is None
    assert bytes(box) == before  # Nothing is decrypted before it is authenticated.


@pytest.mark.parametrize("length", range(EXTRA))
def test_box_that_is_too_short_is_not_opened(length: int) -> None:
    assert unseal(KEY, NONCE, bytes(length)) is None


def test_other_key_or_nonce_does_not_open_it() -> None:
    box = seal(KEY, NONCE, TEXT)
    assert unseal(bytes(32), NONCE, box) is None and unseal(KEY, bytes(24), box) is None
    assert unseal(KEY, NONCE[:-1], box) is None


def test_writable_box_is_opened_in_its_memory_and_a_read_only_one_stays() -> None:
    box = seal(KEY, NONCE, TEXT)
    place = bytearray(box)
    plain = opened(KEY, NONCE, memoryview(place))
    assert plain is not None and plain.obj is place and bytes(place[EXTRA:]) == TEXT
    assert opened(KEY, NONCE, memoryview(box)) == TEXT and box == seal(KEY, NONCE, TEXT)


@pytest.mark.parametrize(("key", "nonce"), [(KEY[:-1], NONCE), (KEY + b"x", NONCE), (KEY, NONCE[:-1]), (KEY, b"")])
def test_key_and_nonce_of_another_size_never_reach_the_library(key: bytes, nonce: bytes) -> None:
    for call in (lambda: sealed_frame(key, nonce, TEXT), lambda: opened(key, nonce, memoryview(bytes(99)))):
        with pytest.raises(ValueError, match="a key of 32 bytes and a nonce of 24 bytes are needed"):
            call()
