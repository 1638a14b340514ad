"""Any filter on any metadata, after any changes, finds what the oracle finds."""

import shutil
import tempfile

import numpy as np
import pytest
from filter_harness import D, check_filter, check_order, wanted_ids
from filter_oracle import is_filter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import KEY

from cyborg_embedded import Client

BIG, HUGE = 2**53, 10**30
P64 = "p" * 64
SMILE, LAST = "\U0001f600", "\U0010ffff"

# Few values, so that filters often hit; those that are alike, and those at some limit.
NUMBERS = [
    *(0, 0.0, -0.0, 1, 1.0, -1, 2, 0.5, 20, 20.0, 5e-324, 1e300, 1e30, HUGE, HUGE + 1, -HUGE),
    *(BIG, float(BIG), BIG + 1, -BIG - 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400),
]
TEXTS = [
    *("", "a", "A", "b", "ab", "1", "20", "true", "a\0", "\0", "\xe9", "e\u0301", "\uffff", SMILE),
    *("p", P64[1:], P64, P64 + "p", P64 + "a", P64 + "b", P64 + "pa", P64 + "pb", P64 * 3),
    *(LAST, LAST * 64, LAST * 65, LAST * 64 + "a", SMILE * 64 + "a", SMILE * 64 + "b", "a" + LAST),
]
PATTERNS = [
    *(
        "a",
        "^a",
        "a$",
        "b|1",
        "(?i)A",
        "",
        r"^\Z",
        r"^p{64}\Z",
        r"^p{65}",
        "pa$",
        "[^p]",
        "^[^a]*$",
    ),
    *(r"^\d+$", r"\x00", "^.$", "\xe9", SMILE, "(.)\\1"),
]
KEYS = ["a", "b", "c", "a.b"]
# The first ones often lead to something.
PATHS = [
    *(["a", "a.b"] * 6 + ["b", "c"] * 4),
    *("a.c", "a.a", "b.a", "b.c", "a.b.c", "a.0", "missing"),
]

numbers = st.sampled_from(NUMBERS) | st.integers(-3, 3)
texts = st.one_of(
    st.sampled_from(TEXTS),
    st.text("ab\0" + LAST, max_size=3),
    st.builds("".join, st.tuples(st.sampled_from([P64[1:], P64]), st.text("ap\0", max_size=3))),
)
scalars = st.one_of(numbers, texts, st.sampled_from([None, True, False]))
keys = st.sampled_from(KEYS)
# What metadata and filters of one example have in common, so that filters hit.
pools = st.lists(scalars, min_size=2, max_size=6)


@st.composite
def values(draw, pool, depth=3):
    """Something from a pool, or an array or an object of that, of so many levels at most."""
    kind = draw(st.sampled_from("ssssssao")) if depth else "s"
    if kind == "s":
        return draw(st.sampled_from(pool))
    inner = values(pool, depth - 1)
    if kind == "a":
        return draw(st.lists(inner, max_size=3))
    return draw(st.dictionaries(keys, inner, max_size=2))


@st.composite
def metadata(draw, pool):
    """What an item may be described by."""
    return draw(st.none() | st.dictionaries(keys, values(pool), max_size=3))


@st.composite
def logic(draw, inner):
    """One entry of logic over what `inner` makes."""
    name = draw(st.sampled_from(["$and", "$or", "$nor", "$not"]))
    sizes = st.sampled_from([0, 1, 2, 2, 2, 2, 3, 3])
    return {name: draw(inner) if name == "$not" else [draw(inner) for _ in range(draw(sizes))]}


RANGES = ["$gt", "$gte", "$lt", "$lte"]
LISTS = ["$in", "$nin", "$all"]
OTHERS = ["$eq", "$ne", "$contains", "$startsWith"]
# Those whose operands are no values.
OWN = {
    "$exists": st.booleans(),
    "$size": st.integers(0, 3),
    "$regex": st.sampled_from(PATTERNS),
}


@st.composite
def operands(draw, pool, name):
    """What an operator takes."""
    if name in LISTS:
        return draw(st.lists(values(pool), max_size=4))
    if name in OWN:
        return draw(OWN[name])
    value = draw(values(pool))
    if name in RANGES and not is_rankable(value):
        return draw(numbers)
    if name == "$startsWith" and not isinstance(value, str):
        return draw(texts)
    return value


def is_rankable(value):
    """Whether there may be something less and greater."""
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


@st.composite
def operators(draw, pool, depth=2):
    """A dict of one or two operators, which may hold others, so many levels deep."""
    made = {}
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        kind = draw(st.sampled_from("ooooooel")) if depth else "o"
        if kind == "o":
            name = draw(st.sampled_from([*RANGES, *LISTS, *OTHERS, *OWN]))
            made[name] = draw(operands(pool, name))
        elif kind == "e":
            made["$elemMatch"] = draw(element_conditions(pool, depth - 1))
        else:
            made |= draw(logic(conditions(pool, depth - 1)))
    return made


@st.composite
def conditions(draw, pool, depth=2):
    """Operators, or a value."""
    return draw(draw(st.sampled_from([operators(pool, depth)] * 4 + [values(pool)])))


@st.composite
def element_conditions(draw, pool, depth):
    """What $elemMatch may hold: a filter, or operators that are not to be taken for one."""
    if draw(st.booleans()):
        return draw(filters(pool, depth))
    return draw(operators(pool, depth).filter(lambda made: not is_filter(made)))


@st.composite
def filters(draw, pool, depth=2):
    """Up to three entries, so many levels deep."""
    made = {}
    for _ in range(draw(st.sampled_from([1] * 12 + [2, 2, 3, 0]))):
        if depth and draw(st.sampled_from("cccl")) == "l":
            made |= draw(logic(filters(pool, depth - 1)))
        else:
            made[draw(st.sampled_from(PATHS))] = draw(conditions(pool, depth))
    return made


@st.composite
def scenes(draw, most):
    """Metadata of items, and at most so many filters."""
    pool = draw(pools)
    described = draw(st.lists(metadata(pool), min_size=5, max_size=20))
    return described + each_of(pool), draw(st.lists(filters(pool), min_size=3, max_size=most))


def each_of(pool):
    """Metadata that has each value of a pool in each place where a field may have it."""
    found = []
    for one, other in zip(pool, pool[1:] + pool[:1], strict=True):
        found += [{"a": one}, {"a": [one, other], "b": other}, {"a": {"b": one}, "c": one}]
        found += [{"a": [{"b": one, "c": other}, {"b": [other]}]}, {"a": [[one]], "a.b": other}]
    return found


# In every index beside what is drawn.
STANDING = [
    *({"a": value} for value in (None, True, 0, 20.0, BIG + 1, HUGE, "", "20", P64, [], {}, [[]])),
    {"a": ["a", 1, None], "b": P64 + "a"},
    {"a": [{"b": 1}, {"b": [2, P64 + "a"], "c": 0}, 1, [{"b": 3}]]},
    {"b": [{"a": 1, "c": 1}, {"a": 2}, {"a": None}], "c": [0, 1, 2]},
    {"a.b": {"c": 1}, "b": {"a": []}, "c": {}},
    {},
    None,
]


class Indexed:
    """An index beside its model: id to metadata, in the order of writing."""

    def __init__(self):
        self.folder = tempfile.mkdtemp()
        self.client = Client(self.folder)
        self.index = self.client.create_index("any", index_key=KEY, dimension=D, indexing="manual")
        self.items, self.vectors, self.made = {}, {}, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.index.close()
        self.client.close()
        shutil.rmtree(self.folder)

    def write(self, described):
        """Upsert items by id, with vectors that none had before."""
        if not described:
            return
        rows = np.random.default_rng(self.made).normal(size=(len(described), D))
        self.made += 1
        self.index.upsert(list(described), rows, list(described.values()))
        for name, row in zip(described, rows, strict=True):
            self.items.pop(name, None)
            self.items[name], self.vectors[name] = described[name], row

    def describe(self, described):
        """Replace the metadata of items, and leave their vectors as they are."""
        rows = [self.vectors[name] for name in described]
        self.index.upsert(list(described), np.reshape(rows, (-1, D)), list(described.values()))
        self.items.update(described)

    def delete(self, names):
        """Delete items by their ids."""
        assert self.index.delete(names) == len(names)
        for name in names:
            del self.items[name]

    def delete_by(self, asked):
        """Delete items by a filter."""
        doomed = wanted_ids(self.items, asked)
        sequence = self.index.sequence
        assert self.index.delete(filters=asked) == len(doomed)
        assert self.index.sequence == sequence + bool(doomed)
        for name in doomed:
            del self.items[name]

    def reopen(self):
        """Close the index and open it again."""
        self.index.close()
        self.index = self.client.load_index("any", index_key=KEY, indexing="manual")

    def check(self, asked):
        """Assert that each filter finds what the oracle finds."""
        for each in asked:
            check_filter(self.index, each, wanted_ids(self.items, each))


def named(drawn, first=0):
    """Items of this metadata, with ids that count from `first` on."""
    return {f"item {number}": each for number, each in enumerate(drawn, first)}


# --- one index after another ----------------------------------------------------------------


def check_any_filter(scene):
    """What is checked of any metadata and filters: before and after saving, and reopened."""
    described, asked = scene
    with Indexed() as indexed:
        indexed.write(named([*described[::2], *STANDING, *described[1::2]]))
        indexed.check(asked)
        indexed.index.optimize()
        indexed.check(asked)
        indexed.reopen()
        indexed.check(asked)


def check_any_values(pool):
    """What is checked of any values: each operator with each of them."""
    texts = [value for value in pool if isinstance(value, str)]
    tests = [{name: value} for name in ("$eq", "$ne", "$contains") for value in pool]
    tests += [{name: value} for name in RANGES for value in pool if is_rankable(value)]
    tests += [{"$startsWith": text[:end]} for text in texts for end in (1, 64, 65, None)]
    tests += [{"$contains": text[start:]} for text in texts for start in (-1, 1)]
    tests += [{name: pool[end:]} for name in LISTS for end in (1, -2, -1)]
    tests += [{logic: test} for test in tests for logic in ("$elemMatch", "$not")]
    items = named(each_of(pool))
    saved = dict(list(items.items())[::2])
    with Indexed() as indexed:
        indexed.write(saved)
        indexed.index.optimize()
        indexed.write({name: items[name] for name in items if name not in saved})
        for test in tests:
            for asked in ({"a": test}, {"a.b": test}):
                assert indexed.index.list_ids(filters=asked) == wanted_ids(indexed.items, asked)


# --- histories ------------------------------------------------------------------------------

places = st.lists(st.integers(0, 60), min_size=1, max_size=12)


@st.composite
def changes(draw, pool):
    """One change of an index."""
    kind = draw(
        st.sampled_from(["describe", "move", "add", "delete", "delete by", "optimize", "reopen"])
    )
    given = []
    if kind in {"describe", "move", "delete"}:
        given.append(draw(places))
    if kind in {"describe", "add"}:
        given.append(draw(st.lists(metadata(pool), min_size=1, max_size=5)))
    if kind == "delete by":
        given.append(draw(filters(pool)))
    return kind, *given


@st.composite
def histories(draw):
    """Metadata, filters, and changes."""
    pool = draw(pools)
    return (
        draw(st.lists(metadata(pool), max_size=10)) + each_of(pool),
        draw(st.lists(filters(pool), min_size=2, max_size=4)),
        draw(st.lists(changes(pool), min_size=2, max_size=8)),
    )


def change(indexed, kind, *given):
    """Do one of the changes."""
    names = list(indexed.items)
    if kind == "optimize":
        indexed.index.optimize()
    elif kind == "reopen":
        indexed.reopen()
    elif kind == "add":
        indexed.write(named(given[0], 1000 * (indexed.made + 1)))
    elif kind == "delete by":
        indexed.delete_by(given[0])
    elif names:
        chosen = list(dict.fromkeys(names[place % len(names)] for place in given[0]))
        if kind == "delete":
            indexed.delete(chosen)
        elif kind == "move":
            indexed.write({name: indexed.items[name] for name in chosen})
        else:
            drawn = given[1]
            indexed.describe(
                {name: drawn[number % len(drawn)] for number, name in enumerate(chosen)}
            )


def check_any_history(history):
    """What is checked of any changes: after each, through the handle and through a new one."""
    described, asked, steps = history
    with Indexed() as indexed:
        indexed.write(named([*STANDING, *described]))
        for step in steps:
            change(indexed, *step)
            indexed.check(asked)
            found = [(item["id"], item["metadata"]) for item in indexed.index.query_metadata()]
            assert found == list(indexed.items.items())
        indexed.reopen()
        indexed.check(asked)


# --- order ----------------------------------------------------------------------------------


def check_any_order(scene, order_by, ascending, size):
    """What is checked of any order: the whole, and that pages of a size make up the whole."""
    described, asked = scene
    with Indexed() as indexed:
        indexed.write(named([*described, *STANDING]))
        indexed.write({name: indexed.items[name] for name in list(indexed.items)[::7]})
        for saved in (False, True):
            if saved:
                indexed.index.optimize()
                indexed.describe({name: {"a": 1} for name in list(indexed.items)[::5]})
            for each in asked:
                whole = check_order(indexed.index, indexed.items, each, order_by, ascending)
                options = {"order_by": order_by, "ascending": ascending, "include": []}
                pages = [
                    indexed.index.query_metadata(each, top_k=size, offset=offset, **options)
                    for offset in range(0, len(whole) + size, size)
                ]
                assert [item["id"] for page in pages for item in page] == whole
                assert all(len(page) == size for page in pages[: len(whole) // size])
                rest = indexed.index.query_metadata(each, offset=size, **options)
                assert [item["id"] for item in rest] == whole[size:]


paths_or_none = st.none() | st.sampled_from(PATHS)
sizes = st.integers(1, 50)


# --- few examples of each, and many ---------------------------------------------------------

COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
SHORT = {**COMMON, "derandomize": True}
LONG = {**COMMON, "print_blob": True}


@given(scenes(10))
@settings(max_examples=12, **SHORT)
def test_any_filter(scene):
    """Any filter finds what the oracle finds, before and after saving, and reopened."""
    check_any_filter(scene)


@given(pools)
@settings(max_examples=12, **SHORT)
def test_any_values(pool):
    """Each operator finds, with any values, what the oracle finds."""
    check_any_values(pool)


@given(histories())
@settings(max_examples=12, **SHORT)
def test_any_history(history):
    """So do filters after changes: of metadata alone, of vectors, deletions, saving, reopening."""
    check_any_history(history)


@given(scenes(4), paths_or_none, st.booleans(), sizes)
@settings(max_examples=12, **SHORT)
def test_any_order(scene, order_by, ascending, size):
    """`query_metadata` sorts as the oracle does, and its pages do not overlap."""
    check_any_order(scene, order_by, ascending, size)


@pytest.mark.slow
@given(scenes(12))
@settings(max_examples=2000, **LONG)
def test_many_filters(scene):
    """Many filters find what the oracle finds."""
    check_any_filter(scene)


@pytest.mark.slow
@given(pools)
@settings(max_examples=1000, **LONG)
def test_many_values(pool):
    """Each operator finds, with many values, what the oracle finds."""
    check_any_values(pool)


@pytest.mark.slow
@given(histories())
@settings(max_examples=800, **LONG)
def test_many_histories(history):
    """So do filters after many changes."""
    check_any_history(history)


@pytest.mark.slow
@given(scenes(4), paths_or_none, st.booleans(), sizes)
@settings(max_examples=600, **LONG)
def test_many_orders(scene, order_by, ascending, size):
    """So it is with order and pages."""
    check_any_order(scene, order_by, ascending, size)
