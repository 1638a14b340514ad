"""What an index takes of memory, in a process of its own: load it, ask a thousand queries, look.

    python memory_once.py idle   -         QUERIES.npy           nothing loaded, nothing asked
    python memory_once.py plain  INDEX.bin QUERIES.npy EF SPACE  plaintext hnswlib
    python memory_once.py ours   FOLDER    QUERIES.npy           the key, in hex, on standard input
    python memory_once.py sealed FOLDER    QUERIES.npy           likewise, with cache_bytes=0

Prints a JSON object with kilobytes of /proc/self/status: `anonymous` (RssAnon: what the process
filled itself), `files` (RssFile: what the system has mapped from files and can drop), and `peak`
(VmHWM: the most that both were together). All kinds have the same imports and the same queries.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hnswlib
import numpy as np
from common import INDEX, K

from cyborg_embedded import Client

QUERIES = 1000
FIELDS = {"RssAnon": "anonymous", "RssFile": "files", "VmHWM": "peak"}


def main() -> None:
    kind, path, queries_path = sys.argv[1:4]
    queries = np.load(queries_path)
    key = sys.stdin.read().strip()
    if kind == "plain":
        plain = hnswlib.Index(sys.argv[5], queries.shape[1])
        plain.load_index(path)
        plain.set_ef(int(sys.argv[4]))
        for place in range(QUERIES):
            plain.knn_query(queries[place % len(queries)], K, num_threads=1)
    elif kind != "idle":
        index = Client(path).load_index(
            INDEX, index_key=key, cache_bytes=0 if kind == "sealed" else None
        )
        # Nothing that plaintext hnswlib has nothing of.
        index.warm(filters=False)
        for place in range(QUERIES):
            index.query(queries[place % len(queries)], top_k=K, include=["distance"])
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    values = {line[0].rstrip(":"): line[1] for line in lines if len(line) > 1}
    print(json.dumps({name: int(values[field]) for field, name in FIELDS.items()}))


if __name__ == "__main__":
    main()
