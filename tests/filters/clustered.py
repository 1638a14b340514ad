"""What the tests of filtered queries share: clustered vectors, what is true of them, and ways that
are made so cheap that they are taken.
"""

import numpy as np
from support import KEY

from cyborg_embedded import planner

ROWS, DIMENSION, WALKED, CLUSTERS = 3000, 48, 16, 30
RANDOM = np.random.default_rng(17)
CENTRES = RANDOM.normal(size=(CLUSTERS, DIMENSION)) * 0.8 ** np.arange(DIMENSION)
CLUSTER = RANDOM.integers(CLUSTERS, size=ROWS + 40)
SPREAD = 0.5 * 0.85 ** np.arange(DIMENSION)
POINTS = CENTRES[CLUSTER] + SPREAD * RANDOM.normal(size=(ROWS + 40, DIMENSION))
VECTORS, QUERIES = POINTS[:ROWS].astype(np.float32), POINTS[ROWS:].astype(np.float32)
NAMES = [f"item {number:04}" for number in range(ROWS)]
ROW_OF = {name: row for row, name in enumerate(NAMES)}
RANKS = RANDOM.permutation(ROWS)
"""`rank` of each item: {"rank": {"$lt": n}} means n of them, from all over."""
METADATA = [
    {"rank": rank, "cluster": cluster, "tags": ["odd" if rank % 2 else "even", cluster]}
    for rank, cluster in zip(RANKS.tolist(), CLUSTER[:ROWS].tolist(), strict=True)
]

# What each way is expected to cost, so that no other is taken where it can be.
CHEAP = {
    "rows": {"CODE": 1e6, "STEP": 1e9},
    "codes": {"ROW_FLOAT": 1e3, "STEP": 1e9, "CODES_LOADED": 0.0},
    "graph": {
        "ROW_FLOAT": 1e3,
        "CODE": 1e6,
        "GRAPH_LOADED": 0.0,
        "FEWEST_SHARE": 0.0,
        "WIDEST": 1 << 30,
    },
}


def make_cheap(monkeypatch, way):
    """Have a way taken wherever it can be."""
    for name, value in CHEAP[way].items():
        monkeypatch.setattr(planner, name, value)


def clustered(client, *, optimized):
    """An index of all these items; one that is `optimized` has a graph, and codes."""
    index = client.create_index(
        "clustered",
        index_key=KEY,
        dimension=DIMENSION,
        navigator_dimensions=WALKED,
        indexing="manual",
    )
    index.upsert(NAMES, VECTORS, METADATA)
    if optimized:
        index.optimize()
        assert index.describe()["navigator_dimensions"] == WALKED
    return index


def lowest(count):
    """A filter that means so many items."""
    return {"rank": {"$lt": count}}


def nearest_names(query, wanted, k):
    """The names of the k nearest to a query of the rows that are `wanted` (n,), in float64."""
    rows = np.flatnonzero(wanted)
    squares = ((VECTORS[rows].astype(np.float64) - query.astype(np.float64)) ** 2).sum(axis=1)
    return [NAMES[row] for row in rows[squares.argsort(kind="stable")[:k]].tolist()]


def recall(answers, wanted, k=10):
    """The share of the k nearest to each of the `QUERIES` that are in these lists of names."""
    hits = total = 0
    for query, names in zip(QUERIES, answers, strict=True):
        true = nearest_names(query, wanted, k)
        hits += len(set(true) & set(names))
        total += len(true)
    return hits / total


def names_of(results):
    """The ids of results."""
    return [result["id"] for result in results]
