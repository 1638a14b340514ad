"""The columns of a handle, kept up with the commits that it reads.

Columns say which ITEMS pages they were made of, by their tags. So what a commit has changed is what
the page table shows, and columns that were saved at some time are never wrong, only behind.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cyborg_embedded.aead import TAG_BYTES
from cyborg_embedded.column import updated
from cyborg_embedded.columnpages import Columns, load_columns
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.fields import Found, Gathered
from cyborg_embedded.items import ROWS_PER_PAGE, ItemPage
from cyborg_embedded.model import PageKind
from cyborg_embedded.payloads import damaged_item
from cyborg_embedded.root import changed_pages

if TYPE_CHECKING:
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.state import State

__all__ = ["NO_COLUMNS", "ColumnSlot", "refreshed"]

NO_COLUMNS = Columns(b"", 0, {}, complete=True)
PAGES_AT_ONCE = 32
UNSAVED_SHARE, UNSAVED_PAGES = 0.125, 256
"""The share of item pages, and how many, that the saved columns may not know, and still not be
replaced."""

items_decoder = msgspec.json.Decoder(list[dict[str, Any]])


class ColumnSlot:
    """The columns of a handle: loaded when they are first asked for. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._columns: Columns | None = None
        self._saved = b""
        """The tags of the item pages that the saved columns were made of, as far as it is known."""
        self.damaged = False
        self.settled: tuple[bytes, bool] | None = None
        """The tags of the item pages for which it was last seen whether to save, and how closely.
        """

    @property
    def known(self) -> Columns | None:
        """The columns, if they are in memory."""
        return self._columns

    def get(self, view: ReadView, state: State) -> Columns:
        """The columns of `state`, which `view` is of. Raises `IntegrityError` for damaged items."""
        tags = view.snapshot.tags.get(PageKind.ITEMS, b"")
        known = self._columns
        if known is None or known.tags != tags or known.deaths > state.deaths:
            with self._lock:
                known = self._columns
                if known is None:
                    known = self._load(view)
                if known.deaths > state.deaths:
                    # They lack rows that have died since, and nobody else is as far behind.
                    return refreshed(view, state, NO_COLUMNS)
                if known.tags != tags:
                    known = refreshed(view, state, known)
                self._columns = known
        return known

    def _load(self, view: ReadView) -> Columns:
        try:
            saved = load_columns(view)
        except IntegrityError:
            # Whatever they hold is in the items too.
            self.damaged = True
            saved = None
        if saved is None:
            return NO_COLUMNS
        self._saved = saved.tags
        return saved

    def note_saved(self, columns: Columns) -> None:
        """These are the saved ones now."""
        self._saved, self.damaged = columns.tags, False

    def lacks(self, tags: bytes) -> bool:
        """Whether the saved columns, as far as is known, are of other item pages than these."""
        return self._saved != tags

    def pays(self, tags: bytes) -> bool:
        """Whether the saved columns, as far as is known, lack enough of the item pages with these
        tags for saving to pay.
        """
        if len(tags) < UNSAVED_PAGES * TAG_BYTES:
            return False
        enough = max(UNSAVED_PAGES, UNSAVED_SHARE * len(tags) // TAG_BYTES)
        # This is asked after every write: pages that are new need not be looked at one by one.
        if len(tags) - len(self._saved) >= enough * TAG_BYTES:
            return True
        return len(changed_pages(tags, self._saved)) >= enough

    def clear(self) -> None:
        """Forget everything."""
        self._columns, self._saved = None, b""


def refreshed(view: ReadView, state: State, known: Columns) -> Columns:
    """The columns of `state`, from those of an earlier or later one. Raises `IntegrityError`."""
    root = view.snapshot.root
    rows, tags = root.rows, view.snapshot.tags.get(PageKind.ITEMS, b"")
    pages = [page for page in changed_pages(tags, known.tags) if page * ROWS_PER_PAGE < rows]
    gathered = Gathered(known.by_path, root.hidden, complete=known.complete)
    changed = []
    for start in range(0, len(pages), PAGES_AT_ONCE):
        numbers: list[int] = []
        encoded: list[bytes] = []
        for page in pages[start : start + PAGES_AT_ONCE]:
            first = page * ROWS_PER_PAGE
            last = min(first + ROWS_PER_PAGE, rows)
            numbers.extend(range(first, last))
            encoded.extend(metadata_of(view, page, state.alive[first:last].tolist()))
        gathered.add(numbers, decoded(encoded, numbers))
        changed.append(np.array(numbers))
    all_changed = np.concatenate(changed) if changed else np.empty(0, np.int64)
    first_changed = int(all_changed[0]) if len(all_changed) else rows
    by_path = {}
    for path in dict.fromkeys([*known.by_path, *gathered.paths]):
        found = gathered.paths.get(path)
        column = known.by_path.get(path)
        # Rows beyond the end of a column have nothing in it.
        if found is None and column is not None and known.rows <= first_changed:
            by_path[path] = column
            continue
        made = updated(column, rows, all_changed, found or Found())
        if made is not None:
            by_path[path] = made
    return Columns(tags, rows, by_path, gathered.complete, max(known.deaths, state.deaths))


def metadata_of(view: ReadView, number: int, alive: list[bool]) -> list[bytes]:
    """The encoded metadata of the rows of a page: of a dead one it may be gone."""
    page = ItemPage(view.open(PageKind.ITEMS, number), number)
    page.check_count(len(alive))
    return [
        page.payload(view, slot, contents=False).metadata or b"{}" if lives else b"{}"
        for slot, lives in enumerate(alive)
    ]


def decoded(encoded: list[bytes], rows: list[int]) -> list[dict[str, Any]]:
    """Metadata, all at once. Raises `IntegrityError`."""
    try:
        items = items_decoder.decode(b"[" + b",".join(encoded) + b"]")
    except (ValueError, RecursionError):
        items = []
    if len(items) != len(rows):
        raise damaged_item(rows[0])
    return items
