"""The nearest of the rows that a filter means: min(k, as many as there are) of them, always.

Every way to find them ends in exact distances, and none gives up: where a walk meets too few of the
rows, those of its queries are answered from short codes, or by measuring all.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cyborg_embedded.distance import candidates, prepare, squared_norms
from cyborg_embedded.planner import Case, Choice, choose
from cyborg_embedded.search import (
    SCAN_CELLS,
    WALKED_AT_ONCE,
    cores,
    in_order,
    rank,
    scan,
    side_by_side,
)
from cyborg_embedded.smallest import kth_smallest
from cyborg_embedded.streaming import submitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.effort import Efforts
    from cyborg_embedded.navigator import Navigator
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.residency import Pool
    from cyborg_embedded.selection import Selection
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]

__all__ = ["Filtered", "nearest_among"]

MEASURED_AT_ONCE = 1024
"""Rows of which every one is ranked for a single query; of more, those are that may be near."""
DENSE_SHARE = 4
"""From one row in so many on, a scan reads them all and leaves some out."""
FETCHED_FLOATS = 1 << 19
"""Numbers of vectors that are fetched at once: they are to be still in the cache when measured."""


NOT_MEASURED: Efforts = ()


class Filtered(NamedTuple):
    """Rows and distances (m, n), nearest first; how they were found; and for how many queries a
    walk was not enough.
    """

    rows: Rows
    distances: Floats
    choice: Choice
    short: int


def nearest_among(
    session: Session,
    state: State,
    view: ReadView,
    queries: Floats,
    k: int,
    selection: Selection,
    ef: int | None,
    recall: float | None,
) -> Filtered:
    """The k nearest of the selected rows to each of checked queries (m, d), nearest first, ties by
    id; fewer where fewer are selected. Otherwise as `search.nearest`.
    """
    k = min(k, selection.matching)
    if k == 0 or state.pool is None or not len(queries):
        none = Choice("none", "no item is meant", {}, {}, 0, 0)
        shape = (len(queries), k)
        return Filtered(np.empty(shape, np.int64), np.empty(shape, np.float32), none, 0)
    case = case_of(session, state, len(queries), k, selection, ef, recall)
    choice = choose(case, session.spared)
    for way, microseconds in choice.lost.items():
        session.spared[way] = session.spared.get(way, 0.0) + microseconds
    prepared = prepare(queries, state.root.metric)
    finder = Finder(session, state, view, state.pool, selection, k, choice)

    ids_of = partial(session.items.ids, view)
    answer = in_order(state, view, state.pool, ids_of, finder.find(prepared), k)
    if prepared is not queries:
        state.pool.wipe(prepared)
    return Filtered(*answer, choice, finder.short)


def case_of(
    session: Session,
    state: State,
    queries: int,
    k: int,
    selection: Selection,
    ef: int | None,
    recall: float | None,
) -> Case:
    """What the planner is to know."""
    root, navigator = state.root, state.navigator.known
    record = root.graph if not state.navigator.damaged else None
    walked, efforts, again = 0, NOT_MEASURED, False
    if navigator is not None:
        if navigator.deaths <= state.deaths:
            walked = navigator.graph.dimension
            efforts, again = navigator.efforts, bool(navigator.far)
    elif record is not None:
        walked, efforts = state.saved_dimensions or 0, record.efforts
        again = bool(record.far)
    return Case(
        k=k,
        matching=selection.matching,
        live=root.live,
        rows=root.rows,
        dimension=root.dimension,
        queries=queries,
        threads=cores(),
        coded=0 if record is None else record.walked,
        walked=walked,
        codes_ready=session.codes.known,
        graph_ready=navigator is not None,
        cold=state.pool.cold(root.rows) if state.pool is not None else 1.0,
        efforts=efforts,
        again=again,
        ef=ef,
        recall=recall,
    )


class Finder:
    """Candidates for the queries of one call, found in the way that was chosen."""

    def __init__(
        self,
        session: Session,
        state: State,
        view: ReadView,
        pool: Pool,
        selection: Selection,
        k: int,
        choice: Choice,
    ) -> None:
        self._session, self._state, self._view, self._pool = session, state, view, pool
        self._k, self._choice, self._mask = k, choice, selection.mask
        self._dense = selection.matching * DENSE_SHARE > len(selection.mask)
        self._known_rows: Rows | None = None
        self.short = 0

    @property
    def _rows(self) -> Rows:
        """The rows that are meant, in order."""
        rows = self._known_rows
        if rows is None:
            rows = self._known_rows = np.flatnonzero(self._mask)
        return rows

    def find(self, queries: Floats) -> list[tuple[Floats, Rows]]:
        """Blocks of prepared queries, each with candidates (m, c) that hold the k nearest."""
        if self._choice.strategy == "graph":
            navigator = self._state.navigator.get(self._view, self._state)
            if navigator is not None and navigator.deaths <= self._state.deaths:
                return self._by_graph(navigator, queries)
        return self._without_graph(queries, codes=self._choice.strategy != "rows")

    def _without_graph(self, queries: Floats, *, codes: bool) -> list[tuple[Floats, Rows]]:
        coarse = self._session.codes.get(self._view, self._state) if codes else None
        rows = self._rows
        step = max(1, SCAN_CELLS // len(rows))
        blocks = [queries[start : start + step] for start in range(0, len(queries), step)]
        if coarse is None:
            return [(block, self._all_measured(block, rows)) for block in blocks]
        count = max(self._choice.count, self._k)
        points = coarse.projection.points
        return [(block, coarse.nearest(points(block), rows, count)) for block in blocks]

    def _all_measured(self, queries: Floats, rows: Rows) -> Rows:
        """Candidates among `rows` that surely hold the k nearest of them."""
        state, view, pool = self._state, self._view, self._pool
        step = max(1, FETCHED_FLOATS // queries.shape[1])
        parts = [rows[start : start + step] for start in range(0, len(rows), step)]
        if len(queries) == 1:
            if len(rows) <= MEASURED_AT_ONCE:
                return rows[None]
            # A product of a matrix with one vector is no faster, and would run on threads.
            each = [rank(view, pool, queries, part[None], state.root.metric)[0] for part in parts]
            distances = np.concatenate(each)
            kth = kth_smallest(distances[None], self._k)
            return rows[np.flatnonzero(distances <= kth)][None]
        if self._dense and rows is self._known_rows:
            return scan(state, view, pool, queries, self._k, 0, self._mask)
        found: list[list[Rows]] = [[] for _ in queries]
        for part in parts:
            vectors = pool.rows(view, part)
            all_of_them = np.ones(len(part), np.bool_)
            norms = squared_norms(vectors)
            near = candidates(queries, vectors, norms, all_of_them, self._k, state.root.metric)
            pool.wipe(vectors)
            for line, places in zip(found, near, strict=True):
                line.append(part[places])
        return side_by_side([np.concatenate(line) for line in found])

    def _by_graph(self, navigator: Navigator, queries: Floats) -> list[tuple[Floats, Rows]]:
        points = navigator.points(queries)
        threads = cores()
        step = min(WALKED_AT_ONCE, -(-len(queries) // threads))
        blocks = [slice(start, start + step) for start in range(0, len(queries), step)]

        def walk(block: slice) -> tuple[Rows, NDArray[np.bool_], int] | None:
            return navigator.among(points[block], self._k, self._mask, self._choice.width)

        if len(blocks) == 1:
            walked = [walk(blocks[0])]
        else:
            with ThreadPoolExecutor(threads) as workers:
                pending = [submitted(workers, walk, block) for block in blocks]
                walked = [job.result() for job in pending]
        found: list[tuple[Floats, Rows]] = []
        for block, result in zip(blocks, walked, strict=True):
            if result is None:
                self.short += len(queries[block])
                found += self._without_graph(queries[block], codes=True)
            else:
                found.append((queries[block], self._completed(queries[block], *result)))
        return found

    def _completed(
        self, queries: Floats, near: Rows, enough: NDArray[np.bool_], covered: int
    ) -> Rows:
        """What a walk has found, with what it cannot have found."""
        if covered < len(self._mask):
            tail = self._rows[self._rows.searchsorted(covered) :]
            if len(tail):
                near = np.concatenate((near, self._all_measured(queries, tail)), axis=1)
        if enough.all():
            return near
        places = np.flatnonzero(~enough)
        self.short += len(places)
        lines = list(near)
        blocks = self._without_graph(queries[places], codes=True)
        instead = [line for _, found in blocks for line in found]
        for place, line in zip(places.tolist(), instead, strict=True):
            lines[place] = line
        return side_by_side(lines)
