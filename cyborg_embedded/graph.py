"""The HNSW graph over points: the only module that imports hnswlib.

What the points are (vectors, or their projections) is not known here.

hnswlib takes and gives its state as numpy arrays (graphstate.py), so nothing passes through a
file. What it is given was authenticated and checked before (links.py).

A saved graph is not handed to hnswlib before that pays: see frontier.py.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import hnswlib
import numpy as np

from cyborg_embedded.beams import Beams
from cyborg_embedded.gate import Gate
from cyborg_embedded.graphstate import links_of, padded, state_of, width_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.frontier import Frontier
    from cyborg_embedded.graphstate import Space
    from cyborg_embedded.links import Links

    Rows = NDArray[np.int64]
    Points = NDArray[np.float32]

__all__ = ["Graph"]

M = 16
EF_CONSTRUCTION = 200
PAYS_SHARE = 192
"""A walk at rest takes longer than hnswlib's by as much as handing so many nodes to it takes."""


class Graph:
    """An HNSW graph over the points of some rows, for all threads of a handle.

    Rows are only ever added, in steps that searches wait for. Rows that have died stay in it: who
    searches leaves them out.
    """

    def __init__(
        self,
        index: hnswlib.Index | None,
        space: Space,
        dimension: int,
        rows: Rows,
        covered: int,
        frontier: Frontier | None = None,
    ) -> None:
        self._index, self._frontier = index, frontier
        self._space: Space = space
        self.dimension = dimension
        """Of its points."""
        self._rows = [rows]
        self._count = len(rows)
        self._gate = Gate()
        self._waking = threading.Lock()
        self._walks = 0
        self._beams = Beams()
        self.torn = False
        """Whether adding failed in the middle: it is neither searched nor saved then."""
        self.covered = covered
        """Every row below this that was alive when the graph was made, or grew, is in it."""

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> Rows:
        """Its rows, in no order."""
        return np.concatenate(self._rows)

    def alive(self, alive: NDArray[np.bool_]) -> int:
        """How many of its rows are `alive` (n,); none beyond that."""
        rows = self.rows
        return int(np.count_nonzero(alive[rows[rows < len(alive)]]))

    @property
    def at_rest(self) -> bool:
        """Whether it lies as it was saved."""
        return self._index is None

    @classmethod
    def empty(cls, room: int, dimension: int, space: Space) -> Graph:
        """A graph without rows, with room for some."""
        index = hnswlib.Index(space, width_of(dimension))
        index.init_index(max_elements=max(1, room), M=M, ef_construction=EF_CONSTRUCTION)
        index.set_ef(1)
        return cls(index, space, dimension, np.empty(0, np.int64), 0)

    @classmethod
    def resting(cls, frontier: Frontier, covered: int, space: Space) -> Graph:
        """A saved graph as it lies."""
        rows = frontier.links.rows.astype(np.int64)
        return cls(None, space, len(frontier.scale), rows, covered, frontier)

    @classmethod
    def restored(
        cls,
        links: Links,
        covered: int,
        dimension: int,
        space: Space,
        fill: Callable[[Points], object],
    ) -> Graph:
        """The graph of checked `links`; `fill` writes the points of its nodes (n, dimension)."""
        index = hnswlib.Index(params=state_of(links, dimension, space, fill))
        return cls(index, space, dimension, links.rows.astype(np.int64), covered)

    def expect(self, walks: int) -> None:
        """So many walks are to come: hand it to hnswlib if that pays for these alone."""
        if walks > len(self) // PAYS_SHARE:
            self.wake()

    def wake(self) -> hnswlib.Index:
        """Hand it to hnswlib, unless it is there."""
        if self._frontier is not None:
            with self._waking:
                frontier = self._frontier
                if frontier is not None:
                    state = state_of(frontier.links, self.dimension, self._space, frontier.fill)
                    self._index = hnswlib.Index(params=state)
                    self._frontier = None
        return self._index

    def add(self, rows: Rows, covered: int, points: Points, threads: int) -> None:
        """Add rows that it does not have, and their points (n, dimension).

        One thread at a time. Searches wait meanwhile.
        """
        index = self.wake()
        with self._gate.exclusive():
            wanted = self._count + len(rows)
            if wanted > index.get_max_elements():
                # A quarter more than needed, so that a growing graph is moved O(log n) times.
                index.resize_index(wanted + wanted // 4)
            try:
                if len(rows):
                    index.add_items(padded(points), rows, num_threads=threads)
                    self._rows.append(rows)
                self._count, self.covered = wanted, covered
            except BaseException:
                # Nobody knows how many of them are in it.
                self.torn = True
                raise

    def search(
        self, queries: Points, beam: int, wanted: int | None = None
    ) -> tuple[Rows, Points, int] | None:
        """The nearest that a walk with a beam of this width ends with, as many as are `wanted`, all
        if that is None: rows and their distances in hnswlib's terms, both (m, min(wanted, beam,
        rows)), nearest first; and how far the graph reached then.

        None where the graph does not lead to as many rows; the caller then searches exactly. Works
        on the calling thread alone, and, once awake, without the GIL.
        """
        # In this order: who adds to it has woken it before.
        covered, frontier = self.covered, self._frontier
        if frontier is not None:
            self._walks += len(queries)
            if self._walks <= len(self) // PAYS_SHARE:
                return searched(frontier, covered, queries, beam, wanted)
        index, queries = self.wake(), padded(queries)
        stay = self._gate.shared()
        beams = self._beams
        try:
            if self.torn:
                return None
            beam = min(beam, self._count)
            count = beam if wanted is None else min(wanted, beam)
            if beams.enter(index.set_ef, beam, alone=self._gate.inside == 1):
                try:
                    labels, distances = index.knn_query(queries, count, num_threads=1)
                finally:
                    beams.leave()
            else:
                # hnswlib's beam is the larger of what is set and the number of rows asked for.
                labels, distances = index.knn_query(queries, beam, num_threads=1)
                labels, distances = labels[:, :count], distances[:, :count]
        except RuntimeError:
            # It raises where it finds fewer.
            return None
        else:
            return labels.view(np.int64), distances, self.covered
        finally:
            stay.leave()

    def links(self) -> tuple[Links, int]:
        """What of the graph is to be saved; and how far it reaches."""
        covered, frontier = self.covered, self._frontier
        if frontier is not None:
            return frontier.links, covered
        index = self.wake()
        with self._gate.shared():
            state = index.__getstate__()[0]
            n, covered = self._count, self.covered
        return links_of(state, n), covered


def searched(
    frontier: Frontier, covered: int, queries: Points, beam: int, wanted: int | None
) -> tuple[Rows, Points, int] | None:
    """`Graph.search`, as it lies."""
    node_rows = frontier.links.rows
    rows, distances = [], []
    for query in queries:
        found = frontier.search(query, min(beam, len(node_rows)))
        if found is None:
            return None
        rows.append(node_rows[found[0][:wanted]].astype(np.int64))
        distances.append(found[1][:wanted])
    return np.stack(rows), np.stack(distances), covered
