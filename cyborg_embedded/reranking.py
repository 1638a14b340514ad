"""From candidates to the k nearest: exact distances of their vectors, nearest first, ties by id.

Where vectors have to be opened each time, not every candidate is. The graph says how far each is in
the components that it walks. The first are opened in any case, and tell by how much more their
vectors are away, on average, and how much that differs. Who would not be among the k nearest even
if he were SPREADS standard deviations nearer than that stays closed. (Where what is opened stays
open, two turns take as long as they save.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cyborg_embedded.distance import exact
from cyborg_embedded.ranking import least_ranked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from cyborg_embedded.model import Metric
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.residency import Pool
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    IdsOf = Callable[[list[int]], list[str]]

__all__ = ["Found", "best_of_one", "in_order", "rank"]

RANKED_FLOATS = 1 << 22
"""Most numbers of candidates' vectors at once: 16 MiB."""
SPREADS = 2.5
"""Of 50,000 sentence embeddings 22 candidates for 31 are opened; 3 in 10,000 neighbours lost."""
ROUNDING = 1e-4
"""What rounding errors are at most, as a share of a squared distance."""


class Found(NamedTuple):
    """Candidates of some queries."""

    rows: Rows
    """(m, n + c), -1 where there is none."""
    away: Floats | None = None
    """How far the last c of them are in the graph, squared, ascending, (m, c); None if all are to
    be opened."""

    @property
    def unknown(self) -> int:
        """How many there are, n, of which the graph says nothing."""
        return len(self.rows[0]) - (0 if self.away is None else len(self.away[0]))


def in_order(
    state: State,
    view: ReadView,
    pool: Pool,
    ids_of: IdsOf,
    blocks: Iterable[tuple[Floats, Found]],
    k: int,
) -> tuple[Rows, Floats]:
    """The k nearest of the candidates of each query, nearest first, ties by id, and their
    distances, both (m, k). `blocks` are prepared queries with what was found for them.
    """
    answers = []
    for block, found in blocks:
        if found.away is None:
            rows, distances = found.rows, rank(view, pool, block, found.rows, state.root.metric)
        else:
            rows, distances = rank_few(view, pool, block, found, state.root.metric, k)
        answers.append(best(rows, distances, k, ids_of))
    if len(answers) == 1:
        return answers[0]
    rows_in_order, distances_in_order = zip(*answers, strict=True)
    return np.concatenate(rows_in_order), np.concatenate(distances_in_order)


def rank(view: ReadView, pool: Pool, queries: Floats, found: Rows, metric: Metric) -> Floats:
    """The exact distances (m, c) of what was found, infinite where there is no row."""
    m, c = found.shape
    d = queries.shape[1]
    # As many queries at once as their candidates' vectors may take memory, one at least.
    step = max(1, RANKED_FLOATS // (c * d))
    parts = []
    for start in range(0, m, step):
        rows = found[start : start + step].reshape(-1)
        none = rows < 0 if rows.min() < 0 else None
        if none is not None:
            rows = np.where(none, rows.max(), rows)
        vectors = pool.rows(view, rows)
        block = queries[start : start + step, None]
        distances = exact(block, vectors.reshape(-1, c, d), metric, overwrite=True)
        pool.wipe(vectors)
        if none is not None:
            distances.reshape(-1)[none] = np.inf
        parts.append(distances)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def rank_few(
    view: ReadView, pool: Pool, queries: Floats, found: Found, metric: Metric, k: int
) -> tuple[Rows, Floats]:
    """Those of the candidates that may be among the k nearest (m, c), -1 for others, and their
    exact distances, infinite for others.
    """
    first = found.unknown + least_ranked(k, 0)
    rows, more = found.rows[:, :first], found.rows[:, first:]
    distances = rank(view, pool, queries, rows, metric)
    if found.away is None or not more.shape[1]:
        return rows, distances
    known = first - found.unknown
    squares = squared(distances, metric)
    beyond = farthest(squares, squares[:, found.unknown :] - found.away[:, :known], k)
    opened = (more >= 0) & (found.away[:, known:] <= beyond[:, None])
    lines, places = np.flatnonzero(opened.any(axis=1)), np.flatnonzero(opened.any(axis=0))
    if not len(lines):
        return rows, distances
    others = np.where(opened, more, -1)[:, places]
    others_away = np.full(others.shape, np.inf, np.float32)
    others_away[lines] = rank(view, pool, queries[lines], others[lines], metric)
    return np.concatenate((rows, others), axis=1), np.concatenate((distances, others_away), axis=1)


def farthest(squares: Doubles, beyond: Doubles, k: int) -> Doubles:
    """How far a row may be in the graph (m,) to be opened, from the squared distances (m, c) of
    those that are, and from how much more that is than in the graph (m, n); infinite where there is
    no row.
    """
    there = np.isfinite(beyond)
    count = np.maximum(there.sum(axis=1), 1)
    beyond = np.where(there, beyond, 0.0)
    mean = beyond.sum(axis=1) / count
    spread = np.where(there, beyond - mean[:, None], 0.0)
    deviation = np.sqrt((spread * spread).sum(axis=1) / count)
    kth: Doubles = np.partition(squares, k - 1, axis=1)[:, k - 1]
    beyond_kth: Doubles = kth * (1 + ROUNDING) - mean + SPREADS * deviation
    return beyond_kth


def squared(distances: Floats, metric: Metric) -> Doubles:
    """Distances in a metric other than inner_product as squared euclidean ones, of unit vectors
    under cosine.
    """
    wide = distances.astype(np.float64)
    if metric == "euclidean":
        return np.square(wide, out=wide)
    return np.multiply(wide, 2, out=wide) if metric == "cosine" else wide


def best_of_one(
    state: State, view: ReadView, pool: Pool, ids_of: IdsOf, query: Floats, rows: Rows, k: int
) -> tuple[Rows, Floats]:
    """`in_order` for one prepared query (d,) and its candidates (c,), with less around it."""
    if rows[rows.argmin()] < 0:
        rows = rows[rows >= 0]
    vectors = pool.rows(view, rows)
    distances = exact(query, vectors, state.root.metric, overwrite=True)
    pool.wipe(vectors)
    order = distances.argsort(kind="stable")[: k + 1]
    near, away = rows[order], distances[order]
    if True in (away[1:] == away[:-1]).tolist():
        return best(rows[None], distances[None], k, ids_of)
    return near[None, :k], away[None, :k]


def best(rows: Rows, distances: Floats, k: int, ids_of: IdsOf) -> tuple[Rows, Floats]:
    """The k nearest of each line, nearest first, ties by id: rows and distances, both (m, k)."""
    order = distances.argsort(axis=1, kind="stable")[:, : k + 1]
    if len(order) > 1:
        order += np.arange(0, distances.size, distances.shape[1])[:, None]
    rows_in_order, in_order = rows.take(order), distances.take(order)
    tied = in_order[:, 1:] == in_order[:, :-1]
    if np.count_nonzero(tied):
        for line in np.flatnonzero(tied.any(axis=1)).tolist():
            near = np.flatnonzero(distances[line] <= in_order[line, k - 1])
            ids = ids_of(rows[line, near].tolist())
            place = sorted(range(len(ids)), key=lambda i: (float(distances[line, near[i]]), ids[i]))
            near = near[place[:k]]
            rows_in_order[line, :k], in_order[line, :k] = rows[line, near], distances[line, near]
    return rows_in_order[:, :k], in_order[:, :k]
