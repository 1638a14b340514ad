"""The first filtered query of a process: open, first answer, and the one after it.

    python filter_once.py FOLDER QUERIES.npy FILTERS    the key, in hex, on standard input

FILTERS are a JSON object, or null for none. Prints a JSON object: milliseconds, and by what
strategies the two were answered. Imports are left out; files are in the page cache.
"""

from __future__ import annotations

import gc
import json
import sys
import time

import numpy as np
from common import INDEX, K

from cyborg_embedded import Client


def main() -> None:
    path, queries_path, filters = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    queries = np.load(queries_path)
    key = sys.stdin.read().strip()
    # What the imports allocated is theirs, and so is the collection that it has made due.
    gc.collect()
    start = time.perf_counter()
    index = Client(path).load_index(INDEX, index_key=key)
    opened = time.perf_counter()
    _, first = index.query(queries[0], top_k=K, filters=filters, explain=True)
    answered = time.perf_counter()
    _, second = index.query(queries[-1], top_k=K, filters=filters, explain=True)
    end = time.perf_counter()
    figures = {
        "open_ms": opened - start,
        "first_ms": answered - opened,
        "second_ms": end - answered,
    }
    plans = {"strategies": [first["strategy"], second["strategy"]]}
    print(json.dumps({name: 1000 * value for name, value in figures.items()} | plans))


if __name__ == "__main__":
    main()
