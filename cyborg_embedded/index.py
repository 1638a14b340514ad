"""`EncryptedIndex`: an open index."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from cyborg_embedded import rows as item_rows
from cyborg_embedded.backups import backup
from cyborg_embedded.batch import (
    batch_from_arrays,
    batch_from_items,
    check_dimension,
    check_ids,
    check_storable,
    check_vectors,
)
from cyborg_embedded.checks import check_path, unheard
from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.listing import delete_matching
from cyborg_embedded.reads import Reads
from cyborg_embedded.rekeying import compact, rekey
from cyborg_embedded.verification import VerifyReport, verify

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import ArrayLike
    from typing_extensions import Self

    from cyborg_embedded.background import Indexing
    from cyborg_embedded.home import Home
    from cyborg_embedded.lease import Lease
    from cyborg_embedded.session import Session

__all__ = ["EncryptedIndex"]


class EncryptedIndex(Reads):
    """An open index: a mapping from ids to vectors, metadata and contents, searched by vector.

    Made by `Client.create_index` and `Client.load_index`; a context manager. Threads may share it.
    Every call sees the newest commit of any thread or process. After `close`, and in a forked
    child, every call is a `ClosedError`; while its key manager refuses, or has not been reached for
    too long, every call is a `KeyManagerError`. Beside the errors that each method names, any may
    raise `IntegrityError` or `RollbackError` where the file is not what was written.
    """

    def __init__(
        self, home: Home, session: Session, indexing: Indexing, lease: Lease | None
    ) -> None:
        super().__init__(home.name, session, indexing)
        self._home = home
        self._lease = lease
        # An index that is dropped without being closed takes its threads along.
        weakref.finalize(self, indexing.forsake).atexit = False
        if lease is not None:
            weakref.finalize(self, lease.stop).atexit = False

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
        self._indexing.look_after_write()

    def delete(
        self, ids: Sequence[str] | None = None, *, filters: Mapping[str, Any] | None = None
    ) -> int:
        """Delete the items of these ids, ids that are not there being ignored; or those that
        satisfy a filter (docs/FILTERS.md), `{}` for all. One commit.

        Returns how many items were deleted. Raises `InvalidInputError`, `LockedError`,
        `ReadOnlyError`, `StorageFullError`.
        """
        self._indexing.raise_failure()
        if (ids is None) == (filters is None):
            message = "delete takes either ids or filters"
            raise InvalidInputError(message)
        if ids is None:
            deleted = delete_matching(self._session, filters)
        else:
            encoded = list(dict.fromkeys(check_ids(ids)))
            ids_known = self._session.ids
            deleted = self._session.write(
                lambda view, state: item_rows.delete(view, state, ids_known, encoded)
            )
        self._indexing.look_after_write()
        return deleted

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

    def rekey(
        self,
        new_key: bytes | bytearray | str | None = None,
        *,
        drop_managers: Collection[str] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Seal everything anew under another index key, in a new file that takes the place of this
        one: from then on the old key opens nothing that is written.

        Where the application supplies the key, `new_key` is the new one (32 bytes, or 64 hex
        characters). An index under key managers gets a key made here, and every manager of it holds
        that, or nothing is changed; those in `drop_managers` (slots) are not asked, and lose it.

        Threads go on reading through this handle meanwhile, writers wait; other handles of this
        process are closed, and no other process may have the index open. Deleted items are not
        written again, nor is free space. It takes several times as long as copying the file, and
        as much room beside it. Killed at any moment, it leaves the index under the old key or under
        the new one, whole: keep both until this has returned. `progress` is called with the numbers
        of items done and to do.

        Raises `KeyRequiredError`, `InvalidInputError`, `KeyManagerError`, `LockedError`,
        `ReadOnlyError`, `StorageFullError`.
        """
        self._indexing.raise_failure()
        report = progress or unheard
        rekey(self._session, self._indexing, self._home, new_key, drop_managers, report)

    def compact(self, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Write the index anew without deleted items and free space, in a new file that takes the
        place of this one. The key stays. All else is as in `rekey`.

        Raises `LockedError`, `ReadOnlyError`, `StorageFullError`.
        """
        self._indexing.raise_failure()
        report = progress or unheard
        compact(self._session, self._indexing, self._home, report)

    def backup(self, path: str | os.PathLike[str], *, check: bool = False) -> None:
        """Copy the newest commit into a new file at `path` (0600), while writers go on: ciphertext
        as it is, under the same keys, without free space. `Client.restore_index` makes an index of
        it. With `check`, everything in the copy is looked at before it gets its name.

        Raises `InvalidInputError` (something is there already, or no folder), `IntegrityError`,
        `ReadOnlyError`, `StorageFullError`.
        """
        backup(self._session, check_path(path), check=check)

    def verify(self, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Look at everything: open every page, hold all tables against each other, and what is
        derived (the graph, its codes, the columns) against what it was made of.

        One commit is looked at, in one read transaction; writers go on, and what they free is not
        used again before this ends. `progress` is called with the numbers of pages done and to do;
        it may raise, which ends it, but must not use the index or fork.
        What is wrong is in the report, not raised. Raises `LockedError`, and `IntegrityError` or
        `RollbackError` where there is no commit to look at.
        """
        return verify(self._session, progress or unheard)

    def close(self) -> None:
        """Close the index: forget its keys and what was decrypted. Closing again does nothing.

        A graph that has grown much since it was saved is saved first.
        """
        if self._lease is not None:
            self._lease.stop()
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
