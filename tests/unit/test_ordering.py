"""Rows in the order of a field: by column as by items, and as many as are asked for."""

import numpy as np
import pytest
from column_harness import KEPT, changed_columns, columns_of, items, nested
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborg_embedded.ordering import by_column, by_items

PATHS = ["a", "b", "a.b", "missing"]


@st.composite
def described_items(draw):
    """Items of which the most have something in the field a."""
    some = [{"a": nested(draw, 1)} for _ in range(draw(st.integers(0, 12)))]
    return some + draw(st.lists(items, max_size=5))


def key_of(value):
    """Where a value stands among others; None for nowhere."""
    if isinstance(value, bool):
        return (0, value)
    if isinstance(value, (int, float)):
        return (1, value)
    return (2, value) if isinstance(value, str) else None


def reached(item, path):
    """The values under a path."""
    for key, value in item.items():
        if key == path:
            yield value
        elif path.startswith(key + "."):
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, dict):
                    yield from reached(inner, path[len(key) + 1 :])


def wanted(described, rows, path, *, ascending):
    """The rows in order, in the plainest way."""
    placed, last = [], []
    for row in rows:
        keys = []
        for value in reached(described[row], path):
            keys += map(key_of, value if isinstance(value, list) else [value])
        keys = [key for key in keys if key is not None]
        if keys:
            placed.append((min(keys) if ascending else max(keys), row))
        else:
            last.append(row)
    placed.sort(key=lambda pair: pair[0], reverse=not ascending)
    return [row for _, row in placed] + last


class Asked:
    """What gives metadata, and knows which rows it was asked for."""

    def __init__(self, described):
        self.described, self.rows = described, []

    def __call__(self, row):
        self.rows.append(row)
        return self.described[row]


@given(described_items(), st.sampled_from(PATHS), st.booleans(), st.data())
@settings(max_examples=100)
def test_any_order(described, path, ascending, data):
    """By column and by items, of all rows or of some, the whole or its first part: what sorting gives
    in the plainest way.
    """
    column = columns_of(described).get(path)
    chosen = data.draw(st.sets(st.sampled_from(range(len(described))))) if described else set()
    for rows in (list(range(len(described))), sorted(chosen)):
        whole = wanted(described, rows, path, ascending=ascending)
        for first in {1, 3, len(rows)} - {0}:
            asked, given_rows = Asked(described), np.array(rows, np.int64)
            options = {"ascending": ascending, "first": first}
            assert by_column(column, given_rows, path, asked, **options).tolist() == whole[:first]
            assert by_items(given_rows, path, asked, **options).tolist() == whole[:first]
            assert given_rows.tolist() == rows


@pytest.mark.parametrize("ascending", [True, False])
def test_only_long_texts_are_looked_at(ascending):
    """Items are read where texts are alike as far as columns keep them, and nowhere else."""
    described = [{"a": n % 7} for n in range(50)]
    described += [
        {"a": KEPT + "x"},
        {"a": "short"},
        {"a": "short"},
        {"a": KEPT + "b"},
        {},
        {"a": []},
    ]
    described += [{"a": KEPT[1:] + "y" + "alone"}]
    asked = Asked(described)
    rows = np.arange(len(described))
    found = by_column(
        columns_of(described)["a"], rows, "a", asked, ascending=ascending, first=len(rows)
    )
    assert found.tolist() == wanted(described, rows.tolist(), "a", ascending=ascending)
    assert set(asked.rows) == {50, 53}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("ascending", [True, False])
def test_equal_ones_at_the_border(sparse, ascending):
    """Where the first part ends among equal ones, those of the first rows are in it."""
    value = [1, [1]][sparse]
    described = [{"a": value}, {"a": 0}, {"a": value}, {}, {"a": value}, {"a": value}, {"a": 2}]
    column = columns_of(described)["a"]
    assert (column.rows is not None) == sparse
    rows = np.arange(7)
    for first in range(1, 8):
        found = by_column(column, rows, "a", None, ascending=ascending, first=first)
        assert found.tolist() == wanted(described, rows, "a", ascending=ascending)[:first]


def test_without_a_column():
    """Rows stay as they are where nothing has the field."""
    rows = np.array([2, 5, 9])
    for ascending in (True, False):
        assert by_column(None, rows, "a", None, ascending=ascending, first=2).tolist() == [2, 5]


def test_rows_beyond_the_column():
    """Rows that a column does not reach come last."""
    described = [{"a": 3}, {"a": 1}, {"a": 2}]
    columns = changed_columns(columns_of(described), 3, {})
    for ascending, order in ((True, [1, 2, 0]), (False, [0, 2, 1])):
        found = by_column(columns["a"], np.arange(6), "a", None, ascending=ascending, first=6)
        assert found.tolist() == [*order, 3, 4, 5]


@pytest.mark.parametrize("value", [None, {}, [[1]], [], [None, {}], {"b": 1}])
def test_what_has_no_place(value):
    """Null, objects, and arrays in arrays have no place: their items come last, in both orders."""
    described = [{"a": value}, {"a": 5}, {"a": False}, {"a": value}]
    column = columns_of(described)["a"]
    for ascending, order in ((True, [2, 1, 0, 3]), (False, [1, 2, 0, 3])):
        options = {"ascending": ascending, "first": 4}
        assert by_column(column, np.arange(4), "a", None, **options).tolist() == order
        assert by_items(np.arange(4), "a", Asked(described), **options).tolist() == order
