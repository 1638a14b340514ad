"""The navigator: from a query to candidates, by a graph over projections or over vectors.

It takes and gives rows; the candidates are still to be ranked by their exact distance.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.arrangement import SKETCHED, by_neighbourhood
from cyborg_embedded.distance import prepare, squared_norms
from cyborg_embedded.effort import FAR_K, WIDER, FarQueries
from cyborg_embedded.graph import Graph
from cyborg_embedded.navigation import SavedGraph
from cyborg_embedded.ranking import FEW, behind, least_ranked, left_out, ranking_of
from cyborg_embedded.resting import resting
from cyborg_embedded.vectors import stream_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.effort import Efforts
    from cyborg_embedded.graphstate import Space
    from cyborg_embedded.model import Metric
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.projection import Projection
    from cyborg_embedded.vectors import VectorLayout

    Codes = NDArray[np.int8]
    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    Alive = NDArray[np.bool_]

__all__ = ["Navigator"]

BEAM = 80
"""The width of the beam of a walk (hnswlib's ef), at least; twice k where that is more."""
ONLY_BEAM = 128
"""The same where nothing is walked again."""
MORE_AT_REST = 4
"""A walk at rest finds as much with a beam that is less wide by one in so many,"""
ONCE_AT_REST = 5
"""or wider by one in so many than one that is walked again for what is far: narrower ones do not
take much less time there."""
WALKED_TOGETHER = 32
"""Queries of which one is as near to the next as the other."""
WIDER_LEAN = 4
"""A walk in fewer components than there are needs one that is wider by one in so many."""


class Navigator:
    """A graph, and where its points come from.

    Without a `projection` they are the vectors themselves. With one they are projections of them;
    a *lean* navigator, where memory counts for more than opening some more vectors, walks those
    components alone that do.
    """

    def __init__(self, graph: Graph, projection: Projection | None) -> None:
        self.graph = graph
        self.projection = projection
        self._ranking = ranking_of(projection, graph.dimension)
        self.deaths = 0
        """Deletions known to whoever chose its rows: who knows fewer may miss some in it."""
        self.spared = 0
        """Deletions that left no dead row in the graph: of rows that it does not have."""
        self.checked = 0
        """Rows there were when the projection was last seen to find their neighbours."""
        self.efforts: Efforts = ()
        """Widths of walks, and the recall that each was seen to reach."""
        self.far: tuple[float, ...] = ()
        """Beyond what squared distance a query is far: see `SavedGraph`."""
        self._asked = FarQueries()
        self.codes: Codes | None = None
        """Of all rows that a graph was made of, by row, until they are saved or rows are added."""
        self.saved: tuple[list[bytes], int] | None = None
        """The tags of its pages in the file, if it has any, and how far the graph in them reaches.
        """

    @classmethod
    def empty(
        cls,
        room: int,
        projection: Projection | None,
        dimension: int,
        metric: Metric,
        *,
        lean: bool = False,
    ) -> Navigator:
        """A navigator without rows, with room for some."""
        walked = dimension if projection is None else walked_of(projection, lean=lean)
        return cls(Graph.empty(room, walked, space_of(metric)), projection)

    def add(self, rows: Rows, covered: int, prepared: Floats, threads: int, step: int) -> None:
        """Add rows that it does not have, ascending, with their prepared vectors (n, dimension): a
        few at a time, so that queries need not wait long. Then every row below `covered` that is
        alive is in it. One thread at a time.
        """
        self.codes = None  # they are no longer those of all rows
        self.add_stored(rows, covered, self.stored(prepared)[1], threads, step)

    def add_stored(self, rows: Rows, covered: int, points: Floats, threads: int, step: int) -> None:
        """`add`, with what `stored` gives as their points (n, walked)."""
        for first in range(0, max(1, len(rows)), step):
            part = rows[first : first + step]
            reached = int(part[-1]) + 1 if first + step < len(rows) else covered
            self.graph.add(part, reached, points[first : first + step], threads)

    def stored(self, prepared: Floats) -> tuple[Codes | None, Floats]:
        """What is saved of rows with these prepared vectors (n, d), if there is a projection, and
        where the graph has them.
        """
        if self.projection is None:
            return None, prepared
        codes = self.projection.encode(prepared)
        return codes, self.projection.decode(codes[:, : self.graph.dimension])

    @classmethod
    def restore(
        cls,
        view: ReadView,
        saved: SavedGraph,
        layout: VectorLayout,
        metric: Metric,
        *,
        lean: bool = False,
    ) -> Navigator:
        """The navigator of a saved graph. Raises `IntegrityError`."""
        links, covered, projection = saved.links, saved.covered, saved.projection
        node_of = np.full(covered, -1)
        node_of[links.rows] = np.arange(len(links.rows))
        if projection is None:

            def fill(points: Floats) -> None:
                def take(first: int, vectors: Floats) -> None:
                    nodes = node_of[first : first + len(vectors)]
                    there = nodes >= 0
                    points[nodes[there]] = prepare(vectors, metric)[there]

                stream_vectors(view, layout, covered, take)

            graph = Graph.restored(links, covered, layout.dimension, space_of(metric), fill)
        else:
            walked = walked_of(projection, lean=lean)
            graph = resting(view, saved, projection, node_of, walked)
        navigator = cls(graph, projection)
        navigator.efforts, navigator.far = saved.efforts, saved.far
        return navigator

    def graph_to_save(self) -> SavedGraph:
        """What is to be saved of it, but for the codes."""
        links, covered = self.graph.links()
        return SavedGraph(links, covered, self.projection, self.efforts, self.far)

    def points(self, queries: Floats) -> Floats:
        """Where prepared queries lie in the graph."""
        if self.projection is None:
            return queries
        return self.projection.points(queries, self.graph.dimension)

    def order(self, queries: Floats) -> Rows:
        """The order (m,) in which prepared queries (m, d) are walked fastest."""
        if self.projection is None:
            return by_neighbourhood(queries[:, :SKETCHED], WALKED_TOGETHER)
        return by_neighbourhood(self.projection.coordinates(queries, SKETCHED), WALKED_TOGETHER)

    def candidates(
        self,
        points: Floats,
        k: int,
        alive: Alive,
        deaths: int,
        beam: int | None = None,
    ) -> tuple[Rows, int] | None:
        """Rows (m, c) that are likely to hold the k nearest of each query, in no order, -1 where
        there is none; and the row up to which the graph reached.

        `points` (m, walked) are the queries'. `alive` (n,) says which of the rows that the caller
        knows may be answers, and `deaths` how many may not. `beam` is the width of the walk, None
        for the default; queries that turn out to be far are walked again, wider. The answer is None
        where the graph does not lead to k rows: the caller then scans.
        """
        width = max(BEAM if self.far else ONLY_BEAM, 2 * k) if beam is None else beam
        narrow = beam is not None
        resting = self.graph.at_rest
        once = not self.far or resting
        if not once and self._asked.most_are_far:
            width, once = WIDER * width, True
        walk = partial(self._walked, k=k, alive=alive, deaths=deaths, narrow=narrow)
        found = walk(points, width, resting=resting)
        if found is None:
            return None
        rows, covered, away, times = found
        far = None
        if self.far:
            far = self._asked.far(away, self.far[-1 if self._is_lean else 0])
        if once or far is None or times >= WIDER:
            return rows, covered
        again = walk(points[far], WIDER * width)
        if again is None:
            return rows, covered
        if len(again[0]) == len(rows):
            return again[:2]
        if again[1] != covered:
            # It has grown since: one reach for all.
            again = walk(points, WIDER * width)
            return again and again[:2]
        more = again[0].shape[1] - rows.shape[1]
        rows = np.pad(rows, ((0, 0), (0, more)), constant_values=-1)
        rows[far] = again[0]
        return rows, covered

    def _walked(
        self,
        points: Floats,
        width: int,
        *,
        k: int,
        alive: Alive,
        deaths: int,
        narrow: bool,
        resting: bool = False,
    ) -> tuple[Rows, int, Floats, int] | None:
        """`candidates` by one walk of this width, how far away the last of the `FAR_K` nearest is,
        (m,), and how many times as wide it was in the end, as many rows were to be left out.
        """
        ranked = self._ranked(k, width, narrow=narrow)
        if resting:
            width += width // ONCE_AT_REST if self.far else -(width // MORE_AT_REST)
        if self._is_lean:
            width += width // WIDER_LEAN
        least = max(ranked, FAR_K) if self.far else ranked
        width, times = max(width, least), 1
        while True:
            # All of it where rows are to be left out.
            wanted = least if deaths == self.spared else None
            found = self.graph.search(points, width, wanted)
            if found is None:
                return None
            rows, distances, covered = found
            if deaths == self.spared and covered <= len(alive):
                break
            dead = left_out(rows, alive, covered)
            covered = min(covered, len(alive))
            if not dead.any():
                break
            if (rows.shape[1] - dead.sum(axis=1)).min() >= min(ranked, rows.shape[1]):
                rows = behind(rows, distances, dead)
                break
            width, times = 4 * width, 4 * times
            if width > len(self.graph) // 2:
                return None
        away = distances[:, min(FAR_K, distances.shape[1]) - 1]
        return rows[:, :ranked], covered, away, times

    def among(
        self, points: Floats, k: int, wanted: Alive, width: int
    ) -> tuple[Rows, Alive, int] | None:
        """`candidates` of the rows that are `wanted` (n,), and for each query (m,) whether a walk
        of this width has found enough of those.
        """
        ranked = self._ranked(k, width)
        width = max(width, ranked)
        found = self.graph.search(points, width)
        if found is None:
            return None
        rows, distances, covered = found
        others = left_out(rows, wanted, covered)
        rows = behind(rows, distances, others)
        enough = rows.shape[1] - others.sum(axis=1) >= least_ranked(k, 0)
        return rows[:, :ranked], enough, min(covered, len(wanted))

    def farthest(self, query: Floats, vectors: Floats) -> list[float]:
        """The squared distance from a query (d,) to the farthest of some vectors (n, d), all
        prepared, for what `far` is about.
        """
        projection = self.projection
        if projection is None:
            return [apart(vectors, query)]
        stored = projection.decode(projection.encode(vectors))
        return [
            apart(stored[:, :walked], projection.points(query[None], walked)[0])
            for walked in (projection.dimensions, projection.least)
        ]

    @property
    def _is_lean(self) -> bool:
        """Whether it walks fewer components than there are."""
        return self.projection is not None and self.graph.dimension < self.projection.dimensions

    def _ranked(self, k: int, width: int, *, narrow: bool = False) -> int:
        """How many of what a walk finds are ranked by their vectors. Who asks for a `narrow` walk
        wants its answer soon: no more than its width, unless what it alone says is worth little.
        """
        least, ranking = least_ranked(k, width), self._ranking
        if ranking is None:
            return least
        ranked = max(int(ranking.each * least), int(width / ranking.share))
        return min(ranked, max(width, least)) if narrow and ranking is not FEW else ranked


def apart(points: Floats, point: Floats) -> float:
    """The squared distance of the farthest of points (n, c) from one (c,)."""
    return float(squared_norms(points - point).max())


def walked_of(projection: Projection, *, lean: bool) -> int:
    """How many of its components are walked."""
    return projection.least if lean else projection.dimensions


def space_of(metric: Metric) -> Space:
    """What hnswlib is to measure; under cosine it sees vectors of unit length."""
    return "ip" if metric == "inner_product" else "l2"
