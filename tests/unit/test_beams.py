"""The width that all threads share: set by the first, shared by who wants the same, never narrower."""

import numpy as np
from support import in_threads

from cyborg_embedded.beams import Beams
from cyborg_embedded.graph import Graph


def test_shared_by_those_who_want_the_same():
    """It is set once for who comes first and all that want the same; others are refused."""
    beams, widths = Beams(), []
    assert beams.enter(widths.append, 20, alone=True)
    assert beams.enter(widths.append, 20, alone=False)
    assert not beams.enter(widths.append, 30, alone=False)
    assert widths == [20]


def test_free_again_when_all_have_left():
    """Whoever comes when all have left sets his own; the same one is not set again."""
    beams, widths = Beams(), []
    for width in (20, 20, 30):
        assert beams.enter(widths.append, width, alone=True)
        beams.leave()
    assert widths == [20, 30]
    assert beams.enter(widths.append, 30, alone=False)
    assert not beams.enter(widths.append, 20, alone=False)
    beams.leave()
    assert beams.enter(widths.append, 20, alone=False)


def test_who_was_interrupted():
    """Who has not left counts no more when somebody is alone."""
    beams, widths = Beams(), []
    assert beams.enter(widths.append, 20, alone=True)
    assert not beams.enter(widths.append, 30, alone=False)
    assert beams.enter(widths.append, 30, alone=True)
    assert widths == [20, 30]


def test_walks_of_different_widths():
    """Walks find what they find alone, whatever widths others use before and meanwhile."""
    random = np.random.default_rng(0)
    points = random.standard_normal((3000, 16)).astype(np.float32)
    queries = random.standard_normal((40, 16)).astype(np.float32)
    graph = Graph.empty(3000, 16, "l2")
    graph.add(np.arange(3000), 3000, points, 1)
    distances = ((points[None] - queries[:, None]) ** 2).sum(axis=2)
    true = np.argsort(distances, axis=1)[:, :10]

    def recall(width):
        rows = graph.search(queries, width, 10)[0]
        assert rows.shape == (40, 10)
        return (true[:, :, None] == rows[:, None, :]).any(axis=2).mean()

    alone = {width: recall(width) for width in (10, 40, 160)}
    assert alone[10] < alone[40] < alone[160]
    assert {width: recall(width) for width in (160, 40, 10)} == alone
    short = []

    def walk(width):
        short.extend(width for _ in range(60) if recall(width) < alone[width])

    in_threads(walk, alone)
    assert short == []
