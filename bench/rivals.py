"""What the library is measured against: plaintext graphs in memory, each as its users use it.

Behind one protocol, `Contender`, with the library itself (`ours`). All have the same M and
ef_construction; each has its own best way to be asked. hnswlib is there wherever the library is;
the others are left out where they are not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from common import EF_CONSTRUCTION, THREADS, K, M

if TYPE_CHECKING:
    from collections.abc import Callable


class Contender(Protocol):
    """Something that answers queries, with less or more effort."""

    key: str
    """Its name in the figures."""
    one: Callable[[np.ndarray], Any]
    """Answer one query (d,) on one thread: what is timed, with nothing around it."""

    def set_effort(self, ef: int) -> None:
        """From now on, the width of the beam of a walk through the graph."""

    def many(self, queries: np.ndarray) -> Any:
        """Answer queries (m, d) on THREADS threads."""

    def rows(self, queries: np.ndarray) -> np.ndarray:
        """The rows (m, K) that `many` finds, -1 for none."""


class Rival(Contender, Protocol):
    """A contender that is built from a matrix."""

    title: str
    """Its name in the table."""
    package: str
    """What has to be installed."""

    def __init__(self, dimension: int, metric: str) -> None:
        """An empty one. `metric` is euclidean or cosine. Raises `ImportError`."""

    def build(self, vectors: np.ndarray) -> None:
        """Take in vectors (n, d), on THREADS threads."""


class Hnswlib:
    """hnswlib, with float32 vectors."""

    key, title, package = "hnswlib", "plaintext hnswlib", "hnswlib"

    def __init__(self, dimension: int, metric: str) -> None:
        import hnswlib

        self._index = hnswlib.Index(space_of(metric), dimension)

    def build(self, vectors: np.ndarray) -> None:
        self._index.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION)
        self._index.add_items(vectors, num_threads=THREADS)

    def save(self, path: str) -> None:
        """The index as a file that `load_index` reads."""
        self._index.save_index(path)

    def set_effort(self, ef: int) -> None:
        self._index.set_ef(ef)

    def one(self, query: np.ndarray) -> Any:
        return self._index.knn_query(query, K, num_threads=1)

    def many(self, queries: np.ndarray) -> Any:
        return self._index.knn_query(queries, K, num_threads=THREADS)

    def rows(self, queries: np.ndarray) -> np.ndarray:
        return self.many(queries)[0].astype(np.int64)


class Usearch:
    """usearch, with bfloat16 vectors."""

    key, title, package = "usearch", "usearch bf16", "usearch"

    def __init__(self, dimension: int, metric: str) -> None:
        from usearch.index import Index

        self._index = Index(
            ndim=dimension,
            metric="cos" if metric == "cosine" else "l2sq",
            dtype="bf16",
            connectivity=M,
            expansion_add=EF_CONSTRUCTION,
        )

    def build(self, vectors: np.ndarray) -> None:
        self._index.add(np.arange(len(vectors)), vectors, threads=THREADS)

    def set_effort(self, ef: int) -> None:
        self._index.expansion_search = ef

    def one(self, query: np.ndarray) -> Any:
        return self._index.search(query, K, threads=1)

    def many(self, queries: np.ndarray) -> Any:
        return self._index.search(queries, K, threads=THREADS)

    def rows(self, queries: np.ndarray) -> np.ndarray:
        found = self.many(queries)
        # Places behind `counts` hold whatever was in memory.
        there = np.arange(K) < np.asarray(found.counts)[:, None]
        return np.where(there, found.keys.astype(np.int64), -1)


class Faiss:
    """faiss' HNSW over a scalar quantizer, float16. Cosine is euclidean on vectors of length 1."""

    key, title, package = "faiss", "faiss HNSW fp16", "faiss-cpu"

    def __init__(self, dimension: int, metric: str) -> None:  # noqa: ARG002  points have length 1
        import faiss

        self._faiss = faiss
        self._index = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_fp16, M)
        self._index.hnsw.efConstruction = EF_CONSTRUCTION
        faiss.omp_set_num_threads(1)

    def build(self, vectors: np.ndarray) -> None:
        self._on_all_threads(self._index.train, vectors)
        self._on_all_threads(self._index.add, vectors)

    def set_effort(self, ef: int) -> None:
        self._index.hnsw.efSearch = ef

    def one(self, query: np.ndarray) -> Any:
        return self._index.search(query[None], K)

    def many(self, queries: np.ndarray) -> Any:
        return self._on_all_threads(self._index.search, queries, K)

    def rows(self, queries: np.ndarray) -> np.ndarray:
        return self.many(queries)[1]

    def _on_all_threads(self, call: Callable[..., Any], *arguments: Any) -> Any:
        # The number of threads is the process's, not the index's.
        self._faiss.omp_set_num_threads(THREADS)
        try:
            return call(*arguments)
        finally:
            self._faiss.omp_set_num_threads(1)


RIVALS: tuple[type[Rival], ...] = (Hnswlib, Usearch, Faiss)


def space_of(metric: str) -> str:
    """The name that hnswlib has for a metric."""
    return "cosine" if metric == "cosine" else "l2"


def installed(dimension: int, metric: str) -> tuple[list[Rival], list[str]]:
    """Empty rivals, and the packages of those that are not installed."""
    rivals, missing = [], []
    for kind in RIVALS:
        try:
            rivals.append(kind(dimension, metric))
        except ImportError:
            missing.append(kind.package)
    return rivals, missing
