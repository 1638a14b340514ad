"""The HNSW graph: what it finds, and that saving and restoring it changes nothing of that."""

import dataclasses
import threading

import numpy as np
import pytest
from support import wait_until

from cyborg_embedded import Client
from cyborg_embedded.graph import Graph
from cyborg_embedded.links import decode, encode

DIMENSION = 16
COUNT = 600


def random_points(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


POINTS = random_points(2 * COUNT)
QUERIES = random_points(50, 1)


def built(rows, covered, space="l2", room=COUNT):
    graph = Graph.empty(room, DIMENSION, space)
    add(graph, rows, covered)
    return graph


def add(graph, rows, covered, threads=1):
    graph.add(np.asarray(rows), covered, POINTS[rows], threads)


def saved(graph):
    return encode(graph.links()[0])


def restored(graph, covered, space="l2", step=97):
    """The graph through its byte string, with its points handed over in runs."""
    links, reached = graph.links()
    assert reached == covered
    links = decode(encode(links), covered)

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
    assert saved(twice) == saved(again) == saved(graph)


@pytest.mark.parametrize("space", ["l2", "ip"])
def test_recall(space):
    """The graph finds nearly all of the nearest rows."""
    assert recall(built(np.arange(COUNT), COUNT, space), np.arange(COUNT), space) > 0.98


@pytest.mark.parametrize("space", ["l2", "ip"])
@pytest.mark.parametrize("k", [1, 10, 48, 49, 200])
def test_distances(space, k):
    """Rows come nearest first, each once, with their distances, as many as were asked for."""
    graph = built(np.arange(COUNT), COUNT, space)
    rows, distances, covered = graph.search(QUERIES, k)
    assert covered == COUNT
    assert rows.shape == distances.shape == (len(QUERIES), k)
    assert (rows.dtype, distances.dtype) == (np.int64, np.float32)
    for query, found, near in zip(QUERIES, rows, distances, strict=True):
        assert len(set(found.tolist())) == k
        assert (np.diff(near) >= 0).all()
        assert np.allclose(near, measured(found, query, space), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("space", ["l2", "ip"])
@pytest.mark.parametrize("threads", [1, 3])
def test_restored_graph_can_grow(space, threads):
    """A restored graph takes more rows, and finds them and the old ones."""
    graph = restored(built(np.arange(COUNT), COUNT, space), COUNT, space)
    add(graph, np.arange(COUNT, 2 * COUNT), 2 * COUNT, threads)
    assert len(graph) == 2 * COUNT
    assert graph.covered == 2 * COUNT
    assert graph.rows.tolist() == list(range(2 * COUNT))
    assert recall(graph, np.arange(2 * COUNT), space) > 0.97
    again = restored(graph, 2 * COUNT, space)
    assert found_sets(again) == found_sets(graph)
    assert saved(again) == saved(graph)


def test_growing_step_by_step():
    """Saving, restoring and growing by turns loses no row."""
    graph, size = built(np.arange(50), 50), 50
    for step in (1, 10, 100, 200):
        rows = np.arange(size, size + step)
        size += step
        add(graph, rows, size)
        graph = restored(graph, size)
    assert recall(graph, np.arange(size)) > 0.98
    for row in range(size):
        assert row in rows_of(graph, POINTS[row : row + 1], 5)[0]


@pytest.mark.parametrize("room", [0, 1, 7, COUNT])
def test_room_is_no_limit(room):
    """A graph takes more rows than it was made with room for, one by one and many at once."""
    graph = built([], 0, room=room)
    for row in range(20):
        add(graph, [row], row + 1)
    add(graph, np.arange(20, COUNT), COUNT)
    assert recall(graph, np.arange(COUNT)) > 0.98


def test_rows_in_any_order():
    """Rows that come later may be lower: they are kept and saved in ascending order."""
    graph = built(np.arange(1, COUNT, 2), COUNT)
    add(graph, np.arange(0, COUNT, 2), COUNT)
    assert graph.rows.tolist() == list(range(COUNT))
    assert graph.links()[0].rows.tolist() == list(range(COUNT))
    assert found_sets(restored(graph, COUNT)) == found_sets(graph)


def test_an_empty_graph():
    """A graph without rows finds none, and one that is only told to reach further does so."""
    graph = built([], 0)
    rows, distances, covered = graph.search(QUERIES, 10)
    assert rows.shape == distances.shape == (len(QUERIES), 0)
    assert covered == len(graph) == len(graph.rows) == 0
    add(graph, [2], 5)
    add(graph, [], 9)
    assert graph.search(QUERIES, 10)[2] == graph.covered == 9
    assert rows_of(graph, QUERIES, 1).tolist() == [[2]] * len(QUERIES)


@pytest.mark.parametrize("beam", [21, 100])
def test_asking_for_more_than_there_is(beam):
    """Asking for more rows than there are gives them all, or None where a walk cannot reach them."""
    graph = built(np.arange(20), 20)
    found = graph.search(QUERIES[:3], beam)
    assert found is None or [sorted(row) for row in found[0].tolist()] == [list(range(20))] * 3


def test_rows_that_no_link_leads_to():
    """A graph whose walk cannot reach as many rows as it is asked for says None, not fewer."""
    links, _ = built(np.arange(20), 20).links()
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


def check_growing(found, step, room, beam):
    """Assert that one answer is right for a graph that grows by `step` rows, every second of them."""
    rows, distances, covered = found
    added = set(range(0, covered, 2))
    assert covered % step == 0
    assert covered <= room
    assert (np.diff(distances, axis=1) >= 0).all()
    # A beam that is wide enough finds all, since no row comes twice.
    assert rows.shape[1] == min(beam, len(added))
    for line in rows.tolist():
        assert len(set(line)) == len(line)
        assert set(line) <= added


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("again", [False, True])
def test_searching_while_growing(threads, again):
    """Threads that search while rows are added find rows that have been added, each once, and with
    a wide beam every one below what the graph says it reached. Links taken meanwhile are whole.
    """
    step, room = 20, 2 * COUNT
    graph, wrong, done = built(np.arange(0, step, 2), step, room=1), [], threading.Event()
    if again:
        graph = restored(graph, step)
    reached = set()

    def search(beam):
        try:
            last = 0
            while not done.is_set():
                found = graph.search(QUERIES[:3], beam)
                check_growing(found, step, room, beam)
                assert found[2] >= last
                last = found[2]
                reached.add(last)
        except BaseException as error:
            wrong.append(error)

    def save():
        try:
            while not done.is_set():
                links, covered = graph.links()
                assert links.rows.tolist() == list(range(0, covered, 2))
                decode(encode(links), covered)
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=search, args=(beam,)) for beam in (1, 10, room, room)]
    workers.append(threading.Thread(target=save))
    for worker in workers:
        worker.start()
    for first in range(step, room, step):
        if first % (5 * step) == 0:
            wait_until(lambda first=first: wrong or first in reached)
        add(graph, np.arange(first, first + step, 2), first + step, threads)
    done.set()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert graph.search(QUERIES[:1], room)[0].shape == (1, COUNT)


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
