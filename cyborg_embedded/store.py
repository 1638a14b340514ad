"""One index file, open under its key: its header, its commits, and the newest of them.

A reader knows some commit. When LMDB's transaction number says that there is a newer one, the root
is opened, and of the page table only the chunks whose tags changed.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from cyborg_embedded import registry
from cyborg_embedded.aead import TAG_BYTES, Sealer
from cyborg_embedded.environment import Environment
from cyborg_embedded.errors import (
    ClosedError,
    FormatError,
    IndexNotFoundError,
    IntegrityError,
    RollbackError,
)
from cyborg_embedded.header import HEADER_KEY, Header, decode_header, encode_header, new_header
from cyborg_embedded.keys import DerivedKeys, unlock
from cyborg_embedded.model import DEFAULT_PAGE_SIZE, PageKind
from cyborg_embedded.pages import PageCipher, ReadView, WriteView
from cyborg_embedded.root import Root, Snapshot, chunk_number, tags_per_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyborg_embedded.envelopes import Envelopes
    from cyborg_embedded.transactions import ReadTransaction, WriteTransaction

__all__ = ["NotNewestError", "PageStore", "check_not_older"]

T = TypeVar("T")


class NotNewestError(IntegrityError):
    """A write did not begin on top of the commit that was read just before.

    Once that is no fault: of a writer that was killed between writing a commit and telling readers
    of it, LMDB knows only when the next one takes over.
    """


class PageStore:
    """The sealed pages of one index, open under its key."""

    def __init__(
        self,
        environment: Environment,
        header: Header,
        keys: DerivedKeys,
        use: registry.Use | None = None,
    ) -> None:
        """`use` is that of the environment, if it is this store's to give up."""
        self.environment = environment
        self.use = use
        self.header = header
        """As it was when the file was opened; its envelopes may have changed since."""
        self.cipher = PageCipher(header, keys)
        self._wiped = False

    @classmethod
    def create(
        cls,
        path: str,
        index_key: bytes | bytearray,
        root: Root,
        *,
        page_size: int = DEFAULT_PAGE_SIZE,
        index_id: bytes | None = None,
        envelopes: Envelopes | None = None,
    ) -> None:
        """Make a new index file at `path`, with `root` as its first commit, and close it."""
        header, keys = new_header(
            index_key, page_size=page_size, index_id=index_id, envelopes=envelopes
        )
        environment = Environment(path, create=True)
        try:
            first_commit(environment, header, keys, root)
        finally:
            keys.wipe()
            environment.close()

    @classmethod
    def open(cls, path: str, index_key: bytes | bytearray, *, timeout: float) -> PageStore:
        """Open the index file at `path`. The key is checked before any ciphertext is touched.

        Raises `WrongKeyError`, `FormatError`, `LockedError`, `IndexNotFoundError`.
        """

        def check(header: Header) -> DerivedKeys:
            return unlock(index_key, header.salt, header.verifier)

        return cls.open_with(path, check, timeout=timeout)

    @classmethod
    def open_with(
        cls,
        path: str,
        unlocked: Callable[[Header], DerivedKeys],
        *,
        timeout: float,
        read_only: bool = False,
    ) -> PageStore:
        """`open` with whatever finds the keys for a header. No transaction runs meanwhile."""
        use = registry.Use()
        try:
            environment = acquire(path, timeout=timeout, read_only=read_only, use=use)
            with environment.read() as txn:
                header = decode_header(header_bytes(txn))
            return cls(environment, header, unlocked(header), use)
        except BaseException:
            if use.environment is not None:
                registry.release(use.environment, use)
            raise

    def begin_file(self, root: Root) -> Snapshot:
        """Begin an empty file: nothing in it opens before a commit sets the header of this store.

        Until then roots are sealed beside a header that is not there, so that whoever copies the
        file on the way has no index with a part of the rows.
        """
        nobody = replace(self.header, digest=secrets.token_bytes(len(self.header.digest)))

        def write(txn: WriteTransaction) -> Snapshot:
            tag = self.cipher.seal_root(txn, Sealer(self.cipher.keys.pages), root, nobody)
            return Snapshot(txn.id, root, tag, {}, nobody)

        return self.environment.write(write)

    @staticmethod
    def peek(path: str, *, timeout: float) -> Header:
        """The header of the index file at `path`. Raises as `open` does, but for the key."""
        use = registry.Use()
        try:
            environment = acquire(path, timeout=timeout, read_only=True, use=use)
            with environment.read() as txn:
                return decode_header(header_bytes(txn))
        finally:
            if use.environment is not None:
                registry.release(use.environment, use)

    def close(self) -> None:
        """Wipe the keys and give the file up. Other handles of this process may go on with it. Who
        is interrupted in it says it again.
        """
        self.wipe()
        registry.release(self.environment, self.use)

    def wipe(self) -> None:
        """Wipe the keys, once no transaction of this process runs: calls from then on are refused.

        A forked child wipes its own copy.
        """
        gate = self.environment.gate
        with contextlib.nullcontext() if self.environment.inherited else gate.exclusive():
            self._wiped = True
            self.cipher.opener.forget()
            self.cipher.keys.wipe()

    def check_usable(self) -> None:
        """Raises `ClosedError` once the keys are wiped. Inside a transaction they stay as they are:
        wiping waits for it.
        """
        if self._wiped:
            message = "the index is closed"
            raise ClosedError(message)

    def newest_header(self) -> Header:
        """The header as it is now. Raises `IntegrityError` if it is not of this index."""
        with self.environment.read() as txn:
            return self._header(txn)

    def begin(self, snapshot: Snapshot | None) -> tuple[ReadTransaction, ReadView]:
        """A view of the newest commit, and the transaction that it lasts as long as; the caller
        ends it. `snapshot` is what the caller knows; only what changed since is opened. Raises
        `IntegrityError`, `RollbackError`.
        """
        txn = self.environment.read()
        if self._wiped or snapshot is None or snapshot.txn_id != txn.id:
            try:
                self.check_usable()
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
                raise NotNewestError(message)
            self.check_usable()
            view = WriteView(self.cipher, txn, snapshot)
            return work(view), view.finish()

        return self.environment.write(attempt)

    def _load(self, txn: ReadTransaction, older: Snapshot | None) -> Snapshot:
        header = self._header(txn)
        root, tag = self.open_root(txn)
        if older is not None:
            check_not_older(root, tag, older)
        bare = Snapshot(txn.id, root, tag, {}, header)
        view = ReadView(self.cipher, txn, bare)
        tags = {kind: self._load_table(view, kind, older) for kind in root.tables}
        return Snapshot(txn.id, root, tag, tags, header)

    def open_root(self, txn: ReadTransaction) -> tuple[Root, bytes]:
        """The root of the newest commit, and its tag. Raises `IntegrityError`."""
        return self.cipher.open_root(txn, self._header(txn))

    def _header(self, txn: ReadTransaction) -> Header:
        header = decode_header(header_bytes(txn))
        if not header.is_of_same_index(self.header):
            message = "the header is not the one that this handle opened"
            raise IntegrityError(message)
        return header

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


def acquire(path: str, *, timeout: float, read_only: bool, use: registry.Use) -> Environment:
    """`registry.acquire`, where a file that is gone by now is `IndexNotFoundError`."""
    try:
        return registry.acquire(path, timeout=timeout, read_only=read_only, use=use)
    except FileNotFoundError:
        message = "the index has been deleted"
        raise IndexNotFoundError(message) from None


def first_commit(environment: Environment, header: Header, keys: DerivedKeys, root: Root) -> None:
    """Write a header and a root into an empty file."""

    def write(txn: WriteTransaction) -> None:
        txn.put(HEADER_KEY, encode_header(header))
        PageCipher(header, keys).seal_root(txn, Sealer(keys.pages), root, header)

    environment.write(write)


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
