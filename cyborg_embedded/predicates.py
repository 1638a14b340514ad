"""What a filter asks of an item, as a tree; and whether one item satisfies it.

The meaning of each is in docs/FILTERS.md. Columns answer most of it for all rows at once
(masks.py); `satisfies` is for the rest, and for one item.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    Path = str | None
    """The way to a field from an item, or None for the element that `$elemMatch` looks at."""

__all__ = [
    "COMPARISONS",
    "EVERYTHING",
    "NOTHING",
    "AllOf",
    "AnyOf",
    "Compares",
    "Element",
    "Equals",
    "Exists",
    "HasElement",
    "HasText",
    "Node",
    "Not",
    "Size",
    "satisfies",
]

COMPARISONS = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


@dataclass(frozen=True, slots=True, repr=False)
class Equals:
    """Any comparable value equals any of `values`."""

    path: Path
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Compares:
    """Any comparable value of the type of `value` stands in this relation to it."""

    path: Path
    relation: str
    value: float | str


@dataclass(frozen=True, slots=True, repr=False)
class Exists:
    """The field is there."""

    path: Path


@dataclass(frozen=True, slots=True, repr=False)
class Size:
    """Any value is an array of this length."""

    path: Path
    length: int


@dataclass(frozen=True, slots=True, repr=False)
class HasElement:
    """Any value is an array with an element that equals `value`."""

    path: Path
    value: Any


@dataclass(frozen=True, slots=True, repr=False)
class HasText:
    """Any comparable value is text that has `text` in it, or at its start, or a match of it."""

    path: Path
    how: Literal["inside", "start", "pattern"]
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class Element:
    """Any value is an array with an element that satisfies `inner`: as the value of a field, or,
    with `fields`, as an item does.
    """

    path: Path
    inner: Node
    fields: bool


@dataclass(frozen=True, slots=True, repr=False)
class AllOf:
    """All parts are satisfied."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True, repr=False)
class AnyOf:
    """Any part is satisfied."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Not:
    """The part is not satisfied."""

    part: Node


Node = Equals | Compares | Exists | Size | HasElement | HasText | Element | AllOf | AnyOf | Not
EVERYTHING = AllOf(())
NOTHING = AnyOf(())


def satisfies(node: Node, item: Any) -> bool:  # noqa: PLR0911 - one for each kind of node
    """Whether an item's metadata, or an array's element, is what a filter asks for."""
    if isinstance(node, AllOf):
        return all(satisfies(part, item) for part in node.parts)
    if isinstance(node, AnyOf):
        return any(satisfies(part, item) for part in node.parts)
    if isinstance(node, Not):
        return not satisfies(node.part, item)
    values = reached(item, node.path)
    if isinstance(node, Exists):
        return bool(values)
    if isinstance(node, (Equals, Compares, HasText)):
        return any(fits(node, value) for value in comparable(values))
    arrays = [value for value in values if isinstance(value, list)]
    if isinstance(node, Size):
        return any(len(array) == node.length for array in arrays)
    elements = [element for array in arrays for element in array]
    if isinstance(node, HasElement):
        return any(equal(element, node.value) for element in elements)
    if node.fields:
        elements = [element for element in elements if isinstance(element, dict)]
    return any(satisfies(node.inner, element) for element in elements)


def fits(node: Equals | Compares | HasText, value: Any) -> bool:
    """Whether one comparable value is what a condition asks for."""
    if isinstance(node, Equals):
        return any(equal(value, wanted) for wanted in node.values)
    if isinstance(node, Compares):
        alike = isinstance(value, str) if isinstance(node.value, str) else is_number(value)
        return alike and COMPARISONS[node.relation](value, node.value)
    if not isinstance(value, str):
        return False
    if node.how == "inside":
        return node.text in value
    if node.how == "start":
        return value.startswith(node.text)
    return re.search(node.text, value) is not None


def reached(item: Any, path: Path) -> list[Any]:
    """The values of a field."""
    return [item] if path is None else list(followed(item, path))


def followed(item: Any, path: str) -> Iterator[Any]:
    """The values that a path reaches in an object: its keys may have dots in them too."""
    for key, value in item.items():
        if key == path:
            yield value
        elif path.startswith(key) and path[len(key)] == ".":
            rest = path[len(key) + 1 :]
            if isinstance(value, dict):
                yield from followed(value, rest)
            elif isinstance(value, list):
                for element in value:
                    if isinstance(element, dict):
                        yield from followed(element, rest)


def comparable(values: list[Any]) -> Iterator[Any]:
    """Values, and the elements of those that are arrays."""
    for value in values:
        yield value
        if isinstance(value, list):
            yield from value


def is_number(value: object) -> bool:
    """Whether a value is a number to a filter."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal to a filter."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)
