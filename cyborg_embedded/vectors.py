"""Vector pages, and the pool that holds them decrypted.

A page holds R whole rows of float32, little-endian; unused rows are zero. It takes the fewest
blocks of LMDB's, two at least, of which rows fill 90 %; where no number of them up to a large page
does, the number that rows fill best: a query wants single rows of many pages, and should open as
little beside them as it can. A row longer than a large page is cut over P large pages, the last
one shorter. Row r lies in page r // R, or in pages r·P to r·P + P - 1.

The length of a page follows from the dimension alone, and rows are contiguous in the plaintext, so
the pool is one float32 matrix and a page is decrypted from LMDB's map straight to its place in it.
Everything that was touched stays until the pool is dropped. No row is read from it before its page
has been opened under the page table of some commit that has that row.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.distance import squared_norms
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import PageKind
from cyborg_embedded.streaming import stream_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView, WriteView

__all__ = ["VectorLayout", "VectorPool", "append_vectors", "read_vectors", "stream_vectors"]

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


def read_vectors(
    view: ReadView, layout: VectorLayout, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Rows (n, dimension) straight from their pages, in any order, past any pool."""
    out = np.empty((len(rows), layout.dimension), np.float32)
    per_page = layout.rows_per_page
    block = np.empty((per_page, layout.dimension), np.float32)
    flat = block.reshape(-1)
    groups = rows // per_page
    for group in np.unique(groups).tolist():
        for part in range(layout.pages_per_row):
            page = group * layout.pages_per_row + part
            view.open_into(PageKind.VECTORS, page, flat[layout.span(part)])
        here = groups == group
        out[here] = block[rows[here] - group * per_page]
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


class Frames:
    """The decrypted pages of a pool, one after another in the order in which they were asked for.

    A *group* is the rows that share a page (or the pages of one row). `slot` says which place of
    the matrix a group has, `valid` how many of its rows are there, `normed` likewise for their
    squared norms. All three only grow, and what is below them never changes: rows are appended to
    a page, never rewritten.
    """

    __slots__ = ("flat", "matrix", "normed", "norms", "slot", "used", "valid")

    def __init__(self, layout: VectorLayout, groups: int) -> None:
        # Filled densely from the front: what is behind `used` takes no memory.
        self.matrix = np.empty((groups * layout.rows_per_page, layout.dimension), np.float32)
        self.flat = self.matrix.reshape(-1)
        self.norms = np.empty(len(self.matrix), np.float32)
        self.slot = np.zeros(groups, np.int64)
        self.valid = np.zeros(groups, np.int64)
        self.normed = np.zeros(groups, np.int64)
        self.used = 0


class VectorPool:
    """Decrypted vectors by row, filled page by page on demand, for all threads of a handle.

    Views of older and newer commits may use it at once: a row, once written, stays as it is, and
    a page is opened under the tag that the asking view expects.
    """

    def __init__(self, layout: VectorLayout) -> None:
        self.layout = layout
        self._filling = threading.Lock()
        self._frames = Frames(layout, 0)

    def rows(self, view: ReadView, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors (n, dimension) of `rows`, in their order; a copy."""
        per_page = self.layout.rows_per_page
        groups = rows // per_page
        frames = self._filled(view, groups)
        return frames.matrix.take(
            frames.slot[groups] * per_page + (rows - groups * per_page), axis=0
        )

    def block(
        self, view: ReadView, first: int, last: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors and squared euclidean norms of rows `first` to `last` - 1, not to be written."""
        per_page = self.layout.rows_per_page
        groups = np.arange(first // per_page, -(-last // per_page))
        frames = self._filled(view, groups)
        if (frames.normed[groups] < self._wanted(view, groups)).any():
            self._norm(frames, groups)
        slots = frames.slot[groups]
        if (slots[1:] - slots[:-1] == 1).all():
            start = int(slots[0]) * per_page + first % per_page if len(slots) else 0
            places: slice | NDArray[np.int64] = slice(start, start + last - first)
        else:
            rows = np.arange(first, last)
            places = frames.slot[rows // per_page] * per_page + rows % per_page
        return frames.matrix[places], frames.norms[places]

    def _wanted(self, view: ReadView, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows of each group the commit of `view` has."""
        per_page = self.layout.rows_per_page
        return np.minimum(view.snapshot.root.rows - groups * per_page, per_page)

    def _filled(self, view: ReadView, groups: NDArray[np.int64]) -> Frames:
        """Frames in which all rows of these groups, in any order, are there."""
        frames = self._frames
        if not len(groups):
            return frames
        last = int(groups.max())
        if last < len(frames.valid) and frames.valid[groups].min() == self.layout.rows_per_page:
            return frames
        wanted = self._wanted(view, groups)
        if last >= len(frames.valid) or (frames.valid[groups] < wanted).any():
            with self._filling:
                frames = self._grown(last + 1)
                missing = np.flatnonzero(frames.valid[groups] < wanted)
                self._fill(view, frames, groups[missing].tolist(), wanted[missing].tolist())
        return frames

    def _grown(self, groups: int) -> Frames:
        """Frames with room for so many groups. Readers of the old ones find all they asked for."""
        old = self._frames
        have = len(old.valid)
        if groups <= have:
            return old
        # A quarter more than needed, so that a growing index copies each page O(1) times.
        new = Frames(self.layout, groups + groups // 4 + 8)
        rows = old.used * self.layout.rows_per_page
        new.matrix[:rows] = old.matrix[:rows]
        new.norms[:rows] = old.norms[:rows]
        for name in ("slot", "valid", "normed"):
            getattr(new, name)[:have] = getattr(old, name)
        new.used = old.used
        self._frames = new
        return new

    def _fill(self, view: ReadView, frames: Frames, groups: list[int], wanted: list[int]) -> None:
        layout, flat = self.layout, frames.flat
        for group, count in zip(groups, wanted, strict=True):
            if frames.valid[group]:
                self._add(view, frames, group, count)
        counts = {g: c for g, c in zip(groups, wanted, strict=True) if frames.valid[g] < c}
        fresh = list(counts)
        floats, parts = layout.rows_per_page * layout.dimension, layout.pages_per_row
        start, stop = frames.used * floats, (frames.used + len(fresh)) * floats
        if parts == 1:
            pages = fresh
            places = [flat[place : place + floats] for place in range(start, stop, floats)]
        else:
            pages = [group * parts + part for group in fresh for part in range(parts)]
            spans = [layout.span(part) for part in range(parts)]
            places = [
                flat[place:stop][span] for place in range(start, stop, floats) for span in spans
            ]
        view.open_each_into(PageKind.VECTORS, pages, places)
        frames.slot[fresh] = np.arange(frames.used, frames.used + len(fresh))
        frames.valid[fresh] = list(counts.values())
        frames.used += len(fresh)

    def _add(self, view: ReadView, frames: Frames, group: int, wanted: int) -> None:
        """Rows that were appended to a page that is there already."""
        layout = self.layout
        have = int(frames.valid[group])
        # Somebody may be reading the rows that are there: open beside them, add the rest.
        page = np.empty(layout.rows_per_page * layout.dimension, np.float32)
        view.open_into(PageKind.VECTORS, group, page[layout.span(0)])
        start = int(frames.slot[group]) * layout.rows_per_page
        fresh = page.reshape(layout.rows_per_page, layout.dimension)
        known = frames.matrix[start : start + have]
        if (known.view(np.uint32) != fresh[:have].view(np.uint32)).any():
            message = "rows that have been read before are not the same"
            raise IntegrityError(message, kind="VECTORS", number=group)
        frames.matrix[start + have : start + wanted] = fresh[have:wanted]
        frames.valid[group] = wanted

    def _norm(self, frames: Frames, groups: NDArray[np.int64]) -> None:
        per_page = self.layout.rows_per_page
        with self._filling:
            stale = groups[frames.normed[groups] < frames.valid[groups]]
            # Rows of a slot that are not there yet get a norm that is never asked for.
            for low, high in runs(np.sort(frames.slot[stale])):
                rows = slice(low * per_page, high * per_page)
                with np.errstate(all="ignore"):
                    frames.norms[rows] = squared_norms(frames.matrix[rows])
            frames.normed[stale] = frames.valid[stale]


def runs(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ascending numbers as half-open runs of consecutive ones."""
    if not len(numbers):
        return []
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(numbers, breaks)]
