"""`Client`: a folder of indexes."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING, TypedDict

from cyborg_embedded import registry
from cyborg_embedded.background import Indexing
from cyborg_embedded.errors import ClosedError, InvalidInputError, RollbackError
from cyborg_embedded.folder import Folder
from cyborg_embedded.index import EncryptedIndex
from cyborg_embedded.keys import generate_index_key, parse_index_key
from cyborg_embedded.model import (
    FORMAT_VERSION,
    INDEXING_MODES,
    MAX_DIMENSION,
    METRICS,
    PRECISIONS,
    IndexingMode,
    Metric,
    Precision,
)
from cyborg_embedded.names import check_name
from cyborg_embedded.root import Root
from cyborg_embedded.savedkey import load_saved_key, save_key
from cyborg_embedded.schema import FieldSchema, hidden_fields
from cyborg_embedded.session import Session
from cyborg_embedded.store import PageStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Client", "IndexInfo"]


class IndexInfo(TypedDict):
    """What can be told of an index without its key."""

    name: str
    index_id: str
    """32 hex digits that no other index has, whatever its name. Without the key, only a claim."""
    format_version: int
    created: dt.datetime
    file_bytes: int


class Client:
    """A folder of encrypted indexes, each under a key of its own; a context manager.

    The folder is made if it is missing, for its owner alone (0700). A client holds no keys.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises `InvalidInputError` (the path is no folder), `ReadOnlyError`."""
        self._folder = Folder(path)
        self._closed = False

    @staticmethod
    def generate_key(*, save: bool = False) -> bytes:
        """A new random index key, 32 bytes. Keep it safe: without it an index is lost.

        With `save`, it is also kept in `~/.cyborgdb/index_key` (mode 0600), for development only:
        a key beside the data protects nothing. A key that is kept there already is never
        overwritten: `InvalidInputError`.
        """
        key = generate_index_key()
        if save:
            save_key(key)
        return key

    @staticmethod
    def load_key() -> bytes:
        """The key that `generate_key(save=True)` kept. For development only.

        Raises `KeyRequiredError` if there is none, `InvalidInputError` if others may read it.
        """
        return load_saved_key()

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

        `index_key` is 32 bytes, or 64 hex characters. `dimension` is 1 to 16,384, or None: then
        the first upsert sets it. `metadata_schema` names fields that are not to be filtered by, as
        `{"body": {"filterable": False}}`. `storage_precision` is what vectors are rounded to when
        they are written: `float32` keeps them as given; `float16` takes half the room; `int8`, with
        a scale for each vector, a quarter. What is read back and searched is what was stored.
        `navigator_dimensions` is how many dimensions the graph is walked in, from 1; the dimension
        itself, or more, for the vectors themselves; None for what measuring on the items finds
        best. It is not for `inner_product`. `indexing` as in `load_index`. The index is there,
        whole, or not at all.

        Raises `InvalidInputError`, `KeyRequiredError`, `IndexExistsError`, `ReadOnlyError`,
        `StorageFullError`, `LockedError`.
        """
        self._check_open()
        refuse_key_manager(kms_name)
        key = parse_index_key(index_key)
        check_one_of(metric, METRICS, "metric")
        if dimension is not None and (
            isinstance(dimension, bool)
            or not isinstance(dimension, int)
            or not 0 < dimension <= MAX_DIMENSION
        ):
            message = f"dimension must be a whole number from 1 to {MAX_DIMENSION}, or None"
            raise InvalidInputError(message)
        check_one_of(indexing, INDEXING_MODES, "indexing")
        check_one_of(storage_precision, PRECISIONS, "storage_precision")
        hidden = hidden_fields(metadata_schema)
        timeout = check_timeout(lock_timeout)
        if navigator_dimensions is not None:
            check_whole(navigator_dimensions, "navigator_dimensions")
            if not 0 < navigator_dimensions <= MAX_DIMENSION or metric == "inner_product":
                message = "navigator_dimensions must be 1 or more, and not under inner_product"
                raise InvalidInputError(message)
        root = Root(
            sequence=1,
            metric=metric,
            dimension=dimension or 0,
            precision=storage_precision,
            navigator_dimensions=navigator_dimensions or 0,
            hidden=hidden,
        )
        with self._folder.creating(name, timeout=timeout) as path:
            PageStore.create(path, key, root)
        return self.load_index(name, index_key=key, indexing=indexing, lock_timeout=lock_timeout)

    def load_index(
        self,
        name: str,
        *,
        index_key: bytes | bytearray | str | None = None,
        read_only: bool = False,
        cache_bytes: int | None = None,
        indexing: IndexingMode = "background",
        lock_timeout: float = 10.0,
        min_sequence: int | None = None,
    ) -> EncryptedIndex:
        """Open an index.

        `read_only` refuses writes through this handle. `cache_bytes` is how many bytes of vectors
        may stay decrypted in memory: None for all that were used; a number for as many, the least
        recently used dropped first; 0 for none, so that only the vectors that a running query
        ranks are ever in plaintext, and are overwritten after it. 0 is refused for an index whose
        graph holds the vectors themselves (few dimensions; `inner_product`). `indexing` says when
        items are brought into the graph, once there are many: by a thread in the `background`,
        `inline` with each upsert, or by `optimize` alone (`manual`). `lock_timeout` is how many
        seconds a call waits for a lock that somebody else holds. `min_sequence` is an
        `index.sequence` that the application remembers: an older index is a `RollbackError`.

        Raises `InvalidInputError`, `KeyRequiredError`, `IndexNotFoundError`, `WrongKeyError`
        (before anything is decrypted), `FormatError`, `IntegrityError`, `RollbackError`,
        `LockedError`.
        """
        self._check_open()
        key = parse_index_key(index_key)
        timeout = check_timeout(lock_timeout)
        check_whole(min_sequence, "min_sequence")
        check_whole(cache_bytes, "cache_bytes")
        check_one_of(indexing, INDEXING_MODES, "indexing")
        store = PageStore.open(self._folder.find(name), key, timeout=timeout)
        session = Session(
            store, lock_timeout=timeout, read_only=bool(read_only), cache_bytes=cache_bytes
        )
        try:
            with session.read() as (state, _):
                root = state.root
            sequence = root.sequence
            if cache_bytes == 0 and root.graph is not None and not root.graph.dimensions:
                message = "cache_bytes=0: the graph of this index holds the vectors themselves"
                raise InvalidInputError(message)
            if min_sequence is not None and sequence < min_sequence:
                message = "the index is older than the application remembers it to be"
                raise RollbackError(message, sequence=sequence, expected=min_sequence)
        except BaseException:
            session.close()
            raise
        work = Indexing(session, "manual" if read_only else indexing)
        index = EncryptedIndex(check_name(name), session, work)
        work.look()
        return index

    def list_indexes(self) -> list[str]:
        """The names of the indexes in the folder, sorted. Needs no key."""
        self._check_open()
        return self._folder.names()

    def describe_index(self, name: str) -> IndexInfo:
        """What can be told of an index without its key. See `IndexInfo`.

        Raises `InvalidInputError`, `IndexNotFoundError`, `FormatError`.
        """
        self._check_open()
        path = self._folder.find(name)
        header = PageStore.peek(path, timeout=10.0)
        created = dt.datetime.fromtimestamp(header.created, dt.timezone.utc)
        return {
            "name": check_name(name),
            "index_id": header.index_id.hex(),
            "format_version": FORMAT_VERSION,
            "created": created,
            "file_bytes": os.stat(path).st_size,
        }

    def delete_index(
        self,
        name: str,
        *,
        index_key: bytes | bytearray | str | None = None,
        lock_timeout: float = 10.0,
    ) -> None:
        """Delete an index and everything in it. Handles of this process on it are closed.

        Raises `InvalidInputError`, `KeyRequiredError`, `IndexNotFoundError`, `WrongKeyError`,
        `FormatError`, `LockedError` (another process has it open), `ReadOnlyError`.
        """
        self._check_open()
        key = parse_index_key(index_key)
        timeout = check_timeout(lock_timeout)
        with self._folder.changing(timeout=timeout):
            path = self._folder.find(name)
            PageStore.open(path, key, timeout=timeout).close()
            with registry.exclusively(path, timeout=timeout):
                self._folder.remove(path)

    def close(self) -> None:
        """Close the client. Indexes that it opened stay open."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            message = "the client is closed"
            raise ClosedError(message)

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
        return f"<Client {self._folder.path!r}>"


def refuse_key_manager(kms_name: object) -> None:
    """Key managers are still to come; silence would be worse than an error."""
    if kms_name is not None:
        message = "key managers are not implemented yet"
        raise NotImplementedError(message)


def check_whole(value: object, name: str) -> None:
    """A whole number of at least 0, or None. Raises `InvalidInputError`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        message = f"{name} must be a whole number of at least 0, or None"
        raise InvalidInputError(message)


def check_one_of(value: object, known: tuple[str, ...], name: str) -> None:
    """Refuse what is not one of the names that are known."""
    if value not in known:
        message = f"{name} must be one of {', '.join(known)}"
        raise InvalidInputError(message)


def check_timeout(lock_timeout: object) -> float:
    """Seconds, at least 0. Raises `InvalidInputError`."""
    if (
        isinstance(lock_timeout, bool)
        or not isinstance(lock_timeout, (int, float))
        or not 0 <= lock_timeout <= MAX_TIMEOUT
    ):
        message = f"lock_timeout must be a number of seconds from 0 to {MAX_TIMEOUT}"
        raise InvalidInputError(message)
    return float(lock_timeout)


MAX_TIMEOUT = 1_000_000
