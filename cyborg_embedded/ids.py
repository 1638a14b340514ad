"""Id pages: from blinded ids to rows.

All IDS pages together are one sequence of 20-byte entries, as many whole ones in a page as fit,
every page but the last one full:

    entry    blinded id (16) ‖ row (u32, little-endian); row FF FF FF FF = there is no such id

A later entry for an id counts over an earlier one. The root says how many entries there are and
how many of the first are `sorted`: ascending by blinded id, each id once, none deleted. A commit
appends its entries; when there are too many behind the sorted ones, all are merged and written
anew. So a batch costs what it adds, and a growing index rewrites an entry O(log n) times.

In memory the entries are arrays (20 bytes a row), read when an id is first asked for and followed
page by page. An id that is in none of them is proved absent: every page is authenticated.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cyborg_embedded.aead import OVERHEAD, TAG_BYTES
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import PageKind
from cyborg_embedded.root import IdRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView, WriteView

    Numbers = NDArray[np.int64]
    Entries = NDArray[np.void]

__all__ = ["ABSENT", "Blinded", "IdCache", "IdTable", "record_all_ids", "record_ids"]

ENTRY = np.dtype([("lead", ">u8"), ("trail", ">u8"), ("row", "<u4")])
GONE = np.uint32(0xFFFFFFFF)
ABSENT = -1
"""The row of an id that is not there."""
FEWEST_UNSORTED, MOST_UNSORTED = 2048, 1 << 17
UNSORTED_SHARE = 4


def entries_per_page(page_size: int) -> int:
    """How many entries a page holds."""
    return (page_size - OVERHEAD) // ENTRY.itemsize


@dataclass(frozen=True, slots=True)
class Blinded:
    """Distinct blinded ids as two arrays (n,) of their big-endian halves."""

    lead: NDArray[np.uint64]
    trail: NDArray[np.uint64]

    @classmethod
    def of(cls, blinded: bytes) -> Blinded:
        """From n blinded ids of 16 bytes, one after another."""
        halves = np.frombuffer(blinded, ">u8").astype(np.uint64)
        return cls(halves[::2], halves[1::2])

    def __len__(self) -> int:
        return len(self.lead)

    def select(self, wanted: NDArray[np.bool_]) -> Blinded:
        """Those that `wanted` (n,) selects."""
        return Blinded(self.lead[wanted], self.trail[wanted])


@dataclass(frozen=True, slots=True, repr=False)
class Columns:
    """Entries as arrays (n,)."""

    lead: NDArray[np.uint64]
    trail: NDArray[np.uint64]
    row: NDArray[np.uint32]

    @classmethod
    def of(cls, entries: Entries) -> Columns:
        """From entries as they are stored."""
        return cls(
            entries["lead"].astype(np.uint64),
            entries["trail"].astype(np.uint64),
            entries["row"].astype(np.uint32),
        )

    def entries(self, first: int = 0) -> Entries:
        """Those from number `first` on, as they are stored."""
        lead = self.lead[first:]
        out = np.empty(len(lead), ENTRY)
        out["lead"], out["trail"], out["row"] = lead, self.trail[first:], self.row[first:]
        return out


@dataclass(frozen=True, slots=True, repr=False)
class IdTable:
    """All entries of one commit."""

    sorted: Columns
    unsorted: Columns

    def entries(self, first: int) -> Entries:
        """The entries from number `first` on, as they are stored."""
        in_order = len(self.sorted.lead)
        parts = (self.sorted.entries(first), self.unsorted.entries(max(first - in_order, 0)))
        return np.concatenate(parts, dtype=ENTRY)

    def count(self) -> int:
        """How many ids lead to a row."""
        return len(merge((self.sorted, self.unsorted)).row)

    def find(self, ids: Blinded) -> Numbers:
        """The row (n,) of each id, `ABSENT` where it has none."""
        order = np.argsort(ids.lead)
        lead, trail = ids.lead[order], ids.trail[order]
        if (lead[1:] == lead[:-1]).any():
            # Two ids that share 64 bits of HMAC: one at a time, each is found.
            halves = zip(ids.lead, ids.trail, strict=True)
            return np.concatenate([self.find(Blinded(a[None], b[None])) for a, b in halves])
        found = np.full(len(ids), ABSENT, np.int64)
        found[order] = self._find_unsorted(lead, trail, self._find_sorted(lead, trail))
        return found

    def _find_sorted(self, lead: NDArray[np.uint64], trail: NDArray[np.uint64]) -> Numbers:
        table = self.sorted
        rows = np.full(len(lead), ABSENT, np.int64)
        if len(table.lead):
            last = len(table.lead) - 1
            place = np.minimum(np.searchsorted(table.lead, lead), last)
            while True:
                same = table.lead[place] == lead
                other = same & (table.trail[place] < trail) & (place < last)
                if not other.any():
                    break
                place = place + other
            same &= table.trail[place] == trail
            rows[same] = table.row[place[same]]
        return rows

    def _find_unsorted(
        self, lead: NDArray[np.uint64], trail: NDArray[np.uint64], rows: Numbers
    ) -> Numbers:
        table = self.unsorted
        if len(lead) and len(table.lead):
            place = np.minimum(np.searchsorted(lead, table.lead), len(lead) - 1)
            same = (lead[place] == table.lead) & (trail[place] == table.trail)
            # Assigned in the order of the entries, so that the last one of an id stays.
            latest = table.row[same]
            rows[place[same]] = np.where(latest == GONE, ABSENT, latest.astype(np.int64))
        return rows


def record_ids(view: WriteView, table: IdTable, ids: Blinded, rows: Numbers) -> None:
    """Let these ids lead to these rows from now on, or to none where a row is `ABSENT`."""
    if not len(ids):
        return
    given = Columns(ids.lead, ids.trail, np.where(rows == ABSENT, GONE, rows).astype(np.uint32))
    in_order = len(table.sorted.lead)
    behind = len(table.unsorted.lead) + len(ids)
    if behind > min(max(in_order // UNSORTED_SHARE, FEWEST_UNSORTED), MOST_UNSORTED):
        merged = merge((table.sorted, table.unsorted, given)).entries()
        write_entries(view, 0, merged)
        view.root = msgspec.structs.replace(view.root, ids=IdRecord(len(merged), len(merged)))
        return
    # The last page is written again, with what it had.
    old = in_order + behind - len(ids)
    kept = old % entries_per_page(view.page_size)
    fresh = np.concatenate((table.entries(old - kept), given.entries()), dtype=ENTRY)
    write_entries(view, old - kept, fresh)
    view.root = msgspec.structs.replace(view.root, ids=IdRecord(old + len(ids), in_order))


def record_all_ids(view: WriteView, blinded: bytes) -> None:
    """Let the ids of rows 0, 1, 2, ..., blinded one after another, lead to them; and no others."""
    if not blinded:
        return
    ids = Blinded.of(blinded)
    entries = merge((Columns(ids.lead, ids.trail, np.arange(len(ids), dtype=np.uint32)),)).entries()
    write_entries(view, 0, entries)
    view.root = msgspec.structs.replace(view.root, ids=IdRecord(len(entries), len(entries)))


def write_entries(view: WriteView, first: int, entries: Entries) -> None:
    """Write entries from number `first`, the first of a page, on; what was there goes."""
    per_page = entries_per_page(view.page_size)
    page = first // per_page
    for start in range(0, len(entries), per_page):
        view.seal(PageKind.IDS, page, entries[start : start + per_page].tobytes())
        page += 1
    view.truncate(PageKind.IDS, page)


def merge(parts: Sequence[Columns]) -> Columns:
    """All entries ascending by id, the last one of each id, without those that are gone."""
    lead = np.concatenate([part.lead for part in parts])
    trail = np.concatenate([part.trail for part in parts])
    row = np.concatenate([part.row for part in parts])
    # Stable: entries of one id stay in their order.
    order = np.lexsort((trail, lead))
    lead, trail, row = lead[order], trail[order], row[order]
    same_as_next = (lead[1:] == lead[:-1]) & (trail[1:] == trail[:-1])
    keep = np.append(~same_as_next, True) & (row != GONE)
    return Columns(lead[keep], trail[keep], row[keep])


class IdCache:
    """The id table of the commit that was asked for last, followed from commit to commit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tags = b""
        self._count = IdRecord()
        self._table = EMPTY

    def table(self, view: ReadView) -> IdTable:
        """The id table of the commit of `view`. Raises `IntegrityError`."""
        snapshot = view.snapshot
        tags, record = snapshot.tags.get(PageKind.IDS, b""), snapshot.root.ids
        with self._lock:
            if tags != self._tags or record != self._count:
                self._table = self._load(view, tags, record)
                self._tags, self._count = tags, record
            return self._table

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._tags, self._count, self._table = b"", IdRecord(), EMPTY

    def _load(self, view: ReadView, tags: bytes, record: IdRecord) -> IdTable:
        per_page = entries_per_page(view.page_size)
        if len(tags) // TAG_BYTES != -(-record.entries // per_page):
            raise malformed(0)
        # What is sorted changes seldom, and then every page with it: the whole pages of it tell.
        whole = record.sorted // per_page * TAG_BYTES
        same = whole > 0 and self._count.sorted == record.sorted
        same = same and self._tags[:whole] == tags[:whole]
        first = record.sorted // per_page if same else 0
        entries = np.empty(record.entries - first * per_page, ENTRY)
        for page in range(first, len(tags) // TAG_BYTES):
            part = entries[(page - first) * per_page : (page - first + 1) * per_page]
            view.open_into(PageKind.IDS, page, part.view(np.uint8))
        rows = entries["row"]
        if ((rows >= view.snapshot.root.rows) & (rows != GONE)).any():
            raise malformed(first)
        if same:
            in_order = self._table.sorted
        else:
            in_order = Columns.of(entries[: record.sorted])
            check_sorted(in_order)
        return IdTable(in_order, Columns.of(entries[record.sorted - first * per_page :]))


def check_sorted(columns: Columns) -> None:
    """Sorted entries ascend, each id once, none gone. Raises `IntegrityError`."""
    lead, trail = columns.lead, columns.trail
    ascends = (lead[1:] > lead[:-1]) | ((lead[1:] == lead[:-1]) & (trail[1:] > trail[:-1]))
    if not ascends.all() or (columns.row == GONE).any():
        raise malformed(0)


def malformed(page: int) -> IntegrityError:
    """The error for entries that contradict the root or each other."""
    message = "malformed"
    return IntegrityError(message, kind="IDS", number=page)


EMPTY = IdTable(Columns.of(np.empty(0, ENTRY)), Columns.of(np.empty(0, ENTRY)))
