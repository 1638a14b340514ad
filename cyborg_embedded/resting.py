"""A saved graph as it lies in its pages: what a walk at rest needs of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.frontier import Frontier
from cyborg_embedded.graph import Graph
from cyborg_embedded.growing import aligned
from cyborg_embedded.navigation import stream_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.navigation import SavedGraph
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.projection import Projection

    Codes = NDArray[np.int8]
    Rows = NDArray[np.int64]

__all__ = ["resting"]

NORMED_AT_ONCE = 256


def resting(
    view: ReadView, saved: SavedGraph, projection: Projection, node_of: Rows, walked: int
) -> Graph:
    """A saved graph over so many of the first components, as it lies."""
    codes = aligned((len(saved.links.rows), walked), np.int8)
    norms = np.empty(len(codes), np.float32)
    # Rows as single items are put in their places twice as fast.
    row = np.dtype((np.void, walked))
    rows_of_codes = codes.view(row)[:, 0]

    def take(first: int, part: Codes) -> None:
        nodes = node_of[first : first + len(part)]
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
