"""What docs/FILTERS.md says about what satisfies a filter, and about order, by examples.

Each example is checked against the oracle, and against indexes: against one that holds the metadata
of all examples at once, in several states, and against one that holds that of the example alone.
"""

import functools

import numpy as np
import pytest
from filter_examples import (
    BEFORE_1970,
    BIG,
    CASES,
    HUGE,
    LAST,
    LEAP,
    LEAP_LATER,
    LEAP_MS,
    LONG,
    P63,
    P64,
    P65,
    SMILE,
)
from filter_harness import D, check_filter, vectors, wanted_ids
from filter_oracle import ordered, satisfies
from support import KEY

from cyborg_embedded import Client

# The metadata of all examples, each once, by what it looks like.
METADATA = {repr(each): each for case in CASES for each in (*case[2], *case[3])}
NAMES = {look: f"item {number:04}" for number, look in enumerate(METADATA)}
EVERYTHING = {NAMES[look]: metadata for look, metadata in METADATA.items()}
VECTORS = dict(zip(EVERYTHING, vectors(len(EVERYTHING)), strict=True))


def each_case(test):
    """Run a test for every example."""
    return pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])(test)


AT_ONCE = 25


@functools.cache
def wanted(position):
    """The ids that one of the examples is to find among all, according to the oracle."""
    return wanted_ids(EVERYTHING, CASES[position][1])


def put(index, names, described=None):
    """Write items of all these names, with metadata of others if that is given."""
    metadata = [EVERYTHING[name] for name in described or names]
    index.upsert(names, [VECTORS[name] for name in names], metadata)


def empty(client):
    """A new index."""
    return client.create_index("all", index_key=KEY, dimension=D, indexing="manual")


def again(client):
    """That index, opened again."""
    return client.load_index("all", index_key=KEY, indexing="manual")


def saved_for_none(client):
    """An index of which nothing but the items was ever saved."""
    index = empty(client)
    put(index, list(EVERYTHING))
    return index


def saved_for_all(client):
    """An index that was saved with all that is derived from it, and opened again."""
    with saved_for_none(client) as index:
        index.optimize()
    return again(client)


def saved_for_half(client):
    """An index that was saved when it had half of its items, and opened again."""
    names, half = list(EVERYTHING), len(EVERYTHING) // 2
    with empty(client) as index:
        put(index, names[:half])
        index.optimize()
        put(index, names[half:])
    return again(client)


def saved_for_others(client):
    """An index that was saved when each item had the metadata of another."""
    index, names = empty(client), list(EVERYTHING)
    put(index, names, names[1:] + names[:1])
    index.optimize()
    index.count({"a": 1})
    put(index, names)
    return index


@pytest.fixture(
    scope="module", params=[saved_for_none, saved_for_all, saved_for_half, saved_for_others]
)
def everything(request, tmp_path_factory):
    """An index with the metadata of all examples."""
    with Client(tmp_path_factory.mktemp("all")) as client, request.param(client) as index:
        yield index


@pytest.fixture(scope="module")
def reused(tmp_path_factory):
    """An index for one example after another."""
    with (
        Client(tmp_path_factory.mktemp("alone")) as client,
        client.create_index("alone", index_key=KEY, dimension=D, indexing="manual") as index,
    ):
        yield index


@pytest.fixture
def alone(reused):
    """That index, which is emptied afterwards."""
    yield reused
    reused.delete(reused.list_ids())


def test_names_are_unique():
    """No example hides another."""
    assert len({case[0] for case in CASES}) == len(CASES)


@each_case
def test_the_oracle(case):
    """The oracle says of each example what the example says."""
    _, filters, satisfying, failing = case
    for metadata in satisfying:
        assert satisfies(filters, metadata), metadata
    for metadata in failing:
        assert not satisfies(filters, metadata), metadata


@each_case
def test_an_example_alone(alone, case):
    """In an index of its own items, each call finds those of an example that satisfy it."""
    _, filters, satisfying, failing = case
    metadata = satisfying + failing
    names = [str(number) for number in range(len(metadata))]
    alone.upsert(names, vectors(len(names)), metadata)
    check_filter(alone, filters, names[: len(satisfying)])


@pytest.mark.parametrize("first", range(0, len(CASES), AT_ONCE))
def test_examples_among_all(everything, first):
    """In an index of the items of all examples, each call finds all that satisfy one."""
    for position, case in enumerate(CASES[first : first + AT_ONCE], first):
        name, filters, satisfying, failing = case
        found = wanted(position)
        assert {NAMES[repr(metadata)] for metadata in satisfying} <= set(found), name
        assert not {NAMES[repr(metadata)] for metadata in failing} & set(found), name
        check_filter(everything, filters, found)


def test_a_filter_is_not_changed(alone):
    """What is given as a filter is left as it was."""
    alone.upsert(["x"], vectors(1), [{"a": 1}])
    for _, filters, _, _ in CASES:
        before = repr(filters)
        alone.count(filters)
        assert repr(filters) == before


# --- order ----------------------------------------------------------------------------------

# Names by the order that they have with order_by="a"; in each group all are equal.
ASCENDING = {
    "false": [False, [None, False], [False]],
    "true": [True, [{}, True]],
    "minus huge": [-HUGE],
    "minus one": [-1, -1.0, BEFORE_1970],
    "zero": [0, -0.0, [0, 5], [9, 0.0, "x"]],
    "a half": [0.5],
    "twenty": [20, 20.0, [20, 30]],
    "a datetime": [LEAP, LEAP_LATER, LEAP_MS],
    "large": [BIG],
    "large and one": [BIG + 1],
    "huge": [HUGE],
    "huge float": [1e30],
    "the empty text": ["", ["", "x"]],
    "a null character": ["\0"],
    "20": ["20"],
    "B": ["B", ["B", "C"]],
    "a": ["a", [None, [1], "a"]],
    "a and a null character": ["a\0"],
    "63": [P63],
    "64": [P64],
    "64 and more": [P64 + "a", [P64 + "a"]],
    "64 and other": [P64 + "b"],
    "65": [P65],
    "66": [P65 + "p"],
    "200": [LONG],
    "64 and late": [P64 + "q"],
    "accent": ["\xe9"],
    "the last of the basic plane": ["\uffff"],
    "smile": [SMILE],
    "the last": [LAST],
    "nothing": [None, [], {}, [[1]], {"a": 1}, [None], [{"a": 1}]],
}


@pytest.fixture
def sorted_items(client):
    """Items for each of these values, in an order that has nothing to do with theirs."""
    items = {
        f"{name} {n}": {"a": value} for name in ASCENDING for n, value in enumerate(ASCENDING[name])
    }
    items |= {"missing 0": {}, "missing 1": None, "missing 2": {"b": 1}}
    shuffled = list(items)
    np.random.default_rng(4).shuffle(shuffled)
    items = {name: items[name] for name in shuffled}
    with client.create_index("order", index_key=KEY, dimension=D) as index:
        index.upsert(list(items), vectors(len(items)), list(items.values()))
        yield index, items


def groups(names):
    """The groups of a list of names, each once, in the order in which they come."""
    return list(dict.fromkeys(name.rsplit(" ", 1)[0] for name in names))


def test_ascending_order(sorted_items):
    """The least comparable value counts: false, true, numbers, text, and last what has none."""
    index, items = sorted_items
    found = [result["id"] for result in index.query_metadata(order_by="a")]
    assert found == ordered(items.items(), "a")
    assert [name for name in groups(found) if name not in {"nothing", "missing"}] == list(
        ASCENDING
    )[:-1]
    assert {name.rsplit(" ", 1)[0] for name in found[-10:]} == {"nothing", "missing"}


def test_descending_order(sorted_items):
    """In descending order the greatest counts, and what has none is last all the same."""
    index, items = sorted_items
    found = [result["id"] for result in index.query_metadata(order_by="a", ascending=False)]
    assert found == ordered(items.items(), "a", ascending=False)
    assert {name.rsplit(" ", 1)[0] for name in found[-10:]} == {"nothing", "missing"}
    assert found[0] == "the last 0"
    assert found.index("zero 3") < found.index("the empty text 0") < found.index("huge 0")
    assert found.index("zero 2") < found.index("a half 0") < found.index("zero 0")


def test_what_is_equal_keeps_the_order_of_writing(client):
    """Items of equal values come in the order of their vectors, in both directions."""
    with client.create_index("order", index_key=KEY, dimension=D) as index:
        names = [f"{number}" for number in range(30)]
        metadata = [{"a": [20, 20.0, P64 + "x"][number % 3]} for number in range(30)]
        index.upsert(names, vectors(30), metadata)
        numbers = [name for name in names if int(name) % 3 < 2]
        texts = [name for name in names if int(name) % 3 == 2]
        assert [item["id"] for item in index.query_metadata(order_by="a")] == numbers + texts
        found = index.query_metadata(order_by="a", ascending=False)
        assert [item["id"] for item in found] == texts + numbers
        assert [item["id"] for item in index.query_metadata()] == names
        index.upsert(["3"], [vectors(30)[3]], [{"a": 20, "new": 1}])
        index.upsert(["4"], [vectors(31)[30]], [{"a": 20}])
        names.remove("4")
        numbers.remove("4")
        assert [item["id"] for item in index.query_metadata()] == [*names, "4"]
        assert [item["id"] for item in index.query_metadata({"a": 20}, order_by="a")] == [
            *numbers,
            "4",
        ]


def test_order_by_paths(client):
    """What is sorted by is a field like any other: in objects, in arrays of them, with dots."""
    metadata = {
        "in an array": {"a": [{"b": 7}, {"b": 3}]},
        "in an object": {"a": {"b": 4}},
        "a key with a dot": {"a.b": 1},
        "both": {"a.b": 9, "a": {"b": 2}},
        "in two arrays": {"a": [[{"b": 0}]]},
        "missing": {"a": 0},
    }
    with client.create_index("order", index_key=KEY, dimension=D) as index:
        index.upsert(list(metadata), vectors(len(metadata)), list(metadata.values()))
        found = [item["id"] for item in index.query_metadata(order_by="a.b")]
        last = ["in two arrays", "missing"]
        assert found == ["a key with a dot", "both", "in an array", "in an object", *last]
        found = [item["id"] for item in index.query_metadata(order_by="a.b", ascending=False)]
        assert found == ["both", "in an array", "in an object", "a key with a dot", *last]
        assert [item["id"] for item in index.query_metadata(order_by="no such")] == list(metadata)
