"""What brings rows into the graph, and the graph into the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.distance import prepare
from cyborg_embedded.navigation import drop_graph, rows_per_page, save_graph
from cyborg_embedded.navigator import Navigator
from cyborg_embedded.projection import SAMPLE_ROWS, Projection, choose_projection
from cyborg_embedded.state import DERIVED

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.pages import WriteView
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Codes = NDArray[np.int8]
    Rows = NDArray[np.int64]
    Vectors = NDArray[np.float32]

__all__ = ["optimize"]

REBUILD_SHARE = 0.1
"""The share of deleted rows in a graph from which on it is built anew, without them."""
CODES_AT_ONCE = 8192


def optimize(session: Session) -> None:
    """Bring every row that is live now into the graph, and save it.

    Other threads and processes go on reading and writing meanwhile: the graph is built beside the
    one in use, and the writer's lock is held only to save it.
    """
    with session.read() as (state, view):
        navigator = state.navigator.get(view, state)
    if not state.root.live:
        if state.root.graph is not None:
            session.write(lambda view, _: drop_graph(view))
        return
    made = next_navigator(session, state, navigator)
    if made is None:
        return
    first = 0
    if navigator is not None and navigator.projection is made.projection:
        first = navigator.graph.covered
    if not save(session, state, made, first):
        # Another handle has saved one in between: its codes are not to be built on.
        save(session, state, made, 0)


def save(session: Session, state: State, made: Navigator, first: int) -> bool:
    """Save a navigator over the rows of `state`, of which those below `first` have their codes in
    the file. False, and nothing saved, if what is there is not what `state` has.
    """
    saved = made.saved()
    codes = codes_of(session, state, made.projection, first)

    def write(view: WriteView, newest: State) -> list[bytes] | None:
        if first and derived_tags(newest) != derived_tags(state):
            return None
        save_graph(view, saved, codes, first)
        return [b"".join(view.fresh_tags(kind)) for kind in DERIVED]

    tags = session.write(write)
    if tags is None:
        return False
    with session.read() as (newest, _):
        # Unless yet another one has been saved since.
        if derived_tags(newest) == tags:
            newest.navigator.adopt(made, state.deaths)
    return True


def derived_tags(state: State) -> list[bytes]:
    """The tags of the pages that a navigator is restored from."""
    return [state.snapshot.tags.get(kind, b"") for kind in DERIVED]


def next_navigator(session: Session, state: State, navigator: Navigator | None) -> Navigator | None:
    """A navigator over all live rows of `state`; None if it has one, and saved it, already."""
    root = state.root
    vectors = vectors_of(session)
    if navigator is not None:
        graph = navigator.graph
        fresh = np.flatnonzero(state.alive[graph.covered :]) + graph.covered
        if graph.buried <= REBUILD_SHARE * len(graph) and len(fresh) <= len(graph):
            if not len(fresh):
                return None
            return navigator.extended(fresh, root.rows, vectors, root.metric)
    rows = np.flatnonzero(state.alive)
    projection = None
    if root.metric != "inner_product":
        step = max(1, -(-len(rows) // SAMPLE_ROWS))
        projection = choose_projection(prepare(vectors(rows[::step]), root.metric))
    if projection is not None and projection.dimensions > session.store.header.page_size - OVERHEAD:
        projection = None
    if projection is None and state.pool is not None and state.pool.sealed:
        return None
    return Navigator.build(rows, root.rows, vectors, projection, root.dimension, root.metric)


def codes_of(
    session: Session, state: State, projection: Projection | None, first: int
) -> Callable[[int], Codes] | None:
    """The codes of rows from `first` on, and of those before it in its page; see `save_graph`."""
    if projection is None:
        return None
    start = first - first % rows_per_page(session.store.header.page_size, projection.dimensions)
    codes = np.zeros((state.root.rows - start, projection.dimensions), np.int8)
    vectors = vectors_of(session)
    live = np.flatnonzero(state.alive[start:]) + start
    for place in range(0, len(live), CODES_AT_ONCE):
        rows = live[place : place + CODES_AT_ONCE]
        codes[rows - start] = projection.encode(prepare(vectors(rows), state.root.metric))
    return lambda row: codes[row - start :]


def vectors_of(session: Session) -> Callable[[Rows], Vectors]:
    """The stored vectors of rows, each time in a transaction of its own.

    One that lasts for a whole build would keep every page that is replaced meanwhile from being
    used again.
    """

    def vectors(rows: Rows) -> Vectors:
        with session.read() as (now, view):
            if now.pool is None:
                message = "rows without vectors"
                raise RuntimeError(message)
            return now.pool.rows(view, rows)

    return vectors
