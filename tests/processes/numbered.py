"""An index that goes through numbered states, and what each of them holds.

Commit n makes state n, whose sequence number is n + 1. An odd one replaces all of BASE, so that every
item carries the number, and adds an extra item; an even one deletes the oldest extra item. So a
reader can tell from any answer which states it may be of.
"""

import mmap
import os
import struct

import numpy as np
from support import KEY, distances, make_index

from cyborg_embedded import Client

NAME = "numbered"
BASE = [f"item {number}" for number in range(12)]
DIMENSION = 6
QUERY = np.linspace(0.5, 1.5, DIMENSION, dtype=np.float32)
PAGE_SIZE = 512


def make(folder):
    make_index(folder, NAME, KEY, dimension=DIMENSION, page_size=PAGE_SIZE)


def opened(folder, **options):
    return Client(folder).load_index(NAME, index_key=KEY, indexing="manual", **options)


def version_of(state):
    """The number that the items of BASE carry in a state."""
    return state if state % 2 else state - 1


def extras_of(state):
    """The extra items of a state: each carries the number in its name."""
    return [state - 2, state] if state % 2 else [state - 1] if state else []


def vector(version, place):
    return np.random.default_rng([version + 5, place]).normal(size=DIMENSION).astype(np.float32)


def item(version, place):
    metadata = {"n": version, "half": place % 2}
    return vector(version, place), metadata, f"{place} of {version} " * (1 + 60 * (place % 3))


def items_of(state):
    """All that a state holds: id to (vector, metadata, contents)."""
    if not state:
        return {}
    version = version_of(state)
    items = {name: item(version, place) for place, name in enumerate(BASE)}
    return items | {f"extra {each}": item(each, len(BASE)) for each in extras_of(state)}


def commit(index, number):
    """Commit number n, on top of state n - 1."""
    if number % 2:
        items = items_of(number)
        if number > 1:
            del items[f"extra {number - 2}"]
        vectors, metadata, contents = zip(*items.values(), strict=True)
        index.upsert(list(items), np.array(vectors), list(metadata), list(contents))
    else:
        assert index.delete([f"extra {number - 3}"]) == 1


def state_of(index):
    return index.sequence - 1


class Counter:
    """A number that processes share: the last commit that was acknowledged."""

    def __init__(self, path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, 8)
        self._map = mmap.mmap(fd, 8)
        os.close(fd)

    def read(self):
        return struct.unpack("=Q", self._map[:])[0]

    def write(self, number):
        self._map[:] = struct.pack("=Q", number)


def ask_query(index):
    found = index.query(QUERY, top_k=50, include=["distance", "metadata", "contents"])
    return of_items({each["id"]: each for each in found}, QUERY)


def ask_get(index):
    names = BASE[::-1]
    found = index.get(names)
    assert [each["id"] for each in found] in (names, [])
    states = of_items({each["id"]: each for each in found})
    return states | {each + 1 for each in states if each}


def ask_filter(index):
    found = index.query_metadata({"half": 1}, include=["metadata", "contents"])
    states = of_items({each["id"]: each for each in found})
    assert len(found) in (0, len(BASE) // 2)
    return states | {each + 1 for each in states if each}


def ask_filtered_query(index):
    found = index.query(QUERY, top_k=4, filters={"half": 1}, include=["distance", "metadata"])
    assert len(found) in (0, 4)
    states = of_items({each["id"]: each for each in found}, QUERY)
    return states | {each + 1 for each in states if each}


def ask_ids(index):
    names = set(index.list_ids())
    if not names:
        return {0}
    extras = sorted(int(name.split()[1]) for name in names - set(BASE))
    assert names >= set(BASE)
    newest = extras[-1]
    states = {state for state in (newest, newest + 1) if extras_of(state) == extras}
    assert states, extras
    return states


def of_items(found, query=None):
    """The states that such items may be of; the extra ones tell more than the others."""
    if not found:
        return {0}
    extras = sorted(int(name.split()[1]) for name in found if name.startswith("extra"))
    versions = {found[name]["metadata"]["n"] for name in found if name in BASE}
    assert len(versions) <= 1, f"of several commits: {versions}"
    version = versions.pop() if versions else extras[-1]
    for name, each in found.items():
        place = BASE.index(name) if name in BASE else len(BASE)
        number = version if name in BASE else int(name.split()[1])
        wanted, metadata, contents = item(number, place)
        assert each["metadata"] == metadata
        assert each.get("contents", contents) == contents
        if query is not None:
            (distance,) = distances(query, [wanted], "euclidean")
            assert abs(each["distance"] - distance) < 1e-4
    if not extras:
        return {version}
    states = {state for state in (version, version + 1) if extras_of(state) == extras}
    assert states, (version, extras)
    assert len(found) == len(BASE) + len(extras)
    return states


def ask_count(index):
    """A count and the number of the commit, which no call gives together: of two equal numbers it is
    between.
    """
    while True:
        before = state_of(index)
        counted = len(index), index.count(), index.count({"half": 1})
        if state_of(index) == before:
            assert counted == counts_of(before)
            return {before}


def counts_of(state):
    """How many items a state has, said twice, and how many of them in one half."""
    count = len(items_of(state))
    return count, count, len(BASE) // 2 if state else 0


ASK = (ask_query, ask_get, ask_filter, ask_filtered_query, ask_ids, ask_count)
