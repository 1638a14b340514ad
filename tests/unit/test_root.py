"""The root record: a round trip, its contradictions, and what changed between two commits."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.header import Header
from cyborg_embedded.model import MAX_DIMENSION, MAX_ROWS, PageKind
from cyborg_embedded.root import (
    TABLED,
    GraphRecord,
    IdRecord,
    Root,
    Snapshot,
    TableRecord,
    chunk_number,
    decode_root,
    encode_root,
    tags_per_chunk,
)

PAGE_SIZE = 256
PER_CHUNK = 13
HEADER = Header(PAGE_SIZE, 0, bytes(16), bytes(32), bytes(32))
ROOT = Root(
    sequence=7,
    metric="cosine",
    dimension=3,
    rows=20,
    live=18,
    ids=IdRecord(22, 10),
    tables={
        PageKind.VECTORS: TableRecord(PER_CHUNK + 1, bytes(range(32))),
        PageKind.TOMBSTONES: TableRecord(1, bytes(16)),
    },
    graph=GraphRecord(rows=12, bytes=999),
)


def as_map(root=ROOT, **changes):
    return msgspec.msgpack.encode(msgspec.to_builtins(root, builtin_types=(bytes,)) | changes)


def refused(data):
    with pytest.raises(IntegrityError) as caught:
        decode_root(data, PAGE_SIZE)
    assert caught.value.kind == "ROOT"
    assert caught.value.number == 0


def test_round_trip():
    """A root decodes to what was encoded."""
    assert decode_root(encode_root(ROOT), PAGE_SIZE) == ROOT
    least = Root(sequence=1, metric="euclidean", dimension=0)
    assert decode_root(encode_root(least), PAGE_SIZE) == least
    assert decode_root(as_map(), PAGE_SIZE) == ROOT


def test_missing_tables_are_empty():
    """A kind without pages has an empty table."""
    assert ROOT.table(PageKind.IDS) == TableRecord(0, b"")


def test_tags_per_chunk():
    """A chunk of the page table holds as many whole tags as fit into a sealed page."""
    assert tags_per_chunk(PAGE_SIZE) == PER_CHUNK == (PAGE_SIZE - OVERHEAD) // 16


def test_chunk_numbers_are_distinct():
    """Chunks of different kinds never share a page number."""
    numbers = {chunk_number(kind, chunk) for kind in TABLED for chunk in (0, 1, 2, (1 << 48) - 1)}
    assert len(numbers) == 4 * len(TABLED)
    assert max(numbers) < 1 << 64


@pytest.mark.parametrize("pages", [0, 1, PER_CHUNK - 1, PER_CHUNK, PER_CHUNK + 1, 3 * PER_CHUNK])
def test_number_of_chunks_follows_from_pages(pages):
    """A table has exactly the chunks that its pages need; one more, one less or half is refused."""
    chunks = -(-pages // PER_CHUNK)

    def with_chunks(length):
        tables = {PageKind.ITEMS: TableRecord(pages, bytes(length))}
        return encode_root(msgspec.structs.replace(ROOT, tables=tables))

    decode_root(with_chunks(16 * chunks), PAGE_SIZE)
    for length in (16 * chunks + 16, 16 * chunks + 1, 16 * chunks - 1, 16 * chunks - 16):
        if length >= 0:
            refused(with_chunks(length))


@pytest.mark.parametrize("kind", sorted(set(PageKind) - set(TABLED)))
def test_kinds_that_have_no_table(kind):
    """A table for a kind that the page table does not list is refused."""
    refused(encode_root(msgspec.structs.replace(ROOT, tables={kind: TableRecord(1, bytes(16))})))


CONTRADICTIONS = {
    "more sorted ids than ids": {"ids": {"entries": 3, "sorted": 4}},
    "more live rows than rows": {"live": 21},
    "rows without a dimension": {"dimension": 0},
    "negative sequence": {"sequence": -1},
    "huge sequence": {"sequence": 1 << 60},
    "sequence is text": {"sequence": "7"},
    "sequence is a float": {"sequence": 7.5},
    "unknown metric": {"metric": "manhattan"},
    "metric is a number": {"metric": 1},
    "negative dimension": {"dimension": -1},
    "too many dimensions": {"dimension": MAX_DIMENSION + 1},
    "too many rows": {"rows": MAX_ROWS + 1},
    "negative rows": {"rows": -1, "live": -1},
    "negative live rows": {"live": -1},
    "unknown kind of page": {"tables": {99: {"pages": 0, "chunks": b""}}},
    "kind of page is text": {"tables": {"VECTORS": {"pages": 0, "chunks": b""}}},
    "tables is a list": {"tables": []},
    "unknown field": {"more": 1},
    "unknown field in a table": {"tables": {3: {"pages": 0, "chunks": b"", "more": 1}}},
    "negative pages": {"tables": {3: {"pages": -1, "chunks": b""}}},
    "graph without its length": {"graph": {"rows": 1}},
    "graph over negative rows": {"graph": {"rows": -1, "bytes": 1}},
    "graph of negative length": {"graph": {"rows": 1, "bytes": -1}},
}


@pytest.mark.parametrize("changes", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions(changes):
    """A root that contradicts itself or the limits is IntegrityError, although authenticated."""
    refused(as_map(**changes))


def test_graph_covers_no_more_than_there_are_rows():
    """A saved graph that claims to cover more rows than the index has is refused."""
    refused(as_map(graph={"rows": 21, "bytes": 999}))


@pytest.mark.parametrize("missing", ["sequence", "metric", "dimension"])
def test_required_fields(missing):
    """A root without one of its required fields is refused."""
    fields = msgspec.to_builtins(ROOT, builtin_types=(bytes,))
    del fields[missing]
    refused(msgspec.msgpack.encode(fields))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x81\xa6metric\xa2\xff\xfe")
@example(b"\x81" * 5000)
@example(b"\x91" * 5000)
def test_random_bytes(data):
    """Bytes that are no root are IntegrityError and never another exception."""
    refused(data)


@given(st.data())
def test_mutated_bytes(data):
    """A root with changed, dropped or added bytes decodes to some root or is IntegrityError."""
    encoded = bytearray(encode_root(ROOT))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        width = data.draw(st.integers(0, 3))
        encoded[at : at + width] = data.draw(st.binary(max_size=3))
        if not encoded:
            break
    try:
        root = decode_root(bytes(encoded), PAGE_SIZE)
    except IntegrityError:
        return
    assert root.live <= root.rows
    assert root.ids.sorted <= root.ids.entries
    assert set(root.tables) <= set(TABLED)


def test_every_truncation_is_refused():
    """A root cut at any length, or with bytes behind it, is refused."""
    encoded = encode_root(ROOT)
    for length in range(len(encoded)):
        refused(encoded[:length])
    refused(encoded + b"\x00")


def snapshot(tags, kind=PageKind.ITEMS):
    root = Root(
        sequence=1,
        metric="cosine",
        dimension=1,
        tables={kind: TableRecord(len(tags), b"")},
    )
    return Snapshot(1, root, bytes(16), {kind: b"".join(tags)}, HEADER)


def numbered(*values):
    return [value.to_bytes(16, "big") for value in values]


def test_tags_of_a_snapshot():
    """A snapshot gives the tag of each page, and IntegrityError for a page that is not there."""
    commit = snapshot(numbered(5, 6, 7))
    assert commit.pages(PageKind.ITEMS) == 3
    assert commit.pages(PageKind.IDS) == 0
    assert commit.tag(PageKind.ITEMS, 2) == (7).to_bytes(16, "big")
    for kind, number in ((PageKind.ITEMS, 3), (PageKind.ITEMS, 1 << 40), (PageKind.IDS, 0)):
        with pytest.raises(IntegrityError) as caught:
            commit.tag(kind, number)
        assert (caught.value.kind, caught.value.number) == (kind.name, number)


def test_changed_pages():
    """Changed names replaced, added and removed pages, in order, and no others."""
    old = snapshot(numbered(1, 2, 3, 4))
    assert snapshot(numbered(1, 2, 3, 4)).changed(old, PageKind.ITEMS) == []
    assert snapshot(numbered(1, 9, 3, 4)).changed(old, PageKind.ITEMS) == [1]
    assert snapshot(numbered(1, 2, 3, 4, 5, 6)).changed(old, PageKind.ITEMS) == [4, 5]
    assert snapshot(numbered(1, 2)).changed(old, PageKind.ITEMS) == [2, 3]
    assert snapshot(numbered(8, 2, 7)).changed(old, PageKind.ITEMS) == [0, 2, 3]
    assert snapshot([]).changed(old, PageKind.ITEMS) == [0, 1, 2, 3]
    assert old.changed(None, PageKind.ITEMS) == [0, 1, 2, 3]
    assert old.changed(None, PageKind.IDS) == []


small_tags = st.lists(st.sampled_from(numbered(0, 1, 1 << 64, 1 << 127)), max_size=12)


@given(small_tags, small_tags)
def test_changed_against_an_oracle(new, old):
    """Changed is what comparing the tags one by one gives, whichever half of a tag differs."""
    differing = [
        page
        for page in range(max(len(new), len(old)))
        if new[page : page + 1] != old[page : page + 1]
    ]
    assert snapshot(new).changed(snapshot(old), PageKind.ITEMS) == differing
