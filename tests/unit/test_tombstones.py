"""Tombstones: which rows are dead, around the edges of pages, commit by commit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_harness import PagedStore

from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import PageKind
from cyborg_embedded.tombstones import bury, load_alive

PAGE_SIZE = 256
SPAN = 8 * (PAGE_SIZE - 40)
"""Rows of one page."""
NONE = np.empty(0, np.bool_)


def all_alive(store, rows):
    with store.read() as view:
        pages = range(view.snapshot.pages(PageKind.TOMBSTONES))
        return load_alive(view, rows, NONE, pages, PAGE_SIZE)


def bury_rows(store, rows):
    store.write(lambda view: bury(view, np.array(rows, np.int64), PAGE_SIZE))


@pytest.mark.parametrize("rows", [1, 7, 8, 9, SPAN - 1, SPAN, SPAN + 1, 3 * SPAN, 3 * SPAN + 1])
def test_first_and_last_row(tmp_path, rows):
    """The first and the last row can be buried, whichever page and bit they are."""
    with PagedStore(tmp_path / "x.cyb", page_size=PAGE_SIZE) as store:
        for row in {0, rows - 1}:
            bury_rows(store, [row])
        assert np.flatnonzero(~all_alive(store, rows)).tolist() == sorted({0, rows - 1})


def test_pages_before_are_made(tmp_path):
    """Burying a row of a later page makes the pages before it, full of living rows."""
    with PagedStore(tmp_path / "x.cyb", page_size=PAGE_SIZE) as store:
        bury_rows(store, [2 * SPAN + 5])
        with store.read() as view:
            assert view.snapshot.pages(PageKind.TOMBSTONES) == 3
            assert [len(view.open(PageKind.TOMBSTONES, page)) for page in range(3)] == [
                SPAN // 8
            ] * 3
        assert np.flatnonzero(~all_alive(store, 4 * SPAN)).tolist() == [2 * SPAN + 5]


def test_bit_order(tmp_path):
    """A row is the bit that the format says: least significant first."""
    with PagedStore(tmp_path / "x.cyb", page_size=PAGE_SIZE) as store:
        bury_rows(store, [0, 3, 8, 15])
        with store.read() as view:
            assert view.open(PageKind.TOMBSTONES, 0)[:3] == bytes([0b1001, 0b10000001, 0])


def test_burying_nothing(tmp_path):
    """Burying no row is no commit."""
    with PagedStore(tmp_path / "x.cyb", page_size=PAGE_SIZE) as store:
        bury_rows(store, [])
        assert store.snapshot.root.sequence == 1


numbers = st.integers(0, 3 * SPAN + 10) | st.sampled_from([0, SPAN - 1, SPAN, 2 * SPAN - 1])


@given(st.lists(st.lists(numbers, min_size=1, max_size=8, unique=True), min_size=1, max_size=6))
@settings(max_examples=25)
def test_following_commits(tmp_path_factory, commits):
    """Following commit by commit, through changed pages alone, gives what a fresh start gives."""
    rows = 3 * SPAN + 11
    with PagedStore(tmp_path_factory.mktemp("t") / "x.cyb", page_size=PAGE_SIZE) as store:
        dead, alive, before = set(), np.ones(rows - 5, np.bool_), None
        for step, wanted in enumerate(commits):
            buried = [row for row in wanted if row < rows - 5 + step]
            bury_rows(store, buried)
            dead |= set(buried)
            with store.read() as view:
                changed = view.snapshot.changed(before, PageKind.TOMBSTONES)
                before = view.snapshot
                alive = load_alive(view, rows - 5 + step, alive, changed, PAGE_SIZE)
            assert np.flatnonzero(~alive).tolist() == sorted(dead)
        assert np.flatnonzero(~all_alive(store, rows)).tolist() == sorted(dead)


def test_old_arrays_stay(tmp_path):
    """The array of an older commit does not change when a later one is loaded from it."""
    with PagedStore(tmp_path / "x.cyb", page_size=PAGE_SIZE) as store:
        old = np.ones(10, np.bool_)
        bury_rows(store, [4])
        with store.read() as view:
            load_alive(view, 12, old, [0], PAGE_SIZE)
        assert old.all()


@pytest.mark.parametrize("length", [0, 1, SPAN // 8 - 1, SPAN // 8 + 1])
def test_wrong_length(tmp_path, length):
    """A tombstone page of another length is IntegrityError, on reading and on burying."""
    with PagedStore(tmp_path / "x.cyb", page_size=PAGE_SIZE) as store:
        store.write(lambda view: view.seal(PageKind.TOMBSTONES, 0, bytes(length)))
        with pytest.raises(IntegrityError):
            all_alive(store, SPAN)
        with pytest.raises(IntegrityError):
            bury_rows(store, [5])
