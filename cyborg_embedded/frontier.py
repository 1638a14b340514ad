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

from collections import deque
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
MOST_TIED = 2
"""Nodes that are kept, for each of a beam, where many are equally far."""
BEGUN_WITH = 12
"""So many are expanded first: most are far away."""
NODES_AT_ONCE = 4096
MOST_SEEDS = 512
"""Nodes of upper layers to begin with, at most."""


class Scratch:
    """What one walk at a time writes to. A walk that had to ask the system for it would take a
    sixth longer.
    """

    __slots__ = ("met", "points", "turns", "turns_of")

    def __init__(self, nodes: int, most: int, width: int) -> None:
        self.met = np.empty(nodes, np.bool_)
        self.turns_of = np.empty(nodes, np.int16)
        self.turns = np.arange(most, dtype=np.int16)
        self.points = np.empty((most, width), np.float32)


class Frontier:
    """A graph over the points `scale` (w,) times `codes` (n, w), of which `norms` (n,) are the
    squared lengths. Threads may share it.
    """

    def __init__(self, links: Links, codes: Codes, norms: Floats, scale: Floats) -> None:
        self.links, self.codes, self.scale = links, codes, scale
        self._norms = norms
        self._level0 = links.level0
        # Unused places of a list hold a 0: every walk begins at node 0 too, so that it is met.
        seeds = seeds_of(links.levels)
        self._seeds = seeds if seeds[0] == 0 else np.concatenate(([0], seeds))
        self._seed_points = codes.take(self._seeds, axis=0).astype(np.float32)
        self._seed_norms = norms.take(self._seeds)
        self._free: deque[Scratch] = deque()

    def fill(self, points: Floats) -> None:
        """Write the points of all nodes (n, w)."""
        for first in range(0, len(points), NODES_AT_ONCE):
            nodes = slice(first, first + NODES_AT_ONCE)
            np.multiply(self.codes[nodes], self.scale, out=points[nodes], dtype=np.float32)

    def search(self, point: Floats, beam: int) -> tuple[Nodes, Floats] | None:
        """The nodes that a walk to a point (w,) with a beam of this width ends with, and their
        squared distances, nearest first; None where there are fewer.
        """
        try:
            scratch = self._free.pop()
        except IndexError:
            scratch = Scratch(len(self.codes), EXPANDED * self._level0.shape[1], len(self.scale))
        nodes, distances = self._walked(scratch, point * (np.float32(-2) * self.scale), beam)
        self._free.append(scratch)
        if len(nodes) < beam:
            return None
        nearest = distances.argsort()[:beam]
        distances = distances[nearest]
        distances += point.dot(point)
        return nodes[nearest], distances

    def _walked(self, scratch: Scratch, weights: Floats, beam: int) -> tuple[Nodes, Floats]:
        """At least as many nodes as the beam is wide, if there are, in no order; and their
        distances, less what is the same for all of them.
        """
        met = scratch.met
        met.fill(False)  # noqa: FBT003 - numpy's own
        nodes, distances = self._seeds, self._seed_points @ weights
        distances += self._seed_norms
        if len(nodes) > BEGUN_WITH:
            ranks = distances.copy()
            ranks[0] = -np.inf
            nearest = ranks.argpartition(BEGUN_WITH)[:BEGUN_WITH]
            nodes, distances = nodes[nearest], distances[nearest]
        met[nodes] = True
        waiting, waited = nodes, distances
        farthest = np.float32(np.inf)
        while len(waiting):
            expanded = waiting
            if len(waiting) > EXPANDED:
                split = waited.argpartition(EXPANDED)
                expanded, split = waiting[split[:EXPANDED]], split[EXPANDED:]
                waiting, waited = waiting[split], waited[split]
            else:
                waiting, waited = waiting[:0], waited[:0]
            fresh = self._unmet(scratch, expanded)
            if not len(fresh):
                continue
            points = scratch.points[: len(fresh)]
            np.copyto(points, self.codes.take(fresh, axis=0))
            away = points @ weights
            away += self._norms.take(fresh)
            near = away <= farthest
            fresh, away = fresh.compress(near), away.compress(near)
            nodes, distances = np.concatenate((nodes, fresh)), np.concatenate((distances, away))
            waiting, waited = np.concatenate((waiting, fresh)), np.concatenate((waited, away))
            if len(nodes) > beam:
                # Values are parted faster than places, but keep all that are as far as the last.
                farthest = np.partition(distances, beam - 1)[beam - 1]
                near = distances <= farthest
                nodes, distances = nodes.compress(near), distances.compress(near)
                if len(nodes) > MOST_TIED * beam:
                    some = distances.argpartition(beam - 1)[:beam]
                    nodes, distances = nodes[some], distances[some]
                near = waited <= farthest
                waiting, waited = waiting.compress(near), waited.compress(near)
        return nodes, distances

    def _unmet(self, scratch: Scratch, expanded: Nodes) -> Nodes:
        """The neighbours of nodes that have not been met so far, each once. Now they have."""
        met, turns_of = scratch.met, scratch.turns_of
        lists = self._level0.take(expanded, axis=0)
        lists[:, 0] = 0  # not links: how many of them there are
        links = lists.reshape(-1)
        found = links.compress(~met.take(links)).astype(np.int64)
        met[found] = True
        # Of those that are there twice the last one stays.
        turns = scratch.turns[: len(found)]
        turns_of[found] = turns
        return found.compress(turns_of.take(found) == turns)


def seeds_of(levels: NDArray[np.uint8]) -> Nodes:
    """Nodes of the lowest layer that has few enough of them."""
    for level in range(int(levels.max())):
        nodes = np.flatnonzero(levels >= level)
        if len(nodes) <= MOST_SEEDS:
            return nodes
    return np.flatnonzero(levels == levels.max())[:MOST_SEEDS]
