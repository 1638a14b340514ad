"""What an index holds is the same after `rekey` and `compact`, to the last bit."""

import numpy as np
import pytest
from rekey_harness import LEFT, NAME, WAYS, Custodian, file_of, files, put, varied
from support import KEY, METRICS, check_items, check_query, contents_of, make_index, read_pages

from cyborg_embedded import Client, InvalidInputError, RollbackError, rewriting

FILTERS = (
    {},
    {"n": {"$gte": 40}},
    {"kind": "long"},
    {"parts": {"$exists": True}},
    {"$not": {"kind": {"$in": ["long", "ключ"]}}},
)


@pytest.fixture(params=WAYS)
def custodian(request, folder):
    return Custodian(folder, request.param)


def answers(index):
    """All that is to be the same before and after."""
    described = index.describe()
    for changing in ("sequence", "deleted_rows", "file_bytes", "indexed_rows"):
        del described[changing]
    ordered = index.query_metadata(order_by="n", ascending=False, top_k=20)
    return {
        "items": contents_of(index),
        "ids": index.list_ids(),
        "described": described,
        "filters": [index.list_ids(filters) for filters in FILTERS],
        "counts": [index.count(filters) for filters in FILTERS],
        "ordered": ordered,
        "length": len(index),
        "about": (index.name, index.metric, index.dimension),
    }


def check_same(custodian, index, before):
    """The same through this handle, and through another one after it; nothing dead is left."""
    assert answers(index) == before
    assert index.describe()["deleted_rows"] == 0
    index.close()
    with custodian.load() as again:
        assert answers(again) == before
        assert again.describe()["deleted_rows"] == 0
    assert files(custodian.client._folder.path) == LEFT


def test_all_kinds_of_items(custodian):
    """Ids of any length, metadata and contents of any kind and length, replaced and deleted items:
    what lives is the same, and what does not is gone.
    """
    items = varied(6, 230)
    index = custodian.create(dimension=6)
    put(index, items)
    items["large"] = (np.ones(6, np.float32), {"n": 1}, "☃" * (1 << 18) + "!" * (1 << 18))
    put(index, {"large": items["large"]})
    moved = dict(list(varied(6, 230, seed=1).items())[40:80])
    for item in moved:
        items.pop(item)
    items |= moved
    put(index, moved)
    doomed = list(items)[::7]
    assert index.delete(doomed) == len(doomed)
    for item in doomed:
        del items[item]
    assert index.describe()["deleted_rows"] > 40
    before = answers(index)
    custodian.renew(index)
    check_items(index, items)
    assert index.list_ids() == list(items)
    check_same(custodian, index, before)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("dimension", [1, 33, 500, 16_384])
def test_vectors_bit_for_bit(folder, dimension, precision):
    """Vectors are stored bits before and after, in each precision, in pages of many rows and in
    rows of many pages.
    """
    custodian = Custodian(folder)
    index = custodian.create(dimension=dimension, storage_precision=precision)
    count = 30 if dimension > 1000 else 300
    put(index, varied(dimension, count))
    index.delete(index.list_ids()[1:9:3])
    before = answers(index)
    custodian.renew(index)
    index.compact()
    check_same(custodian, index, before)


DELETED = {
    "none": [],
    "one": [511],
    "the last": [1299],
    "every other": range(0, 1300, 2),
    "a block": range(500, 1100),
}


@pytest.mark.parametrize("long", [True, False], ids=["long", "short"])
@pytest.mark.parametrize("deleted", DELETED.values(), ids=DELETED)
def test_blocks(folder, monkeypatch, deleted, long):
    """An index of several blocks is copied whole, wherever its dead rows lie, and whether or not
    its items are short enough to stand in one page with others.
    """
    monkeypatch.setattr(rewriting, "BLOCK_BYTES", 1)
    custodian = Custodian(folder, "compact")
    items = varied(5, 1300)
    if not long:
        items = {name: (items[name][0], {"n": n}, f"text {n}") for n, name in enumerate(items)}
    index = custodian.create(dimension=5)
    put(index, items, 650)
    ids = list(items)
    index.delete([ids[row] for row in deleted])
    for row in deleted:
        del items[ids[row]]
    told = []
    custodian.renew(index, progress=lambda done, total: told.append((done, total)))
    blocks = [(done, len(items)) for done in range(0, len(items), 512)]
    assert told == [*blocks, (len(items), len(items))]
    check_items(index, items)
    assert index.list_ids() == list(items)
    matching = [name for name, item in items.items() if (item[1] or {}).get("n", 0) > 600]
    assert index.list_ids({"n": {"$gt": 600}}) == matching
    items["one more"] = (np.ones(5, np.float32), None, None)
    put(index, {"one more": items["one more"]})
    check_items(index, items)
    index.close()


@pytest.mark.parametrize(
    ("metric", "page_size"), list(zip(METRICS, (256, 1024, 512, 4096), strict=True))
)
def test_small_pages_and_metrics(folder, page_size, metric):
    """Pages of any size, page tables of many pages, and any metric come through."""
    make_index(folder, NAME, KEY, dimension=70, metric=metric, page_size=page_size)
    items = varied(70, 200)
    other = bytes(reversed(KEY))
    with Client(folder).load_index(NAME, index_key=KEY, indexing="manual") as index:
        put(index, items)
        before = answers(index)
        index.rekey(other)
        assert answers(index) == before
        index.compact()
        assert answers(index) == before
        assert index.describe()["page_size"] == page_size
        for row in (0, 77, 199):
            query = list(items.values())[row][0] * np.float32(1.1)
            check_query(index.query(query, top_k=20), query, 20, metric, items)


def test_no_dimension_yet(custodian):
    """An index without a dimension has none afterwards, and gets it from its first upsert."""
    index = custodian.create()
    told = []
    custodian.renew(index, progress=lambda *given: told.append(given))
    assert told == [(0, 0)]
    assert index.dimension is None
    assert len(index) == 0
    assert index.list_ids() == []
    index.upsert(["a"], [[1, 2, 3]])
    custodian.renew(index)
    assert index.dimension == 3
    assert index.list_ids() == ["a"]
    index.close()


def test_no_rows(custodian):
    """So it is with an index of a dimension and no rows, and with one whose rows are all dead."""
    index = custodian.create(dimension=3)
    custodian.renew(index)
    assert (index.dimension, len(index)) == (3, 0)
    put(index, varied(3, 700))
    index.optimize()
    assert index.delete(filters={}) == 700
    custodian.renew(index)
    described = index.describe()
    assert (described["rows"], described["deleted_rows"], described["indexed_rows"]) == (0, 0, 0)
    assert index.query([1, 2, 3]) == []
    items = varied(3, 30)
    put(index, items)
    check_items(index, items)
    index.close()
    with custodian.load() as again:
        check_items(again, items)


def test_one_row(custodian):
    """One row is a whole index."""
    index = custodian.create()
    index.upsert(["a"], [[-0.0, 1e-45]], [{"n": 1}], ["x"])
    before = answers(index)
    custodian.renew(index)
    check_same(custodian, index, before)


def test_what_identifies_it(custodian):
    """Index id and time of creation stay, the sequence number grows, the commit is another one."""
    index = custodian.create(dimension=2)
    index.upsert(["a"], [[1, 2]])
    client = custodian.client
    for _ in range(2):
        before = client.describe_index(NAME)
        sequence, commit = index.sequence, index.commit_id
        custodian.renew(index)
        after = client.describe_index(NAME)
        for same in ("index_id", "created", "format_version", "key_managers", "name"):
            assert after[same] == before[same]
        assert index.sequence > sequence
        assert index.commit_id != commit
        newest = index.sequence
    index.close()
    custodian.load(min_sequence=newest).close()
    with pytest.raises(RollbackError):
        custodian.load(min_sequence=newest + 1)


def test_schema_and_wishes(folder):
    """Fields that are not to be filtered by stay such; so does the number of dimensions that the
    graph is to be walked in, also where the graph is made anew.
    """
    custodian = Custodian(folder)
    index = custodian.create(
        dimension=64, navigator_dimensions=12, metadata_schema={"text": {"filterable": False}}
    )
    items = varied(64, 1100)
    put(index, items)
    index.optimize()
    custodian.renew(index)
    described = index.describe()
    assert described["metadata_schema"] == {"text": {"filterable": False}}
    assert described["navigator_dimensions"] == 12
    with pytest.raises(InvalidInputError):
        index.list_ids({"text": "x"})
    index.delete(index.list_ids()[:3])
    custodian.renew(index)
    assert index.describe()["navigator_dimensions"] is None
    index.optimize()
    assert index.describe()["navigator_dimensions"] == 12
    index.close()


def test_room_is_given_back(folder):
    """Without its dead rows and free pages an index is as small as if it had never had them."""
    custodian = Custodian(folder, "compact")
    index = custodian.create(dimension=100)
    put(index, varied(100, 1500))
    index.delete(index.list_ids()[100:])
    large = file_of(folder).stat().st_size
    custodian.renew(index)
    index.close()
    assert file_of(folder).stat().st_size < large / 5
    records = read_pages(file_of(folder))
    assert sum(map(len, records.values())) > file_of(folder).stat().st_size / 4
