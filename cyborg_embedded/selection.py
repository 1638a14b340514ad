"""Which live rows of a commit a filter means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cyborg_embedded.masks import masks
from cyborg_embedded.payloads import decode_metadata
from cyborg_embedded.predicates import EVERYTHING, satisfies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.itemcache import ItemCache
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.predicates import Node
    from cyborg_embedded.session import Session
    from cyborg_embedded.state import State

__all__ = ["Selection", "select"]


class Selection(NamedTuple):
    """The rows (n,) that are meant, how many, and at how many items one had to look for that."""

    mask: NDArray[np.bool_]
    matching: int
    looked_at: int


def select(session: Session, view: ReadView, state: State, node: Node) -> Selection:
    """The live rows that satisfy a filter. Raises `IntegrityError`."""
    if node == EVERYTHING:
        return Selection(state.alive, state.root.live, 0)
    columns = session.columns.get(view, state)
    found = masks(node, columns.by_path, state.root.rows, complete=columns.complete)
    mask = found.sure & state.alive
    looked_at = 0
    if found.sure is not found.maybe:
        doubtful = np.flatnonzero(found.maybe & state.alive & ~mask).tolist()
        looked_at = len(doubtful)
        for row in doubtful:
            mask[row] = satisfies(node, metadata(view, session.items, row))
    return Selection(mask, int(np.count_nonzero(mask)), looked_at)


def metadata(view: ReadView, items: ItemCache, row: int) -> dict[str, Any]:
    """The metadata of a row, empty where it has none. Raises `IntegrityError`."""
    payload = items.payload(view, row, metadata=True, contents=False)
    return decode_metadata(payload.metadata, row) or {}
