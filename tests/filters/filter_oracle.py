"""What docs/FILTERS.md says, in plain Python, one item at a time and as simply as it goes.

It takes filters that are well formed, and shares no code with the library.
"""

import re
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
LOGIC = {"$and", "$or", "$nor", "$not"}


def satisfies(filters, metadata):
    """Whether an item of this metadata (None: it was left out) satisfies a filter (None: any)."""
    return filter_holds(stored(filters or {}), stored(metadata or {}))


def ordered(items, order_by=None, *, ascending=True):
    """The ids of `items`, pairs of id and metadata in the order of writing, as `query_metadata`
    gives them.
    """
    ranked, last = [], []
    for name, metadata in items:
        values = comparable(reached(stored(metadata or {}), order_by)) if order_by else []
        places = [place for place in map(place_in_order, values) if place is not None]
        if places:
            ranked.append((min(places) if ascending else max(places), name))
        else:
            last.append(name)
    # Sorting in reverse keeps the order of what is equal, too.
    ranked.sort(key=lambda pair: pair[0], reverse=not ascending)
    return [name for _, name in ranked] + last


def place_in_order(value):
    """Something that sorts as values do: false < true < numbers < text; None for all others."""
    kinds = ["truth value", "number", "text"]
    return (kinds.index(kind(value)), value) if kind(value) in kinds else None


def stored(value):
    """A value as it is stored: datetimes are milliseconds since 1970, rounded down."""
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(milliseconds=1)
    if isinstance(value, list):
        return [stored(part) for part in value]
    if isinstance(value, dict):
        return {name: stored(part) for name, part in value.items()}
    return value


# --- fields ---------------------------------------------------------------------------------


def reached(document, path):
    """The values of the field of this path in an object: all that are there."""
    found = []
    for key, value in document.items():
        if path == key:
            found.append(value)
        elif path.startswith(key + "."):
            rest = path[len(key) + 1 :]
            if isinstance(value, dict):
                found.extend(reached(value, rest))
            if isinstance(value, list):
                for element in value:
                    if isinstance(element, dict):
                        found.extend(reached(element, rest))
    return found


def comparable(values):
    """The values of a field, and the elements of those that are arrays."""
    found = list(values)
    for value in values:
        if isinstance(value, list):
            found.extend(value)
    return found


# --- values ---------------------------------------------------------------------------------


def kind(value):
    """The type of a value, by its name."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth value"
    names = {int: "number", float: "number", str: "text", list: "array", dict: "object"}
    return names[type(value)]


def equal(one, other):
    """Whether two values are equal."""
    if kind(one) != kind(other):
        return False
    if isinstance(one, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(equal(left, right) for left, right in pairs)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return one == other


# --- filters --------------------------------------------------------------------------------


def filter_holds(filters, document):
    """Whether an object satisfies all entries of a filter."""
    return all(entry_holds(key, asked, document) for key, asked in filters.items())


def entry_holds(key, asked, document):
    """Whether an object satisfies one entry of a filter."""
    if key == "$and":
        return all(filter_holds(each, document) for each in asked)
    if key == "$or":
        return any(filter_holds(each, document) for each in asked)
    if key == "$nor":
        return not any(filter_holds(each, document) for each in asked)
    if key == "$not":
        return not filter_holds(asked, document)
    return condition_holds(asked, reached(document, key))


def has_operators(condition):
    """Whether a condition is a dict of operators, and not a bare value."""
    return isinstance(condition, dict) and any(key.startswith("$") for key in condition)


def condition_holds(condition, values):
    """Whether a field of these values satisfies a condition."""
    operators = condition if has_operators(condition) else {"$eq": condition}
    return all(OPERATORS[name](values, asked) for name, asked in operators.items())


def equals(values, asked):
    """The operator $eq."""
    return any(equal(value, asked) for value in comparable(values))


def compares(holds):
    """One of the operators $gt, $gte, $lt and $lte."""

    def operator(values, asked):
        same = [value for value in comparable(values) if kind(value) == kind(asked)]
        return any(holds(value, asked) for value in same)

    return operator


def has_length(values, asked):
    """The operator $size."""
    return any(isinstance(value, list) and len(value) == asked for value in values)


def contains(values, asked):
    """The operator $contains."""
    if isinstance(asked, str):
        return any(asked in text for text in texts(values))
    arrays = [value for value in values if isinstance(value, list)]
    return any(equal(element, asked) for array in arrays for element in array)


def texts(values):
    """The comparable values that are text."""
    return [value for value in comparable(values) if isinstance(value, str)]


def what_is_in(asked):
    """What $elemMatch holds: of "field" and "operator" those that it names."""
    found = set()
    for key, held in asked.items():
        if key == "$not":
            found |= what_is_in(held) if isinstance(held, dict) else set()
        elif key in LOGIC:
            for part in held:
                found |= what_is_in(part) if isinstance(part, dict) else set()
        else:
            found.add("operator" if key.startswith("$") else "field")
    return found


def is_filter(asked):
    """Whether $elemMatch holds a filter, and not operators."""
    return "field" in what_is_in(asked) or not what_is_in(asked)


def element_matches(values, asked):
    """The operator $elemMatch."""
    arrays = [value for value in values if isinstance(value, list)]
    elements = [element for array in arrays for element in array]
    if is_filter(asked):
        objects = [element for element in elements if isinstance(element, dict)]
        return any(filter_holds(asked, element) for element in objects)
    return any(condition_holds(asked, [element]) for element in elements)


OPERATORS = {
    "$eq": equals,
    "$ne": lambda values, asked: bool(values) and not equals(values, asked),
    "$gt": compares(lambda value, asked: value > asked),
    "$gte": compares(lambda value, asked: value >= asked),
    "$lt": compares(lambda value, asked: value < asked),
    "$lte": compares(lambda value, asked: value <= asked),
    "$in": lambda values, asked: any(equals(values, each) for each in asked),
    "$nin": lambda values, asked: not any(equals(values, each) for each in asked),
    "$exists": lambda values, asked: bool(values) == asked,
    "$all": lambda values, asked: bool(asked) and all(equals(values, each) for each in asked),
    "$size": has_length,
    "$elemMatch": element_matches,
    "$regex": lambda values, asked: any(re.search(asked, text) for text in texts(values)),
    "$contains": contains,
    "$startsWith": lambda values, asked: any(text.startswith(asked) for text in texts(values)),
    "$not": lambda values, asked: not condition_holds(asked, values),
    "$and": lambda values, asked: all(condition_holds(each, values) for each in asked),
    "$or": lambda values, asked: any(condition_holds(each, values) for each in asked),
    "$nor": lambda values, asked: not any(condition_holds(each, values) for each in asked),
}
