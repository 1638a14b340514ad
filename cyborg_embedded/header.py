"""The header: the only plaintext record of an index, 112 bytes of fixed layout.

    offset  size  field
         0    16  magic            "CYBORG-EMBEDDED" and a zero byte
        16     2  version          1
        18     2  reserved         0
        20     4  page size        bytes of a large sealed page
        24     8  created          seconds since 1970-01-01 UTC
        32    16  index id         random
        48    32  salt             random, for HKDF-Extract
        80    32  verifier         keys.py

All integers big-endian. The root's AAD covers SHA-256 of these bytes, so that no field can be
edited without the root refusing to open; salt and verifier already fail the key check before.
"""

from __future__ import annotations

import secrets
import struct
import time
from dataclasses import dataclass, field

from cyborg_embedded.errors import FormatError, UnsupportedVersionError
from cyborg_embedded.keys import DerivedKeys, derive_keys, sha256
from cyborg_embedded.model import (
    DEFAULT_PAGE_SIZE,
    FORMAT_VERSION,
    MAX_PAGE_SIZE,
    MIN_PAGE_SIZE,
)

__all__ = ["HEADER_KEY", "Header", "decode_header", "encode_header", "new_header"]

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
    digest: bytes = field(repr=False, default=b"")


def new_header(
    index_key: bytes, *, page_size: int = DEFAULT_PAGE_SIZE
) -> tuple[Header, DerivedKeys]:
    """A header with a fresh index id and salt, and the keys that belong to it."""
    salt = secrets.token_bytes(32)
    keys = derive_keys(index_key, salt)
    fields = Header(
        page_size=page_size,
        created=int(time.time()),
        index_id=secrets.token_bytes(16),
        salt=salt,
        verifier=keys.verifier,
    )
    return decode_header(encode_header(fields)), keys


def encode_header(header: Header) -> bytes:
    """The 112 bytes of a header."""
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
    if len(data) != LAYOUT.size:
        message = f"the header has {len(data)} bytes, not {LAYOUT.size}"
        raise FormatError(message)
    _, _, reserved, page_size, created, index_id, salt, verifier = LAYOUT.unpack(data)
    if reserved or created > LAST_SECOND or not MIN_PAGE_SIZE <= page_size <= MAX_PAGE_SIZE:
        message = "the header has a value that this version does not allow"
        raise FormatError(message)
    return Header(page_size, created, index_id, salt, verifier, sha256(data))
