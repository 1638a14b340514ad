"""The library as one of the contenders: through its public interface, as its users use it."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from common import BATCH, INDEX, K

from cyborg_embedded import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data import DataSet

    from cyborg_embedded import Client, EncryptedIndex


class Ours:
    """An open index, with its vectors in memory or sealed. See `rivals.Contender`."""

    def __init__(self, key: str, index: EncryptedIndex, given: DataSet) -> None:
        self.key = key
        self.index = index
        self._given = given
        self.set_effort(None)

    def set_effort(self, ef: int | None) -> None:
        """None is the library's default."""
        self._ef = ef
        self.one = self.many = partial(self.index.query, top_k=K, include=["distance"], ef=ef)

    def rows(self, queries: np.ndarray) -> np.ndarray:
        answers, _ = self.index.query_arrays(queries, top_k=K, ef=self._ef)
        return self.rows_of(answers)

    def rows_of(self, answers: list[list[str]]) -> np.ndarray:
        """The rows (m, K) of ids, -1 for none."""
        row_of = self._given.row_of
        found = np.full((len(answers), K), -1)
        for line, ids in zip(found, answers, strict=True):
            line[: len(ids)] = [row_of[item_id] for item_id in ids]
        return found


@contextlib.contextmanager
def reopened(client: Client, key: bytes, given: DataSet) -> Iterator[list[Ours]]:
    """A warm handle with its vectors in memory, and a sealed one if that can be had."""
    options: dict[str, Any] = {"index_key": key, "indexing": "manual"}
    with contextlib.ExitStack() as stack:
        handles = [Ours("ours", stack.enter_context(client.load_index(INDEX, **options)), given)]
        # An index of few dimensions or rows has its vectors in the graph, and refuses.
        with contextlib.suppress(InvalidInputError):
            sealed = stack.enter_context(client.load_index(INDEX, cache_bytes=0, **options))
            handles.append(Ours("sealed", sealed, given))
        for handle in handles:
            handle.index.warm()
        yield handles


def create(client: Client, key: bytes, given: DataSet, **options: Any) -> EncryptedIndex:
    """An empty index for the rows of a data set."""
    dimension = given.vectors.shape[1]
    return client.create_index(
        INDEX, index_key=key, dimension=dimension, metric=given.metric, **options
    )


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
