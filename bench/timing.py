"""Times of several contenders in one noisy run: all take turns, so that noise meets them alike."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TURN = 250
"""Queries that one contender answers before the next one's turn."""
FIRST = 5
"""Queries ahead of each turn that are not timed: the others have filled the processor's caches."""

Call = tuple["Callable[[np.ndarray], Any]", np.ndarray]
"""What answers a query, and its queries (m, d)."""


def microseconds(call: Callable[[np.ndarray], Any], queries: Any) -> np.ndarray:
    """Of each single query."""
    clock = time.perf_counter
    times = np.empty(len(queries))
    for place, query in enumerate(queries):
        start = clock()
        call(query)
        times[place] = clock() - start
    return 1e6 * times


def in_turns(calls: Mapping[str, Call], rounds: int) -> dict[str, dict[str, Any]]:
    """For each contender the microseconds of a query over all rounds, the median (`us`), the mean
    (`mean_us`) and the 95th percentile (`p95_us`), and the median of each round (`rounds_us`),
    which tell how noisy the run was.

    In a round all are asked the same TURN queries, in an order that changes from round to round.
    """
    times: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            call, queries = calls[name]
            chosen = (np.arange(-FIRST, min(TURN, len(queries))) + turn * TURN) % len(queries)
            times[name].append(microseconds(call, queries[chosen])[FIRST:])
    return {name: told(each) for name, each in times.items()}


def told(rounds: list[np.ndarray]) -> dict[str, Any]:
    """What is told of the microseconds of one contender's queries, by round."""
    whole = np.concatenate(rounds)
    return {
        "us": float(np.median(whole)),
        "mean_us": float(np.mean(whole)),
        "p95_us": float(np.quantile(whole, 0.95)),
        "rounds_us": [round(float(np.median(part)), 1) for part in rounds],
    }


def alternately(
    calls: Mapping[str, Callable[[np.ndarray], Any]], queries: np.ndarray, passes: int
) -> dict[str, np.ndarray]:
    """For each contender the microseconds of each query (passes, m).

    All are asked a query before the next one is; who is asked first changes from pass to pass.
    """
    names = list(calls)
    for name in names:
        microseconds(calls[name], queries[:FIRST])
    times = {name: np.empty((passes, len(queries))) for name in names}
    for turn in range(passes):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        for place in range(len(queries)):
            for name in order:
                one = queries[place : place + 1]
                times[name][turn, place] = microseconds(calls[name], one)[0]
    return times


def batches_in_turns(calls: Mapping[str, Call], rounds: int) -> dict[str, float]:
    """For each contender the seconds to answer all its queries at once: the least of all rounds.

    There are too few for a median, and noise, which takes threads away, only adds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (call, queries) in calls.items():
            start = time.perf_counter()
            call(queries)
            seconds[name].append(time.perf_counter() - start)
    return {name: min(each) for name, each in seconds.items()}
