"""verify names every page that is not what was written, and raises nothing."""

import contextlib
import os
import re

import pytest
from support import read_pages, write_pages
from verify_harness import DERIVED, drop, flip, opened, place

from cyborg_embedded import IntegrityError
from cyborg_embedded.header import HEADER_KEY
from cyborg_embedded.model import PageKind

AT_OPEN = (PageKind.ROOT, PageKind.TABLE, PageKind.TOMBSTONES)
"""Without these pages there is no telling what an index is: it is not opened."""
TABLED = (
    PageKind.VECTORS,
    PageKind.ITEMS,
    PageKind.IDS,
    PageKind.NAVIGATION,
    PageKind.GRAPH,
    PageKind.PROJECTION,
    PageKind.ITEM_IDS,
    PageKind.COLUMNS,
)
APART = (PageKind.CONTENTS, PageKind.METADATA)


def numbers(case, kind):
    return sorted(int.from_bytes(key[1:], "big") for key in case.pages if key[0] == kind)


def verified(case):
    with opened(case.folder) as index:
        report = index.verify()
    assert not report.ok
    return report


def named(report):
    return {(problem.kind, problem.number) for problem in report.problems}


@pytest.mark.parametrize("harm", [flip, drop])
@pytest.mark.parametrize("which", ["first", "last"])
@pytest.mark.parametrize("kind", TABLED, ids=lambda kind: kind.name)
def test_a_page(case, kind, which, harm):
    """A page that was changed or dropped is the one problem there is, derived or not."""
    number = numbers(case, kind)[0 if which == "first" else -1]
    harm(case.path, case.pages, kind, number)
    report = verified(case)
    assert named(report) == {(kind.name, number)}
    assert all(problem.derived == (kind in DERIVED) for problem in report.problems)
    assert report.lossless == (kind in DERIVED)


@pytest.mark.parametrize("harm", [flip, drop])
@pytest.mark.parametrize("kind", APART, ids=lambda kind: kind.name)
def test_a_page_apart(case, kind, harm):
    """So is long metadata and long contents; long metadata is missed by the columns' check too."""
    number = numbers(case, kind)[3]
    harm(case.path, case.pages, kind, number)
    report = verified(case)
    assert named(report) == {(kind.name, number)}
    assert not report.lossless


@pytest.mark.parametrize("harm", [flip, drop])
@pytest.mark.parametrize("kind", AT_OPEN, ids=lambda kind: kind.name)
def test_without_it_nothing_opens(case, kind, harm):
    """Damage to the tree of tags itself, or to tombstones, is found by opening the index."""
    for number in numbers(case, kind):
        harm(case.path, case.pages, kind, number)
        with pytest.raises(IntegrityError) as caught:
            opened(case.folder)
        assert (caught.value.kind, caught.value.number) == (kind.name, number)
        write_pages(case.path, case.pages)


@pytest.mark.parametrize("kind", AT_OPEN, ids=lambda kind: kind.name)
def test_an_open_handle_looks_again(case, kind):
    """What a handle has read long ago, and does not read again, is looked at all the same."""
    with opened(case.folder) as index:
        assert index.verify().ok
        for number in numbers(case, kind):
            with one_bit_off(case.path, case.pages[place(kind, number)]):
                report = index.verify()
            assert named(report) == {(kind.name, number)}
            assert not report.lossless
        assert index.verify().ok


def test_an_open_handle_looks_at_the_header(case):
    """So is the header, which no other page but the root is bound to."""
    header = case.pages[HEADER_KEY]
    with opened(case.folder) as index, one_bit_off(case.path, header, len(header) - 1):
        assert named(index.verify()) == {(None, None)}


@contextlib.contextmanager
def one_bit_off(path, record, offset=9):
    """Change a bit of a record wherever it lies in the file, behind LMDB's back."""
    with path.open("r+b", buffering=0) as file:
        places = [found.start() + offset for found in re.finditer(re.escape(record), file.read())]
        assert places
        try:
            for at in places:
                os.pwrite(file.fileno(), bytes([record[offset] ^ 4]), at)
            yield
        finally:
            for at in places:
                os.pwrite(file.fileno(), bytes([record[offset]]), at)


def test_every_page_apart_is_named(case):
    """Of several damaged pages that one page of items names, each is told of."""
    harmed = set()
    for kind in APART:
        for number in numbers(case, kind)[:4]:
            flip(case.path, case.pages, kind, number)
            harmed.add((kind.name, number))
    assert len({number // 32 for _, number in harmed}) < len(harmed)
    assert named(verified(case)) == harmed


def test_older_page(case):
    """A page that is an older version of itself is not the page of this commit."""
    with opened(case.folder) as index:
        vector = index.get(["n3"])[0]["vector"]
        index.upsert(["n3"], [vector], [{"new": 1}])
    write_pages(case.path, {place(PageKind.ITEMS, 0): case.pages[place(PageKind.ITEMS, 0)]})
    assert named(verified(case)) == {("ITEMS", 0)}


def test_swapped_pages(case):
    """Two pages in each other's place are two problems."""
    one, two = place(PageKind.VECTORS, 5), place(PageKind.VECTORS, 6)
    write_pages(case.path, {one: case.pages[two], two: case.pages[one]})
    assert named(verified(case)) == {("VECTORS", 5), ("VECTORS", 6)}


def test_all_at_once(case):
    """Each of many damaged pages is named: looking goes on behind the first."""
    harmed = {(kind, numbers(case, kind)[-1]) for kind in TABLED}
    harmed |= {(PageKind.METADATA, 200), (PageKind.CONTENTS, 301)}
    harmed |= {(PageKind.VECTORS, 2), (PageKind.ITEMS, 4)}
    for kind, number in harmed:
        flip(case.path, case.pages, kind, number)
    report = verified(case)
    # Where there are no links, there is nothing to walk on.
    unseen = (PageKind.PROJECTION, PageKind.NAVIGATION)
    assert named(report) == {(kind.name, each) for kind, each in harmed if kind not in unseen}
    assert not report.lossless


def test_only_derived(case):
    """With all derived pages damaged, nothing is lost, and the report says so."""
    for kind in DERIVED:
        flip(case.path, case.pages, kind, 0)
    report = verified(case)
    assert report.lossless
    assert all(problem.derived for problem in report.problems)


def test_read_only(case):
    """A handle that only reads finds the same."""
    flip(case.path, case.pages, PageKind.VECTORS, 1)
    with opened(case.folder, read_only=True) as index:
        assert named(index.verify()) == {("VECTORS", 1)}


def test_records_that_no_page_names(case):
    """Records beyond the tree are counted, and are no damage."""
    foreign = {
        b"\x0e" + bytes(8): b"a kind that does not exist",
        b"\xffshort": b"no page at all",
        place(PageKind.VECTORS, 1 << 20): b"beyond the last page",
        place(PageKind.ROOT, 1): b"a second root",
        place(PageKind.TABLE, (3 << 48) + 900): b"a chunk that the root does not have",
        place(PageKind.CONTENTS, 2): b"of a row that has none",
        place(PageKind.METADATA, 1 << 40): b"of no row",
    }
    assert not foreign.keys() & case.pages.keys()
    write_pages(case.path, foreign)
    with opened(case.folder) as index:
        report = index.verify()
    assert report.unnamed_records == len(foreign)
    assert report.ok
    assert read_pages(case.path).keys() == case.pages.keys() | foreign.keys()


def test_structure_of_the_file(case):
    """What is wrong with LMDB's own structure is a problem of no page of the index."""
    data = bytearray(case.path.read_bytes())
    # The first page of LMDB's free list, whose number stands at its beginning, claims another one.
    newest = max((0, 4096), key=lambda at: int.from_bytes(data[at + 144 : at + 152], "little"))
    free = int.from_bytes(data[newest + 80 : newest + 88], "little")
    assert int.from_bytes(data[free * 4096 : free * 4096 + 8], "little") == free
    data[free * 4096 : free * 4096 + 8] = (0x7777).to_bytes(8, "little")
    case.path.write_bytes(data)
    with opened(case.folder) as index:
        report = index.verify()
    assert not report.ok
    assert not report.lossless
    assert named(report) == {(None, None)}


def test_optimize_mends_what_is_derived(case):
    """Whatever derived page does not open, `optimize` makes it anew, also where no item is left."""
    for kind in sorted(DERIVED):
        drop(case.path, case.pages, kind, numbers(case, kind)[0])
    with opened(case.folder) as index:
        assert index.verify().lossless
        index.optimize()
        assert index.verify().ok
    drop(case.path, case.pages, PageKind.COLUMNS, 0)
    with opened(case.folder) as index:
        index.delete(index.list_ids())
        index.optimize()
        assert index.verify().ok
