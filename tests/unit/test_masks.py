"""A filter over columns: what is sure is true, and what is true may be."""

import numpy as np
import pytest
from column_harness import KEPT, KEYS, changed_columns, columns_of, items, scalars, values
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborg_embedded.masks import masks
from cyborg_embedded.predicates import (
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
    Not,
    Size,
    satisfies,
)

paths = st.sampled_from([*KEYS, "a.a", "b.a", "b.c", "missing"])
numbers = scalars.filter(lambda v: isinstance(v, (int, float)) and not isinstance(v, bool))
texts = scalars.filter(lambda value: isinstance(value, str))
few_values = st.lists(values, max_size=3)
no_texts = values.filter(lambda value: not isinstance(value, str))
relations = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
patterns = st.sampled_from(["a", "^p", "p$", "^$"])
sizes = st.integers(0, 3)
kinds = st.sampled_from(
    [*("equal", "equal", "range", "range", "there", "size", "has", "inside", "start", "pattern")]
)
shapes = st.sampled_from(["leaf", "leaf", "leaf", "element", "all", "any", "not"])


def leaf(draw, path, kind):
    """A condition on a field, or on an element."""
    if kind == "equal":
        return Equals(path, tuple(draw(few_values)))
    if kind == "range":
        return Compares(path, draw(relations), draw(numbers | texts))
    if kind == "there":
        return Exists(path)
    if kind == "size":
        return Size(path, draw(sizes))
    if kind == "has":
        return HasElement(path, draw(no_texts))
    return HasText(path, kind, draw(patterns if kind == "pattern" else texts))


def filter_of(draw, depth, *, element=False):
    """A filter on fields, or on an element."""
    path = None if element else draw(paths)
    shape = draw(shapes) if depth else "leaf"
    if shape == "leaf":
        return leaf(draw, path, draw(kinds))
    if shape == "element":
        fields = draw(st.booleans())
        return Element(path, filter_of(draw, depth - 1, element=not fields), fields=fields)
    if shape == "not":
        return Not(filter_of(draw, depth - 1, element=element))
    parts = [filter_of(draw, depth - 1, element=element) for _ in range(draw(sizes))]
    return {"all": AllOf, "any": AnyOf}[shape](tuple(parts))


@st.composite
def nodes(draw, depth=2):
    """A filter of so many levels at most."""
    return filter_of(draw, depth)


def check(node, described, columns=None):
    """See that masks bracket the truth; returns them."""
    made = columns_of(described) if columns is None else columns
    found = masks(node, made, len(described), complete=True)
    truth = np.array([satisfies(node, item) for item in described], bool)
    assert found.sure.dtype == found.maybe.dtype == bool
    assert len(found.sure) == len(found.maybe) == len(described)
    assert not (found.sure & ~truth).any()
    assert not (truth & ~found.maybe).any()
    return found


@given(st.lists(items, min_size=1, max_size=10), nodes())
@settings(max_examples=100)
def test_masks_bracket_the_truth(described, node):
    """Rows that surely satisfy a filter do, and rows that do may."""
    check(node, described)
    check(Not(node), described)


@given(
    st.lists(items, min_size=1, max_size=8),
    st.dictionaries(st.integers(0, 7), items, max_size=4),
    nodes(1),
)
@settings(max_examples=40)
def test_after_changes(described, changes, node):
    """So it is with columns that were changed."""
    columns = columns_of(described)
    changes = {row: item for row, item in changes.items() if row < len(described)}
    for row, item in changes.items():
        described[row] = item
    check(node, described, changed_columns(columns, len(described), changes))


short = scalars.filter(lambda value: not isinstance(value, str) or len(value) <= 64)
few_short = st.lists(short, max_size=3)


@st.composite
def exact_nodes(draw):
    """A filter that asks for nothing but plain values."""
    parts = []
    for _ in range(draw(sizes)):
        path, kind = draw(paths), draw(st.sampled_from(["equal", "range", "there", "size", "has"]))
        if kind == "equal":
            parts.append(Equals(path, tuple(draw(few_short))))
        elif kind == "range":
            parts.append(Compares(path, draw(relations), draw(numbers)))
        else:
            parts.append(HasElement(path, draw(short)) if kind == "has" else leaf(draw, path, kind))
    made = draw(st.sampled_from([AllOf, AnyOf]))(tuple(parts))
    return Not(made) if draw(st.booleans()) else made


@given(st.lists(items, min_size=1, max_size=10), exact_nodes())
@settings(max_examples=40)
def test_plain_values_leave_no_doubt(described, node):
    """Where nothing but plain values is asked for, both masks are one object."""
    found = check(node, described)
    assert found.sure is found.maybe


@pytest.mark.parametrize(
    ("node", "doubtful"),
    [
        (Equals("a", ({"b": 1},)), [{"a": {"b": 1}}, {"a": {"b": 2}}]),
        (Equals("a", ([1],)), [{"a": [1]}, {"a": [2]}]),
        (Equals("a", (KEPT + "x",)), [{"a": KEPT + "x"}, {"a": KEPT + "y"}]),
        (HasText("a", "pattern", "x$"), [{"a": KEPT + "x"}, {"a": KEPT + "y"}]),
        (Compares("a", "$gt", KEPT + "x"), [{"a": KEPT + "y"}, {"a": KEPT + "a"}]),
        (Element("a", Equals("b", (1,)), fields=True), [{"a": [{"b": 1}]}, {"a": [{"b": [2, 1]}]}]),
    ],
)
def test_what_is_in_doubt(node, doubtful):
    """What columns cannot tell is in doubt, in both directions, and what they can tell is not."""
    plain = [{"a": 1}, {"a": None}, {}, {"b": {"b": 1}}]
    for asked in (node, Not(node)):
        found = check(asked, doubtful + plain)
        in_doubt = (found.maybe & ~found.sure).tolist()
        assert in_doubt == [True] * len(doubtful) + [False] * len(plain)


ARRAYS = [
    *({"a": value} for value in (1, [1], [2, 1], [], [[1]], "x", ["x", None], {"b": 1}, [{}])),
    *(
        {"a": value}
        for value in ([{"b": 1}], [{"b": 2}, {"c": 1}], [{"b": [1, 2]}], [{"c": {}}, 1])
    ),
    *({}, {"b": [1]}),
]
OF_OBJECTS = [
    *(Equals("b", (1,)), Exists("c"), Size("b", 2), HasElement("b", 2), EVERYTHING, NOTHING),
    *(Not(Equals("b", (1,))), Not(EVERYTHING), AllOf((Exists("b"), Not(Exists("c"))))),
    AnyOf((Equals("b", (2,)), Not(Exists("b")))),
]
OF_VALUES = [
    *(Equals(None, (1,)), Compares(None, "$gt", 0), Exists(None), Size(None, 1), EVERYTHING),
    *(Not(Equals(None, (1,))), AnyOf((Equals(None, ("x", None)), HasElement(None, 1))), NOTHING),
    AllOf((Compares(None, "$gte", 1), Not(Equals(None, (2,))))),
]


@pytest.mark.parametrize(
    "node",
    [
        *(HasElement("a", value) for value in (1, 2, None, [1], {"b": 1}, {})),
        *(Element("a", inner, fields=True) for inner in OF_OBJECTS),
        *(Element("a", inner, fields=False) for inner in OF_VALUES),
    ],
)
def test_elements(node):
    """What is asked of the elements of arrays is not said of a value that stands alone."""
    check(node, ARRAYS)
    check(Not(node), ARRAYS)


def test_everything_and_nothing():
    """Filters without a condition mean all rows, or none, of any number of them."""
    for rows in (0, 1, 70):
        assert masks(EVERYTHING, {}, rows, complete=True).sure.tolist() == [True] * rows
        assert masks(NOTHING, {}, rows, complete=True).maybe.tolist() == [False] * rows


@pytest.mark.parametrize(
    "node",
    [Equals("b", (1,)), Exists("b"), Size("b", 1), Element("b", Exists(None), fields=False)],
)
def test_a_path_without_a_column(node):
    """It reaches nothing where the columns are complete; where they are not, all rows may."""
    columns = columns_of([{"a": 1}, {"a": 2}])
    assert masks(node, columns, 2, complete=True).maybe.tolist() == [False, False]
    for asked in (node, Not(node)):
        found = masks(asked, columns, 2, complete=False)
        assert (found.sure.tolist(), found.maybe.tolist()) == ([False] * 2, [True] * 2)
    found = masks(AllOf((Equals("a", (1,)), node)), columns, 2, complete=False)
    assert (found.sure.tolist(), found.maybe.tolist()) == ([False] * 2, [True, False])


def test_rows_beyond_a_column():
    """A column that ends before the last row says that later ones have nothing."""
    columns = columns_of([{"a": 1}, {"a": 2}])
    assert masks(Exists("a"), columns, 5, complete=True).sure.tolist() == [True] * 2 + [False] * 3
    found = masks(Not(Equals("a", (1,))), columns, 5, complete=True)
    assert found.sure.tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("count", [20, 300])
def test_ranges_hold_nothing_else(count):
    """Ranges in the middle of the values hold neither what is less nor what has no value, for codes
    of each width.
    """
    described = [{"a": n} for n in range(count)] + [{}, {"a": None}, {"a": "x"}, {"a": False}]
    for low, high in ((0, 3), (5, 9), (count - 3, count), (7, 7)):
        node = AllOf((Compares("a", "$gte", low), Compares("a", "$lt", high)))
        assert np.flatnonzero(check(node, described).sure).tolist() == list(range(low, high))
    several = Equals("a", (0, 2, 4, 6, 8, None))
    assert np.flatnonzero(check(several, described).sure).tolist() == [0, 2, 4, 6, 8, count + 1]
    for node, many in (
        (Compares("a", "$lte", 4), 5),
        (Compares("a", "$gt", count - 3), 2),
        (Compares("a", "$lt", 0), 0),
        (Compares("a", "$lt", "y"), 1),
    ):
        assert np.count_nonzero(check(node, described).sure) == many
