"""What brings rows into the graph, and graph and columns into the file.

A few new rows are added to the graph in use, in steps short enough for queries to wait for; where
many are to come, or many have died, a new graph is made beside it and takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.building import grow, rebuilt, sampled
from cyborg_embedded.components import has_drifted
from cyborg_embedded.saving import (
    columns_ahead,
    columns_to_save,
    drop,
    is_saved,
    pays,
    prepared_vectors,
    save,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.building import Job
    from cyborg_embedded.navigator import Navigator
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]

__all__ = ["is_due", "optimize"]

FIRST_ROWS = 8192
"""Live rows from which on a graph is worth its while: fewer are scanned in less than a walk takes
to pay."""
TAIL_ROWS = 1024
"""Rows beside the graph that are worth bringing into it."""
REBUILD_SHARE = 0.1
"""The share of deleted rows in a graph from which on it is made anew, without them."""
DRIFT_SHARE = 0.0625
"""The share of new rows from which on they are looked at whether they are like the others."""


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
    with columns_ahead(session, state) as begin_columns:
        made = brought_up(session, state, navigator, job, begin_columns)
        columns = columns_to_save(session, always=always_save)
    due = made is not None and (pays(made) or (always_save and not is_saved(session, made)))
    save(session, made if due else None, columns)


def brought_up(
    session: Session,
    state: State,
    navigator: Navigator | None,
    job: Job,
    begin: Callable[[], None],
) -> Navigator | None:
    """A navigator in use that has all live rows of `state`; None if there is to be none. Calls
    `begin` before rows are added.
    """
    if navigator is not None:
        graph = navigator.graph
        fresh = np.flatnonzero(state.alive[graph.covered :]) + graph.covered
        dead = len(graph) - graph.alive(state.alive)
        # In this order: who knows fewer deletions is not to take the graph for free of dead rows.
        navigator.deaths = max(navigator.deaths, state.deaths)
        navigator.spared = state.deaths - dead
        few = dead <= REBUILD_SHARE * len(graph) and len(fresh) <= len(graph)
        if few and not (len(fresh) and drifted(session, state, navigator)):
            begin()
            grow(session, state, navigator, fresh, job)
            return navigator
    made = rebuilt(session, state, job, begin)
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
