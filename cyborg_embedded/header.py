"""The header: the only plaintext record of an index, 112 bytes of fixed layout and the envelopes.

    offset  size  field
         0    16  magic            "CYBORG-EMBEDDED" and a zero byte
        16     2  version          1
        18     2  reserved         0
        20     4  page size        bytes of a large sealed page
        24     8  created          seconds since 1970-01-01 UTC
        32    16  index id         random
        48    32  salt             random, for HKDF-Extract
        80    32  verifier         keys.py
       112        envelopes        envelopes.py; nothing where the application supplies the key

All integers big-endian. The root's AAD covers SHA-256 of these bytes, so that no field can be
edited without the root refusing to open; salt and verifier already fail the key check before.
While an index lives its envelopes may change, in a commit that seals a new root; all else stays.
"""

from __future__ import annotations

import secrets
import struct
import time
from dataclasses import dataclass, field, replace

from cyborg_embedded.envelopes import (
    MAX_ENVELOPES_BYTES,
    Envelopes,
    decode_envelopes,
    encode_envelopes,
)
from cyborg_embedded.errors import FormatError, UnsupportedVersionError
from cyborg_embedded.keys import DerivedKeys, derive_keys, sha256
from cyborg_embedded.model import (
    DEFAULT_PAGE_SIZE,
    FORMAT_VERSION,
    MAX_PAGE_SIZE,
    MIN_PAGE_SIZE,
)

__all__ = [
    "HEADER_KEY",
    "Header",
    "decode_header",
    "encode_header",
    "new_header",
    "new_index_id",
    "with_envelopes",
    "with_new_key",
]

HEADER_KEY = b"\x00"
"""The header's key in LMDB. Every sealed page's key starts with its kind, which is never 0."""
MAGIC = b"CYBORG-EMBEDDED\0"
LAST_SECOND = 253_402_300_799
"""Of the year 9999, where calendars end."""
PREFIX = struct.Struct(">16sH")
LAYOUT = struct.Struct(">16sHHIQ16s32s32s")


@dataclass(frozen=True)
class Header:
    """What the header says. `digest` is SHA-256 of its bytes."""

    page_size: int
    created: int
    index_id: bytes
    salt: bytes
    verifier: bytes
    envelopes: Envelopes = field(default_factory=dict)
    """Of the index key; none where the application supplies it."""
    digest: bytes = field(repr=False, default=b"")

    @property
    def managed(self) -> bool:
        """Whether key managers hold the index key."""
        return bool(self.envelopes)

    def is_of_same_index(self, other: Header) -> bool:
        """Whether at most the envelopes differ: the same index under the same key."""
        return replace(other, envelopes=self.envelopes, digest=self.digest) == self


def new_index_id() -> bytes:
    """16 random bytes that no other index has."""
    return secrets.token_bytes(16)


def new_header(
    index_key: bytes | bytearray,
    *,
    page_size: int = DEFAULT_PAGE_SIZE,
    index_id: bytes | None = None,
    envelopes: Envelopes | None = None,
) -> tuple[Header, DerivedKeys]:
    """A header with a fresh salt, and the keys that belong to it."""
    now = int(time.time())
    fields = Header(page_size, now, index_id or new_index_id(), b"", b"", envelopes or {})
    return with_new_key(fields, index_key)


def with_new_key(header: Header, index_key: bytes | bytearray) -> tuple[Header, DerivedKeys]:
    """The same header for another index key, under a fresh salt; and the keys that belong to it."""
    salt = secrets.token_bytes(32)
    keys = derive_keys(index_key, salt)
    fields = replace(header, salt=salt, verifier=keys.verifier)
    return decode_header(encode_header(fields)), keys


def with_envelopes(header: Header, envelopes: Envelopes) -> Header:
    """The same header with other envelopes. Raises `InvalidInputError` (one of them is none)."""
    return decode_header(encode_header(replace(header, envelopes=envelopes)))


def encode_header(header: Header) -> bytes:
    """The bytes of a header. Raises `InvalidInputError` for an envelope that is none."""
    return fixed_part(header) + encode_envelopes(header.envelopes)


def fixed_part(header: Header) -> bytes:
    """The 112 bytes that do not depend on who holds the key."""
    return LAYOUT.pack(
        MAGIC,
        FORMAT_VERSION,
        0,
        header.page_size,
        header.created,
        header.index_id,
        header.salt,
        header.verifier,
    )


def decode_header(data: bytes) -> Header:
    """The header in `data`. Raises `FormatError`, `UnsupportedVersionError`."""
    if len(data) < PREFIX.size or not data.startswith(MAGIC):
        message = "the file is not an index of this library"
        raise FormatError(message)
    _, version = PREFIX.unpack_from(data)
    if version != FORMAT_VERSION:
        message = f"the index has format version {version}; this release reads {FORMAT_VERSION}"
        raise UnsupportedVersionError(message)
    if not LAYOUT.size <= len(data) <= LAYOUT.size + MAX_ENVELOPES_BYTES:
        message = f"a header of {len(data)} bytes is too short or too long"
        raise FormatError(message)
    _, _, reserved, page_size, created, index_id, salt, verifier = LAYOUT.unpack_from(data)
    if reserved or created > LAST_SECOND or not MIN_PAGE_SIZE <= page_size <= MAX_PAGE_SIZE:
        message = "the header has a value that this version does not allow"
        raise FormatError(message)
    envelopes = decode_envelopes(data[LAYOUT.size :])
    return Header(page_size, created, index_id, salt, verifier, envelopes, sha256(data))
