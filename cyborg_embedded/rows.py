"""What upsert and delete change: rows, items, ids and tombstones, inside one write transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cyborg_embedded.batch import check_dimension
from cyborg_embedded.errors import IntegrityError, InvalidInputError
from cyborg_embedded.ids import ABSENT, Blinded, record_ids
from cyborg_embedded.itemids import IDS_PER_PAGE, ItemIdPage, append_item_ids
from cyborg_embedded.items import ROWS_PER_PAGE, ItemPage, drop_overflow, write_items
from cyborg_embedded.keys import blind
from cyborg_embedded.model import MAX_ROWS, PageKind
from cyborg_embedded.precision import encode
from cyborg_embedded.tombstones import bury
from cyborg_embedded.vectors import VectorLayout, append_vectors, read_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cyborg_embedded.batch import Batch
    from cyborg_embedded.ids import IdCache
    from cyborg_embedded.pages import ReadView, WriteView
    from cyborg_embedded.state import State

    Rows = NDArray[np.int64]

__all__ = ["delete", "find_rows", "upsert"]


def upsert(view: WriteView, state: State, cache: IdCache, batch: Batch) -> None:
    """Write a checked, non-empty batch.

    An item whose id and stored vector are there already keeps its row; any other replaced item
    gets a new row, and its old one is buried. Raises `InvalidInputError` if the dimension has been
    set to another one meanwhile, or the index is full.
    """
    root = view.root
    dimension = root.dimension or batch.vectors.shape[1]
    check_dimension(batch.vectors, dimension)
    if root.rows + len(batch) > MAX_ROWS:
        message = f"the index has room for {MAX_ROWS} rows, deleted ones included"
        raise InvalidInputError(message)
    layout = VectorLayout.of(dimension, view.page_size, root.precision)
    stored = encode(batch.vectors, root.precision)
    blinded = Blinded.of(blind(view.keys.ids, batch.ids))
    table = cache.table(view)
    found = table.find(blinded)
    known = found != ABSENT
    check_found(view, state, found, batch.ids)

    kept = known.copy()
    if known.any():
        # Bit for bit: -0.0 is not 0.0 to the one who reads it back.
        same = read_stored(view, layout, found[known]) == stored[known]
        kept[known] = same.all(axis=1)
    moved = np.flatnonzero(~kept)
    rows = found.copy()
    rows[moved] = np.arange(root.rows, root.rows + len(moved))

    append_vectors(view, layout, root.rows, stored[moved])
    append_item_ids(view, root.rows, [batch.ids[place] for place in moved.tolist()])
    payloads = dict(zip(rows.tolist(), batch.payloads, strict=True))
    write_items(view, root.rows, payloads)
    forget(view, found[known & ~kept])
    record_ids(view, table, blinded.select(~kept), rows[moved])
    view.root = msgspec.structs.replace(
        view.root,
        dimension=dimension,
        rows=root.rows + len(moved),
        live=root.live + int((~known).sum()),
    )


def delete(view: WriteView, state: State, cache: IdCache, ids: Sequence[bytes]) -> int:
    """Delete the items of these distinct ids; how many there were."""
    blinded = Blinded.of(blind(view.keys.ids, ids))
    table = cache.table(view)
    found = table.find(blinded)
    known = found != ABSENT
    if not known.any():
        return 0
    check_found(view, state, found, ids)
    forget(view, found[known])
    deleted = int(known.sum())
    record_ids(view, table, blinded.select(known), np.full(deleted, ABSENT))
    view.root = msgspec.structs.replace(view.root, live=view.root.live - deleted)
    return deleted


def find_rows(view: ReadView, state: State, cache: IdCache, ids: Sequence[bytes]) -> Rows:
    """The rows (n,) of distinct ids, `ABSENT` where an id is absent. Raises `IntegrityError`."""
    found = cache.table(view).find(Blinded.of(blind(view.keys.ids, ids)))
    check_found(view, state, found, ids)
    return found


def check_found(view: ReadView, state: State, found: Rows, ids: Sequence[bytes]) -> None:
    """See that every row found is alive and carries the id that led to it: `IntegrityError`."""
    places = np.flatnonzero(found != ABSENT)
    rows = found[places]
    if (rows >= state.root.rows).any() or not state.alive[rows].all():
        raise contradiction(int(rows[0]) // IDS_PER_PAGE)
    pages: dict[int, ItemIdPage] = {}
    for place, row in zip(places.tolist(), rows.tolist(), strict=True):
        number, slot = divmod(row, IDS_PER_PAGE)
        page = pages.get(number)
        if page is None:
            page = pages[number] = ItemIdPage(view.open(PageKind.ITEM_IDS, number), number)
        if page.id(slot) != ids[place]:
            raise contradiction(number)


def contradiction(number: int) -> IntegrityError:
    """The error for an id page that leads to a row that is not that id's."""
    message = "the ids and the rows contradict each other"
    return IntegrityError(message, kind="ITEM_IDS", number=number)


def forget(view: WriteView, rows: Rows) -> None:
    """Bury rows, and remove the pages that only their items name."""
    pages: dict[int, list[int]] = {}
    for row in rows.tolist():
        pages.setdefault(row // ROWS_PER_PAGE, []).append(row)
    for number, members in pages.items():
        page = ItemPage(view.open(PageKind.ITEMS, number), number)
        for row in members:
            drop_overflow(view, row, page.record(row % ROWS_PER_PAGE))
    bury(view, rows, view.page_size)
