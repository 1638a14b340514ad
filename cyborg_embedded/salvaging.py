"""What can be saved of a damaged index, written into a new one.

A row is saved if all of it authenticates: its vector, its id, its metadata and contents. The root
has to open. Where a part of the page table does not, the pages that it names are taken under the
tags that they carry: authentic, but perhaps older than the commit; the report says so. Where
tombstones do not open, all rows that they tell of count as live; of rows with one id the latest is
kept.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.itemids import IDS_PER_PAGE, ItemIdPage
from cyborg_embedded.items import ROWS_PER_PAGE, ItemPage
from cyborg_embedded.model import PageKind
from cyborg_embedded.pages import ReadView
from cyborg_embedded.root import TABLED, Snapshot, chunk_number, tags_per_chunk
from cyborg_embedded.tombstones import load_alive, rows_per_tombstone_page
from cyborg_embedded.vectors import VectorLayout, open_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.store import PageStore

    Alive = NDArray[np.bool_]

__all__ = ["RepairReport", "Salvage"]

UNKNOWN = bytes(TAG_BYTES)


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What `Client.repair_index` has saved, and what it has not."""

    saved: int
    """Items in the new index."""
    lost: tuple[int, ...]
    """Rows, by their numbers in the damaged index, that may have lived and could not be saved."""
    lost_ids: tuple[str, ...]
    """The ids of those of them whose id could be read."""
    maybe_old: bool
    """Whether a part of the page table was lost: then some pages may be of earlier commits."""
    maybe_deleted: bool
    """Whether tombstones were lost: then items may be there that had been deleted."""


class LenientView(ReadView):
    """A commit of which parts of the page table may be unknown."""

    def _tag(self, kind: PageKind, number: int) -> bytes:
        tag = super()._tag(kind, number)
        return self.stored_tag(kind, number) if tag == UNKNOWN else tag

    def _tags(self, kind: PageKind, pages: list[int]) -> list[bytes]:
        return [self._tag(kind, number) for number in pages]


@dataclass(slots=True)
class Salvage:
    """A damaged index, and what is known of its rows."""

    store: PageStore
    alive: Alive = field(default_factory=lambda: np.empty(0, np.bool_))
    sound: Alive = field(default_factory=lambda: np.empty(0, np.bool_))
    maybe_old: bool = False
    maybe_deleted: bool = False

    @contextlib.contextmanager
    def read(self) -> Iterator[ReadView]:
        """A view of the newest commit. Raises `IntegrityError` if its root does not open."""
        with self.store.environment.read() as txn:
            root, tag = self.store.open_root(txn)
            header = self.store.header
            bare = LenientView(self.store.cipher, txn, Snapshot(txn.id, root, tag, {}, header))
            tags = {kind: self._tags(bare, kind) for kind in TABLED if root.table(kind).pages}
            yield LenientView(self.store.cipher, txn, Snapshot(txn.id, root, tag, tags, header))

    def _tags(self, bare: ReadView, kind: PageKind) -> bytes:
        table = bare.snapshot.root.table(kind)
        span = tags_per_chunk(bare.page_size)
        parts = []
        for chunk in range(len(table.chunks) // TAG_BYTES):
            count = min(span, table.pages - chunk * span)
            tag = table.chunks[chunk * TAG_BYTES : (chunk + 1) * TAG_BYTES]
            try:
                part = bare.open_bound(PageKind.TABLE, chunk_number(kind, chunk), tag)
            except IntegrityError:
                part = b""
            if len(part) != count * TAG_BYTES:
                part, self.maybe_old = UNKNOWN * count, True
            parts.append(part)
        return b"".join(parts)

    def look(self, report: Callable[[int, int], None]) -> list[str]:
        """Find out which rows can be saved; the ids of those that cannot, where they are known."""
        with self.read() as view:
            rows = view.snapshot.root.rows
            self.alive = self._alive(view, rows)
            # Tombstones may have been lost, or be those of another commit.
            self.maybe_deleted |= int(self.alive.sum()) != view.snapshot.root.live
            self.sound = self.alive.copy()
            ids = self._ids(view, rows)
            self._vectors(view, rows, report)
            self._items(view, rows)
            self._latest(ids)
        return [ids[row].decode() for row in np.flatnonzero(self.lost).tolist() if row in ids]

    @property
    def lost(self) -> Alive:
        """Which rows may have lived and cannot be saved."""
        return self.alive & ~self.sound

    def _alive(self, view: ReadView, rows: int) -> Alive:
        alive = np.ones(rows, np.bool_)
        size = view.page_size
        for page in range(view.snapshot.pages(PageKind.TOMBSTONES)):
            first = page * rows_per_tombstone_page(size)
            last = first + rows_per_tombstone_page(size)
            try:
                alive[first:last] = load_alive(view, rows, alive, [page], size)[first:last]
            except IntegrityError:
                self.maybe_deleted = True
        return alive

    def _ids(self, view: ReadView, rows: int) -> dict[int, bytes]:
        ids: dict[int, bytes] = {}
        for number in range(-(-rows // IDS_PER_PAGE)):
            first = number * IDS_PER_PAGE
            try:
                page = ItemIdPage(view.open(PageKind.ITEM_IDS, number), number)
                page.check_count(min(rows - first, IDS_PER_PAGE))
                ids |= {first + slot: page.text(slot).encode() for slot in range(page.count)}
            except IntegrityError:
                self.sound[first : first + IDS_PER_PAGE] = False
        return ids

    def _vectors(self, view: ReadView, rows: int, report: Callable[[int, int], None]) -> None:
        root = view.snapshot.root
        if not root.dimension:
            return
        layout = VectorLayout.of(root.dimension, view.page_size, root.precision)
        memory = np.empty(layout.rows_per_page * layout.row_bytes, np.uint8)
        for group in range(-(-rows // layout.rows_per_page)):
            first = group * layout.rows_per_page
            report(first, rows)
            try:
                open_group(view, layout, group, memory)
            except IntegrityError:
                self.sound[first : first + layout.rows_per_page] = False
        memory.fill(0)

    def _items(self, view: ReadView, rows: int) -> None:
        for number in range(-(-rows // ROWS_PER_PAGE)):
            first = number * ROWS_PER_PAGE
            try:
                page = ItemPage(view.open(PageKind.ITEMS, number), number)
                page.check_count(min(rows - first, ROWS_PER_PAGE))
            except IntegrityError:
                self.sound[first : first + ROWS_PER_PAGE] = False
                continue
            for slot in np.flatnonzero(self.sound[first : first + page.count]).tolist():
                try:
                    page.payload(view, slot)
                except IntegrityError:
                    self.sound[first + slot] = False

    def _latest(self, ids: dict[int, bytes]) -> None:
        """Of rows with one id, only the latest counts."""
        latest = {ids[row]: row for row in np.flatnonzero(self.sound).tolist()}
        kept = np.zeros_like(self.sound)
        kept[list(latest.values())] = True
        # Those that have given way are not lost: their item is there, in its latest form.
        self.alive &= ~(self.sound & ~kept)
        self.sound &= kept
