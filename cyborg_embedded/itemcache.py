"""Recently used item pages, decoded as far as their offsets."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from cyborg_embedded.items import ROWS_PER_PAGE, ItemPage
from cyborg_embedded.model import PageKind

if TYPE_CHECKING:
    from cyborg_embedded.items import Payload
    from cyborg_embedded.pages import ReadView

__all__ = ["ItemCache"]

DEFAULT_BYTES = 32 << 20
MOST_IDS = 1 << 17


class ItemCache:
    """Item pages by number and tag, the least recently used dropped first. Threads may share it.

    A page is found only under the tag that the asking view expects, so views of different commits
    never see each other's.
    """

    def __init__(self, most_bytes: int = DEFAULT_BYTES) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._ids: dict[int, str] = {}
        self._pages: OrderedDict[int, tuple[bytes, ItemPage]] = OrderedDict()

    def page(self, view: ReadView, number: int) -> ItemPage:
        """An item page. Raises `IntegrityError`."""
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

    def id(self, view: ReadView, row: int) -> str:
        """The id of a row."""
        # A row has one id for ever: it is never given to another item.
        known = self._ids.get(row)
        if known is None:
            known = self.page(view, row // ROWS_PER_PAGE).id(row % ROWS_PER_PAGE).decode()
            if len(self._ids) >= MOST_IDS:
                self._ids.clear()
            self._ids[row] = known
        return known

    def payload(self, view: ReadView, row: int, *, metadata: bool, contents: bool) -> Payload:
        """The payload of a row; what is not asked for is left empty."""
        page = self.page(view, row // ROWS_PER_PAGE)
        return page.payload(view, row % ROWS_PER_PAGE, metadata=metadata, contents=contents)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._ids.clear()
            self._pages.clear()
            self._bytes = 0
