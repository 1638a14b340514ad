"""From candidates to the nearest: which of them are opened where that is dear, and what is found."""

import numpy as np
import pytest
from support import KEY

from cyborg_embedded import Client, reranking
from cyborg_embedded.distance import exact, prepare
from cyborg_embedded.ranking import least_ranked
from cyborg_embedded.reranking import Found, rank, rank_few
from cyborg_embedded.search import WALKED_AT_ONCE

METRICS = ["euclidean", "squared_euclidean", "cosine"]
ROWS, WALKED, LEFT_OUT, K = 3000, 40, 24, 10
RANDOM = np.random.default_rng(11)
VECTORS = RANDOM.standard_normal((ROWS, WALKED + LEFT_OUT)).astype(np.float32)
VECTORS[:, WALKED:] *= 0.25
QUERIES = (VECTORS[:90] + 0.5 * VECTORS[90:180]).astype(np.float32)
FIRST = least_ranked(K, 0)


class CountingPool:
    """Hands out vectors, and keeps what it was asked for."""

    def __init__(self, vectors=VECTORS):
        self.vectors = vectors
        self.opened = []

    def rows(self, _, rows):
        assert (rows >= 0).all()
        self.opened.append(np.unique(rows))
        return self.vectors[rows]

    def wipe(self, _):
        pass

    @property
    def count(self):
        return sum(map(len, self.opened))


def found_for(queries, metric, count, walked=WALKED, vectors=VECTORS):
    """The nearest of all rows in the first components, as a walk gives them."""
    unit, asked = prepare(vectors, metric), prepare(queries, metric)
    differences = asked[:, None, :walked] - unit[None, :, :walked]
    away = (differences**2).sum(axis=2)
    rows = away.argsort(axis=1, kind="stable")[:, :count]
    return asked, Found(rows, np.take_along_axis(away, rows, 1).astype(np.float32))


def nearest(rows, distances):
    order = distances.argsort(axis=1, kind="stable")[:, :K]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_few_are_opened_and_hardly_any_lost(metric):
    """Clearly fewer candidates are opened than there are, and nearly all that ranking all of them
    finds is found, with the same distances.
    """
    asked, found = found_for(QUERIES, metric, 60)
    wanted, wanted_away = nearest(found.rows, rank(None, CountingPool(), asked, found.rows, metric))
    opened, lost = [], 0
    for line in range(len(asked)):
        pool = CountingPool()
        one = Found(found.rows[line : line + 1], found.away[line : line + 1])
        rows, away = nearest(*rank_few(None, pool, asked[line : line + 1], one, metric, K))
        opened.append(pool.count)
        lost += len(set(wanted[line].tolist()) - set(rows[0].tolist()))
        same = rows[0] == wanted[line]
        assert np.array_equal(away[0][same], wanted_away[line][same])
    assert FIRST < np.mean(opened) < 45
    assert lost / wanted.size < 0.005


@pytest.mark.parametrize("metric", METRICS)
def test_one_query_is_as_many(metric):
    """A query gets among others, bit for bit, what it gets alone."""
    asked, found = found_for(QUERIES, metric, 60)
    rows, away = rank_few(None, CountingPool(), asked, found, metric, K)
    for line in range(len(asked)):
        one = Found(found.rows[line : line + 1], found.away[line : line + 1])
        alone, alone_away = rank_few(None, CountingPool(), asked[line : line + 1], one, metric, K)
        there = away[line] < np.inf
        assert sorted(rows[line][there]) == sorted(alone[0][alone_away[0] < np.inf])
        assert np.array_equal(np.sort(away[line][there]), np.sort(alone_away[0]))


def test_what_the_graph_says_exactly_is_believed():
    """Where all vectors are farther than in the graph by the same, no more than the first and those
    as near as the k-th are opened, and nothing is lost.
    """
    vectors = VECTORS.copy()
    vectors[:, WALKED:] = 0
    queries = QUERIES.copy()
    queries[:, WALKED:] = 3
    asked, found = found_for(queries, "squared_euclidean", 60, vectors=vectors)
    pool = CountingPool(vectors)
    rows, away = rank_few(None, pool, asked, found, "squared_euclidean", K)
    assert len(pool.opened) == 1
    assert np.array_equal(nearest(rows, away)[0], found.rows[:, :K])


def test_rows_that_the_graph_does_not_have_are_opened():
    """Rows from elsewhere stand before the others; all of them are opened, and say nothing of how
    much farther vectors are than in the graph.
    """
    asked, found = found_for(QUERIES[:20], "euclidean", 60)
    alone, alone_away = rank_few(None, CountingPool(), asked, found, "euclidean", K)
    tail = np.concatenate((found.rows[:, 59:40:-1], np.full((20, 6), -1)), axis=1)
    with_tail = Found(np.concatenate((tail, found.rows[:, :40]), axis=1), found.away[:, :40])
    assert with_tail.unknown == tail.shape[1]
    for line in range(20):
        pool = CountingPool()
        one = Found(with_tail.rows[line : line + 1], with_tail.away[line : line + 1])
        rows, away = rank_few(None, pool, asked[line : line + 1], one, "euclidean", K)
        assert set(tail[line][tail[line] >= 0]) <= set(np.concatenate(pool.opened))
        assert np.isinf(away[rows < 0]).all()
        best = nearest(alone[line : line + 1], alone_away[line : line + 1])[1][0, -1]
        assert nearest(rows, away)[1][0, -1] <= best


def test_too_few_to_tell():
    """Where fewer than k are among the first, all others are opened."""
    asked, found = found_for(QUERIES[:5], "euclidean", 60)
    rows = found.rows.copy()
    rows[:, 4:FIRST] = -1
    few, away = rank_few(None, CountingPool(), asked, Found(rows, found.away), "euclidean", K)
    assert [set(line[line >= 0]) for line in few] == [set(line[line >= 0]) for line in rows]
    assert (np.isfinite(away) == (few >= 0)).all()
    rows[:, FIRST:] = -1
    few, away = rank_few(None, CountingPool(), asked, Found(rows, found.away), "euclidean", K)
    assert [set(line[line >= 0]) for line in few] == [set(line[:4]) for line in rows]
    none = np.full_like(rows, -1)
    none[:, [0, -2]] = found.rows[:, [0, -2]]
    few, away = rank_few(None, CountingPool(), asked, Found(none, found.away), "euclidean", K)
    assert [set(line[line >= 0]) for line in few] == [set(line) for line in none[:, [0, -2]]]


@pytest.mark.parametrize("few", [1, FIRST - 1, FIRST])
def test_no_more_than_the_first(few):
    asked, found = found_for(QUERIES[:5], "euclidean", few)
    rows, away = rank_few(None, CountingPool(), asked, found, "euclidean", min(K, few))
    assert np.array_equal(rows, found.rows)
    assert np.array_equal(away, exact(asked[:, None], VECTORS[rows], "euclidean"))


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_some_queries_need_no_more(monkeypatch, step):
    """Lines for which nothing more is opened stand beside others, in whatever portions they are
    ranked.
    """
    monkeypatch.setattr(reranking, "RANKED_FLOATS", step * 60 * VECTORS.shape[1])
    asked, found = found_for(QUERIES, "euclidean", 60)
    away = found.away.copy()
    away[::2, FIRST:] = 1e6
    rows, distances = rank_few(None, CountingPool(), asked, Found(found.rows, away), "euclidean", K)
    more = (rows[:, FIRST:] >= 0).any(axis=1)
    assert not more[::2].any()
    assert more[1::2].any()
    there = rows >= 0
    expected = exact(asked[:, None], VECTORS[np.where(there, rows, 0)], "euclidean")
    assert np.array_equal(distances[there], expected[there])
    assert np.isinf(distances[~there]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_a_sealed_handle_opens_few(tmp_path, monkeypatch, metric):
    """A handle that keeps nothing opens fewer vectors than one that ranks all candidates, as one
    that keeps everything does, and finds the same but for a few.
    """
    counted, real = [], reranking.rank

    def counting(view, pool, queries, rows, metric):
        counted.append(np.count_nonzero(rows >= 0))
        return real(view, pool, queries, rows, metric)

    spread = np.float32(0.95) ** np.arange(96, dtype=np.float32)
    vectors = np.random.default_rng(5).standard_normal((2500, 96)).astype(np.float32) * spread
    queries = vectors[: 2 * WALKED_AT_ONCE] + np.float32(0.1) * spread
    with Client(tmp_path) as client:
        with client.create_index("a", index_key=KEY, metric=metric) as index:
            index.upsert([str(row) for row in range(2000)], vectors[:2000])
            index.optimize()
            index.upsert([str(row) for row in range(2000, 2500)], vectors[2000:])
            index.delete([str(row) for row in range(0, 2500, 9)])
        monkeypatch.setattr(reranking, "rank", counting)
        with client.load_index("a", index_key=KEY, cache_bytes=0, indexing="manual") as index:
            few = index.query_arrays(queries, top_k=K)[0]
            sparing = sum(counted)
            counted.clear()
            monkeypatch.setattr(reranking, "SPREADS", 1e9)
            everything = index.query_arrays(queries, top_k=K)[0]
            assert sparing < 0.9 * sum(counted)
    shared = [len(set(a) & set(b)) for a, b in zip(few, everything, strict=True)]
    assert np.mean(shared) > 0.99 * K
