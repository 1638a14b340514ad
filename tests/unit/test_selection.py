"""The rows that a filter means: alive, exactly those, with as few items looked at as possible."""

import numpy as np
import pytest
from column_harness import KEPT, ODD
from support import KEY

from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.filters import parse
from cyborg_embedded.model import PageKind
from cyborg_embedded.predicates import satisfies
from cyborg_embedded.selection import metadata, select

ROWS = 120
DESCRIBED = [
    {"n": n, "odd": ODD[n % len(ODD)], "where": {"x": n % 3}, "list": [n % 2, [n % 4]]}
    for n in range(ROWS - 1)
] + [None]
FILTERS = [
    {"n": {"$lt": 50}},
    {"where": {"x": 1}},
    {"where": {"$ne": {"x": 1}}},
    {"list": [1, [3]]},
    {"$not": {"list": [1, [3]]}},
    {"odd": KEPT + "a"},
    {"odd": {"$regex": "a$"}},
    {"odd": {"$gt": KEPT + "a"}},
    {"$or": [{"n": 7}, {"where": {"x": 2}, "n": {"$lt": 20}}]},
    {"list": {"$elemMatch": {"$eq": [2]}}},
    {"missing": None},
    {"missing": {"$exists": False}},
]


@pytest.fixture
def filled(index):
    """An index with some dead rows."""
    names = [f"{number:03}" for number in range(ROWS)]
    index.upsert(names, np.random.default_rng(0).normal(size=(ROWS, 4)), DESCRIBED)
    index.delete(names[10:20])
    return index


def selected(index, filters):
    """What a filter means."""
    with index._session.read() as (state, view):
        return select(index._session, view, state, parse(filters)), state


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("optimized", [False, True])
def test_what_is_meant(filled, filters, optimized):
    """The live rows that satisfy a filter, and how many they are."""
    if optimized:
        filled.optimize()
    found, _ = selected(filled, filters)
    node = parse(filters)
    wanted = [
        row
        for row, item in enumerate(DESCRIBED)
        if satisfies(node, item or {}) and not 10 <= row < 20
    ]
    assert np.flatnonzero(found.mask).tolist() == wanted
    assert found.matching == len(wanted)
    assert len(found.mask) == ROWS


@pytest.mark.parametrize(
    ("filters", "looked_at"),
    [
        ({"n": {"$lt": 50}}, 0),
        ({"where": {"x": 1}}, 109),
        ({"where": {"x": 1}, "n": {"$lt": 50}}, 40),
        ({"where": {"x": 1}, "n": {"$in": [12, 13]}}, 0),
        ({"$or": [{"where": {"x": 1}}, {"n": {"$gte": 50}}]}, 40),
    ],
)
def test_few_items_are_looked_at(filled, filters, looked_at):
    """Of items in doubt only live ones are read, and those that the rest of the filter leaves."""
    assert selected(filled, filters)[0].looked_at == looked_at


@pytest.mark.parametrize("filters", [None, {}, {"$and": []}])
def test_everything_reads_nothing(filled, filters):
    """A filter that all satisfy takes the live rows as they are, and makes no columns."""
    found, state = selected(filled, filters)
    assert np.array_equal(found.mask, state.alive)
    assert (found.matching, found.looked_at) == (ROWS - 10, 0)
    assert filled._session.columns.known is None


def test_the_state_stays(filled):
    """What is selected is nobody else's: the rows that live are not changed by it."""
    before = selected(filled, None)[1].alive.copy()
    for filters in FILTERS:
        found, state = selected(filled, filters)
        assert np.array_equal(state.alive, before)
        assert found.mask is not state.alive


def test_metadata_of_a_row(filled):
    """The metadata of a row is what was given, empty where there was none."""
    with filled._session.read() as (_, view):
        for row in (0, 40, ROWS - 1):
            assert metadata(view, filled._session.items, row) == (DESCRIBED[row] or {})


def test_damaged_items(client, filled):
    """An item in doubt that is damaged is IntegrityError, not a row more or less."""
    filled.optimize()
    with client.load_index("notes", index_key=KEY) as again:
        again.count({"n": 1})
        filled._session.write(lambda view, _: view.truncate(PageKind.ITEMS, 1))
        with pytest.raises(IntegrityError):
            again.count({"where": {"x": 1}})
