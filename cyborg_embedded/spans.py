"""Conditions, looked up in the dictionary of a column: which codes satisfy them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from cyborg_embedded.column import (
    ARRAY_CODE,
    FALSE_CODE,
    FIRST_CODE,
    NULL_CODE,
    OBJECT_CODE,
    TEXT_KEPT,
    TRUE_CODE,
    Column,
    kept_text,
)
from cyborg_embedded.predicates import Compares, Equals, HasText

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Spans = list[tuple[int, int]]
    """Half-open ranges of codes, ascending and apart."""

__all__ = ["equal_spans", "spans", "table_of"]


def spans(
    node: Equals | Compares | HasText, column: Column, *, element: bool
) -> tuple[Spans, Spans | None]:
    """Codes that surely satisfy a condition, and more that may, None for no more. In an `element`
    an array has comparable values of its own.
    """
    if isinstance(node, Equals):
        return equal_spans(node.values, column, element=element)
    doubtful: Spans = []
    if isinstance(node, HasText):
        sure, doubtful = text_spans(node, column)
    elif isinstance(node.value, str):
        sure, doubtful = text_range(node.relation, node.value, column)
    else:
        low = FIRST_CODE + bisect_left(column.numbers, node.value)
        high = FIRST_CODE + bisect_right(column.numbers, node.value)
        sure = range_spans(node.relation, low, high, FIRST_CODE, column.first_text)
    if element:
        doubtful = [(ARRAY_CODE, ARRAY_CODE + 1), *doubtful]
    return sure, doubtful or None


def text_range(relation: str, value: str, column: Column) -> tuple[Spans, Spans]:
    """Codes of texts that are surely in a relation to one, and of those that may be."""
    kept, first, last = kept_text(value), column.first_text, column.total
    at = bisect_left(column.texts, kept)
    there = at < len(column.texts) and column.texts[at] == kept
    low, high = first + at, first + at + there
    if kept is value:
        return range_spans(relation, low, high, first, last), []
    # Texts that begin in the same way and go on may be on either side.
    outside = (high, last) if relation in {"$gt", "$gte"} else (first, low)
    return [outside], [(low, high)] if there else []


def range_spans(relation: str, low: int, high: int, first: int, last: int) -> Spans:
    """The codes from `first` to `last` in a relation to a value whose codes are `low` to `high`."""
    if relation == "$gt":
        return [(high, last)]
    if relation == "$gte":
        return [(low, last)]
    return [(first, low if relation == "$lt" else high)]


def equal_spans(
    values: tuple[Any, ...], column: Column, *, element: bool
) -> tuple[Spans, Spans | None]:
    """Codes that equal any of some values, and codes that may."""
    sure: set[int] = set()
    maybe: set[int] = {ARRAY_CODE} if element else set()
    for value in values:
        if value is None or isinstance(value, bool):
            sure.add(NULL_CODE if value is None else TRUE_CODE if value else FALSE_CODE)
        elif isinstance(value, str):
            kept = kept_text(value)
            at = bisect_left(column.texts, kept)
            if at < len(column.texts) and column.texts[at] == kept:
                (sure if kept is value else maybe).add(column.first_text + at)
        elif isinstance(value, (int, float)):
            at = bisect_left(column.numbers, value)
            if at < len(column.numbers) and column.numbers[at] == value:
                sure.add(FIRST_CODE + at)
        else:
            maybe.add(OBJECT_CODE if isinstance(value, dict) else ARRAY_CODE)
    return as_spans(sorted(sure)), as_spans(sorted(maybe)) if maybe else None


def text_spans(node: HasText, column: Column) -> tuple[Spans, Spans]:
    """Codes of texts that surely have what is asked for in them, and of those that may."""
    texts, first = column.texts, column.first_text
    if node.how == "start":
        return started(node.text, column)
    if node.how == "inside":
        sure = places_of(node.text, column)
    else:
        found = re.compile(node.text).search
        sure = {place for place, text in enumerate(texts) if len(text) <= TEXT_KEPT and found(text)}
    # All that go on stand for several texts, with ends that are not known here.
    doubtful = [place for place in column.long if place not in sure]
    return as_spans([first + place for place in sorted(sure)]), as_spans(
        [first + place for place in doubtful]
    )


def started(start: str, column: Column) -> tuple[Spans, Spans]:
    """`text_spans` for what texts start with."""
    texts, first, length = column.texts, column.first_text, len(start)
    kept = kept_text(start)
    low = bisect_left(texts, kept)
    if kept is start:
        high = bisect_right(texts, start, low, key=lambda text: text[:length])
        return [(first + low, first + high)], []
    there = low < len(texts) and texts[low] == kept
    return [], [(first + low, first + low + 1)] if there else []


def places_of(part: str, column: Column) -> set[int]:
    """Which texts have `part` in what is kept of them: found in all at once, one behind another."""
    texts = column.texts
    if not part:
        return set(range(len(texts)))
    whole, starts = column.haystack
    found: set[int] = set()
    at = whole.find(part)
    while at >= 0:
        place = int(starts.searchsorted(at, side="right")) - 1
        behind = int(starts[place + 1])
        # Neither over the end of a text nor with the sign in it that it goes on.
        goes_on = len(texts[place]) > TEXT_KEPT
        inside = at + len(part) <= (behind - 1 if goes_on else behind)
        if inside:
            found.add(place)
        at = whole.find(part, behind if inside else at + 1)
    return found


def as_spans(codes: list[int]) -> Spans:
    """Ascending codes as ranges."""
    found: Spans = []
    for code in codes:
        if found and found[-1][1] == code:
            found[-1] = (found[-1][0], code + 1)
        else:
            found.append((code, code + 1))
    return found


def table_of(wanted: Spans, total: int) -> NDArray[np.bool_]:
    """For each code whether it is in one of the ranges."""
    table = np.zeros(total, np.bool_)
    for low, high in wanted:
        table[low:high] = True
    return table
