"""Calls that take a filter beside `query`: deleting, schemas, datetimes, order and pages."""

import datetime as dt

import numpy as np
import pytest
from filter_harness import QUERY, vectors
from support import KEY

from cyborg_embedded import InvalidInputError

UTC = dt.timezone.utc
METADATA = [{"n": n, "even": n % 2 == 0, "tags": [f"t{n % 5}"]} for n in range(100)]
NAMES = [f"item {n:02}" for n in range(100)]


@pytest.fixture
def hundred(index):
    """An index of a hundred items."""
    index.upsert(NAMES, vectors(100), METADATA)
    return index


def listed(index, filters=None, **options):
    """The ids that `query_metadata` finds."""
    return [item["id"] for item in index.query_metadata(filters, include=[], **options)]


# --- delete ---------------------------------------------------------------------------------


@pytest.mark.parametrize("optimized", [False, True])
def test_delete_what_matches(client, hundred, optimized):
    """`delete(filters=)` deletes exactly what matches, in one commit, and says how many."""
    if optimized:
        hundred.optimize()
    before = hundred.sequence
    assert hundred.delete(filters={"even": True, "n": {"$gte": 50}}) == 25
    assert hundred.sequence == before + 1
    left = [name for n, name in enumerate(NAMES) if n < 50 or n % 2]
    assert hundred.list_ids() == left
    assert len(hundred) == hundred.count() == len(left)
    assert hundred.count({"even": True, "n": {"$gte": 50}}) == 0
    assert sorted(hundred.query_arrays(QUERY, top_k=100)[0]) == left
    assert [item["metadata"] for item in hundred.get(left)] == [
        each for each in METADATA if each["n"] < 50 or each["n"] % 2
    ]
    assert hundred.get([NAMES[50]]) == []
    with client.load_index("notes", index_key=KEY) as again:
        assert again.list_ids() == left


def test_delete_all(hundred):
    """`{}` deletes all items, in one commit; then there is nothing left to delete."""
    before = hundred.sequence
    assert hundred.delete(filters={}) == 100
    assert (len(hundred), hundred.sequence) == (0, before + 1)
    assert hundred.query(QUERY, filters={}) == hundred.list_ids() == []
    assert hundred.delete(filters={}) == 0
    assert hundred.sequence == before + 1
    hundred.upsert(NAMES[:3], vectors(3), METADATA[:3])
    assert hundred.list_ids({"n": {"$gt": 0}}) == NAMES[1:3]


@pytest.mark.parametrize(
    "filters",
    [{"n": 100}, {"missing": {"$exists": True}}, {"$or": []}, {"tags": {"$in": []}}],
)
def test_delete_nothing(hundred, filters):
    """Where nothing matches, 0 items are deleted and there is no commit."""
    before = (hundred.sequence, hundred.commit_id)
    assert hundred.delete(filters=filters) == 0
    assert (hundred.sequence, hundred.commit_id) == before
    assert len(hundred) == 100


def test_delete_by_what_columns_do_not_tell(index):
    """What is decided item by item is deleted as exactly."""
    long = "p" * 64
    metadata = [{"a": {"b": n % 3}, "text": long + str(n % 4)} for n in range(48)]
    index.upsert(NAMES[:48], vectors(48), metadata)
    assert index.delete(filters={"a": {"b": 1}, "text": long + "2"}) == 4
    left = [name for n, name in enumerate(NAMES[:48]) if not (n % 3 == 1 and n % 4 == 2)]
    assert index.list_ids() == left


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"ids": None},
        {"filters": None},
        {"ids": None, "filters": None},
        {"ids": [], "filters": {}},
        {"ids": [NAMES[0]], "filters": {}},
        {"ids": [NAMES[0]], "filters": {"n": 0}},
    ],
)
def test_delete_takes_one_of_two(hundred, arguments):
    """`delete` takes ids or filters, not both and not none; else nothing is deleted."""
    before = hundred.sequence
    with pytest.raises(InvalidInputError):
        hundred.delete(**arguments)
    assert (len(hundred), hundred.sequence) == (100, before)


# --- datetimes ------------------------------------------------------------------------------

EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))
MOMENT = dt.datetime(2024, 3, 1, 12, 0, 0, 1500, tzinfo=UTC)
MILLISECONDS = 1_709_294_400_001
NAIVE = MOMENT.replace(tzinfo=None)


def test_datetimes_are_milliseconds(index):
    """Datetimes with a time zone come back as whole milliseconds, and compare as such."""
    given = {
        "at": MOMENT,
        "east": [MOMENT.astimezone(EAST)],
        "deep": {"old": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)},
    }
    stored = {"at": MILLISECONDS, "east": [MILLISECONDS], "deep": {"old": -1}}
    later = {"at": MOMENT + dt.timedelta(milliseconds=1)}
    index.upsert(list("ab"), vectors(2), [given, later])
    (got,) = index.get(["a"])
    assert got["metadata"] == stored
    assert type(got["metadata"]["at"]) is int
    assert given["at"] is MOMENT
    for filters, wanted in (
        ({"at": MOMENT}, ["a"]),
        ({"at": MILLISECONDS}, ["a"]),
        ({"at": MOMENT.replace(microsecond=1999)}, ["a"]),
        ({"at": {"$gt": MOMENT}}, ["b"]),
        ({"at": {"$gte": MOMENT.astimezone(EAST)}}, ["a", "b"]),
        ({"at": {"$in": [MOMENT, NAIVE.replace(tzinfo=EAST)]}}, ["a"]),
        ({"at": {"$lt": NAIVE.replace(tzinfo=EAST)}}, []),
        ({"east": MOMENT}, ["a"]),
        ({"deep.old": {"$lt": dt.datetime(1970, 1, 1, tzinfo=UTC)}}, ["a"]),
    ):
        assert index.list_ids(filters) == wanted, filters
        assert sorted(index.query_arrays(QUERY, filters=filters)[0]) == wanted
    assert listed(index, order_by="at", ascending=False) == ["b", "a"]


@pytest.mark.parametrize(
    "metadata", [{"at": NAIVE}, {"a": [{"b": NAIVE}]}, {"a": MOMENT, "b": NAIVE}]
)
def test_naive_datetimes_in_metadata(index, metadata):
    """A datetime without a time zone is refused, with its item, and nothing is written."""
    with pytest.raises(InvalidInputError, match="time zone") as caught:
        index.upsert(list("abc"), vectors(3), [{"at": MOMENT}, metadata, None])
    assert caught.value.item == 1
    assert len(index) == 0


@pytest.mark.parametrize(
    "filters", [{"at": NAIVE}, {"at": {"$gt": NAIVE}}, {"$or": [{"at": {"$in": [MOMENT, NAIVE]}}]}]
)
def test_naive_datetimes_in_filters(index, filters):
    """So it is in filters, with its place."""
    with pytest.raises(InvalidInputError, match="time zone"):
        index.count(filters)


# --- order ----------------------------------------------------------------------------------


@pytest.fixture
def ranked(index):
    """An index of items with a rank each, some of them equal, and some items without one."""
    ranks = np.random.default_rng(3).integers(0, 20, 80).tolist()
    metadata = [{"rank": rank, "n": n} for n, rank in enumerate(ranks)]
    for n in range(5, 80, 9):
        del metadata[n]["rank"]
    index.upsert(NAMES[:80], vectors(80), metadata)
    return index, metadata


@pytest.mark.parametrize("ascending", [True, False])
def test_order_and_pages(ranked, ascending):
    """Items come in the order of a field, those without it last, and pages make up the whole."""
    index, metadata = ranked
    sign = 1 if ascending else -1
    order = sorted(range(80), key=lambda n: sign * metadata[n].get("rank", sign * 99))
    for filters, kept in (
        (None, order),
        ({"n": {"$gte": 40}}, [n for n in order if n >= 40]),
        ({"rank": {"$exists": True}}, [n for n in order if "rank" in metadata[n]]),
    ):
        wanted = [NAMES[n] for n in kept]
        options = {"order_by": "rank", "ascending": ascending}
        assert listed(index, filters, **options) == wanted
        assert index.count(filters) == len(wanted)
        for size in (1, 7, 79, 200):
            pages = [
                listed(index, filters, top_k=size, offset=offset, **options)
                for offset in range(0, 80, size)
            ]
            assert [name for page in pages for name in page] == wanted
        assert listed(index, filters, offset=80, **options) == []


def test_a_page_without_an_order(ranked):
    """Without a field, pages are in the order of writing."""
    index, _ = ranked
    assert listed(index, top_k=10, offset=20) == NAMES[20:30]
    assert listed(index, {"n": {"$gte": 40}}, top_k=10, offset=35) == NAMES[75:80]


@pytest.mark.parametrize(
    "bad",
    [{"top_k": 0}, {"top_k": -1}, {"offset": -1}, {"offset": 1.5}, {"include": ["distance"]}],
)
def test_bad_pages(ranked, bad):
    """A page that makes no sense is refused."""
    with pytest.raises(InvalidInputError):
        ranked[0].query_metadata(**bad)
