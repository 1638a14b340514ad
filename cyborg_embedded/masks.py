"""A filter, answered from columns for all rows at once.

What columns cannot decide alone (whole objects and arrays, text that goes on beyond what is kept)
is answered by two masks: the rows that surely satisfy, and those that may. Mostly they are one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cyborg_embedded.column import ARRAY_CODE, OBJECT_CODE, Column
from cyborg_embedded.predicates import (
    AllOf,
    AnyOf,
    Compares,
    Element,
    Equals,
    Exists,
    HasElement,
    HasText,
    Node,
    Not,
    Size,
)
from cyborg_embedded.spans import equal_spans, spans, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    from cyborg_embedded.spans import Spans

__all__ = ["Masks", "masks"]

FEW_SPANS = 3
"""As many ranges are compared one by one; more are looked up in a table."""


class Masks(NamedTuple):
    """Rows (n,) that surely satisfy a filter, and rows that may; the same object where no row is
    in doubt.
    """

    sure: Mask
    maybe: Mask


def masks(node: Node, columns: Mapping[str, Column], rows: int, *, complete: bool) -> Masks:
    """Which of so many rows satisfy a filter. Where the columns are not `complete`, a path that has
    none may have values all the same.
    """
    return Evaluation(columns, rows, complete=complete).of(node)


class Evaluation:
    """One filter over the columns of one commit."""

    def __init__(self, columns: Mapping[str, Column], rows: int, *, complete: bool) -> None:
        self._columns = columns
        self._rows = rows
        self._complete = complete

    def of(self, node: Node) -> Masks:
        """The masks of a filter."""
        if isinstance(node, Not):
            return inverted(self.of(node.part))
        if isinstance(node, AllOf):
            return self._combined(node, np.logical_and)
        if isinstance(node, AnyOf):
            return self._combined(node, np.logical_or)
        return self._leaf(node, str(node.path))

    def _combined(self, node: AllOf | AnyOf, combine: np.ufunc) -> Masks:
        empty = np.full(self._rows, isinstance(node, AllOf)) if not node.parts else None
        if empty is not None:
            return Masks(empty, empty)
        return functools.reduce(functools.partial(combined, combine), map(self.of, node.parts))

    def _leaf(self, node: Node, path: str) -> Masks:  # noqa: PLR0911 - one for each kind of node
        """The masks of a condition, on the field that `path` leads to."""
        column = self._columns.get(path)
        if column is None:
            none = np.zeros(self._rows, np.bool_)
            return Masks(none, none if self._complete else np.ones(self._rows, np.bool_))
        if isinstance(node, Exists):
            return self._exact(self._mask(column, None) | self._lists(column))
        if isinstance(node, Size):
            return self._exact(self._lists(column, node.length))
        if isinstance(node, Element):
            return self._element(node, path, column)
        if isinstance(node, HasElement):
            sure, maybe = equal_spans((node.value,), column, element=False)
            return self._masks(column, sure, maybe, inside=True)
        if not isinstance(node, (Equals, Compares, HasText)):
            message = "not a condition"
            raise TypeError(message)
        sure, maybe = spans(node, column, element=False)
        found = self._masks(column, sure, maybe)
        if isinstance(node, Equals) and any(isinstance(value, list) for value in node.values):
            return Masks(found.sure, found.maybe | self._lists(column))
        return found

    def _element(self, node: Element, path: str, column: Column) -> Masks:
        if column.inside is None:
            return self._exact(np.zeros(self._rows, np.bool_))
        if not node.fields:
            sure, maybe = element_tables(node.inner, column)
            return Masks(
                self._at(column, sure.take(column.codes) & column.inside),
                self._at(column, maybe.take(column.codes) & column.inside),
            )
        objects = self._mask(column, [(OBJECT_CODE, OBJECT_CODE + 1)], inside=True)
        maybe = objects & self._maybe_inside(node.inner, path + ".")
        return Masks(np.zeros(self._rows, np.bool_), maybe)

    def _maybe_inside(self, node: Node, prefix: str) -> Mask:
        """Rows with a field that may satisfy what is asked of one under `prefix`."""
        if isinstance(node, AllOf) and node.parts:
            parts = [self._maybe_inside(part, prefix) for part in node.parts]
            return functools.reduce(np.logical_and, parts)
        if isinstance(node, AnyOf) and node.parts:
            parts = [self._maybe_inside(part, prefix) for part in node.parts]
            return functools.reduce(np.logical_or, parts)
        if isinstance(node, (Not, AllOf, AnyOf)):
            return np.full(self._rows, not isinstance(node, AnyOf))
        return self._leaf(node, f"{prefix}{node.path}").maybe

    def _masks(
        self, column: Column, sure: Spans, maybe: Spans | None, *, inside: bool = False
    ) -> Masks:
        found = self._mask(column, sure, inside=inside)
        if maybe is None:
            return self._exact(found)
        return Masks(found, found | self._mask(column, maybe, inside=inside))

    def _exact(self, mask: Mask) -> Masks:
        return Masks(mask, mask)

    def _mask(self, column: Column, wanted: Spans | None, *, inside: bool = False) -> Mask:
        """Rows with a code in these ranges, or with any; of values `inside` arrays only."""
        if inside and column.inside is None:
            return np.zeros(self._rows, np.bool_)
        if wanted is None:
            wanted = [(OBJECT_CODE, column.total)]
        hits = in_spans(column, wanted)
        if inside and column.inside is not None:
            hits &= column.inside
        return self._at(column, hits)

    def _at(self, column: Column, hits: Mask) -> Mask:
        """Hits among a column's codes as rows."""
        if column.rows is None and len(hits) == self._rows:
            return hits
        mask = np.zeros(self._rows, np.bool_)
        if column.rows is None:
            mask[: len(hits)] = hits
        else:
            mask[column.rows[hits]] = True
        return mask

    def _lists(self, column: Column, length: int | None = None) -> Mask:
        """Rows with an array, or with one of a length."""
        mask = np.zeros(self._rows, np.bool_)
        chosen = column.list_rows
        if length is not None:
            chosen = chosen[column.list_lengths == min(length, np.iinfo(np.uint32).max)]
        mask[chosen] = True
        return mask


def inverted(found: Masks) -> Masks:
    """Of a filter that is not satisfied."""
    sure = ~found.maybe
    return Masks(sure, sure if found.sure is found.maybe else ~found.sure)


def combined(combine: np.ufunc, a: Masks, b: Masks) -> Masks:
    """Of two filters together."""
    sure: Mask = combine(a.sure, b.sure)
    exact = a.sure is a.maybe and b.sure is b.maybe
    return Masks(sure, sure if exact else combine(a.maybe, b.maybe))


def in_spans(column: Column, wanted: Spans) -> Mask:
    """Which codes (n,) are in ranges of codes."""
    codes, kind = column.codes, column.codes.dtype.type
    if len(wanted) > FEW_SPANS:
        return table_of(wanted, column.total).take(codes)
    hits: Mask | None = None
    for low, high in wanted:
        part: Mask
        if high - low == 1:
            part = codes == kind(low)
        elif high >= column.total:
            part = codes >= kind(low)
        else:
            # Below `low` it wraps around, and is larger than any range.
            part = (codes - kind(low)) < kind(high - low)
        hits = part if hits is None else hits | part
    return np.zeros(len(codes), np.bool_) if hits is None else hits


def element_tables(node: Node, column: Column) -> Masks:
    """For each code of an element whether it surely, or maybe, satisfies what is asked of it."""
    total = column.total
    if isinstance(node, Not):
        return inverted(element_tables(node.part, column))
    if isinstance(node, (AllOf, AnyOf)):
        combine: np.ufunc = np.logical_and if isinstance(node, AllOf) else np.logical_or
        table = np.full(total, isinstance(node, AllOf))
        parts = [element_tables(part, column) for part in node.parts]
        return functools.reduce(functools.partial(combined, combine), parts, Masks(table, table))
    if isinstance(node, Exists):
        table = np.ones(total, np.bool_)
        return Masks(table, table)
    if isinstance(node, (Equals, Compares, HasText)):
        sure, maybe = spans(node, column, element=True)
    else:
        sure, maybe = [], [(ARRAY_CODE, ARRAY_CODE + 1)]
    table = table_of(sure, total)
    return Masks(table, table if maybe is None else table | table_of(maybe, total))
