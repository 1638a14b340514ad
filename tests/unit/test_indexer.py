"""What brings rows into the graph: which rows, when it is made anew, what is saved, and that no reader
of any commit misses a row meanwhile.
"""

import threading

import numpy as np
import pytest
from support import KEY, wait_until

from cyborg_embedded import (
    Client,
    IntegrityError,
    LockedError,
    building,
    columnset,
    indexer,
    saving,
)
from cyborg_embedded.building import Job, StoppedError
from cyborg_embedded.distance import prepare
from cyborg_embedded.graph import Graph
from cyborg_embedded.indexer import is_due
from cyborg_embedded.navigation import load_graph, stream_codes
from cyborg_embedded.projection import Projection
from cyborg_embedded.saving import save_if_it_pays
from cyborg_embedded.search import nearest

D = 64
SPREAD = 0.9 ** np.arange(D)
RANDOM = np.random.default_rng(12)
VECTORS = (RANDOM.standard_normal((4000, D)) * SPREAD).astype(np.float32)
ELSEWHERE = (RANDOM.standard_normal((2000, D)) * SPREAD[::-1] * 3).astype(np.float32)
"""Rows that fill the components which the others hardly touch."""
QUERIES = (RANDOM.standard_normal((30, D)) * SPREAD).astype(np.float32)
K = 10


@pytest.fixture
def client(tmp_path):
    with Client(tmp_path) as client:
        yield client


@pytest.fixture
def index(client):
    with client.create_index("a", index_key=KEY, indexing="manual") as index:
        yield index


def put(index, rows, vectors=VECTORS):
    """Items that are named by their rows."""
    index.upsert([str(row) for row in rows], vectors[rows])


def remove(index, rows):
    index.delete([str(row) for row in rows])


def navigator_of(index):
    """The navigator in memory, if there is one."""
    with index._session.read() as (state, _):
        return state.navigator.known


def run(index, **options):
    """`optimize` as the background does it."""
    indexer.optimize(index._session, Job(1, **options), always_save=False)


def saved_rows(index):
    """How far the graph in the file reaches."""
    with index._session.read() as (state, _):
        return 0 if state.root.graph is None else state.root.graph.rows


def recall(index, vectors, queries, k=K):
    """The share of the true nearest of the items 0, 1, 2, ... that queries find."""
    found, _ = index.query_arrays(queries, top_k=k)
    hits = 0
    for query, ids in zip(queries, found, strict=True):
        true = np.argsort(((vectors - query) ** 2).sum(axis=1))[:k]
        hits += len({str(row) for row in true} & set(ids))
    return hits / (k * len(queries))


# --- which rows ------------------------------------------------------------------------------


def test_few_rows_join_the_graph_in_use(index):
    """A tail is added to the graph that is there, with the projection that it has."""
    put(index, range(1500))
    index.optimize()
    navigator = navigator_of(index)
    assert navigator.projection is not None
    put(index, range(1500, 2000))
    remove(index, range(1600, 1610))
    index.optimize()
    assert navigator_of(index) is navigator
    assert navigator.graph.covered == 2000
    assert np.setdiff1d(np.arange(2000), navigator.graph.rows).tolist() == list(range(1600, 1610))
    assert index.describe()["indexed_rows"] == 1990


@pytest.mark.parametrize(("deleted", "anew"), [(149, False), (151, True)])
def test_a_graph_with_many_dead_rows_is_made_anew(index, deleted, anew):
    """Dead rows stay in the graph while they are few, and leave it when they are many."""
    put(index, range(1500))
    index.optimize()
    before = navigator_of(index)
    remove(index, range(deleted))
    index.optimize()
    after = navigator_of(index)
    assert (after is not before) == anew
    assert len(after.graph) == (1500 - deleted if anew else 1500)
    live = np.arange(deleted, 1500)
    assert all(len(set(ids)) == K for ids in index.query_arrays(VECTORS[:100])[0])
    assert recall(index, np.where(np.arange(1500)[:, None] < deleted, 1e3, VECTORS[:1500]), QUERIES)
    found, _ = index.query_arrays(VECTORS[live[::9]], top_k=1)
    assert np.mean([ids == [str(row)] for ids, row in zip(found, live[::9], strict=True)]) > 0.98


def test_more_rows_than_the_graph_has_make_a_new_one(index):
    """A tail longer than the graph is not added row by row: the projection is chosen again."""
    put(index, range(1100))
    index.optimize()
    before = navigator_of(index)
    put(index, range(1100, 2300))
    index.optimize()
    assert navigator_of(index) is not before
    assert len(navigator_of(index).graph) == 2300
    assert recall(index, VECTORS[:2300], QUERIES) > 0.95


def test_drifted_rows_make_a_new_projection(index):
    """Rows that the projection cannot tell apart bring about another one, and are found."""
    put(index, range(1500))
    index.optimize()
    before = navigator_of(index)
    mixed = np.concatenate((VECTORS[:1500], ELSEWHERE[:1400]))
    put(index, range(1500, 2900), mixed)
    index.optimize()
    after = navigator_of(index)
    assert after is not before
    assert after.projection is not before.projection
    assert recall(index, mixed, ELSEWHERE[1900:]) > 0.9
    assert recall(index, mixed, QUERIES) > 0.9


def test_rows_far_from_the_others_make_a_new_projection(index):
    """So do rows that are far from the older ones, which find each other as ever."""
    put(index, range(1500))
    index.optimize()
    mixed = np.concatenate((VECTORS[:1500], ELSEWHERE[:1400] + np.float32(20)))
    put(index, range(1500, 2900), mixed)
    index.optimize()
    assert recall(index, mixed, QUERIES) > 0.9
    assert recall(index, mixed, ELSEWHERE[1900:] + np.float32(20)) > 0.9


def test_rows_near_the_centre_come_first(index):
    """A new graph that is walked in a projection begins with the rows nearest to the centre of
    all, wherever that is, and ends with the others.
    """
    moved = VECTORS + np.float32(5)
    put(index, range(4000), moved)
    index.optimize()
    navigator = navigator_of(index)
    assert navigator.projection is not None
    kept_out_at_first = building.held_back(np.arange(4000))
    rows = [row for row in navigator.graph.rows.tolist() if not kept_out_at_first[row]]
    away = ((moved - moved.mean(axis=0)) ** 2).sum(axis=1)
    inner, *_, outer = np.array_split(away[rows], 4)
    # But for the centre of a sample being another one than that of all.
    assert np.quantile(inner, 0.99) < np.quantile(outer, 0.01)


def test_columns_are_made_beside(index, monkeypatch):
    """The columns are made on another thread while rows are being added, once, and forgotten when
    they are saved; one that has asked for them before keeps them.
    """
    index.upsert([str(row) for row in range(1500)], VECTORS[:1500], [{"n": n} for n in range(1500)])
    made, chosen, added = [], [], []
    refreshed, choose, add = columnset.refreshed, building.choose_projection, Graph.add

    def spied(view, state, known):
        made.append(threading.current_thread().name)
        return refreshed(view, state, known)

    def choosing(sample, walked):
        chosen.append(list(made))
        return choose(sample, walked)

    def slowly(*arguments):
        wait_until(lambda: made)
        added.append(list(made))
        return add(*arguments)

    monkeypatch.setattr(columnset, "UNSAVED_PAGES", 1)
    monkeypatch.setattr(columnset, "refreshed", spied)
    monkeypatch.setattr(building, "choose_projection", choosing)
    monkeypatch.setattr(Graph, "add", slowly)
    index.optimize()
    assert made == ["cyborg-columns"]
    assert chosen == [[]]
    assert added[0] == made
    assert index._session.columns.known is None
    assert index.count({"n": {"$lt": 7}}) == 7
    assert len(made) == 1  # those in the file
    put(index, range(1500, 4000))
    index.optimize()
    assert index._session.columns.known is not None
    assert index.count({"n": {"$lt": 7}}) == 7


def test_columns_that_cannot_be_made_beside(index, monkeypatch):
    """What is wrong with items is said by whoever waits for the columns."""
    index.upsert([str(row) for row in range(1500)], VECTORS[:1500], [{"n": n} for n in range(1500)])

    def broken(*_):
        raise IntegrityError("damaged", kind="ITEMS", number=0)

    monkeypatch.setattr(columnset, "UNSAVED_PAGES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(columnset, "refreshed", broken)
        with pytest.raises(IntegrityError):
            index.optimize()
    index.optimize()
    assert index.count({"n": {"$lt": 7}}) == 7


def test_without_rows_there_is_no_graph(index):
    """When all items are deleted, the graph goes, from memory and from the file."""
    put(index, range(50))
    index.optimize()
    remove(index, range(50))
    index.optimize()
    assert navigator_of(index) is None
    assert saved_rows(index) == 0
    assert not index.is_trained()
    put(index, range(50, 60))
    index.optimize()
    assert index.describe()["indexed_rows"] == 10


def test_a_sealed_handle_makes_no_graph_over_vectors(client):
    """Where there is no projection, a handle that keeps no vectors makes no graph either."""
    client.create_index("b", index_key=KEY).close()
    with client.load_index("b", index_key=KEY, cache_bytes=0) as index:
        put(index, range(500))
        index.optimize()
        assert navigator_of(index) is None
        put(index, range(500, 1500))
        index.optimize()
        assert navigator_of(index).projection is not None


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 17, 300])
def test_graphs_of_any_size(index, rows):
    """Each item is in the graph once, whatever was kept out at first to measure it."""
    put(index, range(rows))
    index.optimize()
    graph = navigator_of(index).graph
    assert np.sort(graph.rows).tolist() == list(range(rows))
    assert graph.search(VECTORS[:1], rows)[0].shape == (1, rows)


# --- progress, and being stopped -------------------------------------------------------------


def test_progress(index, monkeypatch):
    """`progress` is told growing numbers up to the total, for a new graph and for one that grows."""
    monkeypatch.setattr(building, "BLOCK_ROWS", 100)
    for first, last in ((0, 1500), (1500, 1950)):
        put(index, range(first, last))
        told = []
        index.optimize(progress=lambda done, total, told=told: told.append((done, total)))
        done = [number for number, _ in told]
        assert len(set(done)) > 3
        assert done == sorted(done)
        assert {total for _, total in told} == {last - first}
        assert done[-1] == last - first


def test_what_progress_raises_stops_it(index, monkeypatch):
    """An exception of `progress` comes out of `optimize`, and the next one begins again."""
    monkeypatch.setattr(building, "BLOCK_ROWS", 100)
    put(index, range(1500))

    def tired(done, _total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.optimize(progress=tired)
    assert not index.is_training()
    index.optimize()
    assert index.describe()["indexed_rows"] == 1500


def test_stopped_while_growing(index, monkeypatch):
    """Rows that were added before a stop are in the graph, the others are scanned; the next run
    goes on from there.
    """
    monkeypatch.setattr(building, "BLOCK_ROWS", 50)
    put(index, range(1500))
    index.optimize()
    put(index, range(1500, 2000))
    stops = iter([False, False, False, True])
    with pytest.raises(StoppedError):
        run(index, stopping=lambda: next(stops))
    assert navigator_of(index).graph.covered == 1650
    found, _ = index.query_arrays(VECTORS[1500:2000], top_k=1)
    assert np.mean([ids == [str(row)] for row, ids in enumerate(found, 1500)]) > 0.99
    index.optimize()
    assert np.sort(navigator_of(index).graph.rows).tolist() == list(range(2000))


# --- what is saved ---------------------------------------------------------------------------


def test_a_second_optimize_does_nothing(client, index):
    """`optimize` of what is optimized and saved is no commit, also through a handle opened anew."""
    put(index, range(1500))
    index.optimize()
    put(index, range(1500, 1700))
    index.optimize()
    sequence, navigator = index.sequence, navigator_of(index)
    index.optimize()
    index.train()
    assert index.sequence == sequence
    assert navigator_of(index) is navigator
    with client.load_index("a", index_key=KEY) as other:
        other.optimize()
        assert other.sequence == sequence


def test_what_is_in_memory_alone_is_saved_on_demand(index, monkeypatch):
    """`optimize` saves a graph that the background has brought up without saving it."""
    monkeypatch.setattr(indexer, "TAIL_ROWS", 100)
    monkeypatch.setattr(saving, "UNSAVED_ROWS", 100)
    put(index, range(1500))
    run(index)
    put(index, range(1500, 1550))
    run(index)
    assert (navigator_of(index).graph.covered, saved_rows(index)) == (1550, 1500)
    index.optimize()
    assert saved_rows(index) == 1550


def test_only_what_pays_is_saved(client, index, monkeypatch):
    """In the background a graph is saved when the file lacks at least an eighth of it, and not less
    than a tail that would be worth indexing.
    """
    monkeypatch.setattr(indexer, "TAIL_ROWS", 100)
    monkeypatch.setattr(saving, "UNSAVED_ROWS", 100)
    seen = []
    for last in (90, 99, 101, 150, 201, 1500, 1600, 1700, 1720, 1800):
        put(index, range(len(index), last))
        sequence = index.sequence
        run(index)
        assert index.describe()["indexed_rows"] == last
        assert index.sequence - sequence == (last in {101, 201, 1500, 1720})
        seen.append(saved_rows(index))
    assert seen == [0, 0, 101, 101, 201, 1500, 1500, 1500, 1720, 1720]
    # What a handle restores is what was saved, and counts from there.
    with client.load_index("a", index_key=KEY, indexing="manual") as other:
        assert other.describe()["indexed_rows"] == 1720
        other.query(QUERIES[0])
        put(other, range(1800, 1900))
        run(other)
        assert saved_rows(other) == 1720
        put(other, range(1900, 2000))
        run(other)
        assert saved_rows(other) == 2000


def test_saving_on_closing(index, monkeypatch):
    """`save_if_it_pays` saves what is in memory without adding to it, and nothing twice."""
    monkeypatch.setattr(indexer, "TAIL_ROWS", 100)
    monkeypatch.setattr(saving, "UNSAVED_ROWS", 100)
    save_if_it_pays(index._session)
    assert index.sequence == 1
    put(index, range(1500))
    save_if_it_pays(index._session)
    assert index.sequence == 2
    real = indexer.save
    monkeypatch.setattr(indexer, "save", lambda *_: None)
    run(index)
    monkeypatch.setattr(indexer, "save", real)
    put(index, range(1500, 1600))
    assert saved_rows(index) == 0
    save_if_it_pays(index._session)
    assert saved_rows(index) == 1500
    sequence = index.sequence
    save_if_it_pays(index._session)
    assert index.sequence == sequence


def test_locked_while_saving(client, index):
    """Where the writer's lock cannot be had, the graph stays in use, and is saved another time."""
    put(index, range(1500))
    with client.load_index("a", index_key=KEY, lock_timeout=0.05) as hasty:
        with index._session.store.environment.writer(1), pytest.raises(LockedError):
            hasty.optimize()
        assert hasty.describe()["indexed_rows"] == 1500
        assert saved_rows(hasty) == 0
        hasty.optimize()
        assert saved_rows(hasty) == 1500


def check_codes(index):
    """Assert that every node of the saved graph has the codes of its vector, other rows zeros."""
    with index._session.read() as (state, view):
        saved = load_graph(view)
        rows, projection = saved.links.rows.astype(np.int64), saved.projection
        codes = np.full((saved.covered, projection.dimensions), 99, np.int8)

        def take(first, part):
            codes[first : first + len(part)] = part

        stream_codes(view, projection.dimensions, saved.covered, take)
        vectors = state.pool.rows(view, np.arange(saved.covered))
        wanted = np.zeros_like(codes)
        wanted[rows] = projection.encode(prepare(vectors[rows], state.root.metric))
        # A thousandth of the numbers may be rounded the other way: products are summed in any order.
        assert np.abs(codes.astype(int) - wanted).max() <= 1
        assert (codes != wanted).mean() < 1e-3
        return rows, state.alive[: saved.covered]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_codes_of_dead_nodes(client, metric):
    """A dead row that is still a node of the saved graph has its real codes; one that never was a
    node has none. So it is where a graph is saved on top of its own, and of another handle's.
    """
    first = client.create_index("b", index_key=KEY, metric=metric, indexing="manual")
    put(first, range(1500))
    first.optimize()
    second = client.load_index("b", index_key=KEY, indexing="manual")
    second.query(QUERIES[0])
    put(first, range(1500, 1800))
    dead = [*range(0, 60, 3), *range(1495, 1505), 1750]
    remove(first, dead)
    for handle in (first, second, first):
        handle.optimize()
        put(handle, [len(handle) + 1000])
        handle.optimize()
        nodes, alive = check_codes(handle)
        assert not alive[dead].any()
        assert np.isin([row for row in dead if row < 1500], nodes).all()
        assert not np.isin([row for row in dead if row >= 1500], nodes).any()
        assert np.isin(np.flatnonzero(alive), nodes).all()
    first.close()
    second.close()
    with client.load_index("b", index_key=KEY) as index:
        found, _ = index.query_arrays(VECTORS[:1800:7], top_k=5)
        assert not {str(row) for row in dead} & {item for ids in found for item in ids}


def failing(*_):
    message = "no room"
    raise OSError(message)


def test_codes_are_made_once(index, monkeypatch):
    """The codes of a new graph are those that it was made of, and let go of when they are saved;
    where saving fails they are still there, and where the graph has grown since, all are made anew.
    """
    put(index, range(1500))
    encoded, encode = [], Projection.encode

    def spied(projection, vectors, components=None):
        encoded.append(len(vectors))
        return encode(projection, vectors, components)

    monkeypatch.setattr(Projection, "encode", spied)
    with monkeypatch.context() as patched:
        patched.setattr(saving, "save_graph", failing)
        with pytest.raises(OSError, match="no room"):
            index.optimize()
    navigator = navigator_of(index)
    assert navigator.codes.shape == (1500, navigator.projection.dimensions)
    encoded.clear()
    index.optimize()
    assert encoded == []
    assert navigator.codes is None
    check_codes(index)

    remove(index, range(0, 600, 2))
    with monkeypatch.context() as patched:
        patched.setattr(saving, "save_graph", failing)
        with pytest.raises(OSError, match="no room"):
            index.optimize()
    assert navigator_of(index).codes is not None
    put(index, range(1500, 1540))
    index.optimize()
    assert navigator_of(index).codes is None
    nodes, alive = check_codes(index)
    assert sorted(nodes) == np.flatnonzero(alive).tolist()


def test_a_sealed_handle_keeps_no_codes(client, index, monkeypatch):
    """It makes those of a new graph when they are saved, some at a time."""
    put(index, range(1500))
    kept, save_from = [], saving.save_from

    def spied(session, navigator, *others):
        kept.append(navigator.codes)
        return save_from(session, navigator, *others)

    monkeypatch.setattr(saving, "save_from", spied)
    with client.load_index("a", index_key=KEY, cache_bytes=0, indexing="manual") as sealed:
        sealed.optimize()
        assert kept == [None]
        check_codes(sealed)


# --- readers of older commits ------------------------------------------------------------------


def meanwhile(*calls):
    """Run calls in another thread: this one is inside a transaction."""
    errors = []

    def work():
        try:
            for call in calls:
                call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


def check_old_reader(state, view, alive, queries):
    """Assert that a reader of this state finds nearly all of the nearest rows that were alive then,
    no other ones, and that those that are asked for by their own vector are all found.
    """
    known = np.arange(len(alive))
    rows, distances = nearest(state, view, lambda rows: [str(row) for row in rows], queries, K)
    assert rows.shape == distances.shape == (len(queries), K)
    hits = 0
    for query, line, near in zip(queries, rows, distances, strict=True):
        assert len(set(line.tolist())) == K
        assert alive[line].all()
        true = np.where(alive, ((VECTORS[known] - query) ** 2).sum(axis=1), np.inf)
        assert np.allclose(near**2, true[line], atol=1e-4)
        hits += len(set(np.argsort(true)[:K].tolist()) & set(line.tolist()))
    assert hits / rows.size > 0.97


def test_a_reader_of_an_older_commit_while_drift_is_measured(index, monkeypatch):
    """Rows that were dead already are not found by who reads an older commit at any moment of a run,
    whatever has died since.
    """
    put(index, range(1500))
    index.optimize()
    put(index, range(1500, 1600))
    remove(index, range(10))
    alive = np.ones(1600, bool)
    alive[:10] = False
    looked = []
    with index._session.read() as (state, view):

        def drifted(*_):
            looked.append(check_old_reader(state, view, alive, VECTORS[:20]))
            return False

        monkeypatch.setattr(indexer, "drifted", drifted)
        # As many as had died before, and rows that the graph does not have.
        meanwhile(lambda: remove(index, range(1500, 1510)), index.optimize)
    assert looked


@pytest.mark.parametrize("step", ["grown", "made anew", "all at once"])
def test_a_reader_of_an_older_commit(index, step):
    """Rows that died later are found by who reads an older commit, though the graph has been
    brought up without them, and rows that came later are not.
    """
    put(index, range(1500))
    index.optimize()
    put(index, range(1500, 2000))
    remove(index, range(50))
    alive = np.ones(2000, bool)
    alive[:50] = False
    dying = np.arange(1500, 2000, 2) if step == "grown" else np.arange(100, 2000, 3)
    with index._session.read() as (state, view):
        calls = [
            lambda: remove(index, dying),
            lambda: put(index, range(2000, 2300)),
            index.optimize,
            lambda: put(index, range(2300, 2400)),
        ]
        if step == "all at once":
            meanwhile(*calls, index.optimize)
        for call in calls if step != "all at once" else ():
            meanwhile(call)
            check_old_reader(state, view, alive, VECTORS[dying[::10]])
        assert (state.navigator.known.deaths > state.deaths) or step == "all at once"
        check_old_reader(state, view, alive, VECTORS[dying[::10]])
        check_old_reader(state, view, alive, VECTORS[2000:2020])
    # Who reads the newest commit sees it all the other way round.
    found, _ = index.query_arrays(VECTORS[dying[::10]], top_k=K)
    assert not {str(row) for row in dying} & {item for ids in found for item in ids}
    found, _ = index.query_arrays(VECTORS[2000:2400], top_k=1)
    assert np.mean([ids == [str(row)] for row, ids in enumerate(found, 2000)]) > 0.97


def test_rows_of_later_commits_in_the_graph(index):
    """A reader of an older commit walks the graph that has grown since, and gets its own rows."""
    put(index, range(1500))
    index.optimize()
    with index._session.read() as (state, view):
        meanwhile(lambda: put(index, range(1500, 2500)), index.optimize)
        assert state.navigator.known.graph.covered == 2500
        assert state.navigator.known.deaths == state.deaths
        check_old_reader(state, view, np.ones(1500, bool), VECTORS[1500:2500:40])


@pytest.mark.parametrize("left", [0, 5])
def test_a_whole_neighbourhood_that_has_died(index, left):
    """Where nearly all that a walk meets has died, as many items come as are asked for, none of them
    dead, and nearly all of them the nearest.
    """
    cluster = VECTORS[0] + (RANDOM.standard_normal((700, D)) * SPREAD * 0.2).astype(np.float32)
    data = np.concatenate((VECTORS[:1500], cluster))
    put(index, range(2200), data)
    index.optimize()
    gone = [0, *range(1500, 2200 - left)]
    remove(index, gone)
    live = np.setdiff1d(np.arange(2200), gone)
    for queries in (data[:1], np.concatenate((data[:1], QUERIES))):
        for k in (1, 5, 10, 50, 150):
            found, _ = index.query_arrays(queries, top_k=k)
            hits = 0
            for query, ids in zip(queries, found, strict=True):
                rows = np.array(ids, int)
                assert len(set(ids)) == k
                assert np.isin(rows, live).all()
                true = live[np.argsort(((data[live] - query) ** 2).sum(axis=1))[:k]]
                hits += len(set(rows.tolist()) & set(true.tolist()))
            assert hits / (k * len(queries)) > 0.9


# --- when ------------------------------------------------------------------------------------


def due(index):
    with index._session.read() as (state, _):
        return is_due(state)


def test_when_it_is_due(client, index, monkeypatch):
    """A first graph is due from some rows on; then a tail, or a share of deleted rows. A tail is seen
    whether the graph is in memory or only in the file, what of it has died when it is in memory.
    """
    monkeypatch.setattr(indexer, "FIRST_ROWS", 400)
    monkeypatch.setattr(indexer, "TAIL_ROWS", 50)
    put(index, range(399))
    assert not due(index)
    put(index, [399])
    assert due(index)
    remove(index, [0])
    assert not due(index)
    index.optimize()
    other = client.load_index("a", index_key=KEY, indexing="manual")
    for handle in (index, other):
        assert not due(handle)
    put(index, range(400, 449))
    for handle in (index, other):
        assert not due(handle)
    put(index, [449])
    for handle in (index, other):
        assert due(handle)
    index.optimize()
    remove(index, range(1, 44))
    for handle in (index, other):
        assert not due(handle)
    remove(index, range(44, 50))
    assert due(index)
    assert not due(other)
    other.query(QUERIES[0])
    assert due(other)
    other.close()


def test_a_graph_that_was_made_anew_is_not_due(index, monkeypatch):
    """Dead rows that are not in the graph any more are no reason to bring it up again and again."""
    monkeypatch.setattr(indexer, "FIRST_ROWS", 400)
    monkeypatch.setattr(indexer, "TAIL_ROWS", 50)
    put(index, range(1000))
    index.optimize()
    remove(index, range(500))
    assert due(index)
    index.optimize()
    assert len(navigator_of(index).graph) == 500
    assert not due(index)
    put(index, [1000])
    assert not due(index)


def test_a_handle_that_can_make_no_graph_is_not_due_for_ever(client, monkeypatch):
    """Where there is to be none, nobody tries again until the rows have doubled."""
    monkeypatch.setattr(indexer, "FIRST_ROWS", 20)
    client.create_index("b", index_key=KEY, metric="inner_product").close()
    with client.load_index("b", index_key=KEY, cache_bytes=0, indexing="manual") as index:
        put(index, range(40))
        assert is_due(index._session.state)
        index.optimize()
        assert navigator_of(index) is None
        put(index, range(40, 79))
        assert not is_due(index._session.state)
        put(index, range(79, 80))
        assert is_due(index._session.state)


def test_a_graph_that_reaches_further_stays_in_the_file(client):
    """A handle whose graph lacks rows that the one in the file has does not put its own there."""
    with client.create_index("b", index_key=KEY, indexing="manual") as index:
        put(index, range(300))
        index.optimize()
        behind = navigator_of(index)
        put(index, range(300, 400))
        with client.load_index("b", index_key=KEY, indexing="manual") as other:
            other.optimize()
        sequence = index.sequence
        behind.saved = None
        saving.save(index._session, behind)
        assert index.sequence == sequence
        assert saved_rows(index) == 400
