"""The graph's way into the file: when that pays, and what goes with it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import prepare
from cyborg_embedded.navigation import rows_per_page, save_graph
from cyborg_embedded.state import DERIVED, derived_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.navigation import SavedGraph
    from cyborg_embedded.navigator import Navigator
    from cyborg_embedded.pages import WriteView
    from cyborg_embedded.projection import Projection
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Codes = NDArray[np.int8]
    Rows = NDArray[np.int64]
    Vectors = NDArray[np.float32]

__all__ = ["is_saved", "pays", "prepared_vectors", "save", "save_if_it_pays"]

UNSAVED_SHARE, UNSAVED_ROWS = 0.125, 1024
"""The share of a graph's rows, and how many, that the one in the file may lack, and still not be
replaced."""
CODES_AT_ONCE = 8192


def save_if_it_pays(session: Session) -> None:
    """Save the graph in memory if the one in the file lacks much of it."""
    state = session.state
    navigator = None if state is None else state.navigator.known
    if state is not None and navigator is not None and pays(navigator):
        save(session, navigator)


def is_saved(session: Session, navigator: Navigator) -> bool:
    """Whether the graph in the file is this one, as it is."""
    with session.read() as (state, _):
        return navigator.saved == (derived_tags(state), navigator.graph.covered)


def pays(navigator: Navigator) -> bool:
    """Whether the file lacks enough of the graph for saving it to pay."""
    covered = navigator.graph.covered
    saved = navigator.saved[1] if navigator.saved is not None else 0
    return covered - saved >= max(UNSAVED_ROWS, UNSAVED_SHARE * covered)


def save(session: Session, navigator: Navigator) -> None:
    """Save a navigator."""
    if navigator.saved is None or not save_from(session, navigator, navigator.saved[1]):
        # Another handle has saved one in between: its codes are not to be built on.
        save_from(session, navigator, 0)


def save_from(session: Session, navigator: Navigator, first: int) -> bool:
    """Save a navigator, of which the rows below `first` have their codes in the file. False, and
    nothing saved, if they have not.
    """
    saved = navigator.graph_to_save()
    known = navigator.saved
    codes = codes_of(session, navigator.projection, saved, first)

    def write(view: WriteView, newest: State) -> list[bytes] | None:
        if first and (known is None or derived_tags(newest) != known[0]):
            return None
        other = newest.root.graph
        if other is not None and other.rows > saved.covered and not newest.navigator.damaged:
            # Another handle's graph reaches further: this one follows it.
            return []
        save_graph(view, saved, codes, first)
        return [b"".join(view.fresh_tags(kind)) for kind in DERIVED]

    tags = session.write(write)
    if tags is None:
        return False
    if not tags:
        return True
    navigator.saved = (tags, saved.covered)
    with session.read() as (newest, _):
        # Unless yet another one has been saved since.
        if derived_tags(newest) == tags:
            newest.navigator.adopt(navigator)
    return True


def codes_of(
    session: Session, projection: Projection | None, saved: SavedGraph, first: int
) -> Callable[[int], Codes] | None:
    """The codes of rows from `first` on, and of those before it in its page; see `save_graph`."""
    if projection is None:
        return None
    start = first - first % rows_per_page(session.store.header.page_size, projection.dimensions)
    codes = np.zeros((saved.covered - start, projection.dimensions), np.int8)
    nodes = saved.links.rows[saved.links.rows >= start].astype(np.int64)
    for place in range(0, len(nodes), CODES_AT_ONCE):
        rows = nodes[place : place + CODES_AT_ONCE]
        with prepared_vectors(session, rows) as vectors:
            codes[rows - start] = projection.encode(vectors)
    return lambda row: codes[row - start :]


@contextlib.contextmanager
def prepared_vectors(session: Session, rows: Rows) -> Iterator[Vectors]:
    """The prepared vectors of rows (n, d), wiped in the end where the residency says so.

    Each time in a transaction of its own: one that lasts for a whole build would keep every page
    that is replaced meanwhile from being used again.
    """
    with session.read() as (now, view):
        if now.pool is None:
            message = "rows without vectors"
            raise RuntimeError(message)
        vectors = now.pool.rows(view, rows)
        pool, metric = now.pool, now.root.metric
    try:
        yield prepare(vectors, metric, vectors)
    finally:
        pool.wipe(vectors)
