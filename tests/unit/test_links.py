"""The saved links of a graph: a round trip, and that nothing hnswlib must not see gets past."""

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit_harness import run_child

from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.links import Links, decode, encode, level_of_lists

M = 3
ROWS = 1000
HEAD = struct.Struct("<6I")


def made(seed=0, n=21, m=M, highest=2):
    """A graph of random links that is sound: links of a level lead to nodes of that level."""
    random = np.random.default_rng(seed)
    levels = np.minimum(random.geometric(0.6, n) - 1, highest).astype(np.uint8)
    levels[random.integers(n)] = highest
    level0 = np.zeros((n, 1 + 2 * m), np.uint32)
    level0[:, 0] = random.integers(0, 2 * m + 1, n)
    for row in level0:
        row[1 : 1 + row[0]] = random.integers(0, n, row[0])
    level_of_list = level_of_lists(levels)
    upper = np.zeros((len(level_of_list), 1 + m), np.uint32)
    upper[:, 0] = random.integers(0, m + 1, len(upper))
    for row, level in zip(upper, level_of_list, strict=True):
        row[1 : 1 + row[0]] = random.choice(np.flatnonzero(levels >= level), row[0])
    rows = random.choice(ROWS, n, replace=False).astype(np.uint32)
    entry = int(random.choice(np.flatnonzero(levels == highest)))
    return Links(m, max(m, 200), highest, entry, rows, levels, level0, upper)


def same(one, other):
    for field in dataclasses.fields(Links):
        first, second = getattr(one, field.name), getattr(other, field.name)
        assert np.array_equal(first, second), field.name


def refused(data, rows=ROWS):
    with pytest.raises(IntegrityError) as caught:
        decode(data, rows)
    assert caught.value.kind == "GRAPH"


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize("m", [2, 16, 256])
@pytest.mark.parametrize("highest", [0, 1, 4])
def test_round_trip(n, m, highest):
    """Links decode to what was encoded, for any number of nodes, links and levels."""
    links = made(n, n, m, highest)
    same(decode(encode(links), ROWS), links)


def test_level_of_lists():
    """The upper lists of a node are its levels from one up, nodes in their order."""
    levels = np.array([0, 2, 0, 1, 3], np.uint8)
    assert level_of_lists(levels).tolist() == [1, 2, 1, 1, 2, 3]
    assert level_of_lists(np.zeros(3, np.uint8)).tolist() == []


def changed(**changes):
    return encode(dataclasses.replace(made(), **changes))


def patched(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def test_heads():
    """A head that names another version, impossible sizes or a node that is not there is refused."""
    links = made()
    n = len(links.rows)
    body = encode(links)[HEAD.size :]
    good = [1, n, M, 200, links.max_level, links.entry]
    decode(HEAD.pack(*good) + body, ROWS)
    for place, values in enumerate(
        [
            [0, 2, 1 << 31],
            [0, n - 1, n + 1, 1 << 31, (1 << 32) - 1],
            [0, 1, 2, 4, 257, (1 << 32) - 1],
            [0, M - 1, (1 << 16) + 1],
            [0, 1, 3, 256, 1 << 31],
            [n, 1 << 31, int(np.argmin(links.levels))],
        ]
    ):
        for value in values:
            head = good.copy()
            head[place] = value
            refused(HEAD.pack(*head) + body)


def test_links_to_nowhere():
    """A link to a node that is not there, used or not, on any level, is refused."""
    links, n = made(), 21
    for value in (n, n + 1, 1 << 31, (1 << 32) - 1):
        for column in range(1, 1 + 2 * M):
            refused(changed(level0=patched(links.level0, (5, column), value)))
        for column in range(1, 1 + M):
            refused(changed(upper=patched(links.upper, (0, column), value)))


def test_counts():
    """More links in a list than it has room for, or marks in a count, are refused."""
    links = made()
    for value in (2 * M + 1, 1 << 16, (1 << 16) | 1, (1 << 32) - 1):
        refused(changed(level0=patched(links.level0, (5, 0), value)))
    for value in (M + 1, 1 << 16, (1 << 32) - 1):
        refused(changed(upper=patched(links.upper, (0, 0), value)))


def test_links_above_a_nodes_level():
    """A link at a level to a node that does not reach that level is refused."""
    links = made()
    low = int(np.flatnonzero(links.levels == 0)[0])
    refused(changed(upper=patched(links.upper, (0, slice(None)), [1, low, 0, 0])))
    middle = int(np.flatnonzero(links.levels == 1)[0])
    second = int(np.flatnonzero(level_of_lists(links.levels) == 2)[0])
    refused(changed(upper=patched(links.upper, (second, slice(None)), [1, middle, 0, 0])))


def test_levels():
    """Levels that do not match the lists, the highest level or the entry node are refused."""
    links = made()
    for node in (0, links.entry):
        for change in (-1, 1, 200):
            level = (int(links.levels[node]) + change) % 256
            refused(changed(levels=patched(links.levels, node, level)))


def test_rows():
    """Rows that come twice or are beyond the index are refused; those in any order are not."""
    links = made()
    highest = int(links.rows.max())
    for order in (links.rows[::-1], np.sort(links.rows), np.roll(links.rows, 5)):
        data = changed(rows=order.copy())
        assert np.array_equal(decode(data, ROWS).rows, order)
    for place, other in ((3, 2), (0, -1), (20, 0), (7, 15)):
        refused(changed(rows=patched(links.rows, place, links.rows[other])))
    for place in (0, 9, -1):
        refused(changed(rows=patched(links.rows, place, ROWS)))
        refused(changed(rows=patched(links.rows, place, (1 << 32) - 1)))
    refused(changed(rows=np.full_like(links.rows, highest)))
    refused(encode(links), highest)
    decode(encode(links), highest + 1)
    refused(encode(links), 0)
    refused(encode(links), 20)


def test_every_other_length():
    """A byte string cut at any length, or with bytes behind it, is refused."""
    data = encode(made())
    for length in range(len(data)):
        refused(data[:length])
    for more in (1, 4, 4 * (1 + M)):
        refused(data + bytes(more))


@given(st.binary(max_size=200), st.integers(0, 1 << 31))
@example(HEAD.pack(1, 1 << 31, 2, 1, 0, 0), 1 << 31)
@example(HEAD.pack(1, 1, 2, 1, 0, 0) + bytes(100), 1)
def test_random_bytes(data, rows):
    """Bytes that are no graph are IntegrityError and never another exception."""
    try:
        decode(data, rows)
    except IntegrityError:
        return
    # The smallest graphs are hardly more than zeros.
    assert len(data) >= HEAD.size + 8


def sound(links, rows):
    n = len(links.rows)
    assert n <= rows
    assert links.rows.max() < rows
    assert len(set(links.rows.tolist())) == n
    assert links.level0[:, 0].max() <= 2 * links.m
    assert links.level0[:, 1:].max() < n
    assert links.levels[links.entry] == links.levels.max() == links.max_level
    assert len(links.upper) == links.levels.sum(dtype=int)
    for row, level in zip(links.upper, level_of_lists(links.levels), strict=True):
        assert row[0] <= links.m
        assert (row[1:] < n).all()
        assert (links.levels[row[1 : 1 + row[0]]] >= level).all()


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=3),
)
@settings(max_examples=150)
def test_mutated_bytes(seed, changes):
    """A graph with changed bytes is refused, or sound in everything that hnswlib relies on."""
    data = bytearray(encode(made(seed)))
    for at, value in changes:
        data[at % len(data)] = value
    try:
        links = decode(bytes(data), ROWS)
    except IntegrityError:
        return
    sound(links, ROWS)


RESTORE_MUTATED = """
import numpy as np
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.frontier import Frontier
from cyborg_embedded.graph import Graph
from cyborg_embedded.links import decode, encode
random = np.random.default_rng(1)
codes = random.integers(-127, 128, (300, 8)).astype(np.int8)
scale = np.full(8, 0.01, np.float32)
points = codes * scale
norms = (points**2).sum(axis=1)
rows = random.permutation(300)
whole = Graph.empty(300, 8, "l2")
whole.add(rows, 300, points[rows], 1)
sound = encode(whole.links()[0])
restored = 0
for attempt in range(400):
    data = bytearray(sound)
    for _ in range(random.integers(1, 30)):
        at = int(random.integers(0, len(data)))
        data[at] = int(random.integers(0, 4)) if at % 4 == 0 or attempt % 2 else data[at] ^ 1
    try:
        links = decode(bytes(data), 300)
    except IntegrityError:
        continue
    frontier = Frontier(links, codes[links.rows], norms[links.rows], scale)
    for point in points[:5]:
        found = frontier.search(point, 10)
        assert found is None or len(set(found[0].tolist())) == 10
        frontier.search(point, 300)
    if attempt % 3:
        graph = Graph.restored(links, 300, 8, "l2", frontier.fill)
    else:
        graph = Graph.resting(frontier, 300, "l2")
        found = graph.search(points[:1], 10)
        assert found is None or found[0].max() < 300
    found = graph.search(points[:5], 10)
    assert found is None or found[0].max() < 300
    graph.add(np.arange(300, 310), 310, points[:10], 1)
    graph.search(points[:5], 10)
    graph.search(points[:5], 310)
    graph.links()
    restored += 1
print(restored)
"""


def test_accepted_graphs_never_kill_the_process():
    """Whatever damaged graph is accepted, searching, growing and saving it crashes nothing."""
    assert int(run_child(RESTORE_MUTATED)) >= 10
