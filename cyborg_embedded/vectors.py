"""Vector pages.

A page holds R whole rows (precision.py); unused rows are zero. It takes the fewest
blocks of LMDB's, two at least, of which rows fill 90 %; where no number of them up to a large page
does, the number that rows fill best: a query wants single rows of many pages, and should open as
little beside them as it can. A row longer than a large page is cut over P large pages, the last
one shorter. Row r lies in page r // R, or in pages r·P to r·P + P - 1.

The length of a page follows from the dimension alone, and rows are contiguous in the plaintext, so
that a page can be decrypted straight to its place in a matrix (pool.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.model import PageKind
from cyborg_embedded.precision import decode, row_bytes
from cyborg_embedded.streaming import stream_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.model import Precision
    from cyborg_embedded.pages import ReadView, WriteView

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]

__all__ = [
    "VectorLayout",
    "append_copied_vectors",
    "append_vectors",
    "by_group",
    "open_group",
    "read_stored",
    "stream_vectors",
]

CUT_BYTES = 4
"""A row that is cut over pages is cut at multiples of this."""
BLOCK_BYTES, BLOCK_HEAD = 4096, 16
"""A page of LMDB's, and what it keeps for itself of a run of them."""
FEWEST_BLOCKS = 2
WELL_USED = 0.9


@dataclass(frozen=True, slots=True)
class VectorLayout:
    """Where rows lie in vector pages."""

    dimension: int
    precision: Precision
    row_bytes: int
    rows_per_page: int
    pages_per_row: int
    page_bytes: int
    """Most plaintext bytes that a page holds."""

    @classmethod
    def of(cls, dimension: int, page_size: int, precision: Precision = "float32") -> VectorLayout:
        """The layout of vectors of this dimension where `page_size` is that of large pages."""
        size = row_bytes(dimension, precision)
        room = (page_size - OVERHEAD) // CUT_BYTES * CUT_BYTES
        if room < size:
            return cls(dimension, precision, size, 1, -(-size // room), room)
        best = (0.0, 0)
        for blocks in range(FEWEST_BLOCKS, (page_size + BLOCK_HEAD) // BLOCK_BYTES + 1):
            rows = (blocks * BLOCK_BYTES - BLOCK_HEAD - OVERHEAD) // size
            used = rows * size / (blocks * BLOCK_BYTES)
            best = max(best, (used, rows))
            if used >= WELL_USED:
                return cls(dimension, precision, size, rows, 1, rows * size)
        rows = best[1] or room // size
        return cls(dimension, precision, size, rows, 1, rows * size)

    def pages(self, rows: int) -> int:
        """How many pages hold `rows` rows."""
        return -(-rows // self.rows_per_page) * self.pages_per_row

    def span(self, page: int) -> slice:
        """The bytes of a page, as a slice of the row-major matrix."""
        if self.pages_per_row == 1:
            return slice(page * self.page_bytes, (page + 1) * self.page_bytes)
        row, part = divmod(page, self.pages_per_row)
        start, base = part * self.page_bytes, row * self.row_bytes
        return slice(base + start, base + min(start + self.page_bytes, self.row_bytes))


def append_vectors(view: WriteView, layout: VectorLayout, first_row: int, stored: Bytes) -> None:
    """Write `stored` (n, row_bytes) as rows `first_row` and following."""
    if not len(stored):
        return
    per_page = layout.rows_per_page
    kept = first_row % per_page
    start = first_row - kept
    pages = layout.pages(first_row + len(stored)) - layout.pages(start)
    rows = pages // layout.pages_per_row * per_page
    matrix = np.zeros((rows, layout.row_bytes), np.uint8)
    flat = matrix.reshape(-1)
    first_page = layout.pages(start)
    if kept:
        view.open_into(PageKind.VECTORS, first_page, flat[layout.span(0)])
    matrix[kept : kept + len(stored)] = stored
    parts = [flat[layout.span(page)] for page in range(pages)]
    view.seal_each(PageKind.VECTORS, first_page, parts)


def append_copied_vectors(
    view: WriteView,
    layout: VectorLayout,
    first_row: int,
    source: ReadView,
    copied: NDArray[np.int64],
) -> None:
    """Write the vectors of some rows of another index, ascending, as rows from `first_row` on.

    Both indexes have the same layout. Pages that stay as they are go through one buffer.
    """
    per_page = layout.rows_per_page
    lead = min(-first_row % per_page, len(copied))
    append_vectors(view, layout, first_row, read_stored(source, layout, copied[:lead]))
    page = np.zeros((per_page, layout.row_bytes), np.uint8)
    flat = page.reshape(-1)
    for start in range(lead, len(copied), per_page):
        rows = copied[start : start + per_page]
        group, rest = divmod(int(rows[0]), per_page)
        if rest or len(rows) < per_page or int(rows[-1]) - int(rows[0]) != per_page - 1:
            append_vectors(view, layout, first_row + start, read_stored(source, layout, rows))
            continue
        open_group(source, layout, group, flat)
        number = layout.pages(first_row + start)
        for part in range(layout.pages_per_row):
            view.seal(PageKind.VECTORS, number + part, flat[layout.span(part)])
    page.fill(0)


def open_group(view: ReadView, layout: VectorLayout, group: int, into: Bytes) -> None:
    """Open the page, or the pages of the one row, that group number `group` of rows lies in."""
    parts = range(layout.pages_per_row)
    pages = [group * layout.pages_per_row + part for part in parts]
    view.open_each_into(PageKind.VECTORS, pages, [into[layout.span(part)] for part in parts])


def by_group(
    layout: VectorLayout, rows: NDArray[np.int64]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Rows by the group that they lie in: its number, and for each row (place in `rows`, place in
    the group).
    """
    groups = rows // layout.rows_per_page
    order = groups.argsort(kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    for places in np.split(order, starts) if len(rows) else ():
        group = int(groups[places[0]])
        inside = rows[places] - group * layout.rows_per_page
        yield group, list(zip(places.tolist(), inside.tolist(), strict=True))


def read_stored(view: ReadView, layout: VectorLayout, rows: NDArray[np.int64]) -> Bytes:
    """Rows as stored (n, row_bytes), straight from their pages, in any order, past any pool.

    Pages are opened one at a time into one buffer, which is overwritten with zeros in the end.
    """
    out = np.empty((len(rows), layout.row_bytes), np.uint8)
    page = np.empty((layout.rows_per_page, layout.row_bytes), np.uint8)
    for group, places in by_group(layout, rows):
        open_group(view, layout, group, page.reshape(-1))
        # One by one: indexing by an array would leave a copy behind that nobody wipes.
        for place, inside in places:
            out[place] = page[inside]
    page.fill(0)
    return out


def stream_vectors(
    view: ReadView, layout: VectorLayout, rows: int, consume: Callable[[int, Floats], None]
) -> None:
    """Open all pages of the first `rows` rows, past any pool.

    `consume` gets the number of a first row and the vectors (n, dimension) from there on; see
    `stream_pages`.
    """

    def take(page: int, data: Bytes) -> None:
        first = page // layout.pages_per_row * layout.rows_per_page
        stored = data.reshape(-1, layout.row_bytes)[: rows - first]
        consume(first, decode(stored, layout.precision))

    pages = layout.pages(rows)
    stream_pages(view, PageKind.VECTORS, pages, layout.pages_per_row, layout.span, np.uint8, take)
