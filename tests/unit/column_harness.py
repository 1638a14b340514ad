"""What the tests of columns share: metadata of every shape, columns made of it, and what they are to
say of it, told in the plainest way.
"""

from collections import Counter

import numpy as np
from hypothesis import strategies as st

from cyborg_embedded.column import FIRST_CODE, MISSING_CODE, TEXT_KEPT, kept_text, updated
from cyborg_embedded.fields import Found, Gathered

KEPT = "p" * TEXT_KEPT
BIG, HUGE = 2**53, 10**30
ODD = [
    *(None, True, False, 0, 1, 1.0, -1, 0.5, -0.0, 20, 20.0, BIG, BIG + 1, float(BIG), 2**63, HUGE),
    *(5e-324, 1e300, 10**400, -(10**400)),
    *("", "a", "1", "True", "20", "\0", "\U0010ffff", KEPT[1:], KEPT, KEPT + "a", KEPT + "b"),
    *(KEPT + "\0", KEPT + "\U0010ffff", KEPT * 3),
]
KEYS = ["a", "b", "c", "a.b"]

scalars = st.sampled_from(ODD) | st.integers(-2, 3) | st.text("ab", max_size=2)
keys = st.sampled_from(KEYS)
kinds = st.sampled_from("sssssao")
sizes = st.integers(0, 3)


def nested(draw, depth):
    """A value of so many levels at most."""
    kind = draw(kinds) if depth else "s"
    if kind == "s":
        return draw(scalars)
    inner = [nested(draw, depth - 1) for _ in range(draw(sizes))]
    return inner if kind == "a" else {draw(keys): each for each in inner}


@st.composite
def any_value(draw):
    """A value of three levels at most."""
    return nested(draw, 3)


@st.composite
def any_item(draw):
    """Metadata with up to three keys."""
    return {draw(keys): nested(draw, 3) for _ in range(draw(sizes))}


values, items = any_value(), any_item()


def columns_of(described, hidden=()):
    """The columns of items, by path."""
    return changed_columns({}, len(described), dict(enumerate(described)), hidden)


def changed_columns(known, rows, described, hidden=()):
    """Columns of so many rows, some of which are now described otherwise."""
    changed = sorted(described)
    gathered = Gathered(known, hidden)
    gathered.add(changed, [described[row] for row in changed])
    made = {}
    for path in dict.fromkeys([*known, *gathered.paths]):
        found = gathered.paths.get(path) or Found()
        column = updated(known.get(path), rows, np.array(changed, np.int64), found)
        if column is not None:
            made[path] = column
    return made


def reached(item, prefix=""):
    """Each path that leads to something in an item, and what it leads to."""
    for key, value in item.items():
        yield prefix + key, value
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from reached(inner, prefix + key + ".")


def named(value):
    """A value with its kind: what is not equal to a filter is not equal here. Long text is what is
    kept of it; objects and arrays are all alike.
    """
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, (dict, list)):
        return type(value).__name__
    return ("text", kept_text(value)) if isinstance(value, str) else ("number", value)


def wanted(described):
    """What columns are to say of items, by path and row: how often each value, inside arrays or
    not, and how often an array of each length.
    """
    told = {}
    for row, item in enumerate(described):
        for path, value in reached(item):
            counts = told.setdefault(path, {}).setdefault(row, Counter())
            if isinstance(value, list):
                counts["array", len(value)] += 1
                counts.update(("inside", named(each)) for each in value)
            else:
                counts["value", named(value)] += 1
    return told


def told(columns):
    """What columns say, likewise."""
    return {path: told_by(column) for path, column in columns.items()}


def told_by(column):
    """What one column says, by row."""
    meant = [None, "dict", "list", "None", "False", "True"]
    assert len(meant) == FIRST_CODE
    meant += [("number", value) for value in column.numbers]
    meant += [("text", value) for value in column.texts]
    rows = column.rows if column.rows is not None else np.arange(len(column.codes))
    inside = column.inside if column.inside is not None else np.zeros(len(rows), bool)
    found = {}
    for row, code, within in zip(rows.tolist(), column.codes.tolist(), inside, strict=True):
        if code != MISSING_CODE:
            place = "inside" if within else "value"
            found.setdefault(row, Counter())[place, meant[code]] += 1
    for row, length in zip(column.list_rows.tolist(), column.list_lengths.tolist(), strict=True):
        found.setdefault(row, Counter())["array", length] += 1
    return found
