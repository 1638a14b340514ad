"""The projection that the graph is walked in: principal components, in one byte each.

    point    z = Bᵀ (x - μ)                 B (d, m): the m leading eigenvectors of the covariance
    code     c = round(z / s), -127..127    s (m,): the largest |z| of the sample / 127
    stored   ẑ = s · c

B has orthonormal columns, so |ẑ - z(q)| is the distance between vector and query less what the
other d - m components hold and less rounding. That is only used to choose candidates; they are
ranked by exact distance on the vectors. The graph walks the first w of the components, and what
it finds is sorted by all m before any vector is opened: w costs time and memory at every step of
the walk, m - w only once for each candidate. How many are needed is measured on the rows
themselves, and where it is most of them, there is no projection.

Principal components: I. T. Jolliffe, Principal Component Analysis, 2nd ed., 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Codes = NDArray[np.int8]

__all__ = ["SAMPLE_ROWS", "Projection", "choose_projection", "has_drifted"]

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
NEIGHBOURS, WALKED_TO, RANKED = 10, 16, 13
SMALL_PRODUCT = 1 << 18
"""Multiplications up to which OpenBLAS stays on the calling thread."""
WANTED_RECALL = 0.98
"""Of the 10 true neighbours of sample rows, among the 16 nearest in the walked components. Real
queries are further from the rows than the rows from each other, and get more candidates."""
RANKED_RECALL = 0.999
"""Of them, among the 13 nearest in all stored components: so many are ranked by their vectors."""
DRIFT = 0.02
MORE = 1.6
"""Components that candidates are sorted by, at least, for each that is walked."""


@dataclass(frozen=True, slots=True, repr=False)
class Projection:
    """From d to m dimensions, of which the first `walked` are the graph's.

    `basis` (d, m), `offset` (m,) = Bᵀμ, `scale` (m,).
    """

    basis: Floats
    offset: Floats
    scale: Floats
    walked: int

    @property
    def dimensions(self) -> int:
        """M."""
        return len(self.scale)

    def points(self, vectors: Floats) -> Floats:
        """Where vectors (n, d) lie in the projection, (n, m).

        A few at a time: a larger matrix product would run on threads of its own, which keep
        spinning for a while, in the way of those that walk the graph.
        """
        basis = self.basis
        step = max(1, SMALL_PRODUCT // basis.size)
        if len(vectors) <= step:
            points: Floats = vectors @ basis
        else:
            points = np.empty((len(vectors), basis.shape[1]), np.float32)
            for start in range(0, len(vectors), step):
                np.matmul(vectors[start : start + step], basis, out=points[start : start + step])
        points -= self.offset
        return points

    def encode(self, vectors: Floats) -> Codes:
        """The codes (n, m) of vectors (n, d)."""
        codes = self.points(vectors)
        codes /= self.scale
        np.rint(codes, out=codes)
        return np.clip(codes, -127, 127, out=codes).astype(np.int8)

    def decode(self, codes: Codes, out: Floats | None = None) -> Floats:
        """Where the graph has the rows of these codes (n, m): (n, walked), in `out` if given."""
        walked = self.walked
        points: Floats = np.multiply(
            codes[:, :walked], self.scale[:walked], out=out, dtype=np.float32
        )
        return points

    def rest_distances(self, rest: Codes, points: Floats) -> Floats:
        """Squared distances (n, c) in the components that are not walked, between points (n, m)
        and the rows with these codes (n, c, m - walked).
        """
        n, c, r = rest.shape
        differences = np.multiply(rest, self.scale[self.walked :], dtype=np.float32)
        differences -= points[:, None, self.walked :]
        flat = differences.reshape(n * c, r)
        distances: Floats = np.einsum("ij,ij->i", flat, flat).reshape(n, c)
        return distances

    def first(self, walked: int, stored: int = 0) -> Projection:
        """The projection that walks so many of the components, and has `stored` of them, or some
        more than it walks.
        """
        m = min(max(walked, stored or int(walked * MORE) // STEP * STEP), len(self.scale))
        basis = np.ascontiguousarray(self.basis[:, :m])
        return Projection(basis, self.offset[:m], self.scale[:m], walked)


def choose_projection(sample: Floats, walked: int = 0) -> Projection | None:
    """The projection to the fewest dimensions that finds the neighbours of the rows in `sample`
    (n, d) among few candidates, or to `walked` where that is not 0; None where that does not pay,
    or is all of them. Deterministic.
    """
    rows, d = sample.shape
    if walked:
        sound = walked < d and np.abs(sample).max() <= LARGEST
        return train(sample, d).first(walked) if sound else None
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
    some, all_of_them = full.first(steps * STEP).dimensions // STEP, d // STEP
    stored = fewest(some, all_of_them, lambda n: recall_in(n * STEP, RANKED) >= RANKED_RECALL)
    return full.first(steps * STEP, stored * STEP)


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
    scale = (np.maximum(reach, np.float32(1e-30)) / 127).astype(np.float32)
    return Projection(basis, offset, scale, dimensions)


def parts(rows: Floats) -> Iterator[Floats]:
    """Rows, some at a time: so much of a matrix product that a query which needs BLAS too does not
    wait long for it.
    """
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def others_nearest(
    points: Floats, queries: Floats, own: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
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
