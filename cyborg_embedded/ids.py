"""Id pages: from a blinded id to its row, in hash buckets.

    page    count (u32) ‖ zero (u32) ‖ count × [ blinded id (16) ‖ row (u64) ] ‖ zeros

Integers little-endian. The bucket, and so the page, of a blinded id is its leading `id_bits` bits,
of which the root keeps the number; there are 2^id_bits buckets. A bucket that would hold more than
fits doubles the number of buckets (all of them are rewritten, which a growing index pays O(1)
times a row). The page has one length, one LMDB page, whatever it holds, so it does not tell how
many ids it has. An id that its bucket does not list is not in the index: the bucket is
authenticated like any page.

Everything here works on whole batches, as numpy operations over the buckets that a batch touches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import PageKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView, WriteView

    Numbers = NDArray[np.int64]

__all__ = ["BlindedIds", "Buckets", "bucket_bytes", "capacity"]

SMALL_PAGE = 4096 - 16
"""Stored bytes of a bucket: one 4 KiB page of LMDB less its 16-byte overflow header."""
HEAD = 8
ENTRY = np.dtype([("id", np.uint64, 2), ("row", "<i8")])
FIND_AT_ONCE = 4096
MAX_BITS = 32


def bucket_bytes(page_size: int) -> int:
    """The plaintext length of an id page."""
    return min(SMALL_PAGE, page_size) - OVERHEAD


def capacity(page_size: int) -> int:
    """How many entries an id page holds."""
    return (bucket_bytes(page_size) - HEAD) // ENTRY.itemsize


class BlindedIds:
    """Blinded ids as arrays: `raw` (n, 2) for comparing, and the leading bits for the bucket."""

    __slots__ = ("leading", "raw")

    def __init__(self, blinded: bytes) -> None:
        """`blinded` is n blinded ids of 16 bytes, one after another."""
        self.raw = np.frombuffer(blinded, np.uint64).reshape(-1, 2)
        self.leading = np.frombuffer(blinded, ">u8")[::2].astype(np.uint64)

    def __len__(self) -> int:
        return len(self.raw)

    def select(self, wanted: NDArray[np.bool_]) -> BlindedIds:
        """Those of the ids that `wanted` (n,) selects."""
        return BlindedIds(self.raw[wanted].tobytes())

    def buckets(self, bits: int) -> Numbers:
        """The bucket numbers (n,) of the ids."""
        if bits == 0:
            return np.zeros(len(self), np.int64)
        numbers: Numbers = (self.leading >> np.uint64(64 - bits)).astype(np.int64)
        return numbers


class Buckets:
    """Some buckets, opened: looked up, changed in memory, and sealed again by `seal`."""

    def __init__(self, view: ReadView, numbers: Numbers, bits: int, page_size: int) -> None:
        """Opens the buckets of these ascending, unique numbers. Raises `IntegrityError`."""
        self._bits = bits
        self._page_size = page_size
        self._most = capacity(page_size)
        self._numbers = numbers
        self._pages = np.zeros((len(numbers), bucket_bytes(page_size)), np.uint8)
        self._entries = self._pages[:, HEAD : HEAD + self._most * ENTRY.itemsize].view(ENTRY)
        if view.snapshot.pages(PageKind.IDS):
            for page, number in zip(self._pages, numbers.tolist(), strict=True):
                view.open_into(PageKind.IDS, number, page)
        self._counts = self._pages[:, :4].copy().view("<u4").ravel().astype(np.int64)
        if (self._counts > self._most).any():
            message = "malformed"
            raise IntegrityError(message, kind="IDS", number=int(numbers[self._counts.argmax()]))
        self._places: Numbers = np.empty(0, np.int64)
        self._slots: Numbers = np.empty(0, np.int64)

    @classmethod
    def of(cls, view: ReadView, ids: BlindedIds, bits: int, page_size: int) -> Buckets:
        """The buckets that `ids` fall into."""
        return cls(view, np.unique(ids.buckets(bits)), bits, page_size)

    def find(self, ids: BlindedIds) -> Numbers:
        """The rows (n,) of ids, -1 where an id is absent. All of them fall into these buckets."""
        rows = np.full(len(ids), -1, np.int64)
        self._places = np.searchsorted(self._numbers, ids.buckets(self._bits))
        self._slots = np.zeros(len(ids), np.int64)
        used = np.arange(self._most) < self._counts[:, None]
        for start in range(0, len(ids), FIND_AT_ONCE):
            part = slice(start, start + FIND_AT_ONCE)
            places, wanted = self._places[part], ids.raw[part]
            entries = self._entries["id"][places]
            same = (entries == wanted[:, None, :]).all(axis=2) & used[places]
            slots = same.argmax(axis=1)
            found = same[np.arange(len(slots)), slots]
            rows[part] = np.where(found, self._entries["row"][places, slots], -1)
            self._slots[part] = slots
        return rows

    def replace(self, found: NDArray[np.bool_], rows: Numbers) -> None:
        """Point the ids of the last `find` that `found` (n,) selects to `rows`."""
        self._entries["row"][self._places[found], self._slots[found]] = rows

    def remove(self, found: NDArray[np.bool_]) -> None:
        """Forget the (distinct) ids of the last `find` that `found` (n,) selects."""
        gone = zip(self._places[found].tolist(), self._slots[found].tolist(), strict=True)
        # From the highest slot down, so that the last entry, moved into the gap, is never one
        # that is still to go.
        for place, slot in sorted(gone, reverse=True):
            last = self._counts[place] - 1
            self._entries[place, slot] = self._entries[place, last]
            self._entries[place, last] = 0
            self._counts[place] = last

    def insert(self, view: WriteView, ids: BlindedIds, rows: Numbers) -> None:
        """Add distinct ids that are absent. May double the number of buckets."""
        places = np.searchsorted(self._numbers, ids.buckets(self._bits))
        if len(ids) and (self._counts + np.bincount(places, minlength=len(self._counts))).max() > (
            self._most
        ):
            self._double(view, ids, rows)
        else:
            self._add(places, ids.raw, rows)

    def _add(self, places: Numbers, raw: NDArray[np.uint64], rows: Numbers) -> None:
        order = np.argsort(places, kind="stable")
        sorted_places = places[order]
        added = np.bincount(places, minlength=len(self._counts))
        rank = np.arange(len(order)) - (np.cumsum(added) - added)[sorted_places]
        slots = self._counts[sorted_places] + rank
        self._entries["id"][sorted_places, slots] = raw[order]
        self._entries["row"][sorted_places, slots] = rows[order]
        self._counts += added

    def _double(self, view: WriteView, ids: BlindedIds, rows: Numbers) -> None:
        others = np.setdiff1d(np.arange(1 << self._bits), self._numbers)
        rest = Buckets(view, others, self._bits, self._page_size)
        entries = np.concatenate((self._flat(), rest._flat()))
        raw = np.concatenate((entries["id"], ids.raw))
        everything = BlindedIds(raw.tobytes())
        bits = self._bits + 1
        while np.bincount(everything.buckets(bits)).max() > self._most:
            bits += 1
            if bits > MAX_BITS:
                message = "too many ids share one bucket"
                raise IntegrityError(message, kind="IDS", number=0)
        self._bits = bits
        self._numbers = np.arange(1 << bits)
        self._counts = np.zeros(1 << bits, np.int64)
        self._pages = np.zeros((1 << bits, bucket_bytes(self._page_size)), np.uint8)
        self._entries = self._pages[:, HEAD : HEAD + self._most * ENTRY.itemsize].view(ENTRY)
        self._add(everything.buckets(bits), raw, np.concatenate((entries["row"], rows)))

    def _flat(self) -> NDArray[np.void]:
        entries: NDArray[np.void] = self._entries[np.arange(self._most) < self._counts[:, None]]
        return entries

    def seal(self, view: WriteView) -> int:
        """Write the buckets; how many leading bits choose a bucket from now on."""
        self._pages[:, :4] = self._counts.astype("<u4").view(np.uint8).reshape(-1, 4)
        for page, number in zip(self._pages, self._numbers.tolist(), strict=True):
            view.seal(PageKind.IDS, number, page)
        return self._bits
