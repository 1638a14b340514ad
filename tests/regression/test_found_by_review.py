"""Faults that were found by reading or attacking the code, each with the case that showed it."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import numpy as np
import pytest

from cyborg_embedded import (
    Client,
    IntegrityError,
    RollbackError,
    aead,
    indexer,
    navigation,
    pages,
)

KEY = bytes(range(32))


def vectors(count, seed=0, dimension=8):
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def records(path):
    """All records of an index file."""
    with (
        lmdb.Environment(str(path), subdir=False, readonly=True, lock=False, lib_version=0) as env,
        env.begin() as txn,
    ):
        return dict(txn.cursor())


@pytest.fixture
def client(tmp_path):
    """A client on an empty folder."""
    with Client(tmp_path / "indexes") as client:
        yield client


def test_merged_ids_replace_those_in_memory(client):
    """An id table that is merged anew with as many sorted entries as before is read anew.

    It was taken for unchanged where the sorted entries filled less than a page: ids led to rows
    that had been replaced.
    """
    ids = [str(number) for number in range(3000)]
    with client.create_index("a", index_key=KEY) as index:
        index.upsert(ids, vectors(3000))
        index.delete(ids[500:])
        for seed in range(1, 9):
            index.upsert(ids[:500], vectors(500, seed))
            found = index.get(ids, include=["vector"])
            assert [item["id"] for item in found] == ids[:500]
            assert (np.stack([item["vector"] for item in found]) == vectors(500, seed)).all()


def test_ids_are_found_before_they_are_merged(client):
    """Ids of a small index are found, replaced and deleted, by this handle and the next.

    Entries that had not been merged were written with their bytes reversed.
    """
    with client.create_index("a", index_key=KEY) as index:
        index.upsert(["x", "y", "z"], vectors(3))
        index.upsert(["y"], vectors(1, seed=5))
        assert index.delete(["z", "not there"]) == 1
    with client.load_index("a", index_key=KEY) as index:
        assert [item["id"] for item in index.get(["z", "y", "x"])] == ["y", "x"]
        assert index.list_ids() == ["x", "y"]


def put_in_place(path, other):
    """Make the records of an open file those of another one, through LMDB."""
    wanted = records(other)
    with (
        lmdb.Environment(str(path), subdir=False, lib_version=0, map_size=1 << 36) as env,
        env.begin(write=True) as txn,
    ):
        for key in [key for key, _ in txn.cursor()]:
            if key not in wanted:
                txn.delete(key)
        for key, value in wanted.items():
            txn.put(key, value)


FORK = """
import sys
sys.path.insert(0, {tests!r})
from test_found_by_review import put_in_place
put_in_place({path!r}, {other!r})
"""


@pytest.mark.parametrize("rows", [3, 600])
def test_open_handle_does_not_mix_branches(client, tmp_path, rows):
    """A handle that has read one branch of an index, and is shown another one, refuses it or
    answers from it alone.

    Vectors and ids in memory went by row alone: a diverged copy with the greater sequence was
    followed, and its ids came with the vectors of the first branch.
    """
    path, copy = tmp_path / "indexes" / "a.cyb", tmp_path / "other" / "a.cyb"
    client.create_index("a", index_key=KEY, dimension=8).close()
    copy.parent.mkdir()
    shutil.copy(path, copy)
    with Client(copy.parent) as other, other.load_index("a", index_key=KEY) as branch:
        branch.upsert([f"b{number}" for number in range(rows)], vectors(rows, seed=1))
        branch.upsert(["one commit more"], vectors(1, seed=2))
        wanted = answers(branch)
    with client.load_index("a", index_key=KEY) as index:
        index.upsert([f"a{number}" for number in range(rows)], vectors(rows, seed=3))
        index.query(vectors(1), top_k=rows)
        script = FORK.format(tests=str(Path(__file__).parent), path=str(path), other=str(copy))
        subprocess.run([sys.executable, "-c", script], check=True)
        got = answers(index)
        assert all(
            answer in (expected, "refused") for answer, expected in zip(got, wanted, strict=True)
        )
        assert got[1] == "refused"
        assert rows < 254 or got == ["refused"] * 3


def answers(index):
    """What an index says to three questions, as text; "refused" where it raises."""
    said = []
    for ask in (
        index.list_ids,
        lambda: index.query(vectors(1), include=["vector"]),
        lambda: index.get(["b0"]),
    ):
        try:
            said.append(repr(ask()))
        except (RollbackError, IntegrityError):
            said.append("refused")
    return said


def test_page_exchanged_while_it_is_opened(client, monkeypatch):
    """A page that is exchanged in the file after it was looked up is not accepted for it.

    Its stored tag was compared first and its ciphertext decrypted then: an older version of it
    that was put there in between opened.
    """
    older = {}
    real = pages.ReadView._sealed

    def exchanged(view, kind, number, tag):
        sealed, expected, aad = real(view, kind, number, tag)
        return memoryview(older.get((kind, number), bytes(sealed))), expected, aad

    with client.create_index("a", index_key=KEY) as index:
        item = {"id": "x", "vector": vectors(1)[0], "metadata": {"version": 1}}
        index.upsert([item])
        with index._session.read() as (state, view):
            for kind in state.root.tables:
                for number in range(state.snapshot.pages(kind)):
                    older[kind, number] = bytes(view._sealed(kind, number, b"")[0])
        index.upsert([item | {"metadata": {"version": 2}}])
    monkeypatch.setattr(pages.ReadView, "_sealed", exchanged)
    with client.load_index("a", index_key=KEY) as index, pytest.raises(IntegrityError):
        index.get(["x"])


def test_the_expected_tag_opens_not_the_stored_one():
    """A message opens under the tag that the caller expects, whatever tag it carries."""
    sealer, opener = aead.Sealer(KEY), aead.Opener(KEY)
    first, second = sealer.seal(b"first", b""), sealer.seal(b"other", b"")
    assert opener.open(memoryview(first), bytes(first[-16:]), b"") == b"first"
    with pytest.raises(aead.TagMismatchError):
        opener.open(memoryview(second), bytes(first[-16:]), b"")


def saved_projection(index):
    """The basis of the projection of the graph in the file."""
    with index._session.read() as (_, view):
        return navigation.load_graph(view).projection.basis


def test_graphs_of_two_handles_do_not_mix(client, monkeypatch):
    """A graph that is saved on top of another handle's brings its own projection and codes.

    It kept the codes that it found in the file, which were those of another projection.
    """
    spread = np.linspace(3, 0.05, 64, dtype=np.float32)
    data = vectors(2000, dimension=64) * spread
    first = client.create_index("a", index_key=KEY)
    first.upsert([str(row) for row in range(1500)], data[:1500])
    first.optimize()
    first.query(data[0])
    first.upsert([str(row) for row in range(1500, 2000)], data[1500:2000])
    second = client.load_index("a", index_key=KEY)
    real = indexer.save
    done, others = threading.Event(), []

    def later(session, made, columns):
        if not done.is_set():
            done.set()
            second.delete([str(row) for row in range(0, 1500, 3)])
            second.optimize()
            others.append(saved_projection(second))
        return real(session, made, columns)

    monkeypatch.setattr(indexer, "save", later)
    own = saved_projection(first)
    first.optimize()
    assert others
    assert not np.array_equal(others[0], own)
    assert np.array_equal(saved_projection(first), own)
    first.close()
    second.close()
    with client.load_index("a", index_key=KEY) as index:
        live = [row for row in range(2000) if row >= 1500 or row % 3]
        found = index.query(data[live[::20]], include=["distance"])
        own = [answer[0]["id"] == str(row) for answer, row in zip(found, live[::20], strict=True)]
        assert np.mean(own) > 0.98
        assert index.describe()["indexed_rows"] > 0


def test_tiny_vectors_do_not_hide_others(client):
    """Under cosine, rows too short for float32's squares do not keep others from being found."""
    with client.create_index("a", index_key=KEY, metric="cosine") as index:
        index.upsert(["right", "tiny"], [[1.0, 0.0], [0.0, 1e-20]])
        assert [result["id"] for result in index.query([1.0, 0.0], top_k=1)] == ["right"]
        index.upsert(["tiny and right"], [[1e-20, 0.0]])
        assert [result["id"] for result in index.query([1.0, 0.0])] == [
            "right",
            "tiny and right",
            "tiny",
        ]


def test_branch_of_another_dimension(client, tmp_path):
    """A handle of an index with a dimension refuses a branch that has set another one.

    With no page full yet, it followed, and read vectors of four numbers as ones of eight.
    """
    path, copy = tmp_path / "indexes" / "a.cyb", tmp_path / "other" / "a.cyb"
    client.create_index("a", index_key=KEY).close()
    copy.parent.mkdir()
    shutil.copy(path, copy)
    with Client(copy.parent) as other, other.load_index("a", index_key=KEY) as branch:
        for commit in range(3):
            branch.upsert([f"b{commit}"], vectors(1, dimension=4))
    with client.load_index("a", index_key=KEY) as index:
        index.upsert(["a"], vectors(1))
        script = FORK.format(tests=str(Path(__file__).parent), path=str(path), other=str(copy))
        subprocess.run([sys.executable, "-c", script], check=True)
        assert answers(index) == ["refused"] * 3


HOLDING = """
import os, sys, time
from cyborg_embedded import Client
from cyborg_embedded.folder import Folder

folder = Folder(sys.argv[1])
with folder.changing(timeout=1):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
try:
    with folder.changing(timeout=1):
        print("free")
finally:
    os.kill(child, 9)
"""


def test_child_forked_beside_a_lock_does_not_keep_it(tmp_path):
    """A lock that its holder has given up is free, though a child was forked meanwhile.

    The child's copy of the descriptor kept it for as long as the child lived.
    """
    command = [sys.executable, "-W", "ignore", "-c", HOLDING, str(tmp_path / "indexes")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout == "free\n", done.stderr


def test_huge_numbers_in_a_graph(client):
    """Vectors whose squares overflow when they are summed over a sample can be optimized."""
    data = vectors(1100, dimension=64) * np.float32(1e17)
    with client.create_index("a", index_key=KEY) as index:
        index.upsert([str(row) for row in range(1100)], data)
        index.optimize()
        assert [result["id"] for result in index.query(data[7], top_k=1)] == ["7"]


def test_a_query_that_asks_the_index_itself(client):
    """What a caller gives as a vector may itself ask the index: it is read before any lock."""

    class Asking:
        def __array__(self, dtype=None, copy=None):
            return index.get(["x"], include=["vector"])[0]["vector"]

    with client.create_index("a", index_key=KEY) as index:
        index.upsert(["x"], vectors(1))
        assert index.query(Asking(), top_k=1)[0]["id"] == "x"


def test_vectors_of_low_rank(tmp_path):
    """Components that hold nothing but rounding errors have the same codes each time they are made."""
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(2600, 8)) @ random.normal(size=(8, 64))).astype(np.float32)
    ids = [str(row) for row in range(len(vectors))]
    with (
        Client(tmp_path) as client,
        client.create_index("low", index_key=KEY, dimension=64) as index,
    ):
        index.upsert(ids[:2300], vectors[:2300])
        index.optimize()
        for first, last in ((2300, 2301), (2301, 2304), (2304, 2600)):
            index.upsert(ids[first:last], vectors[first:last])
            index.optimize()
            assert index.verify().ok
        assert index.describe()["navigator_dimensions"] < 64
