"""`Client`: a folder of indexes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cyborg_embedded.background import Indexing
from cyborg_embedded.backups import restore
from cyborg_embedded.checks import (
    check_dimension_wanted,
    check_one_of,
    check_path,
    check_timeout,
    check_whole,
    unheard,
)
from cyborg_embedded.clientbase import IndexInfo, while_replaced
from cyborg_embedded.custody import Custody, wrap
from cyborg_embedded.distrust import private_copy
from cyborg_embedded.errors import InvalidInputError, KeyRequiredError, RollbackError
from cyborg_embedded.header import new_index_id
from cyborg_embedded.home import Home
from cyborg_embedded.index import EncryptedIndex
from cyborg_embedded.keychanges import KeyChanges
from cyborg_embedded.keys import generate_index_key, parse_index_key, wiped
from cyborg_embedded.lease import lease_of
from cyborg_embedded.model import (
    INDEXING_MODES,
    MAX_DIMENSION,
    METRICS,
    PRECISIONS,
    IndexingMode,
    Metric,
    Precision,
)
from cyborg_embedded.names import check_name
from cyborg_embedded.removal import delete
from cyborg_embedded.repairing import repair
from cyborg_embedded.root import Root
from cyborg_embedded.schema import FieldSchema, hidden_fields
from cyborg_embedded.session import Session
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from cyborg_embedded.salvaging import RepairReport

__all__ = ["Client", "IndexInfo"]


class Client(KeyChanges):
    """A folder of encrypted indexes, each under a key of its own; a context manager.

    The folder is made if it is missing, for its owner alone (0700). A client holds no index keys.
    """

    def create_index(
        self,
        name: str,
        *,
        index_key: bytes | bytearray | str | None = None,
        dimension: int | None = None,
        metric: Metric = "euclidean",
        kms_name: str | None = None,
        metadata_schema: Mapping[str, FieldSchema] | None = None,
        storage_precision: Precision = "float32",
        navigator_dimensions: int | None = None,
        indexing: IndexingMode = "background",
        lock_timeout: float = 10.0,
    ) -> EncryptedIndex:
        """Make an index and open it.

        Its key is either supplied, as `index_key` (32 bytes, or 64 hex characters), or held by the
        key manager whose slot is `kms_name`: then the key is made here, and only what the manager
        made of it is kept. `dimension` is 1 to 16,384, or None: then the first upsert sets it.
        `metadata_schema` names fields that are not to be filtered by, as
        `{"body": {"filterable": False}}`. `storage_precision` is what vectors are rounded to when
        they are written: `float32` keeps them as given; `float16` takes half the room; `int8`, with
        a scale for each vector, a quarter. What is read back and searched is what was stored.
        `navigator_dimensions` is how many dimensions the graph is walked in, from 1; the dimension
        itself, or more, for the vectors themselves; None for what measuring on the items finds
        best. It is not for `inner_product`. `indexing` as in `load_index`. The index is there,
        whole, or not at all.

        Raises `InvalidInputError`, `KeyRequiredError`, `KeyManagerError`, `IndexExistsError`,
        `ReadOnlyError`, `StorageFullError`, `LockedError`.
        """
        self._check_open()
        if index_key is not None and kms_name is not None:
            message = "give either index_key or kms_name, not both"
            raise InvalidInputError(message)
        if kms_name is not None:
            self._kms.get(kms_name)
            key = generate_index_key()
        elif index_key is None:
            message = "index_key (32 bytes, or 64 hex characters) or kms_name is required"
            raise KeyRequiredError(message)
        else:
            key = parse_index_key(index_key)
        store = session = None
        try:
            with wiped(key):
                check_one_of(metric, METRICS, "metric")
                check_dimension_wanted(dimension)
                check_one_of(indexing, INDEXING_MODES, "indexing")
                check_one_of(storage_precision, PRECISIONS, "storage_precision")
                hidden = hidden_fields(metadata_schema)
                timeout = check_timeout(lock_timeout)
                if navigator_dimensions is not None:
                    check_whole(navigator_dimensions, "navigator_dimensions")
                    if not 0 < navigator_dimensions <= MAX_DIMENSION or metric == "inner_product":
                        message = (
                            "navigator_dimensions must be 1 or more, and not under inner_product"
                        )
                        raise InvalidInputError(message)
                root = Root(
                    sequence=1,
                    metric=metric,
                    dimension=dimension or 0,
                    precision=storage_precision,
                    navigator_dimensions=navigator_dimensions or 0,
                    hidden=hidden,
                )
                self._folder.check_free(name)
                index_id = new_index_id()
                slots = [kms_name] if kms_name is not None else []
                envelopes = wrap(self._kms, slots, key, index_id)
                with self._folder.creating(name, timeout=timeout) as path:
                    PageStore.create(path, key, root, index_id=index_id, envelopes=envelopes)
                store = PageStore.open(self._folder.find(name), key, timeout=timeout)
                session = Session(store, lock_timeout=timeout)
                return self._opened(name, session, indexing, kms_name)
        except BaseException:
            close_all(session, store)
            raise

    def load_index(
        self,
        name: str,
        *,
        index_key: bytes | bytearray | str | None = None,
        kms_name: str | None = None,
        read_only: bool = False,
        cache_bytes: int | None = None,
        indexing: IndexingMode = "background",
        lock_timeout: float = 10.0,
        min_sequence: int | None = None,
        untrusted: bool = False,
    ) -> EncryptedIndex:
        """Open an index.

        Its `index_key` is given if, and only if, the application supplies it. An index under key
        managers is opened by the first of them that gives the key, or by that of the slot
        `kms_name` alone. `read_only` refuses writes through this handle. `cache_bytes` is how many
        bytes of vectors may stay decrypted in memory: None for all that were used; a number for as
        many, the least recently used dropped first; 0 for none, so that only the vectors that a
        running query ranks are ever in plaintext, and are overwritten after it. 0 is refused for an
        index whose graph holds the vectors themselves (few dimensions; `inner_product`). `indexing`
        says when items are brought into the graph, once there are many: by a thread in the
        `background`, `inline` with each upsert, or by `optimize` alone (`manual`). `lock_timeout`
        is how many seconds a call waits for a lock that somebody else holds. `min_sequence` is an
        `index.sequence` that the application remembers: an older index is a `RollbackError`.
        `untrusted` is for a file that somebody else may have written to: its structure is checked
        in another process, on a private copy, and that copy is opened, for reading only.

        Raises `InvalidInputError`, `KeyRequiredError`, `KeyManagerError`, `IndexNotFoundError`,
        `WrongKeyError` (before anything is decrypted), `FormatError`, `IntegrityError`,
        `RollbackError`, `LockedError`.
        """
        self._check_open()
        read_only = bool(read_only or untrusted)
        mode: IndexingMode = "manual" if read_only else indexing

        def load() -> EncryptedIndex:
            copied = contextlib.ExitStack()
            store = session = None
            try:
                with Custody(self._kms, index_key, kms_name) as custody:
                    timeout = check_timeout(lock_timeout)
                    check_whole(min_sequence, "min_sequence")
                    check_whole(cache_bytes, "cache_bytes")
                    check_one_of(indexing, INDEXING_MODES, "indexing")
                    path = self._folder.find(name)
                    if untrusted:
                        path = copied.enter_context(private_copy(self._folder, path, timeout))
                    store = PageStore.open_with(
                        path, custody.keys, timeout=timeout, read_only=read_only
                    )
                session = Session(
                    store, lock_timeout=timeout, read_only=read_only, cache_bytes=cache_bytes
                )
                session.on_close = copied.close
                with session.read() as (state, _):
                    check_loaded(state.root, cache_bytes, min_sequence)
                return self._opened(name, session, mode, custody.opened_by)
            except BaseException:
                close_all(session, store)
                copied.close()
                raise

        return while_replaced(load)

    def _opened(
        self, name: str, session: Session, indexing: IndexingMode, slot: str | None
    ) -> EncryptedIndex:
        work = Indexing(session, indexing)
        lease = lease_of(session, self._kms, slot)
        home = Home(check_name(name), self._folder, self._kms)
        index = EncryptedIndex(home, session, work, lease)
        try:
            work.look()
        except BaseException:
            work.forsake()  # without saving: that is what has failed
            raise
        return index

    def repair_index(
        self,
        name: str,
        *,
        to: str,
        index_key: bytes | bytearray | str | None = None,
        kms_name: str | None = None,
        lock_timeout: float = 10.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> RepairReport:
        """Save what can be saved of a damaged index into a new one, `to`, under the same key.

        Every item that still authenticates is in it; what is derived, and the table of ids, is made
        anew. The report says what was lost. The damaged index is left as it is: a private copy of
        it is read, as with `load_index(untrusted=True)`; nobody should write to it meanwhile.
        (Where nothing but what is derived or the table of ids is damaged, `EncryptedIndex.compact`
        mends an index in place.) Key and `kms_name` as in `load_index`; every key manager of the
        index must be there.

        Raises `IntegrityError` (not even the root opens), `FormatError` (nor LMDB's tree), and what
        `load_index` and `create_index` raise.
        """
        self._check_open()
        report = progress or unheard
        with Custody(self._kms, index_key, kms_name) as custody:
            timeout = check_timeout(lock_timeout)
            return repair(self._folder, name, to, custody, timeout, report)

    def restore_index(
        self,
        name: str,
        backup: str | os.PathLike[str],
        *,
        index_key: bytes | bytearray | str | None = None,
        kms_name: str | None = None,
        check: bool = True,
        lock_timeout: float = 10.0,
    ) -> None:
        """Make an index from a file that `EncryptedIndex.backup` wrote; nothing is overwritten.

        The key is that of the backup, given as in `load_index`. With `check` everything in it is
        looked at first, as `EncryptedIndex.verify` does. The index is there, whole, or not at all.

        Raises `IndexExistsError`, `InvalidInputError` (no such file), `IntegrityError` (it is
        damaged), `FormatError`, `KeyRequiredError`, `KeyManagerError`, `WrongKeyError`,
        `ReadOnlyError`, `StorageFullError`, `LockedError`.
        """
        self._check_open()
        with Custody(self._kms, index_key, kms_name) as custody:
            timeout = check_timeout(lock_timeout)
            source = check_path(backup)
            restore(self._folder, source, name, custody, timeout, check=check)

    def delete_index(
        self,
        name: str,
        *,
        index_key: bytes | bytearray | str | None = None,
        kms_name: str | None = None,
        lock_timeout: float = 10.0,
    ) -> None:
        """Delete an index and everything in it. Handles of this process on it are closed.

        `index_key` and `kms_name` as in `load_index`. Raises `InvalidInputError`,
        `KeyRequiredError`, `KeyManagerError`, `IndexNotFoundError`, `WrongKeyError`, `FormatError`,
        `LockedError` (another process has it open, or somebody writes to it), `ReadOnlyError`.
        """
        self._check_open()
        with Custody(self._kms, index_key, kms_name) as custody:
            timeout = check_timeout(lock_timeout)
            delete(self._folder, name, custody, timeout)


def check_loaded(root: Root, cache_bytes: int | None, min_sequence: int | None) -> None:
    """See that an index is what its caller wants. Raises `InvalidInputError`, `RollbackError`."""
    if cache_bytes == 0 and root.graph is not None and not root.graph.dimensions:
        message = "cache_bytes=0: the graph of this index holds the vectors themselves"
        raise InvalidInputError(message)
    if min_sequence is not None and root.sequence < min_sequence:
        message = "the index is older than the application remembers it to be"
        raise RollbackError(message, sequence=root.sequence, expected=min_sequence)


def close_all(session: Session | None, store: PageStore | None) -> None:
    """Close what was opened for a handle that there is not going to be."""
    if session is not None:
        session.close()
    elif store is not None:
        store.close()
