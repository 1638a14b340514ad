"""Sealed pages: every record of an index, encrypted, bound to its place and to its commit.

A page lives in LMDB under `kind (1) ‖ page number (8)`, big-endian, and its AAD is the index id
followed by that very key; the root's AAD also covers SHA-256 of the header. A page is opened only
if its tag is the one that its parent names: the root for chunks of the page table, the page table
for the kinds in `TABLED`, the item record for long contents and metadata. The parents were opened
the same way, so a page that was moved, swapped, dropped, cut or replaced by an older or foreign
version of itself never opens: authentication is against the expected tag, not the stored one.
Nothing is parsed before it is authenticated.

This module knows no kind of page but the root and the page table.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from cyborg_embedded.aead import OVERHEAD, TAG_BYTES, Opener, Sealer, TagMismatchError
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.header import HEADER_KEY, encode_header
from cyborg_embedded.model import PageKind
from cyborg_embedded.root import (
    TABLED,
    Root,
    Snapshot,
    TableRecord,
    chunk_number,
    decode_root,
    encode_root,
    tags_per_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

    from cyborg_embedded.header import Header
    from cyborg_embedded.keys import DerivedKeys
    from cyborg_embedded.transactions import ReadTransaction, WriteTransaction

__all__ = ["PageCipher", "ReadView", "Sealed", "WriteView"]

PAGE_KEY = struct.Struct(">BQ")
KINDS = frozenset(map(int, PageKind))
Sealed = tuple[memoryview, bytes, bytes]
"""A page as stored, as a view of the map; the tag that its parent names; its AAD."""


class PageCipher:
    """What sealing and opening a page of one index takes: its keys, and what its AAD names."""

    def __init__(self, header: Header, keys: DerivedKeys) -> None:
        self.header = header
        self.keys = keys
        self.opener = Opener(keys.pages)

    def aad(self, kind: PageKind, number: int) -> bytes:
        """The associated data of a page."""
        return self.header.index_id + PAGE_KEY.pack(kind, number)

    def seal_root(self, txn: WriteTransaction, sealer: Sealer, root: Root, header: Header) -> bytes:
        """Seal and store a root beside this header; its tag."""
        sealed = sealer.seal(encode_root(root), self.aad(PageKind.ROOT, 0) + header.digest)
        txn.put(PAGE_KEY.pack(PageKind.ROOT, 0), sealed)
        return bytes(sealed[-TAG_BYTES:])

    def open_root(self, txn: ReadTransaction, header: Header) -> tuple[Root, bytes]:
        """The root that was written beside this header, and its tag. Raises `IntegrityError`."""
        found = txn.get(PAGE_KEY.pack(PageKind.ROOT, 0))
        if found is None or len(found) < OVERHEAD:
            raise missing(PageKind.ROOT, 0)
        tag = bytes(found[-TAG_BYTES:])
        aad = self.aad(PageKind.ROOT, 0) + header.digest
        try:
            plaintext = self.opener.open(found, tag, aad)
        except TagMismatchError:
            raise damaged(PageKind.ROOT, 0) from None
        return decode_root(plaintext, self.header.page_size), tag


class ReadView:
    """The pages of one commit, inside one transaction."""

    def __init__(self, cipher: PageCipher, txn: ReadTransaction, snapshot: Snapshot) -> None:
        self._cipher = cipher
        self._txn = txn
        self.snapshot = snapshot

    @property
    def page_size(self) -> int:
        """Stored bytes of a large page of this index."""
        return self._cipher.header.page_size

    @property
    def keys(self) -> DerivedKeys:
        """The working keys of the index."""
        return self._cipher.keys

    def open(self, kind: PageKind, number: int) -> bytes:
        """The plaintext of a page of the page table. Raises `IntegrityError`."""
        return self.open_bound(kind, number, self._tag(kind, number))

    def open_bound(self, kind: PageKind, number: int, tag: bytes) -> bytes:
        """The plaintext of the page that has this very tag. Raises `IntegrityError`."""
        try:
            return self._cipher.opener.open(*self._sealed(kind, number, tag))
        except TagMismatchError:
            raise damaged(kind, number) from None

    def open_into(self, kind: PageKind, number: int, out: Buffer) -> None:
        """Opens a page of the page table into a writable buffer of exactly its length."""
        self.open_each_into(kind, [number], [out])

    def open_each_into(self, kind: PageKind, pages: list[int], outs: Sequence[Buffer]) -> None:
        """`open_into` for several pages, with less around each of them."""
        opener, index_id = self._cipher.opener, self._cipher.header.index_id
        tags = self._tags(kind, pages)
        kind_number = int(kind)
        keys = [PAGE_KEY.pack(kind_number, number) for number in pages]
        try:
            opener.open_each_into(self._txn.get, keys, tags, index_id, outs)
        except TagMismatchError:
            for number, tag, out in zip(pages, tags, outs, strict=True):
                try:
                    opener.open_into(*self._sealed(kind, number, tag), out)
                except TagMismatchError:
                    raise damaged(kind, number) from None

    def stored_tag(self, kind: PageKind, number: int) -> bytes:
        """The tag that a page carries: authentic if it opens, but of whichever commit."""
        found = self._txn.get(PAGE_KEY.pack(kind, number))
        if found is None or len(found) < OVERHEAD:
            raise missing(kind, number)
        return bytes(found[-TAG_BYTES:])

    def check_top(self) -> None:
        """See that the file has the header and the root of this commit. Raises `IntegrityError`."""
        found = self._txn.get(HEADER_KEY)
        if found is None or bytes(found) != encode_header(self.snapshot.header):
            message = "the header is not the one that was written here"
            raise IntegrityError(message)
        _, tag = self._cipher.open_root(self._txn, self.snapshot.header)
        if tag != self.snapshot.root_tag:
            raise damaged(PageKind.ROOT, 0)

    def unnamed(self, named: Callable[[PageKind, int], bool]) -> int:
        """How many records the file holds that are neither of the page table nor `named`."""
        count = 0
        for key in self._txn.all_keys():
            if key == HEADER_KEY:
                continue
            kind, number = PAGE_KEY.unpack(key) if len(key) == PAGE_KEY.size else (0, 0)
            if kind not in KINDS:
                count += 1
            elif kind == PageKind.TABLE:
                of, chunk = divmod(number, 1 << 48)
                chunks = self.snapshot.root.table(PageKind(of)).chunks if of in KINDS else b""
                count += chunk * TAG_BYTES >= len(chunks)
            elif kind in TABLED:
                count += number >= self.snapshot.pages(PageKind(kind))
            else:
                count += not named(PageKind(kind), number)
        return count

    def _tag(self, kind: PageKind, number: int) -> bytes:
        return self.snapshot.tag(kind, number)

    def _tags(self, kind: PageKind, pages: list[int]) -> list[bytes]:
        return self.snapshot.tags_of(kind, pages)

    def _sealed(self, kind: PageKind, number: int, tag: bytes) -> Sealed:
        key = PAGE_KEY.pack(kind, number)
        sealed = self._txn.get(key)
        if sealed is None:
            raise missing(kind, number)
        return sealed, tag, self._cipher.header.index_id + key


class WriteView(ReadView):
    """One attempt at one commit. Change `root` and `header` by assigning new ones; `finish` writes
    them.
    """

    def __init__(self, cipher: PageCipher, txn: WriteTransaction, snapshot: Snapshot) -> None:
        super().__init__(cipher, txn, snapshot)
        self._writable = txn
        self._sealer = Sealer(cipher.keys.pages)
        self.header = snapshot.header
        self._fresh: dict[PageKind, dict[int, bytes]] = {}
        self._counts: dict[PageKind, int] = {}
        self.root = snapshot.root

    def pages(self, kind: PageKind) -> int:
        """How many pages of a kind there are at this point of the transaction."""
        return self._counts.get(kind, self.snapshot.pages(kind))

    def _tag(self, kind: PageKind, number: int) -> bytes:
        if number >= self.pages(kind):
            message = "not in the page table"
            raise IntegrityError(message, kind=kind.name, number=number)
        fresh = self._fresh.get(kind, {}).get(number)
        return fresh if fresh is not None else self.snapshot.tag(kind, number)

    def _tags(self, kind: PageKind, pages: list[int]) -> list[bytes]:
        return [self._tag(kind, number) for number in pages]

    def seal(self, kind: PageKind, number: int, plaintext: Buffer) -> None:
        """Write a page of the page table; `number` is at most one past the last page."""
        pages = self.pages(kind)
        if number > pages:
            message = f"page {number} of {kind.name} would leave a gap"
            raise IndexError(message)
        self._counts[kind] = max(pages, number + 1)
        self._fresh.setdefault(kind, {})[number] = self.seal_bound(kind, number, plaintext)

    def seal_each(self, kind: PageKind, first: int, plaintexts: Sequence[Buffer]) -> None:
        """`seal` for several pages in order, with less around each of them."""
        pages = self.pages(kind)
        if first > pages:
            message = f"page {first} of {kind.name} would leave a gap"
            raise IndexError(message)
        seal, put, pack = self._sealer.seal, self._writable.put, PAGE_KEY.pack
        kind_number, index_id = int(kind), self._cipher.header.index_id
        tags = self._fresh.setdefault(kind, {})
        for number, plaintext in enumerate(plaintexts, first):
            key = pack(kind_number, number)
            sealed = seal(plaintext, index_id + key)
            put(key, sealed)
            tags[number] = bytes(sealed[-TAG_BYTES:])
        self._counts[kind] = max(pages, first + len(plaintexts))

    def seal_bound(self, kind: PageKind, number: int, plaintext: Buffer) -> bytes:
        """Write a page whose tag the caller keeps in another page."""
        sealed = self._sealer.seal(plaintext, self._cipher.aad(kind, number))
        self._writable.put(PAGE_KEY.pack(kind, number), sealed)
        return bytes(sealed[-TAG_BYTES:])

    def drop_bound(self, kind: PageKind, number: int) -> None:
        """Remove a page that no record names any longer."""
        self._writable.delete(PAGE_KEY.pack(kind, number))

    def truncate(self, kind: PageKind, pages: int) -> None:
        """Remove all pages of a kind from number `pages` on."""
        for number in range(pages, self.pages(kind)):
            self._writable.delete(PAGE_KEY.pack(kind, number))
            self._fresh.get(kind, {}).pop(number, None)
        self._counts[kind] = min(pages, self.pages(kind))

    def fresh_tags(self, kind: PageKind) -> list[bytes]:
        """The tags of the pages of a kind as they are at this point, in page order."""
        return [self._tag(kind, number) for number in range(self.pages(kind))]

    def finish(self) -> Snapshot:
        """Seal the changed chunks of the page table and the root; the commit follows.

        Returns the snapshot of the new commit, or the old one where nothing changed.
        """
        kept = self.header == self.snapshot.header
        if self.root == self.snapshot.root and not self._counts and kept:
            return self.snapshot
        if not kept:
            self._writable.put(HEADER_KEY, encode_header(self.header))
        tags = dict(self.snapshot.tags)
        tables = dict(self.root.tables)
        for kind in self._counts:
            tags[kind], tables[kind] = self._finish_table(kind)
            if not tables[kind].pages:
                del tags[kind], tables[kind]
        root = msgspec.structs.replace(
            self.root, tables=tables, sequence=self.snapshot.root.sequence + 1
        )
        tag = self._cipher.seal_root(self._writable, self._sealer, root, self.header)
        return Snapshot(self._writable.id, root, tag, tags, self.header)

    def _finish_table(self, kind: PageKind) -> tuple[bytes, TableRecord]:
        old, pages = self.snapshot.root.table(kind), self.pages(kind)
        tags = bytearray(self.snapshot.tags.get(kind, b"")[: pages * TAG_BYTES])
        tags.extend(bytes(pages * TAG_BYTES - len(tags)))
        per_chunk = tags_per_chunk(self._cipher.header.page_size)
        stale = set()
        for number, tag in self._fresh.get(kind, {}).items():
            tags[number * TAG_BYTES : (number + 1) * TAG_BYTES] = tag
            stale.add(number // per_chunk)
        if pages < old.pages and pages % per_chunk:
            stale.add(pages // per_chunk)
        count = -(-pages // per_chunk)
        chunks = bytearray(old.chunks[: count * TAG_BYTES])
        chunks.extend(bytes(count * TAG_BYTES - len(chunks)))
        span = per_chunk * TAG_BYTES
        for chunk in stale:
            tag = self.seal_bound(
                PageKind.TABLE, chunk_number(kind, chunk), tags[chunk * span : (chunk + 1) * span]
            )
            chunks[chunk * TAG_BYTES : (chunk + 1) * TAG_BYTES] = tag
        for chunk in range(count, -(-old.pages // per_chunk)):
            self.drop_bound(PageKind.TABLE, chunk_number(kind, chunk))
        return bytes(tags), TableRecord(pages, bytes(chunks))


def missing(kind: PageKind, number: int) -> IntegrityError:
    """The error for a page that its parent names and that is not there."""
    message = "missing"
    return IntegrityError(message, kind=kind.name, number=number)


def damaged(kind: PageKind, number: int) -> IntegrityError:
    """The error for a page that is not what its parent names."""
    message = "not the page that was written here"
    return IntegrityError(message, kind=kind.name, number=number)
