"""The residencies: all vectors that were touched, a budget of them, or none beyond a query."""

import shutil
import subprocess

import numpy as np
import pytest
from support import KEY, python

from cyborg_embedded import Client, InvalidInputError, search
from cyborg_embedded.navigator import Navigator
from cyborg_embedded.residency import BoundedPool
from cyborg_embedded.search import WALKED_AT_ONCE

ROWS, DIMENSION = 3000, 96
SPREAD = np.linspace(3, 0.05, DIMENSION, dtype=np.float32)
RESIDENCIES = (None, 200_000, 4 * DIMENSION, 0)


DIMENSIONS = {"many": None, "few": 24, "vectors": DIMENSION}
WALKED = {"many": 48, "few": 24, "vectors": DIMENSION}
"""What is asked for, and what is walked, where the fewest components that do are 32."""


@pytest.fixture(scope="module")
def decaying(tmp_path_factory):
    """Indexes of the same vectors, with a graph in more components than do, in fewer, and in none;
    those vectors.
    """
    spread = np.float32(0.95) ** np.arange(DIMENSION, dtype=np.float32)
    vectors = np.random.default_rng(8).standard_normal((2000, DIMENSION), np.float32) * spread
    folder = tmp_path_factory.mktemp("decaying")
    with Client(folder) as client:
        for name, dimensions in DIMENSIONS.items():
            with client.create_index(
                name, index_key=KEY, dimension=DIMENSION, navigator_dimensions=dimensions
            ) as index:
                index.upsert([str(row) for row in range(len(vectors))], vectors)
                index.optimize()
    return folder, vectors


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index with a projected graph, deleted rows and rows behind the graph; its queries."""
    random = np.random.default_rng(7)
    vectors = (random.standard_normal((ROWS, DIMENSION)) * SPREAD).astype(np.float32)
    folder = tmp_path_factory.mktemp("residency")
    with Client(folder) as client, client.create_index("a", index_key=KEY) as index:
        index.upsert([str(row) for row in range(2500)], vectors[:2500])
        index.optimize()
        index.upsert([str(row) for row in range(2500, ROWS)], vectors[2500:])
        index.delete([str(row) for row in range(0, ROWS, 7)])
        assert 0 < index.describe()["indexed_rows"] < ROWS
    return folder, vectors


@pytest.mark.parametrize("cache_bytes", RESIDENCIES)
def test_answers_do_not_depend_on_residency(made, cache_bytes):
    """Every residency gives the same answers, bit for bit, walked and scanned, one or many."""
    folder, vectors = made
    queries = vectors[::100] + np.float32(0.01)
    with (
        Client(folder) as client,
        client.load_index("a", index_key=KEY) as plain,
        client.load_index("a", index_key=KEY, cache_bytes=cache_bytes) as index,
    ):
        index.warm()
        for k in (1, 10, 2000):
            expected = plain.query(queries, top_k=k, include=["distance"])
            assert index.query(queries, top_k=k, include=["distance"]) == expected
            assert index.query(queries[3], top_k=k, include=["distance"]) == expected[3]
        ids = [str(row) for row in range(1, ROWS, 50)]
        given = index.get(ids, include=["vector"])
        assert all((item["vector"] == vectors[int(item["id"])]).all() for item in given)


@pytest.mark.parametrize(
    ("name", "cache_bytes"), [*((name, None) for name in DIMENSIONS), ("many", 0)], ids=str
)
def test_one_query_is_as_many(decaying, monkeypatch, name, cache_bytes):
    """A query alone has, bit for bit, the answer that it has among others, and nearly always the
    candidates; whether or not vectors are in memory already.
    """
    folder, vectors = decaying
    queries = vectors[::10] + np.float32(0.02)
    assert len(queries) > 2 * WALKED_AT_ONCE
    given = queries.copy()
    real, found, answers = Navigator.candidates, [], []

    def spied(*arguments):
        rows, covered = real(*arguments)
        found.append([tuple(sorted(line[line >= 0].tolist())) for line in rows])
        return rows, covered

    def counted():
        lines = sorted(line for lines in found for line in lines)
        found.clear()
        return lines

    monkeypatch.setattr(Navigator, "candidates", spied)
    with (
        Client(folder) as client,
        client.load_index(name, index_key=KEY, cache_bytes=cache_bytes) as index,
    ):
        with index._session.read() as (state, view):
            # Awake: at rest it finds others.
            state.navigator.get(view, state).graph.wake()
        for warm in (False, True):
            if warm:
                index.warm()
            together = index.query(queries, include=["distance"])
            candidates = counted()
            assert len(candidates) == len(queries)
            assert [index.query(query, include=["distance"]) for query in queries] == together
            assert len(found) == len(queries)
            # Its point may differ in the last bit, and a walk beside a wider one be as wide.
            assert len(set(counted()) - set(candidates)) < len(queries) / 10
            answers.append((together, set(candidates)))
    assert answers[0][0] == answers[1][0]
    assert len(answers[0][1] - answers[1][1]) < len(queries) / 10
    assert np.array_equal(queries, given)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dimensions", [None, DIMENSION])
def test_near_queries_are_walked_together(tmp_path, monkeypatch, metric, dimensions):
    """Queries that are near to each other are in one block of walks, wherever they stood; their
    answers stand where they did.
    """
    random = np.random.default_rng(4)
    centres = random.standard_normal((8, DIMENSION)) * SPREAD * 5
    cluster = random.integers(8, size=1500)
    vectors = (centres[cluster] + random.standard_normal((1500, DIMENSION)) * SPREAD).astype("f4")
    queries = vectors[:600]
    unit = queries / np.linalg.norm(queries, axis=1)[:, None]
    real, blocks = search.walk, []

    def spied(navigator, state, block, *others):
        blocks.append((block @ unit.T).argmax(axis=1) if metric == "cosine" else numbers(block))
        return real(navigator, state, block, *others)

    def numbers(block):
        return (block[:, None] == queries).all(axis=2).argmax(axis=1)

    monkeypatch.setattr(search, "walk", spied)
    with (
        Client(tmp_path) as client,
        client.create_index(
            "a", index_key=KEY, metric=metric, navigator_dimensions=dimensions
        ) as index,
    ):
        index.upsert([str(row) for row in range(len(vectors))], vectors)
        index.optimize()
        blocks.clear()
        ids, _ = index.query_arrays(queries, top_k=1)
    assert np.mean([found[0] == str(row) for row, found in enumerate(ids)]) > 0.98
    assert sorted(np.concatenate(blocks)) == list(range(len(queries)))
    assert len(blocks) > 8
    # All eight clusters are in a block that has queries as they come.
    assert np.mean([len(set(cluster[block])) for block in blocks]) < 4


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_many_queries_are_wiped(tmp_path, monkeypatch, metric):
    """A sealed handle leaves no copy of queries that it has put into an order, or scaled."""
    vectors = np.random.default_rng(4).standard_normal((1500, DIMENSION)) * SPREAD
    copies, walk, prepare = [], search.walk, search.prepare

    def walked(navigator, state, block, *others):
        assert block.any()
        copies.append(block)
        return walk(navigator, state, block, *others)

    def prepared(queries, metric):
        made = prepare(queries, metric)
        if made is not queries:
            copies.append(made)
        return made

    with Client(tmp_path) as client:
        with client.create_index("a", index_key=KEY, metric=metric) as index:
            index.upsert([str(row) for row in range(len(vectors))], vectors)
            index.optimize()
        with client.load_index("a", index_key=KEY, cache_bytes=0) as index:
            monkeypatch.setattr(search, "walk", walked)
            monkeypatch.setattr(search, "prepare", prepared)
            index.query_arrays(vectors[: 3 * WALKED_AT_ONCE], top_k=3)
    assert len(copies) >= 3 + (metric == "cosine")
    assert not any(copy.any() for copy in copies)


@pytest.mark.parametrize("cache_bytes", RESIDENCIES)
def test_dimensions_of_a_handle(decaying, cache_bytes):
    """A sealed handle walks the fewest components that do, any other as many as make it fast; each
    says so, before the graph is in memory and afterwards.
    """
    folder, vectors = decaying
    wanted = {"many": 32, "few": 24} if cache_bytes == 0 else WALKED
    for name, dimensions in wanted.items():
        with (
            Client(folder) as client,
            client.load_index(name, index_key=KEY, cache_bytes=cache_bytes) as index,
        ):
            slot = index._session.state.navigator
            assert slot.known is None
            assert index.describe()["navigator_dimensions"] == dimensions
            index.query(vectors[0])
            assert slot.known.graph.dimension == dimensions
            assert index.describe()["navigator_dimensions"] == dimensions


def test_a_graph_made_by_a_sealed_handle(decaying, tmp_path):
    """A sealed handle saves the codes of all components too, and others walk these; all of them
    find nearly all of the nearest.
    """
    _, vectors = decaying
    ids, queries = [str(row) for row in range(2000)], vectors[::20] + np.float32(0.02)
    with Client(tmp_path) as client:
        with client.create_index("a", index_key=KEY, indexing="manual") as index:
            index.upsert(ids, vectors)
            wanted = index.query(queries, recall=1)
        for cache_bytes, dimensions in ((0, 32), (None, 48), (0, 32)):
            with client.load_index("a", index_key=KEY, cache_bytes=cache_bytes) as index:
                if index._session.state.root.graph is None:
                    index.optimize()
                record = index._session.state.root.graph
                assert (record.walked, record.dimensions) == (32, 48)
                near = index.query(queries)
                assert index.describe()["navigator_dimensions"] == dimensions
            hits = sum(
                len({item["id"] for item in one} & {item["id"] for item in other})
                for one, other in zip(near, wanted, strict=True)
            )
            assert hits >= 0.98 * sum(map(len, wanted))


def test_budget_is_kept(made):
    """No more pages stay decrypted than the budget holds, whatever is asked."""
    folder, vectors = made
    with (
        Client(folder) as client,
        client.load_index("a", index_key=KEY, cache_bytes=100_000) as index,
    ):
        for query in vectors[:50]:
            index.query(query)
        with index._session.read() as (state, _):
            assert isinstance(state.pool, BoundedPool)
            held = sum(page.nbytes for _, page in state.pool._pages.values())
        assert 0 < held <= 100_000


@pytest.mark.parametrize("value", [-1, 1.5, True, "1"])
def test_bad_budgets(made, value):
    """A budget that is no whole number of bytes is refused."""
    with Client(made[0]) as client, pytest.raises(InvalidInputError):
        client.load_index("a", index_key=KEY, cache_bytes=value)


def test_sealed_needs_a_projection(tmp_path):
    """A handle that keeps no vectors does not open, or make, a graph that holds them."""
    vectors = np.random.default_rng(1).standard_normal((500, 8))
    ids = [str(row) for row in range(500)]
    with Client(tmp_path) as client:
        index = client.create_index("a", index_key=KEY)
        index.upsert(ids, vectors)
        with client.load_index("a", index_key=KEY, cache_bytes=0) as sealed:
            sealed.optimize()
            assert sealed.describe()["indexed_rows"] == 0
            index.optimize()
            assert [result["id"] for result in sealed.query(vectors[3], top_k=1)] == ["3"]
        with pytest.raises(InvalidInputError):
            client.load_index("a", index_key=KEY, cache_bytes=0)
        index.close()


QUERIES = """
import sys
import numpy as np
from cyborg_embedded import Client
from support import KEY

index = Client(sys.argv[1]).load_index(
    "a", index_key=KEY, cache_bytes=int(sys.argv[2]), indexing="manual"
)
random = np.random.default_rng(99)
if sys.argv[3] == "built":
    index.optimize()
for _ in range(200):
    index.query(random.standard_normal(96) * 2, top_k=20)
print("done", flush=True)
sys.stdin.read()
"""


def found_in(pid, heads):
    """How often one of some sorted numbers of eight bytes stands in the memory of a process."""
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, access, *_ = line.split()
            low, high = (int(part, 16) for part in span.split("-"))
            if not access.startswith("rw"):
                continue
            try:
                memory.seek(low)
                held = memory.read(high - low)
            except (OSError, OverflowError, ValueError):
                continue
            for phase in (0, 4):
                words = np.frombuffer(held[phase : len(held) - 8 + phase], np.uint64)
                near = np.minimum(np.searchsorted(heads, words), len(heads) - 1)
                found += int((heads[near] == words).sum())
    return found


@pytest.mark.parametrize("graph", ["built", pytest.param("loaded", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("cache_bytes", "some"), [(0, False), (1 << 30, True)])
def test_nothing_stays_in_memory(made, tmp_path, cache_bytes, some, graph):
    """After queries of a sealed handle, and after it has made a graph, none of 200 sampled vectors
    is anywhere in the process's memory; after those of one that keeps them, they are found there.
    """
    folder, vectors = made
    shutil.copytree(folder, tmp_path / "copy")
    rows = [row for row in range(1, ROWS, 15) if row % 7][:200]
    heads = np.sort(np.ascontiguousarray(vectors[rows, :2]).view(np.uint64).ravel())
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = python("-c", QUERIES, tmp_path / "copy", cache_bytes, graph, **pipes)
    # From outside: a process that searches its own memory comes upon what it has read of it.
    assert child.stdout.readline() == "done\n"
    found = found_in(child.pid, heads)
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert (found > 0) == some
