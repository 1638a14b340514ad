"""Item id pages: the id of every row, around the edges of pages, and refusing nonsense."""

import contextlib
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit_harness import PagedStore

from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.itemids import IDS_PER_PAGE, ItemIdPage, append_item_ids
from cyborg_embedded.model import MAX_ID_BYTES, PageKind


def name(row):
    return b"id-%d" % row if row % 50 else b"x" * MAX_ID_BYTES


def stored(store):
    with store.read() as view:
        pages = range(view.snapshot.pages(PageKind.ITEM_IDS))
        return [
            item_id
            for page in pages
            for item_id in ItemIdPage(view.open(PageKind.ITEM_IDS, page), page).ids()
        ]


EDGE = [1, IDS_PER_PAGE - 1, IDS_PER_PAGE, IDS_PER_PAGE + 1]


@pytest.mark.parametrize("first", [0, *EDGE])
@pytest.mark.parametrize("more", [*EDGE, 2 * IDS_PER_PAGE + 1])
def test_appending_around_page_edges(tmp_path, first, more):
    """Ids appended in two commits, around the edges of pages, are all there in row order."""
    ids = [name(row) for row in range(first + more)]
    with PagedStore(tmp_path / "x.cyb") as store:
        store.write(lambda view: append_item_ids(view, 0, ids[:first]))
        store.write(lambda view: append_item_ids(view, first, ids[first:]))
        assert stored(store) == ids


def test_one_by_one(tmp_path):
    """Ids appended one at a time are all there."""
    with PagedStore(tmp_path / "x.cyb") as store:
        for row in range(IDS_PER_PAGE + 3):
            store.write(lambda view, row=row: append_item_ids(view, row, [name(row)]))
        assert stored(store) == [name(row) for row in range(IDS_PER_PAGE + 3)]


def page_of(ids):
    return struct.pack(f"<I{len(ids)}H", len(ids), *map(len, ids)) + b"".join(ids)


SOUND = page_of([b"a", b"bc", b"def"] * 5)


def test_reading_one():
    """Any one id of a page is found by its slot, and a slot behind the last is IntegrityError."""
    page = ItemIdPage(SOUND, 0)
    assert (page.count, page.id(0), page.id(13), page.id(14)) == (15, b"a", b"bc", b"def")
    with pytest.raises(IntegrityError):
        page.id(15)


@pytest.mark.parametrize(
    "data",
    [
        page_of([]),
        page_of([b"a"] * (IDS_PER_PAGE + 1)),
        page_of([b"a", b""]),
        page_of([bytes(MAX_ID_BYTES + 1)]),
        SOUND[:-1],
        SOUND[:20],
        b"\xff\xff\xff\xff" + SOUND[4:],
    ],
    ids=["none", "too many", "empty id", "long id", "cut", "cut lengths", "huge count"],
)
def test_contradictions(data):
    """A page whose counts or lengths contradict the limits or each other is IntegrityError."""
    with pytest.raises(IntegrityError) as caught:
        ItemIdPage(data, 7)
    assert (caught.value.kind, caught.value.number) == ("ITEM_IDS", 7)


def use(data):
    with contextlib.suppress(IntegrityError):
        page = ItemIdPage(data, 0)
        ids = page.ids()
        assert 0 < len(ids) <= IDS_PER_PAGE
        assert all(0 < len(item_id) <= MAX_ID_BYTES for item_id in ids)


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x01\x00\x00")
@example(b"\x01\x00\x00\x00")
def test_random_pages(data):
    """Bytes that are no page of ids give ids within the limits or IntegrityError, nothing else."""
    use(data)


@given(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=4), st.integers(0, 100))
def test_mutated_pages(at, change, length):
    """A page with changed bytes, or cut, never gives another error than IntegrityError."""
    use(SOUND[:at] + change + SOUND[at + len(change) :])
    use(SOUND[:length])
