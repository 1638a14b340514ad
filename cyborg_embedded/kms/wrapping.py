"""Wrapping under a key that is at hand: what all managers do whose service keeps only a secret.

    sealed = XAES-256-GCM(wrapping key, index key, AAD)
    AAD    = "cyborg-embedded/v1/wrap/" ‖ provider ‖ 00 ‖ index id

A wrapping key may serve any number of indexes, for ever: nonces are 24 random bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyborg_embedded.aead import OVERHEAD, TAG_BYTES, Opener, Sealer, TagMismatchError
from cyborg_embedded.errors import KeyManagerError
from cyborg_embedded.model import KEY_BYTES

if TYPE_CHECKING:
    from cyborg_embedded.kms.manager import KeyContext

__all__ = ["open_key", "seal_key"]

LABEL = b"cyborg-embedded/v1/wrap/"


def aad(provider: str, context: KeyContext) -> bytes:
    """What a wrapped key is bound to."""
    return LABEL + provider.encode() + b"\0" + context.index_id


def seal_key(
    wrapping_key: bytes | bytearray,
    index_key: bytes | bytearray,
    provider: str,
    context: KeyContext,
) -> bytes:
    """The index key, sealed under a wrapping key; both are 32 bytes."""
    return bytes(Sealer(wrapping_key).seal(index_key, aad(provider, context)))


def open_key(
    wrapping_key: bytes | bytearray, sealed: bytes, provider: str, context: KeyContext
) -> bytearray:
    """The index key that `seal_key` sealed. Raises `KeyManagerError` (refused)."""
    key = bytearray(KEY_BYTES)
    try:
        if len(sealed) != KEY_BYTES + OVERHEAD:
            raise TagMismatchError
        tag = sealed[-TAG_BYTES:]
        Opener(wrapping_key).open_into(memoryview(sealed), tag, aad(provider, context), key)
    except TagMismatchError:
        message = "the secret that it has does not open the envelope of this index"
        raise KeyManagerError(message, refused=True) from None
    return key
