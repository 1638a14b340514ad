"""The navigator: from a query to candidates, by a graph over projections or over vectors.

It takes and gives rows; the candidates are still to be ranked by their exact distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.blobs import new_memory
from cyborg_embedded.distance import prepare
from cyborg_embedded.graph import Graph
from cyborg_embedded.navigation import SavedGraph, stream_codes
from cyborg_embedded.vectors import stream_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.graph import Memory, Space
    from cyborg_embedded.model import Metric
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.projection import Projection
    from cyborg_embedded.vectors import VectorLayout

    Codes = NDArray[np.int8]
    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    VectorBlocks = Callable[[Rows], Floats]

__all__ = ["Navigator"]

BEAM = 104
"""The width of the beam of a walk (hnswlib's ef), at least; twice k where that is more."""
RANKED_EXTRA = 3
"""Candidates beyond k that are ranked by exact distance, at least."""
REFINED = 5
"""Candidates that are sorted by all components, for each that is ranked."""


@dataclass(frozen=True, slots=True, repr=False)
class Navigator:
    """A graph, and where its points come from.

    Without a `projection` they are the vectors themselves. With one, `rest` (covered rows,
    m - walked) holds the codes of the components that the graph does not walk, by row.
    """

    graph: Graph
    projection: Projection | None
    rest: Codes

    @classmethod
    def build(
        cls,
        rows: Rows,
        covered: int,
        vectors: VectorBlocks,
        projection: Projection | None,
        dimension: int,
        metric: Metric,
    ) -> Navigator:
        """A new graph over `rows`. `vectors` gives stored vectors (n, dimension) of some rows."""
        rest = empty_rest(projection, covered)
        points = points_of(vectors, projection, rest, metric)
        if projection is not None:
            dimension = projection.walked
        graph = Graph.build(rows, covered, points, dimension, space_of(metric))
        return cls(graph, projection, rest)

    def extended(
        self, rows: Rows, covered: int, vectors: VectorBlocks, metric: Metric
    ) -> Navigator:
        """A copy of this one with more rows."""
        rest = empty_rest(self.projection, covered)
        rest[: len(self.rest)] = self.rest
        points = points_of(vectors, self.projection, rest, metric)
        return Navigator(self.graph.extended(rows, covered, points), self.projection, rest)

    @classmethod
    def restore(
        cls,
        view: ReadView,
        saved: SavedGraph,
        layout: VectorLayout,
        metric: Metric,
        memory: Memory = new_memory,
    ) -> Navigator:
        """The navigator of a saved graph. `memory` gives bytes to work in, until this returns.

        Raises `IntegrityError`.
        """
        projection, covered = saved.projection, saved.covered
        rest = empty_rest(projection, covered)

        def stream(take: Callable[[int, int, Callable[[Floats], object]], None]) -> None:
            def take_vectors(first: int, vectors: Floats) -> None:
                take(first, len(vectors), lambda out: np.copyto(out, prepare(vectors, metric)))

            def take_codes(first: int, codes: Codes) -> None:
                if projection is not None:
                    rest[first : first + len(codes)] = codes[:, projection.walked :]
                    take(first, len(codes), lambda out: projection.decode(codes, out))

            if projection is None:
                stream_vectors(view, layout, covered, take_vectors)
            else:
                stream_codes(view, projection.dimensions, covered, take_codes)

        dimension = layout.dimension if projection is None else projection.walked
        graph = Graph.restore(saved.links, covered, stream, dimension, space_of(metric), memory)
        return cls(graph, projection, rest)

    def saved(self) -> SavedGraph:
        """What is to be saved of it, but for the codes."""
        return SavedGraph(self.graph.links(), self.graph.covered, self.projection)

    def points(self, queries: Floats) -> Floats:
        """Where prepared queries lie for `candidates`."""
        return queries if self.projection is None else self.projection.points(queries)

    def candidates(self, points: Floats, k: int, beam: int | None = None) -> Rows | None:
        """Rows (m, c) that are likely to hold the k nearest of each query, in no order.

        `beam` is the width of the walk, as many as are ranked at least; None for the default.
        The answer is None where the graph does not lead to k rows: the caller then scans.
        """
        projection = self.projection
        width = max(BEAM, 2 * k) if beam is None else beam
        # A walk that looks for the last per cent is not to lose it where candidates are cut.
        ranked = k + max(RANKED_EXTRA, k // 4, width // 32)
        walked = points if projection is None else points[:, : projection.walked]
        found = self.graph.search(walked, max(width, ranked))
        if found is None:
            return None
        rows, distances = found
        if projection is None or not self.rest.shape[1] or rows.shape[1] <= ranked:
            return rows[:, :ranked]
        rows, distances = rows[:, : REFINED * ranked], distances[:, : REFINED * ranked]
        whole = projection.rest_distances(self.rest.take(rows, axis=0), points)
        whole += distances
        order = whole.argpartition(ranked - 1, axis=1)[:, :ranked]
        best: Rows = rows[0].take(order) if len(rows) == 1 else np.take_along_axis(rows, order, 1)
        return best


def empty_rest(projection: Projection | None, covered: int) -> Codes:
    """Room for the codes that are not walked."""
    rest = 0 if projection is None else projection.dimensions - projection.walked
    return np.zeros((covered, rest), np.int8)


def points_of(
    vectors: VectorBlocks, projection: Projection | None, rest: Codes, metric: Metric
) -> Callable[[Rows], Floats]:
    """The points of rows, from their stored vectors: what restoring the codes will give again.

    Fills `rest` as it goes.
    """

    def points(rows: Rows) -> Floats:
        prepared = prepare(vectors(rows), metric)
        if projection is None:
            return prepared
        codes = projection.encode(prepared)
        rest[rows] = codes[:, projection.walked :]
        return projection.decode(codes)

    return points


def space_of(metric: Metric) -> Space:
    """What hnswlib is to measure; under cosine it sees vectors of unit length."""
    return "ip" if metric == "inner_product" else "l2"
