"""The HNSW graph: what it finds, that saving and restoring it changes nothing of that, and that it
finds the same as it lies.
"""

import dataclasses
import threading

import numpy as np
import pytest
from support import in_threads, wait_until

from cyborg_embedded import Client
from cyborg_embedded import graph as module
from cyborg_embedded.frontier import Frontier
from cyborg_embedded.graph import PAYS_SHARE, Graph
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


def restored(graph, covered, space="l2"):
    """The graph through its byte string."""
    links, reached = graph.links()
    assert reached == covered
    links = decode(encode(links), covered)
    return Graph.restored(
        links, covered, DIMENSION, space, lambda out: np.copyto(out, POINTS[links.rows])
    )


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
    "rows in no order": np.random.default_rng(5).permutation(COUNT),
}


@pytest.mark.parametrize("space", ["l2", "ip"])
@pytest.mark.parametrize("rows", SUBSETS.values(), ids=SUBSETS.keys())
def test_restored_graph_finds_the_same(rows, space):
    """A graph that was saved and restored answers every query as the one that was saved."""
    graph = built(rows, COUNT, space)
    again = restored(graph, COUNT, space)
    assert len(again) == len(graph) == len(rows)
    assert again.covered == COUNT
    assert again.dimension == graph.dimension == DIMENSION
    assert not again.at_rest
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
    assert np.sort(graph.rows).tolist() == list(range(2 * COUNT))
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
    """Rows that come later may be lower: they are kept and saved in the order in which they came."""
    graph = built(np.arange(1, COUNT, 2), COUNT)
    add(graph, np.arange(0, COUNT, 2), COUNT)
    came = [*range(1, COUNT, 2), *range(0, COUNT, 2)]
    assert graph.rows.tolist() == came
    assert graph.links()[0].rows.tolist() == came
    assert found_sets(restored(graph, COUNT)) == found_sets(graph)
    for row in range(0, COUNT, 7):
        assert rows_of(graph, POINTS[row : row + 1], 1).tolist() == [[row]]


@pytest.mark.parametrize("rows", [SUBSETS["late rows"], SUBSETS["rows in no order"]])
def test_rows_that_are_alive(rows):
    """Of its rows those are counted that are alive, and none that is not known to be."""
    graph = built(rows[:30], COUNT)
    add(graph, rows[30:60], COUNT)
    alive = np.random.default_rng(6).random(2 * COUNT) < 0.5
    for known in (0, 1, int(rows[7]), int(rows[7]) + 1, COUNT, 2 * COUNT):
        wanted = sum(row < known and alive[row] for row in rows[:60])
        assert graph.alive(alive[:known]) == wanted


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
    graph = Graph.restored(alone, 20, DIMENSION, "l2", lambda out: np.copyto(out, POINTS[:20]))
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
                assert np.sort(links.rows).tolist() == list(range(0, covered, 2))
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


# --- as it lies ------------------------------------------------------------------------------

SCALE = np.linspace(0.03, 0.01, DIMENSION).astype(np.float32)
CODES = np.clip(np.rint(POINTS / SCALE), -127, 127).astype(np.int8)
CODED = CODES * SCALE
SCRAMBLED = np.random.default_rng(7).permutation(2 * COUNT)
ENOUGH = 2 * COUNT // PAYS_SHARE
"""Walks that are made before it wakes."""


def made_of_codes(rows=SCRAMBLED):
    """A graph over what codes stand for."""
    graph = Graph.empty(len(rows), DIMENSION, "l2")
    graph.add(rows, 2 * COUNT, CODED[rows], 1)
    return graph


WHOLE = made_of_codes()


def at_rest(graph=WHOLE):
    """What was saved of a graph, as it lies."""
    links, covered = graph.links()
    links = decode(encode(links), covered)
    norms = (CODED[links.rows] ** 2).sum(axis=1)
    graph = Graph.resting(Frontier(links, CODES[links.rows], norms, SCALE), covered, "l2")
    assert graph.at_rest
    return graph


def coded_recall(found, queries=QUERIES, k=10):
    """The share of the k nearest codes in what was found."""
    hits = 0
    for query, rows in zip(queries, found, strict=True):
        distances = ((CODED.astype(float) - query) ** 2).sum(axis=1)
        hits += len(set(distances.argsort()[:k].tolist()) & set(rows.tolist()))
    return hits / (k * len(queries))


def check_answers(found, queries, beam, covered=2 * COUNT):
    """Assert that answers are rows, each once, nearest first, with their distances."""
    rows, distances, reached = found
    assert reached == covered
    assert rows.shape == distances.shape == (len(queries), beam)
    assert (rows.dtype, distances.dtype) == (np.int64, np.float32)
    for query, line, near in zip(queries, rows, distances, strict=True):
        assert len(set(line.tolist())) == beam
        assert (np.diff(near) >= 0).all()
        wanted = ((CODED[line].astype(float) - query) ** 2).sum(axis=1)
        assert np.allclose(near, wanted, rtol=1e-4, atol=1e-4)


def test_what_lies():
    """A graph at rest has the rows of the one that was saved, and reaches as far."""
    graph = at_rest()
    assert len(graph) == 2 * COUNT
    assert graph.covered == 2 * COUNT
    assert graph.dimension == DIMENSION
    assert graph.rows.tolist() == SCRAMBLED.tolist()
    assert graph.alive(np.arange(2 * COUNT) % 3 == 0) == 2 * COUNT // 3
    assert not graph.torn
    assert not WHOLE.at_rest


@pytest.mark.parametrize("beam", [10, 60, 2 * COUNT])
def test_answers_before_and_after_it_wakes(beam, monkeypatch):
    """As it lies a graph finds no less than when it is awake, where it finds what the one that was
    saved does.
    """
    monkeypatch.setattr(module, "PAYS_SHARE", 1)
    graph = at_rest()
    before = graph.search(QUERIES, beam)
    assert graph.at_rest
    check_answers(before, QUERIES, beam)
    graph.wake()
    assert not graph.at_rest
    after = graph.search(QUERIES, beam)
    check_answers(after, QUERIES, beam)
    assert coded_recall(before[0]) >= coded_recall(after[0]) - 0.01
    assert coded_recall(before[0]) > (0.75 if beam < 60 else 0.97)
    theirs = WHOLE.search(QUERIES, beam)
    assert np.array_equal(np.sort(after[0]), np.sort(theirs[0]))


@pytest.mark.parametrize("beam", [2 * COUNT + 1, 10_000])
def test_beams_beyond_the_graph(beam):
    """A beam wider than the graph finds all rows that it has, at rest and awake."""
    graph = at_rest()
    for _ in range(2):
        check_answers(graph.search(QUERIES[:1], beam), QUERIES[:1], 2 * COUNT)
        graph.wake()


def test_when_it_wakes():
    """A graph wakes when as many walks have been asked for as it pays for, alone or together."""
    assert ENOUGH > 2
    graph = at_rest()
    for query in QUERIES[:ENOUGH]:
        assert graph.search(query[None], 20) is not None
        assert graph.at_rest
    check_answers(graph.search(QUERIES[:1], 20), QUERIES[:1], 20)
    assert not graph.at_rest
    graph = at_rest()
    check_answers(graph.search(QUERIES[:ENOUGH], 20), QUERIES[:ENOUGH], 20)
    assert graph.at_rest
    graph = at_rest()
    check_answers(graph.search(QUERIES[: ENOUGH + 1], 20), QUERIES[: ENOUGH + 1], 20)
    assert not graph.at_rest


def test_a_small_graph_wakes_at_once():
    """A graph that is handed over in no time is not walked as it lies."""
    graph = at_rest(made_of_codes(SCRAMBLED[: PAYS_SHARE - 1]))
    assert graph.search(QUERIES[:1], 10) is not None
    assert not graph.at_rest


def test_waking_twice():
    """Who is awake stays as he is."""
    graph = at_rest()
    index = graph.wake()
    assert graph.wake() is index
    again = made_of_codes(np.arange(50))
    assert again.wake() is again.wake()
    assert saved(graph) == saved(WHOLE)


def test_waking_from_many_threads():
    """However many wake it at the same time, it is handed over once."""
    graph, start, got = at_rest(), threading.Barrier(4), []

    def work():
        start.wait()
        got.append(graph.wake())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(got) == 4
    assert len(set(map(id, got))) == 1
    assert got[0] is graph.wake()


def test_links_at_rest():
    """What is to be saved of a graph at rest is what was saved, and does not wake it."""
    graph = at_rest()
    links, covered = graph.links()
    assert graph.at_rest
    assert covered == 2 * COUNT
    assert encode(links) == saved(WHOLE)
    graph.search(QUERIES[:1], 50)
    assert saved(graph) == saved(WHOLE)
    graph.wake()
    assert saved(graph) == saved(WHOLE)


@pytest.mark.parametrize("walks", [0, 1])
@pytest.mark.parametrize("threads", [1, 2])
def test_adding_wakes_it(walks, threads):
    """A graph at rest that is added to wakes, and has old rows and new ones."""
    graph = at_rest(made_of_codes(SCRAMBLED[:COUNT]))
    for query in QUERIES[:walks]:
        graph.search(query[None], 10)
    assert graph.at_rest
    late = SCRAMBLED[COUNT:]
    graph.add(late, 2 * COUNT, CODED[late], threads)
    assert not graph.at_rest
    assert len(graph) == 2 * COUNT
    assert np.array_equal(np.sort(graph.rows), np.arange(2 * COUNT))
    found = graph.search(QUERIES, 60)
    check_answers(found, QUERIES, 60)
    assert coded_recall(found[0]) > 0.97
    assert np.sort(graph.links()[0].rows).tolist() == list(range(2 * COUNT))


def test_adding_nothing_at_rest():
    """Told that it reaches further, it does so."""
    graph = at_rest()
    graph.add(SCRAMBLED[:0], 3 * COUNT, CODED[:0], 1)
    assert graph.covered == 3 * COUNT
    check_answers(graph.search(QUERIES, 30), QUERIES, 30, 3 * COUNT)
    assert graph.links()[1] == 3 * COUNT


def test_rows_that_no_link_leads_to_at_rest():
    """A walk that cannot reach as many rows as are asked for says None, for all queries together."""
    links, covered = made_of_codes().links()
    alone = dataclasses.replace(links, level0=np.zeros_like(links.level0))
    norms = (CODED[links.rows] ** 2).sum(axis=1)
    graph = Graph.resting(Frontier(alone, CODES[links.rows], norms, SCALE), covered, "l2")
    assert graph.search(QUERIES[:2], 200) is None
    assert graph.at_rest


def test_searching_while_it_wakes(monkeypatch):
    """Threads that search while it wakes all get right answers, before and after."""
    monkeypatch.setattr(module, "PAYS_SHARE", 60)
    for _ in range(5):
        graph, wrong, start = at_rest(), [], threading.Barrier(4)

        def search(seed, graph=graph, wrong=wrong, start=start):
            try:
                start.wait()
                for at in range(seed, len(QUERIES) - 1, 4):
                    found = graph.search(QUERIES[at : at + 2], 60)
                    check_answers(found, QUERIES[at : at + 2], 60)
                    assert coded_recall(found[0], QUERIES[at : at + 2]) > 0.7
                    links, covered = graph.links()
                    assert (len(links.rows), covered) == (2 * COUNT, 2 * COUNT)
            except BaseException as error:
                wrong.append(error)

        in_threads(search, range(4))
        assert wrong == []
        assert not graph.at_rest


def test_growing_while_a_walk_at_rest_is_on_its_way(monkeypatch):
    """An answer that was found before rows were added does not say that it had them."""
    graph, late = at_rest(made_of_codes(SCRAMBLED[:COUNT])), SCRAMBLED[COUNT:]
    real = Frontier.search

    def search(frontier, point, beam):
        found = real(frontier, point, beam)
        if graph.at_rest:
            graph.add(late, 3 * COUNT, CODED[late], 1)
        return found

    monkeypatch.setattr(Frontier, "search", search)
    rows, _, covered = graph.search(CODED[late[:1]], 10)
    assert late[0] in rows or covered == 2 * COUNT


def test_rows_while_a_walk_at_rest_is_on_its_way(monkeypatch):
    """Rows that are added while a walk at rest goes on are other rows than those that it found."""
    graph, late = at_rest(made_of_codes(SCRAMBLED[:COUNT])), SCRAMBLED[COUNT:]
    alone = graph.search(QUERIES[:1], 10)
    real = Frontier.search

    def search(frontier, point, beam):
        if graph.at_rest:
            graph.add(late, 2 * COUNT, CODED[late], 1)
        return real(frontier, point, beam)

    monkeypatch.setattr(Frontier, "search", search)
    found = graph.search(QUERIES[:1], 10)
    assert np.array_equal(found[0], alone[0])
    assert np.array_equal(np.sort(graph.rows), np.arange(2 * COUNT))


# --- of an index -----------------------------------------------------------------------------


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
