"""One cold start, in a process of its own: open, first answer, and a hundred more queries.

    python open_once.py plain INDEX.bin QUERIES.npy EF SPACE  plaintext hnswlib
    python open_once.py ours  FOLDER    QUERIES.npy           the key, in hex, on standard input

Prints a JSON object with milliseconds. Imports are left out; files are in the page cache.
"""

from __future__ import annotations

import gc
import json
import sys
import time

import hnswlib
import numpy as np
from common import INDEX, K

from cyborg_embedded import Client

QUERIES = 101


def main() -> None:
    kind, path, queries_path = sys.argv[1:4]
    queries = np.load(queries_path)
    queries = np.concatenate([queries] * (1 + QUERIES // len(queries)))[:QUERIES]
    key = sys.stdin.read().strip()
    # What the imports allocated is theirs, and so is the collection that it has made due.
    gc.collect()
    start = time.perf_counter()
    if kind == "plain":
        effort, space = int(sys.argv[4]), sys.argv[5]
        plain = hnswlib.Index(space, queries.shape[1])
        plain.load_index(path)
        opened = time.perf_counter()
        plain.set_ef(effort)
        plain.knn_query(queries[0], K, num_threads=1)
        first = time.perf_counter()
        for query in queries[1:]:
            plain.knn_query(query, K, num_threads=1)
    else:
        index = Client(path).load_index(INDEX, index_key=key)
        opened = time.perf_counter()
        index.query(queries[0], top_k=K, include=["distance"])
        first = time.perf_counter()
        for query in queries[1:]:
            index.query(query, top_k=K, include=["distance"])
    end = time.perf_counter()
    figures = {
        "open": opened - start,
        "first": first - start,
        "more": end - first,
        "total": end - start,
    }
    print(json.dumps({name: 1000 * value for name, value in figures.items()}))


if __name__ == "__main__":
    main()
