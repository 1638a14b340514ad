"""How many components hnswlib is given: more than there are, where that is faster, and nothing else
changes.
"""

import numpy as np
import pytest

from cyborg_embedded.graph import Graph
from cyborg_embedded.graphstate import padded, width_of
from cyborg_embedded.links import decode, encode

COUNT = 400
DIMENSIONS = [1, 3, 12, 13, 25, 36, 50, 97, 100, 300]


def test_width():
    """The next multiple of 16, if that is less than a third more."""
    widths = {1: 1, 8: 8, 12: 12, 13: 16, 16: 16, 17: 17, 24: 24, 25: 32, 36: 36, 37: 48, 40: 48}
    widths |= {50: 64, 64: 64, 96: 96, 97: 112, 100: 112, 300: 304, 384: 384, 1000: 1008}
    assert {dimension: width_of(dimension) for dimension in widths} == widths


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_padded(dimension):
    """Zeros come behind what there is; nothing is copied where none are wanted."""
    points = np.random.default_rng(dimension).standard_normal((5, dimension)).astype(np.float32)
    wider = padded(points)
    assert wider.shape == (5, width_of(dimension))
    assert wider.dtype == np.float32
    assert np.array_equal(wider[:, :dimension], points)
    assert not wider[:, dimension:].any()
    assert (wider is points) == (width_of(dimension) == dimension)


@pytest.mark.parametrize("space", ["l2", "ip"])
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_distances_and_rows(space, dimension):
    """A graph of any dimension finds its rows at their distances, before and after it was saved,
    and grows.
    """
    random = np.random.default_rng(dimension)
    points = random.standard_normal((2 * COUNT, dimension)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    graph = Graph.empty(COUNT, dimension, space)
    graph.add(np.arange(COUNT), COUNT, points[:COUNT], 1)
    links, covered = graph.links()
    again = Graph.restored(
        decode(encode(links), COUNT),
        covered,
        dimension,
        space,
        lambda out: np.copyto(out, points[links.rows]),
    )
    for each in (graph, again):
        rows, distances, _ = each.search(points[:20], 100, 5)
        near = points[rows].astype(np.float64)
        query = points[:20, None].astype(np.float64)
        wanted = (
            1 - (near * query).sum(axis=2) if space == "ip" else ((near - query) ** 2).sum(axis=2)
        )
        assert np.allclose(distances, wanted, atol=1e-5)
        if dimension > 1:
            assert rows[:, 0].tolist() == list(range(20))
    again.add(np.arange(COUNT, 2 * COUNT), 2 * COUNT, points[COUNT:], 1)
    rows, _, _ = again.search(points[COUNT : COUNT + 20], 100, 5)
    if dimension > 1:
        assert rows[:, 0].tolist() == list(range(COUNT, COUNT + 20))
