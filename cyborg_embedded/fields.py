"""From metadata to what a column is made of: for each path, which values it reaches in which rows.

Paths are those of docs/FILTERS.md. An array at the end of a path counts as a *list* with a length,
and each of its elements as a value *inside*; objects, and arrays inside arrays, are stood for by
`OBJECT` and `ARRAY`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["ARRAY", "OBJECT", "Found", "Gathered", "is_hidden"]

OBJECT, ARRAY = object(), object()
"""Stand for any object, and for any array inside an array."""
MISSING = object()
PLAIN = frozenset({str, int, float, bool, type(None), type(MISSING)})
MOST_PATHS = 2048
"""Paths that get a column; values of later ones are looked up item by item."""
SPREAD = 4
"""How many times as many keys as an item has at most may be in a run of items for them to be taken
key by key."""


@dataclass(slots=True, repr=False)
class Found:
    """What one path reaches, in the order of rows: values, and which of them are inside arrays;
    arrays, and their lengths.
    """

    rows: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    inside: list[int] = field(default_factory=list)
    list_rows: list[int] = field(default_factory=list)
    list_lengths: list[int] = field(default_factory=list)


class Gathered:
    """What all paths reach in a run of rows, given in ascending order, some at a time.

    `known` paths are taken in any case; of others so many that there are `MOST_PATHS` together, and
    `complete` tells whether that was all. Fields that are `hidden` are left out.
    """

    def __init__(
        self, known: Collection[str], hidden: Collection[str], *, complete: bool = True
    ) -> None:
        self.paths: dict[str, Found] = {}
        self.complete = complete
        self._known = known
        self._hidden = frozenset(hidden)
        # Where paths have been left out, a path that is new here may not be new.
        self._room = MOST_PATHS - len(known) if complete else 0

    def add(self, rows: Sequence[int], items: Sequence[dict[str, Any]]) -> None:
        """Take the metadata of some rows."""
        keys = dict.fromkeys(key for item in items for key in item)
        if len(keys) > SPREAD * max(map(len, items), default=0):
            for row, item in zip(rows, items, strict=True):
                self._walk(row, item, "")
            return
        for key in keys:
            values = [item.get(key, MISSING) for item in items]
            types = set(map(type, values))
            if types <= PLAIN:
                self._add_plain(key, rows, values, whole=type(MISSING) not in types)
                continue
            for row, value in zip(rows, values, strict=True):
                if value is not MISSING:
                    self._reach(row, key, value)

    def _found(self, path: str) -> Found | None:
        found = self.paths.get(path)
        if found is not None:
            return found
        if self._hidden and is_hidden(path, self._hidden):
            return None
        if path not in self._known:
            if self._room <= 0:
                self.complete = False
                return None
            self._room -= 1
        found = self.paths[path] = Found()
        return found

    def _add_plain(self, path: str, rows: Sequence[int], values: list[Any], *, whole: bool) -> None:
        found = self._found(path)
        if found is None:
            return
        if not whole:
            there = [(row, v) for row, v in zip(rows, values, strict=True) if v is not MISSING]
            rows, values = [row for row, _ in there], [value for _, value in there]
        found.rows.extend(rows)
        found.values.extend(values)

    def _walk(self, row: int, item: dict[str, Any], prefix: str) -> None:
        for key, value in item.items():
            self._reach(row, prefix + key, value)

    def _reach(self, row: int, path: str, value: Any) -> None:
        """A value that a path leads to, and what is inside it."""
        if self._hidden and is_hidden(path, self._hidden):
            return
        found = self._found(path)
        if isinstance(value, dict):
            if found is not None:
                found.rows.append(row)
                found.values.append(OBJECT)
            self._walk(row, value, path + ".")
        elif isinstance(value, list):
            self._reach_list(row, path, value, found)
        elif found is not None:
            found.rows.append(row)
            found.values.append(value)

    def _reach_list(self, row: int, path: str, values: list[Any], found: Found | None) -> None:
        if found is not None:
            found.list_rows.append(row)
            found.list_lengths.append(len(values))
            found.inside.extend(range(len(found.rows), len(found.rows) + len(values)))
            found.rows.extend([row] * len(values))
            found.values.extend(map(stand_in, values))
        for value in values:
            if isinstance(value, dict):
                self._walk(row, value, path + ".")


def is_hidden(path: str, hidden: Collection[str]) -> bool:
    """Whether a path leads to one of these fields, or into it: also by a key that has a dot."""
    return any(path == field or path.startswith(field + ".") for field in hidden)


def stand_in(value: Any) -> Any:
    """What stands for an element of an array."""
    if isinstance(value, dict):
        return OBJECT
    return ARRAY if isinstance(value, list) else value
