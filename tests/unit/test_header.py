"""The header's layout, and that every field which is not right is refused with its own error."""

import hashlib
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_embedded.errors import FormatError, UnsupportedVersionError
from cyborg_embedded.header import HEADER_KEY, Header, decode_header, encode_header, new_header
from cyborg_embedded.keys import derive_keys
from cyborg_embedded.model import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, MIN_PAGE_SIZE

INDEX_ID, SALT, VERIFIER = bytes(range(16)), bytes(range(32)), bytes(range(32, 64))
HEADER = Header(
    page_size=32_752, created=1_700_000_000, index_id=INDEX_ID, salt=SALT, verifier=VERIFIER
)
ENCODED = encode_header(HEADER)


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
    """A header of another length than 112 bytes is refused."""
    with pytest.raises(FormatError):
        decode_header((ENCODED + ENCODED)[:length])


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


def test_page_size_of_a_new_header():
    """The page size is recorded in the header as it was asked for."""
    header, _ = new_header(bytes(32), page_size=512)
    assert header.page_size == 512
