"""An index written anew into another file: its live rows, under other keys or the same ones.

Rows are renumbered without gaps, in their order, so nothing of what was deleted goes along. A saved
graph does where all its nodes live, since then only its row numbers change; columns do where no
number changes. Otherwise they are dropped: derived state, made again when it is next needed. Each
block of rows is a commit of the new file; nobody sees that before it is whole, verified and in its
place.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.columnpages import load_columns, save_columns
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.ids import IdCache, record_all_ids
from cyborg_embedded.itemids import IDS_PER_PAGE, ItemIdPage, append_item_ids
from cyborg_embedded.items import ItemPage, append_copied
from cyborg_embedded.keys import blind
from cyborg_embedded.model import PageKind
from cyborg_embedded.navigation import load_graph, save_graph, stream_codes
from cyborg_embedded.precision import row_bytes
from cyborg_embedded.root import TABLED, Root
from cyborg_embedded.vectors import VectorLayout, append_copied_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from cyborg_embedded.pages import ReadView, WriteView
    from cyborg_embedded.session import Session
    from cyborg_embedded.store import PageStore

    Rows = NDArray[np.int64]

__all__ = ["check_copy", "rewrite", "rewrite_rows"]

UNKNOWN = bytes(TAG_BYTES)
"""The tag of no page."""
BLOCK_BYTES = 32 << 20
"""Vectors that one commit of the new file writes."""


def first_root(root: Root) -> Root:
    """The root of an empty index that is to take the place of one with this root."""
    return Root(
        sequence=root.sequence + 1,
        metric=root.metric,
        dimension=root.dimension,
        precision=root.precision,
        navigator_dimensions=root.navigator_dimensions,
        hidden=root.hidden,
    )


def rewrite(session: Session, target: PageStore, report: Callable[[int, int], None]) -> None:
    """Write what the newest commit of `session` holds into `target`, an empty file.

    The caller keeps others from writing to either. `report` is told of rows done and rows to do.
    Raises `IntegrityError`, `StorageFullError`, and what `report` raises.
    """
    with session.read() as (state, _):
        live = np.flatnonzero(state.alive)

    @contextlib.contextmanager
    def read() -> Iterator[ReadView]:
        with session.read() as (_, source):
            yield source

    rewrite_rows(read, live, target, report)


def rewrite_rows(
    read: Callable[[], AbstractContextManager[ReadView]],
    live: Rows,
    target: PageStore,
    report: Callable[[int, int], None],
    *,
    derived: bool = True,
) -> None:
    """Write some rows, ascending, of the commit whose view `read` gives into `target`, an empty
    file, and what is `derived` from them, as far as it can be taken along. It is no index before
    all of them are there.
    """
    blinded: list[bytes] = []
    with read() as source:
        block = rows_per_block(source)
        snapshot = target.begin_file(first_root(source.snapshot.root))
    for start in range(0, len(live), block):
        report(start, len(live))
        rows = live[start : start + block]
        with read() as source:
            copied = partial(copy_rows, source=source, rows=rows)
            ids, snapshot = target.write(snapshot, copied)
        blinded.append(blind(target.cipher.keys.ids, ids))

    def finish(view: WriteView, source: ReadView) -> None:
        record_all_ids(view, b"".join(blinded))
        if derived:
            copy_graph(view, source, live)
        if derived and len(live) == source.snapshot.root.rows:
            copy_columns(view, source)
        view.header = target.header

    with read() as source:
        target.write(snapshot, lambda view: finish(view, source))
    report(len(live), len(live))


def rows_per_block(source: ReadView) -> int:
    """How many rows a commit copies: whole pages of items and ids."""
    root = source.snapshot.root
    size = row_bytes(root.dimension, root.precision) if root.dimension else 1
    return max(1, min(BLOCK_BYTES // size, 1 << 16) // IDS_PER_PAGE) * IDS_PER_PAGE


def copy_rows(view: WriteView, source: ReadView, rows: Rows) -> list[bytes]:
    """Append rows of another index; their ids."""
    root = view.root
    layout = VectorLayout.of(root.dimension, source.page_size, root.precision)
    ids: list[bytes] = []
    for number in np.unique(rows // IDS_PER_PAGE).tolist():
        page = ItemIdPage(source.open(PageKind.ITEM_IDS, number), number)
        inside = rows[rows // IDS_PER_PAGE == number] % IDS_PER_PAGE
        ids.extend(page.id(slot) for slot in inside.tolist())
    append_item_ids(view, root.rows, ids)
    append_copied_vectors(view, layout, root.rows, source, rows)

    @lru_cache(maxsize=1)
    def open_items(number: int) -> ItemPage:
        return ItemPage(source.open(PageKind.ITEMS, number), number)

    append_copied(view, root.rows, source, rows.tolist(), open_items)
    count = root.rows + len(rows)
    view.root = msgspec.structs.replace(root, rows=count, live=count)
    return ids


def copy_graph(view: WriteView, source: ReadView, live: Rows) -> None:
    """Save the graph of another index, if it has one whose nodes are all among `live`."""
    try:
        graph = load_graph(source)
    except IntegrityError:
        return
    if graph is None or not np.isin(graph.links.rows, live, assume_unique=True).all():
        return
    if np.count_nonzero(live < graph.covered) != len(graph.links.rows):
        return
    covered = int(np.searchsorted(live, graph.covered))
    ranks = np.searchsorted(live, graph.links.rows).astype(np.uint32)
    copied = replace(graph, links=replace(graph.links, rows=ranks), covered=covered)
    if graph.projection is None:
        save_graph(view, copied, None, 0)
        return
    dimensions = graph.projection.dimensions
    codes = np.empty((graph.covered, dimensions), np.int8)

    def take(first: int, part: NDArray[np.int8]) -> None:
        codes[first : first + len(part)] = part

    try:
        stream_codes(source, dimensions, graph.covered, take)
    except IntegrityError:
        return
    kept = codes if covered == graph.covered else codes[live[:covered]]
    save_graph(view, copied, lambda row: kept[row:], 0)


def copy_columns(view: WriteView, source: ReadView) -> None:
    """Save the columns of another index with the same rows, if it has any."""
    try:
        columns = load_columns(source)
    except IntegrityError:
        return
    if columns is None:
        return
    old = source.snapshot.tags.get(PageKind.ITEMS, b"")
    new = view.fresh_tags(PageKind.ITEMS)
    made_of = np.frombuffer(columns.tags, "V16")
    # Pages that the columns were behind with stay pages that they do not know.
    same = made_of == np.frombuffer(old[: len(columns.tags)], "V16")
    tags = [tag if known else UNKNOWN for tag, known in zip(new, same.tolist(), strict=False)]
    save_columns(view, replace(columns, tags=b"".join(tags)))


def check_copy(store: PageStore, rows: int, sequence: int) -> None:
    """See that a store can be read back: every page opens, and it has so many rows and ids.

    Raises `IntegrityError`.
    """
    with store.read(None) as view:
        root = view.snapshot.root
        for kind in TABLED:
            for number in range(view.snapshot.pages(kind)):
                data = view.open(kind, number)
                if kind is PageKind.ITEMS:
                    check_parts(view, ItemPage(data, number))
        known = IdCache().table(view)
        distinct = len(known.sorted.lead) + len(known.unsorted.lead)
    if (root.rows, root.live, distinct) != (rows, rows, rows) or root.sequence <= sequence:
        message = "what was written is not what was read"
        raise IntegrityError(message)


def check_parts(view: ReadView, page: ItemPage) -> None:
    """Open what the items of a page have apart."""
    if page.whole() is None:
        for slot in range(page.count):
            page.payload(view, slot)
