"""One index file, open under its key: its header, its commits, and the newest of them.

A reader knows some commit. When LMDB's transaction number says that there is a newer one, the root
is opened, and of the page table only the chunks whose tags changed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

from cyborg_embedded import registry
from cyborg_embedded.aead import TAG_BYTES, Sealer
from cyborg_embedded.environment import Environment
from cyborg_embedded.errors import FormatError, IntegrityError, RollbackError
from cyborg_embedded.header import HEADER_KEY, Header, decode_header, encode_header, new_header
from cyborg_embedded.keys import DerivedKeys, unlock
from cyborg_embedded.model import DEFAULT_PAGE_SIZE, PageKind
from cyborg_embedded.pages import PageCipher, ReadView, WriteView
from cyborg_embedded.root import Root, Snapshot, chunk_number, tags_per_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyborg_embedded.environment import ReadTransaction, WriteTransaction

__all__ = ["PageStore"]

T = TypeVar("T")


class PageStore:
    """The sealed pages of one index, open under its key."""

    def __init__(self, environment: Environment, header: Header, keys: DerivedKeys) -> None:
        self.environment = environment
        self.header = header
        self.cipher = PageCipher(header, keys)

    @classmethod
    def create(
        cls, path: str, index_key: bytes, root: Root, *, page_size: int = DEFAULT_PAGE_SIZE
    ) -> None:
        """Make a new index file at `path`, with `root` as its first commit, and close it."""
        header, keys = new_header(index_key, page_size=page_size)
        environment = Environment(path, create=True)
        try:
            cipher = PageCipher(header, keys)

            def first_commit(txn: WriteTransaction) -> None:
                txn.put(HEADER_KEY, encode_header(header))
                cipher.seal_root(txn, Sealer(keys.pages), root)

            environment.write(first_commit)
        finally:
            environment.close()

    @classmethod
    def open(cls, path: str, index_key: bytes, *, timeout: float) -> PageStore:
        """Open the index file at `path`. The key is checked before any ciphertext is touched.

        Raises `WrongKeyError`, `FormatError`, `LockedError`, `FileNotFoundError`.
        """
        environment = registry.acquire(path, timeout=timeout)
        try:
            with environment.read() as txn:
                header = decode_header(header_bytes(txn))
            return cls(environment, header, unlock(index_key, header.salt, header.verifier))
        except BaseException:
            registry.release(environment)
            raise

    @staticmethod
    def peek(path: str, *, timeout: float) -> Header:
        """The header of the index file at `path`. Raises as `open` does, but for the key."""
        environment = registry.acquire(path, timeout=timeout)
        try:
            with environment.read() as txn:
                return decode_header(header_bytes(txn))
        finally:
            registry.release(environment)

    def close(self) -> None:
        """Give the file up. Other handles of this process may go on with it."""
        registry.release(self.environment)

    def begin(self, snapshot: Snapshot | None) -> tuple[ReadTransaction, ReadView]:
        """A view of the newest commit, and the transaction that it lasts as long as; the caller
        ends it. `snapshot` is what the caller knows; only what changed since is opened. Raises
        `IntegrityError`, `RollbackError`.
        """
        txn = self.environment.read()
        if snapshot is None or snapshot.txn_id != txn.id:
            try:
                snapshot = self._load(txn, snapshot)
            except BaseException as error:
                txn.end(error)
                raise
        return txn, ReadView(self.cipher, txn, snapshot)

    @contextlib.contextmanager
    def read(self, snapshot: Snapshot | None) -> Iterator[ReadView]:
        """`begin` for the length of a with block."""
        txn, view = self.begin(snapshot)
        with txn:
            yield view

    def write(self, snapshot: Snapshot, work: Callable[[WriteView], T]) -> tuple[T, Snapshot]:
        """Run `work` on top of `snapshot`, the newest commit, and commit what it did.

        The caller is inside `environment.writer`. `work` may run more than once (see
        `Environment.write`) and must change nothing but the view. Raises `StorageFullError`.
        """

        def attempt(txn: WriteTransaction) -> tuple[T, Snapshot]:
            if txn.id != snapshot.txn_id + 1:
                message = "somebody wrote to the file without taking the writer's lock"
                raise IntegrityError(message)
            view = WriteView(self.cipher, txn, snapshot)
            return work(view), view.finish()

        return self.environment.write(attempt)

    def _load(self, txn: ReadTransaction, older: Snapshot | None) -> Snapshot:
        if decode_header(header_bytes(txn)) != self.header:
            message = "the header is not the one that this handle opened"
            raise IntegrityError(message)
        root, tag = self.cipher.open_root(txn)
        if older is not None:
            check_not_older(root, tag, older)
        bare = Snapshot(txn.id, root, tag, {})
        view = ReadView(self.cipher, txn, bare)
        tags = {kind: self._load_table(view, kind, older) for kind in root.tables}
        return Snapshot(txn.id, root, tag, tags)

    def _load_table(self, view: ReadView, kind: PageKind, older: Snapshot | None) -> bytes:
        table = view.snapshot.root.table(kind)
        if older is not None and older.root.table(kind) == table:
            return older.tags.get(kind, b"")
        span = tags_per_chunk(self.header.page_size) * TAG_BYTES
        known = b"" if older is None else older.root.table(kind).chunks
        parts = []
        for at in range(0, len(table.chunks), TAG_BYTES):
            chunk, tag = at // TAG_BYTES, table.chunks[at : at + TAG_BYTES]
            if older is not None and known[at : at + TAG_BYTES] == tag:
                parts.append(older.tags[kind][chunk * span : (chunk + 1) * span])
            else:
                parts.append(view.open_bound(PageKind.TABLE, chunk_number(kind, chunk), tag))
        tags = b"".join(parts)
        if len(tags) != table.pages * TAG_BYTES:
            message = f"the table of {kind.name} has the wrong length"
            raise IntegrityError(message, kind="TABLE", number=chunk_number(kind, 0))
        return tags


def header_bytes(txn: ReadTransaction) -> bytes:
    """The header record. Raises `FormatError` where there is none."""
    data = txn.get(HEADER_KEY)
    if data is None:
        message = "the file is not an index of this library"
        raise FormatError(message)
    return bytes(data)


def check_not_older(root: Root, tag: bytes, older: Snapshot) -> None:
    """Refuse to go back, or sideways, from a commit that this handle has seen."""
    before = older.root.sequence
    if root.sequence < before or (root.sequence == before and tag != older.root_tag):
        message = "the index on disk is not a successor of what this handle has already read"
        raise RollbackError(message, sequence=root.sequence, expected=before)
