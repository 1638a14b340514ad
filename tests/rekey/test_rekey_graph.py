"""The graph goes along where all its nodes live, and queries are answered as before either way."""

import shutil

import numpy as np
import pytest
from rekey_harness import Custodian

from cyborg_embedded import indexer
from cyborg_embedded.model import PageKind

ROWS = 1500


@pytest.fixture(
    scope="module",
    params=[("rekey", 48), ("compact", 8), ("compact", 48)],
    ids=lambda case: "{} {}".format(*case),
)
def made(request, tmp_path_factory):
    """A folder with an index of ROWS rows and a graph, over vectors or what a projection makes of
    them; how it is to be renewed, and the vectors.
    """
    way, dimension = request.param
    folder = tmp_path_factory.mktemp("made") / "indexes"
    spread = 0.9 ** np.arange(dimension)
    drawn = np.random.default_rng(5).standard_normal((ROWS + 200, dimension)) * spread
    vectors = drawn.astype(np.float32)
    options = {} if dimension < 10 else {"navigator_dimensions": 16}
    with Custodian(folder).create(dimension=dimension, **options) as index:
        put(index, vectors, 0, ROWS)
        index.optimize()
    return folder, way, vectors


@pytest.fixture
def vectors(made):
    return made[2]


@pytest.fixture
def custodian(made, folder):
    shutil.copytree(made[0], folder)
    return Custodian(folder, made[1])


@pytest.fixture
def index(custodian):
    with custodian.load() as index:
        yield index


@pytest.fixture
def none_is_made(monkeypatch):
    """Whoever makes a graph fails."""

    def rebuilt(*_):
        message = "a new graph is being made"
        raise AssertionError(message)

    monkeypatch.setattr(indexer, "rebuilt", rebuilt)


def put(index, vectors, first, last):
    names = [f"{row}" for row in range(first, last)]
    index.upsert(names, vectors[first:last], [{"row": row} for row in range(first, last)])


def answers(index, vectors):
    """What queries find with and without filters, and by which means."""
    queries = vectors[::50] + np.float32(0.01)
    ids, distances = index.query_arrays(queries, top_k=5)
    some, near = index.query_arrays(queries, top_k=5, filters={"row": {"$gte": 300}})
    plan = index.query(queries[0], top_k=5, explain=True)[1]
    return ids, distances.tobytes(), some, near.tobytes(), plan["strategy"]


def check_exact(index, vectors, alive, recall=0.99):
    """Each of the rows is the nearest to itself."""
    found, _ = index.query_arrays(vectors[alive], top_k=1)
    right = [ids == [f"{row}"] for row, ids in zip(alive, found, strict=True)]
    assert np.mean(right) >= recall


def pages(index, kind):
    with index._session.read() as (state, _):
        return state.snapshot.pages(kind)


def test_the_graph_goes_along(custodian, index, vectors, none_is_made):
    """No new graph is made: the same answers by the same means, in this handle and the next."""
    before = answers(index, vectors)
    assert before[-1] == "graph"
    sizes = [pages(index, kind) for kind in (PageKind.GRAPH, PageKind.NAVIGATION)]
    for _ in range(2):
        custodian.renew(index)
        assert index.is_trained()
        assert index.describe()["indexed_rows"] == ROWS
        assert answers(index, vectors) == before
    assert [pages(index, kind) for kind in (PageKind.GRAPH, PageKind.NAVIGATION)] == sizes
    index.optimize()
    index.close()
    with custodian.load() as again:
        assert answers(again, vectors) == before
        assert again.query(vectors[0], top_k=3, recall=0.9)[0]["id"] == "0"


def test_rows_beside_the_graph(custodian, index, vectors, none_is_made):
    """Rows that the saved graph lacks are found, and dead ones among them are not in its way; what
    is upserted later is added to it.
    """
    put(index, vectors, ROWS, ROWS + 100)
    index.delete([f"{ROWS + 5}"])
    custodian.renew(index)
    assert index.describe()["indexed_rows"] == ROWS
    alive = [row for row in range(ROWS + 100) if row != ROWS + 5]
    check_exact(index, vectors, alive)
    put(index, vectors, ROWS + 100, ROWS + 200)
    index.optimize()
    assert index.describe()["indexed_rows"] == ROWS + 199
    check_exact(index, vectors, [*alive, *range(ROWS + 100, ROWS + 200)])


def test_rows_that_were_dead_when_the_graph_was_made(folder):
    """A graph that was made without the dead rows goes along, and its rows get other numbers."""
    vectors = np.random.default_rng(8).standard_normal((910, 20)).astype(np.float32)
    custodian = Custodian(folder)
    index = custodian.create(dimension=20, navigator_dimensions=16)
    put(index, vectors, 0, 900)
    index.delete([f"{row}" for row in range(0, 900, 3)])
    index.optimize()
    put(index, vectors, 900, 910)
    alive = [row for row in range(910) if row % 3 or row >= 900]
    before = answers(index, vectors[alive])
    custodian.renew(index)
    described = index.describe()
    assert described["indexed_rows"] == 600
    assert described["deleted_rows"] == 0
    assert answers(index, vectors[alive])[:2] == before[:2]
    check_exact(index, vectors, alive)
    index.close()


def test_a_dead_node(custodian, index, vectors):
    """A graph with a dead node stays behind: all is scanned, until a new one is made."""
    index.delete(["700"])
    custodian.renew(index)
    alive = [row for row in range(ROWS) if row != 700]
    assert not index.is_trained()
    assert index.describe()["indexed_rows"] == 0
    for kind in (PageKind.GRAPH, PageKind.NAVIGATION, PageKind.PROJECTION):
        assert pages(index, kind) == 0
    check_exact(index, vectors, alive, recall=1)
    index.optimize()
    assert index.describe()["indexed_rows"] == len(alive)
    check_exact(index, vectors, alive)


def test_columns_and_codes_are_made_again(custodian, index, vectors):
    """What a handle has made for filters is not used with rows that have other numbers now."""
    index.delete(filters={"row": {"$lt": 200}})
    wanted = {"row": {"$gte": 600, "$lt": 1300}}
    for _ in range(2):
        found, _ = index.query_arrays(vectors[600:1300:20], top_k=1, filters=wanted)
        assert found == [[f"{row}"] for row in range(600, 1300, 20)]
        assert index.count(wanted) == 700
        assert index.list_ids(wanted) == [f"{row}" for row in range(600, 1300)]
        custodian.renew(index)


def test_columns_go_along(tmp_path, made):
    """What filters use is in the new file where no row has died, and is right there."""
    way = made[1]
    custodian = Custodian(tmp_path / "with-columns", way)
    with custodian.create(dimension=2) as index:
        names = [str(row) for row in range(100)]
        index.upsert(names, np.ones((100, 2)), [{"n": row} for row in range(100)])
        index.optimize()
        index.upsert(["7"], np.ones((1, 2)), [{"n": 700}])
        custodian.renew(index)
        with index._session.read() as (state, _):
            assert state.root.columns is not None
        assert index.verify().ok
        assert index.list_ids(filters={"n": {"$gte": 99}}) == ["7", "99"]
        index.delete(["3"])
        custodian.renew(index)
        with index._session.read() as (state, _):
            assert state.root.columns is None
        assert index.list_ids(filters={"n": {"$lte": 4}}) == ["0", "1", "2", "4"]
