"""`EncryptedIndex`: an open index."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

import numpy as np

from cyborg_embedded import rows as item_rows
from cyborg_embedded.batch import (
    batch_from_arrays,
    batch_from_items,
    check_dimension,
    check_ids,
    check_storable,
    check_vectors,
)
from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.ids import ABSENT
from cyborg_embedded.queries import Asked, query_arrays, query_results
from cyborg_embedded.results import (
    IndexDescription,
    Item,
    check_include,
    describe_rows,
    describe_state,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from cyborg_embedded.background import Indexing
    from cyborg_embedded.model import Metric
    from cyborg_embedded.session import Session

__all__ = ["EncryptedIndex"]

ITEM_FIELDS = frozenset({"vector", "metadata", "contents"})


class EncryptedIndex:
    """An open index: a mapping from ids to vectors, metadata and contents, searched by vector.

    Made by `Client.create_index` and `Client.load_index`; a context manager. Threads may share it.
    Every call sees the newest commit of any thread or process. After `close`, and in a forked
    child, every call is a `ClosedError`. Beside the errors that each method names, any may raise
    `IntegrityError` or `RollbackError` where the file is not what was written.
    """

    def __init__(self, name: str, session: Session, indexing: Indexing) -> None:
        self._name = name
        self._session = session
        self._indexing = indexing
        # An index that is dropped without being closed takes its thread along.
        weakref.finalize(self, indexing.forsake).atexit = False

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
    def upsert(self, items: Iterable[Mapping[str, Any]], /) -> None: ...

    @overload
    def upsert(
        self,
        ids: Sequence[str],
        vectors: ArrayLike,
        metadata: Sequence[dict[str, Any] | None] | None = None,
        contents: Sequence[str | bytes | None] | None = None,
    ) -> None: ...

    def upsert(
        self, ids: Any, vectors: Any = None, metadata: Any = None, contents: Any = None
    ) -> None:
        """Insert items, or replace whole items of the same id. Durable when it returns.

        Either a list of dicts with `id`, `vector` and maybe `metadata` and `contents`, or the same
        as parallel sequences: `ids` (n), `vectors` (n, dimension), anything that numpy reads as
        real numbers, stored as float32; `metadata`, JSON objects; `contents`, text or bytes. Of
        two equal ids in one batch the last one counts. One call is one commit: all or nothing.

        Raises `InvalidInputError` (nothing is written, the message names the item), `LockedError`,
        `ReadOnlyError`, `StorageFullError`.
        """
        self._indexing.raise_failure()
        if vectors is None:
            if metadata is not None or contents is not None:
                message = "metadata and contents go inside the items, or beside ids and vectors"
                raise InvalidInputError(message)
            batch = batch_from_items(ids)
        else:
            batch = batch_from_arrays(ids, vectors, metadata, contents)
        with self._session.read() as (state, _):
            root = state.root
        if not len(batch):
            return
        check_dimension(batch.vectors, root.dimension or batch.vectors.shape[1])
        check_vectors(batch.vectors, root.metric)
        check_storable(batch.vectors, root.metric, root.precision)
        ids_known = self._session.ids
        self._session.write(lambda view, state: item_rows.upsert(view, state, ids_known, batch))
        self._indexing.look()

    def query(
        self,
        query_vectors: ArrayLike,
        *,
        top_k: int = 10,
        filters: Any = None,
        include: Iterable[str] = ("distance", "metadata"),
        ef: int | None = None,
        recall: float | None = None,
    ) -> list[Any]:
        """The `top_k` items nearest to each query, nearest first, ties by id.

        Exact before `optimize`; after it, up to the graph's recall, which also goes for which of
        many equally near items are found.

        One vector (dimension,) gives a list of `Result`, a matrix (m, dimension) a list of m lists.
        A result is a dict with `id` and what `include` names of `distance`, `metadata`,
        `contents`, `vector`. There are min(top_k, len(index)) of them, always. Distances are
        float32 values as the metric defines them: `euclidean`, `squared_euclidean`, `cosine`
        (1 - cos), `inner_product` (-⟨q, x⟩).

        `recall`, above 0 and up to 1, is the share of the true nearest that are to be found: the
        effort for it was measured on the index's own items when the graph was made; 1 is an exact
        scan. Queries that are unlike the items find somewhat less. `ef` is the effort itself, for
        experts: the width of the beam of the walk through the graph. The default is 128, or twice
        top_k.

        Raises `InvalidInputError`.
        """
        self._indexing.raise_failure()
        asked = Asked.of(top_k, filters, ef, recall)
        return query_results(self._session, query_vectors, asked, include)

    def query_arrays(
        self,
        query_vectors: ArrayLike,
        *,
        top_k: int = 10,
        filters: None = None,
        ef: int | None = None,
        recall: float | None = None,
    ) -> tuple[list[Any], NDArray[np.float32]]:
        """What `query` finds, as ids and distances without a dict for each.

        One vector (dimension,) gives a list of n ids and an array (n,), a matrix (m, dimension) m
        lists of n ids and an array (m, n), float32; n = min(top_k, len(index)). `ef` and
        `recall` as in `query`.
        Raises `InvalidInputError`.
        """
        self._indexing.raise_failure()
        asked = Asked.of(top_k, filters, ef, recall)
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

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the items of these ids; ids that are not there are ignored. One commit.

        Returns how many items were deleted. Raises `InvalidInputError`, `LockedError`,
        `ReadOnlyError`, `StorageFullError`.
        """
        self._indexing.raise_failure()
        encoded = list(dict.fromkeys(check_ids(ids)))
        ids_known = self._session.ids
        deleted = self._session.write(
            lambda view, state: item_rows.delete(view, state, ids_known, encoded)
        )
        self._indexing.look()
        return deleted

    def list_ids(self) -> list[str]:
        """The ids of all items, in the order in which their vectors were first written."""
        with self._session.read() as (state, view):
            return self._session.items.ids(view, np.flatnonzero(state.alive).tolist())

    def optimize(self, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Bring every item into the HNSW graph, and save it; items that are not in it are scanned.

        Reads and writes go on meanwhile. Returns when every item that was there when it was called
        is in the graph; deleted ones leave it when they are many. `progress` is called with the
        numbers of items done and to do. An index of few dimensions or rows has a graph over the
        vectors themselves; a handle with `cache_bytes=0` makes none then. Raises `LockedError`,
        `ReadOnlyError`, `StorageFullError`.
        """
        self._indexing.raise_failure()
        self._indexing.optimize(progress)

    def train(self, **_: object) -> None:
        """`optimize`, by the name that CyborgDB has for it; its parameters are not needed here."""
        self.optimize()

    def is_trained(self) -> bool:
        """Whether there is a graph."""
        with self._session.read() as (state, _):
            return state.navigator.known is not None or state.root.graph is not None

    def is_training(self) -> bool:
        """Whether items are being brought into the graph now, by a thread of this handle."""
        return self.training_state == "training"

    @property
    def training_state(self) -> Literal["idle", "training"]:
        """`is_training` as a word."""
        _ = self._session.store  # not of a closed handle
        return "training" if self._indexing.busy else "idle"

    def warm(self) -> None:
        """Load what queries need, ahead of the first: the graph, and as many vectors as
        `cache_bytes` lets stay in memory.
        """
        with self._session.read() as (state, view):
            state.navigator.get(view, state)
            if state.pool is not None:
                state.pool.warm(view)

    def describe(self) -> IndexDescription:
        """What the index holds and how. See `IndexDescription`."""
        store = self._session.store
        with self._session.read() as (state, _):
            return describe_state(self._name, store, state)

    def close(self) -> None:
        """Close the index: forget its keys and what was decrypted. Closing again does nothing.

        A graph that has grown much since it was saved is saved first.
        """
        try:
            self._indexing.close()
        finally:
            self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._session.closed else "open"
        return f"<EncryptedIndex {self._name!r}, {state}>"

    def __reduce__(self) -> NoReturn:
        message = "an EncryptedIndex holds keys and cannot be pickled or copied; open it again"
        raise TypeError(message)
