"""Data sets: vectors with ids, texts and metadata, and queries with their true neighbours.

    a folder     *vectors.npy, *queries.npy, and the rows' items as the bundled sample has them
    a folder     of IDX files, as Fashion-MNIST and MNIST come: train images and t10k images
    a .npy file  rows; some of them are held back as queries
    a .hdf5 file in ann-benchmarks' layout: train, test, neighbors; attribute `distance`

Files of vectors alone get ids, texts and metadata that are made up, short ones.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import K
from exact import Nearest, distances_to, normalised, recall

if TYPE_CHECKING:
    import argparse

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = REPOSITORY / "sample"
FULL = REPOSITORY.parent / "shared" / "data"
"""Where the full set of which `sample` is a part may lie."""
QUERIES = 1000
"""Queries at most, unless the caller says otherwise."""
HELD_BACK = 10
"""One in so many rows of a .npy file, at most, becomes a query."""
IDX_ROWS, IDX_QUERIES = "train-images*ubyte*", "t10k-images*ubyte*"
METRICS = {"euclidean": "euclidean", "angular": "cosine"}
"""ann-benchmarks' names of distances, and ours."""


class DataError(Exception):
    """The data cannot be used; the message says why."""


@dataclass
class DataSet:
    """`vectors` (n, d) and `queries` (m, d), float32, C-contiguous, and an item for each row.

    `points` and `asked` are the same where the metric is euclidean; where it is cosine, they are
    of length 1, so that euclidean distances rank them alike.
    """

    name: str
    vectors: np.ndarray
    queries: np.ndarray
    metadata: list[dict[str, Any]]
    texts: list[str]
    ids: list[str]
    metric: str = "euclidean"
    true: np.ndarray | None = None
    """The K nearest rows of each query (m, K), if somebody has them already."""

    @cached_property
    def points(self) -> np.ndarray:
        return self.vectors if self.metric == "euclidean" else normalised(self.vectors)

    @cached_property
    def asked(self) -> np.ndarray:
        return self.queries if self.metric == "euclidean" else normalised(self.queries)

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.ids)}

    @cached_property
    def reach(self) -> np.ndarray:
        """The squared distance of each query to the last of its true neighbours (m,)."""
        if self.true is None:
            nearest = Nearest(self.asked, K)
            nearest.add(self.points)
            return nearest.distances[:, -1]
        return distances_to(self.asked, self.points[self.true]).max(axis=1)

    def recall(self, rows: np.ndarray) -> float:
        """The share of the true neighbours among rows (m, K) that were found, -1 for none."""
        distances = distances_to(self.asked, self.points[rows])
        return recall(np.where(rows < 0, np.inf, distances), self.reach)

    @property
    def raw_bytes(self) -> int:
        """The float32 vectors, the texts and the metadata as compact JSON, in UTF-8."""
        compact = (json.dumps(m, ensure_ascii=False, separators=(",", ":")) for m in self.metadata)
        text = sum(len(text.encode()) for text in self.texts)
        return int(self.vectors.nbytes) + text + sum(len(line.encode()) for line in compact)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which data."""
    parser.add_argument("--data", help="a folder, or an .npy or .hdf5 file; see data.py")
    parser.add_argument("--rows", type=int, help="how many rows of it")
    parser.add_argument("--queries", type=int, help=f"how many queries ({QUERIES})")


def asked_for(parser: argparse.ArgumentParser, options: argparse.Namespace) -> DataSet:
    """The data that these options say; the program ends where there are none."""
    try:
        return load(options.data, options.rows, options.queries)
    except DataError as error:
        parser.exit(2, f"{error}\n")


def load(path: str | None, rows: int | None, queries: int | None) -> DataSet:
    """The set at `path`: the one given, else $BENCH_DATA, the full set, or the sample.

    At most so many rows and queries of it: all rows and QUERIES, unless given. Raises `DataError`.
    """
    default = FULL if FULL.is_dir() else SAMPLE
    source = Path(path or os.environ.get("BENCH_DATA") or default)
    if not source.exists():
        message = f"{source} does not exist"
        raise DataError(message)
    asked = QUERIES if queries is None else queries
    if source.is_dir() and list(source.glob(IDX_ROWS)):
        return from_idx(source, rows, asked)
    if source.is_dir():
        return from_folder(source, rows, asked)
    if source.suffix == ".npy":
        return from_npy(source, rows, asked)
    if source.suffix in {".hdf5", ".h5"}:
        return from_hdf5(source, rows, asked)
    message = f"{source}: a folder, a .npy or a .hdf5 file is needed"
    raise DataError(message)


def from_folder(folder: Path, rows: int | None, queries: int) -> DataSet:
    """Vectors with real texts and metadata."""
    vectors = np.load(find(folder, "*vectors.npy"))[:rows].astype(np.float32)
    asked = np.load(find(folder, "*queries.npy"))[:queries].astype(np.float32)
    if (folder / "items.jsonl").exists():
        items = [json.loads(line) for line in read_lines(folder / "items.jsonl")[: len(vectors)]]
        texts = [item.pop("text") for item in items]
    else:
        lines = read_lines(find(folder, "*metadata.jsonl*"))[: len(vectors)]
        items = [json.loads(line) for line in lines]
        texts = read_lines(find(folder, "*texts.txt*"))[: len(vectors)]
    ids = [item["synset"] for item in items]
    return DataSet(folder.name, vectors, asked, items, texts, ids)


def find(folder: Path, pattern: str) -> Path:
    for path in folder.glob(pattern):
        return path
    message = f"{folder} has no {pattern}"
    raise DataError(message)


def read_lines(path: Path) -> list[str]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().split("\n")


def from_idx(folder: Path, rows: int | None, queries: int) -> DataSet:
    """Images as vectors of their brightness, a number for each pixel."""
    vectors = read_images(find(folder, IDX_ROWS))[:rows]
    return with_items(folder.name, vectors, read_images(find(folder, IDX_QUERIES))[:queries])


def read_images(path: Path) -> np.ndarray:
    """An IDX file of bytes in three dimensions: a magic number and three lengths, big-endian."""
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    magic, *shape = np.frombuffer(data, ">u4", 4).tolist()
    if magic != 0x803 or len(data) != 16 + shape[0] * shape[1] * shape[2]:
        message = f"{path} is no IDX file of images"
        raise DataError(message)
    return np.frombuffer(data, np.uint8, -1, 16).reshape(shape[0], -1).astype(np.float32)


def from_npy(path: Path, rows: int | None, queries: int) -> DataSet:
    """Rows of a matrix, and others of them, chosen at random once and for all, as queries."""
    stored = np.load(path, mmap_mode="r")
    if stored.ndim != 2 or stored.dtype.kind not in "fiu" or len(stored) <= K + 1:
        message = f"{path}: a matrix of numbers with more than {K + 1} rows is needed"
        raise DataError(message)
    held = max(1, min(queries, len(stored) // HELD_BACK))
    chosen = np.random.default_rng(0).choice(len(stored), held, replace=False)
    rest = np.delete(np.arange(len(stored)), chosen)[:rows]
    return with_items(path.stem, as_floats(stored[rest]), as_floats(stored[chosen]))


def from_hdf5(path: Path, rows: int | None, queries: int) -> DataSet:
    """A set of ann-benchmarks. Its true neighbours are used if all its rows are."""
    try:
        import h5py
    except ImportError:
        message = "reading .hdf5 files needs h5py: pip install h5py"
        raise DataError(message) from None
    with h5py.File(path) as file:
        missing = {"train", "test", "neighbors"} - set(file)
        metric = METRICS.get(file.attrs.get("distance", ""))
        if missing or metric is None:
            message = (
                f"{path}: no {', '.join(sorted(missing))}"
                if missing
                else f"{path}: the attribute `distance` has to be euclidean or angular"
            )
            raise DataError(message)
        vectors = as_floats(file["train"][:rows])
        asked = as_floats(file["test"][:queries])
        whole = len(vectors) == len(file["train"])
        true = file["neighbors"][: len(asked), :K].astype(np.int64) if whole else None
    return with_items(path.stem, vectors, asked, metric=metric, true=true)


def as_floats(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers, dtype=np.float32)


def with_items(name: str, vectors: np.ndarray, queries: np.ndarray, **more: Any) -> DataSet:
    """A set whose rows are items by name only."""
    ids = [f"row-{row}" for row in range(len(vectors))]
    metadata = [{"row": row, "group": row % 100} for row in range(len(vectors))]
    texts = [f"row {row}" for row in range(len(vectors))]
    return DataSet(name, vectors, queries, metadata, texts, ids, **more)
