"""The two forms of a query: as dicts and as arrays. What is asked for is checked here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from cyborg_embedded.batch import as_queries, check_count, check_effort, check_queries
from cyborg_embedded.results import check_include, describe_rows
from cyborg_embedded.search import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    Finish = Callable[[ReadView, State, list[int]], list[Any]]

__all__ = ["RESULT_FIELDS", "Asked", "query_arrays", "query_results"]

RESULT_FIELDS = frozenset({"vector", "metadata", "contents", "distance"})


class Asked(NamedTuple):
    """What a query asks for, checked, but for its vectors."""

    k: int
    ef: int | None
    recall: float | None

    @classmethod
    def of(cls, top_k: object, filters: object, ef: object, recall: object) -> Asked:
        """Raises `InvalidInputError`."""
        k, effort = check_count(top_k, "top_k"), check_effort(ef, recall)
        if filters is not None:
            # Still to come; silence would be worse than an error.
            message = "filters are not implemented yet"
            raise NotImplementedError(message)
        return cls(k, *effort)


def query_results(
    session: Session, query_vectors: ArrayLike, asked: Asked, include: object
) -> list[Any]:
    """See `EncryptedIndex.query`."""
    wanted = check_include(include, RESULT_FIELDS)

    def finish(view: ReadView, state: State, rows: list[int]) -> list[Any]:
        return describe_rows(view, state, session.items, rows, wanted)

    results, rows, distances, single = find(session, query_vectors, asked, finish)
    if "distance" in wanted:
        for result, distance in zip(results, distances.ravel().tolist(), strict=True):
            result["distance"] = distance
    return results if single else in_lines(results, rows)


def query_arrays(
    session: Session, query_vectors: ArrayLike, asked: Asked
) -> tuple[list[Any], Floats]:
    """See `EncryptedIndex.query_arrays`."""

    def finish(view: ReadView, _: State, rows: list[int]) -> list[Any]:
        return session.items.ids(view, rows)

    ids, rows, distances, single = find(session, query_vectors, asked, finish)
    return (ids, distances[0]) if single else (in_lines(ids, rows), distances)


def find(
    session: Session, query_vectors: ArrayLike, asked: Asked, finish: Finish
) -> tuple[list[Any], Rows, Floats, bool]:
    """What `finish` makes of all rows found, one query after another; the rows and distances,
    (m, n); and whether there was but a single query.
    """
    queries, single = as_queries(query_vectors)
    with session.read() as (state, view):
        check_queries(queries, state.root.dimension, state.root.metric)
        ids_of = partial(session.items.ids, view)
        rows, distances = nearest(state, view, ids_of, queries, asked.k, asked.ef, asked.recall)
        return finish(view, state, rows.ravel().tolist()), rows, distances, single


def in_lines(found: list[Any], rows: Rows) -> list[list[Any]]:
    """What was found for all queries, cut into one list for each."""
    m, n = rows.shape
    return [found[line * n : line * n + n] for line in range(m)]
