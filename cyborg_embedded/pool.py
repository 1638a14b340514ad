"""The pool that holds vectors decrypted: everything that was touched, until it is dropped.

No row is read from it before its page has been opened under the page table of some commit that has
that row.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import squared_norms
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.growing import aligned
from cyborg_embedded.model import PageKind
from cyborg_embedded.precision import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.vectors import VectorLayout

__all__ = ["VectorPool"]

WARMED_AT_ONCE = 512
"""Groups that `warm` opens at a time."""


class Frames:
    """The decrypted pages of a pool, one after another in the order in which they were asked for.

    A *group* is the rows that share a page (or the pages of one row). `slot` says which place of
    the matrix a group has, `valid` how many of its rows are there, `normed` likewise for their
    squared norms. All three only grow, and what is below them never changes: rows are appended to
    a page, never rewritten. `place` says for each row which one of the matrix it is, -1 if none;
    `partial` is `valid` of the groups that are neither empty nor full.
    """

    __slots__ = (
        "flat",
        "matrix",
        "memory",
        "normed",
        "norms",
        "partial",
        "place",
        "slot",
        "used",
        "valid",
    )

    def __init__(self, layout: VectorLayout, groups: int) -> None:
        # Filled densely from the front: what is behind `used` takes no memory.
        self.matrix = aligned((groups * layout.rows_per_page, layout.row_bytes), np.uint8)
        self.flat = self.matrix.reshape(-1)
        self.memory = memoryview(self.flat)
        self.norms = np.empty(len(self.matrix), np.float32)
        self.place = np.full(len(self.matrix), -1)
        self.slot = np.zeros(groups, np.int64)
        self.valid = np.zeros(groups, np.int64)
        self.normed = np.zeros(groups, np.int64)
        self.partial: dict[int, int] = {}
        self.used = 0

    def behind(self, rows: int, per_page: int) -> list[int]:
        """Groups of which not all rows are there that an index of so many rows has."""
        known = list(self.partial.items())  # at one stroke: others may be filling
        return [g for g, count in known if count < min(per_page, rows - g * per_page)]


class VectorPool:
    """Decrypted vectors by row, filled page by page on demand, for all threads of a handle.

    Views of older and newer commits may use it at once: a row, once written, stays as it is, and
    a page is opened under the tag that the asking view expects.
    """

    sealed = False
    """Whether plaintext is wiped after use."""
    block_bytes: int | None = None
    """How much of the vectors a block may hold; None for any."""

    def __init__(self, layout: VectorLayout) -> None:
        self.layout = layout
        self._filling = threading.Lock()
        self._frames = Frames(layout, 0)

    def rows(self, view: ReadView, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors (n, dimension) of `rows`, in their order; a copy."""
        return decode(self._stored(view, rows), self.layout.precision)

    def _stored(self, view: ReadView, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        frames, total, per_page = self._frames, view.snapshot.root.rows, self.layout.rows_per_page
        # A page that has grown is compared with what was known of it before any row is used.
        missing = frames.behind(total, per_page) if frames.partial else []
        if len(frames.place) >= total:
            places = frames.place.take(rows)
            if not missing and len(rows) and places[places.argmin()] >= 0:
                return frames.matrix.take(places, axis=0)
            absent = rows[places < 0]
        else:
            absent = rows
        frames = self._completed(view, missing + (absent // per_page).tolist())
        return frames.matrix.take(frames.place.take(rows), axis=0)

    def warm(self, view: ReadView) -> None:
        """Open every page."""
        groups = np.arange(-(-view.snapshot.root.rows // self.layout.rows_per_page))
        with self._filling:
            self._grown(len(groups))
        # Some at a time: what so many pages need beside their place stays with the process.
        for first in range(0, len(groups), WARMED_AT_ONCE):
            self._filled(view, groups[first : first + WARMED_AT_ONCE])

    def cold(self, rows: int) -> float:
        """The share of the pages of so many rows that are still to be opened."""
        return max(0.0, 1 - self._frames.used * self.layout.rows_per_page / max(1, rows))

    def wipe(self, vectors: NDArray[np.float32]) -> None:
        """Vectors that `rows` gave are no longer wanted. Here they are in the pool anyway."""

    @contextlib.contextmanager
    def block(
        self, view: ReadView, first: int, last: int
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Vectors and squared euclidean norms of rows `first` to `last` - 1, not to be written to
        and not to be kept beyond the with block.
        """
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
            places = frames.place[first:last]
        yield decode(frames.matrix[places], self.layout.precision), frames.norms[places]

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
        if last < len(frames.valid) and not (frames.valid[groups] < wanted).any():
            return frames
        return self._completed(view, groups.tolist())

    def _completed(self, view: ReadView, groups: list[int]) -> Frames:
        """Frames with all rows of these groups, which may be there by now."""
        with self._filling:
            frames = self._grown(max(groups, default=-1) + 1)
            self._fill(view, frames, groups)
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
        new.place[: len(old.place)] = old.place
        new.partial = old.partial
        for name in ("slot", "valid", "normed"):
            getattr(new, name)[:have] = getattr(old, name)
        new.used = old.used
        self._frames = new
        return new

    def _fill(self, view: ReadView, frames: Frames, groups: list[int]) -> None:
        layout, total = self.layout, view.snapshot.root.rows
        per_page, valid = layout.rows_per_page, frames.valid
        fresh: dict[int, int] = {}
        for group, have in zip(groups, valid.take(groups).tolist(), strict=True):
            wanted = min(per_page, total - group * per_page)
            if not have:
                fresh[group] = wanted
            elif valid[group] < wanted:
                self._add(view, frames, group, wanted)
        if not fresh:
            return
        size, parts = per_page * layout.row_bytes, layout.pages_per_row
        first = frames.used * size
        starts = range(first, first + len(fresh) * size, size)
        if parts == 1:
            pages = list(fresh)
            places = [frames.memory[start : start + size] for start in starts]
        else:
            pages = [group * parts + part for group in fresh for part in range(parts)]
            spans = [layout.span(part) for part in range(parts)]
            places = [
                frames.memory[start + span.start : start + span.stop]
                for start in starts
                for span in spans
            ]
        view.open_each_into(PageKind.VECTORS, pages, places)
        numbers, there = np.array(list(fresh)), np.array(list(fresh.values()))
        last = frames.used + len(fresh)
        place = np.arange(frames.used * per_page, last * per_page).reshape(-1, per_page)
        for short in np.flatnonzero(there < per_page).tolist():
            place[short, there[short] :] = -1
            frames.partial[int(numbers[short])] = int(there[short])
        slots, places_of = np.arange(frames.used, last), frames.place.reshape(-1, per_page)
        # Only now may others see them. Nothing is called in between: an interrupt comes before all
        # of this, or after it.
        frames.used = last
        places_of[numbers], frames.slot[numbers], valid[numbers] = place, slots, there

    def _add(self, view: ReadView, frames: Frames, group: int, wanted: int) -> None:
        """Rows that were appended to a page that is there already."""
        layout = self.layout
        have = int(frames.valid[group])
        # Somebody may be reading the rows that are there: open beside them, add the rest.
        page = np.empty(layout.rows_per_page * layout.row_bytes, np.uint8)
        view.open_into(PageKind.VECTORS, group, page[layout.span(0)])
        start = int(frames.slot[group]) * layout.rows_per_page
        fresh = page.reshape(layout.rows_per_page, layout.row_bytes)
        known = frames.matrix[start : start + have]
        if (known != fresh[:have]).any():
            message = "rows that have been read before are not the same"
            raise IntegrityError(message, kind="VECTORS", number=group)
        frames.matrix[start + have : start + wanted] = fresh[have:wanted]
        first = group * layout.rows_per_page
        frames.place[first + have : first + wanted] = range(start + have, start + wanted)
        frames.valid[group] = wanted
        if wanted < layout.rows_per_page:
            frames.partial[group] = wanted
        else:
            frames.partial.pop(group, None)

    def _norm(self, frames: Frames, groups: NDArray[np.int64]) -> None:
        per_page = self.layout.rows_per_page
        with self._filling:
            stale = groups[frames.normed[groups] < frames.valid[groups]]
            # Rows of a slot that are not there yet get a norm that is never asked for.
            for low, high in runs(np.sort(frames.slot[stale])):
                rows = slice(low * per_page, high * per_page)
                with np.errstate(all="ignore"):
                    vectors = decode(frames.matrix[rows], self.layout.precision)
                    frames.norms[rows] = squared_norms(vectors)
            frames.normed[stale] = frames.valid[stale]


def runs(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ascending numbers as half-open runs of consecutive ones."""
    if not len(numbers):
        return []
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(numbers, breaks)]
