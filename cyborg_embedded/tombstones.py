"""Tombstone pages: one bit a row, 1 = deleted, least significant bit first.

A page always has its full length. Rows beyond the last page are alive: a page is made when the
first row that it covers is deleted (and the pages before it with it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.model import PageKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView, WriteView

__all__ = ["bury", "load_alive", "rows_per_tombstone_page"]


def page_bytes(page_size: int) -> int:
    """The plaintext length of a tombstone page."""
    return page_size - OVERHEAD


def rows_per_tombstone_page(page_size: int) -> int:
    """How many rows a page tells of."""
    return 8 * page_bytes(page_size)


def bury(view: WriteView, rows: NDArray[np.int64], page_size: int) -> None:
    """Mark rows as deleted."""
    if not len(rows):
        return
    length = page_bytes(page_size)
    pages = rows // (8 * length)
    for page in range(view.pages(PageKind.TOMBSTONES), int(pages.max()) + 1):
        view.seal(PageKind.TOMBSTONES, page, bytes(length))
    for page in np.unique(pages).tolist():
        bits = np.empty(length, np.uint8)
        view.open_into(PageKind.TOMBSTONES, page, bits)
        inside = rows[pages == page] - page * 8 * length
        flags = np.unpackbits(bits, bitorder="little")
        flags[inside] = 1
        view.seal(PageKind.TOMBSTONES, page, np.packbits(flags, bitorder="little"))


def load_alive(
    view: ReadView,
    rows: int,
    before: NDArray[np.bool_],
    changed: Iterable[int],
    page_size: int,
) -> NDArray[np.bool_]:
    """Which rows (n,) are alive, from what was known `before` and the pages `changed` since."""
    alive = np.ones(rows, np.bool_)
    alive[: len(before)] = before[:rows]
    span = 8 * page_bytes(page_size)
    for page in changed:
        start = page * span
        stop = min(start + span, rows)
        bits = np.empty(page_bytes(page_size), np.uint8)
        view.open_into(PageKind.TOMBSTONES, page, bits)
        flags = np.unpackbits(bits, bitorder="little")[: max(stop - start, 0)]
        alive[start:stop] = flags == 0
    return alive
