"""A column: what one path reaches in all rows, as small numbers into a sorted dictionary of values.

A value is a *code*: 0 stands for none, 1 for any object, 2 for any array inside an array, 3, 4, 5
for null, false, true; then come the distinct numbers in ascending order, then the distinct texts.
So a range of values is a range of codes. Texts are kept up to their 64th character: all that go on
are one entry, a *long* one, which sorts after the 64 characters alone.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cyborg_embedded.fields import ARRAY, OBJECT, Found

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.unsignedinteger[Any]]
    Rows = NDArray[np.uint32]
    Changed = NDArray[np.int64]

__all__ = [
    "ARRAY_CODE",
    "FALSE_CODE",
    "FIRST_CODE",
    "LONG",
    "MISSING_CODE",
    "NULL_CODE",
    "OBJECT_CODE",
    "TEXT_KEPT",
    "TRUE_CODE",
    "Column",
    "kept_text",
    "updated",
    "width_of",
]

MISSING_CODE, OBJECT_CODE, ARRAY_CODE, NULL_CODE, FALSE_CODE, TRUE_CODE = range(6)
FIRST_CODE = 6
TEXT_KEPT = 64
LONG = "\U0010ffff"
"""Behind the first 64 characters: a text that goes on. No kept text is as long otherwise."""
DENSE_SHARE = 4
"""A column has a place for each row where it has values in one of so many."""
UNUSED = 1024
"""Values that nothing has any more are dropped when they are so many, and most."""

Value = TypeVar("Value", float, str)


@dataclass(frozen=True, slots=True, repr=False)
class Column:
    """What one path reaches, in the order of rows. Never changes.

    `codes` (n,) are those of the rows 0 to n - 1 where `rows` is None, and otherwise those of
    `rows` (n,), in which a row may occur several times. `inside` (n,) says which are in arrays,
    None for none. `list_rows` and `list_lengths` are the arrays themselves. Numbers and texts
    ascend.
    """

    codes: Codes
    rows: Rows | None
    inside: NDArray[np.bool_] | None
    list_rows: Rows
    list_lengths: Rows
    numbers: list[float]
    texts: list[str]
    looked_up: dict[str, Any] = field(default_factory=dict, compare=False)
    """What was made of the texts to find something in them: as long as they are the same."""

    @property
    def long(self) -> list[int]:
        """Places of the texts that go on."""
        known: list[int] | None = self.looked_up.get("long")
        if known is None:
            known = [place for place, text in enumerate(self.texts) if len(text) > TEXT_KEPT]
            self.looked_up["long"] = known
        return known

    @property
    def haystack(self) -> tuple[str, NDArray[np.int64]]:
        """All texts, one behind another; where each starts, and where the last ends."""
        known: tuple[str, NDArray[np.int64]] | None = self.looked_up.get("haystack")
        if known is None:
            starts = np.zeros(len(self.texts) + 1, np.int64)
            np.cumsum(np.fromiter(map(len, self.texts), np.int64), out=starts[1:])
            known = self.looked_up["haystack"] = ("".join(self.texts), starts)
        return known

    @property
    def total(self) -> int:
        """How many codes there are."""
        return FIRST_CODE + len(self.numbers) + len(self.texts)

    @property
    def first_text(self) -> int:
        """The code of the first text."""
        return FIRST_CODE + len(self.numbers)


NO_ROWS = np.empty(0, np.uint32)
EMPTY = Column(np.empty(0, np.uint8), NO_ROWS, None, NO_ROWS, NO_ROWS, [], [])


def kept_text(text: str) -> str:
    """What a column keeps of a text."""
    return text if len(text) <= TEXT_KEPT else text[:TEXT_KEPT] + LONG


def width_of(total: int) -> type[np.unsignedinteger[Any]]:
    """The numbers that so many codes fit into."""
    if total <= 1 << 8:
        return np.uint8
    return np.uint16 if total <= 1 << 16 else np.uint32


def updated(column: Column | None, rows: int, changed: Changed, found: Found) -> Column | None:
    """The column with what was `found` in the rows `changed`, which ascend, in place of what it
    had there, for an index of so many rows; None if nothing is left.
    """
    old = column if column is not None else EMPTY
    types = set(map(type, found.values))
    given, numbers, texts = distinct(found.values, types)
    numbers, number_places, moved_numbers = merged(old.numbers, numbers)
    texts, text_places, moved_texts = merged(old.texts, texts)
    first_text = FIRST_CODE + len(numbers)
    width = width_of(first_text + len(texts))
    places: dict[Any, int] = {None: MISSING_CODE}
    places.update((value, FIRST_CODE + at) for value, at in number_places.items())
    places.update((value, first_text + at) for value, at in text_places.items())
    fresh = np.fromiter(map(places.__getitem__, given), width, len(given))
    if not types <= {str, int, float}:
        for place, code in special(found.values).items():
            fresh[place] = code
    codes: Codes = old.codes
    if number_places or text_places:
        table = np.concatenate(
            (np.arange(FIRST_CODE), FIRST_CODE + moved_numbers, first_text + moved_texts)
        )
        codes = table.astype(width).take(codes)
    made = Column(codes, old.rows, old.inside, old.list_rows, old.list_lengths, numbers, texts)
    made = placed(made, rows, changed, found, fresh)
    if not made.codes.any() and not len(made.list_rows):
        return None
    return compacted(made) if made.total > 2 * len(made.codes) + UNUSED else made


def distinct(values: list[Any], types: set[type[Any]]) -> tuple[list[Any], list[float], list[str]]:
    """Values of these types as they are kept, with None for those that have a code of their own;
    the distinct numbers and the distinct texts.
    """
    if str in types and max(len(v) for v in values if type(v) is str) > TEXT_KEPT:
        values = [kept_text(v) if type(v) is str else v for v in values]
    if types <= {str}:
        return values, [], list(dict.fromkeys(values))
    if not types <= {int, float}:
        values = [v if type(v) in {str, int, float} else None for v in values]
    seen = dict.fromkeys(values)
    texts = [v for v in seen if isinstance(v, str)]
    numbers = [v for v in seen if v is not None and not isinstance(v, str)]
    return values, numbers, texts


def special(values: list[Any]) -> dict[int, int]:
    """Places of values that have a code of their own, and that code."""
    codes = {None: NULL_CODE, OBJECT: OBJECT_CODE, ARRAY: ARRAY_CODE}
    found = {}
    for place, value in enumerate(values):
        if isinstance(value, bool):
            found[place] = TRUE_CODE if value else FALSE_CODE
        elif not isinstance(value, (str, int, float)):
            found[place] = codes[value]
    return found


def merged(
    known: list[Value], values: list[Value]
) -> tuple[list[Value], dict[Value, int], NDArray[np.int64]]:
    """Ascending values with others among them; where those others are now, and where the known."""
    moved = np.arange(len(known))
    values = sorted(values)
    if not known:
        return values, dict(zip(values, range(len(values)), strict=True)), moved
    before = [bisect_left(known, value) for value in values]
    new = [
        (value, at)
        for value, at in zip(values, before, strict=True)
        if at == len(known) or known[at] != value
    ]
    if new:
        counts = np.bincount([at for _, at in new], minlength=len(known) + 1)
        moved += counts.cumsum()[: len(known)]
        known = sorted(known + [value for value, _ in new])
    # All of them, new or not, lie behind as many of the new ones as are less.
    places, passed = {}, 0
    for value, at in zip(values, before, strict=True):
        places[value] = at + passed
        passed += passed < len(new) and new[passed][0] == value
    return known, places, moved


def placed(column: Column, rows: int, changed: Changed, found: Found, fresh: Codes) -> Column:
    """The column with fresh codes in rows that changed, in place of what it had there."""
    dense = not found.list_rows and not len(column.list_rows) and column.inside is None
    at = np.array(found.rows, np.uint32)
    # A path that is reached in two ways may have a row twice, and not in order.
    dense = dense and not (at[1:] <= at[:-1]).any()
    if len(column.codes):
        dense = dense and column.rows is None
    else:
        dense = dense and DENSE_SHARE * len(at) >= rows
    if dense:
        codes = np.zeros(rows, fresh.dtype)
        kept = column.codes[:rows]
        codes[: len(kept)] = kept
        codes[changed] = MISSING_CODE
        codes[at] = fresh
        return replace(column, codes=codes, rows=None)
    return spread(column, rows, changed, found, at, fresh)


def spread(
    column: Column, rows: int, changed: Changed, found: Found, at: Rows, fresh: Codes
) -> Column:
    """`placed`, with a row for each code."""
    known, codes = column.rows, column.codes.astype(fresh.dtype, copy=False)
    if known is None:
        known = np.flatnonzero(codes).astype(np.uint32)
        codes = codes[known]
    highest = max(rows, *(int(part[-1]) + 1 if len(part) else 0 for part in (known, at)))
    highest = max(highest, int(column.list_rows[-1]) + 1 if len(column.list_rows) else 0)
    stays = np.zeros(highest, np.bool_)
    stays[:rows] = True
    stays[changed] = False
    kept, kept_lists = stays[known], stays[column.list_rows]
    all_rows = np.concatenate((known[kept], at))
    order = all_rows.argsort(kind="stable")
    inside = np.zeros(len(at), np.bool_)
    inside[found.inside] = True
    before = column.inside if column.inside is not None else np.zeros(len(known), np.bool_)
    inside = np.concatenate((before[kept], inside))[order]
    list_rows = np.concatenate((column.list_rows[kept_lists], np.array(found.list_rows, np.uint32)))
    lengths = np.array(found.list_lengths, np.uint32)
    lengths = np.concatenate((column.list_lengths[kept_lists], lengths))
    in_order = list_rows.argsort(kind="stable")
    codes, all_rows = np.concatenate((codes[kept], fresh))[order], all_rows[order]
    nested = len(list_rows) or (all_rows[1:] == all_rows[:-1]).any()
    if not nested and DENSE_SHARE * len(all_rows) >= rows:
        dense = np.zeros(rows, codes.dtype)
        dense[all_rows] = codes
        return replace(
            column, codes=dense, rows=None, inside=None, list_rows=NO_ROWS, list_lengths=NO_ROWS
        )
    return replace(
        column,
        codes=codes,
        rows=all_rows,
        inside=inside if inside.any() else None,
        list_rows=list_rows[in_order],
        list_lengths=lengths[in_order],
    )


def compacted(column: Column) -> Column:
    """The column without values that nothing has."""
    used = np.zeros(column.total, np.bool_)
    used[:FIRST_CODE] = True
    used[column.codes] = True
    split = column.first_text
    numbers = [column.numbers[i] for i in np.flatnonzero(used[FIRST_CODE:split]).tolist()]
    texts = [column.texts[i] for i in np.flatnonzero(used[split:]).tolist()]
    table = used.cumsum() - 1
    codes: Codes = table.astype(width_of(int(used.sum()))).take(column.codes)
    return replace(column, codes=codes, numbers=numbers, texts=texts, looked_up={})
