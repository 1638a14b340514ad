"""Columns say what the items say, through any changes, with codes in the order of values."""

import itertools

import numpy as np
import pytest
from column_harness import (
    BIG,
    HUGE,
    KEPT,
    ODD,
    changed_columns,
    columns_of,
    items,
    told,
    told_by,
    wanted,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborg_embedded.column import (
    FALSE_CODE,
    LONG,
    NULL_CODE,
    TEXT_KEPT,
    TRUE_CODE,
    kept_text,
    updated,
    width_of,
)
from cyborg_embedded.fields import Found


def column_of(values):
    """The column of items that have these values in a field, one after another."""
    return columns_of([{"a": value} for value in values])["a"]


def code_of(column, row):
    """The code of a row with a single value."""
    place = row if column.rows is None else column.rows.tolist().index(row)
    return int(column.codes[place])


def in_order(column):
    """Whether numbers and texts ascend strictly."""
    pairs = [*itertools.pairwise(column.numbers), *itertools.pairwise(column.texts)]
    return all(low < high for low, high in pairs)


@given(st.lists(items, max_size=12))
@settings(max_examples=50)
def test_columns_say_what_items_say(described):
    """Every value of every path, and every array, is in a column and nothing else is."""
    columns = columns_of(described)
    assert told(columns) == wanted(described)
    assert all(in_order(column) for column in columns.values())


@given(
    st.lists(items, max_size=8),
    st.lists(
        st.tuples(st.dictionaries(st.integers(0, 14), items, max_size=5), st.integers(0, 3)),
        max_size=5,
    ),
)
@settings(max_examples=50)
def test_changes(described, changes):
    """Columns that were changed, some rows at a time, say what columns made at once say."""
    columns = columns_of(described)
    for given_change, more in changes:
        have = len(described)
        described = described + [{}] * more
        change = {row: item for row, item in given_change.items() if row < len(described)}
        change |= {row: change.get(row, {}) for row in range(have, len(described))}
        for row, item in change.items():
            described[row] = item
        columns = changed_columns(columns, len(described), change)
        assert told(columns) == wanted(described)
        assert all(in_order(column) for column in columns.values())


@pytest.mark.parametrize("kind", [int, str])
def test_known_values_among_new_ones(kind):
    """Where a change brings values that the column has already and others before, between and behind
    them, each row has its own.
    """
    described = [{"a": kind(value)} for value in (20, 40, 60)]
    columns = columns_of(described)
    described[1:] = [{"a": kind(value)} for value in (40, 60, 10, 20, 30, 50, 70, 60)]
    columns = changed_columns(columns, 9, dict(list(enumerate(described))[1:]))
    assert told(columns) == wanted(described)
    assert columns.keys() == {"a"}


@given(st.lists(items, min_size=1, max_size=10), st.integers(0, 9))
@settings(max_examples=25)
def test_fewer_rows(described, rows):
    """Columns of an earlier commit, with fewer rows, say nothing of later ones."""
    rows = min(rows, len(described))
    columns = changed_columns(columns_of(described), rows, {})
    assert told(columns) == wanted(described[:rows])


def test_a_column_never_changes():
    """What is made of a column leaves it as it was: others may be reading it."""
    first = columns_of([{"a": [1, "b"], "c": n} for n in range(8)])
    before = told(first)
    codes = {path: column.codes.tobytes() for path, column in first.items()}
    second = changed_columns(first, 8, {3: {"a": "c", "c": -1}, 4: {"c": [0]}, 5: {}})
    assert told(second) != before
    for rows, change in (
        (9, {3: {"a": [1, 1], "c": 5}, 8: {"c": 7}}),
        (8, {3: {"c": 5}}),
        (8, {3: {"c": None}}),
        (8, {4: {}}),
    ):
        assert told(changed_columns(first, rows, change)) != before
    assert told(first) == before
    assert {path: column.codes.tobytes() for path, column in first.items()} == codes


def test_nothing_left():
    """A column of which the last value went is none."""
    columns = columns_of([{"a": 1}, {"a": []}, {"b": 1}])
    columns = changed_columns(columns, 3, {0: {}})
    assert columns.keys() == {"a", "b"}
    assert changed_columns(columns, 3, {1: {}}).keys() == {"b"}
    assert updated(None, 3, np.arange(3), Found()) is None


def test_codes_in_the_order_of_values():
    """The order of codes is null, false, true, numbers exactly by value, texts by code points."""
    ordered = [
        *(None, False, True, -(10**400), -HUGE, -1, 0, 5e-324, 0.5, 1, 20, BIG, BIG + 1),
        *(*sorted((HUGE, float(HUGE))), 1e300, 10**400),
        *("", "\0", "1", "20", "B", "a", "a\0", KEPT[1:], KEPT, KEPT + "x", "q", "\uffff", LONG),
    ]
    shuffled = list(range(len(ordered)))
    np.random.default_rng(1).shuffle(shuffled)
    column = column_of([ordered[place] for place in shuffled])
    codes = [code_of(column, shuffled.index(place)) for place in range(len(ordered))]
    assert codes == list(range(NULL_CODE, NULL_CODE + len(ordered)))


def test_what_is_equal_has_one_code():
    """20 and 20.0 are one value, 0 and -0.0 too; true and 1, "1" and 1, null and "" are not."""
    column = column_of([20, 20.0, 0, -0.0, True, 1, "1", None, "", False, BIG + 1, float(BIG)])
    codes = [code_of(column, row) for row in range(12)]
    assert codes[0] == codes[1]
    assert codes[2] == codes[3]
    assert len(set(codes)) == 10
    assert (codes[4], codes[9], codes[7]) == (TRUE_CODE, FALSE_CODE, NULL_CODE)


def test_long_texts_share_a_code():
    """Texts are told apart up to their 64th character; those that go on come after the one that
    does not, and before any other.
    """
    texts = [KEPT, KEPT + "a", KEPT + "b" * 900, KEPT[1:] + "q", KEPT[:-1] + "q" + "a", KEPT + LONG]
    column = column_of(texts)
    a, b, c, d, e, f = (code_of(column, row) for row in range(6))
    assert b == c == f == a + 1
    assert len({a, b, d, e}) == 4
    going_on = [place for place, text in enumerate(column.texts) if len(text) > TEXT_KEPT]
    assert column.long == going_on
    assert len(going_on) == 2
    assert max(map(len, column.texts)) == TEXT_KEPT + len(LONG)


@pytest.mark.parametrize(
    ("length", "kept"), [(0, 0), (63, 63), (64, 64), (65, 65), (66, 65), (1000, 65)]
)
def test_kept_text(length, kept):
    """A text of up to 64 characters is kept whole, a longer one as 64 and a sign."""
    text = "\U0001f600" * length
    assert len(kept_text(text)) == kept
    assert kept_text(text).startswith(text[:TEXT_KEPT])
    assert (kept_text(text) == text) == (length <= TEXT_KEPT)


@pytest.mark.parametrize(
    ("total", "width"),
    [(6, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4), (1 << 31, 4)],
)
def test_widths(total, width):
    """Codes have as few bytes as the largest of them needs."""
    assert np.dtype(width_of(total)).itemsize == width


@pytest.mark.parametrize("count", [249, 250, 251, 65_529, 65_530, 65_531])
def test_values_around_a_width(count):
    """At the edges of a width every row has its own value, also where a change passes the edge."""
    column = column_of(range(count))
    assert column.codes.dtype == width_of(column.total)
    assert (column.codes[1:] > column.codes[:-1]).all()
    described = {"a": [-1, "x"]} if count < 1000 else {"a": "x"}
    column = changed_columns({"a": column}, count + 1, {count: described})["a"]
    assert column.codes.dtype == width_of(column.total)
    assert int(column.codes[0]) < int(column.codes[count - 1])
    found = told_by(column)
    assert found[count // 2] == {("value", ("number", count // 2)): 1}
    assert ("text", "x") in [value for _, value in found[count]]


@pytest.mark.parametrize("step", [1, 3, 50])
def test_few_and_many_rows(step):
    """A field of few items costs what it has, not a place for each row of the index."""
    column = columns_of([{"a": n} if n % step == 0 else {} for n in range(1000)])["a"]
    assert len(column.codes) <= (1000 if step < 4 else 1000 // step)
    assert told_by(column) == {n: {("value", ("number", n)): 1} for n in range(0, 1000, step)}


def test_values_that_nothing_has_are_dropped():
    """However often values are replaced, the dictionary stays in proportion to the rows."""
    columns = {}
    for turn in range(12):
        described = {n: {"a": [turn * 500 + n, str(turn * 500 + n)][n % 2]} for n in range(500)}
        columns = changed_columns(columns, 500, described)
        assert told(columns) == wanted(list(described.values()))
        column = columns["a"]
        assert column.total <= 3 * len(column.codes) + 1024
        # What was made of the texts of an older one is not taken for that of this one.
        assert column.haystack[0] == "".join(column.texts)


def test_odd_values_one_by_one():
    """Each odd value comes back from a column of its own, alone, in an array, in an object."""
    for value in ODD:
        described = [{"a": value}, {"a": [value]}, {"a": {"b": value}}, {}]
        assert told(columns_of(described)) == wanted(described), repr(value)
