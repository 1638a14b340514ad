"""Queries that turn out to be far from all rows are walked again, wider; how far that is."""

import functools
import threading

import numpy as np
import pytest
from support import KEY

from cyborg_embedded import Client, building
from cyborg_embedded.components import choose_projection
from cyborg_embedded.effort import FAR_K, FAR_SHARE, WIDER, FarQueries, far_away
from cyborg_embedded.navigator import (
    BEAM,
    ONCE_AT_REST,
    ONLY_BEAM,
    WIDER_LEAN,
    Navigator,
)
from cyborg_embedded.residency import BoundedPool

D, ROWS, MORE, K = 64, 3000, 200, 10
SPREAD = 0.94 ** np.arange(D)
RANDOM = np.random.default_rng(8)
VECTORS = (RANDOM.standard_normal((ROWS + MORE, D)) * SPREAD).astype(np.float32)
QUERIES = (RANDOM.standard_normal((60, D)) * SPREAD * RANDOM.uniform(0.3, 2, (60, 1))).astype("f4")
PROJECTION = choose_projection(VECTORS[:ROWS])
LINES = range(len(QUERIES))


def built(projection, *, lean=False):
    navigator = Navigator.empty(ROWS + MORE, projection, D, "euclidean", lean=lean)
    navigator.add(np.arange(ROWS), ROWS, VECTORS[:ROWS], 1, ROWS)
    return navigator


@functools.cache
def shared(way):
    """The graph of one, which stays as it is."""
    return built(None if way == "vectors" else PROJECTION, lean=way == "lean").graph


@pytest.fixture(params=["vectors", "codes", "lean"])
def navigator(request):
    """One for which a third of the queries are far; that of a test in which it grows is its own."""
    projected, lean = request.param != "vectors", request.param == "lean"
    projection = PROJECTION if projected else None
    if "growing" in request.node.name:
        navigator = built(projection, lean=lean)
    else:
        navigator = Navigator(shared(request.param), projection)
    middle = float(np.quantile(tenth(navigator), 2 / 3))
    if projected:
        # The other one is not to be looked at.
        navigator.far = (1e9, middle) if lean else (middle, 1e9)
    else:
        navigator.far = (middle,)
    return navigator


def tenth(navigator):
    """The squared distance of the tenth nearest point that a walk finds for each query."""
    points = navigator.points(QUERIES)
    return navigator.graph.search(points, 2 * BEAM)[1][:, FAR_K - 1]


def spied(navigator, monkeypatch):
    """The widths of walks from now on, each with the number of queries."""
    real, seen = navigator.graph.search, []

    def search(points, width, wanted=None):
        seen.append((width, len(points)))
        return real(points, width, wanted)

    monkeypatch.setattr(navigator.graph, "search", search)
    return seen


def ordered(navigator, queries=QUERIES, beam=None, alive=None):
    alive = np.ones(navigator.graph.covered, bool) if alive is None else alive
    deaths = int((~alive).sum())
    rows, covered = navigator.candidates(navigator.points(queries), K, alive, deaths, beam)
    assert covered == len(alive)
    return [line[line >= 0].tolist() for line in rows]


def widened(navigator, width):
    return width + width // WIDER_LEAN if navigator.graph.dimension == PROJECTION.least else width


@pytest.mark.parametrize("beam", [None, 100])
@pytest.mark.parametrize("dying", [False, True])
def test_far_queries_are_walked_again(navigator, beam, dying):
    """The candidates of those that are not far are the first that a walk of the width finds, those
    of the others the first of one that is twice as wide, and as many as that one's: alone and
    together, also where rows have died.
    """
    alive = np.ones(ROWS, bool)
    alive[:: 9 if dying else ROWS] = False
    width = BEAM if beam is None else beam
    far = tenth(navigator) > min(navigator.far)
    assert 15 < far.sum() < 25
    got = ordered(navigator, beam=beam, alive=alive)
    points = navigator.points(QUERIES)
    near_by, wide = (
        navigator.graph.search(points, widened(navigator, each))[0]
        for each in (width, WIDER * width)
    )
    for line in LINES:
        walk = wide[line] if far[line] else near_by[line]
        assert got[line] == walk[alive[walk]][: len(got[line])].tolist()
        assert ordered(navigator, QUERIES[line : line + 1], beam, alive) == [got[line]]
    near, more = ({len(got[line]) for line in LINES if far[line] == each} for each in (False, True))
    assert len(near) == len(more) == 1
    assert K < near.pop() <= more.pop()


def test_how_many_walks(navigator, monkeypatch):
    """One for all that come together, one more for those of them that are far; one or two alone."""
    far = tenth(navigator) > min(navigator.far)
    widths = [widened(navigator, width) for width in (BEAM, WIDER * BEAM)]
    seen = spied(navigator, monkeypatch)
    ordered(navigator)
    assert seen == list(zip(widths, (len(QUERIES), far.sum()), strict=True))
    for line in LINES:
        seen.clear()
        ordered(navigator, QUERIES[line : line + 1])
        assert seen == [(width, 1) for width in widths[: 1 + far[line]]]


@pytest.mark.parametrize("far", [(), (np.inf, np.inf)])
def test_nothing_is_far(far, monkeypatch):
    """Where nobody knows what is far, all are walked once, wider; where nothing is, once."""
    navigator = built(PROJECTION)
    navigator.far = far
    seen = spied(navigator, monkeypatch)
    ordered(navigator)
    assert seen == [(BEAM if far else ONLY_BEAM, len(QUERIES))]


def test_most_are_far(navigator, monkeypatch):
    """Where most of the last queries were far, all are walked at once as wide as those, until they
    are no longer.
    """
    far = tenth(navigator) > min(navigator.far)
    widths = [widened(navigator, width) for width in (BEAM, WIDER * BEAM)]
    seen = spied(navigator, monkeypatch)
    told = []
    for mask in (far, ~far):
        for _ in range(8):
            ordered(navigator, QUERIES[mask][:15])
            told.append([width for width, _ in seen])
            seen.clear()
    switched = [widths[0], widths[1]]
    assert told[:4] == [switched] * 4
    assert told[5:8] == [[widths[1]]] * 3
    assert told[8] == [widths[1]]
    assert told[-4:] == [[widths[0]]] * 4
    wide = navigator.graph.search(navigator.points(QUERIES), widths[1])[0]
    for _ in range(70):
        ordered(navigator, QUERIES[far][:1])
    seen.clear()
    for line in LINES[:10]:
        (got,) = ordered(navigator, QUERIES[line : line + 1])
        assert got == wide[line][: len(got)].tolist()
    assert {width for width, _ in seen} == {widths[1]}


def test_how_many_of_the_last_are_far():
    """One by one or together, it is a matter of some dozens of queries."""
    for each in (1, 16, 200):
        asked = FarQueries()
        distances = np.full(each, 2, np.float32)
        queries = 0
        while not asked.most_are_far:
            assert asked.far(distances, 1.0).all()
            queries += each
        assert 50 <= queries <= 200
        while asked.most_are_far:
            assert asked.far(distances, 3.0) is None
        assert asked.far(np.array([1, 2, 3], np.float32), 1.5).tolist() == [False, True, True]


def test_finds_more(navigator):
    """What is far has more of its nearest rows among the candidates than without."""
    away = ((QUERIES[:, None].astype(float) - VECTORS[None, :ROWS]) ** 2).sum(axis=2)
    true = away.argsort(axis=1)[:, :K]
    far = tenth(navigator) > min(navigator.far)

    def recall():
        got = ordered(navigator, beam=12)
        return np.mean([np.isin(true[line], got[line]).mean() for line in np.flatnonzero(far)])

    twice = recall()
    navigator.far = tuple(np.inf for _ in navigator.far)
    once = recall()
    assert twice > once or once > 0.98


def test_once_at_rest(monkeypatch):
    """A graph at rest is walked once, wider."""
    navigator = built(PROJECTION)
    navigator.far = (0.0, 0.0)
    monkeypatch.setattr(type(navigator.graph), "at_rest", property(lambda _: True))
    seen = spied(navigator, monkeypatch)
    ordered(navigator)
    assert seen == [(BEAM + BEAM // ONCE_AT_REST, len(QUERIES))]


def test_growing_between_two_walks(navigator, monkeypatch):
    """All queries of a call get candidates of one reach."""
    real = navigator.graph.search
    alive = np.ones(ROWS + MORE, bool)

    def search(points, width, wanted=None):
        answer = real(points, width, wanted)
        if navigator.graph.covered == ROWS:
            rows = np.arange(ROWS, ROWS + MORE)
            navigator.add(rows, ROWS + MORE, VECTORS[rows], 1, MORE)
        return answer

    monkeypatch.setattr(navigator.graph, "search", search)
    deaths = 0
    rows, covered = navigator.candidates(navigator.points(QUERIES), K, alive, deaths)
    assert covered == ROWS + MORE
    later = navigator.candidates(navigator.points(QUERIES), K, alive, deaths)[0]
    far = tenth(navigator) > min(navigator.far)
    assert rows[far].tolist() == later[far].tolist()
    # Those that are not far were walked again too, wider: what came between is not missing.
    assert (rows >= ROWS).sum() >= (later >= ROWS).sum() > 0


def test_growing_between_two_walks_of_one(navigator, monkeypatch):
    """A query alone has but one reach: that of its second walk."""
    (place,) = np.flatnonzero(tenth(navigator) > min(navigator.far))[:1]
    real, walks = navigator.graph.search, []

    def search(points, width, wanted=None):
        answer = real(points, width, wanted)
        if not walks:
            rows = np.arange(ROWS, ROWS + MORE)
            navigator.add(rows, ROWS + MORE, VECTORS[rows], 1, MORE)
        walks.append(width)
        return answer

    monkeypatch.setattr(navigator.graph, "search", search)
    point = navigator.points(QUERIES[place : place + 1])
    _, covered = navigator.candidates(point, K, np.ones(ROWS + MORE, bool), 0)
    assert covered == ROWS + MORE
    assert len(walks) == 2


def test_a_walk_that_got_wider(navigator, monkeypatch):
    """One that had to be wider, as many rows near the query have died, is not followed by another
    that is narrower.
    """
    (place,) = np.flatnonzero(tenth(navigator) > min(navigator.far))[:1]
    query = QUERIES[place : place + 1]
    width = widened(navigator, BEAM)
    alive = np.ones(ROWS, bool)
    alive[navigator.graph.search(navigator.points(query), width)[0][0, :-8]] = False
    seen = spied(navigator, monkeypatch)
    ordered(navigator, query, alive=alive)
    assert seen == [(width, 1), (4 * width, 1)]


def test_a_second_walk_that_leads_nowhere(navigator, monkeypatch):
    """What the first has found stays."""
    real, width = navigator.graph.search, widened(navigator, BEAM)

    def search(points, beam, wanted):
        return real(points, beam, wanted) if beam == width else None

    monkeypatch.setattr(navigator.graph, "search", search)
    walk = real(navigator.points(QUERIES), width)[0]
    got = ordered(navigator)
    assert got == [line[: len(each)].tolist() for line, each in zip(walk, got, strict=True)]


@pytest.mark.parametrize("k", [1, 3])
def test_few_wanted(navigator, monkeypatch, k):
    """Who wants one or three is told from far by his tenth as well."""
    far = tenth(navigator) > min(navigator.far)
    seen = spied(navigator, monkeypatch)
    alive = np.ones(ROWS, bool)
    for line in LINES:
        navigator.candidates(navigator.points(QUERIES[line : line + 1]), k, alive, 0)
    assert len(seen) == len(QUERIES) + far.sum()


def test_threads_ask_for_both(navigator):
    """Queries that are far and such that are not, from several threads at once."""
    expected = [ordered(navigator, QUERIES[line : line + 1]) for line in LINES]
    wrong = []

    def ask():
        for line in LINES:
            # A beam that others have set may be wider, never narrower.
            got = ordered(navigator, QUERIES[line : line + 1])
            if len(got[0]) != len(expected[line][0]):
                wrong.append(line)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("metric", "dimensions"),
    [
        ("cosine", None),
        ("euclidean", 48),
        ("inner_product", None),
        pytest.param("euclidean", None, marks=pytest.mark.slow),
        pytest.param("cosine", 48, marks=pytest.mark.slow),
    ],
)
def test_what_is_far_is_measured(tmp_path, metric, dimensions):
    """A tenth of the rows that are kept out at first are farther from their tenth nearest row than
    that, in all components and in those that do, or in the vectors; under the inner product, where
    distances say nothing of it, nothing is far.
    """
    with (
        Client(tmp_path) as client,
        client.create_index(
            "a", index_key=KEY, metric=metric, indexing="manual", navigator_dimensions=dimensions
        ) as index,
    ):
        index.upsert([str(row) for row in range(ROWS)], VECTORS[:ROWS])
        index.optimize()
        with index._session.read() as (state, _):
            navigator = state.navigator.known
    if metric == "inner_product":
        assert navigator.far == ()
        return
    prepared = VECTORS[:ROWS]
    if metric == "cosine":
        prepared = prepared / np.linalg.norm(prepared, axis=1, keepdims=True)
    held = building.held_back(np.arange(ROWS))
    others = prepared[~held]
    away = ((prepared[held][:, None].astype(float) - others[None]) ** 2).sum(axis=2)
    nearest = np.argsort(away, axis=1)[:, :FAR_K]
    projection = navigator.projection
    assert (projection.dimensions if projection else 0) >= (dimensions or 0)
    expected = []
    for n in (projection.dimensions, projection.least):
        points = (projection.coordinates(prepared[held])[:, :n]) * projection.stretch[n - 1]
        codes = projection.encode(others)[:, :n].astype(float) * projection.scale[:n]
        expected.append(((codes[nearest] - points[:, None]) ** 2).sum(axis=2).max(axis=1))
    assert len(navigator.far) == 2
    for each, distances in zip(navigator.far, expected, strict=True):
        assert each == pytest.approx(np.quantile(distances, FAR_SHARE), rel=1e-4)
        assert np.mean(distances > each) == pytest.approx(1 - FAR_SHARE, abs=0.02)


def test_measuring_leaves_nothing(tmp_path, monkeypatch):
    """What a sealed handle reads to measure it is overwritten."""
    given = []
    real = BoundedPool.rows

    def rows(pool, view, numbers):
        vectors = real(pool, view, numbers)
        given.append(vectors)
        return vectors

    with Client(tmp_path) as client:
        client.create_index("a", index_key=KEY, metric="cosine").close()
        with client.load_index("a", index_key=KEY, cache_bytes=0, indexing="manual") as index:
            index.upsert([str(row) for row in range(ROWS)], VECTORS[:ROWS])
            monkeypatch.setattr(BoundedPool, "rows", rows)
            index.optimize()
            assert len(index._session._state.navigator.known.far) == 2
    assert sum(len(vectors) == FAR_K for vectors in given) > 100
    assert not any(vectors.any() for vectors in given)


def test_far_away():
    """All but a tenth are not far."""
    assert far_away(np.arange(101.0)) == pytest.approx(90)
