"""What the tests of filters share: how items are put, and every call that a filter goes into."""

import numpy as np
from filter_oracle import ordered, satisfies

D = 4
QUERY = [1.0, 0.5, -0.25, 0.125]


def vectors(count, seed=0):
    """So many vectors, no two of them equal."""
    return np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)


def wanted_ids(items, filters):
    """The ids of `items` (id to metadata, in the order of writing) that satisfy a filter."""
    return [name for name, metadata in items.items() if satisfies(filters, metadata)]


def check_filter(index, filters, wanted):
    """Assert that each call finds the items of exactly these ids, in the order of writing."""
    everything = len(index) + 1
    found = [
        result["id"] for result in index.query(QUERY, top_k=everything, filters=filters, include=[])
    ]
    assert len(found) == len(wanted)
    assert set(found) == set(wanted)
    described = index.query_metadata(filters=filters, include=[])
    assert described == [{"id": name} for name in wanted]
    assert index.count(filters) == len(wanted)
    assert index.list_ids(filters=filters) == wanted


def check_order(index, items, filters, order_by, ascending):
    """Assert that `query_metadata` sorts what satisfies a filter; returns the ids in that order."""
    satisfying = [(name, items[name]) for name in wanted_ids(items, filters)]
    wanted = ordered(satisfying, order_by, ascending=ascending)
    answer = index.query_metadata(filters, order_by=order_by, ascending=ascending)
    assert [result["id"] for result in answer] == wanted
    return wanted
