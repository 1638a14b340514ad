"""From a filter as a caller writes it to what it asks for. The language is in docs/FILTERS.md."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.fields import is_hidden
from cyborg_embedded.jsonvalues import deeper_than, milliseconds
from cyborg_embedded.model import MAX_METADATA_DEPTH
from cyborg_embedded.predicates import (
    COMPARISONS,
    EVERYTHING,
    NOTHING,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["check_field", "parse"]

LOGIC = frozenset({"$and", "$or", "$nor", "$not"})


def parse(filters: object, hidden: Collection[str] = ()) -> Node:
    """What a filter asks for, `EVERYTHING` itself where that is all; of an index that does not
    filter by `hidden` fields.

    Raises `InvalidInputError`.
    """
    if filters is None:
        return EVERYTHING
    if deeper_than(MAX_METADATA_DEPTH, filters):
        raise malformed("filters", f"nested deeper than {MAX_METADATA_DEPTH} levels")
    node = Parser(hidden).filter(filters, "filters", "")
    return EVERYTHING if node == EVERYTHING else node


def check_field(path: object, name: str, hidden: Collection[str]) -> str:
    """The path of a field that an index filters by. Raises `InvalidInputError`."""
    if not isinstance(path, str):
        message = f"{name} must be the name of a field, not {type(path).__name__}"
        raise InvalidInputError(message)
    if path.startswith("$"):
        message = f"{name} must be the name of a field, not an operator"
        raise InvalidInputError(message)
    refuse_hidden(path, name, hidden)
    return path


def refuse_hidden(path: str, at: str, hidden: Collection[str]) -> None:
    """Refuse a field that is, or is inside, one that the index does not filter by."""
    if is_hidden(path, hidden):
        raise malformed(at, "the metadata_schema says that this field is not filterable")


def malformed(at: str, reason: str) -> InvalidInputError:
    """The error for a place in a filter."""
    return InvalidInputError(f"{at}: {reason}")


class Parser:
    """Parses one filter. `at` is the place in it, as a caller would write it; `base` the path to
    the objects that are looked at, for fields of the schema.
    """

    def __init__(self, hidden: Collection[str]) -> None:
        self._hidden = hidden

    def filter(self, given: object, at: str, base: str) -> Node:
        """A filter, for items or for the objects in an array."""

        def again(part: object, at: str) -> Node:
            return self.filter(part, at, base)

        def field(key: str, value: object, at: str) -> Node:
            if key.startswith("$"):
                known = key in OPERATORS
                raise malformed(at, "an operator needs a field" if known else "unknown operator")
            refuse_hidden(base + key, at, self._hidden)
            return self.condition(key, value, at, base + key)

        return together(entries(checked_dict(given, at), at, again, field))

    def condition(self, path: str | None, given: object, at: str, base: str) -> Node:
        """What is asked of a field, or of an element."""
        if not isinstance(given, dict) or not has_operators(given, at):
            return Equals(path, (operand(given, at),))

        def again(part: object, at: str) -> Node:
            return self.condition(path, part, at, base)

        def operator(key: str, value: object, at: str) -> Node:
            if key == "$elemMatch":
                return self.element(path, value, at, base)
            make = OPERATORS.get(key)
            if make is None:
                raise malformed(at, "unknown operator")
            return make(path, value, at)

        return together(entries(given, at, again, operator))

    def element(self, path: str | None, given: object, at: str, base: str) -> Node:
        """What is asked of one element of an array."""
        if holds_operators(checked_dict(given, at)):
            return Element(path, self.condition(None, given, at, base), fields=False)
        return Element(path, self.filter(given, at, f"{base}."), fields=True)


def checked_dict(given: object, at: str) -> dict[str, Any]:
    """A part of a filter that is a dict with text as keys."""
    if not isinstance(given, dict):
        raise malformed(at, f"must be a dict, not {type(given).__name__}")
    for key in given:
        if not isinstance(key, str):
            raise malformed(at, f"keys must be text, not {type(key).__name__}")
    return given


def has_operators(given: dict[Any, Any], at: str) -> bool:
    """Whether a dict is made of operators; False for a value."""
    operators = [isinstance(key, str) and key.startswith("$") for key in given]
    if any(operators) and not all(operators):
        raise malformed(at, "operators beside keys that are none")
    return any(operators)


def holds_operators(given: dict[str, Any]) -> bool:
    """Whether what `$elemMatch` holds asks something of an element, not of fields inside it."""
    inside: list[object] = [given]
    for _ in range(2 * MAX_METADATA_DEPTH):
        following: list[object] = []
        for part in inside:
            if not isinstance(part, dict):
                continue
            for key, value in part.items():
                if key not in LOGIC:
                    return isinstance(key, str) and key.startswith("$")
                following.extend(value if isinstance(value, (list, tuple)) else [value])
        inside = following
    return False


def entries(
    given: dict[str, Any],
    at: str,
    again: Callable[[object, str], Node],
    single: Callable[[str, object, str], Node],
) -> list[Node]:
    """What each entry of a dict asks for: `again` parses what one of `LOGIC` holds, `single`
    another entry.
    """
    places = ((key, value, f"{at}[{key!r}]") for key, value in given.items())
    return [
        logic(key, value, place, again) if key in LOGIC else single(key, value, place)
        for key, value, place in places
    ]


def logic(key: str, given: object, at: str, nested: Callable[[object, str], Node]) -> Node:
    """One of `LOGIC`; `nested` parses what it holds."""
    if key == "$not":
        return Not(nested(given, at))
    parts = [nested(part, f"{at}[{i}]") for i, part in enumerate(as_array(given, at))]
    if key == "$and":
        return together(parts)
    return AnyOf(tuple(parts)) if key == "$or" else Not(AnyOf(tuple(parts)))


def together(parts: list[Node]) -> Node:
    """All of them."""
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def as_array(given: object, at: str) -> list[Any]:
    """An operand that is an array."""
    if not isinstance(given, (list, tuple)):
        raise malformed(at, f"must be a list, not {type(given).__name__}")
    return list(given)


def operand(given: object, at: str) -> Any:
    """A JSON value, in which a datetime is what it is stored as."""
    if given is None or isinstance(given, (bool, int)):
        return given
    if isinstance(given, str):
        return str(given)
    if isinstance(given, float):
        if not math.isfinite(given):
            raise malformed(at, "must not be NaN or infinite")
        return float(given)
    if isinstance(given, dt.datetime):
        if given.utcoffset() is None:
            raise malformed(at, "a datetime must have a time zone")
        return milliseconds(given)
    if isinstance(given, (list, tuple)):
        return [operand(each, f"{at}[{i}]") for i, each in enumerate(given)]
    if isinstance(given, dict):
        named = checked_dict(given, at).items()
        return {key: operand(each, f"{at}[{key!r}]") for key, each in named}
    raise malformed(at, f"must be a JSON value or a datetime, not {type(given).__name__}")


def ranged(relation: str) -> Callable[[str | None, object, str], Node]:
    """What makes the node of a comparison."""

    def make(path: str | None, given: object, at: str) -> Node:
        value = operand(given, at)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise malformed(at, "must be a number, text or a datetime")
        return Compares(path, relation, value)

    return make


def unequal(path: str | None, given: object, at: str) -> Node:
    """`$ne`."""
    return AllOf((Exists(path), Not(Equals(path, (operand(given, at),)))))


def any_of(path: str | None, given: object, at: str) -> Node:
    """`$in`."""
    return Equals(path, tuple(operand(as_array(given, at), at)))


def every_one_of(path: str | None, given: object, at: str) -> Node:
    """`$all`."""
    values = operand(as_array(given, at), at)
    return AllOf(tuple(Equals(path, (value,)) for value in values)) if values else NOTHING


def existing(path: str | None, given: object, at: str) -> Node:
    """`$exists`."""
    if not isinstance(given, bool):
        raise malformed(at, "must be True or False")
    return Exists(path) if given else Not(Exists(path))


def sized(path: str | None, given: object, at: str) -> Node:
    """`$size`."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise malformed(at, "must be a whole number of at least 0")
    return Size(path, given)


def containing(path: str | None, given: object, at: str) -> Node:
    """`$contains`."""
    value = operand(given, at)
    return HasText(path, "inside", value) if isinstance(value, str) else HasElement(path, value)


def starting(path: str | None, given: object, at: str) -> Node:
    """`$startsWith`."""
    return HasText(path, "start", as_text(given, at))


def matching(path: str | None, given: object, at: str) -> Node:
    """`$regex`."""
    pattern = as_text(given, at)
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        raise malformed(at, "not a pattern that Python's re can compile") from None
    return HasText(path, "pattern", pattern)


def as_text(given: object, at: str) -> str:
    """An operand that is text."""
    if not isinstance(given, str):
        raise malformed(at, f"must be text, not {type(given).__name__}")
    return str(given)


OPERATORS: dict[str, Callable[[str | None, object, str], Node]] = {
    "$eq": lambda path, given, at: Equals(path, (operand(given, at),)),
    "$ne": unequal,
    "$in": any_of,
    "$nin": lambda path, given, at: Not(any_of(path, given, at)),
    "$exists": existing,
    "$all": every_one_of,
    "$size": sized,
    "$regex": matching,
    "$contains": containing,
    "$startsWith": starting,
    **{relation: ranged(relation) for relation in COMPARISONS},
}
