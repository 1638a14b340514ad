"""Rows in the order of a field (docs/FILTERS.md, "Order")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cyborg_embedded.column import FALSE_CODE, TEXT_KEPT, Column
from cyborg_embedded.predicates import comparable, is_number, reached
from cyborg_embedded.smallest import kth_smallest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    MetadataOf = Callable[[int], dict[str, Any]]
    Key = tuple[int, bool | float | str]

__all__ = ["by_column", "by_items"]


def by_column(
    column: Column | None,
    rows: Rows,
    path: str,
    metadata_of: MetadataOf,
    *,
    ascending: bool,
    first: int,
) -> Rows:
    """The `first` of `rows`, which ascend, in the order of a field: those without it last, equal
    ones in the order of rows. `metadata_of` is asked where the column does not tell rows apart.
    """
    if column is None:
        return rows[:first]
    keys = keys_of(column, rows, ascending=ascending)
    if first < len(rows):
        # Equal ones at the border all stay, since the order of rows decides between them.
        kept = np.flatnonzero(keys <= kth_smallest(keys[None], first))
        rows, keys = rows[kept], keys[kept]
    order = keys.argsort(kind="stable")
    rows, keys = rows[order], keys[order]
    for start, stop in alike(column, keys):
        rows[start:stop] = by_items(
            rows[start:stop], path, metadata_of, ascending=ascending, first=stop - start
        )
    return rows[:first]


def keys_of(column: Column, rows: Rows, *, ascending: bool) -> Rows:
    """Numbers (n,) in whose order the rows are to stand."""
    missing = column.total
    if column.rows is None:
        known = np.full(len(rows), missing, np.int64)
        inside = int(rows.searchsorted(len(column.codes)))
        known[:inside] = column.codes.take(rows[:inside])
        known[known < FALSE_CODE] = missing
        if not ascending:
            known = np.where(known == missing, missing, -known)
        return known
    # Of several values of a row the first in the order that is asked for.
    wanted = column.codes >= FALSE_CODE
    codes = column.codes[wanted].astype(np.int64)
    keys = np.full(int(max(column.rows[-1:].max(initial=0), rows.max(initial=0))) + 1, missing)
    np.minimum.at(keys, column.rows[wanted], codes if ascending else -codes)
    return keys[rows]


def alike(column: Column, keys: Rows) -> list[tuple[int, int]]:
    """Runs of equal keys that stand for texts of which only the beginning is known."""
    edges = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1, append=keys[-1:] + 1))
    many = np.flatnonzero(np.diff(edges) > 1).tolist()
    runs = [(int(edges[place]), int(edges[place + 1])) for place in many]
    return [run for run in runs if goes_on(column, abs(int(keys[run[0]])))]


def goes_on(column: Column, code: int) -> bool:
    """Whether a code stands for texts of which only the beginning is known."""
    in_texts = column.first_text <= code < column.total
    return in_texts and len(column.texts[code - column.first_text]) > TEXT_KEPT


def by_items(
    rows: Rows, path: str, metadata_of: MetadataOf, *, ascending: bool, first: int
) -> Rows:
    """`by_column`, from the items alone."""
    with_keys: list[tuple[Key, int]] = []
    without: list[int] = []
    for row in sorted(rows.tolist()):
        values = comparable(reached(metadata_of(row), path))
        keys = [key for key in map(key_of, values) if key is not None]
        if keys:
            with_keys.append((min(keys) if ascending else max(keys), row))
        else:
            without.append(row)
    with_keys.sort(key=lambda pair: pair[0], reverse=not ascending)
    return np.array([row for _, row in with_keys] + without, np.int64)[:first]


def key_of(value: Any) -> Key | None:
    """Where a value stands; None for what has no place."""
    if isinstance(value, bool):
        return (0, value)
    if is_number(value):
        return (1, value)
    return (2, value) if isinstance(value, str) else None
