"""The HNSW graph: what it finds, and that saving and restoring it changes nothing of that."""

import dataclasses
import threading

import numpy as np
import pytest

from cyborg_embedded import Client
from cyborg_embedded.graph import Graph
from cyborg_embedded.links import decode, encode

DIMENSION = 16
COUNT = 600


def random_points(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


POINTS = random_points(2 * COUNT)
QUERIES = random_points(50, 1)


def built(rows, covered, space="l2"):
    return Graph.build(np.asarray(rows), covered, lambda part: POINTS[part], DIMENSION, space)


def restored(graph, covered, space="l2", step=97):
    """The graph through its byte string, with its points handed over in runs."""
    links = decode(encode(graph.links()), covered)

    def stream(take):
        for first in range(0, covered, step):
            part = POINTS[first : min(first + step, covered)]
            take(first, len(part), lambda out, part=part: np.copyto(out, part))

    return Graph.restore(links, covered, stream, DIMENSION, space)


def measured(rows, query, space="l2"):
    """Distances in float64, as hnswlib defines them."""
    points = POINTS[rows].astype(np.float64)
    return 1 - points @ query if space == "ip" else ((points - query) ** 2).sum(axis=1)


def nearest(rows, query, k, space="l2"):
    return set(rows[np.argsort(measured(rows, query, space))[:k]].tolist())


def rows_of(graph, queries, k, beam=96):
    """The first k rows of what a walk finds, which has to find something."""
    found = graph.search(queries, beam)
    assert found is not None
    return found[0][:, :k]


def recall(graph, rows, space="l2", k=10):
    found = rows_of(graph, QUERIES, k)
    right = [
        len(nearest(np.asarray(rows), query, k, space) & set(answer.tolist()))
        for query, answer in zip(QUERIES, found, strict=True)
    ]
    return sum(right) / (k * len(QUERIES))


def found_sets(graph, k=10):
    return [sorted(rows) for rows in rows_of(graph, QUERIES, k).tolist()]


SUBSETS = {
    "all rows": np.arange(COUNT),
    "every third row": np.arange(0, COUNT, 3),
    "late rows": np.arange(COUNT - 100, COUNT),
    "one row": np.array([7]),
    "two rows": np.array([7, COUNT - 1]),
}


@pytest.mark.parametrize("space", ["l2", "ip"])
@pytest.mark.parametrize("rows", SUBSETS.values(), ids=SUBSETS.keys())
def test_restored_graph_finds_the_same(rows, space):
    """A graph that was saved and restored answers every query as the one that was saved."""
    graph = built(rows, COUNT, space)
    again = restored(graph, COUNT, space)
    assert len(again) == len(graph) == len(rows)
    assert again.covered == COUNT
    for k in (1, 10, 60):
        assert found_sets(again, k) == found_sets(graph, k)
    twice = restored(again, COUNT, space)
    assert encode(twice.links()) == encode(again.links()) == encode(graph.links())


@pytest.mark.parametrize("space", ["l2", "ip"])
def test_recall(space):
    """The graph finds nearly all of the nearest rows."""
    assert recall(built(np.arange(COUNT), COUNT, space), np.arange(COUNT), space) > 0.98


@pytest.mark.parametrize("space", ["l2", "ip"])
@pytest.mark.parametrize("k", [1, 10, 48, 49, 200])
def test_distances(space, k):
    """Rows come nearest first, each once, with their distances, as many as were asked for."""
    graph = built(np.arange(COUNT), COUNT, space)
    rows, distances = graph.search(QUERIES, k)
    assert rows.shape == distances.shape == (len(QUERIES), k)
    assert (rows.dtype, distances.dtype) == (np.int64, np.float32)
    for query, found, near in zip(QUERIES, rows, distances, strict=True):
        assert len(set(found.tolist())) == k
        assert (np.diff(near) >= 0).all()
        assert np.allclose(near, measured(found, query, space), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("space", ["l2", "ip"])
def test_restored_graph_can_be_extended(space):
    """A restored graph takes more rows, finds them and the old ones, and stays as it was."""
    graph = restored(built(np.arange(COUNT), COUNT, space), COUNT, space)
    before = found_sets(graph)
    more = np.arange(COUNT, 2 * COUNT)
    larger = graph.extended(more, 2 * COUNT, lambda part: POINTS[part])
    assert len(larger) == 2 * COUNT
    assert larger.covered == 2 * COUNT
    assert recall(larger, np.arange(2 * COUNT), space) > 0.97
    assert found_sets(graph) == before
    assert found_sets(restored(larger, 2 * COUNT, space)) == found_sets(larger)


def test_extending_step_by_step():
    """Saving, restoring and extending by turns loses no row."""
    graph, size = built(np.arange(50), 50), 50
    for step in (1, 10, 100, 200):
        rows = np.arange(size, size + step)
        size += step
        graph = restored(graph.extended(rows, size, lambda part: POINTS[part]), size)
    assert recall(graph, np.arange(size)) > 0.98
    for row in range(size):
        assert row in rows_of(graph, POINTS[row : row + 1], 5)[0]


def alive_but(dead, count=COUNT):
    alive = np.ones(count, bool)
    alive[dead] = False
    return alive


def test_buried_rows():
    """Buried rows are never found again, and the graph knows which of them somebody may miss."""
    graph = built(np.arange(COUNT), COUNT)
    dead = np.arange(0, COUNT, 4)
    graph.bury(alive_but(dead))
    assert graph.buried == len(dead)
    assert not np.isin(rows_of(graph, QUERIES, 30), dead).any()
    assert recall(graph, np.setdiff1d(np.arange(COUNT), dead)) > 0.95
    assert graph.hidden(np.ones(COUNT, bool)).tolist() == dead.tolist()
    assert graph.hidden(alive_but(dead[1:])).tolist() == [0]
    assert graph.hidden(alive_but(dead)).tolist() == []
    graph.bury(alive_but(dead))
    graph.bury(alive_but(dead[:3]))
    assert graph.buried == len(dead)


def test_buried_rows_stay_buried():
    """Extending a graph keeps its buried rows buried, saving leaves them to the tombstones."""
    graph = built(np.arange(COUNT), COUNT)
    dead = np.arange(5)
    graph.bury(alive_but(dead))
    rows = np.arange(COUNT, COUNT + 50)
    larger = graph.extended(rows, COUNT + 50, lambda part: POINTS[part])
    assert larger.buried == 5
    assert not np.isin(rows_of(larger, POINTS[:5], 10), dead).any()
    again = restored(larger, COUNT + 50)
    assert again.buried == 0
    again.bury(alive_but(dead, COUNT + 50))
    assert not np.isin(rows_of(again, POINTS[:5], 10), dead).any()


def test_asking_for_more_than_there_is():
    """Asking for more rows than are alive gives them all, or None where the walk cannot reach them."""
    graph = built(np.arange(20), 20)
    graph.bury(alive_but([3, 4], 20))
    found = graph.search(QUERIES[:3], 100)
    assert found is None or [len(set(row)) for row in found[0].tolist()] == [18] * 3
    graph.bury(np.zeros(20, bool))
    rows, distances = graph.search(QUERIES[:3], 5)
    assert rows.shape == distances.shape == (3, 0)


def test_rows_that_no_link_leads_to():
    """A graph whose walk cannot reach as many rows as it is asked for says None, not fewer."""
    links = built(np.arange(20), 20).links()
    level0 = np.zeros_like(links.level0)
    alone = dataclasses.replace(links, level0=level0, upper=np.zeros_like(links.upper))
    graph = Graph.restore(
        alone,
        20,
        lambda take: take(0, 20, lambda out: np.copyto(out, POINTS[:20])),
        DIMENSION,
        "l2",
    )
    assert graph.search(QUERIES, 2) is None
    assert rows_of(graph, QUERIES, 1, beam=1).tolist() == [[links.entry]] * len(QUERIES)


def test_searching_while_burying():
    """Threads that search while rows are buried get rows of the graph, and nothing breaks."""
    graph, wrong, done = built(np.arange(COUNT), COUNT), [], threading.Event()

    def search():
        try:
            while not done.is_set():
                found = graph.search(QUERIES[:5], 10)
                if found is not None and not ((found[0] >= 0) & (found[0] < COUNT)).all():
                    wrong.append(found)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    alive = np.ones(COUNT, bool)
    for row in range(200):
        alive[row] = False
        graph.bury(alive)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert graph.buried == 200


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean", "cosine", "inner_product"])
def test_reopened_index(tmp_path, metric):
    """An optimized index answers the same after it was reopened, and goes on being extended."""
    client, key = Client(tmp_path), bytes(32)
    ids = [f"{row}" for row in range(2 * COUNT)]

    def answers(index):
        found = index.query(QUERIES, top_k=5, include=["distance"])
        return [[(item["id"], item["distance"]) for item in items] for items in found]

    with client.create_index("x", index_key=key, dimension=DIMENSION, metric=metric) as index:
        index.upsert(ids[:COUNT], POINTS[:COUNT])
        scanned = answers(index)
        index.optimize()
        assert index.describe()["indexed_rows"] == COUNT
        walked = answers(index)
    hits = sum(len(set(a) & set(b)) for a, b in zip(scanned, walked, strict=True))
    assert hits > 0.97 * 5 * len(QUERIES)
    with client.load_index("x", index_key=key) as index:
        assert answers(index) == walked
        index.upsert(ids[COUNT:], POINTS[COUNT:])
        index.delete(ids[:50])
        index.optimize()
        assert index.describe()["indexed_rows"] == 2 * COUNT - 50
        walked = answers(index)
    with client.load_index("x", index_key=key) as index:
        assert answers(index) == walked
