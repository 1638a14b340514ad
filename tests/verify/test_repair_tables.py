"""repair_index where the page table or tombstones are lost, and of an index under a key manager."""

import pytest
from support import KEY, check_items, contents_of, read_pages, write_pages
from test_repair import check_report, check_saved, repaired
from verify_harness import NAME, drop, flip, opened, place

from cyborg_embedded import Client, KeyManagerError
from cyborg_embedded.kms import Passphrase
from cyborg_embedded.model import PageKind

CHUNKED = (PageKind.VECTORS, PageKind.ITEMS, PageKind.ITEM_IDS, PageKind.IDS, PageKind.NAVIGATION)


@pytest.mark.parametrize("kind", CHUNKED, ids=lambda kind: kind.name)
def test_lost_table(case, kind):
    """Pages whose tags are lost are taken as they are; the report says that they may be old."""
    flip(case.path, case.pages, PageKind.TABLE, kind << 48)
    report = repaired(case)
    assert report.maybe_old
    assert not report.maybe_deleted
    check_report(case, report, [])
    check_saved(case, case.history.rows())


def test_lost_table_and_a_page(case):
    """What does not authenticate is lost all the same."""
    drop(case.path, case.pages, PageKind.TABLE, PageKind.VECTORS << 48)
    flip(case.path, case.pages, PageKind.VECTORS, 3)
    report = repaired(case)
    lost = [row for row in (9, 10, 11) if case.history.alive[row]]
    assert report.maybe_old
    check_report(case, report, lost)
    check_saved(case, [row for row in case.history.rows() if row not in lost])


def test_old_page(case):
    """An older page is taken only where the table is lost; then the report warns of it."""
    with opened(case.folder) as index:
        vector = index.get(["n3"])[0]["vector"]
        index.upsert(["n3"], [vector], [{"n": 3, "newer": True}])
    write_pages(case.path, {place(PageKind.ITEMS, 0): case.pages[place(PageKind.ITEMS, 0)]})
    report = repaired(case)
    lost = [row for row in range(32) if case.history.alive[row]]
    assert list(report.lost) == lost
    assert not report.maybe_old
    Client(case.folder).delete_index("saved", index_key=KEY)
    drop(case.path, case.pages, PageKind.TABLE, PageKind.ITEMS << 48)
    report = repaired(case)
    assert report.maybe_old
    check_report(case, report, [])
    check_saved(case, case.history.rows())


@pytest.mark.parametrize("harm", [flip, drop])
@pytest.mark.parametrize("what", [PageKind.TOMBSTONES, PageKind.TABLE], ids=lambda kind: kind.name)
def test_lost_tombstones(case, harm, what):
    """Without tombstones every row counts as living, and of those with one id the latest is kept;
    those of dead rows that have lost their long parts are among the lost.
    """
    history = case.history
    if what is PageKind.TABLE:
        # Taken under the tag that it carries, it still tells who is dead.
        harm(case.path, case.pages, PageKind.TABLE, PageKind.TOMBSTONES << 48)
        report = repaired(case)
        assert (report.maybe_old, report.maybe_deleted) == (True, False)
        check_report(case, report, [])
        check_saved(case, history.rows())
        return
    harm(case.path, case.pages, PageKind.TOMBSTONES, 0)
    report = repaired(case)
    assert (report.maybe_old, report.maybe_deleted) == (False, True)
    apart = {
        row
        for row, (_, metadata, contents) in enumerate(history.items)
        if not history.alive[row] and ("long" in metadata or len(contents or "") > 512)
    }
    assert apart
    whole = [row for row in range(len(history.ids)) if row not in apart]
    latest = {history.ids[row]: row for row in whole}
    kept = sorted(latest.values())
    assert len(kept) > len(history.rows())
    assert set(history.rows()) <= set(kept)
    assert list(report.lost) == sorted(apart)
    assert list(report.lost_ids) == [history.ids[row] for row in sorted(apart)]
    assert report.saved == len(kept)
    check_saved(case, kept)


@pytest.fixture
def managed(folder):
    """A damaged index under two key managers, what it holds, and a client that has both."""
    managers = {
        name: Passphrase(f"six words of {name}", memory_kib=64, passes=1) for name in ("one", "two")
    }
    client = Client(folder, kms=managers)
    with client.create_index(NAME, kms_name="one", dimension=2, indexing="manual") as index:
        index.upsert(["a", "b"], [[1, 2], [3, 4]], [{"n": 1}, None], [None, "t" * 900])
        vector = index.get(["a"])[0]["vector"]
    client.add_key_manager(NAME, "two")
    path = folder / f"{NAME}.cyb"
    flip(path, read_pages(path), PageKind.CONTENTS, 1)
    return client, managers, {"a": (vector, {"n": 1}, None)}


def test_managed(folder, managed):
    """The new index is under the same managers, each of which opens it."""
    client, managers, items = managed
    report = client.repair_index(NAME, to="saved")
    assert (report.saved, report.lost, report.lost_ids) == (1, (1,), ("b",))
    for name, manager in managers.items():
        with Client(folder, kms={name: manager}).load_index("saved") as index:
            check_items(index, items)
            assert index.verify().ok
    told = client.describe_index("saved")
    assert told["key_managers"] == {"one": "passphrase", "two": "passphrase"}
    assert told["index_id"] != client.describe_index(NAME)["index_id"]


def test_manager_that_is_not_there(folder, managed):
    """A manager that could not hold the key of the new index is asked for first."""
    _, managers, _ = managed
    client = Client(folder, kms={"one": managers["one"]})
    with pytest.raises((KeyManagerError, ValueError)):
        client.repair_index(NAME, to="saved")
    assert client.list_indexes() == [NAME]


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        (PageKind.IDS, flip),
        (PageKind.IDS, drop),
        (PageKind.GRAPH, drop),
        (PageKind.NAVIGATION, flip),
        (PageKind.COLUMNS, flip),
    ],
)
def test_compact_mends(case, kind, harm):
    """What can be made again from the rows, compact makes again in place."""
    with opened(case.folder) as index:
        before = contents_of(index)
    harm(case.path, case.pages, kind, 0)
    with opened(case.folder) as index:
        report = index.verify()
        assert not report.ok
        index.compact()
        assert index.verify().ok
        assert contents_of(index) == before
    with opened(case.folder) as index:
        assert contents_of(index) == before


@pytest.mark.parametrize("kind", [PageKind.GRAPH, PageKind.PROJECTION, PageKind.COLUMNS])
def test_optimize_mends(case, kind):
    """What is only there to be fast, optimize makes again."""
    flip(case.path, case.pages, kind, 0)
    with opened(case.folder) as index:
        assert index.verify().lossless
        index.query([1.0] * 64, filters={"n": {"$gte": 5}})
        index.optimize()
        assert index.verify().ok
