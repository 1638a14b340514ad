"""Item id pages: the id of each row, apart from what else an item carries, since every query ends
in ids.

    page    count (u32) ‖ count × length (u16) ‖ ids, one after another (UTF-8) ‖ zeros

Integers little-endian. Row r is number r % 512 of page r // 512; the page is padded (padding.py). A
row has its id for ever: it is never given to another item, and a dead row keeps it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import MAX_ID_BYTES, PageKind
from cyborg_embedded.padding import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyborg_embedded.pages import WriteView

__all__ = ["IDS_PER_PAGE", "ItemIdPage", "append_item_ids"]

IDS_PER_PAGE = 512
COUNT = struct.Struct("<I")


class ItemIdPage:
    """One authenticated page of ids, decoded as far as their places."""

    __slots__ = ("_data", "_ends", "_lengths", "count", "number")

    def __init__(self, data: bytes, number: int) -> None:
        """Raises `IntegrityError` if the page contradicts itself."""
        self._data = data
        self.number = number
        if len(data) < COUNT.size:
            raise self._malformed()
        (self.count,) = COUNT.unpack_from(data)
        start = COUNT.size + 2 * self.count
        if not 0 < self.count <= IDS_PER_PAGE or start > len(data):
            raise self._malformed()
        lengths = np.frombuffer(data, "<u2", self.count, COUNT.size)
        self._ends = lengths.cumsum(dtype=np.int64) + start
        sound = lengths.min() > 0 and lengths.max() <= MAX_ID_BYTES
        if not sound or int(self._ends[-1]) > len(data):
            raise self._malformed()
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._data)

    def _malformed(self) -> IntegrityError:
        message = "malformed"
        return IntegrityError(message, kind="ITEM_IDS", number=self.number)

    def id(self, slot: int) -> bytes:
        """One id. Raises `IntegrityError` for one that is not there."""
        if slot >= self.count:
            raise self._malformed()
        end = int(self._ends[slot])
        return self._data[end - int(self._lengths[slot]) : end]

    def text(self, slot: int) -> str:
        """One id as text. Raises `IntegrityError`."""
        try:
            return self.id(slot).decode()
        except UnicodeDecodeError:
            raise self._malformed() from None

    def check_count(self, rows: int) -> None:
        """See that it has the ids of so many rows. Raises `IntegrityError`."""
        if self.count != rows:
            raise self._malformed()

    def ids(self) -> list[bytes]:
        """All ids of the page."""
        return [self.id(slot) for slot in range(self.count)]


def append_item_ids(view: WriteView, first_row: int, ids: Sequence[bytes]) -> None:
    """Write the ids of rows `first_row` and following."""
    if not ids:
        return
    page, kept = divmod(first_row, IDS_PER_PAGE)
    together = list(ids)
    if kept:
        known = ItemIdPage(view.open(PageKind.ITEM_IDS, page), page)
        known.check_count(kept)
        together = [*known.ids(), *ids]
    for start in range(0, len(together), IDS_PER_PAGE):
        part = together[start : start + IDS_PER_PAGE]
        head = struct.pack(f"<I{len(part)}H", len(part), *map(len, part))
        view.seal(PageKind.ITEM_IDS, page, pad(head + b"".join(part)))
        page += 1
