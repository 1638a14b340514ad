"""How wide a walk has to be for a recall that is asked for: measured on the index's own rows.

When a graph is made, some rows are kept out of it at first. They are queries of which nobody has
to believe that they are like the others, and none is its own neighbour. What a walk of each width
finds of their true nearest rows is the table that is kept with the graph.

A table is for k = 10. More rows are found by a walk that is wider in proportion; fewer by the same.

A query that is far from all rows has many that are hardly farther than the nearest, and needs a
wider walk than others. One walk tells: where what it finds is farther away than it is for nearly
all rows that were kept out, the query is walked again, wider. What is measured is measured with
that. Not so under the inner product, where such a distance says nothing, nor with a filter, nor in
a graph at rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

__all__ = [
    "EFFORTS",
    "FAR_K",
    "MEASURED_K",
    "WIDER",
    "Efforts",
    "FarQueries",
    "effort_for",
    "far_away",
    "held_back",
    "measure",
]

Efforts = tuple[tuple[int, int], ...]
"""Widths of walks, ascending, each with the recall in ten-thousandths that it was seen to reach."""
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
MEASURED_K = 10
WHOLE = 10_000
ENOUGH = 9980
"""A recall beyond which wider walks are not measured any more."""
FAR_K = 10
"""Who is far is told by the distance of so many-th nearest."""
FAR_SHARE = 0.9
"""The share of the rows that were kept out that are not far."""
WIDER = 2
"""The walk for queries that are far is so many times as wide."""
FAR_AT_ONCE = 0.6
"""Where more than this share of the queries is far, all are walked as wide as those at once."""
FAR_MEMORY = 64
"""How many of the last queries tell, about."""
FAR = np.ones(1, np.bool_)
MOST_HELD, HELD_SHARE = 192, 16
"""Rows that are kept back at most, and of how many rows one is."""


def held_back(rows: Rows) -> NDArray[np.bool_]:
    """Which of `rows` (n,) are to be kept out of the graph at first; all the same each time."""
    held = np.zeros(len(rows), np.bool_)
    step = max(HELD_SHARE, -(-len(rows) // MOST_HELD))
    held[step // 2 :: step] = True
    return held


def measure(true: Rows, walk: Callable[[int], Rows]) -> Efforts:
    """The table, from the true nearest rows (m, k) of some queries and from what a walk of a given
    width finds, (m, k).
    """
    table: list[tuple[int, int]] = []
    best = 0
    for effort in EFFORTS:
        found = walk(effort)
        share = (true[:, :, None] == found[:, None, :]).any(axis=2).mean()
        # A wider walk finds no less, but for chance.
        best = max(best, int(WHOLE * share))
        table.append((effort, best))
        if best >= ENOUGH:
            break
    return tuple(table)


def far_away(distances: NDArray[np.float64]) -> float:
    """Beyond what distance of its `FAR_K`-th nearest row a query is far, from those (m,) of rows
    that were kept out.
    """
    return float(np.quantile(distances, FAR_SHARE))


class FarQueries:
    """Which queries are far, and whether most of the last ones were. Threads may share it, and lose
    a query of it to each other.
    """

    def __init__(self) -> None:
        self._share = 0.0

    @property
    def most_are_far(self) -> bool:
        """Whether a narrow walk would be in vain for most."""
        return self._share > FAR_AT_ONCE

    def far(self, distances: NDArray[np.float32], limit: float) -> NDArray[np.bool_] | None:
        """Which of the queries (m,) are far, by the distances (m,) of their `FAR_K`-th nearest;
        None where none is.
        """
        if len(distances) == 1:
            # Nearly every query passes here: numbers are quicker than arrays.
            is_far = distances.item() > limit
            self._share += (is_far - self._share) / FAR_MEMORY
            return FAR if is_far else None
        far = distances > limit
        count = np.count_nonzero(far)
        m = len(far)
        self._share += (count / m - self._share) * min(1, m / FAR_MEMORY)
        return far if count else None


def effort_for(table: Efforts, recall: float, k: int) -> int | None:
    """The width of a walk that reaches a recall, between measured ones in proportion; twice the
    widest where none did; None where nothing was measured.
    """
    if not table:
        return None
    wanted = recall * WHOLE
    below = (0, 0)
    width = 2.0 * table[-1][0]
    for effort, reached in table:
        if reached >= wanted:
            share = (wanted - below[1]) / (reached - below[1]) if below[0] else 1.0
            width = below[0] + share * (effort - below[0])
            break
        below = (effort, reached)
    return int(np.ceil(width * max(1.0, k / MEASURED_K)))
