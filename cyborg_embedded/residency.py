"""Vectors in bounded memory: a budget of decrypted pages, or none at all.

With a budget of 0 (the *sealed* residency) pages are opened one at a time into one buffer, only the
rows asked for are copied out of it, and both are overwritten with zeros when they have been used.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import squared_norms
from cyborg_embedded.model import PageKind
from cyborg_embedded.pool import VectorPool
from cyborg_embedded.precision import decode
from cyborg_embedded.vectors import by_group, open_group, read_stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.vectors import VectorLayout

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]

__all__ = ["BoundedPool", "Pool", "make_pool"]

BLOCK_BYTES = 4 << 20
"""How much of the vectors a scan holds at once."""


class BoundedPool:
    """Decrypted pages within a budget of bytes, the least recently used dropped first.

    Threads may share it. Pages are known by number and tag, so views of different commits never
    see each other's. The budget is for what is kept between calls; a call needs what it returns.
    """

    block_bytes: int | None = BLOCK_BYTES

    def __init__(self, layout: VectorLayout, most_bytes: int) -> None:
        self.layout = layout
        self.sealed = most_bytes == 0
        self._bytes = layout.rows_per_page * layout.row_bytes
        self._most = most_bytes // self._bytes
        self._lock = threading.Lock()
        self._pages: OrderedDict[int, tuple[bytes, Bytes]] = OrderedDict()

    def rows(self, view: ReadView, rows: NDArray[np.int64]) -> Floats:
        """The vectors (n, dimension) of `rows`, in their order; to be given to `wipe` when used."""
        if not self._most:
            return self._decoded(read_stored(view, self.layout, rows))
        out = np.empty((len(rows), self.layout.row_bytes), np.uint8)
        for group, places in by_group(self.layout, rows):
            page = self._page(view, group)
            for place, inside in places:
                out[place] = page[inside]
        return self._decoded(out)

    def _decoded(self, stored: Bytes) -> Floats:
        """Vectors; what they were stored as is wiped, unless it is the same memory."""
        vectors = decode(stored, self.layout.precision)
        if self.sealed and vectors.base is not stored:
            stored.fill(0)
        return vectors

    def warm(self, view: ReadView) -> None:
        """Open as many pages as the budget holds."""
        groups = -(-view.snapshot.root.rows // self.layout.rows_per_page)
        for group in range(min(groups, self._most)):
            self._page(view, group)

    def cold(self, rows: int) -> float:
        """The share of the pages of so many rows that are still to be opened."""
        return max(0.0, 1 - len(self._pages) * self.layout.rows_per_page / max(1, rows))

    def wipe(self, vectors: Floats) -> None:
        """Vectors that `rows` gave are no longer wanted."""
        if self.sealed:
            vectors.fill(0)

    def _page(self, view: ReadView, group: int) -> Bytes:
        layout, parts = self.layout, self.layout.pages_per_row
        pages = range(group * parts, group * parts + parts)
        tag = b"".join(view.snapshot.tag(PageKind.VECTORS, page) for page in pages)
        with self._lock:
            known = self._pages.get(group)
            if known is not None and known[0] == tag:
                self._pages.move_to_end(group)
                return known[1]
        page = np.empty((layout.rows_per_page, layout.row_bytes), np.uint8)
        open_group(view, layout, group, page.reshape(-1))
        with self._lock:
            self._pages[group] = (tag, page)
            self._pages.move_to_end(group)
            while len(self._pages) > self._most:
                self._pages.popitem(last=False)
        return page

    @contextlib.contextmanager
    def block(self, view: ReadView, first: int, last: int) -> Iterator[tuple[Floats, Floats]]:
        """Vectors and squared euclidean norms of rows `first` to `last` - 1, opened anew and gone
        after the with block: a scan would only drive everything else out.
        """
        per_page = self.layout.rows_per_page
        low, high = first // per_page, -(-last // per_page)
        matrix = np.empty(((high - low) * per_page, self.layout.row_bytes), np.uint8)
        flat = matrix.reshape(-1)
        for place, group in enumerate(range(low, high)):
            open_group(
                view, self.layout, group, flat[place * self._bytes : (place + 1) * self._bytes]
            )
        rows = slice(first - low * per_page, last - low * per_page)
        whole = self._decoded(matrix)
        vectors = whole[rows]
        try:
            yield vectors, squared_norms(vectors)
        finally:
            self.wipe(whole)


Pool = VectorPool | BoundedPool


def make_pool(layout: VectorLayout, cache_bytes: int | None) -> Pool:
    """The pool for a residency: everything that is touched (None), a budget, or nothing (0)."""
    return VectorPool(layout) if cache_bytes is None else BoundedPool(layout, cache_bytes)
