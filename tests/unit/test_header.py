"""The header's layout, and that every field which is not right is refused with its own error."""

import dataclasses
import hashlib
import struct
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_embedded.envelopes import MAX_ENVELOPES_BYTES, Envelope
from cyborg_embedded.errors import FormatError, InvalidInputError, UnsupportedVersionError
from cyborg_embedded.header import (
    HEADER_KEY,
    Header,
    decode_header,
    encode_header,
    new_header,
    with_envelopes,
    with_new_key,
)
from cyborg_embedded.keys import derive_keys
from cyborg_embedded.model import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, MIN_PAGE_SIZE

INDEX_ID, SALT, VERIFIER = bytes(range(16)), bytes(range(32)), bytes(range(32, 64))
HEADER = Header(
    page_size=32_752, created=1_700_000_000, index_id=INDEX_ID, salt=SALT, verifier=VERIFIER
)
ENCODED = encode_header(HEADER)
ENVELOPES = {
    "first": Envelope("one", b"\x00\xff" * 40),
    "second": Envelope("two", b"c", {"salt": bytes(16), "passes": 3}),
}
MANAGED = dataclasses.replace(HEADER, envelopes=ENVELOPES)


def patched(offset, data):
    return ENCODED[:offset] + data + ENCODED[offset + len(data) :]


def test_layout():
    """Each field stands at its documented offset, big-endian, in 112 bytes."""
    assert len(ENCODED) == 112
    assert ENCODED[0:16] == b"CYBORG-EMBEDDED\x00"
    assert ENCODED[16:18] == b"\x00\x01"
    assert ENCODED[18:20] == b"\x00\x00"
    assert ENCODED[20:24] == (32_752).to_bytes(4, "big")
    assert ENCODED[24:32] == (1_700_000_000).to_bytes(8, "big")
    assert ENCODED[32:48] == INDEX_ID
    assert ENCODED[48:80] == SALT
    assert ENCODED[80:112] == VERIFIER


def test_decoding():
    """Decoding gives the fields back, and the SHA-256 of the very bytes."""
    decoded = decode_header(ENCODED)
    assert decoded.page_size == HEADER.page_size
    assert decoded.created == HEADER.created
    assert decoded.index_id == INDEX_ID
    assert decoded.salt == SALT
    assert decoded.verifier == VERIFIER
    assert decoded.digest == hashlib.sha256(ENCODED).digest()


def test_key_in_lmdb():
    """The header's LMDB key starts with a zero byte, which no page kind is."""
    assert HEADER_KEY == b"\x00"


@pytest.mark.parametrize("offset", range(16))
def test_every_byte_of_the_magic_counts(offset):
    """A file whose magic differs in any byte is not an index, rather than a newer one."""
    with pytest.raises(FormatError) as caught:
        decode_header(patched(offset, bytes([ENCODED[offset] ^ 1])))
    assert not isinstance(caught.value, UnsupportedVersionError)


@pytest.mark.parametrize("version", [0, 2, 255, 256, 65_535])
@pytest.mark.parametrize("length", [18, 112, 113, 4096])
def test_other_versions(version, length):
    """Another version is UnsupportedVersionError naming it, whatever else that version changed."""
    data = (patched(16, struct.pack(">H", version)) + bytes(4096))[:length]
    with pytest.raises(UnsupportedVersionError, match=rf"\b{version}\b"):
        decode_header(data)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 18, 50, 111, 113, 224])
def test_wrong_lengths(length):
    """A header of another length than 112 bytes is refused, unless envelopes follow."""
    with pytest.raises(FormatError):
        decode_header((ENCODED + ENCODED)[:length])


def test_envelopes_follow():
    """Behind the 112 bytes stands a MessagePack map from slots to envelopes, in their order."""
    data = encode_header(MANAGED)
    assert data[:112] == ENCODED
    assert data[112:] == msgspec.msgpack.encode(
        {
            "first": {"provider": "one", "ciphertext": b"\x00\xff" * 40, "parameters": {}},
            "second": {
                "provider": "two",
                "ciphertext": b"c",
                "parameters": {"salt": bytes(16), "passes": 3},
            },
        }
    )
    decoded = decode_header(data)
    assert decoded == dataclasses.replace(MANAGED, digest=hashlib.sha256(data).digest())
    assert list(decoded.envelopes) == ["first", "second"]
    assert decoded.managed
    assert not decode_header(ENCODED).managed


@pytest.mark.parametrize(
    "more", [b"\x80", b"\x00", b"\xc0", b"\x90", bytes(MAX_ENVELOPES_BYTES + 1)]
)
def test_what_follows_is_envelopes(more):
    """No bytes but those of envelopes may follow; nothing larger than they can be is looked at."""
    with pytest.raises(FormatError):
        decode_header(ENCODED + more)
    with pytest.raises(FormatError):
        decode_header(encode_header(MANAGED) + more)


def test_every_truncation_of_envelopes():
    """A header with envelopes, cut anywhere but before all of them, is refused."""
    data = encode_header(MANAGED)
    for length in range(113, len(data)):
        with pytest.raises(FormatError):
            decode_header(data[:length])


@given(st.integers(112, len(encode_header(MANAGED)) - 1), st.integers(1, 255))
def test_mutations_of_envelopes(offset, change):
    """A changed byte of envelopes gives FormatError or a header with another digest."""
    data = bytearray(encode_header(MANAGED))
    data[offset] ^= change
    try:
        decoded = decode_header(bytes(data))
    except FormatError:
        return
    assert decoded.digest != decode_header(encode_header(MANAGED)).digest
    assert decoded.is_of_same_index(MANAGED)
    assert encode_header(decoded) == data


def test_other_envelopes():
    """Other envelopes change nothing else of a header, and it knows itself by all that is left."""
    before = decode_header(ENCODED)
    changed = with_envelopes(before, ENVELOPES)
    assert encode_header(changed) == encode_header(MANAGED)
    assert changed.digest == hashlib.sha256(encode_header(MANAGED)).digest()
    assert changed.is_of_same_index(before)
    assert before.is_of_same_index(changed)
    assert with_envelopes(changed, {}) == before
    with pytest.raises(InvalidInputError):
        with_envelopes(before, {"first": Envelope("one", b"")})


@pytest.mark.parametrize(
    "fields",
    [
        {"page_size": 512},
        {"created": 1},
        {"index_id": bytes(16)},
        {"salt": bytes(32)},
        {"verifier": bytes(32)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_another_index(fields):
    """A header that differs in any field but its envelopes is that of another index or key."""
    other = dataclasses.replace(MANAGED, **fields)
    assert not other.is_of_same_index(MANAGED)
    assert not MANAGED.is_of_same_index(other)


def test_another_key():
    """A header for another key has a fresh salt and the verifier of that key; all else stays."""
    key = bytes(range(32))
    made = [with_new_key(MANAGED, key) for _ in range(2)]
    assert len({header.salt for header, _ in made} | {MANAGED.salt}) == 3
    for header, keys in made:
        assert keys == derive_keys(key, header.salt)
        assert header.verifier == keys.verifier
        kept = {"salt": SALT, "verifier": VERIFIER, "digest": b""}
        assert dataclasses.replace(header, **kept) == MANAGED
        assert decode_header(encode_header(header)) == header


@pytest.mark.parametrize("reserved", [1, 256, 65_535])
def test_reserved_is_zero(reserved):
    """Reserved bytes that are not zero are refused: they may mean something one day."""
    with pytest.raises(FormatError):
        decode_header(patched(18, struct.pack(">H", reserved)))


@pytest.mark.parametrize("page_size", [0, 1, MIN_PAGE_SIZE - 1, MAX_PAGE_SIZE + 1, 2**32 - 1])
def test_page_sizes_that_are_refused(page_size):
    """A page size outside of its limits is refused before anything is allocated by it."""
    with pytest.raises(FormatError):
        decode_header(patched(20, struct.pack(">I", page_size)))


@pytest.mark.parametrize("page_size", [MIN_PAGE_SIZE, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE])
def test_page_sizes_that_are_allowed(page_size):
    """Page sizes up to and including the limits are allowed."""
    assert decode_header(patched(20, struct.pack(">I", page_size))).page_size == page_size


@given(st.binary(max_size=200))
def test_anything_else_is_a_format_error(data):
    """Bytes that are no header give a FormatError and no other exception."""
    with pytest.raises(FormatError):
        decode_header(data)


@given(st.integers(0, 111), st.integers(1, 255))
def test_mutations(offset, change):
    """A changed byte gives FormatError or a header with another digest, which the root notices."""
    data = patched(offset, bytes([ENCODED[offset] ^ change]))
    try:
        decoded = decode_header(data)
    except FormatError:
        return
    assert decoded.digest != decode_header(ENCODED).digest
    assert encode_header(decoded) == data


def test_new_headers():
    """A new header has a salt and an index id of its own, the time, and the key's verifier."""
    key = bytes(32)
    before = int(time.time())
    made = [new_header(key) for _ in range(20)]
    assert len({header.salt for header, _ in made}) == 20
    assert len({header.index_id for header, _ in made}) == 20
    for header, keys in made:
        assert header.page_size == DEFAULT_PAGE_SIZE
        assert before <= header.created <= int(time.time())
        assert keys == derive_keys(key, header.salt)
        assert header.verifier == keys.verifier
        assert decode_header(encode_header(header)) == header


def test_envelopes_of_a_new_header():
    """A new header is of the index id and the envelopes that it was asked for."""
    header, keys = new_header(bytes(32), index_id=INDEX_ID, envelopes=ENVELOPES)
    assert (header.index_id, header.envelopes) == (INDEX_ID, ENVELOPES)
    assert keys == derive_keys(bytes(32), header.salt)
    assert decode_header(encode_header(header)) == header


def test_page_size_of_a_new_header():
    """The page size is recorded in the header as it was asked for."""
    header, _ = new_header(bytes(32), page_size=512)
    assert header.page_size == 512
