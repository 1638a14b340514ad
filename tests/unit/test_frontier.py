"""Walking a saved graph as it lies: what it finds, and that it changes nothing."""

import threading

import numpy as np
import pytest
from support import in_threads

from cyborg_embedded.frontier import (
    BEGUN_WITH,
    EXPANDED,
    MOST_SEEDS,
    MOST_TIED,
    Frontier,
    Scratch,
    seeds_of,
)
from cyborg_embedded.graph import Graph
from cyborg_embedded.links import Links, decode, encode

W, ROWS = 24, 3000
RANDOM = np.random.default_rng(9)
CENTRES = RANDOM.standard_normal((60, W)) * 0.93 ** np.arange(W)


def drawn(count):
    """Clustered points."""
    noise = 0.5 * 0.93 ** np.arange(W) * RANDOM.standard_normal((count, W))
    return CENTRES[RANDOM.integers(60, size=count)] + noise


POINTS, QUERIES = drawn(ROWS), drawn(60).astype(np.float32)
SCALE = (np.abs(POINTS).max(axis=0) / 127).astype(np.float32)
CODES = np.rint(POINTS / SCALE).astype(np.int8)


def frontier_over(links, codes=CODES):
    """The frontier of links over the codes of their nodes."""
    codes = codes[: len(links.rows)]
    norms = ((codes * SCALE.astype(float)) ** 2).sum(axis=1).astype(np.float32)
    return Frontier(links, codes, norms, SCALE)


def graph_over(count, codes=CODES):
    """The graph of hnswlib over as many codes, of which node and row are the same."""
    graph = Graph.empty(count, W, "l2")
    graph.add(np.arange(count), count, codes[:count] * SCALE, 1)
    return graph


def linked(lists, levels=None, m=3):
    """Links of the bottom layer, and nothing above it."""
    n = len(lists)
    level0 = np.zeros((n, 1 + 2 * m), np.uint32)
    for row, targets in zip(level0, lists, strict=True):
        row[0] = len(targets)
        row[1 : 1 + len(targets)] = targets
    levels = np.zeros(n, np.uint8) if levels is None else np.asarray(levels, np.uint8)
    upper = np.zeros((int(levels.sum()), 1 + m), np.uint32)
    highest, entry = int(levels.max()), int(levels.argmax())
    return Links(m, 200, highest, entry, np.arange(n, dtype=np.uint32), levels, level0, upper)


GRAPH = graph_over(ROWS)
LINKS = GRAPH.links()[0]
FRONTIER = frontier_over(LINKS)


def distances_to(query, nodes=None):
    """Squared distances of nodes in float64, as their codes have them."""
    codes = CODES if nodes is None else CODES[nodes]
    return ((codes * SCALE.astype(float) - query.astype(float)) ** 2).sum(axis=1)


def recall(found, k):
    """The share of the k nearest codes in the first k of what was found for each query."""
    hits = 0
    for query, nodes in zip(QUERIES, found, strict=True):
        hits += len(set(distances_to(query).argsort()[:k].tolist()) & set(nodes[:k].tolist()))
    return hits / (k * len(QUERIES))


@pytest.mark.parametrize("beam", [10, 20, 40, 128, 500])
def test_recall(beam):
    """A walk finds no less of the nearest than hnswlib's with a beam as wide."""
    walked = [FRONTIER.search(query, beam)[0] for query in QUERIES]
    theirs, _, _ = GRAPH.search(QUERIES, beam)
    for k in (1, 10, beam // 2):
        assert recall(walked, k) >= recall(theirs, k) - 0.01
    assert recall(walked, 10) > (0.9 if beam < 40 else 0.98)


@pytest.mark.parametrize("beam", [1, 2, 10, 11, 12, 13, 32, 33, 128, 1000, ROWS - 1, ROWS])
def test_answers(beam):
    """As many nodes as the beam is wide, none twice, nearest first, with the distances that their
    codes have.
    """
    for query in QUERIES[:15]:
        nodes, distances = FRONTIER.search(query, beam)
        assert nodes.shape == distances.shape == (beam,)
        assert distances.dtype == np.float32
        assert len(set(nodes.tolist())) == beam
        assert (np.diff(distances) >= 0).all()
        wanted = distances_to(query, nodes)
        assert np.allclose(distances, wanted, rtol=1e-4, atol=1e-4)


def test_a_wide_beam_finds_all_of_the_nearest():
    """With a beam as wide as the graph, the answer is that of brute force."""
    for query in QUERIES[:5]:
        nodes, _ = FRONTIER.search(query, ROWS)
        assert sorted(nodes.tolist()) == list(range(ROWS))
        wanted = distances_to(query)
        assert np.allclose(wanted[nodes], np.sort(wanted), rtol=1e-4, atol=1e-4)


def test_a_wider_beam_finds_no_less():
    """What a walk finds grows with its beam."""
    shares = [recall([FRONTIER.search(q, beam)[0] for q in QUERIES], 10) for beam in (10, 40, 200)]
    assert shares[0] <= shares[1] + 0.005
    assert shares[1] <= shares[2] + 0.005
    assert shares[2] > 0.995


def test_what_is_asked_for_is_found():
    """A point that is a node's own leads to the node, at a distance of nearly nothing."""
    for node in range(0, ROWS, 37):
        nodes, distances = FRONTIER.search(CODES[node] * SCALE, 30)
        twins = np.flatnonzero((CODES[node] == CODES).all(axis=1))
        assert np.isin(twins, nodes).all()
        assert abs(distances[0]) < 1e-3


def test_it_changes_nothing():
    """Neither links nor codes nor the point are other ones after a walk, nor its next answer."""
    links, point = decode(encode(LINKS), ROWS), QUERIES[0].copy()
    codes = CODES.copy()
    frontier = frontier_over(links, codes)
    first = frontier.search(point, 100)
    again = frontier.search(point, 100)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert encode(frontier.links) == encode(LINKS)
    assert np.array_equal(codes, CODES)
    assert np.array_equal(point, QUERIES[0])
    # Nor does who got an answer change the frontier's by writing to it.
    first[0][:], first[1][:] = 0, 0
    assert np.array_equal(frontier.search(point, 100)[0], again[0])


def test_threads_at_once():
    """Threads that walk at the same time find what each finds alone."""
    wanted = [FRONTIER.search(query, 64) for query in QUERIES]
    wrong, start = [], threading.Barrier(4)

    def work(seed):
        order = np.random.default_rng(seed).permutation(len(QUERIES))
        try:
            start.wait()
            for place in [*order, *order]:
                for got, want in zip(
                    FRONTIER.search(QUERIES[place], 64), wanted[place], strict=True
                ):
                    assert np.array_equal(got, want)
        except BaseException as error:
            wrong.append(error)

    in_threads(work, range(4))
    assert wrong == []


@pytest.mark.parametrize("count", [1, 2, 3, 12, 13, 40, MOST_SEEDS, MOST_SEEDS + 1])
def test_graphs_of_any_size(count):
    """In a graph of few nodes each of them is found."""
    frontier = frontier_over(graph_over(count).links()[0])
    for query in QUERIES[:5]:
        wanted = distances_to(query, np.arange(count)).argsort()
        for beam in {1, 2, count}:
            found = frontier.search(query, beam)
            if beam > count:
                assert found is None
                continue
            assert found[0].shape == (beam,)
            if beam == count:
                assert sorted(found[0].tolist()) == list(range(count))
                # Nodes that are as near as others may come in any order.
                order = distances_to(query, found[0])
                assert np.allclose(order, distances_to(query, wanted), rtol=1e-4, atol=1e-4)


def test_many_equal_codes():
    """Nodes at the same place are found, each once."""
    codes = np.repeat(CODES[:10], 60, axis=0)
    frontier = frontier_over(graph_over(600, codes).links()[0], codes)
    for beam in (1, 50, 200):
        found = frontier.search(codes[0] * SCALE, beam)
        assert found is not None
        assert len(set(found[0].tolist())) == beam
        assert (found[0][: min(beam, 20)] < 60).all()


def test_equally_far_nodes_are_not_all_kept():
    """However many codes are equal, a walk looks at a few beams of them."""
    count = 3000
    codes = np.tile(CODES[:1], (count, 1))
    steps = np.array([1, 7, 50, 333])
    lists = (np.arange(count)[:, None] + np.concatenate((steps, -steps))) % count
    frontier = frontier_over(linked(lists.tolist(), m=4), codes)
    scratch = Scratch(count, EXPANDED * 9, W)
    for beam in (1, 10, 100):
        nodes, _ = frontier._walked(scratch, QUERIES[0], beam)
        assert beam <= len(nodes) <= MOST_TIED * beam
        assert frontier.search(QUERIES[0], beam)[0].shape == (beam,)


# --- what cannot be reached ------------------------------------------------------------------


def test_links_to_nowhere():
    """Without links there are the nodes that a walk begins with, of which node 0 is always one, and
    None where more are wanted.
    """
    frontier = frontier_over(linked([[]] * 40))
    for query in QUERIES[:5]:
        nodes, distances = frontier.search(query, BEGUN_WITH)
        others = 1 + distances_to(query, np.arange(1, 40)).argsort()
        assert sorted(nodes.tolist()) == [0, *sorted(others[: BEGUN_WITH - 1].tolist())]
        assert np.allclose(distances, distances_to(query, nodes), rtol=1e-4, atol=1e-4)
        assert frontier.search(query, 1)[0].tolist() == nodes[:1].tolist()
        assert frontier.search(query, BEGUN_WITH + 1) is None


def test_one_node():
    """A single node is the only answer, linked to itself or not."""
    for lists in ([[]], [[0]], [[0, 0, 0]]):
        frontier = frontier_over(linked(lists))
        nodes, distances = frontier.search(QUERIES[0], 1)
        assert nodes.tolist() == [0]
        assert np.allclose(distances, distances_to(QUERIES[0], nodes), rtol=1e-4)
        assert frontier.search(QUERIES[0], 2) is None


def test_two_nodes():
    """Of two nodes the nearer one comes first."""
    frontier = frontier_over(linked([[1], [0]]))
    for query in QUERIES[:9]:
        nodes, _ = frontier.search(query, 2)
        assert nodes.tolist() == distances_to(query, np.arange(2)).argsort().tolist()
        assert frontier.search(query, 1)[0].tolist() == nodes[:1].tolist()


def rings(*sizes):
    """Lists of nodes that lead to the two beside them, in rings that know nothing of each other."""
    lists, first = [], 0
    for size in sizes:
        lists += [[first + (at + 1) % size, first + (at - 1) % size] for at in range(size)]
        first += size
    return lists


def test_parts_that_are_not_linked():
    """A walk stays in the part of the graph that it begins in: None where that has fewer nodes than
    the beam is wide.
    """
    levels = np.zeros(700, np.uint8)
    levels[[3, 7, 40]] = 1
    frontier = frontier_over(linked(rings(100, 600), levels))
    for query in QUERIES[:5]:
        nodes, _ = frontier.search(query, 100)
        assert sorted(nodes.tolist()) == list(range(100))
        assert frontier.search(query, 101) is None
    levels[500] = 1
    frontier = frontier_over(linked(rings(100, 600), levels))
    assert sorted(frontier.search(QUERIES[0], 700)[0].tolist()) == list(range(700))


def test_links_that_come_twice():
    """A list that names a node twice, or its own, or the same as another list, gives it once."""
    lists = [[1, 1, 2, 2, 0], [0, 2, 2, 3], [3, 3, 3], [4, 4, 0], []]
    nodes, _ = frontier_over(linked(lists, [1, 0, 0, 0, 0])).search(QUERIES[0], 5)
    assert sorted(nodes.tolist()) == [0, 1, 2, 3, 4]
    lists += [[0]] * MOST_SEEDS
    frontier = frontier_over(linked(lists, [1] + [0] * (len(lists) - 1)))
    assert sorted(frontier.search(QUERIES[0], 5)[0].tolist()) == [0, 1, 2, 3, 4]
    assert frontier.search(QUERIES[0], 6) is None


def test_unused_places_are_no_links():
    """They hold zeros: node 0 is there once, and where it is not linked to, nearer ones come first."""
    count = MOST_SEEDS + 9
    levels = [0, 1] + [0] * (count - 2)
    links = linked([[2], [2, 3], [1]] + [[]] * (count - 3), levels)
    frontier = frontier_over(links)
    assert sorted(frontier.search(QUERIES[0], 4)[0].tolist()) == [0, 1, 2, 3]
    assert frontier.search(QUERIES[0], 5) is None
    far = CODES.copy()
    far[0] = 127
    for beam in (1, 2, 3):
        assert 0 not in frontier_over(links, far).search(QUERIES[0], beam)[0]


def test_node_0_is_found():
    """Like any other, wherever walks begin."""
    codes, query = CODES.copy(), QUERIES[0]
    codes[0] = np.clip(np.rint(query / SCALE), -127, 127)
    frontier = frontier_over(graph_over(ROWS, codes).links()[0], codes)
    nodes, distances = frontier.search(query, 10)
    assert nodes[0] == 0
    assert 0 not in nodes[1:]
    assert (np.diff(distances) >= 0).all()


# --- where it begins -------------------------------------------------------------------------


def test_seeds():
    """A walk begins at the nodes of the lowest layer that has few enough; of the highest one, where
    none has, at some.
    """
    levels = np.zeros(5000, np.uint8)
    levels[::5], levels[::50], levels[::500] = 1, 2, 3
    assert seeds_of(levels).tolist() == list(range(0, 5000, 50))
    assert seeds_of(levels[:1000]).tolist() == list(range(0, 1000, 5))
    assert seeds_of(levels[:MOST_SEEDS]).tolist() == list(range(MOST_SEEDS))
    levels[:] = 4
    assert seeds_of(levels).tolist() == list(range(MOST_SEEDS))
    levels[70] = 9
    assert seeds_of(levels).tolist() == [70]
    assert seeds_of(np.zeros(4, np.uint8)).tolist() == [0, 1, 2, 3]
    assert seeds_of(np.zeros(5000, np.uint8)).tolist() == list(range(MOST_SEEDS))


# --- handing it over -------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 100, 4095, 4096, 4097, 9000])
def test_filling(rows):
    """All points are written, as the codes have them, and nothing beside them."""
    codes = np.resize(CODES, (rows, W))
    links = linked([[]] * rows)
    table = np.full((rows, W + 3), 7, np.float32)
    Frontier(links, codes, np.zeros(rows, np.float32), SCALE).fill(table[:, 1 : 1 + W])
    assert np.array_equal(table[:, 1 : 1 + W], codes * SCALE)
    assert (table[:, [0, -2, -1]] == 7).all()
