"""Filters see every commit, whoever made it; metadata alone costs no graph work; and what is derived
may go without changing an answer.
"""

from pathlib import Path

import numpy as np
import pytest
from clustered import (
    METADATA,
    NAMES,
    QUERIES,
    ROWS,
    VECTORS,
    clustered,
    lowest,
    make_cheap,
    names_of,
    nearest_names,
)
from filter_harness import QUERY, vectors
from support import KEY, run_python

from cyborg_embedded.model import PageKind
from cyborg_embedded.navigation import drop_graph


def answers(index, filters):
    """What each call answers to a filter: ids."""
    return [
        sorted(index.query_arrays(QUERY, top_k=100, filters=filters)[0]),
        sorted(names_of(index.query(QUERY, top_k=100, filters=filters, include=[]))),
        [item["id"] for item in index.query_metadata(filters)],
        index.list_ids(filters),
        [index.count(filters)],
    ]


def check(index, filters, wanted):
    """Assert that each call finds these ids."""
    assert answers(index, filters) == [wanted] * 4 + [[len(wanted)]]


# --- commits of others ----------------------------------------------------------------------


@pytest.mark.parametrize("optimized", [False, True])
def test_commits_of_another_handle(client, index, optimized):
    """What another handle has committed is seen by the next filter: new items, new metadata, new
    vectors, deletions.
    """
    index.upsert(list("abcd"), vectors(4), [{"n": n} for n in range(4)])
    if optimized:
        index.optimize()
    check(index, {"n": {"$gte": 2}}, ["c", "d"])
    with client.load_index("notes", index_key=KEY) as other:
        other.upsert(["e"], vectors(5)[4:], [{"n": 2.5}])
        check(index, {"n": {"$gte": 2}}, ["c", "d", "e"])
        other.upsert(["a"], vectors(1), [{"n": [9, None]}])
        check(index, {"n": {"$gte": 2}}, ["a", "c", "d", "e"])
        check(index, {"n": 0}, [])
        other.upsert(["a"], vectors(1), [{"m": "new"}])
        check(index, {"m": {"$exists": True}}, ["a"])
        check(index, {"n": {"$gte": 2}}, ["c", "d", "e"])
        other.delete(["d"])
        check(index, {"n": {"$gte": 2}}, ["c", "e"])
        assert other.delete(filters={"n": {"$lt": 2.5}}) == 2
        check(index, {"n": {"$gte": 0}}, ["e"])
        if optimized:
            other.optimize()
            check(index, {"n": {"$gte": 0}}, ["e"])
        index.upsert(["f"], vectors(6)[5:], [{"n": 7}])
        check(other, {"n": {"$gte": 0}}, ["e", "f"])


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from cyborg_embedded import Client
from filter_harness import vectors
from support import KEY

with Client(sys.argv[1]) as client, client.load_index("notes", index_key=KEY) as index:
    index.upsert(list("bcd"), vectors(4)[1:], [{"n": 8}, {"n": 0}, {"n": 8}])
    print(index.delete(filters={"n": 2}), index.count({"n": 8}))
    index.optimize()
    index.upsert(["a"], vectors(1), [{"tags": ["x", 8]}])
"""


def test_commits_of_another_process(folder, index):
    """So is what another process has committed."""
    index.upsert(list("abcz"), vectors(5)[[0, 1, 2, 4]], [{"n": 1}, {"n": 1}, {"n": 2}, {"n": 2}])
    check(index, {"n": {"$gt": 1}}, ["c", "z"])
    code, out, err = run_python(WRITER, folder, Path(__file__).parent)
    assert (code, out) == (0, "1 2\n"), err
    check(index, {"n": 8}, ["b", "d"])
    check(index, {"n": {"$gt": 1}}, ["b", "d"])
    check(index, {"tags": 8}, ["a"])
    check(index, {"n": 2}, [])


# --- metadata alone -------------------------------------------------------------------------


@pytest.fixture
def walked(client):
    """An index with a graph that has all its items."""
    with clustered(client, optimized=True) as index:
        index.warm()
        yield index


def test_new_metadata_costs_no_graph_work(walked):
    """Items that get new metadata and keep their vectors keep their rows, and the graph; filters
    see what is new at once.
    """
    before, navigator = walked.describe(), walked._session.state.navigator.known
    assert navigator is not None
    assert before["indexed_rows"] == before["rows"] == ROWS
    changed = list(range(7, ROWS, 10))
    described = [{"rank": -1, "new": [n]} for n in changed]
    walked.upsert([NAMES[n] for n in changed], VECTORS[changed], described)
    after = walked.describe()
    for name in ("rows", "indexed_rows", "deleted_rows", "navigator_dimensions"):
        assert after[name] == before[name], name
    assert walked._session.state.root.rows == ROWS
    assert walked._session.state.navigator.known is navigator
    assert walked.count({"rank": -1}) == walked.count({"new": {"$exists": True}}) == len(changed)
    assert walked.list_ids({"new": 17}) == [NAMES[17]]
    assert walked.count(lowest(ROWS)) == ROWS
    assert walked.count({"rank": METADATA[17]["rank"]}) == 0
    mask = np.isin(np.arange(ROWS), changed)
    for query in QUERIES[:5]:
        assert names_of(walked.query(query, filters={"rank": -1})) == nearest_names(query, mask, 10)


@pytest.mark.parametrize("way", ["codes", "graph"])
def test_items_beyond_the_graph(walked, monkeypatch, way):
    """Items that neither graph nor codes have yet are found, those that died are not."""
    make_cheap(monkeypatch, way)
    query = QUERIES[0]
    assert len(walked.query(query, filters=lowest(2000))) == 10
    near = np.array([query + np.float32(0.001) * n for n in range(3)])
    names = ["near 0", "near 1", "near 2"]
    walked.upsert(names, near, [{"rank": 0}, {"rank": 1}, {"rank": 5000}])
    found = names_of(walked.query(query, filters=lowest(2000)))
    assert found[:2] == names[:2]
    assert names[2] not in found
    assert names_of(walked.query(query, filters={"rank": {"$gte": 0}}))[:3] == names
    walked.delete(found)
    others = names_of(walked.query(query, filters=lowest(2000)))
    assert len(others) == 10
    assert not set(others) & set(found)


# --- what is derived ------------------------------------------------------------------------

FILTERS = [
    lowest(40),
    lowest(1500),
    {"cluster": {"$in": [1, 2, 3]}, "tags": "odd"},
    {"tags": {"$elemMatch": {"$gt": 20}}},
    {"$not": {"rank": {"$gte": 100}}},
    {"tags": ["odd", 4]},
]


def everything(index):
    """All that is asked of an index: exact answers."""
    found = [index.count(each) for each in FILTERS]
    found += [index.list_ids(each) for each in FILTERS]
    found += [index.query(QUERIES[:5], filters=each, recall=1) for each in FILTERS]
    found += [
        index.query_metadata(each, order_by="rank", ascending=False, top_k=20) for each in FILTERS
    ]
    return found


def drop_columns(view, _):
    """Have no pages of columns, though the root says that there are some."""
    view.truncate(PageKind.COLUMNS, 0)


def cut_columns(view, _):
    """Have one page of the columns less."""
    view.truncate(PageKind.COLUMNS, view.pages(PageKind.COLUMNS) - 1)


def spoil_columns(view, _):
    """Have something else in the columns, as authentic."""
    data = bytearray(view.open(PageKind.COLUMNS, 0))
    data[:200] = bytes(200)
    view.seal(PageKind.COLUMNS, 0, data)


def drop_codes(view, _):
    """Have no codes, though the root says that there are some."""
    view.truncate(PageKind.NAVIGATION, 0)


DROPPED = {
    "graph": lambda view, _: drop_graph(view),
    "columns": drop_columns,
    "the end of the columns": cut_columns,
    "sound columns": spoil_columns,
    "codes": drop_codes,
}


LONG = ("graph", "the end of the columns", "sound columns")


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=pytest.mark.slow) if what in LONG else what for what in DROPPED],
)
def test_what_is_derived_may_go(client, walked, what):
    """Without what is derived, or with damaged pages of it, the answers stay the same: of the handle
    that has it in memory, and of one that is opened then. `optimize` makes it again.
    """
    wanted = everything(walked)
    walked._session.write(DROPPED[what])
    assert everything(walked) == wanted
    with client.load_index("clustered", index_key=KEY, indexing="manual") as again:
        assert everything(again) == wanted
        for query in QUERIES[:5]:
            assert len(again.query(query, filters=lowest(1500), top_k=50)) == 50
        again.optimize()
        assert everything(again) == wanted
    with client.load_index("clustered", index_key=KEY, indexing="manual") as again:
        assert everything(again) == wanted
        assert not again._session.columns.damaged
        assert again.describe()["indexed_rows"] == ROWS


def test_columns_are_loaded_not_made(client, walked, monkeypatch):
    """A handle that finds columns of all items opens no item for a filter that they answer."""
    with client.load_index("clustered", index_key=KEY, indexing="manual") as again:

        def refuse(*_):
            message = "an item page was opened"
            raise AssertionError(message)

        monkeypatch.setattr("cyborg_embedded.columnset.metadata_of", refuse)
        assert again.count(lowest(40)) == 40
    assert walked.count(lowest(40)) == 40


def test_a_read_only_handle(client, walked):
    """A handle that may only read filters too, and refuses to delete by a filter."""
    with client.load_index("clustered", index_key=KEY, read_only=True) as again:
        assert again.count(lowest(40)) == 40
        with pytest.raises(PermissionError):
            again.delete(filters=lowest(40))
    assert walked.count(lowest(40)) == 40


@pytest.mark.parametrize("cache_bytes", [0, 50_000])
def test_little_memory(client, walked, cache_bytes):
    """A handle that keeps few vectors, or none, has the same filtered answers."""
    wanted = everything(walked)
    with client.load_index("clustered", index_key=KEY, cache_bytes=cache_bytes) as again:
        assert everything(again) == wanted
        found = again.query_arrays(QUERIES[:10], filters=lowest(1500))[0]
        mask = np.array([each["rank"] < 1500 for each in METADATA])
        hits = [
            len(set(names) & set(nearest_names(query, mask, 10)))
            for query, names in zip(QUERIES[:10], found, strict=True)
        ]
        assert sum(hits) >= 98


def test_warming_without_filters(client, walked):
    """What only filters need is loaded by `warm`, unless it is told that there are none."""
    with client.load_index("clustered", index_key=KEY, indexing="manual") as again:
        again.warm(filters=False)
        assert again._session.columns.known is None
        assert again._session.state.navigator.known is not None
        again.warm()
        assert again._session.columns.known is not None
        assert again.count(lowest(40)) == 40
