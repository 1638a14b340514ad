"""The navigator: from a query to candidates, by a graph over projections or over vectors.

It takes and gives rows; the candidates are still to be ranked by their exact distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyborg_embedded.distance import unit_rows
from cyborg_embedded.graph import Graph
from cyborg_embedded.navigation import SavedGraph, stream_codes
from cyborg_embedded.vectors import stream_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from cyborg_embedded.graph import Space
    from cyborg_embedded.model import Metric
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.projection import Projection
    from cyborg_embedded.vectors import VectorLayout

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    VectorBlocks = Callable[[Rows], Floats]

__all__ = ["Navigator", "graph_vectors"]

EXTRA_CANDIDATES = 10
"""Candidates beyond k that are ranked, at least. Their order in the graph is not the exact one."""


def graph_vectors(vectors: Floats, metric: Metric) -> Floats:
    """Stored vectors as a navigator sees them: of unit length under cosine."""
    return unit_rows(vectors) if metric == "cosine" else vectors


@dataclass(frozen=True, slots=True, repr=False)
class Navigator:
    """A graph and the projection that its points come from; None where they are the vectors."""

    graph: Graph
    projection: Projection | None

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
        points = points_of(vectors, projection, metric)
        if projection is not None:
            dimension = projection.dimensions
        return cls(Graph.build(rows, covered, points, dimension, space_of(metric)), projection)

    def extended(
        self, rows: Rows, covered: int, vectors: VectorBlocks, metric: Metric
    ) -> Navigator:
        """A copy of this one with more rows."""
        points = points_of(vectors, self.projection, metric)
        return Navigator(self.graph.extended(rows, covered, points), self.projection)

    @classmethod
    def restore(
        cls, view: ReadView, saved: SavedGraph, layout: VectorLayout, metric: Metric
    ) -> Navigator:
        """The navigator of a saved graph. Raises `IntegrityError`."""
        projection, covered = saved.projection, saved.covered

        def stream(take: Callable[[int, Floats], None]) -> None:
            if projection is None:
                stream_vectors(
                    view,
                    layout,
                    covered,
                    lambda first, vectors: take(first, graph_vectors(vectors, metric)),
                )
            else:
                stream_codes(
                    view,
                    projection.dimensions,
                    covered,
                    lambda first, codes: take(first, projection.decode(codes)),
                )

        dimension = layout.dimension if projection is None else projection.dimensions
        graph = Graph.restore(saved.links, covered, stream, dimension, space_of(metric))
        return cls(graph, projection)

    def saved(self) -> SavedGraph:
        """What is to be saved of it, but for the codes."""
        return SavedGraph(self.graph.links(), self.graph.covered, self.projection)

    def candidates(self, queries: Floats, k: int, threads: int) -> Rows | None:
        """Rows (m, c) that are likely to hold the k nearest of each prepared query, in no order.

        None where the graph does not lead to k rows: the caller then scans.
        """
        points = queries if self.projection is None else self.projection.points(queries)
        return self.graph.search(points, k + max(EXTRA_CANDIDATES, k // 2), threads)


def points_of(
    vectors: VectorBlocks, projection: Projection | None, metric: Metric
) -> Callable[[Rows], Floats]:
    """The points of rows, from their stored vectors: what restoring the codes will give again."""

    def points(rows: Rows) -> Floats:
        prepared = graph_vectors(vectors(rows), metric)
        if projection is None:
            return prepared
        return projection.decode(projection.encode(prepared))

    return points


def space_of(metric: Metric) -> Space:
    """What hnswlib is to measure; under cosine it sees vectors of unit length."""
    return "ip" if metric == "inner_product" else "l2"
