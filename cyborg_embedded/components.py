"""Which projection is to be walked: components trained on a sample, and how many of them.

How many are needed is measured on the rows themselves: which share of their true nearest others is
among a few candidates. Where most of them are needed, there is no projection.

Two numbers are chosen: the fewest that do, and as many as make a walk fast. With more of them each
step of a walk costs more, but it finds its way in fewer, and fewer candidates need be ranked.

Principal components: I. T. Jolliffe, Principal Component Analysis, 2nd ed., 2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import squared_norms
from cyborg_embedded.projection import MOST_STRETCH, Projection
from cyborg_embedded.smallest import where_smallest

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
NEIGHBOURS, AMONG = 10, 16
LEAST_RECALL = 0.98
"""Of the 10 true neighbours of sample rows, among the 16 nearest in the fewest components that do.
Real queries are further from the rows than the rows from each other, and get more candidates."""
THINNED_ROWS, THINNED_TIMES = 1024, 4
"""For queries that are further away: so many rows of the sample alone, several times."""
WANTED_RECALL = 0.992
"""Of their neighbours among those, likewise, in as many as make a walk fast."""
DRIFT = 0.02
REGRESSED = 4096
"""Rows of the sample that tell the stretch."""
ALIKE = 1e-9
"""Variance, as a share of the mean square, in which no more than rounding errors is to be seen."""
LEAST_REACH, SMALLEST = 2.0**-12, 1e-30
"""No component reaches less far than this share of the longest vector, as far as its codes go."""


def choose_projection(sample: Floats, walked: int = 0) -> Projection | None:
    """The projection that finds the neighbours of the rows in `sample` (n, d) among few candidates,
    or the one to `walked` dimensions where that is not 0; None where that does not pay, or is all
    of them. Deterministic.
    """
    rows, d = sample.shape
    if walked:
        sound = walked < d and largest(sample) <= LARGEST
        return train(sample, walked) if sound else None
    most = int(d * MOST_SHARE) // STEP * STEP
    if rows < FEWEST_ROWS or not FEWEST_DIMENSIONS <= d <= MOST_DIMENSIONS:
        return None
    if largest(sample) > LARGEST:
        return None
    full = train(sample, most)
    recall_in = measured(full, sample)
    steps = most // STEP
    least = fewest(1, steps + 1, lambda n: recall_in(n * STEP) >= LEAST_RECALL)
    if least > steps:
        return None
    thinned = [measured(full, part) for part in thinned_out(sample)]

    def suffice(n: int) -> bool:
        return sum(recall(n * STEP) for recall in thinned) >= WANTED_RECALL * len(thinned)

    more = fewest(min(least + 1, steps), steps, suffice)
    return full.first(more * STEP, least * STEP)


def largest(sample: Floats) -> np.float32:
    """The largest absolute number of a sample, without a copy of it."""
    return max(sample.max(), -sample.min())


def thinned_out(sample: Floats) -> list[Floats]:
    """Some rows of a sample, from all over it, several times."""
    step = max(1, len(sample) // THINNED_ROWS)
    return [sample[first::step][:THINNED_ROWS] for first in range(min(step, THINNED_TIMES))]


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
    return measured(projection, sample)(projection.least) < LEAST_RECALL - DRIFT


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
    reach = np.max([reach_of(part, basis, offset) for part in parts(sample)], axis=0)
    # What is hardly more than the rounding errors of a product would have other codes each time.
    longest = np.sqrt(max(float(squared_norms(part).max()) for part in parts(sample)))
    least = max(longest * LEAST_REACH, SMALLEST)
    scale = (np.maximum(reach, least) / 127).astype(np.float32)
    return Projection(basis, offset, scale, stretched(sample, centre, basis), dimensions)


def reach_of(part: Floats, basis: Floats, offset: Floats) -> Floats:
    """The largest |z| of some rows (n, d) in each component (m,)."""
    points = part @ basis
    points -= offset
    reach: Floats = np.abs(points, out=points).max(axis=0)
    points.fill(0)
    return reach


def stretched(sample: Floats, centre: Floats, basis: Floats) -> Floats:
    """By what a query is multiplied (m,), for each number of leading components (projection.py)."""
    some = drawn(sample, REGRESSED)
    sums = np.zeros((3, basis.shape[1]))
    total = 0.0
    for start in range(0, len(some), ROWS_AT_ONCE):
        centred = sample[some[start : start + ROWS_AT_ONCE]]
        centred -= centre
        points = centred @ basis
        held = points.astype(np.float64)
        whole = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
        np.square(held, out=held)
        np.cumsum(held, axis=1, out=held)
        total += whole.sum()
        sums += (held.sum(axis=0), whole @ held, np.einsum("ij,ij->j", held, held))
        for part in (centred, points, held):
            part.fill(0)
    mean, product, square = sums / len(some)
    variance = square - mean**2
    slope = np.ones_like(mean)
    differ = variance > ALIKE * square
    np.divide(product - mean * (total / len(some)), variance, out=slope, where=differ)
    stretch: Floats = (1 / np.clip(slope, 1 / MOST_STRETCH, 1)).astype(np.float32)
    return stretch


def parts(rows: Floats) -> Iterator[Floats]:
    """Rows, some at a time: so much of a matrix product that a query which needs BLAS too does not
    wait long for it.
    """
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def drawn(sample: Floats, most: int) -> Rows:
    """So many rows of a sample at most, ascending, the same each time: from all over it, as its
    first rows are the oldest ones, and any step may be a pattern's.
    """
    few = min(most, len(sample))
    return np.sort(np.random.default_rng(SEED).choice(len(sample), few, replace=False))


def others_nearest(points: Floats, queries: Floats, own: Rows, k: int) -> Rows:
    """The k points nearest to each query (m, d), (m, k), but for the one that is its own."""
    norms = np.einsum("ij,ij->i", points, points)
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = queries[start : start + QUERIES_AT_ONCE]
        distances = norms - 2 * (part @ points.T)
        distances[np.arange(len(part)), own[start : start + QUERIES_AT_ONCE]] = np.inf
        found[start : start + len(part)] = where_smallest(distances, k)
    return found


def measured(projection: Projection, sample: Floats) -> Callable[[int], float]:
    """What says which share of the nearest of `sample` (n, d) to some of it is among the nearest in
    so many of the first components of their codes.
    """
    own = drawn(sample, MEASURED_QUERIES)
    queries = sample[own]
    true = others_nearest(sample, queries, own, NEIGHBOURS)
    codes, coordinates = projection.encode(sample), projection.coordinates(queries)
    queries.fill(0)
    stored = np.multiply(codes, projection.scale, dtype=np.float32)

    def recall(components: int) -> float:
        part = np.ascontiguousarray(stored[:, :components])
        asked = coordinates[:, :components] * projection.stretch[components - 1]
        near = others_nearest(part, asked, own, AMONG)
        return float((true[:, :, None] == near[:, None, :]).any(axis=2).mean())

    return recall
