"""A million rows: what loading, building, opening and querying take at that size.

    python bench/million.py [--rows N] [--dimension N] [--queries N] [--efforts N ...]
                            [--repeat N] [--folder FOLDER] [--out FOLDER]

The rows are made up, a block at a time, and only the index keeps them. Prints a Markdown table and
writes it, with all figures as JSON, to bench/out. The index goes to a temporary folder inside
`--folder`, which is removed at the end. Nothing is begun without enough room on the disk and in
memory.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import INDEX, OUT, THREADS, K, say, use_cores, write_results
from exact import Nearest
from processes import fresh, memory
from synthetic import BLOCK, Synthetic
from timing import microseconds

from cyborg_embedded import Client, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyborg_embedded import EncryptedIndex

DISK, MEMORY = 3, 4
"""Room that is needed, as multiples of the vectors: pages are replaced while others still read
them, and a build has the vectors, the graph and what is being written in memory."""
SPARE = 1 << 30
"""Bytes of either that are left to everybody else."""
SEALED = ", `cache_bytes=0`"
PASSES = 5
"""How often the queries are asked for the median, and repeated in the batch."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--efforts", type=int, nargs="+", default=[48, 104, 200, 400])
    parser.add_argument("--repeat", type=int, default=3, help="how often it is opened")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where there is room")
    parser.add_argument("--out", default=str(OUT), help="where the results go")
    options = parser.parse_args()
    lacking = lacking_room(options.rows * options.dimension * 4, options.folder)
    if lacking:
        parser.exit(2, f"{lacking}: choose fewer --rows or another --folder\n")
    use_cores(THREADS)
    made = Synthetic(options.rows, options.dimension)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(made, Path(folder), options)
    table = as_markdown(figures)
    write_results(options.out, "million", figures, table)


def lacking_room(vectors: int, folder: str) -> str:
    """What there is too little of for so many bytes of vectors; empty if nothing is."""
    disk = shutil.disk_usage(folder).free
    if disk < DISK * vectors + SPARE:
        return f"{folder} has {gb(disk)} free, {gb(DISK * vectors + SPARE)} are needed"
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) * 1024
        if available < MEMORY * vectors + SPARE:
            return f"{gb(available)} of memory are free, {gb(MEMORY * vectors + SPARE)} are needed"
    return ""


def measure(made: Synthetic, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one run."""
    queries = made.queries(options.queries)
    np.save(folder / "queries.npy", queries)
    figures: dict[str, Any] = {
        "rows": made.rows,
        "dimension": made.dimension,
        "queries": len(queries),
        "vectors_mb": made.rows * made.dimension * 4 / 1e6,
    }
    ours = folder / "ours"
    client = Client(ours)
    key = client.generate_key()
    with client.create_index(
        INDEX, index_key=key, dimension=made.dimension, indexing="manual"
    ) as index:
        say("loading ...")
        figures["load_s"], true = load(index, made, queries)
        say("optimizing ...")
        start = time.perf_counter()
        index.optimize()
        figures["build_s"] = time.perf_counter() - start
        figures["file_mb"] = index.describe()["file_bytes"] / 1e6
    figures["build_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    say("opening ...")
    arguments = ("open_once.py", "ours", ours, folder / "queries.npy")
    runs = [fresh(*arguments, key=key) for _ in range(options.repeat)]
    figures["open"] = {f"{part}_ms": statistics.median(r[part] for r in runs) for part in runs[0]}
    say("querying ...")
    with client.load_index(INDEX, index_key=key) as index:
        index.warm()
        figures["at"] = [at_effort(index, ef, queries, true) for ef in (None, *options.efforts)]
        many = np.concatenate([queries] * PASSES)
        start = time.perf_counter()
        index.query(many, top_k=K, include=["distance"])
        figures["batch"] = {"queries": len(many), "seconds": time.perf_counter() - start}
    kinds = ["ours"]
    # An index of few dimensions or rows has its vectors in the graph, and refuses.
    with (
        contextlib.suppress(InvalidInputError),
        client.load_index(INDEX, index_key=key, cache_bytes=0) as index,
    ):
        index.warm()
        figures["sealed"] = at_effort(index, None, queries, true)
        kinds.append("sealed")
    say("memory ...")
    figures["memory"] = memory(ours, folder / "queries.npy", key, kinds)
    return figures


def load(index: EncryptedIndex, made: Synthetic, queries: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds to write all rows, and each query's true neighbours, which take none of them."""
    seconds, nearest = 0.0, Nearest(queries, K)
    for first in range(0, made.rows, BLOCK):
        vectors = made.block(first)
        numbers = range(first, first + len(vectors))
        ids, metadata = [f"row-{row}" for row in numbers], [{"row": row} for row in numbers]
        start = time.perf_counter()
        index.upsert(ids, vectors, metadata)
        seconds += time.perf_counter() - start
        nearest.add(vectors)
        if sys.stderr.isatty():
            print(f"\r{numbers.stop:,}", end="", file=sys.stderr, flush=True)
    return seconds, nearest.rows


def at_effort(
    index: EncryptedIndex, ef: int | None, queries: np.ndarray, true: np.ndarray
) -> dict[str, Any]:
    """Recall, and the median microseconds of a single query. None is the default effort."""
    answers, _ = index.query_arrays(queries, top_k=K, ef=ef)
    found = np.array([[int(item_id.removeprefix("row-")) for item_id in ids] for ids in answers])
    share = float((found[:, :, None] == true[:, None, :]).any(axis=2).mean())
    times = microseconds(
        lambda query: index.query(query, top_k=K, include=["distance"], ef=ef),
        np.concatenate([queries] * PASSES),
    )
    return {"ef": ef, "recall": share, "us": float(np.median(times))}


def gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"


def as_markdown(f: dict[str, Any]) -> str:
    """The figures as a table."""
    batch = f["batch"]["seconds"]
    rows: list[Sequence[str]] = [
        ("load, durable and queryable", f"{f['load_s']:.1f} s", rate(f["rows"], f["load_s"])),
        ("all rows in the graph", f"{f['build_s']:.1f} s", rate(f["rows"], f["build_s"])),
        ("most memory until then", f"{f['build_peak_mb']:,.0f} MB", ""),
        ("file, graph included; vectors", f"{f['file_mb']:,.0f} MB", f"{f['vectors_mb']:,.0f} MB"),
        ("new process: open", f"{f['open']['open_ms']:,.0f} ms", ""),
        ("new process: open and first answer", f"{f['open']['first_ms']:,.0f} ms", ""),
        *(query(each, "") for each in f["at"]),
        *([query(f["sealed"], SEALED)] if "sealed" in f else []),
        (
            f"{f['batch']['queries']:,} queries at once",
            f"{batch:.2f} s",
            f"{f['batch']['queries'] / batch:,.0f} queries/s",
        ),
    ]
    if f["memory"]:
        for who, suffix in (("ours", ""), ("sealed", SEALED)):
            if who in f["memory"]:
                taken = f"{f['memory'][who]['anonymous']:,.0f} MB"
                rows.append((f"anonymous memory after 1,000 queries{suffix}", taken, ""))
    head = (
        f"{f['rows']:,} x {f['dimension']}, made up, {f['queries']:,} queries, top {K}, "
        f"{THREADS} threads for builds and batches, one for single queries\n\n"
        "| what | cyborg_embedded | |\n|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def rate(rows: int, seconds: float) -> str:
    return f"{rows / seconds:,.0f} rows/s"


def query(level: dict[str, Any], suffix: str) -> tuple[str, str, str]:
    effort = f"ef {level['ef']}" if level["ef"] else "default ef"
    what = f"one query, p50, {effort}{suffix}"
    return what, f"{level['us']:,.0f} µs", f"recall@10 {level['recall']:.4f}"


if __name__ == "__main__":
    main()
