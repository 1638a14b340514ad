"""Vector pages.

A page holds R whole rows of float32, little-endian; unused rows are zero. It takes the fewest
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
from cyborg_embedded.streaming import stream_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView, WriteView

__all__ = [
    "VectorLayout",
    "append_vectors",
    "by_group",
    "open_group",
    "read_vectors",
    "stream_vectors",
]

FLOAT32_BYTES = 4
BLOCK_BYTES, BLOCK_HEAD = 4096, 16
"""A page of LMDB's, and what it keeps for itself of a run of them."""
FEWEST_BLOCKS = 2
WELL_USED = 0.9


@dataclass(frozen=True, slots=True)
class VectorLayout:
    """Where rows lie in vector pages."""

    dimension: int
    rows_per_page: int
    pages_per_row: int
    page_bytes: int
    """Most plaintext bytes that a page holds."""

    @classmethod
    def of(cls, dimension: int, page_size: int) -> VectorLayout:
        """The layout of vectors of this dimension where `page_size` is that of large pages."""
        row_bytes = dimension * FLOAT32_BYTES
        # Whole floats, so that a cut row can be opened in place.
        room = (page_size - OVERHEAD) // FLOAT32_BYTES * FLOAT32_BYTES
        if room < row_bytes:
            return cls(dimension, 1, -(-row_bytes // room), room)
        best = (0.0, 0)
        for blocks in range(FEWEST_BLOCKS, (page_size + BLOCK_HEAD) // BLOCK_BYTES + 1):
            rows = (blocks * BLOCK_BYTES - BLOCK_HEAD - OVERHEAD) // row_bytes
            used = rows * row_bytes / (blocks * BLOCK_BYTES)
            best = max(best, (used, rows))
            if used >= WELL_USED:
                return cls(dimension, rows, 1, rows * row_bytes)
        rows = best[1] or room // row_bytes
        return cls(dimension, rows, 1, rows * row_bytes)

    def pages(self, rows: int) -> int:
        """How many pages hold `rows` rows."""
        return -(-rows // self.rows_per_page) * self.pages_per_row

    def span(self, page: int) -> slice:
        """The floats of a page, as a slice of the row-major matrix."""
        if self.pages_per_row == 1:
            floats = self.page_bytes // FLOAT32_BYTES
            return slice(page * floats, (page + 1) * floats)
        row, part = divmod(page, self.pages_per_row)
        floats = self.page_bytes // FLOAT32_BYTES
        start = part * floats
        base = row * self.dimension
        return slice(base + start, base + min(start + floats, self.dimension))


def append_vectors(
    view: WriteView, layout: VectorLayout, first_row: int, vectors: NDArray[np.float32]
) -> None:
    """Write `vectors` (n, dimension) as rows `first_row` and following."""
    if not len(vectors):
        return
    per_page = layout.rows_per_page
    kept = first_row % per_page
    start = first_row - kept
    pages = layout.pages(first_row + len(vectors)) - layout.pages(start)
    rows = pages // layout.pages_per_row * per_page
    matrix = np.zeros((rows, layout.dimension), np.float32)
    first_page = layout.pages(start)
    if kept:
        flat = matrix.reshape(-1)
        view.open_into(PageKind.VECTORS, first_page, flat[layout.span(0)])
    matrix[kept : kept + len(vectors)] = vectors
    flat = matrix.reshape(-1)
    for page in range(pages):
        view.seal(PageKind.VECTORS, first_page + page, flat[layout.span(page)])


def open_group(view: ReadView, layout: VectorLayout, group: int, into: NDArray[np.float32]) -> None:
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


def read_vectors(
    view: ReadView, layout: VectorLayout, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Rows (n, dimension) straight from their pages, in any order, past any pool.

    Pages are opened one at a time into one buffer, which is overwritten with zeros in the end.
    """
    out = np.empty((len(rows), layout.dimension), np.float32)
    page = np.empty((layout.rows_per_page, layout.dimension), np.float32)
    for group, places in by_group(layout, rows):
        open_group(view, layout, group, page.reshape(-1))
        # One by one: indexing by an array would leave a copy behind that nobody wipes.
        for place, inside in places:
            out[place] = page[inside]
    page.fill(0)
    return out


def stream_vectors(
    view: ReadView,
    layout: VectorLayout,
    rows: int,
    consume: Callable[[int, NDArray[np.float32]], None],
) -> None:
    """Open all pages of the first `rows` rows, past any pool.

    `consume` gets the number of a first row and the vectors (n, dimension) from there on; see
    `stream_pages`.
    """

    def take(page: int, floats: NDArray[np.float32]) -> None:
        first = page // layout.pages_per_row * layout.rows_per_page
        consume(first, floats.reshape(-1, layout.dimension)[: rows - first])

    pages = layout.pages(rows)
    stream_pages(view, PageKind.VECTORS, pages, layout.pages_per_row, layout.span, np.float32, take)
