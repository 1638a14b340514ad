"""What brings rows into the graph.

A few new rows are added to the graph in use, in steps short enough for queries to wait for; where
many are to come, or many have died, a new graph is made beside it and takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.arrangement import by_neighbourhood, from_the_centre
from cyborg_embedded.components import SAMPLE_ROWS, choose_projection, has_drifted
from cyborg_embedded.distance import squared_norms
from cyborg_embedded.effort import FAR_K, MEASURED_K, far_away, held_back, measure
from cyborg_embedded.navigator import Navigator
from cyborg_embedded.saving import (
    columns_ahead,
    columns_to_save,
    drop,
    is_saved,
    pays,
    prepared_in,
    prepared_vectors,
    save,
)
from cyborg_embedded.search import nearest
from cyborg_embedded.state import NavigatorSlot

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.projection import Projection
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]
    Vectors = NDArray[np.float32]

__all__ = ["Job", "StoppedError", "is_due", "optimize"]

FIRST_ROWS = 8192
"""Live rows from which on a graph is worth its while: fewer are scanned in less than a walk takes
to pay."""
TAIL_ROWS = 1024
"""Rows beside the graph that are worth bringing into it."""
REBUILD_SHARE = 0.1
"""The share of deleted rows in a graph from which on it is made anew, without them."""
DRIFT_SHARE = 0.0625
"""The share of new rows from which on they are looked at whether they are like the others."""
BLOCK_ROWS = 1024
SKETCHED = 32
"""Coordinates that tell in which order rows are brought into a new graph."""
STEP_ROWS = 32
"""Rows added to a graph in use while queries wait: about 10 ms."""


class StoppedError(Exception):
    """A job was told to stop. Nothing is lost: the rows are where they were."""


@dataclass(slots=True)
class Job:
    """How one run goes about it, and how far it is."""

    threads: int
    """On how many threads rows are added; may change meanwhile."""
    stopping: Callable[[], bool] = lambda: False
    report: Callable[[int, int], None] | None = None
    """Told of rows done and rows to do."""

    def went(self, done: int, total: int) -> None:
        """Say how far it is. Raises `StoppedError`."""
        if self.report is not None:
            self.report(done, total)
        if self.stopping():
            raise StoppedError


def is_due(state: State) -> bool:
    """Whether there is enough to do for the graph to be brought up to the rows of `state`."""
    navigator, record = state.navigator.known, state.root.graph
    if navigator is None and state.root.rows < 2 * state.navigator.refused:
        return False
    if navigator is None:
        # How many of the rows of a graph in the file have died is known when it is in memory.
        return state.root.live >= FIRST_ROWS if record is None else far(state, record.rows)
    dead = state.deaths - navigator.spared
    return far(state, navigator.graph.covered) or dead > REBUILD_SHARE * len(navigator.graph)


def far(state: State, covered: int) -> bool:
    """Whether there are many rows beyond a graph."""
    return state.root.rows - covered >= TAIL_ROWS


def optimize(session: Session, job: Job, *, always_save: bool = True) -> None:
    """Bring every row that is live now into the graph and the columns, and those into the file, if
    they are not there already and, unless `always_save`, if that pays.

    Other threads and processes go on reading and writing meanwhile; the writer's lock is held only
    to save. One thread of a handle at a time. Raises `StoppedError`, `LockedError`,
    `StorageFullError`.
    """
    with session.read() as (state, view):
        navigator = state.navigator.get(view, state)
    if not state.root.live:
        columns = columns_to_save(session, always=always_save)
        if state.root.graph is not None:
            drop(session, columns)
        else:
            save(session, None, columns)
        state.navigator.adopt(None)
        return
    with columns_ahead(session, state):
        made = brought_up(session, state, navigator, job)
        columns = columns_to_save(session, always=always_save)
    due = made is not None and (pays(made) or (always_save and not is_saved(session, made)))
    save(session, made if due else None, columns)


def brought_up(
    session: Session, state: State, navigator: Navigator | None, job: Job
) -> Navigator | None:
    """A navigator in use that has all live rows of `state`; None if there is to be none."""
    if navigator is not None:
        graph = navigator.graph
        fresh = np.flatnonzero(state.alive[graph.covered :]) + graph.covered
        dead = len(graph) - graph.alive(state.alive)
        # In this order: who knows fewer deletions is not to take the graph for free of dead rows.
        navigator.deaths = max(navigator.deaths, state.deaths)
        navigator.spared = state.deaths - dead
        few = dead <= REBUILD_SHARE * len(graph) and len(fresh) <= len(graph)
        if few and not (len(fresh) and drifted(session, state, navigator)):
            grow(session, state, navigator, fresh, job)
            return navigator
    made = rebuilt(session, state, job)
    with session.read() as (newest, _):
        if made is not None:
            newest.navigator.adopt(made)
        else:
            newest.navigator.refused = state.root.rows
    return made


def drifted(session: Session, state: State, navigator: Navigator) -> bool:
    """Whether the rows have become such that the projection no longer finds their neighbours."""
    if navigator.projection is None or state.root.navigator_dimensions:
        return False
    rows, checked = state.root.rows, navigator.checked
    if rows - checked < DRIFT_SHARE * checked:
        return False
    navigator.checked = rows
    with prepared_vectors(session, sampled(state)) as sample:
        return has_drifted(navigator.projection, sample)


def grow(session: Session, state: State, navigator: Navigator, fresh: Rows, job: Job) -> None:
    """Add rows to the graph in use."""
    for start in range(0, len(fresh), BLOCK_ROWS):
        job.went(start, len(fresh))
        rows = fresh[start : start + BLOCK_ROWS]
        covered = int(rows[-1]) + 1 if start + BLOCK_ROWS < len(fresh) else state.root.rows
        step = STEP_ROWS * job.threads
        with prepared_vectors(session, rows) as vectors:
            navigator.add(rows, covered, vectors, job.threads, step)
    job.went(len(fresh), len(fresh))


def rebuilt(session: Session, state: State, job: Job) -> Navigator | None:
    """A new navigator over all live rows of `state`."""
    root = state.root
    rows = np.flatnonzero(state.alive)
    projection, centre = None, np.zeros(root.dimension, np.float32)
    if root.metric != "inner_product":
        with prepared_vectors(session, sampled(state)) as sample:
            projection = choose_projection(sample, root.navigator_dimensions)
            centre = sample.mean(axis=0)
    if projection is not None and projection.dimensions > session.store.header.page_size - OVERHEAD:
        projection = None
    if projection is None and state.sealed:
        return None
    navigator = Navigator.empty(
        len(rows), projection, root.dimension, root.metric, lean=state.sealed
    )
    navigator.deaths = navigator.spared = state.deaths
    navigator.checked = root.rows
    held = held_back(rows)

    def add(block: Rows) -> None:
        with prepared_vectors(session, block) as vectors:
            navigator.add(block, root.rows, vectors, job.threads, BLOCK_ROWS)

    most = arranged(session, projection, centre, rows[~held])
    for start in range(0, len(most), BLOCK_ROWS):
        job.went(start, len(rows))
        add(most[start : start + BLOCK_ROWS])
    measure_walks(session, state, navigator, rows[held])
    add(rows[held])
    job.went(len(rows), len(rows))
    return navigator


def arranged(session: Session, projection: Projection | None, centre: Vectors, rows: Rows) -> Rows:
    """Rows in the order in which they are brought into a new graph."""
    sketches: list[NDArray[Any]] = []
    away = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        with prepared_vectors(session, rows[block]) as vectors:
            if projection is None:
                sketches.append(vectors[:, :SKETCHED].copy())
            else:
                sketches.append(projection.encode(vectors, SKETCHED))
                away[block] = squared_norms(np.subtract(vectors, centre, out=vectors))
    whole = np.concatenate(sketches)
    # Of vectors themselves (few dimensions, a flat spectrum) it was seen to make no difference.
    order = by_neighbourhood(whole) if projection is None else from_the_centre(whole, away)
    return rows[order]


def measure_walks(session: Session, state: State, navigator: Navigator, held: Rows) -> None:
    """See how far rows that are not in a new graph are from others, and what walks of different
    widths through it find for them.
    """
    alive = state.alive.copy()
    alive[held] = False
    k = min(MEASURED_K, int(alive.sum()))
    if k < MEASURED_K or not len(held):
        return
    with prepared_vectors(session, held) as queries, session.read() as (_, view):

        def found(navigator: Navigator | None, beam: int | None) -> Rows:
            slot = NavigatorSlot()
            slot.adopt(navigator)
            without = replace(state, alive=alive, navigator=slot)
            return nearest(without, view, lambda rows: [""] * len(rows), queries, k, beam)[0]

        true = found(None, None)
        if state.root.metric != "inner_product":
            away = []
            for query, rows in zip(queries, true[:, :FAR_K], strict=True):
                with prepared_in(view, state, rows) as vectors:
                    away.append(navigator.farthest(query, vectors))
            navigator.far = tuple(map(far_away, np.transpose(away)))
        navigator.efforts = measure(true, lambda beam: found(navigator, beam))


def sampled(state: State) -> Rows:
    """Some live rows, for a projection."""
    rows = np.flatnonzero(state.alive)
    return rows[:: max(1, -(-len(rows) // SAMPLE_ROWS))]
