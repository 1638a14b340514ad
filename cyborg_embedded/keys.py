"""From the index key to the keys that do the work, and the one trace of it on disk.

    prk      = HKDF-Extract(SHA-256, salt, index_key)
    verifier = SHA-256(HKDF-Expand(prk, "cyborg-embedded/v1/verifier", 32))
    pages    = HKDF-Expand(prk, "cyborg-embedded/v1/pages", 32)      XAES-256-GCM, every page
    ids      = HKDF-Expand(prk, "cyborg-embedded/v1/ids", 32)        HMAC-SHA-256, blinds item ids

The salt is random for each index, so one index key used for two indexes gives unrelated keys.
The verifier is the output of a one-way function of a sibling of the working keys: it tells a right
key from a wrong one and nothing else. It does allow guessing at the speed of SHA-256, which is
why an index key has to be random and is never a password.

Keys are held in `bytearray`s, and overwritten when they are no longer needed. docs/SECURITY.md says
how far that goes.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cyborg_embedded.errors import InvalidInputError, KeyRequiredError, WrongKeyError
from cyborg_embedded.model import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "BLINDED_BYTES",
    "DerivedKeys",
    "blind",
    "derive_keys",
    "generate_index_key",
    "parse_index_key",
    "sha256",
    "unlock",
    "wipe",
    "wiped",
]

BLINDED_BYTES = 16
INFO = b"cyborg-embedded/v1/"
HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, repr=False)
class DerivedKeys:
    """The working keys of one index. Never printed, never written."""

    pages: bytearray
    ids: bytearray
    verifier: bytes

    def copy(self) -> DerivedKeys:
        """The same keys in memory of their own."""
        return DerivedKeys(bytearray(self.pages), bytearray(self.ids), self.verifier)

    def wipe(self) -> None:
        """Overwrite them. Whoever still uses them afterwards uses keys of zeros."""
        wipe(self.pages)
        wipe(self.ids)

    def __reduce__(self) -> NoReturn:
        message = "keys cannot be pickled or copied"
        raise TypeError(message)


def wipe(key: bytearray) -> None:
    """Overwrite a key with zeros."""
    key[:] = bytes(len(key))


@contextlib.contextmanager
def wiped(key: bytearray) -> Iterator[bytearray]:
    """A key for the length of a with block; overwritten when it ends."""
    try:
        yield key
    finally:
        wipe(key)


def generate_index_key() -> bytearray:
    """32 bytes from the operating system's random number generator."""
    return bytearray(secrets.token_bytes(KEY_BYTES))


def parse_index_key(index_key: object) -> bytearray:
    """The 32 bytes of an index key given as `bytes`, `bytearray` or 64 hex characters: a copy.

    Raises `KeyRequiredError` for None, `InvalidInputError` for anything else that is not a key.
    """
    if index_key is None:
        message = "index_key is required: 32 bytes, or 64 hex characters"
        raise KeyRequiredError(message)
    if isinstance(index_key, str):
        if len(index_key) != 2 * KEY_BYTES or not HEX_DIGITS.issuperset(index_key):
            message = f"index_key given as text must be exactly {2 * KEY_BYTES} hex characters"
            raise InvalidInputError(message)
        return bytearray.fromhex(index_key)
    if isinstance(index_key, (bytes, bytearray)):
        if len(index_key) != KEY_BYTES:
            message = f"index_key must be exactly {KEY_BYTES} bytes, not {len(index_key)}"
            raise InvalidInputError(message)
        return bytearray(index_key)
    message = f"index_key must be bytes, bytearray or str, not {type(index_key).__name__}"
    raise InvalidInputError(message)


def sha256(data: bytes | bytearray) -> bytes:
    """SHA-256 (FIPS 180-4), 32 bytes."""
    digest = Hash(SHA256())
    digest.update(data)
    return digest.finalize()


def hkdf(index_key: bytes | bytearray, salt: bytes, label: bytes) -> bytearray:
    """HKDF-SHA-256 (RFC 5869) to 32 bytes under this format's info string for `label`.

    Extracting again for each label keeps the PRK out of Python's memory.
    """
    key = bytearray(KEY_BYTES)
    HKDF(SHA256(), KEY_BYTES, salt, INFO + label).derive_into(index_key, key)
    return key


def derive_keys(index_key: bytes | bytearray, salt: bytes) -> DerivedKeys:
    """The working keys and the verifier of an index with this salt."""
    with wiped(hkdf(index_key, salt, b"verifier")) as known:
        verifier = sha256(known)
    return DerivedKeys(hkdf(index_key, salt, b"pages"), hkdf(index_key, salt, b"ids"), verifier)


def unlock(index_key: bytes | bytearray, salt: bytes, verifier: bytes) -> DerivedKeys:
    """The working keys, once the verifier (compared in constant time) says that the key is right.

    Raises `WrongKeyError`.
    """
    keys = derive_keys(index_key, salt)
    if not hmac.compare_digest(keys.verifier, verifier):
        keys.wipe()
        message = "the key is not the key of this index"
        raise WrongKeyError(message)
    return keys


def blind(key: bytes | bytearray, ids: Iterable[bytes]) -> bytes:
    """The first 16 bytes of HMAC-SHA-256 of each id, one after another."""
    base = HMAC(key, SHA256())
    blinded = []
    for item_id in ids:
        mac = base.copy()
        mac.update(item_id)
        blinded.append(mac.finalize()[:BLINDED_BYTES])
    return b"".join(blinded)
