"""What can be asked of an open index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from cyborg_embedded import rows as item_rows
from cyborg_embedded.batch import check_ids
from cyborg_embedded.ids import ABSENT
from cyborg_embedded.listing import count_matching, ids_matching, items_matching
from cyborg_embedded.queries import Asked, query_arrays, query_results
from cyborg_embedded.results import (
    ITEM_FIELDS,
    IndexDescription,
    Item,
    QueryPlan,
    check_include,
    describe_rows,
    describe_state,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from cyborg_embedded.background import Indexing
    from cyborg_embedded.model import Metric
    from cyborg_embedded.session import Session

__all__ = ["Reads"]


class Reads:
    """The half of `EncryptedIndex` that changes nothing."""

    def __init__(self, name: str, session: Session, indexing: Indexing) -> None:
        self._name = name
        self._session = session
        self._indexing = indexing

    @property
    def name(self) -> str:
        """The name of the index."""
        return self._name

    @property
    def dimension(self) -> int | None:
        """Numbers in a vector; None until the first upsert, where creation left it open."""
        with self._session.read() as (state, _):
            return state.root.dimension or None

    @property
    def metric(self) -> Metric:
        """The distance that queries are ordered by."""
        with self._session.read() as (state, _):
            return state.root.metric

    @property
    def sequence(self) -> int:
        """The number of the newest commit, plus one with each. See `load_index(min_sequence=)`."""
        with self._session.read() as (state, _):
            return state.root.sequence

    @property
    def commit_id(self) -> bytes:
        """16 bytes that name the newest commit: another one never has the same."""
        with self._session.read() as (state, _):
            return state.snapshot.root_tag

    def __len__(self) -> int:
        with self._session.read() as (state, _):
            return state.root.live

    @overload
    def query(
        self,
        query_vectors: ArrayLike,
        *,
        top_k: int = 10,
        filters: Mapping[str, Any] | None = None,
        include: Iterable[str] = ("distance", "metadata"),
        ef: int | None = None,
        recall: float | None = None,
        explain: Literal[False] = False,
    ) -> list[Any]: ...

    @overload
    def query(
        self,
        query_vectors: ArrayLike,
        *,
        top_k: int = 10,
        filters: Mapping[str, Any] | None = None,
        include: Iterable[str] = ("distance", "metadata"),
        ef: int | None = None,
        recall: float | None = None,
        explain: Literal[True],
    ) -> tuple[list[Any], QueryPlan]: ...

    def query(
        self,
        query_vectors: ArrayLike,
        *,
        top_k: int = 10,
        filters: Mapping[str, Any] | None = None,
        include: Iterable[str] = ("distance", "metadata"),
        ef: int | None = None,
        recall: float | None = None,
        explain: bool = False,
    ) -> list[Any] | tuple[list[Any], QueryPlan]:
        """The `top_k` items nearest to each query, nearest first, ties by id.

        Exact before `optimize`; after it, up to the graph's recall, which also goes for which of
        many equally near items are found.

        One vector (dimension,) gives a list of `Result`, a matrix (m, dimension) a list of m lists.
        A result is a dict with `id` and what `include` names of `distance`, `metadata`,
        `contents`, `vector`. There are min(top_k, matching items) of them, always. Distances are
        float32 values as the metric defines them: `euclidean`, `squared_euclidean`, `cosine`
        (1 - cos), `inner_product` (-⟨q, x⟩).

        `filters` says which items are meant, by their metadata: docs/FILTERS.md. With `explain` the
        answer is a pair of the results and a `QueryPlan`.

        `recall`, above 0 and up to 1, is the share of the true nearest that are to be found: the
        effort for it was measured on the index's own items when the graph was made; 1 is an exact
        scan. Queries that are unlike the items find somewhat less. `ef` is the effort itself, for
        experts: the width of the beam of the walk through the graph; a query that turns out to be
        far from all items is walked again, twice as wide. The default is 80, or twice top_k: 128
        where nothing is walked again, as under `inner_product`. With a filter nothing is; there the
        default is whatever finds nearly all.

        Raises `InvalidInputError`.
        """
        self._indexing.raise_failure()
        asked = Asked.of(self._session, top_k, filters, ef, recall)
        results, plan = query_results(self._session, query_vectors, asked, include)
        return (results, plan()) if explain else results

    def query_arrays(
        self,
        query_vectors: ArrayLike,
        *,
        top_k: int = 10,
        filters: Mapping[str, Any] | None = None,
        ef: int | None = None,
        recall: float | None = None,
    ) -> tuple[list[Any], NDArray[np.float32]]:
        """What `query` finds, as ids and distances without a dict for each.

        One vector (dimension,) gives a list of n ids and an array (n,), a matrix (m, dimension) m
        lists of n ids and an array (m, n), float32; n = min(top_k, matching items). `filters`, `ef`
        and `recall` as in `query`.
        Raises `InvalidInputError`.
        """
        self._indexing.raise_failure()
        asked = Asked.of(self._session, top_k, filters, ef, recall)
        return query_arrays(self._session, query_vectors, asked)

    def get(
        self,
        ids: Sequence[str],
        *,
        include: Iterable[str] = ("vector", "metadata", "contents"),
    ) -> list[Item]:
        """The items of these ids, in the order asked for, without those that are not there.

        An item is a dict with `id` and what `include` names: `vector`, a float32 array
        (dimension,), bit for bit as stored; `metadata`, a dict or None; `contents`, the text or
        bytes that were given, or None. Raises `InvalidInputError`.
        """
        wanted = check_include(include, ITEM_FIELDS)
        encoded = check_ids(ids)
        items = self._session.items
        with self._session.read() as (state, view):
            distinct = list(dict.fromkeys(encoded))
            rows = item_rows.find_rows(view, state, self._session.ids, distinct).tolist()
            row_of = dict(zip(distinct, rows, strict=True))
            wanted_rows = [row_of[item] for item in encoded if row_of[item] != ABSENT]
            results = describe_rows(view, state, items, wanted_rows, wanted)
        return list[Item](results)

    def query_metadata(
        self,
        filters: Mapping[str, Any] | None = None,
        *,
        top_k: int | None = None,
        offset: int = 0,
        order_by: str | None = None,
        ascending: bool = True,
        include: Iterable[str] = ("metadata",),
    ) -> list[Item]:
        """The items that satisfy a filter (docs/FILTERS.md), without a vector to be near to.

        All of them, or `top_k` after the first `offset`; in the order of a field, items without it
        last, or in that in which their vectors were first written. An item is as in `get`. Raises
        `InvalidInputError`.
        """
        return items_matching(
            self._session,
            filters,
            top_k=top_k,
            offset=offset,
            order_by=order_by,
            ascending=ascending,
            include=include,
        )

    def count(self, filters: Mapping[str, Any] | None = None) -> int:
        """How many items satisfy a filter; all without one. Raises `InvalidInputError`."""
        return count_matching(self._session, filters)

    def list_ids(self, filters: Mapping[str, Any] | None = None) -> list[str]:
        """The ids of all items, or of those that satisfy a filter, in the order in which their
        vectors were first written. Raises `InvalidInputError`.
        """
        return ids_matching(self._session, filters)

    def warm(self, *, filters: bool = True) -> None:
        """Load what queries need, ahead of the first: the graph, the columns of the metadata unless
        there are to be no `filters`, and as many vectors as `cache_bytes` lets stay in memory.
        """
        with self._session.read() as (state, view):
            navigator = state.navigator.get(view, state)
            if navigator is not None:
                navigator.graph.wake()
            if filters:
                self._session.columns.get(view, state)
            if state.pool is not None:
                state.pool.warm(view)

    def describe(self) -> IndexDescription:
        """What the index holds and how. See `IndexDescription`."""
        store = self._session.store
        with self._session.read() as (state, _):
            return describe_state(self._name, store, state)
