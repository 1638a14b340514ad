"""What a handle holds in memory of one commit.

A `State` never changes. Following a commit means making the next one from it and from the pages
that changed; queries that still run keep the state that they began with. What two states share is
made for that: the pool and the graph serve views of several commits at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import unit_rows
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.graph import Graph
from cyborg_embedded.links import load_links
from cyborg_embedded.model import PageKind
from cyborg_embedded.tombstones import load_alive
from cyborg_embedded.vectors import VectorLayout, VectorPool, stream_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.root import Root, Snapshot

__all__ = ["GraphSlot", "State", "advance", "graph_vectors"]


@dataclass(frozen=True, slots=True, repr=False)
class State:
    """One commit in memory: its pages' tags, which rows (n,) are alive, vectors and graph."""

    snapshot: Snapshot
    alive: NDArray[np.bool_]
    pool: VectorPool | None
    """None as long as the dimension is not set."""
    graph: GraphSlot

    @property
    def root(self) -> Root:
        """The root record of the commit."""
        return self.snapshot.root

    @property
    def deaths(self) -> int:
        """How many rows have been deleted so far. Only ever grows."""
        return self.root.rows - self.root.live


class GraphSlot:
    """The graph that one set of GRAPH pages stands for, restored when it is first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._graph: Graph | None = None
        self._settled = False
        self._deaths = -1
        self._most_deaths = -1
        self.damaged = False

    def adopt(self, graph: Graph, deaths: int) -> None:
        """Take a graph that is in memory already, and knows the first `deaths` deletions."""
        with self._lock:
            self._graph, self._settled = graph, True
            self._deaths = self._most_deaths = deaths

    def get(self, view: ReadView, state: State) -> Graph | None:
        """The graph, with every row buried that is dead in `state`; None if there is none.

        Damaged graph pages count as none, since rows can be found without: `damaged` tells.
        Raises `IntegrityError` for damaged vectors.
        """
        if not self._settled or (self._graph is not None and self._deaths < state.deaths):
            with self._lock:
                if not self._settled:
                    self._graph = self._restore(view, state)
                    self._settled = True
                if self._graph is not None and self._deaths < state.deaths:
                    self._most_deaths = state.deaths
                    self._graph.bury(state.alive)
                    self._deaths = state.deaths
        return self._graph

    def ahead_of(self, state: State) -> bool:
        """Whether rows may have been buried that are alive in `state`."""
        return self._most_deaths > state.deaths

    def _restore(self, view: ReadView, state: State) -> Graph | None:
        try:
            links = load_links(view)
        except IntegrityError:
            self.damaged = True
            return None
        if links is None or state.pool is None:
            return None
        root, pool = state.root, state.pool

        covered = root.graph.rows if root.graph is not None else 0

        def stream(take: Callable[[int, NDArray[np.float32]], None]) -> None:
            def prepare(first: int, vectors: NDArray[np.float32]) -> None:
                take(first, graph_vectors(vectors, root))

            stream_vectors(view, pool.layout, covered, prepare)

        return Graph.restore(links, covered, stream, root.dimension, root.metric)


def graph_vectors(vectors: NDArray[np.float32], root: Root) -> NDArray[np.float32]:
    """Stored vectors as the graph wants them: of unit length under cosine."""
    return unit_rows(vectors) if root.metric == "cosine" else vectors


def advance(view: ReadView, older: State | None, page_size: int) -> State:
    """The state at the commit of `view`. Raises `IntegrityError`."""
    snapshot = view.snapshot
    root = snapshot.root
    before = older.snapshot if older is not None else None
    pool = older.pool if older is not None else None
    if pool is None and root.dimension:
        pool = VectorPool(VectorLayout.of(root.dimension, page_size))
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
    same_graph = older is not None and not snapshot.changed(before, PageKind.GRAPH)
    graph = older.graph if older is not None and same_graph else GraphSlot()
    return State(snapshot, alive, pool, graph)
