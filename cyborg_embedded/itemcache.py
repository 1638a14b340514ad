"""Recently used pages of items and of their ids, decoded as far as their offsets."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, cast

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.itemids import IDS_PER_PAGE, ItemIdPage
from cyborg_embedded.items import ROWS_PER_PAGE, ItemPage
from cyborg_embedded.model import PageKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyborg_embedded.items import Payload
    from cyborg_embedded.pages import ReadView

__all__ = ["ItemCache"]

DEFAULT_BYTES = 32 << 20
MOST_ID_PAGES = 8192
MOST_IDS = 1 << 20
LISTED_SHARE = 8
"""A list of all rows takes the place of a dict of one in so many."""


class PageCache:
    """Item pages by number and tag, the least recently used dropped first.

    Threads may share it. A page is found only under the tag that the asking view expects, so views
    of different commits never see each other's.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._pages: OrderedDict[int, tuple[bytes, ItemPage]] = OrderedDict()

    def page(self, view: ReadView, number: int) -> ItemPage:
        """A page. Raises `IntegrityError`."""
        tag = view.snapshot.tag(PageKind.ITEMS, number)
        with self._lock:
            known = self._pages.get(number)
            if known is not None and known[0] == tag:
                self._pages.move_to_end(number)
                return known[1]
        page = ItemPage(view.open(PageKind.ITEMS, number), number)
        with self._lock:
            self._drop(number)
            self._pages[number] = (tag, page)
            self._bytes += len(page)
            while self._bytes > self._most and len(self._pages) > 1:
                self._drop(next(iter(self._pages)))
        return page

    def _drop(self, number: int) -> None:
        known = self._pages.pop(number, None)
        if known is not None:
            self._bytes -= len(known[1])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._pages.clear()
            self._bytes = 0


class Texts:
    """The ids of rows, as far as they were asked for, under the tags of one page table.

    A dict at first, and a list of all rows, which takes half of the time, once that takes hardly
    more memory.
    """

    __slots__ = ("_count", "_rows", "_texts", "get", "tags")

    def __init__(self, tags: bytes, rows: int) -> None:
        self.tags = tags
        self._rows, self._count = rows, 0
        self._texts: dict[int, str] | list[str | None] = {}
        self.get: Callable[[int], str | None] = self._texts.get
        """The id of a row below that number, None if it is not known."""

    def __len__(self) -> int:
        return self._count

    def note(self, row: int, text: str) -> None:
        """From now on the id of that row is known."""
        known = self._texts
        known[row] = text
        self._count += 1
        if self._count * LISTED_SHARE > self._rows and isinstance(known, dict):
            listed: list[str | None] = [None] * self._rows
            # A copy, which is made at one stroke: others may be adding to it.
            for each, its in known.copy().items():
                listed[each] = its
            self._texts, self.get = listed, listed.__getitem__


class ItemCache:
    """What is known of items without opening their pages again. Threads may share it."""

    def __init__(self) -> None:
        self._pages = PageCache(DEFAULT_BYTES)
        # Asked ten times by every query: no lock, no order of use, all dropped when it is full.
        self._id_pages: dict[int, tuple[bytes, ItemIdPage]] = {}
        self._texts = Texts(b"", 0)

    def ids(self, view: ReadView, rows: list[int]) -> list[str]:
        """The ids of rows. Raises `IntegrityError`."""
        tags = view.snapshot.tags.get(PageKind.ITEM_IDS, b"")
        texts = self._texts
        if texts.tags is not tags or len(texts) > MOST_IDS:
            # Ids of other pages: a commit has brought some.
            texts = self._texts = Texts(tags, view.snapshot.root.rows)
        ids = list(map(texts.get, rows))
        if None in ids:
            for place, row in enumerate(rows):
                if ids[place] is None:
                    number, slot = divmod(row, IDS_PER_PAGE)
                    text = ids[place] = self._id_page(view, number, tags).text(slot)
                    texts.note(row, text)
        return cast("list[str]", ids)

    def _id_page(self, view: ReadView, number: int, tags: bytes) -> ItemIdPage:
        known = self._id_pages.get(number)
        if known is not None and known[0] == tags[number * TAG_BYTES : (number + 1) * TAG_BYTES]:
            return known[1]
        tag = view.snapshot.tag(PageKind.ITEM_IDS, number)
        page = ItemIdPage(view.open(PageKind.ITEM_IDS, number), number)
        if len(self._id_pages) >= MOST_ID_PAGES:
            self._id_pages.clear()
        self._id_pages[number] = (tag, page)
        return page

    def payload(self, view: ReadView, row: int, *, metadata: bool, contents: bool) -> Payload:
        """The payload of a row; what is not asked for is left empty. Raises `IntegrityError`."""
        page = self._pages.page(view, row // ROWS_PER_PAGE)
        return page.payload(view, row % ROWS_PER_PAGE, metadata=metadata, contents=contents)

    def clear(self) -> None:
        """Forget everything."""
        self._texts = Texts(b"", 0)
        self._id_pages.clear()
        self._pages.clear()
