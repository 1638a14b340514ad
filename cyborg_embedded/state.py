"""What a handle holds in memory of one commit.

A `State` never changes. Following a commit means making the next one from it and from the pages
that changed; queries that still run keep the state that they began with. What two states share is
made for that: the pool and the graph serve views of several commits at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.errors import IntegrityError, RollbackError
from cyborg_embedded.itemids import IDS_PER_PAGE
from cyborg_embedded.model import PageKind
from cyborg_embedded.navigation import load_graph
from cyborg_embedded.navigator import Navigator
from cyborg_embedded.residency import Pool, make_pool
from cyborg_embedded.tombstones import load_alive
from cyborg_embedded.vectors import VectorLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.root import Root, Snapshot

__all__ = ["DERIVED", "NavigatorSlot", "State", "advance", "derived_tags"]

DERIVED = (PageKind.GRAPH, PageKind.NAVIGATION, PageKind.PROJECTION)
"""The kinds of pages that a navigator is restored from."""


@dataclass(frozen=True, slots=True, repr=False)
class State:
    """One commit in memory: its pages' tags, which rows (n,) are alive, vectors, navigator."""

    snapshot: Snapshot
    alive: NDArray[np.bool_]
    pool: Pool | None
    """None as long as the dimension is not set."""
    navigator: NavigatorSlot
    root: Root = field(init=False)
    """The root record of the commit."""

    def __post_init__(self) -> None:
        # No property: every query asks for it a dozen times.
        object.__setattr__(self, "root", self.snapshot.root)

    @property
    def deaths(self) -> int:
        """How many rows have been deleted so far. Only ever grows."""
        return self.root.rows - self.root.live

    @property
    def sealed(self) -> bool:
        """Whether vectors are decrypted for a running query alone."""
        return self.pool is not None and self.pool.sealed

    @property
    def saved_dimensions(self) -> int | None:
        """Those that this handle walks the saved graph in; None without one."""
        record = self.root.graph
        if record is None:
            return None
        return (record.walked if self.sealed else record.dimensions) or self.root.dimension


def derived_tags(state: State) -> list[bytes]:
    """The tags of the pages that a navigator is restored from."""
    return [state.snapshot.tags.get(kind, b"") for kind in DERIVED]


class NavigatorSlot:
    """The navigator of a handle: restored from its pages when it is first asked for, or put here
    by whoever made a better one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._navigator: Navigator | None = None
        self._settled = False
        self.damaged = False
        self.refused = 0
        """So many rows there were when no graph could be made of them."""

    @property
    def known(self) -> Navigator | None:
        """The navigator, if it is in memory."""
        navigator = self._navigator
        return None if navigator is None or navigator.graph.torn else navigator

    def adopt(self, navigator: Navigator | None) -> None:
        """Take this navigator in place of any other."""
        with self._lock:
            self._navigator, self._settled = navigator, True

    def get(self, view: ReadView, state: State) -> Navigator | None:
        """The navigator; None if there is none.

        Damaged pages count as none, since rows can be found without: `damaged` tells.
        Raises `IntegrityError` for damaged vectors.
        """
        if not self._settled:
            with self._lock:
                if not self._settled:
                    self._navigator = restored = self._restore(view, state)
                    if restored is not None:
                        restored.deaths = state.deaths
                        restored.checked = restored.graph.covered
                        dead = len(restored.graph) - restored.graph.alive(state.alive)
                        restored.spared = state.deaths - dead
                        restored.saved = (derived_tags(state), restored.graph.covered)
                    self._settled = True
        return self.known

    def _restore(self, view: ReadView, state: State) -> Navigator | None:
        if state.pool is None:
            return None
        pool, metric = state.pool, state.root.metric
        try:
            saved = load_graph(view)
            if saved is None:
                return None
            if saved.projection is not None:
                # What a sealed handle saves in vectors, it is not to spend on components.
                return Navigator.restore(view, saved, pool.layout, metric, lean=pool.sealed)
        except IntegrityError:
            self.damaged = True
            return None
        if pool.sealed:
            # A graph over the vectors themselves would hold all of them in plaintext.
            return None
        # It walks the vectors themselves: those are no derived state.
        return Navigator.restore(view, saved, pool.layout, metric)


def advance(view: ReadView, older: State | None, page_size: int, cache_bytes: int | None) -> State:
    """The state at the commit of `view`. Raises `IntegrityError`."""
    snapshot = view.snapshot
    root = snapshot.root
    before = older.snapshot if older is not None else None
    if older is not None:
        check_successor(snapshot, older)
    pool = older.pool if older is not None else None
    if pool is None and root.dimension:
        pool = make_pool(VectorLayout.of(root.dimension, page_size, root.precision), cache_bytes)
    alive = load_alive(
        view,
        root.rows,
        older.alive if older is not None else np.empty(0, np.bool_),
        snapshot.changed(before, PageKind.TOMBSTONES),
        page_size,
    )
    if int(alive.sum()) != root.live:
        message = "the number of live rows is not what the root says"
        raise IntegrityError(message, kind="TOMBSTONES", number=0)
    return State(snapshot, alive, pool, slot_for(snapshot, older))


def slot_for(snapshot: Snapshot, older: State | None) -> NavigatorSlot:
    """The slot of a commit: the one in use, unless the file has a graph that reaches further."""
    if older is None:
        return NavigatorSlot()
    slot, graph = older.navigator, snapshot.root.graph
    if not any(snapshot.changed(older.snapshot, kind) for kind in DERIVED):
        return slot
    known = slot.known
    if known is not None and graph is not None and graph.rows <= known.graph.covered:
        return slot
    return NavigatorSlot()


def check_successor(snapshot: Snapshot, older: State) -> None:
    """See that a commit has all rows of an older one: rows are only ever appended.

    A diverged copy of the index is authentic, and may have the greater sequence; but the pages
    that both filled with different rows are different, and what is held of them in memory would
    be wrong. Raises `RollbackError`.
    """
    before, rows = older.snapshot, older.root.rows
    fixed = older.root.dimension in (0, snapshot.root.dimension)
    fixed = fixed and older.root.metric == snapshot.root.metric
    fixed = fixed and older.root.precision == snapshot.root.precision
    grown = snapshot.root.rows - rows
    layout = older.pool.layout if older.pool is not None else None
    kept = {PageKind.ITEM_IDS: divmod(rows, IDS_PER_PAGE)}
    if layout is not None:
        full, rest = divmod(rows, layout.rows_per_page)
        kept[PageKind.VECTORS] = (full * layout.pages_per_row, rest)
    for kind, (full, rest) in kept.items():
        # The page that is not full yet changes with every row that it gets, and only then.
        pages = full + (rest > 0 and grown == 0)
        old, new = before.tags.get(kind, b""), snapshot.tags.get(kind, b"")
        if not fixed or grown < 0 or old[: pages * TAG_BYTES] != new[: pages * TAG_BYTES]:
            message = "the index on disk is not a successor of what this handle has already read"
            raise RollbackError(
                message, sequence=snapshot.root.sequence, expected=before.root.sequence
            )
