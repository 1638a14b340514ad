"""Filters: queries with them beside queries without, the first of a process, order, and updates.

    python bench/filters.py [--data PATH] [--rows N] [--queries N] [--repeat N] [--out FOLDER]

`bench/run.py` has this as one of its parts; alone, it makes an index first. Which filters:
`filter_sets.py`. Answers are compared with those of numpy over the items that satisfy the filter by
a test in Python. Prints Markdown tables and writes them, and all figures as JSON, to bench/out.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from alone import measured_alone
from common import INDEX, K, say
from exact import Nearest, distances_to, recall
from filter_sets import filters_of
from filter_table import as_markdown
from processes import fresh
from timing import alternately, batches_in_turns

from cyborg_embedded import Client

if TYPE_CHECKING:
    from pathlib import Path

    from data import DataSet
    from filter_sets import Filter, FilterSet

    from cyborg_embedded import EncryptedIndex

PASSES = 3
"""How often each query is asked with each filter."""
BATCH_ROUNDS = 5
ORDERED = 20
"""Items wanted in an order, and how often."""
UPDATED = 1000
"""Items of one update."""
UPDATES = 5


def main() -> None:
    measured_alone(__doc__, "filters", with_filters, as_markdown, "how often processes are started")


def with_filters(given: DataSet, folder: Path, key: bytes, repeat: int) -> dict[str, Any]:
    """All figures about filters of the finished index in `ours` of a folder. In the end, its
    metadata are changed.
    """
    client, chosen = Client(folder / "ours"), filters_of(given)
    np.save(folder / "queries.npy", given.queries)
    figures: dict[str, Any] = {"rows": len(given.ids), "queries": len(given.queries)}
    say("queries with filters ...")
    figures["queried"] = [queried(client, key, given, each) for each in chosen.filters]
    say("batches with a filter ...")
    figures["batch"] = batches(client, key, given, chosen)
    say("first queries with filters ...")
    figures["first"] = first_queries(folder, key, chosen, repeat)
    say("order ...")
    figures["ordered"] = [ordered(client, key, given, field) for field in chosen.orders]
    say("updates of metadata ...")
    figures["updated"] = updated(client, key, given, chosen)
    return figures


def warmed(client: Client, key: bytes) -> EncryptedIndex:
    """A handle of its own for each measurement: what one has made for a filter is of use to the
    next one.
    """
    index = client.load_index(INDEX, index_key=key, indexing="manual")
    index.warm()
    return index


def queried(client: Client, key: bytes, given: DataSet, wanted: Filter) -> dict[str, Any]:
    """Single queries with a filter, by turns with ones without: median microseconds, `us` and
    `plain_us`; then what the answers are worth, see `judged`.
    """
    with warmed(client, key) as index:
        calls = {
            "us": partial(index.query, top_k=K, filters=wanted.filters),
            "plain_us": partial(index.query, top_k=K),
        }
        times = alternately(calls, given.queries, PASSES)
        return {
            "filters": wanted.filters,
            "percent": wanted.percent,
            **{name: float(np.median(each)) for name, each in times.items()},
            "passes_us": np.median(times["us"], axis=1).round(1).tolist(),
            **judged(index, given, wanted),
        }


def judged(index: EncryptedIndex, given: DataSet, wanted: Filter) -> dict[str, Any]:
    """Of all queries: how many items satisfy the filter (`matching`), whether the library says so
    too and finds K of these, or all if they are fewer (`complete`), the `recall`, None where there
    is nothing to find, and how it went about it.
    """
    meant = np.fromiter((wanted.where(each) for each in given.metadata), bool, len(given.metadata))
    rows = np.flatnonzero(meant)
    k = min(K, len(rows))
    found, complete = np.full((len(given.queries), k), -1), True
    plans = []
    for line, query in zip(found, given.queries, strict=True):
        results, plan = index.query(query, top_k=K, filters=wanted.filters, explain=True)
        plans.append(plan)
        answer = [given.row_of[result["id"]] for result in results]
        complete &= len(set(answer)) == len(answer) == k and bool(meant[answer].all())
        complete &= plan["matching"] == len(rows)
        line[: len(answer)] = answer[:k]
    return {
        "matching": len(rows),
        "complete": complete,
        "recall": recall_among(given, rows, found) if k else None,
        "strategies": Counter(plan["strategy"] for plan in plans),
        "short": sum(plan["short"] for plan in plans),
        "plan": plans[-1],
    }


def recall_among(given: DataSet, rows: np.ndarray, found: np.ndarray) -> float:
    """The recall of what was found (m, k), -1 for none, where only some rows were to be found."""
    nearest = Nearest(given.asked, found.shape[1])
    nearest.add(given.points[rows])
    distances = distances_to(given.asked, given.points[found])
    return recall(np.where(found < 0, np.inf, distances), nearest.distances[:, -1])


def batches(client: Client, key: bytes, given: DataSet, chosen: FilterSet) -> dict[str, Any]:
    """Microseconds for each query of all at once, with a filter and without."""
    filters = chosen.typical.filters
    with warmed(client, key) as index:
        with_filter = partial(index.query, top_k=K, filters=filters)
        calls = {"us": with_filter, "plain_us": partial(index.query, top_k=K)}
        for call in calls.values():
            call(given.queries)
        seconds = batches_in_turns(
            {name: (call, given.queries) for name, call in calls.items()}, BATCH_ROUNDS
        )
        _, plan = with_filter(given.queries, explain=True)
    each = {name: 1e6 * value / len(given.queries) for name, value in seconds.items()}
    return {"filters": filters, **each, "plan": plan}


def first_queries(folder: Path, key: bytes, chosen: FilterSet, repeat: int) -> list[dict[str, Any]]:
    """Of new processes, by filter, the first time without one: median milliseconds; see
    `filter_once`.
    """
    asked: list[Any] = [None, *(each.filters for each in chosen.one_of_each)]
    runs: list[list[dict[str, Any]]] = [[] for _ in asked]
    for _ in range(repeat):
        for each, filters in zip(runs, asked, strict=True):
            arguments = (folder / "ours", folder / "queries.npy", json.dumps(filters))
            each.append(fresh("filter_once.py", *arguments, key=key))
    parts = ("open_ms", "first_ms", "second_ms")
    return [
        {
            "filters": filters,
            **{part: statistics.median(run[part] for run in each) for part in parts},
            "strategies": each[-1]["strategies"],
        }
        for filters, each in zip(asked, runs, strict=True)
    ]


def ordered(client: Client, key: bytes, given: DataSet, field: str) -> dict[str, Any]:
    """Milliseconds to get the first items in the order of a field, all being sorted: the first time
    of a handle, and the median of the times after it. `right`: whether they are those.
    """
    times = []
    with client.load_index(INDEX, index_key=key, indexing="manual") as index:
        for _ in range(1 + ORDERED):
            start = time.perf_counter()
            items = index.query_metadata(order_by=field, top_k=ORDERED)
            times.append(1000 * (time.perf_counter() - start))
    in_order = sorted(range(len(given.ids)), key=lambda row: given.metadata[row][field])
    right = [item["id"] for item in items] == [given.ids[row] for row in in_order[:ORDERED]]
    return {
        "field": field,
        "items": ORDERED,
        "first_ms": times[0],
        "ms": statistics.median(times[1:]),
        "right": right,
    }


def updated(client: Client, key: bytes, given: DataSet, chosen: FilterSet) -> dict[str, Any]:
    """Upserts of items that are there, with other metadata, of items that were written together and
    of such as lie scattered: rows a second, and milliseconds of the first query with a filter after
    each. `to_do` is how many items the graph then lacks, `new_rows` how many rows there are more,
    and `right` whether the filter now means those that it should.
    """
    metadata, field, wanted = list(given.metadata), chosen.number, chosen.typical
    random, count = np.random.default_rng(0), min(UPDATED, len(given.ids))
    figures: dict[str, Any] = {"items": count, "filters": wanted.filters}
    to_do = [0]
    with warmed(client, key) as index:
        index.query(given.queries[0], top_k=K, filters=wanted.filters)
        before = rows_of(index)
        for name in ("together", "scattered"):
            seconds, first = [], []
            for turn in range(UPDATES):
                rows = np.arange(turn * count, turn * count + count) % len(metadata)
                if name == "scattered":
                    rows = random.choice(len(metadata), count, replace=False)
                for row in rows:
                    metadata[row] = {**metadata[row], field: metadata[row][field] + 1}
                changed = {
                    "ids": [given.ids[row] for row in rows],
                    "vectors": given.vectors[rows],
                    "metadata": [metadata[row] for row in rows],
                    "contents": [given.texts[row] for row in rows],
                }
                query = given.queries[turn % len(given.queries)]
                start = time.perf_counter()
                index.upsert(**changed)
                done = time.perf_counter()
                index.query(query, top_k=K, filters=wanted.filters)
                first.append(1000 * (time.perf_counter() - done))
                seconds.append(done - start)
            taken = statistics.median(seconds)
            figures[name] = {
                "ms": 1000 * taken,
                "rows_s": count / taken,
                "first_ms": statistics.median(first),
            }
        index.optimize(progress=lambda _, total: to_do.append(total))
        figures["new_rows"] = rows_of(index) - before
        right = index.count(wanted.filters) == sum(map(wanted.where, metadata))
    return {**figures, "to_do": max(to_do), "right": right}


def rows_of(index: EncryptedIndex) -> int:
    """Rows that take room, deleted ones included."""
    described = index.describe()
    return described["rows"] + described["deleted_rows"]


if __name__ == "__main__":
    main()
