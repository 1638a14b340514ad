"""The navigator: from a query to candidates, by a graph over projections or over vectors.

It takes and gives rows; the candidates are still to be ranked by their exact distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import prepare
from cyborg_embedded.frontier import Frontier
from cyborg_embedded.graph import Graph
from cyborg_embedded.growing import aligned, with_room
from cyborg_embedded.navigation import SavedGraph, stream_codes
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

BEAM = 128
"""The width of the beam of a walk (hnswlib's ef), at least; twice k where that is more."""
RANKED_EXTRA = 5
"""Candidates beyond k that are ranked by exact distance, at least."""
REFINED = 6
"""Candidates that are sorted by all components, for each that is ranked."""
WIDE_SHARE = 2
"""And one in so many that a wide walk finds."""
MORE_AT_REST = 4
"""A walk at rest finds as much with a beam that is less wide by one in so many."""
NORMED_AT_ONCE = 256
AT_HAND = 4
"""Candidates that are ranked where vectors are at hand, for each that would be otherwise."""
UNREFINED = 3
"""Candidates that are ranked where they cannot be sorted so, for each that would be otherwise."""


class Navigator:
    """A graph, and where its points come from.

    Without a `projection` they are the vectors themselves. With one, the codes of the components
    that the graph does not walk are kept beside it, by row; or, where memory counts for more than
    opening some more vectors, not at all.
    """

    def __init__(self, graph: Graph, projection: Projection | None, rest: Codes | None) -> None:
        self.graph = graph
        self.projection = projection
        self.deaths = 0
        """Deletions known to whoever chose its rows: who knows fewer may miss some in it."""
        self.spared = 0
        """Deletions that left no dead row in the graph: of rows that it does not have."""
        self.checked = 0
        """Rows there were when the projection was last seen to find their neighbours."""
        self.efforts: Efforts = ()
        """Widths of walks, and the recall that each was seen to reach."""
        self.saved: tuple[list[bytes], int] | None = None
        """The tags of its pages in the file, if it has any, and how far the graph in them reaches.
        """
        self._rest = rest

    @classmethod
    def empty(
        cls,
        room: int,
        rows: int,
        projection: Projection | None,
        dimension: int,
        metric: Metric,
        *,
        lean: bool = False,
    ) -> Navigator:
        """A navigator without rows, with room for `room` of an index of so many rows. A `lean` one
        keeps no codes.
        """
        walked = dimension if projection is None else projection.walked
        graph = Graph.empty(room, walked, space_of(metric))
        return cls(graph, projection, None if lean else empty_rest(projection, rows))

    def add(self, rows: Rows, covered: int, prepared: Floats, threads: int, step: int) -> None:
        """Add rows that it does not have, ascending, with their prepared vectors (n, dimension): a
        few at a time, so that queries need not wait long. Then every row below `covered` that is
        alive is in it. One thread at a time.
        """
        projection = self.projection
        if projection is not None:
            codes = projection.encode(prepared)
            if self._rest is not None:
                self._rest = with_room(self._rest, covered)
                self._rest[rows] = codes[:, projection.walked :]
            prepared = projection.decode(codes)
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            reached = int(part[-1]) + 1 if first + step < len(rows) else covered
            self.graph.add(part, reached, prepared[first : first + step], threads)
        if not len(rows):
            self.graph.add(rows, covered, prepared, threads)

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
        """The navigator of a saved graph. A `lean` one keeps no codes beside it. Raises
        `IntegrityError`.
        """
        links, covered, projection = saved.links, saved.covered, saved.projection
        node_of = np.full(covered, -1)
        node_of[links.rows] = np.arange(len(links.rows))
        rest = None if lean else empty_rest(projection, covered)
        if projection is None:

            def fill(points: Floats) -> None:
                def take(first: int, vectors: Floats) -> None:
                    nodes = node_of[first : first + len(vectors)]
                    there = nodes >= 0
                    points[nodes[there]] = prepare(vectors, metric)[there]

                stream_vectors(view, layout, covered, take)

            graph = Graph.restored(links, covered, layout.dimension, space_of(metric), fill)
        else:
            graph = resting(view, saved, projection, node_of, rest)
        navigator = cls(graph, projection, rest)
        navigator.efforts = saved.efforts
        return navigator

    def graph_to_save(self) -> SavedGraph:
        """What is to be saved of it, but for the codes."""
        links, covered = self.graph.links()
        return SavedGraph(links, covered, self.projection, self.efforts)

    def points(self, queries: Floats, *, at_hand: bool = False) -> Floats:
        """Where prepared queries lie for `candidates`: in all components, or, where vectors are
        `at_hand` and candidates need not be sorted before they are ranked, in those walked.
        """
        if self.projection is None:
            return queries
        return self.projection.points(queries, walked=at_hand)

    def candidates(
        self, points: Floats, k: int, alive: Alive, deaths: int, beam: int | None = None
    ) -> tuple[Rows, int] | None:
        """Rows (m, c) that are likely to hold the k nearest of each query, in no order, -1 where
        there is none; and the row up to which the graph reached.

        `alive` (n,) says which of the rows that the caller knows may be answers, and `deaths` how
        many may not. `beam` is the
        width of the walk, as many as are ranked at least; None for the default. The answer is None
        where the graph does not lead to k rows: the caller then scans.
        """
        width = max(BEAM, 2 * k) if beam is None else beam
        # A walk that looks for the last per cent is not to lose it where candidates are cut.
        ranked = k + max(RANKED_EXTRA, k // 4, width // 32)
        if self.graph.at_rest:
            width -= width // MORE_AT_REST
        width = max(width, ranked)
        while True:
            kept = self._kept(points, ranked, width)
            # All of it where rows are to be left out.
            wanted = kept if deaths == self.spared else None
            found = self.graph.search(points[:, : self.graph.dimension], width, wanted)
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
                rows, distances = behind(rows, distances, dead)
                break
            width *= 4
            if width > len(self.graph) // 2:
                return None
        return self._sorted_out(points, rows, distances, ranked, kept), covered

    def among(
        self, points: Floats, k: int, wanted: Alive, width: int
    ) -> tuple[Rows, Alive, int] | None:
        """`candidates` of the rows that are `wanted` (n,), and for each query (m,) whether a walk
        of this width has found as many of those as are to be ranked.
        """
        ranked = k + max(RANKED_EXTRA, k // 4)
        width = max(width, ranked)
        found = self.graph.search(points[:, : self.graph.dimension], width)
        if found is None:
            return None
        rows, distances, covered = found
        others = left_out(rows, wanted, covered)
        rows, distances = behind(rows, distances, others)
        enough = rows.shape[1] - others.sum(axis=1) >= ranked
        kept = self._kept(points, ranked, width)
        candidates = self._sorted_out(points, rows, distances, ranked, kept)
        return candidates, enough, min(covered, len(wanted))

    def _kept(self, points: Floats, ranked: int, width: int) -> int:
        """How many of what a walk finds are looked at any further."""
        projection = self.projection
        if projection is None or projection.walked == projection.dimensions:
            return ranked
        if points.shape[1] == projection.walked:
            return max(AT_HAND * ranked, width // WIDE_SHARE)
        if self._rest is None:
            return UNREFINED * ranked
        return max(REFINED * ranked, width // WIDE_SHARE)

    def _sorted_out(
        self, points: Floats, rows: Rows, distances: Floats, ranked: int, kept: int
    ) -> Rows:
        """Of the first rows, in the order of their distances, those that are to be ranked."""
        rows, distances = rows[:, :kept], distances[:, :kept]
        projection, rest = self.projection, self._rest
        sortable = projection is not None and points.shape[1] > projection.walked
        if projection is None or not sortable or rest is None or rows.shape[1] <= ranked:
            return rows
        if len(rows) > 1:
            whole = projection.rest_distances(rest.take(rows, axis=0), points)
            whole += distances
            order = whole.argpartition(ranked - 1, axis=1)[:, :ranked]
            best: Rows = np.take_along_axis(rows, order, 1)
            return best
        # The same for one query, with less around it.
        line = projection.rest_distances(rest.take(rows[0], axis=0)[None], points)[0]
        line += distances[0]
        return rows[:, line.argpartition(ranked - 1)[:ranked]]


def left_out(rows: Rows, wanted: Alive, covered: int) -> Alive:
    """Which of `rows` are not wanted, or too new for whoever wants them."""
    out: Alive = ~wanted.take(rows, mode="clip")
    out |= rows >= min(covered, len(wanted))
    return out


def behind(rows: Rows, distances: Floats, out: Alive) -> tuple[Rows, Floats]:
    """Rows (m, c) and their distances, with those that are left out as -1 behind the others."""
    distances = np.where(out, np.float32(np.inf), distances)
    order = distances.argsort(axis=1, kind="stable")
    return (
        np.take_along_axis(np.where(out, -1, rows), order, 1),
        np.take_along_axis(distances, order, 1),
    )


def resting(
    view: ReadView, saved: SavedGraph, projection: Projection, node_of: Rows, rest: Codes | None
) -> Graph:
    """A saved graph over codes, as it lies; `rest` gets those that are not walked."""
    walked = projection.walked
    codes = aligned((len(saved.links.rows), walked), np.int8)
    norms = np.empty(len(codes), np.float32)
    # Rows as single items are put in their places twice as fast.
    row = np.dtype((np.void, walked))
    rows_of_codes = codes.view(row)[:, 0]

    def take(first: int, part: Codes) -> None:
        nodes = node_of[first : first + len(part)]
        if rest is not None:
            rest[first : first + len(part)] = part[:, walked:]
        inside = np.ascontiguousarray(part[:, :walked])
        if nodes.min() < 0:
            there = nodes >= 0
            nodes, inside = nodes[there], inside[there]
        rows_of_codes[nodes] = inside.view(row)[:, 0]
        for start in range(0, len(nodes), NORMED_AT_ONCE):
            some = slice(start, start + NORMED_AT_ONCE)
            norms[nodes[some]] = projection.norms(inside[some])

    stream_codes(view, projection.dimensions, saved.covered, take)
    frontier = Frontier(saved.links, codes, norms, projection.scale[:walked])
    return Graph.resting(frontier, saved.covered, "l2")


def empty_rest(projection: Projection | None, covered: int) -> Codes:
    """Room for the codes that are not walked."""
    rest = 0 if projection is None else projection.dimensions - projection.walked
    return np.zeros((covered, rest), np.int8)


def space_of(metric: Metric) -> Space:
    """What hnswlib is to measure; under cosine it sees vectors of unit length."""
    return "ip" if metric == "inner_product" else "l2"
