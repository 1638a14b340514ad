"""XAES-256-GCM, as C2SP specifies it (c2sp.org/XAES-256-GCM), with the key derivation cached.

    L   = AES-256(key, 0^128);  K1 = L doubled in GF(2^128)          (both inside CMAC)
    Kx  = CMAC(key, 00 01 'X' 00 ‖ nonce[0:12]) ‖ CMAC(key, 00 02 'X' 00 ‖ nonce[0:12])
    out = AES-256-GCM(Kx, nonce[12:24], plaintext, aad)

A sealed message is `nonce (24) ‖ ciphertext ‖ tag (16)`.

A `Sealer` lives for one attempt at one write transaction. It draws the first half of the nonce
once, so Kx is derived once, and draws the second half afresh from the operating system for every
message. That is safe for two reasons: two sealers share a first half with probability about
n²/2^97 for n transactions, and under one first half the second half is a random 96-bit GCM nonce,
of which 2^32 may be used before the chance of a collision passes 2^-32 (NIST SP 800-38D, 8.3).
Nothing is counted or stored between transactions, so a fork, a restored backup or a copied file
cannot make a nonce repeat.

What this is not: not misuse resistant beyond that, and not committing. The verifier in the header
is the key commitment (keys.py), and the tree of tags binds every page to one key (pages.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer


__all__ = ["NONCE_BYTES", "OVERHEAD", "TAG_BYTES", "Opener", "Sealer", "TagMismatchError"]

NONCE_BYTES = 24
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES
HALF = NONCE_BYTES // 2
SEALS_PER_DERIVED_KEY = 1 << 32
CACHED_KEYS = 4096

TagMismatchError = InvalidTag
"""What opening raises when key, nonce, ciphertext, tag and AAD do not belong together."""


def derive(key: bytes | bytearray, first_half: bytes) -> AESGCM:
    """The AES-256-GCM key for one first half of a nonce (12 bytes)."""
    halves = []
    for counter in (b"\x00\x01X\x00", b"\x00\x02X\x00"):
        mac = CMAC(AES(key))
        mac.update(counter + first_half)
        halves.append(mac.finalize())
    return AESGCM(b"".join(halves))


def flat(data: Buffer) -> memoryview:
    """Contiguous memory of any shape and type as plain bytes."""
    return memoryview(data).cast("B")


class Sealer:
    """Seals messages under one randomly drawn first half. One thread, one transaction attempt."""

    def __init__(
        self, key: bytes | bytearray, *, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._key = key
        self._random = random
        self._draw()

    def _draw(self) -> None:
        self._first_half = self._random(HALF)
        self._aead = derive(self._key, self._first_half)
        self._left = SEALS_PER_DERIVED_KEY

    def seal(self, plaintext: Buffer, aad: bytes) -> bytearray:
        """`nonce ‖ ciphertext ‖ tag` of `plaintext`, `OVERHEAD` bytes longer than it."""
        if self._left == 0:
            self._draw()
        self._left -= 1
        second_half = self._random(HALF)
        out = bytearray(memoryview(plaintext).nbytes + OVERHEAD)
        out[:NONCE_BYTES] = self._first_half + second_half
        self._aead.encrypt_into(second_half, flat(plaintext), aad, memoryview(out)[NONCE_BYTES:])
        return out


class Opener:
    """Opens messages under one key. Safe to use from several threads at once."""

    def __init__(self, key: bytes | bytearray) -> None:
        self._key = key
        self._derived: dict[bytes, AESGCM] = {}

    def forget(self) -> None:
        """Drop the derived keys. The key itself is the caller's to wipe."""
        self._derived.clear()

    def _aead(self, first_half: bytes) -> AESGCM:
        aead = self._derived.get(first_half)
        if aead is None:
            if len(self._derived) >= CACHED_KEYS:
                self._derived.clear()
            aead = self._derived[first_half] = derive(self._key, first_half)
        return aead

    def open(self, sealed: memoryview, tag: bytes, aad: bytes) -> bytes:
        """The plaintext of `sealed`, which has to carry this very tag.

        What is opened is a copy that ends in the expected tag: `sealed` may be memory that others
        can write to, and whatever they write meanwhile, only the expected message opens. Raises
        `TagMismatchError`; nothing unauthenticated leaks.
        """
        nonce, message = parts(sealed, tag)
        return self._aead(nonce[:HALF]).decrypt(nonce[HALF:], message, aad)

    def open_into(self, sealed: memoryview, tag: bytes, aad: bytes, out: Buffer) -> None:
        """Opens `sealed` into `out`, a writable buffer of exactly `len(sealed) - OVERHEAD` bytes.

        As `open`. After a `TagMismatchError` `out` holds nothing that may be used.
        """
        self.open_each_into(lambda _: sealed, [b""], [tag], aad, [out])

    def open_each_into(
        self,
        get: Callable[[bytes], memoryview | None],
        keys: list[bytes],
        tags: list[bytes],
        context: bytes,
        outs: Sequence[Buffer],
    ) -> None:
        """`open_into` of what `get` gives for each key, under the AAD `context ‖ key`. What is not
        there is a `TagMismatchError` too.
        """
        # All of it written out: this is the innermost loop of whatever opens pages.
        derived = self._derived
        for key, tag, out in zip(keys, tags, outs, strict=True):
            if type(out) is not memoryview or out.format != "B":
                out = memoryview(out).cast("B")  # noqa: PLW2901
            sealed = get(key)
            if sealed is None or len(sealed) != len(out) + OVERHEAD:
                raise TagMismatchError
            nonce = bytes(sealed[:NONCE_BYTES])
            message = b"".join((sealed[NONCE_BYTES:-TAG_BYTES], tag))
            first = nonce[:HALF]
            aead = derived.get(first) or self._aead(first)
            aead.decrypt_into(nonce[HALF:], message, context + key, out)


def parts(sealed: memoryview, tag: bytes) -> tuple[bytes, bytes]:
    """The nonce, and the ciphertext with the expected tag behind it, as private copies."""
    if len(sealed) < OVERHEAD:
        raise TagMismatchError
    return bytes(sealed[:NONCE_BYTES]), b"".join((sealed[NONCE_BYTES:-TAG_BYTES], tag))
