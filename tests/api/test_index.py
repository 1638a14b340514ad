"""What every method of an open index promises."""

import os
import subprocess
import threading

import numpy as np
import pytest
from support import (
    KEY,
    METRICS,
    check_items,
    check_query,
    contents_of,
    in_threads,
    make_index,
    plain,
    python,
    run_python,
)

from cyborg_embedded import (
    Client,
    ClosedError,
    EncryptedIndex,
    InvalidInputError,
    RollbackError,
)

RNG = np.random.default_rng(31)


def some_items(count, dimension, seed=0):
    """Items as the oracle keeps them: id to (vector, metadata, contents)."""
    rng = np.random.default_rng(seed)
    return {
        f"item {number:04}": (
            rng.normal(size=dimension).astype(np.float32),
            {"n": number, "tags": ["x"] * (number % 4)} if number % 3 else None,
            [None, f"text {number}", b"\x00\xff" * number][number % 3],
        )
        for number in range(count)
    }


def put(index, items):
    """Upsert items of the oracle."""
    vectors, metadata, contents = zip(*items.values(), strict=True)
    index.upsert(list(items), np.array(vectors), list(metadata), list(contents))


# --- what is stored -------------------------------------------------------------------------


def test_both_forms_of_upsert_store_the_same(client):
    """Items given as dicts and as parallel sequences are the same items."""
    items = some_items(20, 4)
    with client.create_index("dicts", index_key=KEY) as dicts:
        names = ("vector", "metadata", "contents")
        given = [{"id": name, **dict(zip(names, items[name], strict=True))} for name in items]
        assert dicts.upsert(given) is None
        with client.create_index("arrays", index_key=KEY) as arrays:
            put(arrays, items)
            check_items(arrays, items)
            assert contents_of(arrays) == contents_of(dicts)


def test_inputs_of_many_kinds(index):
    """Lists, tuples, generators of dicts, and arrays of any real type and layout are taken."""
    index.upsert({"id": name, "vector": range(4)} for name in "ab")
    index.upsert(("c", "d"), ((1, 2, 3, 4), [5, 6, 7, 8]))
    index.upsert(np.array(["e"]), np.array([[1, 2, 3, 4]], np.uint8))
    index.upsert(["f"], np.array([[1.5, 2, 3, 4]], np.float16))
    index.upsert(["g"], np.asfortranarray(np.ones((2, 4)))[:1])
    index.upsert(["h"], np.array([[1, 2, 3, 4]], ">f8"))
    index.upsert(["i"], np.arange(16.0).reshape(2, 8)[1:, ::2])
    index.upsert([{"id": "j", "vector": [1, 2, 3, 4], "contents": bytearray(b"xy")}])
    got = {item["id"]: item for item in index.get(list("abcdefghij"))}
    assert len(got) == 10
    assert got["a"]["vector"].tolist() == [0, 1, 2, 3]
    assert got["h"]["vector"].tolist() == [1, 2, 3, 4]
    assert got["i"]["vector"].tolist() == [8, 10, 12, 14]
    assert got["j"]["contents"] == b"xy"
    assert all(item["vector"].dtype == np.float32 for item in got.values())


def test_vectors_come_back_bit_for_bit(index):
    """Any float32 that may be stored is read back with the very same bits, minus zero too."""
    tiny = np.float32(1e-45)
    rows = np.array(
        [[-0.0, 0.0, tiny, -tiny], [1e-38, 3e18, -3e18, 1 / 3], [0.1, 0.2, 0.3, 1e-40]], np.float32
    )
    index.upsert(["a", "b", "c"], rows)
    got = np.array([item["vector"] for item in index.get(["a", "b", "c"])])
    assert plain(got) == plain(rows)
    assert [plain(r["vector"]) for r in index.query(rows[0], include=["vector"])]
    index.upsert(["a"], [[0.0, 0.0, tiny, -tiny]])
    [item] = index.get(["a"])
    assert not np.signbit(item["vector"][0])


def test_what_the_caller_does_to_its_arrays_later_changes_nothing(index):
    """An index keeps copies, and hands out copies."""
    vectors, metadata = np.ones((1, 4), np.float32), {"list": [1]}
    index.upsert(["a"], vectors, [metadata])
    vectors[:] = 9
    metadata["list"].append(2)
    [item] = index.get(["a"])
    item["vector"][:] = 7
    item["metadata"]["list"].append(3)
    [again] = index.get(["a"])
    assert again["vector"].tolist() == [1] * 4
    assert again["metadata"] == {"list": [1]}


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4096, 100_000, 3 << 20])
def test_contents_and_metadata_of_every_length(client, size):
    """Text, bytes and metadata of any length come back as what they were."""
    names = ["text", "bytes", "metadata"]
    text, data, metadata = "é" * (size // 2) + "x" * (size % 2), os.urandom(size), {"x": "y" * size}
    with client.create_index("notes", index_key=KEY) as index:
        index.upsert(names[:2], [[1.0], [2.0]], None, [text, data])
        if size < 1 << 20:
            index.upsert(names[2:], [[3.0]], [metadata])
    with client.load_index("notes", index_key=KEY) as index:
        got = index.get(names)
        assert got[0]["contents"] == text
        assert got[1]["contents"] == data
        assert len(got) == 2 or got[2]["metadata"] == metadata
        index.upsert(["text"], [[1.0]], None, ["short"])
        index.delete(["bytes"])
        assert index.get(names[:2])[0]["contents"] == "short"
        assert len(index.get(names[:2])) == 1


def test_text_and_bytes_are_kept_apart(index):
    """Contents that were text come back as text, bytes as bytes, empty and absent ones as such."""
    given = ["", b"", None, "a", b"a"]
    index.upsert(list("abcde"), np.zeros((5, 4)), None, given)
    got = [item["contents"] for item in index.get(list("abcde"))]
    assert got == given
    assert list(map(type, got)) == list(map(type, given))


def test_a_replaced_item_is_replaced_whole(index):
    """What an upsert does not name is gone afterwards, whether or not the vector is new."""
    full = {"id": "a", "vector": [1.0] * 4, "metadata": {"x": 1}, "contents": "long" * 500}
    for vector in ([1.0] * 4, [2.0] * 4):
        index.upsert([full])
        index.upsert([{"id": "a", "vector": vector}])
        [item] = index.get(["a"])
        assert (item["metadata"], item["contents"]) == (None, None)
        assert item["vector"].tolist() == vector
        assert len(index) == 1
        assert index.list_ids() == ["a"]
        assert [result["id"] for result in index.query([1.0] * 4)] == ["a"]


def test_dimension_is_set_by_the_first_upsert(client):
    """An index without a dimension takes that of its first rows, for good."""
    with client.create_index("notes", index_key=KEY) as index:
        assert index.dimension is None
        assert index.describe()["dimension"] is None
        assert index.query([1.0, 2.0]) == []
        index.upsert(["a"], [[1.0, 2.0, 3.0]])
        assert index.dimension == 3
        index.delete(["a"])
        with pytest.raises(ValueError, match="dimension"):
            index.upsert(["a"], [[1.0]])
    with client.load_index("notes", index_key=KEY) as index:
        assert index.dimension == 3


@pytest.mark.parametrize("dimension", [1, 2, 15, 16, 17, 255, 8182, 8183, 16_384])
def test_any_dimension(client, dimension):
    """Vectors of any dimension are stored and found, a row larger than a page too."""
    items = some_items(5, dimension)
    with client.create_index("notes", index_key=KEY, dimension=dimension) as index:
        put(index, items)
        check_items(index, items)
        index.optimize()
    with client.load_index("notes", index_key=KEY) as index:
        check_items(index, items)
        query = items["item 0003"][0]
        check_query(index.query(query, top_k=3), query, 3, "euclidean", items)


# --- get, delete, list ----------------------------------------------------------------------


def test_get_keeps_order_and_leaves_out_what_is_missing(index):
    """Items come in the order asked for, as often as asked for, without those that are not there."""
    index.upsert(list("abc"), np.eye(3, 4))
    asked = ["c", "missing", "a", "c", "b", "also missing"]
    assert [item["id"] for item in index.get(asked)] == ["c", "a", "c", "b"]
    assert index.get([]) == []
    assert index.get(["missing"]) == []


def test_get_defaults_and_include(index):
    """`get` gives vector, metadata and contents, or what is asked for."""
    index.upsert(["a"], np.ones((1, 4)), [{"x": 1}], ["text"])
    assert set(index.get(["a"])[0]) == {"id", "vector", "metadata", "contents"}
    assert index.get(["a"], include=[]) == [{"id": "a"}]
    assert index.get(["a"], include=("metadata",)) == [{"id": "a", "metadata": {"x": 1}}]
    assert index.get(["a"], include={"contents"}) == [{"id": "a", "contents": "text"}]


def test_delete_counts_what_was_there(index):
    """`delete` says how many items went, each counted once, missing ones not."""
    index.upsert(list("abcd"), np.eye(4))
    assert index.delete(["a", "missing", "a", "c"]) == 2
    assert index.delete(["a"]) == 0
    assert index.delete([]) == 0
    assert index.list_ids() == ["b", "d"]
    assert index.get(["a", "b", "c"])[0]["id"] == "b"
    index.upsert(["a"], [[9.0] * 4])
    assert index.list_ids() == ["b", "d", "a"]
    assert index.delete(index.list_ids()) == 3
    assert len(index) == 0
    assert index.query([0.0] * 4) == []


def test_list_ids_is_in_row_order(index):
    """Ids come in the order in which their vectors were written."""
    index.upsert(list("cab"), np.eye(3, 4))
    index.upsert(list("zd"), np.eye(2, 4))
    assert index.list_ids() == list("cabzd")
    index.upsert(["a"], [np.eye(3, 4)[1]], [{"new": 1}])
    assert index.list_ids() == list("cabzd")
    index.upsert(["a"], [[5.0] * 4])
    assert index.list_ids() == list("cbzda")


# --- queries --------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_agree_with_the_oracle(client, metric):
    """Each metric orders and measures as its formula says, before and after optimize."""
    items = some_items(150, 7)
    with client.create_index("notes", index_key=KEY, metric=metric) as index:
        assert index.metric == metric
        put(index, items)
        queries = RNG.normal(size=(6, 7)).astype(np.float32)
        for step in (lambda: None, index.optimize):
            step()
            for k in (1, 5, 150, 1000):
                batch = index.query(queries, top_k=k, include=["distance", "vector", "metadata"])
                assert len(batch) == len(queries)
                for query, results in zip(queries, batch, strict=True):
                    check_query(results, query, k, metric, items)
                    single = index.query(query, top_k=k, include=["distance"])
                    assert [(r["id"], r["distance"]) for r in single] == [
                        (r["id"], r["distance"]) for r in results
                    ]


def test_metric_definitions(client):
    """The four metrics, by hand."""
    expected = {
        "euclidean": [("b", 1.0), ("a", 2.0)],
        "squared_euclidean": [("b", 1.0), ("a", 4.0)],
        "inner_product": [("a", -4.0), ("b", -1.0)],
        "cosine": [("a", 0.0), ("b", 0.0)],
    }
    for metric, wanted in expected.items():
        with client.create_index(metric, index_key=KEY, metric=metric) as index:
            index.upsert(["a", "b"], [[4.0, 0.0], [1.0, 0.0]])
            query = [1.0 if metric == "inner_product" else 2.0, 0.0]
            found = [(result["id"], result["distance"]) for result in index.query(query)]
            assert found == wanted, metric


def test_query_defaults(index):
    """By default a query gives ten results with distance and metadata."""
    index.upsert([f"{n:02}" for n in range(20)], np.eye(20, 4), [{"n": n} for n in range(20)])
    results = index.query([0.0] * 4)
    assert len(results) == 10
    assert all(set(result) == {"id", "distance", "metadata"} for result in results)
    assert all(type(result["distance"]) is float for result in results)
    assert index.query([0.0] * 4, top_k=1, include=[]) == [{"id": "04"}]
    everything = index.query([0.0] * 4, include=["vector", "contents", "distance", "metadata"])
    assert set(everything[0]) == {"id", "distance", "metadata", "contents", "vector"}


def test_shape_of_the_answer_follows_the_query(index):
    """One vector gives a list of results, a matrix a list of lists, even of one or no row."""
    index.upsert(["a"], np.ones((1, 4)))
    assert index.query(np.ones(4))[0]["id"] == "a"
    assert index.query(np.ones((1, 4)))[0][0]["id"] == "a"
    assert len(index.query([[1.0] * 4] * 3)) == 3
    assert index.query(np.ones((0, 4))) == []


TIED = ["b", "a", "é", "Z", "aa", "\U0001f600", "\uffff", "10", "9"]


@pytest.fixture
def tied(client):
    """Nine items in one place, and many far away."""
    with client.create_index("notes", index_key=KEY) as index:
        index.upsert(TIED, [[1.0, 0.0]] * len(TIED))
        index.upsert([f"far {n}" for n in range(200)], RNG.normal(size=(200, 2)) + 50)
        yield index


@pytest.mark.parametrize("k", [1, 3, 9, 100])
def test_ties_are_broken_by_id(tied, k):
    """Of equally distant items those with the smallest ids come, in order, by code point."""
    found = [result["id"] for result in tied.query([1.0, 0.0], top_k=k)]
    assert found[:9] == sorted(TIED)[:k]


@pytest.mark.parametrize("k", [1, 3, 9, 100])
def test_ties_are_in_order_of_ids_through_the_graph(tied, k):
    """So they do through the graph, among those that it finds."""
    tied.optimize()
    found = [result["id"] for result in tied.query([1.0, 0.0], top_k=k)][:9]
    assert found == sorted(found)
    assert len(set(found)) == min(k, 9)
    assert set(found) <= set(TIED)


def test_query_of_an_empty_index(client):
    """An index without rows answers with nothing, whatever was in it before."""
    with client.create_index("notes", index_key=KEY, dimension=4) as index:
        assert index.query([1.0] * 4) == []
        assert index.query([[1.0] * 4] * 2) == [[], []]
        assert index.list_ids() == []
        assert index.get(["a"]) == []
        assert len(index) == 0
        index.optimize()
        assert index.query([1.0] * 4) == []


# --- commits --------------------------------------------------------------------------------


def test_sequence_grows_by_one_with_each_commit(index):
    """Each call that changes something is one commit; a call that changes nothing is none."""
    seen = {index.commit_id}
    assert index.sequence == 1
    calls = [
        lambda: index.upsert(["a", "b"], np.eye(2, 4)),
        lambda: index.upsert(["a"], [np.eye(2, 4)[0]], [{"x": 1}]),
        index.optimize,
        lambda: index.delete(["a"]),
    ]
    for number, call in enumerate(calls, 2):
        call()
        assert index.sequence == number
        assert len(index.commit_id) == 16
        assert index.commit_id not in seen
        seen.add(index.commit_id)
    before = (index.sequence, index.commit_id)
    for call in (
        lambda: index.upsert([]),
        lambda: index.upsert([], np.empty((0, 4))),
        lambda: index.delete([]),
        lambda: index.delete(["missing"]),
        lambda: index.get(["b"]),
        lambda: index.query([0.0] * 4),
    ):
        call()
        assert (index.sequence, index.commit_id) == before


def test_empty_lists_are_an_empty_batch(index):
    """No ids and no vectors are nothing to do, as lists too."""
    index.upsert([], [])
    index.upsert(ids=[], vectors=[], metadata=[], contents=[])
    assert index.sequence == 1


def test_optimize_of_what_is_optimized_is_no_commit(index):
    """`optimize` without anything to do changes nothing, with or without rows."""
    index.optimize()
    assert index.sequence == 1
    index.upsert(list("abc"), np.eye(3, 4))
    index.optimize()
    sequence = index.sequence
    index.optimize()
    assert index.sequence == sequence
    assert index.describe()["indexed_rows"] == 3


def test_min_sequence(client, index):
    """An index at or after a remembered sequence opens; an older one is a RollbackError."""
    index.upsert(["a"], np.ones((1, 4)))
    for known in (0, 1, 2):
        client.load_index("notes", index_key=KEY, min_sequence=known).close()
    with pytest.raises(RollbackError) as caught:
        client.load_index("notes", index_key=KEY, min_sequence=3)
    assert (caught.value.sequence, caught.value.expected) == (2, 3)
    assert len(index) == 1


def test_two_handles_see_each_other(client, index):
    """A commit through one handle is seen by the next call of the other."""
    with client.load_index("notes", index_key=KEY) as other:
        index.upsert(["a"], np.ones((1, 4)), [{"x": 1}])
        assert other.get(["a"], include=["metadata"]) == [{"id": "a", "metadata": {"x": 1}}]
        other.upsert(["a", "b"], np.zeros((2, 4)))
        assert index.list_ids() == ["a", "b"]
        assert index.query([0.0] * 4, top_k=1)[0]["distance"] == 0
        index.optimize()
        assert other.describe()["indexed_rows"] == 2
        assert other.delete(["a"]) == 1
        assert [result["id"] for result in index.query([0.0] * 4)] == ["b"]
        assert index.sequence == other.sequence == 5
        assert index.commit_id == other.commit_id


OTHER_PROCESS = """
import sys
from support import KEY
from cyborg_embedded import Client
index = Client(sys.argv[1]).load_index("notes", index_key=KEY)
for line in sys.stdin:
    verb, name = line.split()
    if verb == "upsert":
        index.upsert([name], [[1.0] * 4], [{"by": "child"}])
    elif verb == "delete":
        index.delete([name])
    elif verb == "optimize":
        index.optimize()
    print(*index.list_ids(), flush=True)
"""


def test_two_processes_see_each_other(folder, client, index):
    """A commit of another process is seen by the next call, in both directions."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with python("-c", OTHER_PROCESS, folder, **pipes) as child:

        def tell(line):
            print(line, file=child.stdin, flush=True)
            return child.stdout.readline().split()

        assert tell("upsert a") == ["a"]
        assert index.get(["a"], include=["metadata"]) == [{"id": "a", "metadata": {"by": "child"}}]
        assert len(index.query([0.0] * 4)) == 1
        index.upsert(["b"], [[2.0] * 4])
        assert tell("list x") == ["a", "b"]
        assert tell("optimize x") == ["a", "b"]
        assert index.describe()["indexed_rows"] == 2
        assert tell("delete a") == ["b"]
        assert index.list_ids() == ["b"]
        assert [result["id"] for result in index.query([0.0] * 4)] == ["b"]
        index.optimize()
        assert tell("upsert c") == ["b", "c"]
        assert sorted(result["id"] for result in index.query([0.0] * 4)) == ["b", "c"]
    assert child.returncode == 0


FORK = """
import os, sys
from support import KEY
from cyborg_embedded import Client, ClosedError
client = Client(sys.argv[1])
index = client.load_index("notes", index_key=KEY)
index.upsert(["a"], [[1.0] * 4])
child = os.fork()
if child == 0:
    try:
        index.list_ids()
    except ClosedError:
        with client.load_index("notes", index_key=KEY) as again:
            again.upsert(["b"], [[1.0] * 4])
            os._exit(7 if again.list_ids() == ["a", "b"] else 8)
    os._exit(9)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
index.upsert(["c"], [[1.0] * 4])
print(status, *index.list_ids())
"""


def test_a_forked_child_has_to_open_the_index_again(folder, index):
    """In a forked child the handle is closed, and a new one works beside the parent's."""
    code, out, err = run_python(FORK, folder)
    assert (code, out) == (0, "7 a b c\n"), err
    assert index.list_ids() == ["a", "b", "c"]


# --- the graph ------------------------------------------------------------------------------


def test_graph_follows_deletions_and_a_tail(client):
    """After optimize, deleted rows never come and new ones always do, through any handle."""
    items = some_items(300, 8)
    query = RNG.normal(size=8).astype(np.float32)
    with client.create_index("notes", index_key=KEY) as index:
        put(index, items)
        index.optimize()
        assert index.describe()["indexed_rows"] == 300
        nearest = [result["id"] for result in index.query(query, top_k=15)]
        assert index.delete(nearest) == 15
        for name in nearest:
            del items[name]
        check_query(index.query(query, top_k=10), query, 10, "euclidean", items)
        assert index.describe()["indexed_rows"] == 285
        items["near"] = (query, None, None)
        put(index, {"near": items["near"]})
        check_query(index.query(query, top_k=10), query, 10, "euclidean", items)
        with client.load_index("notes", index_key=KEY) as other:
            check_query(other.query(query, top_k=10), query, 10, "euclidean", items)
        index.optimize()
        assert index.describe()["indexed_rows"] == 286
        check_query(index.query(query, top_k=10), query, 10, "euclidean", items)
        index.delete(list(items))
        assert index.query(query) == []
        index.optimize()
        assert index.query(query) == []
        assert index.describe()["indexed_rows"] == 0
        put(index, {"near": items["near"]})
        assert index.query(query)[0]["id"] == "near"


def test_an_update_with_the_same_vector_keeps_its_row(client):
    """New metadata and contents for an unchanged vector leave the graph complete."""
    items = some_items(50, 4)
    with client.create_index("notes", index_key=KEY) as index:
        put(index, items)
        index.optimize()
        same = {name: (items[name][0], {"new": name}, "new") for name in list(items)[::2]}
        put(index, same)
        items.update(same)
        described = index.describe()
        assert (described["indexed_rows"], described["deleted_rows"]) == (50, 0)
        check_items(index, items)
        assert index.list_ids() == list(items)
        moved = {name: (-items[name][0], None, None) for name in list(items)[:5]}
        put(index, moved)
        described = index.describe()
        assert (described["indexed_rows"], described["deleted_rows"]) == (45, 5)
        assert described["rows"] == 50


def test_describe(client, folder):
    """`describe` says what an index holds and how."""
    with client.create_index("Notes", index_key=KEY, metric="cosine") as index:
        index.upsert(list("abc"), np.eye(3, 4))
        index.delete(["a"])
        described = index.describe()
        size = described.pop("file_bytes")
        assert size == os.stat(folder / "Notes.cyb").st_size
        assert described.pop("page_size") == 32_752
        assert described.pop("index_id") == client.describe_index("Notes")["index_id"]
        assert described == {
            "name": "Notes",
            "dimension": 4,
            "metric": "cosine",
            "rows": 2,
            "indexed_rows": 0,
            "deleted_rows": 1,
            "storage_precision": "float32",
            "metadata_schema": {},
            "navigator_dimensions": None,
            "sequence": 3,
            "format_version": 1,
        }


# --- precision and navigator ----------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_storage_precision(client, folder, precision):
    """What is stored in fewer bytes is what is searched, read back and kept over a reopening."""
    vectors = np.random.default_rng(8).normal(size=(300, 24)).astype(np.float32)
    names = [f"item {number}" for number in range(300)]
    with client.create_index("a", index_key=KEY, storage_precision=precision) as index:
        index.upsert(names, vectors)
        stored = np.array([item["vector"] for item in index.get(names)])
        assert not np.array_equal(stored, vectors)
        assert np.abs(stored - vectors).max() < 0.02
        answers = index.query(vectors[:20], top_k=5)
        truth = np.sqrt(((vectors[:20, None] - stored[None]) ** 2).sum(axis=2))
        for answer, distances in zip(answers, truth, strict=True):
            order = distances.argsort()[:5]
            assert [result["id"] for result in answer] == [names[row] for row in order]
            got = [result["distance"] for result in answer]
            assert got == pytest.approx(distances[order].tolist(), rel=1e-4, abs=1e-5)
        rows = index._session.state.root.rows
        index.upsert(names[:50], vectors[:50])
        assert index._session.state.root.rows == rows, (
            "a vector that is stored the same keeps its row"
        )
        assert index.describe()["storage_precision"] == precision
        index.optimize()
        assert index.query(stored[7], top_k=1)[0]["id"] == "item 7"
    for cache_bytes in (None, 100_000):
        with client.load_index("a", index_key=KEY, cache_bytes=cache_bytes) as index:
            again = np.array([item["vector"] for item in index.get(names)])
            assert np.array_equal(again, stored)
            assert index.query(vectors[:20], top_k=5) == answers


def test_what_a_precision_cannot_hold(client):
    """A number beyond float16, or a direction that rounding takes away, is refused, whole batch."""
    with client.create_index("a", index_key=KEY, storage_precision="float16") as index:
        index.upsert(["a"], [[1, 2]])
        with pytest.raises(InvalidInputError):
            index.upsert(["b", "c"], [[1, 1], [1, 70_000]])
        assert index.list_ids() == ["a"]
    with client.create_index(
        "b", index_key=KEY, storage_precision="float16", metric="cosine"
    ) as index:
        with pytest.raises(InvalidInputError):
            index.upsert(["b"], [[1e-9, 1e-9]])
        assert len(index) == 0


@pytest.mark.parametrize("walked", [16, 20, 64, 1000])
def test_navigator_dimensions(client, walked):
    """The graph is walked in as many dimensions as were asked for, or in all there are."""
    vectors = np.random.default_rng(9).normal(size=(400, 64)).astype(np.float32)
    with client.create_index("a", index_key=KEY, navigator_dimensions=walked) as index:
        index.upsert([str(number) for number in range(400)], vectors)
        assert index.describe()["navigator_dimensions"] is None
        index.optimize()
        assert index.describe()["navigator_dimensions"] == min(walked, 64)
        assert [a[0]["id"] for a in index.query(vectors[:50], top_k=1)] == [
            str(number) for number in range(50)
        ]
    with client.load_index("a", index_key=KEY) as index:
        assert index.describe()["navigator_dimensions"] == min(walked, 64)
        assert index.query(vectors[3], top_k=1)[0]["id"] == "3"


@pytest.mark.parametrize(
    "bad",
    [
        {"storage_precision": "float64"},
        {"storage_precision": None},
        {"navigator_dimensions": 0},
        {"navigator_dimensions": -1},
        {"navigator_dimensions": 1.5},
        {"navigator_dimensions": 16_385},
        {"navigator_dimensions": 16, "metric": "inner_product"},
        {"indexing": "sometimes"},
    ],
)
def test_bad_options_make_no_index(client, bad):
    """An option that makes no sense is refused before anything is made."""
    with pytest.raises(InvalidInputError):
        client.create_index("a", index_key=KEY, **bad)
    assert client.list_indexes() == []


def test_recall_is_asked_for(client):
    """A recall is reached on rows that are not in the graph, 1 is exact, and nonsense is refused."""
    random = np.random.default_rng(10)
    centres = random.normal(size=(60, 32))
    vectors = centres[random.integers(60, size=6000)] + 0.6 * random.normal(size=(6000, 32))
    with client.create_index("a", index_key=KEY, indexing="manual") as index:
        index.upsert([str(number) for number in range(5500)], vectors[:5500])
        exact = index.query_arrays(vectors[5500:])[0]
        index.optimize()
        assert index.query_arrays(vectors[5500:], recall=1)[0] == exact
        for wanted in (0.9, 0.99):
            found = index.query_arrays(vectors[5500:], recall=wanted)[0]
            shares = [len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)]
            assert np.mean(shares) >= wanted - 0.015
        for bad in (0, -1, 1.1, float("nan"), "0.9", True):
            with pytest.raises(InvalidInputError):
                index.query(vectors[0], recall=bad)
        with pytest.raises(InvalidInputError):
            index.query(vectors[0], recall=0.9, ef=10)


# --- handles and threads --------------------------------------------------------------------


def test_context_manager_closes(client):
    """Leaving the with block closes the index, after an error too, which passes."""
    with client.create_index("notes", index_key=KEY) as index:
        assert isinstance(index, EncryptedIndex)
        assert "open" in repr(index)
        assert "notes" in repr(index)
    with pytest.raises(ClosedError):
        len(index)
    with pytest.raises(KeyError), client.load_index("notes", index_key=KEY) as index:
        raise KeyError
    with pytest.raises(ClosedError):
        len(index)


def test_closing_one_handle_leaves_the_others(client, index):
    """Handles on one index close one by one."""
    other = client.load_index("notes", index_key=KEY)
    other.close()
    index.upsert(["a"], np.ones((1, 4)))
    with client.load_index("notes", index_key=KEY) as other:
        index.close()
        assert other.list_ids() == ["a"]


def test_many_readers_beside_a_writer(folder):
    """Queries in many threads see whole commits only, while one thread writes and optimizes."""
    make_index(folder, "notes", KEY, dimension=4)
    rounds, errors, done = 25, [], threading.Event()
    client = Client(folder)
    index = client.load_index("notes", index_key=KEY)
    # Every item of a commit has the number of the commit in its vector and in its metadata.
    names = [f"{n:03}" for n in range(40)]

    def write(number):
        index.upsert(names, np.full((40, 4), number), [{"n": number}] * 40, [str(number)] * 40)

    def read(own):
        try:
            last = 0
            while not done.is_set():
                results = own.query([0.0] * 4, top_k=40, include=["vector", "metadata", "contents"])
                numbers = {result["metadata"]["n"] for result in results}
                assert len(results) == 40
                assert len(numbers) == 1
                number = numbers.pop()
                assert number >= last
                assert {result["contents"] for result in results} == {str(number)}
                assert all((result["vector"] == number).all() for result in results)
                for found in own.query([[0.0] * 4] * 3, top_k=2):
                    assert len({result["id"] for result in found}) == 2
                    assert len({result["metadata"]["n"] for result in found}) == 1
                assert len({item["metadata"]["n"] for item in own.get(names)}) == 1
                assert len(own.list_ids()) == len(own) == 40
                last = number
        except BaseException as error:
            errors.append(error)

    write(1)
    others = [client.load_index("notes", index_key=KEY) for _ in range(2)]
    threads = [threading.Thread(target=read, args=(own,)) for own in (index, index, *others)]
    for thread in threads:
        thread.start()
    for number in range(2, rounds):
        write(number)
        if number % 4 == 0:
            index.optimize()
    done.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    for handle in (index, *others):
        handle.close()


def test_writers_in_many_threads(folder):
    """Commits of many threads and handles happen one after another, and none is lost."""
    make_index(folder, "notes", KEY, dimension=4)
    client = Client(folder)
    shared = client.load_index("notes", index_key=KEY)
    errors = []

    def work(number):
        try:
            own = shared if number % 2 else client.load_index("notes", index_key=KEY)
            for turn in range(10):
                own.upsert([f"{number} {turn}", f"shared {turn}"], np.full((2, 4), number))
            if own is not shared:
                own.close()
        except BaseException as error:
            errors.append(error)

    in_threads(work, range(6))
    assert not errors, errors[0]
    wanted = {f"{number} {turn}" for number in range(6) for turn in range(10)}
    wanted |= {f"shared {turn}" for turn in range(10)}
    assert set(shared.list_ids()) == wanted
    assert len(shared) == len(wanted)
    assert shared.sequence == 61
    shared.close()


def test_ef_trades_time_for_recall(client):
    """A wider beam finds more of the true neighbours, and a narrow one still finds top_k items."""
    random = np.random.default_rng(5)
    vectors = random.standard_normal((3000, 24)).astype(np.float32)
    queries = random.standard_normal((100, 24)).astype(np.float32)
    with client.create_index("wide", index_key=KEY) as index:
        index.upsert([str(row) for row in range(3000)], vectors)
        exact, _ = index.query_arrays(queries)
        index.optimize()
        shares = []
        for ef in (1, 40, 400):
            ids, distances = index.query_arrays(queries, ef=ef)
            assert distances.shape == (100, 10)
            found = index.query(queries[0], ef=ef, include=[])
            assert [result["id"] for result in found] == ids[0]
            right = sum(len(set(a) & set(b)) for a, b in zip(ids, exact, strict=True))
            shares.append(right / 1000)
        assert shares[0] < shares[1] < shares[2]
        assert shares[2] > 0.99


@pytest.mark.parametrize("ef", [0, -1, 1.5, True, "9"])
def test_bad_ef(index, ef):
    """An ef that is no whole number from one on is refused."""
    index.upsert(["a"], [[1, 2, 3, 4]])
    with pytest.raises(InvalidInputError):
        index.query([1, 2, 3, 4], ef=ef)
