"""Queries on one thread while rows are written and brought into the graph: how long they wait.

An index gets most of its rows, which a thread of its own brings into a graph; then more of them in
many small upserts, which the same thread adds; then the rest, which `optimize` adds. Beside the
times of queries meanwhile stand those of the same index at rest, and of an exact scan over the
same rows in plain numpy, which nobody would want to wait longer than.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from common import BATCH, K
from exact import squared_norms
from ours import Ours, create, upsert
from timing import microseconds

from cyborg_embedded import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from data import DataSet

    from cyborg_embedded import EncryptedIndex

    Step = Callable[[], Iterator[str | None]]
    """Work that says which phase has begun, None for one that does not count."""

FIRST, SECOND = 0.8, 0.9
"""Shares of the rows: up to where the first graph goes, and what the background adds to it."""
LITTLE = 100
"""Rows of one upsert during queries."""
RESTING = 500
"""Queries that are timed at rest."""
SCANS = 100
POLL_SECONDS = 0.002
IDLE_SECONDS = 0.5
"""Whoever has not begun to work after that has nothing to do."""
PHASES = {
    "rest": "nobody writes",
    "first": "the first graph is made in the background",
    "upsert": "another thread upserts",
    "background": "rows are added in the background",
    "optimize": "another thread optimizes",
    "scan": "an exact scan in numpy instead",
}


def during_writes(given: DataSet, folder: Path) -> dict[str, Any]:
    """By phase the p50, p99 and max of queries, in microseconds, and how many there were; at last
    the `recall` of the finished index.
    """
    client, total = Client(folder), len(given.ids)
    key = client.generate_key()
    with create(client, key, given) as index:
        upsert(index, given, range(int(FIRST * total)), BATCH)
        ours = Ours("ours", index, given)
        times = times_while(lambda: in_background(index, "first"), ours, given)
        # Few rows are not worth a graph to anybody but who asks for one.
        index.optimize()
        index.warm()
        times["rest"] = microseconds(ours.one, resized(given.queries, RESTING))
        for phase, more in times_while(lambda: writing(index, given), ours, given).items():
            times.setdefault(phase, more)
        times["scan"] = scans(given)
        figures: dict[str, Any] = {phase: summary(times.get(phase, [])) for phase in PHASES}
        figures["recall"] = given.recall(ours.rows(given.queries))
    return figures


def writing(index: EncryptedIndex, given: DataSet) -> Iterator[str | None]:
    """What somebody does whose index grows."""
    total = len(given.ids)
    first, second = int(FIRST * total), int(SECOND * total)
    yield "upsert"
    upsert(index, given, range(first, second), LITTLE)
    yield from in_background(index, "background")
    yield "upsert"
    upsert(index, given, range(second, total), LITTLE)
    yield "optimize"
    index.optimize()


def in_background(index: EncryptedIndex, phase: str) -> Iterator[str | None]:
    """The phase while the index works by itself, None before; until it has nothing to do."""
    since = time.monotonic()
    while time.monotonic() - since < IDLE_SECONDS:
        busy = index.is_training()
        if busy:
            since = time.monotonic()
        yield phase if busy else None
        time.sleep(POLL_SECONDS)


def times_while(step: Step, ours: Ours, given: DataSet) -> dict[str, np.ndarray]:
    """By phase the microseconds of queries that began in it, asked for as long as `step` works on
    another thread.
    """
    times: dict[str | None, list[np.ndarray]] = {}
    phase: str | None = None

    def work() -> None:
        nonlocal phase
        for now in step():
            phase = now

    with ThreadPoolExecutor(1) as workers:
        working = workers.submit(work)
        place = 0
        while not working.done():
            now = phase
            taken = microseconds(ours.one, given.queries[place : place + 1])
            times.setdefault(now, []).append(taken)
            place = (place + 1) % len(given.queries)
        working.result()
    return {name: np.concatenate(each) for name, each in times.items() if name is not None}


def scans(given: DataSet) -> np.ndarray:
    """Microseconds of exact scans."""
    norms = squared_norms(given.points)

    def scan(query: np.ndarray) -> np.ndarray:
        distances = norms - 2 * (given.points @ query)
        return np.argpartition(distances, K)[:K]

    return microseconds(scan, resized(given.asked, SCANS))


def resized(queries: np.ndarray, count: int) -> np.ndarray:
    """So many queries, the first again after the last."""
    return np.resize(queries, (count, queries.shape[1]))


def summary(times: Any) -> dict[str, Any]:
    """Of microseconds; None where there are none, as in a phase that was over at once."""
    if not len(times):
        return {"queries": 0, "p50_us": None, "p99_us": None, "max_us": None}
    p50, p99 = np.percentile(times, (50, 99))
    return {
        "queries": len(times),
        "p50_us": float(p50),
        "p99_us": float(p99),
        "max_us": float(np.max(times)),
    }
