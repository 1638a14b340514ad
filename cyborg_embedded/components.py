"""Which projection is to be walked: components trained on a sample, and as few as do.

How many are needed is measured on the rows themselves: which share of their true nearest others is
among a few candidates. Where it is most of them, there is no projection.

Principal components: I. T. Jolliffe, Principal Component Analysis, 2nd ed., 2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import squared_norms
from cyborg_embedded.projection import Projection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Rows = NDArray[np.int64]

__all__ = ["SAMPLE_ROWS", "choose_projection", "has_drifted", "measured", "train"]

SAMPLE_ROWS = 16_384
"""Rows that a projection is trained and measured on."""
FEWEST_ROWS = 1024
FEWEST_DIMENSIONS, MOST_DIMENSIONS = 64, 4096
LARGEST = np.float32(2.0**40)
"""Numbers above this would overflow where squares are summed over the sample."""
STEP = 16
"""Dimensions come in multiples of what hnswlib's vector instructions take at once."""
MOST_SHARE = 0.75
"""A projection to more than this share of the dimensions does not pay for its ranking."""
MEASURED_QUERIES = 256
SEED = 1
ROWS_AT_ONCE, QUERIES_AT_ONCE = 1024, 32
NEIGHBOURS, WALKED_TO, RANKED = 10, 16, 15
WANTED_RECALL = 0.98
"""Of the 10 true neighbours of sample rows, among the 16 nearest in the walked components. Real
queries are further from the rows than the rows from each other, and get more candidates."""
RANKED_RECALL = 0.998
"""Of them, among the 15 nearest in all stored components: so many are ranked by their vectors."""
DRIFT = 0.02
LEAST_REACH, SMALLEST = 2.0**-12, 1e-30
"""No component reaches less far than this share of the longest vector, as far as its codes go."""
MORE = 1.6
"""Components that candidates are sorted by, at least, for each that is walked."""


def choose_projection(sample: Floats, walked: int = 0) -> Projection | None:
    """The projection to the fewest dimensions that finds the neighbours of the rows in `sample`
    (n, d) among few candidates, or to `walked` where that is not 0; None where that does not pay,
    or is all of them. Deterministic.
    """
    rows, d = sample.shape
    if walked:
        sound = walked < d and np.abs(sample).max() <= LARGEST
        return train(sample, d).first(walked, least_stored(walked, d)) if sound else None
    most = int(d * MOST_SHARE) // STEP * STEP
    if rows < FEWEST_ROWS or not FEWEST_DIMENSIONS <= d <= MOST_DIMENSIONS:
        return None
    if np.abs(sample).max() > LARGEST:
        return None
    full = train(sample, d // STEP * STEP)
    recall_in = measured(full, sample)
    steps = fewest(1, most // STEP + 1, lambda n: recall_in(n * STEP, WALKED_TO) >= WANTED_RECALL)
    if steps * STEP > most:
        return None
    some, most = least_stored(steps * STEP, d) // STEP, d // STEP
    stored = fewest(some, most, lambda n: recall_in(n * STEP, RANKED) >= RANKED_RECALL)
    return full.first(steps * STEP, stored * STEP)


def least_stored(walked: int, d: int) -> int:
    """How many components are stored at least where so many are walked."""
    return min(max(walked, int(walked * MORE) // STEP * STEP), d)


def fewest(low: int, high: int, suffice: Callable[[int], bool]) -> int:
    """The least number from `low` on that suffices, by bisection; `high` where none below does."""
    while low < high:
        middle = (low + high) // 2
        if suffice(middle):
            high = middle
        else:
            low = middle + 1
    return low


def has_drifted(projection: Projection, sample: Floats) -> bool:
    """Whether a projection finds clearly fewer of the neighbours of the rows in `sample` (n, d)
    than it was chosen for.
    """
    if len(sample) < FEWEST_ROWS:
        return False
    return measured(projection, sample)(projection.walked, WALKED_TO) < WANTED_RECALL - DRIFT


def train(sample: Floats, dimensions: int) -> Projection:
    """The projection to the leading principal components of `sample` (n, d)."""
    d = sample.shape[1]
    mean = sample.mean(axis=0, dtype=np.float64)
    centre = mean.astype(np.float32)
    covariance = np.zeros((d, d), np.float32)
    for part in parts(sample):
        centred = part - centre
        covariance += centred.T @ centred
        centred.fill(0)  # Nearly the vectors themselves, and this may be for a sealed handle.
    _, vectors = np.linalg.eigh(covariance.astype(np.float64))
    basis = np.ascontiguousarray(vectors[:, ::-1][:, :dimensions].astype(np.float32))
    offset = (mean @ basis).astype(np.float32)
    reach = np.max([np.abs(part @ basis - offset).max(axis=0) for part in parts(sample)], axis=0)
    # What is hardly more than the rounding errors of a product would have other codes each time.
    longest = np.sqrt(max(float(squared_norms(part).max()) for part in parts(sample)))
    least = max(longest * LEAST_REACH, SMALLEST)
    scale = (np.maximum(reach, least) / 127).astype(np.float32)
    return Projection(basis, offset, scale, dimensions)


def parts(rows: Floats) -> Iterator[Floats]:
    """Rows, some at a time: so much of a matrix product that a query which needs BLAS too does not
    wait long for it.
    """
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def others_nearest(points: Floats, queries: Floats, own: Rows, k: int) -> Rows:
    """The k points nearest to each query (m, d), (m, k), but for the one that is its own."""
    norms = np.einsum("ij,ij->i", points, points)
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = queries[start : start + QUERIES_AT_ONCE]
        distances = norms - 2 * (part @ points.T)
        distances[np.arange(len(part)), own[start : start + QUERIES_AT_ONCE]] = np.inf
        found[start : start + len(part)] = np.argpartition(distances, k - 1, axis=1)[:, :k]
    return found


def measured(projection: Projection, sample: Floats) -> Callable[[int, int], float]:
    """What says which share of the nearest of `sample` (n, d) to some of it is, in so many of the
    first components of their codes, among so many nearest.
    """
    # From all over the sample: its first rows are the oldest ones, and any step may be a pattern's.
    few = min(MEASURED_QUERIES, len(sample))
    own = np.sort(np.random.default_rng(SEED).choice(len(sample), few, replace=False))
    true = others_nearest(sample, sample[own], own, NEIGHBOURS)
    codes, points = projection.encode(sample), projection.points(sample[own])
    stored = np.multiply(codes, projection.scale, dtype=np.float32)

    def recall(components: int, among: int) -> float:
        part = np.ascontiguousarray(stored[:, :components])
        near = others_nearest(part, np.ascontiguousarray(points[:, :components]), own, among)
        return float((true[:, :, None] == near[:, None, :]).any(axis=2).mean())

    return recall
