"""Conditions looked up in a dictionary of values find the codes that a loop over the values finds."""

import itertools
import re

import numpy as np
import pytest
from column_harness import KEPT, ODD, columns_of, scalars
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborg_embedded.column import ARRAY_CODE, FIRST_CODE, LONG, OBJECT_CODE, TEXT_KEPT
from cyborg_embedded.predicates import Compares, Equals, HasText, satisfies
from cyborg_embedded.spans import equal_spans, spans, table_of

PATTERNS = ["a", "^a", "a$", "b|1", "", r"^\Z", "^p{64}", "p{65}", "[^p]", r"^\d+$", "^[^a]*$"]
RELATIONS = ["$gt", "$gte", "$lt", "$lte"]
TEXTS = [value for value in ODD if isinstance(value, str)]
ORDERED = [v for v in ODD if isinstance(v, (int, float, str)) and not isinstance(v, bool)]


def column_of(values):
    """The column of items with these values in a field."""
    return columns_of([{"a": value} for value in values])["a"]


@st.composite
def scenes(draw):
    """Values, and a condition that often hits."""
    pool = draw(st.lists(scalars, min_size=1, max_size=10))
    kind = draw(st.sampled_from(["equal", "range", "inside", "start", "pattern"]))
    if kind == "equal":
        return pool, Equals(
            "a", tuple(draw(st.lists(st.sampled_from([*pool, [], {}, 5]), max_size=4)))
        )
    if kind == "range":
        ordered = [v for v in pool if isinstance(v, (int, float, str)) and not isinstance(v, bool)]
        value = draw(st.sampled_from(ordered + ORDERED))
        return pool, Compares("a", draw(st.sampled_from(RELATIONS)), value)
    if kind == "pattern":
        return pool, HasText("a", "pattern", draw(st.sampled_from(PATTERNS)))
    text = draw(st.sampled_from([value for value in pool if isinstance(value, str)] + TEXTS))
    start, stop = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return pool, HasText("a", kind, text[start if kind == "inside" else 0 : stop])


def check(pool, node):
    """See that sure codes are those of values that all satisfy, and that no other value does but in
    the codes that may.
    """
    column = column_of(pool)
    sure, maybe = spans(node, column, element=False)
    for found in (sure, maybe or []):
        assert all(0 <= low <= high <= column.total for low, high in found)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))
    surely = table_of(sure, column.total)
    possibly = surely | table_of(maybe or [], column.total)
    for row, value in enumerate(pool):
        code = column.codes[row]
        true = satisfies(node, {"a": value})
        assert surely[code] <= true <= possibly[code], repr(value)
        if not isinstance(value, str) or len(value) <= TEXT_KEPT:
            assert surely[code] == true, repr(value)


@given(scenes())
@settings(max_examples=150)
def test_spans_are_those_of_a_loop(scene):
    """Whatever is asked of whatever values, codes surely satisfy only where all their values do, and
    values satisfy only where a code may; what is kept whole is never in doubt.
    """
    check(*scene)


def test_every_odd_value_with_every_other():
    """The same for each pair of odd values in every relation."""
    for value in ODD:
        check(ODD, Equals("a", (value,)))
    for value in ORDERED:
        for relation in RELATIONS:
            check(ODD, Compares("a", relation, value))
    for value in TEXTS:
        for end in (1, 63, 64, 65, None):
            check(ODD, HasText("a", "start", value[:end]))
            check(ODD, HasText("a", "inside", value[-1:] + value[:end]))
    for pattern in PATTERNS:
        check(ODD, HasText("a", "pattern", pattern))


@pytest.mark.parametrize("part", ["ab", "ba", "aba", "", "b", LONG, "p" + LONG, "cp"])
def test_text_is_not_found_over_an_end(part):
    """Text that begins in one value and ends in the next is in neither; nor is the sign that a text
    goes on a part of it.
    """
    pool = ["a", "ab", "b", "ba", KEPT, KEPT + "x", KEPT[1:] + "q" + "x", "c"]
    check(pool, HasText("a", "inside", part))


def test_what_occurs_twice():
    """Texts in which something occurs several times, or overlaps itself, are found once each."""
    column = column_of(["aaaa", "aa", "a", "baab", "aab" * 20, ""])
    for part in ("a", "aa", "aaa", "aaaa", "aaaaa"):
        sure, _ = spans(HasText("a", "inside", part), column, element=False)
        table = table_of(sure, column.total)
        assert table[column.first_text :].tolist() == [part in text for text in column.texts]


def test_a_pattern_is_run_on_each_value():
    """A pattern is searched in each value that is kept whole."""
    column = column_of(["", "x1", "1x", "abc", "\n", "a\nb"])
    for pattern in ("^x", "x$", "(?s)a.b", "^$", r"\A\Z", "(?m)^b"):
        sure, maybe = spans(HasText("a", "pattern", pattern), column, element=False)
        table = table_of(sure, column.total)[column.first_text :]
        assert table.tolist() == [re.search(pattern, text) is not None for text in column.texts]
        assert maybe is None


def test_whole_objects_and_arrays_are_in_doubt():
    """What equals an object may be any object, and likewise for arrays inside arrays; in an element
    an array has values of its own that may satisfy anything.
    """
    column = column_of([1, {"x": 1}, [[2]]])
    assert equal_spans(({"x": 1},), column, element=False) == ([], [(OBJECT_CODE, OBJECT_CODE + 1)])
    assert equal_spans(([2],), column, element=False) == ([], [(ARRAY_CODE, ARRAY_CODE + 1)])
    assert equal_spans((1,), column, element=False) == ([(FIRST_CODE, FIRST_CODE + 1)], None)
    for node in (Equals(None, (1,)), Compares(None, "$gt", 0), HasText(None, "start", "a")):
        _, maybe = spans(node, column, element=True)
        assert (ARRAY_CODE, ARRAY_CODE + 1) in maybe


def test_nothing_wanted():
    """No value, and values that are not there, have no codes."""
    column = column_of([1, "a", None])
    for values in ((), (2, "b", 1.5), ("1",), (10**500,)):
        sure, maybe = equal_spans(values, column, element=False)
        assert not table_of(sure, column.total).any()
        assert maybe is None


@given(st.sets(st.integers(0, 30)), st.integers(31, 40))
def test_tables(codes, total):
    """A table says of each code whether a range has it."""
    ranges = [(code, code + 1) for code in sorted(codes)]
    assert np.flatnonzero(table_of(ranges, total)).tolist() == sorted(codes)
    assert len(table_of(ranges, total)) == total
    assert np.flatnonzero(table_of([(3, 6), (7, 7), (9, 11)], total)).tolist() == [3, 4, 5, 9, 10]
