"""The navigator: one built, extended, saved and restored finds the same candidates."""

import msgspec
import numpy as np
import pytest
from unit_harness import PagedStore

from cyborg_embedded.distance import prepare
from cyborg_embedded.model import DEFAULT_PAGE_SIZE, METRICS
from cyborg_embedded.navigation import load_graph, save_graph
from cyborg_embedded.navigator import BEAM, RANKED_EXTRA, Navigator
from cyborg_embedded.projection import choose_projection
from cyborg_embedded.vectors import VectorLayout, append_vectors

D = 64
ROWS = 1500
MORE = 300
K = 10

SPREAD = 0.94 ** np.arange(D)
VECTORS = (np.random.default_rng(4).standard_normal((ROWS + MORE, D)) * SPREAD).astype(np.float32)
QUERIES = (np.random.default_rng(5).standard_normal((40, D)) * SPREAD).astype(np.float32)
DEAD = np.arange(3, ROWS, 10)
LIVE = np.setdiff1d(np.arange(ROWS), DEAD)
LATE = np.setdiff1d(np.arange(ROWS, ROWS + MORE), [ROWS + 4])


def vectors_of(rows):
    return VECTORS[rows]


def projection_of(metric):
    projection = choose_projection(prepare(VECTORS[LIVE], metric))
    assert projection.walked < projection.dimensions
    return projection


def built(metric, projection):
    return Navigator.build(LIVE, ROWS, vectors_of, projection, D, metric)


def extended(metric, projection):
    return built(metric, projection).extended(LATE, ROWS + MORE, vectors_of, metric)


def codes_of(navigator, metric):
    """The codes of all covered rows, zeros for those that are not in the graph."""
    codes = np.zeros((navigator.graph.covered, navigator.projection.dimensions), np.int8)
    rows = navigator.graph._rows
    codes[rows] = navigator.projection.encode(prepare(VECTORS[rows], metric))
    return codes


def restored(navigator, metric, path):
    """The navigator through the pages of a file."""
    covered = navigator.graph.covered
    layout = VectorLayout.of(D, DEFAULT_PAGE_SIZE)
    codes = None
    if navigator.projection is not None:
        codes = codes_of(navigator, metric).__getitem__

    def work(view):
        append_vectors(view, layout, 0, VECTORS[:covered])
        view.root = msgspec.structs.replace(view.root, rows=covered, live=covered)
        save_graph(view, navigator.saved(), codes and (lambda row: codes(slice(row, None))), 0)

    with PagedStore(path, page_size=DEFAULT_PAGE_SIZE, metric=metric, dimension=D) as store:
        store.write(work)
        with store.read() as view:
            return Navigator.restore(view, load_graph(view), layout, metric)


def found(navigator, metric, k=K):
    """The candidates of all queries."""
    answers = navigator.candidates(navigator.points(prepare(QUERIES, metric)), k)
    return [sorted(rows.tolist()) for rows in answers]


def true_recall(navigator, metric, rows, k=K):
    """The share of the k nearest rows among the candidates."""
    points = prepare(VECTORS[rows], metric).astype(float)
    hits = 0
    queries = prepare(QUERIES, metric)
    for query, near in zip(queries, found(navigator, metric, k), strict=True):
        distances = ((points - query) ** 2).sum(axis=1)
        if metric == "inner_product":
            distances = -(points @ query)
        hits += len(set(rows[np.argsort(distances)[:k]].tolist()) & set(near))
    return hits / (k * len(QUERIES))


CASES = [
    *((metric, True) for metric in METRICS if metric != "inner_product"),
    *((metric, False) for metric in METRICS),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{'codes' if case[1] else 'vectors'}")
def case(request):
    """A metric, and a projection or None."""
    metric, projected = request.param
    return metric, projection_of(metric) if projected else None


@pytest.mark.parametrize("made", [built, extended])
def test_restored_finds_the_same(case, made, tmp_path):
    """A navigator that was saved and restored finds the candidates that it found before."""
    metric, projection = case
    navigator = made(metric, projection)
    again = restored(navigator, metric, tmp_path / "x.cyb")
    assert again.graph.covered == navigator.graph.covered
    assert len(again.graph) == len(navigator.graph)
    for k in (1, K, 60):
        assert found(again, metric, k) == found(navigator, metric, k)


def test_restored_can_be_extended(case, tmp_path):
    """Extending a restored navigator finds old rows and new ones, and leaves it as it was."""
    metric, projection = case
    navigator = restored(built(metric, projection), metric, tmp_path / "x.cyb")
    before = found(navigator, metric)
    larger = navigator.extended(LATE, ROWS + MORE, vectors_of, metric)
    rows = np.concatenate((LIVE, LATE))
    assert larger.graph.covered == ROWS + MORE
    assert len(larger.graph) == len(rows)
    assert true_recall(larger, metric, rows) > 0.95
    assert found(navigator, metric) == before
    assert found(restored(larger, metric, tmp_path / "y.cyb"), metric) == found(larger, metric)


@pytest.mark.parametrize("made", [built, extended])
def test_rest_codes_go_by_row(made, tmp_path):
    """What the graph does not walk is kept by row, dead rows being zeros, also when restored."""
    projection = projection_of("cosine")
    navigator = made("cosine", projection)
    wanted = codes_of(navigator, "cosine")[:, projection.walked :]
    assert navigator.rest.dtype == np.int8
    assert np.array_equal(navigator.rest, wanted)
    assert not navigator.rest[DEAD].any()
    again = restored(navigator, "cosine", tmp_path / "x.cyb")
    assert np.array_equal(again.rest, wanted)


def test_without_a_projection():
    """A navigator over vectors has no codes, and saves none."""
    navigator = built("euclidean", None)
    assert navigator.rest.shape == (ROWS, 0)
    assert navigator.saved().projection is None


def test_extending_leaves_the_codes_of_the_old_one():
    """The codes of a navigator are its own: one that was extended from it has a copy."""
    navigator = built("euclidean", projection_of("euclidean"))
    before = navigator.rest.copy()
    larger = navigator.extended(LATE, ROWS + MORE, vectors_of, "euclidean")
    assert not np.shares_memory(larger.rest, navigator.rest)
    assert np.array_equal(larger.rest[:ROWS], before)
    assert np.array_equal(navigator.rest, before)


def test_dead_rows_are_no_candidates(case):
    """Rows that were dead when it was built, or were buried since, are no candidates."""
    metric, projection = case
    navigator = built(metric, projection)
    buried = LIVE[::7]
    alive = np.ones(ROWS, bool)
    alive[DEAD] = alive[buried] = False
    navigator.graph.bury(alive)
    for rows in found(navigator, metric):
        assert alive[rows].all()


@pytest.mark.parametrize("k", [1, 2, 10, 40])
def test_number_of_candidates(case, k):
    """Each query gets k candidates and a few more, none of them twice."""
    metric, projection = case
    navigator = built(metric, projection)
    for rows in found(navigator, metric, k):
        assert len(rows) == len(set(rows)) == k + max(RANKED_EXTRA, k // 4)


def test_candidates_are_the_best_of_the_walk_in_all_components():
    """Of what the graph finds, the candidates are the nearest in all stored components."""
    projection = projection_of("euclidean")
    navigator = built("euclidean", projection)
    points = projection.points(QUERIES)
    walk, _ = navigator.graph.search(points[:, : projection.walked], BEAM)
    whole = projection.encode(VECTORS[:ROWS]) * projection.scale
    kept = K + max(RANKED_EXTRA, K // 4)
    for point, rows, got in zip(points, walk, found(navigator, "euclidean"), strict=True):
        distances = ((whole[rows] - point) ** 2).sum(axis=1)
        assert sorted(rows[np.argsort(distances)[:kept]].tolist()) == got


def test_recall(case):
    """The nearest rows are among the candidates, nearly always."""
    metric, projection = case
    assert true_recall(built(metric, projection), metric, LIVE) > 0.97


def test_one_query_is_as_many(case):
    """A query finds the same alone and among others, on one thread and on several."""
    metric, projection = case
    navigator = built(metric, projection)
    queries = prepare(QUERIES, metric)
    together = [
        sorted(rows.tolist()) for rows in navigator.candidates(navigator.points(queries), K)
    ]
    alone = [
        sorted(navigator.candidates(navigator.points(query[None]), K)[0].tolist())
        for query in queries
    ]
    assert together == alone == found(navigator, metric)
