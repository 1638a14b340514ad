"""Whether one item satisfies a filter: what is equal, what compares, and what a path reaches."""

import pytest
from column_harness import BIG, HUGE, ODD, items, scalars, values
from hypothesis import given, settings
from hypothesis import strategies as st

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
    equal,
    reached,
    satisfies,
)

DIFFERENT = [
    *((True, 1), (False, 0), (True, "True"), (1, "1"), (None, False), (None, 0), (None, "")),
    *((None, []), (None, {}), ([], {}), ("", []), (BIG, BIG + 1), (HUGE, 1e30), (10**400, 1e300)),
    *(([1, 2], [2, 1]), ([1], [1, 1]), ([1], 1), ([True], [1]), ({"a": 1}, {"b": 1})),
    *(({"a": 1}, {"a": 1, "b": None}), ({"a": True}, {"a": 1}), ("a", "A"), ("\xe9", "e\u0301")),
]
SAME = [
    *((20, 20.0), (0, -0.0), (BIG, float(BIG)), (2**70, 2.0**70), (True, True), (None, None)),
    *(([1, [2.0]], [1.0, [2]]), ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}), ({}, {}), ([], [])),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_is_not_equal(one, other):
    """Values of different types, and arrays in another order, are not equal, in either direction."""
    assert not equal(one, other)
    assert not equal(other, one)
    assert equal(one, one)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_equal(one, other):
    """Numbers are equal by value and exactly, arrays and objects by what they hold."""
    assert equal(one, other)
    assert equal(other, one)


LIST = [1, {"b": 2, "c": {"d": 9}}, [{"b": 3}], {"b": [4]}]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a", [LIST]),
        ("a.b", [2, [4], 5]),
        ("a.c.d", [9]),
        ("a.b.c", [7]),
        ("a.0", []),
        ("b", []),
        ("", [8]),
        ("a.", []),
    ],
)
def test_what_a_path_reaches(path, wanted):
    """A path goes on in objects, in objects of an array, and through keys with dots."""
    item = {"a": LIST, "a.b": 5, "": 8, "a.b.c": 7}
    assert reached(item, path) == wanted
    assert reached(item, None) == [item]


CASES = [
    (Equals("a", ()), [], [{"a": 1}, {"a": None}, {}]),
    (Equals("a", (None, 1)), [{"a": None}, {"a": [2, 1]}], [{}, {"a": [[1]]}, {"a": True}]),
    (Equals("a", ([1],)), [{"a": [1]}, {"a": [[1]]}], [{"a": 1}, {"a": [[[1]]]}]),
    (Compares("a", "$gt", 1), [{"a": 2}, {"a": [0, 1.5]}], [{"a": 1}, {"a": "2"}, {"a": True}]),
    (Compares("a", "$gte", 1), [{"a": 1.0}], [{"a": 0.5}, {"a": True}, {"a": None}, {}]),
    (Compares("a", "$lt", "b"), [{"a": "B"}, {"a": ""}], [{"a": "b"}, {"a": 0}, {"a": [["a"]]}]),
    (Compares("a", "$lte", BIG), [{"a": BIG}, {"a": float(BIG)}], [{"a": BIG + 1}, {"a": 10**400}]),
    (Exists("a"), [{"a": None}, {"a": []}, {"a": {}}], [{}, {"b": {"a": 1}}]),
    (Size("a", 0), [{"a": []}], [{}, {"a": [[]]}, {"a": ""}, {"a": {}}]),
    (Size("a.b", 2), [{"a": [{"b": [1]}, {"b": [1, 2]}]}], [{"a": {"b": [1]}}, {"a": [1, 2]}]),
    (HasElement("a", 1), [{"a": [1.0]}], [{"a": 1}, {"a": [[1]]}, {"a": [True]}]),
    (HasElement("a", [1]), [{"a": [[1]]}], [{"a": [1]}, {"a": [[[1]]]}]),
    (HasText("a", "inside", "x"), [{"a": "axb"}, {"a": ["x"]}], [{"a": "X"}, {"a": [["x"]]}]),
    (HasText("a", "inside", ""), [{"a": ""}, {"a": ["b"]}], [{"a": 1}, {"a": []}, {}]),
    (HasText("a", "start", "ax"), [{"a": "axb"}, {"a": "ax"}], [{"a": "a"}, {"a": "xax"}]),
    (HasText("a", "pattern", "^x|y$"), [{"a": "xa"}, {"a": ["ay"]}], [{"a": "ax"}, {"a": 1}]),
    (
        Element("a", AllOf((Compares(None, "$gt", 1), Compares(None, "$lt", 3))), fields=False),
        [{"a": [2]}, {"a": [0, 2]}],
        [{"a": [1, 3]}, {"a": 2}],
    ),
    (
        Element("a", Not(Equals(None, (1,))), fields=False),
        [{"a": [2]}, {"a": [1, {}]}],
        [{"a": [1]}, {"a": []}, {"a": 2}, {"a": [[1]]}],
    ),
    (Element("a", Exists(None), fields=False), [{"a": [None]}], [{"a": []}, {"a": 1}]),
    (
        Element("a", AllOf((Equals("x", (1,)), Equals("y", (2,)))), fields=True),
        [{"a": [{"x": 1, "y": 2}]}, {"a": [0, {"x": [1], "y": [2]}]}],
        [{"a": [{"x": 1}, {"y": 2}]}, {"a": {"x": 1, "y": 2}}, {"a": [[{"x": 1, "y": 2}]]}],
    ),
    (Element("a", EVERYTHING, fields=True), [{"a": [{}]}], [{"a": [1]}, {"a": []}, {"a": {}}]),
    (EVERYTHING, [{}, {"a": 1}], []),
    (NOTHING, [], [{}, {"a": 1}]),
]


@pytest.mark.parametrize(("node", "satisfying", "failing"), CASES)
def test_what_satisfies(node, satisfying, failing):
    """Each kind of condition is satisfied by what its docstring says, and its opposite by the rest."""
    for item in satisfying:
        assert satisfies(node, item), item
        assert not satisfies(Not(node), item), item
    for item in failing:
        assert not satisfies(node, item), item
        assert satisfies(Not(node), item), item


@given(items, st.lists(st.builds(Equals, st.sampled_from("abc"), st.tuples(values)), max_size=4))
@settings(max_examples=25)
def test_logic(item, parts):
    """All, any and not are those of Python."""
    truths = [satisfies(part, item) for part in parts]
    assert satisfies(AllOf(tuple(parts)), item) == all(truths)
    assert satisfies(AnyOf(tuple(parts)), item) == any(truths)


ORDERED = [value for value in ODD if not isinstance(value, (bool, type(None)))]


@given(scalars, st.sampled_from(ORDERED))
def test_ranges_and_equality(one, other):
    """Of two numbers or two texts exactly one of less, equal and greater holds; of others none."""
    item = {"a": one}
    held = [satisfies(Compares("a", relation, other), item) for relation in ("$lt", "$gt")]
    same = satisfies(Equals("a", (other,)), item)
    alike = isinstance(one, str) == isinstance(other, str)
    alike = alike and not isinstance(one, (bool, type(None)))
    assert sum(held) + same == alike
    for relation, strict in (("$lte", 0), ("$gte", 1)):
        assert satisfies(Compares("a", relation, other), item) == (held[strict] or same)


@pytest.mark.parametrize(
    "node", [Equals("a", ("secret",)), HasText("a", "start", "secret"), AllOf((Exists("secret"),))]
)
def test_no_value_shows(node):
    """The repr of a node shows nothing of what is asked for."""
    assert "secret" not in repr(node)


@given(values)
@settings(max_examples=30)
def test_everything_equals_itself(value):
    """Whatever is stored is found by itself."""
    assert satisfies(Equals("a", (value,)), {"a": value})
    assert satisfies(HasElement("a", value), {"a": [*ODD, value]})
