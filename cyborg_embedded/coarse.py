"""Short codes of all rows, for finding the nearest of some without a walk.

A filter may leave so few rows that a walk through the graph hardly meets any, and still too many to
measure each. Their first components (projection.py), one byte each, say which of them are near:

    |q - x|² = |q|² + |x|² - 2⟨q, x⟩,   ⟨q, x⟩ ≈ Σ q_i x_i over the first components

with |x|² from all stored components, which counts what the others add to the distance on average,
and q stretched as for a walk in all of them (projection.py).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import prepare
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.growing import with_room
from cyborg_embedded.model import PageKind
from cyborg_embedded.navigation import load_projection, stream_codes
from cyborg_embedded.smallest import where_smallest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.projection import Projection
    from cyborg_embedded.state import State

    Codes = NDArray[np.int8]
    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]

__all__ = ["Coarse", "CoarseSlot"]

FIRST_SHARE, STEP = 3, 16
"""The first components are one in so many of those that the graph walks, in steps."""
KEPT_SHARE, KEPT = 4, 4
"""By the first components one row in so many is kept, and so many for each that is looked for."""
ENCODED_AT_ONCE = 4096
PRODUCT = 1 << 17
"""Codes times components at once: for one query so many that OpenBLAS stays on its thread."""


@dataclass(frozen=True, slots=True, repr=False)
class Coarse:
    """Codes of rows 0 to n - 1: the first components of each (n, c), those after them that the
    graph walks too (n, w - c), and the squared norms (n,) of all that are stored.

    `deaths` is how many rows were dead when they were made: such rows have no codes.
    """

    projection: Projection
    first: Codes
    second: Codes
    norms: Floats
    deaths: int
    tags: bytes

    def nearest(self, points: Floats, rows: Rows, count: int) -> Rows:
        """Of `rows` those `count` that seem to be nearest to each of some points (m, all
        components), (m, count), in no order.
        """
        m = len(points)
        if len(rows) <= count:
            return np.broadcast_to(rows, (m, len(rows)))
        split, walked = self.first.shape[1], self.projection.least
        weights = points[:, :walked] * (np.float32(-2) * self.projection.scale[:walked])
        distances = self.norms.take(rows)
        if m == 1:
            weights = weights[0]
            add_products(distances, self.first, rows, weights[:split])
            kept = max(len(rows) // KEPT_SHARE, KEPT * count)
            if kept < len(rows):
                near = where_smallest(distances[None], kept)[0]
                rows, distances = rows[near], distances[near]
            add_products(distances, self.second, rows, weights[split:])
            return rows[where_smallest(distances[None], count)]
        each = np.empty((m, len(rows)), np.float32)
        step = max(1, PRODUCT // walked)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            codes = (self.first.take(part, axis=0), self.second.take(part, axis=0))
            points_of = np.concatenate(codes, axis=1, dtype=np.float32)
            np.matmul(weights, points_of.T, out=each[:, start : start + step])
        each += distances
        return rows.take(where_smallest(each, count))


def add_products(distances: Floats, codes: Codes, rows: Rows, weights: Floats) -> None:
    """Add to the distances (n,) of rows the products of their codes with weights."""
    step = max(1, PRODUCT // max(1, codes.shape[1]))
    for start in range(0, len(rows), step):
        part = codes.take(rows[start : start + step], axis=0).astype(np.float32)
        distances[start : start + step] += part @ weights


class CoarseSlot:
    """The short codes of a handle: made when they are first asked for. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coarse: Coarse | None = None

    def get(self, view: ReadView, state: State) -> Coarse | None:
        """Codes of all rows of `state`; None where the saved graph walks the vectors themselves,
        or there is none, or there were deletions that `state` does not know.

        Raises `IntegrityError` for damaged vectors.
        """
        tags, rows = view.snapshot.tags.get(PageKind.PROJECTION, b""), state.root.rows
        known = self._coarse
        if known is None or known.tags != tags or len(known.norms) < rows:
            with self._lock:
                known = self._coarse
                if known is None or known.tags != tags:
                    known = load(view, state, tags)
                if known is not None and len(known.norms) < rows:
                    known = extended(known, view, state)
                self._coarse = known
        return None if known is None or known.deaths > state.deaths else known

    @property
    def known(self) -> bool:
        """Whether there are some in memory."""
        return self._coarse is not None

    def clear(self) -> None:
        """Forget them."""
        self._coarse = None


def load(view: ReadView, state: State, tags: bytes) -> Coarse | None:
    """The codes of the rows that the saved graph covers."""
    record = state.root.graph
    try:
        projection = None if record is None else load_projection(view, record)
        if projection is None or record is None:
            return None
        walked = projection.least
        split = min(walked, max(STEP, walked // FIRST_SHARE // STEP * STEP))
        first = np.empty((record.rows, split), np.int8)
        second = np.empty((record.rows, walked - split), np.int8)
        norms = np.empty(record.rows, np.float32)

        def take(start: int, part: Codes) -> None:
            stop = start + len(part)
            first[start:stop], second[start:stop] = part[:, :split], part[:, split:walked]
            norms[start:stop] = projection.norms(part)

        stream_codes(view, projection.dimensions, record.rows, take)
    except IntegrityError:
        # A damaged graph counts as none; see `NavigatorSlot`.
        return None
    return Coarse(projection, first, second, norms, state.deaths, tags)


def extended(known: Coarse, view: ReadView, state: State) -> Coarse:
    """Codes of the rows of `state` too, from their vectors."""
    have, rows, projection = len(known.norms), state.root.rows, known.projection
    split, walked, pool = known.first.shape[1], projection.least, state.pool
    if pool is None:
        return known
    first, second = with_room(known.first, rows), with_room(known.second, rows)
    norms = with_room(known.norms, rows)
    for start in range(have, rows, ENCODED_AT_ONCE):
        stop = min(start + ENCODED_AT_ONCE, rows)
        vectors = pool.rows(view, np.arange(start, stop))
        part = projection.encode(prepare(vectors, state.root.metric, vectors))
        pool.wipe(vectors)
        first[start:stop], second[start:stop] = part[:, :split], part[:, split:walked]
        norms[start:stop] = projection.norms(part)
    return Coarse(projection, first, second, norms, known.deaths, known.tags)
