"""Data sets: vectors with texts and metadata, and queries with their true neighbours."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = REPOSITORY / "sample"
FULL = REPOSITORY.parent / "shared" / "data"
"""Where the full set of which `sample` is a part may lie."""


@dataclass
class DataSet:
    """`vectors` (n, d) and `queries` (m, d) float32, `true` (m, 10) rows, exact."""

    name: str
    vectors: np.ndarray
    queries: np.ndarray
    metadata: list[dict[str, Any]]
    texts: list[str]
    ids: list[str]
    true: np.ndarray

    @property
    def raw_bytes(self) -> int:
        """The float32 vectors, the texts and the metadata as compact JSON, in UTF-8."""
        compact = (json.dumps(m, ensure_ascii=False, separators=(",", ":")) for m in self.metadata)
        text = sum(len(text.encode()) for text in self.texts)
        return int(self.vectors.nbytes) + text + sum(len(line.encode()) for line in compact)


def read_lines(path: Path) -> list[str]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().split("\n")


def load(folder: str | None, rows: int | None, queries: int | None) -> DataSet:
    """The set in `folder`: the one given, else $BENCH_DATA, the full set, or the sample."""
    default = FULL if FULL.is_dir() else SAMPLE
    path = Path(folder or os.environ.get("BENCH_DATA") or default)
    vectors = np.load(next(path.glob("*vectors.npy")))[:rows].astype(np.float32)
    asked = np.load(next(path.glob("*queries.npy")))[:queries].astype(np.float32)
    if (path / "items.jsonl").exists():
        items = [json.loads(line) for line in read_lines(path / "items.jsonl")[: len(vectors)]]
        texts = [item.pop("text") for item in items]
    else:
        lines = read_lines(next(path.glob("*metadata.jsonl*")))[: len(vectors)]
        items = [json.loads(line) for line in lines]
        texts = read_lines(next(path.glob("*texts.txt*")))[: len(vectors)]
    ids = [item["synset"] for item in items]
    return DataSet(path.name, vectors, asked, items, texts, ids, nearest(vectors, asked, 10))


def nearest(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The exact k nearest rows of each query, by squared euclidean distance in float64."""
    wide = vectors.astype(np.float64)
    norms = (wide**2).sum(axis=1)
    found = []
    for start in range(0, len(queries), 100):
        distances = norms - 2 * queries[start : start + 100].astype(np.float64) @ wide.T
        found.append(np.argsort(distances, axis=1, kind="stable")[:, :k])
    return np.concatenate(found)


def recall(found: list[list[int]] | np.ndarray, true: np.ndarray) -> float:
    """The share of the true neighbours that were found."""
    hits = sum(len(set(map(int, a)) & set(map(int, b))) for a, b in zip(found, true, strict=True))
    return hits / true.size
