"""The library as one of the contenders: through its public interface, as its users use it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from settings import BATCH, K

if TYPE_CHECKING:
    from data import DataSet

    from cyborg_embedded import EncryptedIndex


class Ours:
    """An open index, with its vectors in memory or sealed. See `rivals.Contender`."""

    def __init__(self, key: str, index: EncryptedIndex, given: DataSet) -> None:
        self.key = key
        self._index = index
        self._given = given
        self.set_effort(None)

    def set_effort(self, ef: int | None) -> None:
        """None is the library's default."""
        self._ef = ef
        self.one = self.many = partial(self._index.query, top_k=K, include=["distance"], ef=ef)

    def rows(self, queries: np.ndarray) -> np.ndarray:
        answers, _ = self._index.query_arrays(queries, top_k=K, ef=self._ef)
        row_of = self._given.row_of
        found = np.full((len(queries), K), -1)
        for line, ids in zip(found, answers, strict=True):
            line[: len(ids)] = [row_of[item_id] for item_id in ids]
        return found


def upsert(index: EncryptedIndex, given: DataSet, rows: range, batch: int = BATCH) -> float:
    """Seconds to write these rows, a durable commit for each batch."""
    start = time.perf_counter()
    for first in range(rows.start, rows.stop, batch):
        part = slice(first, min(first + batch, rows.stop))
        index.upsert(given.ids[part], given.vectors[part], given.metadata[part], given.texts[part])
    return time.perf_counter() - start


def asked_by(contender: Any, given: DataSet) -> np.ndarray:
    """The queries as a contender wants them: ours is given what its user has, the rivals what
    their users would have prepared.
    """
    return given.queries if isinstance(contender, Ours) else given.asked
