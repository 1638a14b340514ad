"""Navigation pages: what the graph walks on, and everything that goes with a saved graph.

    NAVIGATION   the codes of rows 0, 1, 2, ... (projection.py): one signed byte for each of the m
                 dimensions, as many whole rows in a page as fit, unused bytes zero
    PROJECTION   one byte string (blobs.py): basis (d, m), offset (m), scale (m), stretch (m),
                 row by row, float32 little-endian
    GRAPH        one byte string (links.py)

Rows that are not in the graph have codes of zero. Where the graph
walks the vectors themselves, there are no NAVIGATION and PROJECTION pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.blobs import load_blob, save_blob
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.links import Links, decode, encode
from cyborg_embedded.model import PageKind
from cyborg_embedded.projection import MOST_STRETCH, Projection
from cyborg_embedded.root import GraphRecord
from cyborg_embedded.streaming import stream_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cyborg_embedded.effort import Efforts
    from cyborg_embedded.pages import ReadView, WriteView

    Codes = NDArray[np.int8]

__all__ = [
    "SavedGraph",
    "drop_graph",
    "load_graph",
    "load_projection",
    "rows_per_page",
    "save_graph",
    "stream_codes",
]


@dataclass(frozen=True, slots=True)
class SavedGraph:
    """What is saved of a graph, but for the codes.

    `efforts` and `far` are what was measured of walks (effort.py): beyond what squared distance a
    query is far, in all components of the projection and in the `least`; in vectors; or nothing.
    """

    links: Links
    covered: int
    projection: Projection | None
    efforts: Efforts = ()
    far: tuple[float, ...] = ()


def save_graph(
    view: WriteView, graph: SavedGraph, codes: Callable[[int], Codes] | None, first: int
) -> None:
    """Write a graph in place of any other.

    `codes` gives those of the rows from a number on up to `graph.covered`. Rows below `first` have
    their codes, under this very projection, in the pages already.
    """
    data = encode(graph.links)
    save_blob(view, PageKind.GRAPH, data)
    projection = graph.projection
    dimensions = least = 0
    if projection is None or codes is None:
        view.truncate(PageKind.NAVIGATION, 0)
        view.truncate(PageKind.PROJECTION, 0)
    else:
        dimensions, least = projection.dimensions, projection.least
        parts = (projection.basis, projection.offset, projection.scale, projection.stretch)
        if first == 0:
            save_blob(view, PageKind.PROJECTION, b"".join(part.astype("<f4") for part in parts))
        save_codes(view, codes, first, graph.covered, dimensions)
    record = GraphRecord(graph.covered, len(data), dimensions, least, graph.efforts, graph.far)
    view.root = msgspec.structs.replace(view.root, graph=record)


def drop_graph(view: WriteView) -> None:
    """Have no saved graph."""
    for kind in (PageKind.GRAPH, PageKind.NAVIGATION, PageKind.PROJECTION):
        view.truncate(kind, 0)
    view.root = msgspec.structs.replace(view.root, graph=None)


def load_graph(view: ReadView) -> SavedGraph | None:
    """The saved graph, or None if there is none. Raises `IntegrityError`."""
    record = view.snapshot.root.graph
    if record is None:
        return None
    links = decode(load_blob(view, PageKind.GRAPH, record.bytes), record.rows)
    projection = load_projection(view, record)
    return SavedGraph(links, record.rows, projection, record.efforts, record.far)


def load_projection(view: ReadView, record: GraphRecord) -> Projection | None:
    """The projection of a saved graph; None where it walks the vectors themselves.

    Raises `IntegrityError`.
    """
    walked, dimensions = record.walked, record.dimensions
    if not walked <= dimensions <= view.page_size - OVERHEAD or (dimensions and not walked):
        message = "the dimensions contradict each other, or a row of codes does not fit into a page"
        raise IntegrityError(message, kind="NAVIGATION", number=0)
    if not record.dimensions:
        return None
    d, m = view.snapshot.root.dimension, record.dimensions
    data = load_blob(view, PageKind.PROJECTION, 4 * m * (d + 3)).view("<f4")
    stretches = data[-m:]
    if not (np.isfinite(data).all() and 1 <= stretches.min() <= stretches.max() <= MOST_STRETCH):
        message = "malformed"
        raise IntegrityError(message, kind="PROJECTION", number=0)
    floats = data.astype(np.float32)
    basis, rest = np.split(floats, (d * m,))
    offset, scale, stretch = rest.reshape(3, m)
    return Projection(basis.reshape(d, m), offset, scale, stretch, record.walked)


def rows_per_page(page_size: int, dimensions: int) -> int:
    """How many rows' codes a NAVIGATION page holds."""
    return (page_size - OVERHEAD) // dimensions


def save_codes(
    view: WriteView, codes: Callable[[int], Codes], first: int, last: int, dimensions: int
) -> None:
    """Write the codes of rows `first` to `last` - 1, and of those that share the first's page."""
    per_page = rows_per_page(view.page_size, dimensions)
    start = first - first % per_page
    given = codes(start)
    for row in range(start, last, per_page):
        page = np.zeros((per_page, dimensions), np.int8)
        part = given[row - start : row - start + per_page]
        page[: len(part)] = part
        view.seal(PageKind.NAVIGATION, row // per_page, page)
    view.truncate(PageKind.NAVIGATION, -(-last // per_page))


def stream_codes(
    view: ReadView, dimensions: int, rows: int, consume: Callable[[int, Codes], None]
) -> None:
    """Open the codes of the first `rows` rows; `consume` as in `stream_pages`, with row numbers.

    All on this thread: there is so little to do with codes that another one would not save the
    time in which the two wait for each other.
    """
    per_page = rows_per_page(view.page_size, dimensions)

    def span(page: int) -> slice:
        return slice(page * per_page * dimensions, (page + 1) * per_page * dimensions)

    def take(page: int, codes: NDArray[np.int8]) -> None:
        first = page * per_page
        consume(first, codes.reshape(-1, dimensions)[: rows - first])

    pages = -(-rows // per_page)
    stream_pages(view, PageKind.NAVIGATION, pages, 1, span, np.int8, take, consumers=0)
