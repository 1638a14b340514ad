"""What a handle keeps in memory beside the commit that it knows: all of it can be made again."""

from __future__ import annotations

from cyborg_embedded.coarse import CoarseSlot
from cyborg_embedded.columnset import ColumnSlot
from cyborg_embedded.ids import IdCache
from cyborg_embedded.itemcache import ItemCache

__all__ = ["Caches"]


class Caches:
    """Plaintext of items, ids, columns and codes, each kept up by tags. Threads may share it."""

    def __init__(self) -> None:
        self.items = ItemCache()
        self.ids = IdCache()
        self.columns = ColumnSlot()
        self.codes = CoarseSlot()
        self.spared: dict[str, float] = {}
        """Microseconds that ways to search would have spared so far, had they been ready."""

    def forget(self) -> None:
        """Drop all of it."""
        self.items.clear()
        self.ids.clear()
        self.columns.clear()
        self.codes.clear()
