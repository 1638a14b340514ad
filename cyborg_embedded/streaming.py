"""Opening many pages at once, on all cores, past any cache."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

    from cyborg_embedded.model import PageKind
    from cyborg_embedded.pages import ReadView, Sealed

__all__ = ["stream_pages"]

STREAM_BYTES = 1 << 19
"""Plaintext that a thread holds at once: what stays in its core's cache."""


def stream_pages(
    view: ReadView,
    kind: PageKind,
    pages: int,
    unit: int,
    span: Callable[[int], slice],
    dtype: DTypeLike,
    consume: Callable[[int, NDArray[Any]], None],
) -> None:
    """Open the first `pages` pages of a kind.

    Pages belong together in units of `unit`; `span` gives the elements of `dtype` that the
    plaintext of page i is, counted from page 0. `consume` gets the number of a first page and the
    elements from there on, in any order, on several threads, in memory that is used again when it
    returns. Raises `IntegrityError`.
    """
    size = span(unit - 1).stop * np.dtype(dtype).itemsize
    step = unit * max(1, STREAM_BYTES // size)
    own = threading.local()

    def work(first: int, sealed: list[Sealed]) -> None:
        if not hasattr(own, "block"):
            own.block = np.empty(span(step - 1).stop, dtype)
        for place, page in enumerate(sealed):
            view.open_sealed_into(kind, first + place, page, own.block[span(place)])
        consume(first, own.block[: span(len(sealed) - 1).stop])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pending = []
        for first in range(0, pages, step):
            sealed = view.sealed_run(kind, first, min(first + step, pages))
            pending.append(pool.submit(work, first, sealed))
        for job in pending:
            job.result()
