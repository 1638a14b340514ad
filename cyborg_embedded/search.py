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

from cyborg_embedded.distance import candidates, prepare
from cyborg_embedded.effort import effort_for
from cyborg_embedded.reranking import Found, best_of_one, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.navigator import Navigator
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.residency import Pool
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    IdsOf = Callable[[list[int]], list[str]]
    Walked = tuple[Rows, int, Floats | None] | None
    """Candidates (m, c), how far the graph reached, and how far they are in it, if anybody asks;
    None where it is not to be relied on."""

__all__ = [
    "NO_ROW",
    "SCAN_CELLS",
    "WALKED_AT_ONCE",
    "cores",
    "effort_of",
    "nearest",
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
SCAN_CELLS = 1 << 22
"""Most distances of a scan at once: 16 MiB."""


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
    prepared = prepare(queries, state.root.metric)
    navigator = state.navigator.get(view, state)
    if navigator is not None and not relied_on(navigator, k, recall):
        navigator = None
    if navigator is not None:
        beam = effort_of(navigator, k, beam, recall)
    if navigator is not None and len(prepared) == 1:
        walked = walk(navigator, state, prepared, k, beam)
        found = find(state, view, pool, prepared, walked, k)
        if found.away is None:
            answer = best_of_one(state, view, pool, ids_of, prepared[0], found.rows[0], k)
        else:
            answer = in_order(state, view, pool, ids_of, [(prepared, found)], k)
    else:
        order = None
        if navigator is not None and len(prepared) > WALKED_AT_ONCE:
            order, given = navigator.order(prepared), prepared
            prepared = given[order]
            if given is not queries:
                pool.wipe(given)
        blocks = (
            (block, find(state, view, pool, block, walked, k))
            for block, walked in walks(navigator, state, prepared, k, beam)
        )
        answer = in_order(state, view, pool, ids_of, blocks, k)
        if order is not None:
            back = order.argsort()
            answer = answer[0][back], answer[1][back]
    if prepared is not queries:
        pool.wipe(prepared)
    return answer


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
            pending.append((block, workers.submit(walk, navigator, state, block, k, beam)))
            # As many ahead as keeps all busy; more would only take memory.
            if len(pending) > 2 * threads:
                ready, walked = pending.popleft()
                yield ready, walked.result()
        for ready, walked in pending:
            yield ready, walked.result()


def walk(navigator: Navigator, state: State, queries: Floats, k: int, beam: int | None) -> Walked:
    """What the graph leads to for prepared queries, unless it may lack rows that are alive in
    `state`; and how far that is, where vectors have to be opened each time.
    """
    points = navigator.points(queries)
    found = navigator.candidates(points, k, state.alive, state.deaths, beam)
    if found is None or navigator.deaths > state.deaths:
        return None
    few = navigator.projection is not None and state.pool is not None and state.pool.keeps_few
    return found.rows, found.covered, found.away if few else None


def find(
    state: State, view: ReadView, pool: Pool, queries: Floats, walked: Walked, k: int
) -> Found:
    """Candidates that include the k nearest rows, up to the graph's recall."""
    if walked is None:
        return Found(scan(state, view, pool, queries, k, 0))
    rows, covered, away = walked
    if covered < state.root.rows:
        tail = scan(state, view, pool, queries, k, covered)
        rows = np.concatenate((tail, rows), axis=1)
    return Found(rows, away)


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
