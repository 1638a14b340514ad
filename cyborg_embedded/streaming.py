"""Opening many pages at once, past any cache, or making other things, while what was made before is
being used.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from numpy.typing import DTypeLike, NDArray

    from cyborg_embedded.model import PageKind
    from cyborg_embedded.pages import ReadView

    Thing = TypeVar("Thing")
    Made = TypeVar("Made")

__all__ = ["made_ahead", "stream_pages", "submitted"]

STREAM_BYTES = 1 << 19
"""Plaintext that a thread holds at once: what stays in its core's cache."""
CONSUMERS = 2
"""Threads that consume, each with a block of its own, while another one is being filled."""


def stream_pages(
    view: ReadView,
    kind: PageKind,
    pages: int,
    unit: int,
    span: Callable[[int], slice],
    dtype: DTypeLike,
    consume: Callable[[int, NDArray[Any]], None],
    consumers: int = CONSUMERS,
) -> None:
    """Open the first `pages` pages of a kind.

    Pages belong together in units of `unit`; `span` gives the elements of `dtype` that the
    plaintext of page i is, counted from page 0. `consume` gets the number of a first page and the
    elements from there on, in memory that is used again when it returns: in any order on so many
    other threads, or in theirs on this one, where that is 0. Raises `IntegrityError`.
    """
    size = span(unit - 1).stop * np.dtype(dtype).itemsize
    step = unit * max(1, STREAM_BYTES // size)
    free: SimpleQueue[NDArray[Any]] = SimpleQueue()
    for _ in range(consumers + 1):
        free.put(np.empty(span(step - 1).stop, dtype))

    def opened(first: int) -> tuple[int, int, NDArray[Any]]:
        numbers = list(range(first, min(first + step, pages)))
        block = free.get()
        places = [block[span(place)] for place in range(len(numbers))]
        view.open_each_into(kind, numbers, places)
        return first, len(numbers), block

    def work(first: int, count: int, block: NDArray[Any]) -> None:
        try:
            consume(first, block[: span(count - 1).stop])
        finally:
            free.put(block)

    if not consumers:
        for first in range(0, pages, step):
            work(*opened(first))
        return
    # One thread opens, since each page is a short call that lets go of the GIL: several of them
    # would mostly wait for each other. What is done with a block is a few long calls.
    with ThreadPoolExecutor(consumers) as pool:
        pending = [submitted(pool, work, *opened(first)) for first in range(0, pages, step)]
        for job in pending:
            job.result()


def made_ahead(
    make: Callable[[Thing], Made], things: Iterable[Thing]
) -> Generator[Made, None, None]:
    """What is made of each thing, in their order: the next on another thread while the caller does
    something with the last. Raises what `make` raises, at its place.

    To be closed by whoever leaves before its end.
    """
    with ThreadPoolExecutor(1) as worker:
        coming: deque[Future[Made]] = deque()
        for thing in things:
            coming.append(submitted(worker, make, thing))
            if len(coming) > 1:
                yield coming.popleft().result()
        for last in coming:
            yield last.result()


def submitted(
    workers: ThreadPoolExecutor, work: Callable[..., Made], *arguments: Any
) -> Future[Made]:
    """`workers.submit`. When the main thread has ended there are no more threads to be had, though
    others still work: then what is to be done is done here.
    """
    try:
        return workers.submit(work, *arguments)
    except RuntimeError:
        done: Future[Made] = Future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 - it is raised by `result`
            done.set_exception(error)
        return done
