"""Secret boxes of libsodium (XSalsa20-Poly1305), encrypted and decrypted in place.

Libsodium through PyNaCl. Callable in any thread; libsodium runs without the GIL.

PyNaCl's functions copy the text two to four times besides the cipher, which is slow for 64 KiB chunks if the C library
returns the memory to the system each time. So the data of a connection is encrypted and decrypted in place, by the same
C functions, through the handles of PyNaCl's bindings.

Invariant: the contents of a box are neither returned nor decrypted in place before the box was authenticated.
"""

from __future__ import annotations

import struct

from nacl import _sodium

from gdispy.protocol.payload import Buffer

_at, _seal, _open = _sodium.ffi.from_buffer, _sodium.lib.crypto_secretbox_easy, _sodium.lib.crypto_secretbox_open_easy

#: By how many bytes a box is longer than its text; these bytes come first.
EXTRA = 16
KEY_BYTES = 32
NONCE_BYTES = 24

#: What a frame begins with.
LENGTH = struct.Struct(">I")
#: Offset of the length and of the extra bytes in a frame.
_HEAD = bytes(LENGTH.size + EXTRA)


def seal(key: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """A secret box around the plaintext."""
    return bytes(sealed_frame(key, nonce, plaintext)[LENGTH.size :])


def unseal(key: bytes, nonce: bytes, box: bytes | memoryview) -> bytes | None:
    """The plaintext, or None for a box that was not made with this key and nonce."""
    if len(nonce) != NONCE_BYTES:  # It was received with the box, and is incomplete.
        return None
    plaintext = opened(key, nonce, memoryview(bytearray(box)))
    return None if plaintext is None else bytes(plaintext)


def sealed_frame(key: bytes, nonce: bytes, *parts: Buffer) -> bytearray:
    """A frame: u32 length of the box, and the box around these parts, one after the other."""
    _check(key, nonce)
    frame = bytearray().join((_HEAD, *parts))
    size = len(frame) - len(_HEAD)
    LENGTH.pack_into(frame, 0, EXTRA + size)
    place = _at(frame)
    _seal(place + LENGTH.size, place + len(_HEAD), size, nonce, key)
    return frame


def opened(key: bytes, nonce: bytes, box: memoryview) -> memoryview | None:
    """The plaintext, in the memory of the box if that is writable; None for a box that was not made with this key and
    nonce."""
    _check(key, nonce)
    if len(box) < EXTRA:
        return None
    if box.readonly:
        box = memoryview(bytearray(box))
    place = _at(box)
    return box[EXTRA:] if _open(place + EXTRA, place, len(box), nonce, key) == 0 else None


def _check(key: bytes, nonce: bytes) -> None:
    # The C functions take pointers and would read beyond the end.
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("a key of 32 bytes and a nonce of 24 bytes are needed")
