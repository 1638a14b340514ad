"""The graph's way into the file: when that pays, and what goes with it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.columnpages import save_columns
from cyborg_embedded.distance import prepare
from cyborg_embedded.errors import CyborgError
from cyborg_embedded.model import PageKind
from cyborg_embedded.navigation import drop_graph, rows_per_page, save_graph
from cyborg_embedded.state import DERIVED, derived_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.columnpages import Columns
    from cyborg_embedded.columnset import ColumnSlot
    from cyborg_embedded.navigation import SavedGraph
    from cyborg_embedded.navigator import Navigator
    from cyborg_embedded.pages import ReadView, WriteView
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Codes = NDArray[np.int8]
    Rows = NDArray[np.int64]
    Vectors = NDArray[np.float32]

__all__ = [
    "columns_ahead",
    "columns_are_due",
    "columns_to_save",
    "drop",
    "is_saved",
    "pays",
    "prepared_in",
    "prepared_vectors",
    "save",
    "save_if_it_pays",
]

UNSAVED_SHARE, UNSAVED_ROWS = 0.125, 1024
"""The share of a graph's rows, and how many, that the one in the file may lack, and still not be
replaced."""
CODES_AT_ONCE = 8192


def columns_are_due(session: Session, state: State) -> bool:
    """Whether enough of the items has no saved columns yet."""
    if session.columns.known is None and state.root.columns is not None:
        # How much they lack is known when they are in memory.
        return False
    return session.columns.pays(state.snapshot.tags.get(PageKind.ITEMS, b""))


def columns_to_save(session: Session, *, always: bool = False) -> Columns | None:
    """The columns, brought up to the items, if the saved ones lack much of them, or `always` if
    they lack anything.
    """
    slot = session.columns
    with session.read() as (state, view):
        tags = state.snapshot.tags.get(PageKind.ITEMS, b"")
        if slot.settled == (tags, always):
            return None
        with forgotten(slot):
            if slot.known is None:
                slot.get(view, state)
            due = slot.lacks(tags) if always else slot.pays(tags)
            columns = slot.get(view, state) if due else None
    if columns is None:
        slot.settled = (tags, always)
    if columns is not None and not columns.by_path and state.root.columns is None:
        return None
    return columns


@contextlib.contextmanager
def columns_ahead(session: Session, state: State) -> Iterator[Callable[[], None]]:
    """What whoever has this with block calls when the columns are to be brought up to the items on
    another thread, if enough is to be saved of them, beside what needs no GIL. `columns_to_save`
    waits for them.
    """
    slot = session.columns

    def bring_up() -> None:
        # What is wrong with them shows again when they are to be saved.
        with contextlib.suppress(CyborgError), session.read() as (now, view):
            slot.get(view, now)

    if not columns_are_due(session, state):
        yield lambda: None
        return
    thread = threading.Thread(target=bring_up, name="cyborg-columns")

    def begin() -> None:
        # While the interpreter exits there are no more threads.
        with contextlib.suppress(RuntimeError):
            thread.start()

    with forgotten(slot):
        try:
            yield begin
        finally:
            if thread.ident is not None:
                thread.join()


@contextlib.contextmanager
def forgotten(slot: ColumnSlot) -> Iterator[None]:
    """Forget the columns at the end of a with block, unless somebody had asked for them before."""
    loaded = slot.known is not None
    try:
        yield
    finally:
        if not loaded:
            slot.clear()


def save_if_it_pays(session: Session) -> None:
    """Save the graph and the columns in memory if those in the file lack much of them."""
    state = session.state
    navigator = None if state is None else state.navigator.known
    if state is not None and navigator is not None and pays(navigator):
        save(session, navigator, columns_to_save(session))
    elif state is not None and columns_are_due(session, state):
        save(session, None, columns_to_save(session))


def is_saved(session: Session, navigator: Navigator) -> bool:
    """Whether the graph in the file is this one, as it is."""
    with session.read() as (state, _):
        return navigator.saved == (derived_tags(state), navigator.graph.covered)


def pays(navigator: Navigator) -> bool:
    """Whether the file lacks enough of the graph for saving it to pay."""
    covered = navigator.graph.covered
    saved = navigator.saved[1] if navigator.saved is not None else 0
    return covered - saved >= max(UNSAVED_ROWS, UNSAVED_SHARE * covered)


def save(session: Session, navigator: Navigator | None, columns: Columns | None = None) -> None:
    """Save a navigator, or columns, or both, in one commit."""
    if navigator is not None:
        first = 0 if navigator.saved is None else navigator.saved[1]
        if not save_from(session, navigator, columns, first):
            # Another handle has saved one in between: its codes are not to be built on.
            save_from(session, navigator, columns, 0)
    elif columns is not None:
        session.write(lambda view, _: save_columns(view, columns))
    if columns is not None:
        session.columns.note_saved(columns)


def drop(session: Session, columns: Columns | None) -> None:
    """Save that there is no graph, and columns if they are given, in one commit."""

    def write(view: WriteView, _: State) -> None:
        drop_graph(view)
        if columns is not None:
            save_columns(view, columns)

    session.write(write)
    if columns is not None:
        session.columns.note_saved(columns)


def save_from(session: Session, navigator: Navigator, columns: Columns | None, first: int) -> bool:
    """Save a navigator, of which the rows below `first` have their codes in the file. False, and
    nothing saved, if they have not.
    """
    saved = navigator.graph_to_save()
    known = navigator.saved
    codes = codes_of(session, navigator, saved, first)

    def write(view: WriteView, newest: State) -> list[bytes] | None:
        if first and (known is None or derived_tags(newest) != known[0]):
            return None
        if columns is not None:
            # They say what they were made of: a commit in between does not make them wrong.
            save_columns(view, columns)
        other = newest.root.graph
        if other is not None and other.rows > saved.covered and not newest.navigator.damaged:
            # Another handle's graph reaches further: this one follows it.
            return []
        save_graph(view, saved, codes, first)
        return [b"".join(view.fresh_tags(kind)) for kind in DERIVED]

    tags = session.write(write)
    if tags is None:
        return False
    navigator.codes = None
    if not tags:
        return True
    navigator.saved = (tags, saved.covered)
    with session.read() as (newest, _):
        # Unless yet another one has been saved since.
        if derived_tags(newest) == tags:
            newest.navigator.adopt(navigator)
    return True


def codes_of(
    session: Session, navigator: Navigator, saved: SavedGraph, first: int
) -> Callable[[int], Codes] | None:
    """The codes of rows from `first` on, and of those before it in its page; see `save_graph`."""
    projection, known = navigator.projection, navigator.codes
    if projection is None:
        return None
    if known is not None:
        return lambda row: known[row:]
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
    with contextlib.ExitStack() as stack:
        with session.read() as (now, view):
            vectors = stack.enter_context(prepared_in(view, now, rows))
        yield vectors


@contextlib.contextmanager
def prepared_in(view: ReadView, state: State, rows: Rows) -> Iterator[Vectors]:
    """`prepared_vectors`, in a transaction that there is."""
    pool, metric = state.pool, state.root.metric
    if pool is None:
        message = "rows without vectors"
        raise RuntimeError(message)
    vectors = pool.rows(view, rows)
    try:
        yield prepare(vectors, metric, vectors)
    finally:
        pool.wipe(vectors)
