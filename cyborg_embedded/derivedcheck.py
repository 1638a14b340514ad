"""Everything that is only there to be fast, held against what it was made of.

A damaged graph or columns cost time, never an answer; but links that lead nowhere, codes of other
vectors and columns of other items would cost answers, and nobody else looks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.column import FIRST_CODE, MISSING_CODE
from cyborg_embedded.columnpages import Columns, load_columns
from cyborg_embedded.columnset import NO_COLUMNS, refreshed
from cyborg_embedded.distance import prepare
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import PageKind
from cyborg_embedded.navigation import load_graph, stream_codes
from cyborg_embedded.precision import decode
from cyborg_embedded.vectors import read_stored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.groundcheck import Findings
    from cyborg_embedded.links import Links
    from cyborg_embedded.navigation import SavedGraph
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.state import State

__all__ = ["check_columns", "check_graph"]

ROWS_AT_ONCE = 2048
SPECIAL = tuple((code,) for code in range(FIRST_CODE))
SLACK = 1
"""By how much a code may differ from one that another machine has computed."""


def check_graph(view: ReadView, state: State, findings: Findings) -> None:
    """The saved graph, if there is one: it covers what it says, and can be walked; its codes are
    those of its rows' vectors.
    """
    with findings.noting():
        graph = load_graph(view)
        if graph is not None:
            check_covered(graph, state)
            check_linked(graph.links)
            if graph.projection is not None:
                check_codes(view, state, graph)
    for kind in (PageKind.GRAPH, PageKind.PROJECTION, PageKind.NAVIGATION):
        findings.went(view.snapshot.pages(kind))


def check_covered(graph: SavedGraph, state: State) -> None:
    """Every live row below the one that it says is in it. Raises `IntegrityError`."""
    inside = np.zeros(state.root.rows, np.bool_)
    inside[graph.links.rows] = True
    if not inside[: graph.covered][state.alive[: graph.covered]].all():
        message = "the graph lacks rows that it says it has"
        raise IntegrityError(message, kind="GRAPH", number=0)


def check_linked(links: Links) -> None:
    """Every node leads to others, to none of them twice and not to itself, and places behind its
    links hold zeros. Raises `IntegrityError`.

    Whether all can be reached is not asked: many equal items lead to each other alone.
    """
    counts = links.level0[:, 0]
    used = np.arange(links.level0.shape[1] - 1) < counts[:, None]
    nodes = np.arange(len(counts))[:, None]
    targets = np.where(used, links.level0[:, 1:].astype(np.int64), -1 - np.arange(used.shape[1]))
    ordered = np.sort(targets, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]).any()
    unused = links.level0[:, 1:][~used].any()
    if unused or twice or (targets == nodes).any() or (len(counts) > 1 and not counts.all()):
        message = "the links of the graph are not such as it is made with"
        raise IntegrityError(message, kind="GRAPH", number=0)


def check_codes(view: ReadView, state: State, graph: SavedGraph) -> None:
    """The codes of the nodes are those of their vectors. Raises `IntegrityError`."""
    if state.pool is None or graph.projection is None:
        return
    projection, layout = graph.projection, state.pool.layout
    codes = np.empty((graph.covered, projection.dimensions), np.int8)

    def take(first: int, part: NDArray[np.int8]) -> None:
        codes[first : first + len(part)] = part

    stream_codes(view, projection.dimensions, graph.covered, take)
    nodes = graph.links.rows.astype(np.int64)
    for start in range(0, len(nodes), ROWS_AT_ONCE):
        rows = nodes[start : start + ROWS_AT_ONCE]
        vectors = decode(read_stored(view, layout, rows), layout.precision)
        with np.errstate(all="ignore"):  # what cannot have been stored is told of elsewhere
            made = projection.encode(prepare(vectors, state.root.metric))
        if np.abs(made.astype(np.int16) - codes[rows]).max(initial=0) > SLACK:
            message = "codes that are not those of the vectors"
            raise IntegrityError(message, kind="NAVIGATION", number=0)


def check_columns(view: ReadView, state: State, findings: Findings) -> None:
    """The saved columns, if there are any, brought up to this commit, are those of the items."""
    with findings.noting():
        saved = load_columns(view)
        # Saved by a commit with fewer rows dead than now: what died since is left out below.
        if saved is not None:
            now, anew = refreshed(view, state, saved), refreshed(view, state, NO_COLUMNS)
            told, true = contents_of(now, state), contents_of(anew, state)
            if not (now.complete and anew.complete):
                # Which paths have a column depends on the order in which they came.
                told = {path: column for path, column in told.items() if path in true}
                true = {path: column for path, column in true.items() if path in told}
            if told != true:
                message = "columns that are not those of the items"
                raise IntegrityError(message, kind="COLUMNS", number=0)
    findings.went(view.snapshot.pages(PageKind.COLUMNS))


def contents_of(columns: Columns, state: State) -> dict[str, list[object]]:
    """What columns say of the rows that live, by path, whatever their dictionaries are like."""
    told = {}
    for path, column in columns.by_path.items():
        rows = np.arange(len(column.codes)) if column.rows is None else column.rows
        kept = state.alive[rows] & (column.codes != MISSING_CODE)
        inside = None if column.inside is None else column.inside[kept]
        values = [*SPECIAL, *column.numbers, *column.texts]
        arrays = state.alive[column.list_rows]
        parts: list[object] = [
            rows[kept].tolist(),
            [values[code] for code in column.codes[kept].tolist()],
            inside.tolist() if inside is not None and inside.any() else None,
            column.list_rows[arrays].tolist(),
            column.list_lengths[arrays].tolist(),
        ]
        if parts[0] or parts[3]:
            told[path] = parts
    return told
