"""Queries with a filter: never fewer results than there are, nearly all of the nearest, whatever
the way, one by one and many at once; and what `explain` says of them.
"""

import numpy as np
import pytest
from clustered import (
    CLUSTER,
    DIMENSION,
    METADATA,
    NAMES,
    QUERIES,
    RANKS,
    ROW_OF,
    ROWS,
    VECTORS,
    clustered,
    lowest,
    make_cheap,
    names_of,
    nearest_names,
    recall,
)
from support import KEY

from cyborg_embedded import Client, InvalidInputError

SIZES = (0, 1, 9, 10, 11, 100, 700, 1500, 2999, 3000)
WAYS = ("rows", "codes", "graph")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """An index without a graph."""
    with (
        Client(tmp_path_factory.mktemp("scanned")) as client,
        clustered(client, optimized=False) as index,
    ):
        yield index


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """An index with a graph that has all its items."""
    with (
        Client(tmp_path_factory.mktemp("walked")) as client,
        clustered(client, optimized=True) as index,
    ):
        yield index


@pytest.fixture(params=["scanned", *WAYS])
def forced(request, monkeypatch):
    """An index, and the way that its queries take where they can: one of each."""
    if request.param == "scanned":
        return request.getfixturevalue("scanned"), "rows"
    make_cheap(monkeypatch, request.param)
    return request.getfixturevalue("walked"), request.param


@pytest.mark.parametrize("size", SIZES)
def test_never_fewer_than_there_are(forced, size):
    """Whatever the way, a query returns min(top_k, matching items), all of them matching, no two
    the same, nearest first, with the distances that they have.
    """
    index, _ = forced
    meant = {name for name, rank in zip(NAMES, RANKS, strict=True) if rank < size}
    for top_k in (1, 10, 200, ROWS + 1):
        answers = index.query(QUERIES[:2], top_k=top_k, filters=lowest(size))
        for query, results in zip(QUERIES, answers, strict=False):
            names = names_of(results)
            assert len(names) == min(top_k, size)
            assert len(set(names)) == len(names)
            assert set(names) <= meant
            rows = [ROW_OF[name] for name in names]
            true = np.linalg.norm(VECTORS[rows].astype(float) - query.astype(float), axis=1)
            found = [result["distance"] for result in results]
            assert np.allclose(found, true, rtol=1e-5)
            assert found == sorted(found)
        assert len(answers) == 2


@pytest.mark.parametrize("size", [10, 100, 700, 1500, 2999])
def test_nearly_all_of_the_nearest(forced, size):
    """The nearest of the items that are meant are found, whatever the way and how few they are."""
    index, way = forced
    answers = index.query_arrays(QUERIES, filters=lowest(size))[0]
    assert recall(answers, size > RANKS) >= (1.0 if way == "rows" else 0.98)


@pytest.mark.parametrize("size", [100, 700, 1500, 2999])
def test_nearly_all_of_the_nearest_by_default(walked, size):
    """So it is where the planner is free to choose, and with filters that mean a cluster that the
    query is far from, or the one that it is in.
    """
    answers = [walked.query_arrays(query, filters=lowest(size))[0] for query in QUERIES]
    assert recall(answers, size > RANKS) >= 0.98
    for cluster in (int(CLUSTER[ROWS]), int(CLUSTER[0])):
        answers = walked.query_arrays(QUERIES, filters={"cluster": cluster})[0]
        assert recall(answers, CLUSTER[:ROWS] == cluster) >= 0.98


def test_items_far_from_the_query(forced):
    """Where a walk around the query meets none of the items that are meant, they are found."""
    index, _ = forced
    query = QUERIES[0]
    order = np.linalg.norm(VECTORS - query, axis=1).argsort()
    farthest = [int(RANKS[row]) for row in order[-40:]]
    results = index.query(query, filters={"rank": {"$in": farthest}})
    assert len(results) == 10
    true = nearest_names(query, np.isin(RANKS, farthest), 10)
    assert len(set(names_of(results)) & set(true)) >= 9


def test_recall_of_one_is_exact(forced):
    """With recall=1 a filtered query is exact, whatever is cheap."""
    index, _ = forced
    answers = index.query_arrays(QUERIES, filters=lowest(2000), recall=1)[0]
    for query, names in zip(QUERIES, answers, strict=True):
        assert names == nearest_names(query, RANKS < 2000, 10)


@pytest.mark.parametrize("size", [5, 100, 1500, 2999])
def test_many_at_once(forced, size):
    """Many queries at once have the answers that they have one by one, ids and distances."""
    index, _ = forced
    together = index.query(QUERIES, filters=lowest(size))
    assert together == [index.query(query, filters=lowest(size)) for query in QUERIES]


def test_arrays(forced):
    """`query_arrays` gives the ids and distances of `query`, in its two forms."""
    index, _ = forced
    for size in (0, 5, 1500):
        results = index.query(QUERIES, filters=lowest(size), include=["distance"])
        ids, distances = index.query_arrays(QUERIES, filters=lowest(size))
        assert ids == [names_of(line) for line in results]
        assert distances.shape == (len(QUERIES), min(10, size))
        assert distances.dtype == np.float32
        assert distances.tolist() == [[each["distance"] for each in line] for line in results]
        ids, distances = index.query_arrays(QUERIES[3], filters=lowest(size))
        assert ids == names_of(results[3])
        assert distances.tolist() == [each["distance"] for each in results[3]]


def test_what_is_included(walked):
    """A filtered result has what `include` names, as `get` has it."""
    wanted = ["vector", "metadata", "contents"]
    for result in walked.query(QUERIES[0], filters=lowest(50), include=wanted):
        row = ROW_OF[result["id"]]
        assert np.array_equal(result["vector"], VECTORS[row])
        assert result["metadata"] == METADATA[row]
        assert result["contents"] is None
        assert "distance" not in result


@pytest.mark.parametrize("metric", ["cosine", "squared_euclidean", "inner_product"])
@pytest.mark.parametrize("way", WAYS)
def test_other_metrics(client, monkeypatch, metric, way):
    """Every metric has its filtered answers by every way."""
    make_cheap(monkeypatch, way)
    x, queries = VECTORS[:600].astype(float), QUERIES[:10].astype(float)
    if metric == "cosine":
        norms = np.linalg.norm(x, axis=1) * np.linalg.norm(queries, axis=1)[:, None]
        true = 1 - queries @ x.T / norms
    elif metric == "inner_product":
        true = -queries @ x.T
    else:
        true = ((queries[:, None] - x) ** 2).sum(axis=2)
    options = {} if metric == "inner_product" else {"navigator_dimensions": 16}
    with client.create_index(
        "metric", index_key=KEY, metric=metric, indexing="manual", **options
    ) as index:
        index.upsert(NAMES[:600], VECTORS[:600], METADATA[:600])
        index.optimize()
        meant = np.flatnonzero(RANKS[:600] < 1500)
        hits = 0
        for line, results in zip(true, index.query(queries, filters=lowest(1500)), strict=True):
            near = [NAMES[row] for row in meant[line[meant].argsort()[:10]]]
            hits += len(set(near) & set(names_of(results)))
            for result in results:
                wanted = line[ROW_OF[result["id"]]]
                assert result["distance"] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
        assert hits >= 98


# --- explain --------------------------------------------------------------------------------

PLAN = {
    *("strategy", "reason", "live", "matching", "looked_at", "ef", "measured", "short", "costs"),
}


@pytest.mark.parametrize("size", [0, 5, 1500, 3000])
def test_explain(forced, size):
    """With explain=True the answer is a pair of the results, the same as without, and a plan that
    says which way was taken, of how many items, and what it was expected to cost.
    """
    index, way = forced
    for queries in (QUERIES[0], QUERIES[:3]):
        results, plan = index.query(queries, filters=lowest(size), explain=True)
        assert results == index.query(queries, filters=lowest(size))
        assert plan.keys() == PLAN
        assert (plan["live"], plan["matching"], plan["looked_at"]) == (ROWS, size, 0)
        assert plan["strategy"] in ({"none"} if not size else {way, "rows"})
        if size >= 1500:
            assert plan["strategy"] == way
            assert plan["costs"][way] == min(plan["costs"].values())
        assert (plan["ef"] is not None) == (plan["strategy"] == "graph")
        assert (plan["measured"] is not None) == (plan["strategy"] == "codes")
        if plan["strategy"] == "codes":
            assert 10 <= plan["measured"] < size
        assert isinstance(plan["reason"], str)


def test_explain_without_a_filter(scanned, walked):
    """Without a filter, or with one that all satisfy, the plan is a scan or a walk."""
    for filters in (None, {}):
        results, plan = scanned.query(QUERIES[0], filters=filters, explain=True)
        assert plan["strategy"] == "scan"
        assert plan["matching"] == plan["live"] == ROWS
        assert plan["ef"] is None
        assert names_of(results) == nearest_names(QUERIES[0], RANKS >= 0, 10)
        _, plan = walked.query(QUERIES[0], filters=filters, explain=True, ef=77)
        assert (plan["strategy"], plan["ef"]) == ("graph", 77)
        _, plan = walked.query(QUERIES[0], filters=filters, explain=True, recall=1)
        assert (plan["strategy"], plan["ef"]) == ("scan", None)


def test_explain_what_was_looked_at(client):
    """The plan counts the items of which the metadata had to be read beside the columns: those
    that the rest of the filter leaves.
    """
    with client.create_index("seen", index_key=KEY, dimension=DIMENSION) as index:
        metadata = [{"n": n, "where": {"x": n % 2}} for n in range(100)]
        index.upsert(NAMES[:100], VECTORS[:100], metadata)
        for filters, looked_at, matching in (
            ({"n": {"$lt": 30}}, 0, 30),
            ({"where.x": 1}, 0, 50),
            ({"where": {"x": 1}}, 100, 50),
            ({"n": {"$lt": 30}, "where": {"x": 1}}, 30, 15),
        ):
            _, plan = index.query(VECTORS[0], filters=filters, explain=True)
            assert (plan["looked_at"], plan["matching"]) == (looked_at, matching)


def test_a_narrow_walk_falls_short(walked):
    """A width that was asked for may meet too few items: the plan counts the queries, and they have
    all their results.
    """
    results, plan = walked.query(QUERIES, filters=lowest(30), ef=10, explain=True)
    assert (plan["strategy"], plan["ef"]) == ("graph", 10)
    assert plan["short"] > len(QUERIES) // 2
    assert recall([names_of(line) for line in results], RANKS < 30) >= 0.98
    _, plan = walked.query(QUERIES, filters=lowest(2999), ef=400, explain=True)
    assert plan["short"] == 0


@pytest.mark.parametrize("bad", [{"top_k": 0}, {"ef": 0}, {"recall": 2}, {"include": ["rank"]}])
def test_bad_arguments_beside_a_filter(scanned, bad):
    """What is refused without a filter is refused with one, also where no item is meant."""
    for size in (0, 10):
        with pytest.raises(InvalidInputError):
            scanned.query(QUERIES[0], filters=lowest(size), **bad)
        with pytest.raises(InvalidInputError):
            scanned.query(QUERIES[0][:-1], filters=lowest(size))
