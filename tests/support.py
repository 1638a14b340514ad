"""What the suites share: small indexes, raw access to their pages, and an independent oracle."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import numpy as np

import cyborg_embedded
from cyborg_embedded.folder import Folder
from cyborg_embedded.root import Root
from cyborg_embedded.store import PageStore

KEY = bytes(range(100, 132))
METRICS = ("euclidean", "squared_euclidean", "cosine", "inner_product")
TESTS = Path(__file__).parent


def make_index(folder, name, key, *, dimension=8, metric="euclidean", page_size=1024):
    """A new, empty index with small pages, closed."""
    with Folder(folder).creating(name, timeout=10.0) as path:
        root = Root(sequence=1, metric=metric, dimension=dimension or 0)
        PageStore.create(path, key, root, page_size=page_size)


def raw(path):
    """LMDB's own view of an index file that nobody has open, without the cost of syncing."""
    return lmdb.Environment(
        str(path), subdir=False, lib_version=0, map_size=1 << 28, sync=False, metasync=False
    )


def read_pages(path):
    """Every record of a closed index file: the header and the sealed pages by their LMDB keys."""
    with raw(path) as environment, environment.begin() as txn:
        return {bytes(key): bytes(value) for key, value in txn.cursor()}


def write_pages(path, changes):
    """Put raw values into a closed index file, and remove those that are None."""
    with raw(path) as environment, environment.begin(write=True) as txn:
        for key, value in changes.items():
            if value is None:
                txn.delete(key)
            else:
                txn.put(key, value)


def python(*arguments, **options):
    """A child process that imports the very package under test, and `support`."""
    package = str(Path(cyborg_embedded.__file__).parents[1])
    environment = {**os.environ, **options.pop("env", {})}
    environment["PYTHONPATH"] = os.pathsep.join((package, str(TESTS)))
    # Its first place to import from is the working folder, which must not hold another package.
    options.setdefault("cwd", TESTS)
    command = [sys.executable, "-B", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, **options)


def run_python(source, *arguments, **options):
    """Run `source` in a child process to its end: (exit code, standard output, standard error)."""
    child = python(
        "-c", source, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    out, err = child.communicate(timeout=300)
    return child.returncode, out, err


def wait_until(condition, seconds=30.0):
    """Return as soon as `condition` holds; fail if it does not within some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for has not come"
        time.sleep(0.002)


def in_threads(work, arguments):
    """Call `work` with each of some arguments in a thread of its own, until all have returned.
    Raises what the first of them has failed with.
    """
    with ThreadPoolExecutor(len(arguments)) as threads:
        list(threads.map(work, arguments))


def plain(value):
    """An answer as something that compares by `==`: arrays become their bytes."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def contents_of(index):
    """All that an index holds, in a form that compares by `==`."""
    return plain(index.get(index.list_ids()))


def distances(query, vectors, metric):
    """Distances (n,) of the rows of `vectors` to `query` in float64, by the textbook."""
    q, x = np.asarray(query, np.float64), np.asarray(vectors, np.float64)
    if metric == "inner_product":
        return -(x @ q)
    if metric == "cosine":
        return 1 - (x @ q) / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))
    squares = ((x - q) ** 2).sum(axis=1)
    return np.sqrt(squares) if metric == "euclidean" else squares


def check_query(results, query, k, metric, items):
    """Assert that `results` are the k nearest of `items` (id to (vector, metadata, contents)).

    Rows within rounding of each other may change places; equal distances are in order of ids.
    """
    assert len(results) == min(k, len(items))
    if not items:
        return
    ids = list(items)
    vectors = np.array([items[item][0] for item in ids], np.float32)
    query = np.asarray(query, np.float32)
    wanted = distances(query, vectors, metric)
    norms = np.linalg.norm(np.vstack((vectors, query)).astype(np.float64), axis=1)
    scale = {"cosine": 1.0, "euclidean": norms.max()}.get(metric, norms.max() ** 2)
    slack = 1e-5 * scale + 1e-30
    by_id = dict(zip(ids, wanted, strict=True))
    assert len({result["id"] for result in results}) == len(results)
    worst = np.sort(wanted)[len(results) - 1]
    for result in results:
        item = result["id"]
        assert by_id[item] <= worst + slack
        if "distance" in result:
            assert abs(result["distance"] - by_id[item]) <= slack
        if "vector" in result:
            assert plain(result["vector"]) == plain(np.asarray(items[item][0], np.float32))
        if "metadata" in result:
            assert result["metadata"] == items[item][1]
        if "contents" in result:
            assert result["contents"] == items[item][2]
    order = [(result["distance"], result["id"]) for result in results if "distance" in result]
    assert order == sorted(order)


def check_items(index, items):
    """Assert that an index holds `items` (id to (vector, metadata, contents)) and nothing else."""
    assert len(index) == len(items)
    assert sorted(index.list_ids()) == sorted(items)
    got = index.get([*items, "certainly absent"])
    assert [item["id"] for item in got] == list(items)
    for item in got:
        vector, metadata, contents = items[item["id"]]
        assert plain(item["vector"]) == plain(np.asarray(vector, np.float32))
        assert item["metadata"] == metadata
        assert item["contents"] == contents
        assert type(item["contents"]) is type(contents)
