"""repair_index saves exactly what still authenticates, and says what it has not saved."""

import random

import pytest
from support import KEY, check_items, check_query, read_pages
from verify_harness import (
    DERIVED,
    NAME,
    drop,
    file_of,
    flip,
    forge,
    lost_rows,
    nothing_changes,
    opened,
    replaced,
)

from cyborg_embedded import (
    Client,
    IndexExistsError,
    IntegrityError,
    InvalidInputError,
    WrongKeyError,
)
from cyborg_embedded.model import PageKind

GROUND = (
    PageKind.VECTORS,
    PageKind.ITEMS,
    PageKind.ITEM_IDS,
    PageKind.IDS,
    PageKind.METADATA,
    PageKind.CONTENTS,
)


def repaired(case, **options):
    """Repair an index, which itself stays as it is; the report."""
    with nothing_changes(case.path):
        return Client(case.folder).repair_index(NAME, to="saved", index_key=KEY, **options)


def check_saved(case, rows, *, thorough=False):
    """Assert that the new index is sound and holds the items of these rows, in this order."""
    history = case.history
    items = history.of(rows)
    with Client(case.folder).load_index("saved", index_key=KEY, indexing="manual") as index:
        assert index.list_ids() == [history.ids[row] for row in rows]
        check_items(index, items)
        assert index.verify().problems == ()
        if not thorough:
            return
        assert index.count({"n": {"$gte": 0}}) == len(rows)
        if rows:
            query = items[history.ids[rows[0]]][0]
            check_query(index.query(query, top_k=5), query, 5, "cosine", items)
        # It is as good as any other.
        index.upsert(["new"], [range(1, 65)], [{"n": -1}])
        assert index.delete(["new"]) == 1
        index.optimize()
        assert index.verify().ok


def check_report(case, report, lost):
    """Assert that a report says what was saved and lost."""
    living = case.history.rows()
    assert report.saved == len(living) - len(lost)
    assert list(report.lost) == lost


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        *((kind, harm) for kind in GROUND for harm in (flip, drop)),
        *((kind, drop) for kind in DERIVED),
    ],
)
def test_one_page(case, kind, harm):
    """A damaged page takes along the rows that need it, and no others."""
    numbers = sorted(int.from_bytes(key[1:], "big") for key in case.pages if key[0] == kind)
    number = numbers[len(numbers) // 2]
    harm(case.path, case.pages, kind, number)
    report = repaired(case)
    lost = lost_rows(case.history, [(kind, number)])
    assert bool(lost) == (kind not in DERIVED | {PageKind.IDS})
    check_report(case, report, lost)
    assert not report.maybe_old
    assert not report.maybe_deleted
    known = [] if kind is PageKind.ITEM_IDS else [case.history.ids[row] for row in lost]
    assert list(report.lost_ids) == known
    check_saved(case, [row for row in case.history.rows() if row not in lost])


@pytest.mark.parametrize("seed", range(4))
def test_many_pages(case, seed):
    """Of any number of damaged pages, all rows that need none of them are saved."""
    choose = random.Random(seed)
    places = sorted(key for key in case.pages if key[0] in {*GROUND, *DERIVED})
    damage = [
        (PageKind(key[0]), int.from_bytes(key[1:], "big"))
        for key in choose.sample(places, choose.choice([3, 15, 40]))
    ]
    damage = [place for place in damage if place[0] != PageKind.ITEM_IDS or place[1] == 2]
    for kind, number in damage:
        choose.choice([flip, drop])(case.path, case.pages, kind, number)
    report = repaired(case)
    lost = lost_rows(case.history, damage)
    check_report(case, report, lost)
    unknown = range(1024, 1536) if (PageKind.ITEM_IDS, 2) in damage else ()
    assert list(report.lost_ids) == [case.history.ids[row] for row in lost if row not in unknown]
    check_saved(case, [row for row in case.history.rows() if row not in lost])


def test_nothing_damaged(case):
    """Of a sound index everything is saved, in a new index with an identity of its own."""
    steps = []
    report = repaired(case, progress=lambda done, total: steps.append((done, total)))
    check_report(case, report, [])
    assert not report.lost_ids
    assert steps[-1] == (report.saved, report.saved)
    client = Client(case.folder)
    old, new = client.describe_index(NAME), client.describe_index("saved")
    assert old["index_id"] != new["index_id"]
    check_saved(case, case.history.rows(), thorough=True)
    with opened(case.folder) as index:
        assert index.verify().ok


def test_nothing_left(case):
    """Where no row can be saved, the new index is empty."""
    for number in range(3):
        drop(case.path, case.pages, PageKind.ITEM_IDS, number)
    report = repaired(case)
    check_report(case, report, case.history.rows())
    assert not report.lost_ids
    check_saved(case, [])


@pytest.mark.parametrize("harm", [flip, drop])
def test_no_root(case, harm):
    """Without the root nothing is known to belong to the index: nothing is made."""
    harm(case.path, case.pages, PageKind.ROOT, 0)
    with pytest.raises(IntegrityError) as caught:
        repaired(case)
    assert caught.value.kind == "ROOT"
    assert Client(case.folder).list_indexes() == [NAME]


def test_forged_page(case):
    """A page that authenticates and makes no sense takes its rows along, as a damaged one does."""
    forge(case.path, replaced(PageKind.ITEMS, 2, lambda data: data[:3]))
    report = repaired(case)
    lost = lost_rows(case.history, [(PageKind.ITEMS, 2)])
    check_report(case, report, lost)
    check_saved(case, [row for row in case.history.rows() if row not in lost])


def test_refusals(case):
    """A name that is taken, no name, a wrong key: nothing is made or changed."""
    client = Client(case.folder)
    client.create_index("Taken", index_key=KEY).close()
    for to, error in (
        ("taken", IndexExistsError),
        (NAME, IndexExistsError),
        ("", InvalidInputError),
    ):
        with nothing_changes(case.path), pytest.raises(error):
            client.repair_index(NAME, to=to, index_key=KEY)
    with nothing_changes(case.path), pytest.raises(WrongKeyError):
        client.repair_index(NAME, to="saved", index_key=bytes(32))
    assert client.list_indexes() == ["Taken", NAME]


@pytest.mark.parametrize("step", [0, 2, 370])
def test_broken_off(case, step):
    """What `progress` raises ends it, and leaves no index."""
    left = iter(range(step))

    def progress(*_):
        if next(left, None) is None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        repaired(case, progress=progress)
    assert Client(case.folder).list_indexes() == [NAME]
    assert not [file for file in case.folder.iterdir() if file.name.startswith(".new-")]


def test_source_may_be_open(case):
    """An index that this process has open is repaired beside it, and goes on."""
    flip(case.path, case.pages, PageKind.VECTORS, 3)
    with opened(case.folder) as index:
        report = repaired(case)
        assert len(index) == len(case.history.rows())
    lost = lost_rows(case.history, [(PageKind.VECTORS, 3)])
    check_report(case, report, lost)
    assert read_pages(file_of(case.folder))[b"\x00"] == case.pages[b"\x00"]
