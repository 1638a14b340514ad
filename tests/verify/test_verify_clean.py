"""verify finds nothing where nothing is wrong, whatever an index has been through."""

import numpy as np
import pytest
from support import KEY, METRICS, make_index
from verify_harness import opened, put

from cyborg_embedded import Client
from cyborg_embedded.model import DEFAULT_PAGE_SIZE


def checked(index):
    """Assert that an index is as it should be, and that verify says so of all of it."""
    steps = []
    report = index.verify(progress=lambda done, total: steps.append((done, total)))
    assert report.problems == ()
    assert report.ok
    assert report.lossless
    assert report.unnamed_records == 0
    described = index.describe()
    assert (report.sequence, report.commit_id) == (index.sequence, index.commit_id)
    assert report.live_rows == len(index) == described["rows"]
    assert report.rows == described["rows"] + described["deleted_rows"]
    assert all(total == report.pages for _, total in steps)
    assert steps == sorted(steps)
    assert steps[-1] == (report.pages, report.pages)
    return report


def items(seed, dimension, names, *, long=True):
    vectors = np.random.default_rng(seed).normal(size=(len(names), dimension)).astype(np.float32)
    return {
        name: (
            vector,
            [None, {"n": number, "tags": ["x", number]}, {"l": "m" * (600 * long)}][number % 3],
            [None, "text", b"", "t" * (900 * long)][number % 4],
        )
        for number, (name, vector) in enumerate(zip(names, vectors, strict=True))
    }


def lived(index, dimension):
    """Put an index through everything, and verify it after each step."""
    names = [f"item {number} ü" for number in range(120)]
    known = items(1, dimension, names)
    put(index, known)
    checked(index)
    put(index, items(2, dimension, names[3::5]))
    checked(index)
    # The vectors stay: the rows do, and their long parts go.
    same = {name: (known[name][0], {"short": name}, None) for name in names[:3]}
    put(index, {**same, names[4]: (known[names[4]][0], {"l": "k" * 900}, "u" * 700)})
    checked(index)
    index.delete(names[5::4])
    checked(index)
    index.optimize()
    checked(index)
    put(index, items(3, dimension, ["more", *names[6:9]]))
    index.delete(names[:2])
    checked(index)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("page_size", [256, DEFAULT_PAGE_SIZE])
def test_every_history(folder, metric, page_size):
    """Upserts, replacements, metadata alone, deletes, optimize, compact, rekey and reopening."""
    make_index(folder, "notes", KEY, dimension=7, metric=metric, page_size=page_size)
    with opened(folder) as index:
        lived(index, 7)
        index.compact()
        checked(index)
        index.delete(["more"])
        other = bytes(32)
        index.rekey(other)
        checked(index)
    with Client(folder).load_index("notes", index_key=other) as index:
        checked(index)


@pytest.mark.parametrize("dimension", [1, 300])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_precisions(client, dimension, precision):
    """Rounded vectors, of one number and of more than a small page holds."""
    with client.create_index(
        "notes",
        index_key=KEY,
        metric="cosine",
        storage_precision=precision,
        indexing="manual",
    ) as index:
        lived(index, dimension)


def test_rows_cut_over_pages(folder):
    """Vectors that take several pages each."""
    make_index(folder, "notes", KEY, dimension=200, page_size=256)
    with opened(folder) as index:
        lived(index, 200)


def test_projected_graph(case):
    """An index with pages of every kind; compacted, with a graph made anew, too."""
    with opened(case.folder) as index:
        assert checked(index).rows == len(case.history.ids)
        index.compact()
        checked(index)
        index.optimize()
        index.compact()
        assert index.is_trained()
        assert checked(index).rows == len(case.history.rows())


def test_empty_indexes(client):
    """An index without a dimension, without rows, and without rows left."""
    with client.create_index("notes", index_key=KEY) as index:
        report = checked(index)
        assert (report.rows, report.pages) == (0, 0)
        index.upsert(["a"], [[1, 2, 3]])
        index.delete(["a"])
        report = checked(index)
        assert (report.rows, report.live_rows) == (1, 0)
        index.compact()
        assert checked(index).rows == 0
    with client.create_index("sized", index_key=KEY, dimension=4) as index:
        checked(index)


def test_read_only_handle(case):
    """A handle that only reads verifies, and changes nothing."""
    before = case.path.read_bytes()
    with opened(case.folder, read_only=True) as index:
        checked(index)
    assert case.path.read_bytes() == before


def test_beside_a_writer(folder):
    """One commit is looked at, whatever another handle writes meanwhile."""
    make_index(folder, "notes", KEY, dimension=3, page_size=256)
    with opened(folder) as index, opened(folder) as other:
        put(index, items(1, 3, [f"n{number}" for number in range(200)]))
        before = index.sequence
        turns = iter(range(1000))

        def progress(done, total):
            assert done <= total
            put(other, items(next(turns), 3, ["n1", "n2", "n3"]))

        report = index.verify(progress=progress)
        assert report.ok
        assert report.sequence == before < index.sequence
        assert checked(index).rows > 200
