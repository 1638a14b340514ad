"""Measure the library beside plaintext hnswlib, in one run on one machine.

    python bench/run.py [--data FOLDER] [--rows N] [--queries N] [--repeat N] [--out FOLDER]

Prints a Markdown table and writes it, with all figures as JSON, to bench/out. Times are of a shared
machine and only their ratios mean something; recall@10 against exact search stands beside them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import data
import numpy as np
import plain

from cyborg_embedded import Client, EncryptedIndex

BATCH = 1000
K = 10
HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", help="a folder with vectors, queries, texts and metadata")
    parser.add_argument("--rows", type=int, help="how many rows of it")
    parser.add_argument("--queries", type=int, help="how many queries of it")
    parser.add_argument("--repeat", type=int, default=5, help="how often cold starts are repeated")
    parser.add_argument("--out", default=str(HERE / "out"), help="where the results go")
    options = parser.parse_args()
    given = data.load(options.data, options.rows, options.queries)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(given, Path(folder), options.repeat)
    table = as_table(figures)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "results.md").write_text(table)
    print(table)


def measure(given: data.DataSet, folder: Path, repeat: int) -> dict[str, Any]:
    """All figures of one run."""
    figures: dict[str, Any] = {
        "data": given.name,
        "rows": len(given.vectors),
        "dimension": int(given.vectors.shape[1]),
        "queries": len(given.queries),
    }
    say("building plaintext hnswlib")
    theirs, figures["plain_build_s"] = plain.build(given.vectors)
    theirs.save_index(str(folder / "plain.bin"))

    say("upserting")
    client = Client(folder / "ours")
    key = client.generate_key()
    index = client.create_index("bench", index_key=key, dimension=given.vectors.shape[1])
    figures["upsert_s"] = upsert(index, given)
    say("querying before the graph")
    figures["exact_recall"], figures["exact_p50_us"], _ = ask(index, given)
    say("optimizing")
    start = time.perf_counter()
    index.optimize()
    figures["optimize_s"] = time.perf_counter() - start
    figures["recall"], figures["p50_us"], figures["batch_s"] = ask(index, given)
    ef = plain.effort_for(theirs, given.queries, given.true, figures["recall"])
    figures["plain_ef"] = ef
    figures["plain_recall"] = plain.recall_at(theirs, given.queries, given.true, ef)
    figures["plain_p50_us"] = p50(partial(theirs.knn_query, k=K, num_threads=1), given)
    start = time.perf_counter()
    theirs.knn_query(given.queries, K, num_threads=plain.THREADS)
    figures["plain_batch_s"] = time.perf_counter() - start
    for wanted in (0.95, 0.99):
        figures[f"at_{wanted}"] = compare_at(wanted, index, theirs, given)
    figures["file_mb"] = index.describe()["file_bytes"] / 1e6
    figures["raw_mb"] = given.raw_bytes / 1e6
    index.close()
    with client.load_index("bench", index_key=key) as again:
        figures["reopened_recall"], _, _ = ask(again, given)
    with client.load_index("bench", index_key=key, cache_bytes=0) as sealed:
        _, figures["sealed_p50_us"], _ = ask(sealed, given)
    del theirs

    say("cold starts")
    np.save(folder / "queries.npy", given.queries)
    cold: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    for _ in range(repeat):
        cold["plain"].append(start_cold("plain", folder / "plain.bin", folder, ef, ""))
        cold["ours"].append(start_cold("ours", folder / "ours", folder, 0, key.hex()))
    for kind, runs in cold.items():
        for part in ("first", "more", "total"):
            name = f"{kind}_cold_{part}_ms".removeprefix("ours_")
            figures[name] = statistics.median(run[part] for run in runs)
    return figures


def say(what: str) -> None:
    print(what, "...", file=sys.stderr, flush=True)


def upsert(index: EncryptedIndex, given: data.DataSet) -> float:
    """Seconds to write everything, a durable commit for each batch."""
    start = time.perf_counter()
    for first in range(0, len(given.ids), BATCH):
        part = slice(first, first + BATCH)
        index.upsert(given.ids[part], given.vectors[part], given.metadata[part], given.texts[part])
    return time.perf_counter() - start


def ask(index: EncryptedIndex, given: data.DataSet) -> tuple[float, float, float]:
    """Recall, the median microseconds of a single query, and the seconds of one batch."""
    row_of = {item_id: row for row, item_id in enumerate(given.ids)}
    start = time.perf_counter()
    answers = index.query(given.queries, top_k=K, include=["distance"])
    batch = time.perf_counter() - start
    found = [[row_of[result["id"]] for result in answer] for answer in answers]
    single = p50(lambda query: index.query(query, top_k=K, include=["distance"]), given)
    return data.recall(found, given.true), single, batch


def compare_at(
    wanted: float, index: EncryptedIndex, theirs: Any, given: data.DataSet
) -> dict[str, float]:
    """Both sides' median microseconds at the least effort that reaches a recall."""
    row_of = {item_id: row for row, item_id in enumerate(given.ids)}
    for ef in plain.EFFORTS:
        ids, _ = index.query_arrays(given.queries, top_k=K, ef=ef)
        reached = data.recall([[row_of[each] for each in found] for found in ids], given.true)
        if reached >= wanted:
            break
    figures = {"ef": ef, "recall": reached}
    figures["us"] = p50(partial(index.query, top_k=K, include=["distance"], ef=ef), given)
    figures["plain_ef"] = plain.effort_for(theirs, given.queries, given.true, wanted)
    figures["plain_recall"] = plain.recall_at(
        theirs, given.queries, given.true, figures["plain_ef"]
    )
    figures["plain_us"] = p50(partial(theirs.knn_query, k=K, num_threads=1), given)
    return figures


def p50(query: Any, given: data.DataSet) -> float:
    """The median microseconds of a single query."""
    times = []
    for vector in given.queries:
        start = time.perf_counter()
        query(vector)
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def start_cold(kind: str, path: Path, folder: Path, effort: int, key: str) -> dict[str, float]:
    command = [
        sys.executable,
        HERE / "open_once.py",
        kind,
        path,
        folder / "queries.npy",
        str(effort),
    ]
    done = subprocess.run(command, input=key, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def at_recall(f: dict[str, float], wanted: float) -> tuple[str, str, str, str]:
    """One line of the table, for one recall."""
    ours = f"{f['us']:,.0f} µs at {f['recall']:.4f} (ef {f['ef']})"
    theirs = f"{f['plain_us']:,.0f} µs at {f['plain_recall']:.4f} (ef {f['plain_ef']})"
    return f"one query, p50, recall {wanted}", ours, theirs, f"{f['us'] / f['plain_us']:.2f}"


def as_table(f: dict[str, Any]) -> str:
    """The figures as Markdown: what, ours, plaintext hnswlib's, the ratio."""
    rate = f"{f['rows'] / f['upsert_s']:,.0f} rows/s, 1/{f['plain_build_s'] / f['upsert_s']:.1f}"
    recall = f"{f['plain_recall']:.4f} (ef {f['plain_ef']})"

    def timed(ours: str, theirs: str, unit: str, form: str) -> tuple[str, str, str]:
        a, b = f[ours], f[theirs]
        return f"{a:{form}} {unit}", f"{b:{form}} {unit}", f"{a / b:.2f}"

    load = timed("upsert_s", "plain_build_s", "s", ".2f")
    first = timed("cold_first_ms", "plain_cold_first_ms", "ms", ".0f")
    total = timed("cold_total_ms", "plain_cold_total_ms", "ms", ".0f")
    rows = [
        ("upsert, durable and queryable; hnswlib: add", *load[:2], f"{load[2]} ({rate})"),
        ("all rows in the graph", *timed("optimize_s", "plain_build_s", "s", ".2f")),
        ("recall@10 before `optimize`", f"{f['exact_recall']:.4f}", "", ""),
        ("recall@10 after it", f"{f['recall']:.4f}", recall, ""),
        ("recall@10 after reopening", f"{f['reopened_recall']:.4f}", "", ""),
        ("one query, p50, before `optimize`", f"{f['exact_p50_us']:,.0f} µs", "", ""),
        ("one query, p50, at that recall", *timed("p50_us", "plain_p50_us", "µs", ",.0f")),
        *(at_recall(f[f"at_{wanted}"], wanted) for wanted in (0.95, 0.99)),
        ("one query, p50, `cache_bytes=0`", f"{f['sealed_p50_us']:,.0f} µs", "", ""),
        (f"{f['queries']:,} queries at once", *timed("batch_s", "plain_batch_s", "s", ".3f")),
        ("new process: open and first answer", *first),
        ("new process: that and 100 more", *total),
        ("file, graph included; raw data", *timed("file_mb", "raw_mb", "MB", ".1f")),
    ]
    head = (
        f"{f['rows']:,} x {f['dimension']} ({f['data']}), {f['queries']:,} queries, top {K}, "
        f"M={plain.M}, ef_construction={plain.EF_CONSTRUCTION}\n\n"
        "| what | cyborg_embedded | plaintext hnswlib | ratio |\n|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
