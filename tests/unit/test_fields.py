"""From metadata to what paths reach: every value of every path, in whatever way it is gathered."""

from collections import Counter

import pytest
from column_harness import items, named, wanted
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborg_embedded import fields
from cyborg_embedded.fields import ARRAY, OBJECT, Gathered


def gathered(described, *, sizes=(), known=(), hidden=(), first=0):
    """What is gathered of items, so many at a time."""
    made, at = Gathered(known, hidden), 0
    for size in [*sizes, len(described)]:
        part = described[at : at + size]
        made.add(range(first + at, first + at + len(part)), part)
        at += len(part)
    return made


def told(found):
    """What was found for one path, by row, as the harness tells it."""
    by_row, inside = {}, set(found.inside)
    assert len(inside) == len(found.inside)
    stands = {OBJECT: {}, ARRAY: []}
    for place, (row, value) in enumerate(zip(found.rows, found.values, strict=True)):
        kind = "inside" if place in inside else "value"
        by_row.setdefault(row, Counter())[kind, named(stands.get(value, value))] += 1
    for row, length in zip(found.list_rows, found.list_lengths, strict=True):
        by_row.setdefault(row, Counter())["array", length] += 1
    return by_row


def all_told(made):
    """The same for all paths."""
    return {path: told(found) for path, found in made.paths.items()}


@given(st.lists(items, max_size=12), st.lists(st.integers(0, 5), max_size=4))
@settings(max_examples=50)
def test_everything_is_found(described, sizes):
    """Each path has each value that it reaches, each array and what is in it, however many items are
    taken at a time.
    """
    made = gathered(described, sizes=sizes)
    assert all_told(made) == wanted(described)
    assert made.complete


@given(st.lists(items, min_size=1, max_size=8))
@settings(max_examples=25)
def test_key_by_key_or_item_by_item(described):
    """Items of few keys are taken key by key, items of many each alone: what is found is the same."""
    many = [{f"own {number}": number} for number in range(200)]
    alone = all_told(gathered(described + many))
    together = all_told(gathered(described, sizes=[len(described)]))
    assert {path: alone[path] for path in together} == together
    assert alone["own 7"] == {len(described) + 7: Counter({("value", ("number", 7)): 1})}


def test_the_kinds_of_values():
    """Objects and arrays in arrays have something that stands for them; an empty array has a length,
    and no value; what is inside objects of an array is reached, what is in arrays of one is not.
    """
    described = [{"a": []}, {"a": [1, [2, {"b": 3}], {"b": 4}]}, {"a": {"b": [5]}}, {}, {"a": None}]
    made = gathered(described, first=10)
    a, b = made.paths["a"], made.paths["a.b"]
    assert (a.rows, a.values) == ([11, 11, 11, 12, 14], [1, ARRAY, OBJECT, OBJECT, None])
    assert a.inside == [0, 1, 2]
    assert (a.list_rows, a.list_lengths) == ([10, 11], [0, 3])
    assert (b.rows, b.values, b.inside) == ([11, 12], [4, 5], [1])
    assert (b.list_rows, b.list_lengths) == ([12], [1])
    assert made.paths.keys() == {"a", "a.b"}


def test_two_ways_to_one_path():
    """A key with a dot and an object lead to the same path, and both values count."""
    made = gathered([{"a.b": 1, "a": {"b": 2}}, {"a": [{"b": 3}, {"b": 3}]}])
    assert told(made.paths["a.b"]) == {
        0: Counter({("value", ("number", 1)): 1, ("value", ("number", 2)): 1}),
        1: Counter({("value", ("number", 3)): 2}),
    }


@given(st.lists(items, max_size=8), st.sets(st.sampled_from(["a", "c", "a.c", "b.a"])))
@settings(max_examples=30)
def test_hidden_fields(described, hidden):
    """Hidden fields are left out, and the others are as they were."""
    made = all_told(gathered(described, hidden=hidden))
    every = wanted(described)
    inside = {path for path in every if any(path.startswith(field + ".") for field in hidden)}
    assert not made.keys() & hidden
    assert made.keys() - inside == every.keys() - inside - hidden
    assert all(made[path] == every[path] for path in made.keys() - inside)


def test_what_is_hidden_is_not_looked_into():
    """Nothing of an object under a hidden field is found, be it alone, in an array, or a value."""
    described = [{"a": {"x": 1}}, {"a": [{"x": {"y": 1}}]}, {"a": 1}, {"b": {"a": 1}}, {"b": 1}]
    for some in (described, described[2:3], described[:1]):
        assert gathered(some, hidden=["a"]).paths.keys() <= {"b", "b.a"}
    assert gathered(described, hidden=["a.x"]).paths.keys() == {"a", "b", "b.a"}


@pytest.mark.parametrize("spread", [False, True])
def test_more_paths_than_columns(monkeypatch, spread):
    """So many paths at most are taken, known ones in any case, and it is told if others are left."""
    monkeypatch.setattr(fields, "MOST_PATHS", 5)
    many = {f"own {number}": number for number in range(9)}
    described = [{name: value} for name, value in many.items()] if spread else [many]
    made = gathered(described)
    assert len(made.paths) == 5
    assert not made.complete
    assert gathered(described[:1] if spread else [{"a": 1}]).complete
    made = gathered(described, known=["own 8", "own 7", "elsewhere"])
    assert {"own 7", "own 8"} < made.paths.keys()
    assert len(made.paths) == 4
    assert not made.complete


def test_once_incomplete():
    """Where paths were left out before, none is taken that is not known."""
    made = Gathered(["a"], [], complete=False)
    made.add([0, 1], [{"a": 1}, {"a": 2}])
    assert not made.complete
    made.add([2], [{"a": 1, "b": 2}])
    assert made.paths.keys() == {"a"}
