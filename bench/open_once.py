"""One cold start, in a process of its own: open, first answer, and a hundred more queries.

    python open_once.py plain INDEX.bin QUERIES.npy EF        plaintext hnswlib
    python open_once.py ours  FOLDER    QUERIES.npy 0         the key, in hex, on standard input

Prints a JSON object with milliseconds. Imports are left out; files are in the page cache.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

import hnswlib
import numpy as np

from cyborg_embedded import Client

QUERIES = 101
K = 10


def main() -> None:
    kind, path, queries_path, effort = sys.argv[1:5]
    queries = np.load(queries_path)
    queries = np.concatenate([queries] * (1 + QUERIES // len(queries)))[:QUERIES]
    size = Path(path).stat().st_size if kind == "plain" else 0
    key = sys.stdin.read().strip()
    # What the imports allocated is theirs, and so is the collection that it has made due.
    gc.collect()
    start = time.perf_counter()
    if kind == "plain":
        plain = hnswlib.Index("l2", queries.shape[1])
        plain.load_index(path)
        plain.set_ef(int(effort))
        plain.knn_query(queries[0], K, num_threads=1)
        first = time.perf_counter()
        for query in queries[1:]:
            plain.knn_query(query, K, num_threads=1)
    else:
        index = Client(path).load_index("bench", index_key=key)
        index.query(queries[0], top_k=K, include=["distance"])
        first = time.perf_counter()
        for query in queries[1:]:
            index.query(query, top_k=K, include=["distance"])
    end = time.perf_counter()
    figures = {"first": first - start, "more": end - first, "total": end - start}
    print(json.dumps({name: 1000 * value for name, value in figures.items()} | {"bytes": size}))


if __name__ == "__main__":
    main()
