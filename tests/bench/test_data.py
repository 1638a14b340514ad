"""What a data set is read from, and exact search and recall over it."""

import gzip
import sys

import data
import numpy as np
import pytest
from exact import Nearest, distances_to
from synthetic import BLOCK, Synthetic

N, D = 300, 8
VECTORS = np.random.default_rng(5).standard_normal((N, D)).astype(np.float32)


def brute_force(vectors, queries, k=10):
    """Rows (m, k), one query at a time."""
    wide = vectors.astype(np.float64)
    return np.array([np.argsort(((wide - query) ** 2).sum(axis=1))[:k] for query in queries])


def test_npy_holds_queries_back(tmp_path):
    """Queries of a .npy file are rows of it that are not searched, and the rest is all there."""
    np.save(tmp_path / "some.npy", VECTORS)
    given = data.load(str(tmp_path / "some.npy"), None, 20)
    assert given.queries.shape == (20, D)
    assert given.vectors.shape == (N - 20, D)
    together = np.concatenate((given.vectors, given.queries))
    assert {row.tobytes() for row in together} == {row.tobytes() for row in VECTORS}
    assert len(set(given.ids)) == len(given.texts) == len(given.metadata) == N - 20


def test_npy_of_something_else_is_refused(tmp_path):
    """A .npy file that is no matrix of numbers is a `DataError`."""
    np.save(tmp_path / "flat.npy", VECTORS.ravel())
    with pytest.raises(data.DataError, match="matrix"):
        data.load(str(tmp_path / "flat.npy"), None, None)


def hdf5(path, distance, neighbors):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = distance
        file["train"], file["test"] = VECTORS[20:], VECTORS[:20]
        file["neighbors"] = neighbors
        file["distances"] = np.zeros(neighbors.shape)
    return str(path)


@pytest.mark.parametrize(
    ("distance", "metric"), [("euclidean", "euclidean"), ("angular", "cosine")]
)
def test_hdf5_is_read_as_it_says(tmp_path, distance, metric):
    """Rows, queries, metric and true neighbours come from an .hdf5 file, and fit one another."""
    points = VECTORS / np.linalg.norm(VECTORS, axis=1)[:, None] if metric == "cosine" else VECTORS
    true = brute_force(points[20:], points[:20])
    given = data.load(hdf5(tmp_path / "set.hdf5", distance, true), None, None)
    assert given.metric == metric
    assert (given.vectors == VECTORS[20:]).all()
    assert (given.queries == VECTORS[:20]).all()
    assert given.recall(true) == 1.0
    fewer = data.load(str(tmp_path / "set.hdf5"), 100, 5)
    assert fewer.recall(brute_force(points[20:120], points[:5])) == 1.0


def test_hdf5_of_another_distance_is_refused(tmp_path):
    """Sets under a distance that the library does not have are a `DataError`."""
    path = hdf5(tmp_path / "set.hdf5", "jaccard", np.zeros((20, 10), int))
    with pytest.raises(data.DataError, match="euclidean or angular"):
        data.load(path, None, None)


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    """Where h5py is not installed, the message says so."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "set.hdf5").touch()
    with pytest.raises(data.DataError, match="pip install h5py"):
        data.load(str(tmp_path / "set.hdf5"), None, None)


def test_the_sample_is_what_is_there_at_least(monkeypatch):
    """Without a path, a variable or the full set, the bundled sample is used."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setattr(data, "FULL", data.SAMPLE / "none")
    given = data.load(None, 50, 5)
    assert given.name == "sample"
    assert given.vectors.shape == (50, 384)


def test_exact_search_over_passing_blocks():
    """Rows that pass by in blocks of any size lead to the same neighbours as all at once."""
    queries = VECTORS[:7] + 0.1
    nearest = Nearest(queries, 10)
    for start, stop in ((0, 4), (4, 5), (5, 290), (290, N)):
        nearest.add(VECTORS[start:stop])
    assert (nearest.rows == brute_force(VECTORS, queries)).all()
    assert np.allclose(nearest.distances, distances_to(queries, VECTORS[nearest.rows]))


def test_recall_counts_equally_near_rows_and_not_missing_ones():
    """A twin of the last true neighbour is as good as that one; a row that is missing is none."""
    twins = np.concatenate((VECTORS[:50], VECTORS[:50]))
    given = data.with_items("twins", twins, VECTORS[:3] + 0.1)
    true = brute_force(twins, given.queries)
    assert given.recall(true) == 1.0
    assert given.recall((true + 50) % 100) == 1.0
    assert given.recall(np.full((3, 10), -1)) == 0.0
    assert given.recall(np.where(np.arange(10) < 5, true, -1)) == 0.5


def test_synthetic_blocks_are_always_the_same():
    """A block of made-up rows can be made again by itself: unit vectors, the last block shorter."""
    made = Synthetic(BLOCK + 100, 16)
    first, last = made.block(0), made.block(BLOCK)
    assert first.shape == (BLOCK, 16)
    assert last.shape == (100, 16)
    assert (Synthetic(BLOCK + 100, 16).block(BLOCK) == last).all()
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert not (made.queries(100) == last).any(axis=1).all()


def test_images(tmp_path):
    """A folder of IDX files is read, and one that is none is refused."""
    random = np.random.default_rng(1)
    for name, count in (("train-images-idx3-ubyte.gz", 40), ("t10k-images-idx3-ubyte.gz", 5)):
        images = random.integers(0, 256, (count, 4, 3), np.uint8)
        head = np.array([0x803, count, 4, 3], ">u4").tobytes()
        (tmp_path / name).write_bytes(gzip.compress(head + images.tobytes()))
    found = data.load(str(tmp_path), 30, 4)
    assert found.vectors.shape == (30, 12)
    assert np.array_equal(found.queries, images[:4].reshape(4, 12))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16)))
    with pytest.raises(data.DataError):
        data.load(str(tmp_path), 30, 4)
