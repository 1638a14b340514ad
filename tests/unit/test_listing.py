"""Items without a vector: counted, listed, ordered and deleted by what a filter means."""

import numpy as np
import pytest

from cyborg_embedded import fields
from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.listing import (
    count_matching,
    delete_matching,
    ids_matching,
    items_matching,
)

ROWS = 90
NAMES = [f"{number:02}" for number in range(ROWS)]
VECTORS = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
DESCRIBED = [{"n": -n, "third": n % 3, f"own {n}": n} for n in range(ROWS)]
SECOND = NAMES[1::3]


@pytest.fixture
def session(index):
    """The session of an index of some items."""
    index.upsert(NAMES, VECTORS, DESCRIBED, NAMES)
    return index._session


def matching(session, filters=None, **options):
    """`items_matching`, with what is usual."""
    usual = {"top_k": None, "offset": 0, "order_by": None, "ascending": True, "include": []}
    return items_matching(session, filters, **(usual | options))


def ids_of(found):
    """The ids of items."""
    return [item["id"] for item in found]


def test_counted_and_listed(session):
    """As many as match, in the order of writing."""
    assert count_matching(session, None) == ROWS
    assert count_matching(session, {"third": 1}) == len(SECOND)
    assert ids_matching(session, {"third": 1}) == ids_of(matching(session, {"third": 1})) == SECOND
    assert ids_matching(session, {}) == ids_of(matching(session)) == NAMES


def test_what_is_included(session):
    """Each item has its id and what is asked for, and nothing else."""
    for include in ([], ["metadata"], ["vector", "contents"], ["metadata", "contents", "vector"]):
        found = matching(session, {"n": -7}, include=include)
        assert [item.keys() for item in found] == [{"id", *include}]
    (item,) = found
    assert (item["metadata"], item["contents"]) == (DESCRIBED[7], "07")
    assert np.array_equal(item["vector"], VECTORS[7])


@pytest.mark.parametrize(
    ("offset", "top_k"), [(0, 1), (0, 30), (29, 1), (29, 9), (30, 1), (500, 1)]
)
def test_pages(session, offset, top_k):
    """A page is a part of the whole, be it ordered or not, and empty behind its end."""
    page = {"offset": offset, "top_k": top_k}
    part = slice(offset, offset + top_k)
    assert ids_of(matching(session, {"third": 1}, **page)) == SECOND[part]
    ordered = matching(session, {"third": 1}, order_by="n", **page)
    assert ids_of(ordered) == SECOND[::-1][part]
    ordered = matching(session, {"third": 1}, order_by="n", ascending=False, **page)
    assert ids_of(ordered) == SECOND[part]


@pytest.mark.parametrize("ascending", [True, False])
def test_order_where_not_every_path_has_a_column(index, monkeypatch, ascending):
    """Where a field has no column since there are too many, items are ordered all the same."""
    monkeypatch.setattr(fields, "MOST_PATHS", 3)
    index.upsert(NAMES, VECTORS, [{**each, "z": n % 7} for n, each in enumerate(DESCRIBED)])
    session = index._session
    sign = 1 if ascending else -1
    wanted = [NAMES[n] for n in sorted(range(ROWS), key=lambda n: sign * (n % 7))]
    assert ids_of(matching(session, order_by="z", ascending=ascending)) == wanted
    assert ids_of(matching(session, order_by="z", ascending=ascending, top_k=20)) == wanted[:20]
    assert ids_of(matching(session, order_by="own 5", ascending=ascending, top_k=1)) == ["05"]
    assert count_matching(session, {"own 80": 80}) == 1
    assert ids_matching(session, {"z": 6}) == NAMES[6::7]
    columns = session.columns.known
    assert not columns.complete
    assert "z" not in columns.by_path


def test_deleted(session, index):
    """What matches is deleted, once, in one commit; where nothing does, there is none."""
    before = index.sequence
    assert delete_matching(session, {"third": 1}) == len(SECOND)
    assert index.sequence == before + 1
    assert ids_matching(session, None) == [name for name in NAMES if name not in SECOND]
    assert delete_matching(session, {"third": 1}) == 0
    assert index.sequence == before + 1
    index.upsert(SECOND[:1], VECTORS[:1], [{"third": 1}])
    assert ids_matching(session, None)[-1] == SECOND[0]
    assert delete_matching(session, {}) == ROWS - len(SECOND) + 1


@pytest.mark.parametrize(
    "options",
    [
        {"include": ["distance"]},
        {"include": "metadata"},
        {"top_k": 0},
        {"top_k": True},
        {"offset": -1},
        {"offset": None},
        {"order_by": 3},
        {"order_by": "$n"},
    ],
)
def test_what_is_refused(session, options):
    """What makes no sense is refused, also where nothing matches."""
    for filters in (None, {"n": 1}):
        with pytest.raises(InvalidInputError):
            matching(session, filters, **options)


def test_what_is_no_filter(session):
    """What is no filter is refused by each, and deletes nothing."""
    for ask in (count_matching, ids_matching, matching, delete_matching):
        for filters in ([], {"n": {"$near": 1}}):
            with pytest.raises(InvalidInputError):
                ask(session, filters)
    assert count_matching(session, None) == ROWS


def test_an_empty_index(client, key):
    """An index without a dimension has no items, whatever is asked."""
    with client.create_index("empty", index_key=key) as index:
        session = index._session
        assert count_matching(session, {"n": 1}) == delete_matching(session, {}) == 0
        assert matching(session, {"n": 1}, order_by="n", include=["vector"]) == []
