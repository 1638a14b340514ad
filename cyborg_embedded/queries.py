"""The two forms of a query: as dicts and as arrays. What is asked for is checked here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from cyborg_embedded.batch import as_queries, check_count, check_effort, check_queries
from cyborg_embedded.filtered import nearest_among
from cyborg_embedded.filters import parse
from cyborg_embedded.predicates import EVERYTHING
from cyborg_embedded.results import ITEM_FIELDS, check_include, describe_rows
from cyborg_embedded.search import effort_of, nearest, relied_on
from cyborg_embedded.selection import select

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from cyborg_embedded.filtered import Filtered
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.predicates import Node
    from cyborg_embedded.results import QueryPlan
    from cyborg_embedded.selection import Selection
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    Finish = Callable[[ReadView, State, "Found"], list[Any]]

__all__ = ["RESULT_FIELDS", "Asked", "query_arrays", "query_results"]

RESULT_FIELDS = ITEM_FIELDS | {"distance"}


class Asked(NamedTuple):
    """What a query asks for, checked, but for its vectors."""

    k: int
    ef: int | None
    recall: float | None
    node: Node

    @classmethod
    def of(
        cls, session: Session, top_k: object, filters: object, ef: object, recall: object
    ) -> Asked:
        """Raises `InvalidInputError`."""
        k, effort = check_count(top_k, "top_k"), check_effort(ef, recall)
        node = EVERYTHING if filters is None else parse(filters, session.hidden)
        return cls(k, *effort, node)


def query_results(
    session: Session, query_vectors: ArrayLike, asked: Asked, include: object
) -> tuple[list[Any], Callable[[], QueryPlan]]:
    """See `EncryptedIndex.query`; with what tells how it was answered."""
    wanted = check_include(include, RESULT_FIELDS)

    def finish(view: ReadView, state: State, found: Found) -> list[Any]:
        rows = found.rows.ravel().tolist()
        distances = found.distances.ravel().tolist() if "distance" in wanted else None
        return describe_rows(view, state, session.items, rows, wanted, distances)

    results, found, single = find(session, query_vectors, asked, finish)
    return (results if single else in_lines(results, found.rows)), found.plan


def query_arrays(
    session: Session, query_vectors: ArrayLike, asked: Asked
) -> tuple[list[Any], Floats]:
    """See `EncryptedIndex.query_arrays`."""

    def finish(view: ReadView, _: State, found: Found) -> list[Any]:
        return session.items.ids(view, found.rows.ravel().tolist())

    ids, found, single = find(session, query_vectors, asked, finish)
    distances = found.distances
    return (ids, distances[0]) if single else (in_lines(ids, found.rows), distances)


class Found(NamedTuple):
    """Rows and distances (m, n), and what tells how they were found."""

    rows: Rows
    distances: Floats
    plan: Callable[[], QueryPlan]


def find(
    session: Session, query_vectors: ArrayLike, asked: Asked, finish: Finish
) -> tuple[list[Any], Found, bool]:
    """What `finish` makes of what was found for all queries; that itself; and whether there was but
    a single query.
    """
    queries, single = as_queries(query_vectors)
    with session.read() as (state, view):
        check_queries(queries, state.root.dimension, state.root.metric)
        if asked.node is EVERYTHING:
            ids_of = partial(session.items.ids, view)
            nearby = nearest(state, view, ids_of, queries, asked.k, asked.ef, asked.recall)
            found = Found(*nearby, partial(plan_of_all, state, asked))
        else:
            selection = select(session, view, state, asked.node)
            among = nearest_among(
                session, state, view, queries, asked.k, selection, asked.ef, asked.recall
            )
            plan = partial(plan_of_some, state, selection, among)
            found = Found(among.rows, among.distances, plan)
        return finish(view, state, found), found, single


def plan_of_all(state: State, asked: Asked) -> QueryPlan:
    """How a query without a filter was answered."""
    navigator, live = state.navigator.known, state.root.live
    k = min(asked.k, live)
    walked = navigator is not None and relied_on(navigator, k, asked.recall)
    ef = effort_of(navigator, k, asked.ef, asked.recall) if navigator is not None else None
    reason = "there is a graph" if walked else "there is no graph, or all is to be found"
    return {
        "strategy": "graph" if walked else "scan",
        "reason": f"no filter, and {reason}",
        "live": live,
        "matching": live,
        "looked_at": 0,
        "ef": ef if walked else None,
        "measured": None,
        "short": 0,
        "costs": {},
    }


def plan_of_some(state: State, selection: Selection, found: Filtered) -> QueryPlan:
    """How a query with a filter was answered."""
    choice = found.choice
    return {
        "strategy": choice.strategy,
        "reason": choice.reason,
        "live": state.root.live,
        "matching": selection.matching,
        "looked_at": selection.looked_at,
        "ef": choice.width if choice.strategy == "graph" else None,
        "measured": choice.count if choice.strategy == "codes" else None,
        "short": found.short,
        "costs": dict(choice.costs),
    }


def in_lines(found: list[Any], rows: Rows) -> list[list[Any]]:
    """What was found for all queries, cut into one list for each."""
    m, n = rows.shape
    return [found[line * n : line * n + n] for line in range(m)]
