"""Sharing the one width of a beam that hnswlib has for all threads.

It is set by who comes first, and shared by those who want the same one. Whoever wants another one
meanwhile asks hnswlib for all rows of his beam: that makes it as wide, for him alone, and takes a
little longer. Nobody ever gets a beam that is narrower than he asked for.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Beams"]


class Beams:
    """Who uses the width that is set, and what it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = self._users = 0

    def enter(self, setter: Callable[[int], object], width: int, *, alone: bool) -> bool:
        """Whether the width is this one now, until `leave`; `setter` sets it. `alone`: nobody else
        is walking, so whoever has not left was interrupted.
        """
        with self._lock:
            if alone:
                self._users = 0
            if self._users and self._width != width:
                return False
            if self._width != width:
                setter(width)
                self._width = width
            self._users += 1
            return True

    def leave(self) -> None:
        """Let others set it."""
        with self._lock:
            self._users -= 1
