"""Walking a saved graph as it lies in its pages: links and codes, without hnswlib.

Handing a graph to hnswlib takes longer than a hundred walks: it wants points of four bytes a
component beside their links, in memory of its own. Until so many have been asked for, this does:

    frontier   the EXPANDED nearest nodes known that have not been expanded
    step       their neighbours that have not been met: distances to all of them at once, the
               `beam` nearest of all known are kept
    end        none of those that are kept has not been expanded

hnswlib does the same with one node at a step (Malkov and Yashunin, arXiv:1603.09320, algorithm 2),
and begins at one node of the bottom layer. This begins at some of the nodes of the layers above,
and so finds a little more with the same beam.

Distances are |q - p|² = |q|² + |p|² - 2⟨q, p⟩, with p as the codes have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.links import Links

    Codes = NDArray[np.int8]
    Floats = NDArray[np.float32]
    Nodes = NDArray[np.int64]

__all__ = ["Frontier"]

EXPANDED = 32
"""Nodes that are expanded in a step: more of them are wasted, fewer take more steps."""
BEGUN_WITH = 12
"""Of them so many are expanded first: most are far away."""
NODES_AT_ONCE = 4096
MOST_SEEDS = 512
"""Nodes of upper layers to begin with, at most."""


class Frontier:
    """A graph over the points `scale` (w,) times `codes` (n, w), of which `norms` (n,) are the
    squared lengths. Threads may share it.
    """

    def __init__(self, links: Links, codes: Codes, norms: Floats, scale: Floats) -> None:
        self.links, self.codes, self.scale = links, codes, scale
        self._norms = norms
        self._level0 = links.level0
        self._places = np.arange(links.level0.shape[1] - 1)
        self._seeds = seeds_of(links.levels)

    def fill(self, points: Floats) -> None:
        """Write the points of all nodes (n, w)."""
        for first in range(0, len(points), NODES_AT_ONCE):
            nodes = slice(first, first + NODES_AT_ONCE)
            np.multiply(self.codes[nodes], self.scale, out=points[nodes], dtype=np.float32)

    def search(self, point: Floats, beam: int) -> tuple[Nodes, Floats] | None:
        """The nodes that a walk to a point (w,) with a beam of this width ends with, and their
        squared distances, nearest first; None where there are fewer.
        """
        weights = point * (np.float32(-2) * self.scale)
        met = np.zeros(len(self.codes), np.bool_)
        order = np.empty(len(self.codes), np.int32)
        nodes, distances = self._seeds, self._measured(self._seeds, weights)
        if len(nodes) > BEGUN_WITH:
            nearest = distances.argpartition(BEGUN_WITH)[:BEGUN_WITH]
            nodes, distances = nodes[nearest], distances[nearest]
        met[nodes] = True
        waiting, waited = nodes, distances
        while len(waiting):
            expanded = waiting
            if len(waiting) > EXPANDED:
                split = waited.argpartition(EXPANDED)
                expanded, split = waiting[split[:EXPANDED]], split[EXPANDED:]
                waiting, waited = waiting[split], waited[split]
            else:
                waiting, waited = waiting[:0], waited[:0]
            fresh = self._unmet(expanded, met, order)
            if not len(fresh):
                continue
            away = self._measured(fresh, weights)
            nodes, distances = np.concatenate((nodes, fresh)), np.concatenate((distances, away))
            waiting, waited = np.concatenate((waiting, fresh)), np.concatenate((waited, away))
            if len(nodes) > beam:
                nearest = distances.argpartition(beam - 1)[:beam]
                nodes, distances = nodes[nearest], distances[nearest]
                near = waited <= distances.max()
                waiting, waited = waiting[near], waited[near]
        if len(nodes) < beam:
            return None
        nearest = distances.argsort()[:beam]
        distances = distances[nearest]
        distances += point.dot(point)
        return nodes[nearest], distances

    def _measured(self, nodes: Nodes, weights: Floats) -> Floats:
        """Distances of nodes, less what is the same for all of them."""
        distances: Floats = self.codes.take(nodes, axis=0).astype(np.float32) @ weights
        distances += self._norms.take(nodes)
        return distances

    def _unmet(
        self, expanded: Nodes, met: NDArray[np.bool_], order: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """The neighbours of nodes that have not been met so far, each once. Now they have."""
        lists = self._level0.take(expanded, axis=0)
        found = lists[:, 1:][self._places < lists[:, :1]].astype(np.int64)
        found = found[~met.take(found)]
        met[found] = True
        # Of those that are there twice the last one stays.
        turns = np.arange(len(found), dtype=np.int32)
        order[found] = turns
        fresh: Nodes = found[order.take(found) == turns]
        return fresh


def seeds_of(levels: NDArray[np.uint8]) -> Nodes:
    """Nodes of the lowest layer that has few enough of them."""
    for level in range(int(levels.max())):
        nodes = np.flatnonzero(levels >= level)
        if len(nodes) <= MOST_SEEDS:
            return nodes
    return np.flatnonzero(levels == levels.max())[:MOST_SEEDS]
