"""Exact search over rows that pass by once, and recall against it.

A row that was found counts where it is as near as the last of the true neighbours: of equally near
rows none is more of a neighbour than another.
"""

from __future__ import annotations

import numpy as np

ROWS_AT_ONCE = 8192
QUERIES_AT_ONCE = 1000
ROUNDING = 1e-6
"""Squared distances that differ by less, relatively, are equal: all rank by float32 numbers."""


def squared_norms(vectors: np.ndarray) -> np.ndarray:
    """Of float64 vectors (n, d): (n,)."""
    return np.einsum("ij,ij->i", vectors, vectors)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, d) of length 1, float32."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, dtype=np.float32, casting="same_kind")


class Nearest:
    """The k nearest rows of each query, by squared euclidean distance in float64, among all rows
    that were given to `add` so far: `rows` and `distances`, both (m, k), nearest first.
    """

    def __init__(self, queries: np.ndarray, k: int) -> None:
        self._queries = queries
        self._k = k
        self._seen = 0
        self.rows = np.empty((len(queries), 0), np.int64)
        self.distances = np.empty((len(queries), 0))

    def add(self, vectors: np.ndarray) -> None:
        """The next rows (n, d)."""
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            self._add(vectors[start : start + ROWS_AT_ONCE].astype(np.float64))

    def _add(self, vectors: np.ndarray) -> None:
        norms = squared_norms(vectors)
        best = []
        for start in range(0, len(self._queries), QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            queries = self._queries[part].astype(np.float64)
            fresh = norms - 2 * queries @ vectors.T + squared_norms(queries)[:, None]
            rows = np.broadcast_to(np.arange(len(vectors)) + self._seen, fresh.shape)
            distances = np.concatenate((self.distances[part], fresh), axis=1)
            rows = np.concatenate((self.rows[part], rows), axis=1)
            if distances.shape[1] > self._k:
                nearest = np.argpartition(distances, self._k - 1, axis=1)[:, : self._k]
                distances = np.take_along_axis(distances, nearest, axis=1)
                rows = np.take_along_axis(rows, nearest, axis=1)
            order = np.argsort(distances, axis=1, kind="stable")
            best.append(
                (np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, 1))
            )
        rows_found, distances_found = zip(*best, strict=True)
        self.rows, self.distances = np.concatenate(rows_found), np.concatenate(distances_found)
        self._seen += len(vectors)


def distances_to(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Squared euclidean distances (m, k) of queries (m, d) to vectors (m, k, d) of their own."""
    apart = vectors.astype(np.float64) - queries[:, None].astype(np.float64)
    return np.einsum("mkd,mkd->mk", apart, apart)


def recall(found: np.ndarray, reach: np.ndarray) -> float:
    """The share of found distances (m, k) that are no longer than the one (m,) of the last of the
    k true neighbours. An infinite one was not found.
    """
    return float((found <= reach[:, None] * (1 + ROUNDING) + ROUNDING**2).mean())
