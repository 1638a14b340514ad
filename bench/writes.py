"""Queries on one thread while another one writes: how long the slowest of them waits.

An index with most of its rows in the graph gets the rest in many small upserts and is then
optimized. Beside the times of queries meanwhile stand those of the same index at rest, and of an
exact scan over the same rows in plain numpy, which nobody would want to wait longer than.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from exact import squared_norms
from ours import Ours, upsert
from settings import BATCH, INDEX, K
from timing import microseconds

from cyborg_embedded import Client

if TYPE_CHECKING:
    from pathlib import Path

    from data import DataSet

    from cyborg_embedded import EncryptedIndex

SHARE = 0.8
"""Of the rows that are in the graph before."""
LITTLE = 100
"""Rows of one upsert during queries."""
RESTING = 500
"""Queries that are timed at rest."""
SCANS = 100
PHASES = ("upsert", "optimize")


def during_writes(given: DataSet, folder: Path) -> dict[str, Any]:
    """By phase (`rest`, PHASES, `scan`) the p50, p99 and max of queries, in microseconds, how many
    there were, and the seconds that the phase took. At last the `recall` of the finished index.
    """
    before = range(int(SHARE * len(given.ids)))
    client = Client(folder)
    key = client.generate_key()
    dimension = given.vectors.shape[1]
    with client.create_index(
        INDEX, index_key=key, dimension=dimension, metric=given.metric
    ) as index:
        upsert(index, given, before, BATCH)
        index.optimize()
        index.warm()
        ours = Ours("ours", index, given)
        queries = np.resize(given.queries, (max(RESTING, len(given.queries)), dimension))
        figures = {"rest": summary(microseconds(ours.one, queries[:RESTING]))}
        after = range(before.stop, len(given.ids))
        figures.update(while_writing(ours, queries, index, given, after))
        figures["scan"] = summary(scans(given))
        figures["recall"] = given.recall(ours.rows(given.queries))
    return figures


def while_writing(
    ours: Ours, queries: np.ndarray, index: EncryptedIndex, given: DataSet, rows: range
) -> dict[str, Any]:
    """Query for as long as somebody else writes. A query counts for the phase it began in."""
    times: dict[str, list[float]] = {phase: [] for phase in PHASES}
    seconds: dict[str, float] = {}
    phase = PHASES[0]

    def write() -> None:
        nonlocal phase
        seconds["upsert"] = upsert(index, given, rows, LITTLE)
        phase = "optimize"
        start = time.perf_counter()
        index.optimize()
        seconds["optimize"] = time.perf_counter() - start

    with ThreadPoolExecutor(1) as workers:
        writing = workers.submit(write)
        place = 0
        while not writing.done():
            now = phase
            times[now].extend(microseconds(ours.one, queries[place : place + 1]))
            place = (place + 1) % len(queries)
        writing.result()
    return {phase: summary(times[phase]) | {"seconds": seconds[phase]} for phase in PHASES}


def scans(given: DataSet) -> np.ndarray:
    """Microseconds of exact scans."""
    norms = squared_norms(given.points)

    def scan(query: np.ndarray) -> np.ndarray:
        distances = norms - 2 * (given.points @ query)
        return np.argpartition(distances, K)[:K]

    return microseconds(scan, np.resize(given.asked, (SCANS, given.asked.shape[1])))


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
