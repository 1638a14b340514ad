"""Which keys a rekey takes, which key opens the index afterwards, and what is left of the old one."""

import pytest
from rekey_harness import (
    LEFT,
    NAME,
    Custodian,
    bytes_of,
    file_of,
    files,
    key_number,
    put,
    varied,
)
from support import check_items, contents_of, read_pages

from cyborg_embedded import (
    ClosedError,
    InvalidInputError,
    KeyRequiredError,
    ReadOnlyError,
    WrongKeyError,
)
from cyborg_embedded.aead import NONCE_BYTES, TAG_BYTES, Opener, TagMismatchError
from cyborg_embedded.header import HEADER_KEY, decode_header
from cyborg_embedded.keys import unlock
from cyborg_embedded.model import PageKind

OLD, NEW = key_number(0), key_number(1)
ROOT = b"\x01" + bytes(8)


@pytest.fixture
def custodian(folder):
    return Custodian(folder)


@pytest.fixture
def items():
    return varied(5, 60)


@pytest.fixture
def index(custodian, items):
    with custodian.create(dimension=5) as index:
        put(index, items)
        yield index


def refused(folder, index, call, error):
    """A call fails, and nothing at all has changed."""
    before, contents = bytes_of(folder), contents_of(index)
    with pytest.raises(error) as caught:
        call()
    assert bytes_of(folder) == before
    assert files(folder) == LEFT
    assert contents_of(index) == contents
    return str(caught.value)


def test_the_old_key_opens_nothing(custodian, index, items):
    """From the rekey on the old key is refused, for everything, and the new one opens."""
    index.rekey(NEW)
    client = custodian.client
    for attempt in range(2):
        for call in (
            lambda: client.load_index(NAME, index_key=OLD),
            lambda: client.delete_index(NAME, index_key=OLD),
            lambda: client.rewrap_index(NAME, index_key=OLD, to_kms="owner"),
        ):
            with pytest.raises(WrongKeyError):
                call()
        with client.load_index(NAME, index_key=NEW.hex()) as again:
            check_items(again, items)
        if not attempt:
            index.close()


@pytest.mark.parametrize("given", [NEW, bytearray(NEW), NEW.hex(), NEW.hex().upper()])
def test_forms_of_a_key(custodian, index, given):
    """The new key is given as any index key is; a bytearray is left as it is."""
    before = given[:]
    index.rekey(given)
    assert given == before
    index.close()
    custodian.client.load_index(NAME, index_key=NEW).close()


def test_a_key_is_required(folder, index):
    """The library makes no key that only a return value would carry."""
    assert "new_key" in refused(folder, index, index.rekey, KeyRequiredError)
    refused(folder, index, lambda: index.rekey(None, drop_managers=[]), KeyRequiredError)


@pytest.mark.parametrize("same", [OLD, OLD.hex(), bytearray(OLD)])
def test_the_same_key(folder, index, same):
    """The key that the index has is no new key."""
    assert "already" in refused(folder, index, lambda: index.rekey(same), InvalidInputError)


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33), "", "00" * 31, "zz" * 32, 5, [NEW]])
def test_bad_keys(folder, index, bad):
    """What is no key is refused before anything is written."""
    refused(folder, index, lambda: index.rekey(bad), InvalidInputError)


@pytest.mark.parametrize("dropped", [["owner"], {"owner": 1}, (slot for slot in ["owner"])])
def test_no_managers_to_drop(folder, index, dropped):
    """An index whose key is supplied has no key manager that could be dropped."""
    refused(folder, index, lambda: index.rekey(NEW, drop_managers=dropped), InvalidInputError)


@pytest.mark.parametrize("dropped", ["owner", "", b"owner", None, 5, [["owner"]], [None], [1]])
def test_what_is_no_list_of_managers(folder, index, dropped):
    """A plain text, and all else that is no list of names, is refused as bad input."""
    refused(folder, index, lambda: index.rekey(NEW, drop_managers=dropped), InvalidInputError)


def test_a_handle_that_only_reads(folder, custodian, index):
    """A read-only handle neither rekeys nor compacts."""
    with custodian.load(read_only=True) as reader:
        refused(folder, reader, lambda: reader.rekey(NEW), ReadOnlyError)
        refused(folder, reader, reader.compact, ReadOnlyError)


def test_a_closed_handle(folder, custodian, index, items):
    """So does a closed one."""
    index.close()
    before = bytes_of(folder)
    for call in (lambda: index.rekey(NEW), index.compact):
        with pytest.raises(ClosedError):
            call()
    assert bytes_of(folder) == before
    with custodian.load() as again:
        check_items(again, items)


def opened(records, keys, headers):
    """How many of the records open under these keys, at their place, beside any of the headers."""
    opener, count = Opener(keys.pages), 0
    for place, sealed in records.items():
        if place == HEADER_KEY:
            continue
        header = headers[0]
        aads = [header.index_id + place]
        if place == ROOT:
            aads = [header.index_id + place + each.digest for each in headers]
        for aad in aads:
            try:
                opener.open(memoryview(sealed), sealed[-TAG_BYTES:], aad)
            except TagMismatchError:
                continue
            count += 1
    return count


@pytest.mark.parametrize("way", ["rekey", "compact"])
def test_every_page_is_sealed_anew(folder, custodian, index, way):
    """Every page has a nonce that no page had before, nor the first half of one, which says what it
    is sealed under; after a rekey none opens under the old key.

    Nor is there an old page, whole or in part, in the free pages of the file, or another file.
    """
    index.delete(index.list_ids()[::3])
    index.optimize()
    index.close()
    before = read_pages(file_of(folder))
    with custodian.load() as again:
        if way == "rekey":
            again.rekey(NEW)
        else:
            again.compact()
    assert files(folder) == LEFT
    data, after = bytes_of(folder), read_pages(file_of(folder))
    assert {place[0] for place in after} >= {0, *map(int, (PageKind.VECTORS, PageKind.CONTENTS))}
    old, new = decode_header(before[HEADER_KEY]), decode_header(after[HEADER_KEY])
    old_keys = unlock(OLD, old.salt, old.verifier)
    new_keys = unlock(NEW if way == "rekey" else OLD, new.salt, new.verifier)
    assert opened(before, old_keys, [old]) == len(before) - 1
    assert opened(after, new_keys, [new]) == len(after) - 1
    del before[HEADER_KEY], after[HEADER_KEY]
    if way == "rekey":
        assert old.salt != new.salt
        assert old.verifier != new.verifier
        assert old.salt not in data
        assert old.verifier not in data
        for mixed in ([old, new], [new, old]):
            assert opened(after, old_keys, mixed) == 0
    nonces = [sealed[:NONCE_BYTES] for sealed in after.values()]
    assert len(set(nonces)) == len(nonces)
    for sealed in before.values():
        assert sealed[: NONCE_BYTES // 2] not in data
        assert sealed[-TAG_BYTES:] not in data


def test_every_rekey_has_a_salt_of_its_own(folder, custodian, index):
    """Going back to a key that the index had once is no way back to its pages."""
    salts = set()
    for key in (NEW, OLD, NEW):
        index.rekey(key)
        salts.add(salt_of(folder))
    assert len(salts) == 3


def salt_of(folder):
    """The salt in the header of the file as it lies there, open as it is."""
    data = bytes_of(folder)
    at = data.index(b"CYBORG-EMBEDDED\0")
    return decode_header(data[at : at + 112]).salt
