"""Distances against float64, their independence of each other, and that no neighbour is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborg_embedded.distance import (
    candidates,
    exact,
    prepare,
    squared_norms,
    unit_rows,
)
from cyborg_embedded.model import METRICS

DIMENSIONS = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 100, 384, 1000]


def reference(query, rows, metric):
    """The distances in float64 by their definitions, from the unprepared query."""
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    if metric == "inner_product":
        return -(rows @ query)
    if metric == "cosine":
        # Scaled first: the products of the smallest float32 are nothing even in float64's range.
        query = query / np.linalg.norm(query)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return 0.5 * ((rows - query) ** 2).sum(axis=1)
    squared = ((rows - query) ** 2).sum(axis=1)
    return np.sqrt(squared) if metric == "euclidean" else squared


def measured(query, rows, metric):
    return exact(prepare(query[None], metric)[0], rows, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_against_float64(metric, dimension, scale):
    """Distances are within 1e-5, relative, of those in float64, at any scale.

    Two exceptions are of float32's nature: an inner product's terms may cancel, and the direction
    of a vector has rounding errors of its own, which count where two directions nearly agree.
    """
    random = np.random.default_rng(dimension)
    rows = (scale * random.standard_normal((200, dimension))).astype(np.float32)
    query = (scale * random.standard_normal(dimension)).astype(np.float32)
    found = measured(query, rows, metric)
    assert found.dtype == np.float32
    truth = reference(query, rows, metric)
    if metric == "inner_product":
        tolerance = 1e-5 * np.linalg.norm(rows.astype(float), axis=1) * np.linalg.norm(query)
    elif metric == "cosine":
        tolerance = 1e-5 * truth + 4e-7 * np.sqrt(truth) + 1e-13
    else:
        tolerance = 1e-5 * truth
    assert (np.abs(found - truth) <= tolerance).all()


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_vector_is_at_distance_zero_from_itself(metric, dimension):
    """The distance of a vector to itself is exactly zero."""
    rows = np.random.default_rng(1).standard_normal((20, dimension)).astype(np.float32)
    for number, query in enumerate(rows):
        assert measured(query, rows, metric)[number] == 0


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
def test_close_vectors(metric):
    """Vectors that differ in the last bits keep their distance, which the expanded form loses."""
    random = np.random.default_rng(2)
    query = (100 + random.standard_normal(64)).astype(np.float32)
    rows = np.repeat(query[None], 10, axis=0)
    rows[np.arange(10), np.arange(10)] += np.float32(0.0001) * np.arange(1, 11, dtype=np.float32)
    truth = reference(query, rows, metric)
    assert (truth > 0).all()
    assert (np.abs(measured(query, rows, metric) - truth) <= 1e-5 * truth).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_distance_depends_on_its_row_alone(metric, dimension):
    """A row's distance has the same bits alone, in a block, and at any place in it."""
    random = np.random.default_rng(dimension)
    rows = random.standard_normal((257, dimension)).astype(np.float32)
    rows[::7] *= np.float32(1e-20)
    queries = random.standard_normal((5, dimension)).astype(np.float32)
    together = prepare(queries, metric)
    for number, query in enumerate(queries):
        alone = prepare(query[None], metric)[0]
        assert alone.tobytes() == together[number].tobytes()
        whole = exact(alone, rows, metric)
        for part in (slice(0, 1), slice(3, 4), slice(5, 8), slice(1, 257), slice(100, 200, 3)):
            assert exact(alone, rows[part], metric).tobytes() == whole[part].tobytes()
        single = np.concatenate([exact(alone, row[None], metric) for row in rows[:40]])
        assert single.tobytes() == whole[:40].tobytes()
        shuffled = random.permutation(257)
        assert exact(alone, rows[shuffled], metric).tobytes() == whole[shuffled].tobytes()


def test_squared_norms():
    """Squared norms are the sums of squares."""
    rows = np.random.default_rng(3).standard_normal((50, 33)).astype(np.float32)
    truth = (rows.astype(float) ** 2).sum(axis=1)
    assert np.allclose(squared_norms(rows), truth, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e-20, 1e-13, 1e-10, 1.0, 1e10, 1e18])
def test_unit_rows(scale):
    """Rows of any length, down to subnormal ones, get length one and keep their direction."""
    random = np.random.default_rng(4)
    rows = (scale * random.standard_normal((50, 5))).astype(np.float32)
    rows = rows[(rows != 0).any(axis=1)]
    unit = unit_rows(rows).astype(np.float64)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    truth = rows.astype(np.float64)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    assert np.allclose(unit, truth, atol=1e-6)


SCALES = [1e-40, 1e-30, 1e-22, 1e-19, 1e-15, 1e-10, 1e-3, 1.0, 1e3, 1e10, 1e17]


@st.composite
def searches(draw):
    """A metric, queries, rows with duplicates and rows of very different lengths, and the dead."""
    metric = draw(st.sampled_from(METRICS))
    dimension = draw(st.sampled_from([1, 2, 3, 8, 17, 64]))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    count = draw(st.integers(1, 120))
    rows = random.standard_normal((count, dimension))
    if draw(st.booleans()):
        rows = rows[:1] + draw(st.sampled_from([1e-7, 1e-5, 1e-2])) * rows
    if draw(st.booleans()):
        rows = rows[random.integers(0, max(count // 4, 1), count)]
    if draw(st.booleans()):
        rows = np.round(rows)
    scales = draw(st.lists(st.sampled_from(SCALES), min_size=1, max_size=3))
    rows = rows * random.choice(scales, (count, 1))
    queries = random.standard_normal((draw(st.integers(1, 4)), dimension))
    queries *= draw(st.sampled_from(scales))
    if draw(st.booleans()):
        queries[0] = rows[0]
    rows, queries = rows.astype(np.float32), queries.astype(np.float32)
    if metric == "cosine":
        rows[(rows == 0).all(axis=1)] = 1
        queries[(queries == 0).all(axis=1)] = 1
    alive = random.random(count) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    return metric, queries, rows, alive, draw(st.integers(1, 130))


@given(searches())
@settings(max_examples=200)
def test_no_neighbour_is_lost(search):
    """Candidates include every live row that is among the k nearest, ties and all, and no other."""
    metric, queries, rows, alive, k = search
    found = candidates(prepare(queries, metric), rows, squared_norms(rows), alive, k, metric)
    assert len(found) == len(queries)
    living = np.flatnonzero(alive)
    for query, positions in zip(queries, found, strict=True):
        assert (np.diff(positions) > 0).all()
        assert alive[positions].all()
        assert len(positions) >= min(k, len(living))
        if len(living):
            truth = reference(query, rows[living], metric)
            kth = np.sort(truth)[min(k, len(living)) - 1]
            assert set(living[truth <= kth]) <= set(positions)


@given(searches())
@settings(max_examples=100)
def test_ranking_candidates_is_ranking_all(search):
    """Ranking the candidates by exact distance gives the k distances that ranking all gives."""
    metric, queries, rows, alive, k = search
    prepared = prepare(queries, metric)
    found = candidates(prepared, rows, squared_norms(rows), alive, k, metric)
    for query, positions in zip(prepared, found, strict=True):
        all_distances = np.sort(exact(query, rows[alive], metric))[:k]
        distances = np.sort(exact(query, rows[positions], metric))[:k]
        assert distances.tobytes() == all_distances.tobytes()


@pytest.mark.parametrize("metric", METRICS)
def test_candidates_are_few(metric):
    """On ordinary vectors hardly more candidates than k are left to be measured."""
    random = np.random.default_rng(5)
    rows = random.standard_normal((5000, 64)).astype(np.float32)
    queries = random.standard_normal((10, 64)).astype(np.float32)
    found = candidates(
        prepare(queries, metric), rows, squared_norms(rows), np.ones(5000, bool), 10, metric
    )
    assert max(map(len, found)) <= 15
