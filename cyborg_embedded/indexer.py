"""What brings rows into the graph, and the graph into the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.graph import Graph
from cyborg_embedded.links import drop_links, encode, save_links
from cyborg_embedded.model import PageKind
from cyborg_embedded.state import graph_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.pages import WriteView
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

__all__ = ["optimize"]

REBUILD_SHARE = 0.1
"""The share of deleted rows in a graph from which on it is built anew, without them."""


def optimize(session: Session) -> None:
    """Bring every row that is live now into the graph, and save it.

    Other threads and processes go on reading and writing meanwhile: the graph is built beside the
    one in use, and the writer's lock is held only to save it.
    """
    with session.read() as (state, view):
        graph = state.graph.get(view, state)
    made = next_graph(session, state, graph)
    if made is None:
        return
    target = state.root.rows

    def save(view: WriteView, _: State) -> bytes:
        if not len(made):
            drop_links(view)
        else:
            save_links(view, encode(made.links()), target, view.page_size)
        return b"".join(view.fresh_tags(PageKind.GRAPH))

    tags = session.write(save)
    with session.read() as (newest, _):
        # Unless another process has saved one in between.
        if len(made) and newest.snapshot.tags.get(PageKind.GRAPH) == tags:
            newest.graph.adopt(made, state.deaths)


def next_graph(session: Session, state: State, graph: Graph | None) -> Graph | None:
    """A graph over all live rows of `state`; None if it has one, and saved it, already."""
    root = state.root

    def vectors(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        # A transaction for each block: one that lasts for the whole build would keep every page
        # that is replaced meanwhile from being used again.
        with session.read() as (now, view):
            if now.pool is None:
                message = "rows without vectors"
                raise RuntimeError(message)
            return graph_vectors(now.pool.rows(view, rows), root)

    if graph is not None and graph.buried <= REBUILD_SHARE * len(graph):
        fresh = np.flatnonzero(state.alive[graph.covered :]) + graph.covered
        if not len(fresh) and root.graph is not None and not state.graph.damaged:
            return None
        return graph.extended(fresh, root.rows, vectors)
    rows = np.flatnonzero(state.alive)
    if not len(rows) and root.graph is None:
        return None
    return Graph.build(rows, root.rows, vectors, root.dimension, root.metric)
