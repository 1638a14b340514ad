"""Distances: exact ones, and the exact k nearest rows of a block.

    squared_euclidean   Σ (q - x)²
    euclidean           √ Σ (q - x)²
    cosine              ½ Σ (q/|q| - x/|x|)²  =  1 - cos(q, x)
    inner_product       -Σ q·x

Distances are computed from direct differences: the expanded form |q|² - 2⟨q, x⟩ + |x|² loses half
of the digits where vectors are close. It is used all the same to choose whom to measure, since it
is one matrix product: every row whose expanded distance lies within the error bound of the k-th
best is measured directly, so the choice cannot lose a row. The bound is that of a float32 dot
product in any order, |fl(⟨q, x⟩) - ⟨q, x⟩| ≤ γ |q| |x| with γ = n·u / (1 - n·u), u = 2^-24
(N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 3.1), doubled for the norms
and the sums around it.

Each distance is reduced along its own row, so it does not depend on how many others are computed
with it: single and batch queries give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.smallest import kth_smallest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.model import Metric

    Floats = NDArray[np.float32]
    Rows = NDArray[np.int64]

__all__ = ["candidates", "dots", "exact", "prepare", "squared_norms", "unit_rows"]

UNIT_ROUNDOFF = 2.0**-24
SMALLEST_NORMAL = 2.0**-126
VECDOT = getattr(np, "vecdot", None)
"""From NumPy 2 on; twice as fast as `einsum`."""
MOST_ALONE = 10_000
"""Numbers up to which OpenBLAS adds up a dot product on one thread, always in the same order."""
TRUSTED_SQUARE = np.float32(2.0**-90)
"""From this squared norm on, squares that float32 loses (below 2^-126) do not matter."""


def dots(rows: Floats, others: Floats) -> Floats:
    """Σ x y (...) of rows x (..., d) and rows y that are broadcast to them."""
    if VECDOT is not None and rows.shape[-1] <= MOST_ALONE:
        sums: Floats = VECDOT(rows, others)
        return sums
    summed: Floats = np.einsum("...j,...j->...", rows, others)
    return summed


def squared_norms(rows: Floats) -> Floats:
    """Σ x² of each row of (n, d), (n,)."""
    return dots(rows, rows)


def unit_rows(rows: Floats, out: Floats | None = None) -> Floats:
    """Rows (n, d) scaled to length one; no row may have norm zero (checked on input). `out`, a
    place for them, may be `rows`.

    A norm whose square is too small for float32 to hold it well is taken in float64, so that tiny
    vectors keep their direction. Either way a row's result depends on that row alone.
    """
    squares = squared_norms(rows)
    lengths = np.sqrt(np.maximum(squares, TRUSTED_SQUARE))
    if not len(squares) or squares.min() >= TRUSTED_SQUARE:
        unit: Floats = np.divide(rows, lengths[:, None], out=out, dtype=np.float32)
        return unit
    small = np.flatnonzero(squares < TRUSTED_SQUARE)
    tiny = rows[small].astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", tiny, tiny))
    norms[norms == 0] = 1.0
    unit = np.divide(rows, lengths[:, None], out=out, dtype=np.float32)
    unit[small] = (tiny / norms[:, None]).astype(np.float32)
    return unit


def prepare(vectors: Floats, metric: Metric, out: Floats | None = None) -> Floats:
    """Queries as `candidates` and `exact` want them, and stored vectors as a navigator does: of
    unit length under cosine. `out`, a place for them if they differ, may be `vectors`.
    """
    return unit_rows(vectors, out) if metric == "cosine" else vectors


def exact(queries: Floats, rows: Floats, metric: Metric, *, overwrite: bool = False) -> Floats:
    """The distances (...) of rows (..., d) to prepared queries, which are broadcast to them: (d,)
    for all to one. `overwrite` lets it work in the memory of `rows`.
    """
    if metric == "inner_product":
        distances = dots(rows, queries)
        return np.negative(distances, out=distances)
    place = rows if overwrite else None
    if metric == "cosine":
        flat = rows.reshape(-1, rows.shape[-1])
        rows = place = unit_rows(flat, flat if overwrite else None).reshape(rows.shape)
    differences = np.subtract(rows, queries, out=place)
    distances = dots(differences, differences)
    if metric == "euclidean":
        return np.sqrt(distances, out=distances)
    if metric == "cosine":
        distances *= np.float32(0.5)
    return distances


def candidates(
    queries: Floats, rows: Floats, norms: Floats, alive: NDArray[np.bool_], k: int, metric: Metric
) -> list[Rows]:
    """For each prepared query, positions in `rows` that surely include its k nearest live ones.

    queries (m, d), rows (n, d), squared norms (n,), alive (n,); all finite. Ties with the k-th are
    included. Fewer than k positions only where fewer than k rows are alive.
    """
    live = np.flatnonzero(alive)
    if len(live) <= k:
        return [live] * len(queries)
    expanded = expand(queries, rows, norms, metric)
    unsure = np.flatnonzero(alive & (norms < TRUSTED_SQUARE)) if metric == "cosine" else live[:0]
    if len(live) < len(alive):
        expanded[:, ~alive] = np.inf
    # Rows that the stand-in says nothing of are measured in any case, and count for nothing here.
    expanded[:, unsure] = np.inf
    lengths = np.sqrt(squared_norms(queries).astype(np.float64))
    longest = 1.0 if metric == "cosine" else float(np.sqrt(norms[live].max(), dtype=np.float64))
    n = queries.shape[1] + 8
    gamma = n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF)
    kth = kth_smallest(expanded, k).astype(np.float64)
    # The last term stands for what float32 loses below its smallest normal number.
    reach = kth + 4 * gamma * (lengths + longest) ** 2 + n * SMALLEST_NORMAL
    near = [np.flatnonzero(row <= limit) for row, limit in zip(expanded, reach, strict=True)]
    if not len(unsure) and np.isfinite(reach).all():
        return near
    return [np.union1d(found[alive[found]], unsure) for found in near]


def expand(queries: Floats, rows: Floats, norms: Floats, metric: Metric) -> Floats:
    """A monotone stand-in for the distance, (m, n): one matrix product.

    Under cosine it says nothing of rows whose squared norm is below `TRUSTED_SQUARE`.
    """
    products: Floats = queries @ rows.T
    if metric == "inner_product":
        return np.negative(products, out=products)
    if metric == "cosine":
        products /= -np.sqrt(np.maximum(norms, TRUSTED_SQUARE))
        return products
    products *= np.float32(-2)
    products += norms
    return products
