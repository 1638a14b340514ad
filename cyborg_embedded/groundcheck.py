"""Everything that was stored, looked at once: every page opened, every table held against others.

    vectors       each is what may be stored under the metric
    ids, items    one of each for every row; what can be read of a live row can be
    id table      leads from the id of each live row to that row, and to no other
    page table    on the disk as the handle has it in memory; so are header, root, tombstones

What is wrong is noted, page by page, and the rest goes on being looked at.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.ids import ABSENT, Blinded, IdCache
from cyborg_embedded.itemids import IDS_PER_PAGE, ItemIdPage
from cyborg_embedded.items import ROWS_PER_PAGE, ItemPage
from cyborg_embedded.keys import blind
from cyborg_embedded.model import PageKind
from cyborg_embedded.payloads import damaged_item, decode_metadata
from cyborg_embedded.precision import decode
from cyborg_embedded.root import chunk_number
from cyborg_embedded.tombstones import load_alive
from cyborg_embedded.vectors import open_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyborg_embedded.ids import IdTable
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.state import State

__all__ = ["Findings", "check_ground"]


@dataclass(slots=True)
class Findings:
    """What has been found so far."""

    report: Callable[[int, int], None]
    total: int
    pages: int = 0
    errors: list[IntegrityError] = field(default_factory=list)
    _told: set[tuple[str | None, int | None, str]] = field(default_factory=set)

    def went(self, pages: int = 1) -> None:
        """So many more pages have been looked at."""
        self.pages += pages
        self.report(min(self.pages, self.total), self.total)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """A with block whose `IntegrityError` is noted, once for each page that it is about."""
        try:
            yield
        except IntegrityError as error:
            what = (error.kind, error.number, str(error))
            if what not in self._told:
                self._told.add(what)
                self.errors.append(error)


def check_ground(view: ReadView, state: State, findings: Findings) -> None:
    """Look at all ground state of the commit of `view`."""
    check_tree(view, findings)
    check_tombstones(view, state, findings)
    table: IdTable | None = None
    with findings.noting():
        table = IdCache().table(view)
        if table.count() != state.root.live:
            message = "the ids are not as many as the live rows"
            raise IntegrityError(message, kind="IDS", number=0)
    findings.went(view.snapshot.pages(PageKind.IDS))
    check_vectors(view, state, findings)
    rows = state.root.rows
    for number in range(-(-rows // IDS_PER_PAGE)):
        with findings.noting():
            check_ids(view, state, table, number)
        findings.went()
    for number in range(-(-rows // ROWS_PER_PAGE)):
        with findings.noting():
            check_items(view, state, number, findings)
        findings.went()
    for kind, per_page in ((PageKind.ITEM_IDS, IDS_PER_PAGE), (PageKind.ITEMS, ROWS_PER_PAGE)):
        with findings.noting():
            check_count(view, kind, -(-rows // per_page))


def check_tree(view: ReadView, findings: Findings) -> None:
    """Header, root and page table are on the disk as the handle has them in memory."""
    with findings.noting():
        view.check_top()
    for kind, table in view.snapshot.root.tables.items():
        for at in range(0, len(table.chunks), TAG_BYTES):
            number = chunk_number(kind, at // TAG_BYTES)
            with findings.noting():
                view.open_bound(PageKind.TABLE, number, table.chunks[at : at + TAG_BYTES])


def check_tombstones(view: ReadView, state: State, findings: Findings) -> None:
    """So are the tombstones. That they are as many as the root says is seen when they are read."""
    for page in range(view.snapshot.pages(PageKind.TOMBSTONES)):
        with findings.noting():
            load_alive(view, state.root.rows, state.alive, [page], view.page_size)
        findings.went()


def check_count(view: ReadView, kind: PageKind, pages: int) -> None:
    """See that a kind has so many pages. Raises `IntegrityError`."""
    if view.snapshot.pages(kind) != pages:
        message = "there are more or fewer pages than there should be"
        raise IntegrityError(message, kind=kind.name, number=0)


def check_vectors(view: ReadView, state: State, findings: Findings) -> None:
    """Vectors are finite, and have a length where the metric needs one."""
    if state.pool is None:
        with findings.noting():
            check_count(view, PageKind.VECTORS, 0)
        return
    layout, rows = state.pool.layout, state.root.rows
    with findings.noting():
        check_count(view, PageKind.VECTORS, layout.pages(rows))
    stored = np.empty((layout.rows_per_page, layout.row_bytes), np.uint8)
    for group in range(-(-rows // layout.rows_per_page)):
        with findings.noting():
            open_group(view, layout, group, stored.reshape(-1))
            vectors = decode(stored[: rows - group * layout.rows_per_page], layout.precision)
            norms = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
            sound = np.isfinite(norms).all()
            if not sound or (state.root.metric == "cosine" and not norms.all()):
                message = "a vector that cannot have been stored"
                raise IntegrityError(message, kind="VECTORS", number=group * layout.pages_per_row)
        findings.went(layout.pages_per_row)
    stored.fill(0)


def check_ids(view: ReadView, state: State, table: IdTable | None, number: int) -> None:
    """The ids of a page are text, and the id table leads to their rows, where they are alive."""
    page = ItemIdPage(view.open(PageKind.ITEM_IDS, number), number)
    first = number * IDS_PER_PAGE
    page.check_count(min(state.root.rows - first, IDS_PER_PAGE))
    for slot in range(page.count):
        page.text(slot)
    if table is None:
        return
    rows = np.arange(first, first + page.count)
    alive = state.alive[first : first + page.count]
    ids = page.ids()
    # Of two rows with one id at most one lives; each is asked for once.
    distinct = list(dict.fromkeys(ids))
    found = dict(
        zip(
            distinct,
            table.find(Blinded.of(blind(view.keys.ids, distinct))).tolist(),
            strict=True,
        )
    )
    leads = np.array([found[item_id] for item_id in ids], np.int64)
    wrong = np.where(alive, leads != rows, leads == rows)
    if wrong.any() or (leads >= state.root.rows).any():
        message = "the ids and the rows contradict each other"
        raise IntegrityError(message, kind="ITEM_IDS", number=number)
    elsewhere = leads[~alive & (leads != ABSENT)]
    if not state.alive[elsewhere].all():
        message = "an id leads to a row that is dead"
        raise IntegrityError(message, kind="ITEM_IDS", number=number)


def check_items(view: ReadView, state: State, number: int, findings: Findings) -> None:
    """The items of a page that live can be read, with all that they have apart."""
    page = ItemPage(view.open(PageKind.ITEMS, number), number)
    first = number * ROWS_PER_PAGE
    page.check_count(min(state.root.rows - first, ROWS_PER_PAGE))
    for slot in np.flatnonzero(state.alive[first : first + page.count]).tolist():
        # Each apart, since either may stand on a damaged page of its own.
        with findings.noting():
            metadata = page.payload(view, slot, contents=False).metadata
            decode_metadata(metadata, first + slot)
        with findings.noting():
            payload = page.payload(view, slot, metadata=False)
            if payload.is_text and payload.contents is not None:
                try:
                    payload.contents.decode()
                except UnicodeDecodeError:
                    raise damaged_item(first + slot) from None
