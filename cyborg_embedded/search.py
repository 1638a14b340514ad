"""The query: candidates from the graph and from an exact scan, ranked by exact distance.

    query ──► graph ───────────────────────────────► candidates ──► exact distances ──► k nearest
          └─► scan of the rows that it does not have ───┘

Every row that is alive in the state of the query is in one of the two, so a query sees all that
was committed before it, whatever the graph has caught up with.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import candidates, exact, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.model import Metric
    from cyborg_embedded.navigator import Navigator
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.residency import Pool
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]

__all__ = ["nearest"]

NO_ROWS = np.empty(0, np.int64)
GRAPH_WORTH = 10
"""The graph is asked for k of its n rows where k * GRAPH_WORTH <= n: else a scan is no slower."""
QUERIES_AT_ONCE = 256
RANKED_FLOATS = 1 << 22
SCAN_CELLS = 1 << 22
"""Most numbers of candidates' vectors, and distances of a scan, at once: 16 MiB of either."""


def nearest(
    state: State, view: ReadView, queries: Floats, k: int, beam: int | None = None
) -> list[tuple[Rows, Floats]]:
    """The k nearest live rows of each query, as (rows, distances), nearest first.

    All rows that tie with the k-th are returned, so that the caller can break ties by id; fewer
    than k only where fewer rows are alive. `queries` (m, d) are checked. `beam` is the width of the
    walk through the graph, None for the default.
    """
    pool, metric = state.pool, state.root.metric
    k = min(k, state.root.live)
    if k == 0 or pool is None:
        return [(NO_ROWS, np.empty(0, np.float32))] * len(queries)
    prepared = prepare(queries, metric)
    hits: list[tuple[Rows, Floats]] = []
    for start in range(0, len(prepared), QUERIES_AT_ONCE):
        block = prepared[start : start + QUERIES_AT_ONCE]
        found = find(state, view, pool, block, k, beam)
        ranked = rank(view, pool, block, found, metric)
        hits.extend(best(*each, k) for each in zip(found, ranked, strict=True))
    return hits


def rank(
    view: ReadView, pool: Pool, queries: Floats, found: list[Rows], metric: Metric
) -> list[Floats]:
    """The exact distances of what was found for each query."""
    distances: list[Floats] = []
    first = 0
    while first < len(found):
        # As many queries at once as their candidates' vectors may take memory, one at least.
        last, size = first + 1, len(found[first])
        while last < len(found) and (size + len(found[last])) * queries.shape[1] <= RANKED_FLOATS:
            size += len(found[last])
            last += 1
        lengths = [len(rows) for rows in found[first:last]]
        rows = np.concatenate(found[first:last]) if last - first > 1 else found[first]
        owners = queries[first:last].repeat(lengths, axis=0)
        vectors = pool.rows(view, rows)
        whole = exact(owners, vectors, metric)
        pool.wipe(vectors)
        distances.extend(np.split(whole, np.cumsum(lengths)[:-1]) if last - first > 1 else [whole])
        first = last
    return distances


def find(
    state: State, view: ReadView, pool: Pool, queries: Floats, k: int, beam: int | None = None
) -> list[Rows]:
    """For each query, candidates that include its k nearest rows (up to the graph's recall)."""
    navigator = state.navigator.get(view, state)
    walked = walk(navigator, queries, k, beam)
    if navigator is None or walked is None:
        return scan(state, view, pool, queries, k, 0)
    graph = navigator.graph
    found = walked
    if state.deaths:
        found = [rows[state.alive[rows]] for rows in found]
    if state.navigator.ahead_of(state):
        # What is buried by the time the walk has ended may have been missed by it.
        missed = graph.hidden(state.alive)
        found = [np.union1d(rows, missed) for rows in found]
    if graph.covered < state.root.rows:
        tail = scan(state, view, pool, queries, k, graph.covered)
        found = [np.concatenate(both) for both in zip(found, tail, strict=True)]
    return found


def walk(
    navigator: Navigator | None, queries: Floats, k: int, beam: int | None
) -> list[Rows] | None:
    """What the graph leads to, for each query; None where there is none or a scan is better."""
    if navigator is None or k * GRAPH_WORTH > len(navigator.graph):
        return None
    threads = (os.cpu_count() or 1) if len(queries) > 1 else 1
    return navigator.candidates(queries, k, threads, beam)


def scan(
    state: State, view: ReadView, pool: Pool, queries: Floats, k: int, first: int
) -> list[Rows]:
    """For each query, rows from `first` on that surely include its k nearest of them."""
    total = state.root.rows
    found: list[list[Rows]] = [[] for _ in queries]
    step = max(1, SCAN_CELLS // len(queries))
    if pool.block_bytes is not None:
        step = max(1, min(step, pool.block_bytes // (4 * pool.layout.dimension)))
    for start in range(first, total, step):
        stop = min(start + step, total)
        alive = state.alive[start:stop]
        with pool.block(view, start, stop) as (vectors, norms):
            near = candidates(queries, vectors, norms, alive, k, state.root.metric)
        for rows, more in zip(found, near, strict=True):
            rows.append(more + start)
    return [np.concatenate(rows) if rows else NO_ROWS for rows in found]


def best(rows: Rows, distances: Floats, k: int) -> tuple[Rows, Floats]:
    """The k nearest and all that tie with the k-th, nearest first."""
    order = distances.argsort(kind="stable")
    if len(order) > k:
        kth = distances[order[k - 1]]
        while k < len(order) and distances[order[k]] == kth:
            k += 1
        order = order[:k]
    return rows[order], distances[order]
