"""Plaintext hnswlib, as its users use it: what the library is measured against."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import hnswlib

if TYPE_CHECKING:
    import numpy as np

M, EF_CONSTRUCTION, THREADS = 16, 200, 2
EFFORTS = (
    16,
    24,
    32,
    40,
    48,
    56,
    64,
    72,
    80,
    88,
    96,
    104,
    112,
    128,
    144,
    160,
    192,
    224,
    256,
    320,
    400,
)


def build(vectors: np.ndarray) -> tuple[hnswlib.Index, float]:
    """An index over the vectors, and the seconds it took to add them."""
    index = hnswlib.Index("l2", vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=M, ef_construction=EF_CONSTRUCTION)
    start = time.perf_counter()
    index.add_items(vectors, num_threads=THREADS)
    return index, time.perf_counter() - start


def effort_for(index: hnswlib.Index, queries: np.ndarray, true: np.ndarray, wanted: float) -> int:
    """The least effort (ef) that reaches a recall, or the most that is tried."""
    for ef in EFFORTS:
        if recall_at(index, queries, true, ef) >= wanted:
            return ef
    return EFFORTS[-1]


def recall_at(index: hnswlib.Index, queries: np.ndarray, true: np.ndarray, ef: int) -> float:
    index.set_ef(ef)
    labels, _ = index.knn_query(queries, true.shape[1], num_threads=THREADS)
    return float((labels[:, :, None] == true[:, None, :]).any(axis=2).mean())
