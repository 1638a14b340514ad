"""From rows to what a caller sees: ids, metadata, contents, vectors as Python values."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.model import FORMAT_VERSION
from cyborg_embedded.payloads import damaged_item, decode_metadata
from cyborg_embedded.schema import described

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.itemcache import ItemCache
    from cyborg_embedded.model import Metric, Precision
    from cyborg_embedded.pages import ReadView
    from cyborg_embedded.planner import Strategy
    from cyborg_embedded.schema import FieldSchema
    from cyborg_embedded.state import State
    from cyborg_embedded.store import PageStore

__all__ = [
    "ITEM_FIELDS",
    "IndexDescription",
    "Item",
    "QueryPlan",
    "Result",
    "check_include",
    "describe_rows",
    "describe_state",
]

ITEM_FIELDS = frozenset({"vector", "metadata", "contents"})


class Item(TypedDict, total=False):
    """What `get` returns for an item: `id`, and what was included."""

    id: str
    vector: NDArray[np.float32]
    metadata: dict[str, Any] | None
    contents: str | bytes | None


class Result(Item, total=False):
    """What `query` returns for an item: `id`, and what was included."""

    distance: float


class QueryPlan(TypedDict):
    """What `query(explain=True)` tells of how it was answered."""

    strategy: Strategy
    """`graph`: a walk; `scan`: all items measured; of a filter's items, `rows`: all measured,
    `codes`: those measured that short codes of all of them say are near; `none`: there are none."""
    reason: str
    live: int
    """Items in the index."""
    matching: int
    """Items that the filter means."""
    looked_at: int
    """Items of which the metadata had to be read for that, beside the columns."""
    ef: int | None
    """The width of the walk, where there was one."""
    measured: int | None
    """Items measured for each query, where it was `codes` that chose them."""
    short: int
    """Queries for which a walk had not met enough items, and that were answered otherwise."""
    costs: dict[Strategy, float]
    """Microseconds that each way was expected to take."""


class IndexDescription(TypedDict):
    """What `EncryptedIndex.describe` returns."""

    name: str
    dimension: int | None
    metric: Metric
    rows: int
    """Items: live rows."""
    indexed_rows: int
    """Live rows in the saved graph."""
    deleted_rows: int
    """Rows that still take room in the file."""
    storage_precision: Precision
    metadata_schema: dict[str, FieldSchema]
    """The fields that are not filterable."""
    navigator_dimensions: int | None
    """Dimensions that the graph is walked in; None without a graph."""
    sequence: int
    index_id: str
    """32 hex digits that no other index has, whatever its name."""
    format_version: int
    page_size: int
    file_bytes: int


def check_include(include: object, known: frozenset[str]) -> frozenset[str]:
    """The names in `include`. Raises `InvalidInputError` for any that is not `known`."""
    if isinstance(include, str) or not hasattr(include, "__iter__"):
        message = "include must be a list of names"
        raise InvalidInputError(message)
    names = list(include)
    if not all(isinstance(name, str) and name in known for name in names):
        message = f"include may name {', '.join(sorted(known))}; it holds something else"
        raise InvalidInputError(message)
    return frozenset(names)


def describe_rows(
    view: ReadView,
    state: State,
    items: ItemCache,
    rows: list[int],
    include: frozenset[str],
    distances: list[float] | None = None,
) -> list[Result]:
    """The items of live rows, in their order, each with its distance where there are some."""
    metadata, contents = "metadata" in include, "contents" in include
    ids = items.ids(view, rows)
    results: list[Result]
    if distances is None:
        results = [{"id": item_id} for item_id in ids]
    else:
        results = [{"id": i, "distance": away} for i, away in zip(ids, distances, strict=True)]
    for row, result in zip(rows, results, strict=True) if metadata or contents else ():
        payload = items.payload(view, row, metadata=metadata, contents=contents)
        if metadata:
            result["metadata"] = decode_metadata(payload.metadata, row)
        if contents:
            held = payload.contents
            try:
                result["contents"] = held if held is None or not payload.is_text else held.decode()
            except UnicodeDecodeError:
                raise damaged_item(row) from None
    if "vector" in include and state.pool is not None and len(rows):
        vectors = state.pool.rows(view, np.array(rows))
        for result, vector in zip(results, vectors, strict=True):
            result["vector"] = vector.copy()
        state.pool.wipe(vectors)
    return results


def describe_state(name: str, store: PageStore, state: State) -> IndexDescription:
    """What an index holds and how."""
    root, known = state.root, state.navigator.known
    covered = 0 if root.graph is None or state.navigator.damaged else root.graph.rows
    if known is not None:
        covered = known.graph.covered
    return {
        "name": name,
        "dimension": root.dimension or None,
        "metric": root.metric,
        "rows": root.live,
        "indexed_rows": int(state.alive[:covered].sum()),
        "deleted_rows": root.rows - root.live,
        "storage_precision": root.precision,
        "metadata_schema": described(root.hidden),
        "navigator_dimensions": navigator_dimensions(state),
        "sequence": root.sequence,
        "index_id": store.header.index_id.hex(),
        "format_version": FORMAT_VERSION,
        "page_size": store.header.page_size,
        "file_bytes": os.stat(store.environment.path).st_size,
    }


def navigator_dimensions(state: State) -> int | None:
    """Of the graph in memory, or else of the saved one."""
    known = state.navigator.known
    return state.saved_dimensions if known is None else known.graph.dimension
