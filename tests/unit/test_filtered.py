"""The nearest of some rows: as many as there are, by every way, for one query and for many."""

import numpy as np
import pytest
from support import KEY

from cyborg_embedded import Client, filtered, planner
from cyborg_embedded.filtered import nearest_among
from cyborg_embedded.selection import Selection

ROWS, D = 1600, 64
RANDOM = np.random.default_rng(5)
SCALES = 0.8 ** np.arange(D)
VECTORS = (RANDOM.normal(size=(ROWS + 100, D)) * SCALES).astype(np.float32)
QUERIES = (RANDOM.normal(size=(12, D)) * SCALES).astype(np.float32)
CHEAP = {
    "rows": {"CODE": 1e6, "STEP": 1e9},
    "codes": {"ROW_FLOAT": 1e3, "STEP": 1e9, "CODES_LOADED": 0.0},
    "graph": {"ROW_FLOAT": 1e3, "CODE": 1e6, "GRAPH_LOADED": 0.0, "FEWEST_SHARE": 0.0},
}


@pytest.fixture(scope="module", params=["covered", "with a tail"])
def session(request, tmp_path_factory):
    """A session with a graph, over all rows or over the most."""
    covered = ROWS if request.param == "covered" else ROWS - 200
    names = [f"{number:04}" for number in range(ROWS)]
    with (
        Client(tmp_path_factory.mktemp("filtered")) as client,
        client.create_index(
            "x", index_key=KEY, dimension=D, navigator_dimensions=32, indexing="manual"
        ) as index,
    ):
        index.upsert(names[:covered], VECTORS[:covered])
        index.optimize()
        if covered < ROWS:
            index.upsert(names[covered:], VECTORS[covered:ROWS])
        yield index._session


@pytest.fixture(params=CHEAP)
def way(request, monkeypatch):
    """A way, made so cheap that it is taken."""
    for name, value in CHEAP[request.param].items():
        monkeypatch.setattr(planner, name, value)
    monkeypatch.setattr(planner, "WIDEST", 1 << 30)
    return request.param


def among(session, mask, queries=QUERIES, k=10, ef=None, recall=None):
    """The nearest of the rows of a mask."""
    selection = Selection(mask, int(mask.sum()), 0)
    with session.read() as (state, view):
        return nearest_among(session, state, view, queries, k, selection, ef, recall)


def some(count, seed=3):
    """A mask of so many rows."""
    mask = np.zeros(ROWS, bool)
    mask[np.random.default_rng(seed).choice(ROWS, count, replace=False)] = True
    return mask


def true_nearest(query, mask, k):
    """The k nearest rows, in float64."""
    rows = np.flatnonzero(mask)
    squares = ((VECTORS[rows].astype(float) - query.astype(float)) ** 2).sum(axis=1)
    return rows[squares.argsort()[:k]].tolist()


@pytest.mark.parametrize("count", [1, 9, 60, 800, ROWS])
@pytest.mark.parametrize("m", [1, 12])
def test_as_many_as_there_are(session, way, count, m):
    """min(k, matching) distinct rows, all meant, nearest first, with their distances, and nearly all
    of the true ones.
    """
    mask, hits = some(count), 0
    found = among(session, mask, QUERIES[:m])
    k = min(10, count)
    assert found.rows.shape == found.distances.shape == (m, k)
    for query, rows, distances in zip(QUERIES, found.rows, found.distances, strict=False):
        assert len(set(rows.tolist())) == k
        assert mask[rows].all()
        true = np.linalg.norm(VECTORS[rows].astype(float) - query.astype(float), axis=1)
        assert distances == pytest.approx(true, rel=1e-5)
        assert (distances[1:] >= distances[:-1]).all()
        hits += len(set(rows.tolist()) & set(true_nearest(query, mask, k)))
    assert hits >= (1.0 if found.choice.strategy == "rows" else 0.97) * k * m
    if count >= 800:
        assert found.choice.strategy == way


def test_nothing_meant(session, way):
    """Where no row is meant, or nobody asks, nothing is found, in the shape of an answer."""
    found = among(session, np.zeros(ROWS, bool))
    assert found.rows.shape == found.distances.shape == (12, 0)
    assert found.choice.strategy == "none"
    found = among(session, some(50), QUERIES[:0])
    assert found.rows.shape == found.distances.shape == (0, 10)


def test_more_asked_than_there_are(session, way):
    """All rows that are meant are found where more are asked for."""
    mask = some(70)
    found = among(session, mask, k=1000)
    assert [sorted(line) for line in found.rows.tolist()] == [np.flatnonzero(mask).tolist()] * 12


@pytest.mark.parametrize("ef", [1, 10, 100])
def test_a_walk_that_meets_too_few(session, ef):
    """Queries of which the walk meets too few of the rows are counted and answered otherwise, and the
    others are not: every answer is whole.
    """
    mask = some(40)
    found = among(session, mask, ef=ef)
    assert found.choice.strategy == "graph"
    assert found.short > 0
    assert found.rows.shape == (12, 10)
    hits = sum(
        len(set(rows) & set(true_nearest(query, mask, 10)))
        for query, rows in zip(QUERIES, found.rows.tolist(), strict=True)
    )
    assert hits >= 117
    assert among(session, np.ones(ROWS, bool), ef=300).short == 0


@pytest.mark.parametrize("count", [30, 900])
@pytest.mark.parametrize("at_once", [1, 40, 1 << 12])
def test_measured_in_parts(session, monkeypatch, count, at_once):
    """However few rows are fetched at once, measuring all gives the exact answer."""
    monkeypatch.setattr(filtered, "FETCHED_FLOATS", at_once)
    monkeypatch.setattr(filtered, "MEASURED_AT_ONCE", 20)
    mask = some(count)
    for dense_share in (0, 4, 1000):
        monkeypatch.setattr(filtered, "DENSE_SHARE", dense_share)
        for queries in (QUERIES[:1], QUERIES[:5]):
            found = among(session, mask, queries, recall=1)
            assert found.choice.strategy == "rows"
            for query, rows in zip(queries, found.rows.tolist(), strict=True):
                assert rows == true_nearest(query, mask, 10)


def test_ties_by_id(client):
    """Of equally near rows the first ids are found, in their order, whatever the order of rows."""
    names = [f"{(number * 37) % 200:03}" for number in range(200)]
    with client.create_index("ties", index_key=KEY, dimension=4) as index:
        index.upsert(names, [[1.0, 2.0, 3.0, 4.0]] * 200, [{"n": n % 2} for n in range(200)])
        even = sorted(names[::2])
        for query in ([0.0] * 4, [[0.0] * 4] * 3):
            ids, _ = index.query_arrays(query, filters={"n": 0})
            assert ids == (even[:10] if isinstance(query[0], float) else [even[:10]] * 3)


def test_what_is_spared_is_remembered(session, monkeypatch):
    """Each query adds to what codes would have spared, until they are loaded."""
    session.codes.clear()
    session.spared.clear()
    monkeypatch.setattr(planner, "ROW_FLOAT", 0.01)
    monkeypatch.setattr(planner, "STEP", 1e9)
    strategies = []
    for _ in range(60):
        strategies.append(among(session, some(800), QUERIES[:1]).choice.strategy)
        if strategies[-1] == "codes":
            break
        assert session.spared["codes"] > 0
        assert not session.codes.known
    assert strategies[0] == "rows"
    assert strategies[-1] == "codes"
    assert session.codes.known


@pytest.mark.parametrize(
    ("dimensions", "wanted"), [(None, (16, 32)), (24, (24, 24)), (D, (0, D))], ids=str
)
def test_components_that_the_planner_knows(client, dimensions, wanted):
    """The planner is told how many components are in the short codes and in the graph, whether that
    is in memory or not; and that there are none where there is no graph.
    """
    with client.create_index(
        "x", index_key=KEY, dimension=D, navigator_dimensions=dimensions, indexing="manual"
    ) as index:
        index.upsert([f"{number:04}" for number in range(ROWS)], VECTORS[:ROWS])
        assert components_of(index) == (0, 0, False)
        index.optimize()
        assert components_of(index) == (*wanted, True)
    with client.load_index("x", index_key=KEY) as index:
        assert components_of(index) == (*wanted, False)
        index.query(QUERIES[0])
        assert components_of(index) == (*wanted, True)


def components_of(index):
    """How many the planner is told of, and whether the graph is in memory."""
    mask = np.ones(ROWS, bool)
    with index._session.read() as (state, _):
        case = filtered.case_of(index._session, state, 1, 10, Selection(mask, ROWS, 0), None, None)
    return case.coded, case.walked, case.graph_ready


def test_one_query_is_as_many(session, monkeypatch):
    """A walk finds the same for a query alone and among others."""
    for name, value in CHEAP["graph"].items():
        monkeypatch.setattr(planner, name, value)
    mask = some(1200)
    whole = among(session, mask)
    assert whole.choice.strategy == "graph"
    for place in range(len(QUERIES)):
        alone = among(session, mask, QUERIES[place : place + 1])
        assert alone.rows[0].tolist() == whole.rows[place].tolist()
        assert alone.distances[0].tolist() == whole.distances[place].tolist()
