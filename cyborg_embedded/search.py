"""The query: candidates from the graph and from an exact scan, ranked by exact distance.

    query ──► graph ───────────────────────────────► candidates ──► exact distances ──► k nearest
          └─► scan of the rows that it does not have ───┘

Every row that is alive in the state of the query is in one of the two, so a query sees all that
was committed before it, whatever the graph has caught up with.

Candidates are matrices (m, c), a line for each query, filled up with -1 where queries have
different numbers of them.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import candidates, exact, prepare
from cyborg_embedded.effort import effort_for
from cyborg_embedded.streaming import submitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.model import Metric
    from cyborg_embedded.navigator import Navigator
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.residency import Pool
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    IdsOf = Callable[[list[int]], list[str]]
    Walked = tuple[Rows, int] | None
    """Candidates and how far the graph reached; None where it is not to be relied on."""

__all__ = [
    "NO_ROW",
    "SCAN_CELLS",
    "WALKED_AT_ONCE",
    "cores",
    "effort_of",
    "in_order",
    "nearest",
    "rank",
    "relied_on",
    "scan",
    "side_by_side",
]

NO_ROW = -1
GRAPH_WORTH = 10
"""The graph is asked for k of its n rows where k * GRAPH_WORTH <= n: else a scan is no slower."""
WALKED_AT_ONCE = 64
"""Queries that a thread walks at once, and that are ranked together."""
SCANNED_AT_ONCE = 256
RANKED_FLOATS = 1 << 22
SCAN_CELLS = 1 << 22
"""Most numbers of candidates' vectors, and distances of a scan, at once: 16 MiB of either."""


def nearest(
    state: State,
    view: ReadView,
    ids_of: IdsOf,
    queries: Floats,
    k: int,
    beam: int | None = None,
    recall: float | None = None,
) -> tuple[Rows, Floats]:
    """The k nearest live rows of each query, nearest first, ties by id, and their distances, both
    (m, n): n is k, or the number of live rows where that is less.

    `queries` (m, d) are checked. `beam` is the width of the walk through the graph, or `recall`
    what it is to reach (1 for a scan); None for the default. `ids_of` gives the ids of rows.
    """
    pool = state.pool
    k = min(k, state.root.live)
    if k == 0 or pool is None or not len(queries):
        return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    navigator = state.navigator.get(view, state)
    if navigator is not None and not relied_on(navigator, k, recall):
        navigator = None
    if navigator is not None:
        beam = effort_of(navigator, k, beam, recall)
    prepared, order = prepare(queries, state.root.metric), None
    try:
        if navigator is not None and len(prepared) == 1:
            walked = walk(navigator, state, prepared, k, beam)
            found = find(state, view, pool, prepared, walked, k)
            return best_of_one(state, view, pool, ids_of, prepared[0], found[0], k)
        if navigator is not None and len(prepared) > WALKED_AT_ONCE:
            order = navigator.order(prepared)
            prepared = moved(pool, prepared, order, theirs=prepared is queries)
        blocks = (
            (block, find(state, view, pool, block, walked, k))
            for block, walked in walks(navigator, state, prepared, k, beam)
        )
        rows, distances = in_order(state, view, pool, ids_of, blocks, k)
    finally:
        if prepared is not queries:
            pool.wipe(prepared)
    if order is None:
        return rows, distances
    back = order.argsort()
    return rows[back], distances[back]


def moved(pool: Pool, queries: Floats, order: Rows, *, theirs: bool) -> Floats:
    """Queries in another order; what they were in before is wiped, unless it is the caller's."""
    copy = queries[order]
    if not theirs:
        pool.wipe(queries)
    return copy


def in_order(
    state: State,
    view: ReadView,
    pool: Pool,
    ids_of: IdsOf,
    blocks: Iterable[tuple[Floats, Rows]],
    k: int,
) -> tuple[Rows, Floats]:
    """The k nearest of the candidates of each query, nearest first, ties by id, and their
    distances, both (m, k). `blocks` are prepared queries with candidates (m, c).
    """
    answers = []
    for block, found in blocks:
        distances = rank(view, pool, block, found, state.root.metric)
        answers.append(best(found, distances, k, ids_of))
    if len(answers) == 1:
        return answers[0]
    rows, distances_in_order = zip(*answers, strict=True)
    return np.concatenate(rows), np.concatenate(distances_in_order)


def effort_of(navigator: Navigator, k: int, beam: int | None, recall: float | None) -> int | None:
    """The width of a walk that is asked for, in one way or the other; None for the default."""
    return beam if recall is None else effort_for(navigator.efforts, recall, k)


def relied_on(navigator: Navigator, k: int, recall: float | None) -> bool:
    """Whether a walk is asked at all."""
    return recall != 1 and k * GRAPH_WORTH <= len(navigator.graph)


def cores() -> int:
    """How many threads can work at once."""
    return os.cpu_count() or 1


def walks(
    navigator: Navigator | None, state: State, queries: Floats, k: int, beam: int | None
) -> Iterator[tuple[Floats, Walked]]:
    """Blocks of queries, each with what the graph leads to, and how far it reached. Blocks ahead
    are walked by all cores while their predecessors are being ranked.
    """
    if navigator is None:
        for start in range(0, len(queries), SCANNED_AT_ONCE):
            yield queries[start : start + SCANNED_AT_ONCE], None
        return
    navigator.graph.expect(len(queries))
    threads = cores()
    step = min(WALKED_AT_ONCE, -(-len(queries) // threads))
    pending: deque[tuple[Floats, Future[Walked]]] = deque()
    with ThreadPoolExecutor(threads) as workers:
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            pending.append((block, submitted(workers, walk, navigator, state, block, k, beam)))
            # As many ahead as keeps all busy; more would only take memory.
            if len(pending) > 2 * threads:
                ready, walked = pending.popleft()
                yield ready, walked.result()
        for ready, walked in pending:
            yield ready, walked.result()


def walk(navigator: Navigator, state: State, queries: Floats, k: int, beam: int | None) -> Walked:
    """What the graph leads to for prepared queries, unless it may lack rows that are alive in
    `state`.
    """
    points = navigator.points(queries)
    found = navigator.candidates(points, k, state.alive, state.deaths, beam)
    return None if navigator.deaths > state.deaths else found


def find(state: State, view: ReadView, pool: Pool, queries: Floats, walked: Walked, k: int) -> Rows:
    """Candidates (m, c) that include the k nearest rows, up to the graph's recall."""
    if walked is None:
        return scan(state, view, pool, queries, k, 0)
    found, covered = walked
    if covered < state.root.rows:
        tail = scan(state, view, pool, queries, k, covered)
        found = np.concatenate((found, tail), axis=1)
    return found


def scan(
    state: State,
    view: ReadView,
    pool: Pool,
    queries: Floats,
    k: int,
    first: int,
    wanted: NDArray[np.bool_] | None = None,
) -> Rows:
    """For each query, rows from `first` on that surely include its k nearest of them: of all that
    are alive, or of those that are `wanted` (n,).
    """
    mask = state.alive if wanted is None else wanted
    total = state.root.rows
    found: list[list[Rows]] = [[] for _ in queries]
    step = max(1, SCAN_CELLS // len(queries))
    if pool.block_bytes is not None:
        step = max(1, min(step, pool.block_bytes // (4 * pool.layout.dimension)))
    for start in range(first, total, step):
        stop = min(start + step, total)
        alive = mask[start:stop]
        with pool.block(view, start, stop) as (vectors, norms):
            near = candidates(queries, vectors, norms, alive, k, state.root.metric)
        for rows, more in zip(found, near, strict=True):
            rows.append(more + start)
    return side_by_side([np.concatenate(rows) for rows in found])


def side_by_side(found: list[Rows]) -> Rows:
    """Rows of each query as one matrix."""
    if len(found) == 1:
        return found[0][None]
    matrix = np.full((len(found), max(map(len, found))), NO_ROW)
    for line, rows in zip(matrix, found, strict=True):
        line[: len(rows)] = rows
    return matrix


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
