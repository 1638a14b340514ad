"""Which filters a data set is searched with: of six selectivities, from most items to hardly any.

Where the metadata are WordNet's, as in the full set and the sample, there are two of each: the
first by what an item is about or what kind of word it is, so that its items lie together in places,
the second by its length, which has little to do with where it lies. Files of vectors alone have
metadata that `data.with_items` makes up: `group`, a hundred of equal size, and `row`; there is one
filter of each selectivity, by these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from data import DataSet

    Where = Callable[[dict[str, Any]], bool]

TYPICAL = 12.0
"""The selectivity, in per cent, at which batches and updates are measured."""


class Filter(NamedTuple):
    """What the library is given, and the same in Python, to see whether it has understood."""

    percent: float
    """About so much of the whole set satisfies it."""
    filters: dict[str, Any]
    where: Where


class FilterSet(NamedTuple):
    """Filters of a data set; a field of numbers in it, by which one of the typical ones goes, the
    last; and fields to sort by.
    """

    filters: list[Filter]
    number: str
    orders: list[str]

    @property
    def typical(self) -> Filter:
        return [each for each in self.filters if each.percent == TYPICAL][-1]

    @property
    def one_of_each(self) -> list[Filter]:
        """The first of each selectivity."""
        return list({each.percent: each for each in reversed(self.filters)}.values())[::-1]


WORDNET = FilterSet(
    [
        Filter(70, {"pos": "n"}, lambda m: m["pos"] == "n"),
        Filter(70, {"words": {"$lte": 14}}, lambda m: m["words"] <= 14),
        Filter(28, {"has_example": True}, lambda m: m["has_example"]),
        Filter(28, {"words": {"$gte": 16}}, lambda m: m["words"] >= 16),
        Filter(TYPICAL, {"lexfile": 0}, lambda m: m["lexfile"] == 0),
        Filter(
            TYPICAL,
            {"pos": "n", "proper": False, "words": {"$lte": 7}},
            lambda m: m["pos"] == "n" and not m["proper"] and m["words"] <= 7,
        ),
        Filter(3, {"pos": "r"}, lambda m: m["pos"] == "r"),
        Filter(3, {"words": {"$gte": 30}}, lambda m: m["words"] >= 30),
        Filter(0.3, {"lexfile": 25}, lambda m: m["lexfile"] == 25),
        Filter(
            0.3,
            {"proper": True, "words": {"$gte": 35}},
            lambda m: m["proper"] and m["words"] >= 35,
        ),
        Filter(0.05, {"lexfile": 27, "proper": True}, lambda m: m["lexfile"] == 27 and m["proper"]),
        Filter(0.05, {"words": {"$gte": 60}}, lambda m: m["words"] >= 60),
    ],
    "words",
    ["words", "lemma"],
)


def filters_of(given: DataSet) -> FilterSet:
    """Those that fit the metadata."""
    if "lexfile" in given.metadata[0]:
        return WORDNET
    rows = len(given.metadata)
    return FilterSet(
        [
            in_groups(70, 70, rows),
            in_groups(28, 28, rows),
            in_groups(TYPICAL, 12, rows),
            in_groups(3, 3, rows),
            in_groups(0.3, 3, rows // 10),
            in_groups(0.05, 1, rows // 20),
        ],
        "group",
        ["group", "row"],
    )


def in_groups(percent: float, groups: int, rows: int) -> Filter:
    """The items of the first groups among the first rows."""
    return Filter(
        percent,
        {"group": {"$lt": groups}, "row": {"$lt": rows}},
        lambda m: m["group"] < groups and m["row"] < rows,
    )
