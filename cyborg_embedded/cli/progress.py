"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]

WIDTH = 40
SECONDS = 0.1
"""Between two drawings."""


@contextlib.contextmanager
def progress_bar(label: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """What is to be called with the numbers of items done and to do; None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    bar = Bar(label)
    try:
        yield bar.show
    finally:
        bar.end()


class Bar:
    """A line that is drawn over again, not more often than eyes can follow."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._next = 0.0
        self._drawn = False

    def show(self, done: int, total: int) -> None:
        """Draw the line, if it is time or all is done."""
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + SECONDS
        self._drawn = True
        share = min(1.0, done / total) if total else 1.0
        filled = "#" * int(WIDTH * share)
        sys.stderr.write(f"\r{self._label} [{filled:<{WIDTH}}] {share:4.0%} of {total} items")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line: what comes next stands on one of its own."""
        if self._drawn:
            sys.stderr.write("\n")
            sys.stderr.flush()
