"""The projection that the graph is walked in: principal components, in one byte each.

    point    z = Bᵀ (x - μ)                 B (d, m): the m leading eigenvectors of the covariance
    code     c = round(z / s), -127..127    s (m,): the largest |z| of the sample / 127
    stored   ẑ = s · c
    query    t · z(q)                       t (m,), of which that for as many as are walked is used

B has orthonormal columns, so |ẑ - z(q)| is the distance between vector and query less what the
other components hold and less rounding. Where all vectors are about equally long, one with little
in the first components has much in the others, and is not as near as it seems. What it has there is
predicted from what it has here (linear regression):

    |x - μ|² ≈ a + b |z|²,  b = cov(|x - μ|², |z|²) / var(|z|²),  t = 1 / b
    |x - q|² ≈ b |z|² - 2⟨z, z(q)⟩ + what is the same for all x  =  b |z - t z(q)|² + the same

That is only used to choose candidates; they are ranked by exact distance on the vectors. The graph
walks the components; where memory is short, the first w of them. Which projection that is, is
chosen in components.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyborg_embedded.distance import dots

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Codes = NDArray[np.int8]

__all__ = ["MOST_STRETCH", "Projection"]

MOST_STRETCH = 2.0
"""Beyond that a walk, along links that know nothing of it, finds no more."""

SMALL_PRODUCT = 1 << 18
"""Multiplications up to which OpenBLAS stays on the calling thread."""
COLUMNS = 32
"""Of such a product, at most: the nearer to a square it is, the less of memory it passes over."""


@dataclass(frozen=True, slots=True, repr=False)
class Projection:
    """From d to m dimensions, of which the first `least` do for a walk.

    `basis` (d, m), `offset` (m,) = Bᵀμ, `scale` (m,), `stretch` (m,), of which `stretch[n - 1]` is
    what a query is multiplied by where n components are walked: from 1 to 2.
    """

    basis: Floats
    offset: Floats
    scale: Floats
    stretch: Floats
    least: int

    @property
    def dimensions(self) -> int:
        """M."""
        return len(self.scale)

    def coordinates(self, vectors: Floats, components: int | None = None) -> Floats:
        """Where vectors (n, d) lie in the projection, (n, m); in so many leading components."""
        used = slice(components)
        coordinates = products(vectors, self.basis[:, used])
        coordinates -= self.offset[used]
        return coordinates

    def points(self, queries: Floats, components: int | None = None) -> Floats:
        """Where a walk in all components, or in so many leading ones, looks for queries (n, d)."""
        points = self.coordinates(queries, components)
        points *= self.stretch[points.shape[1] - 1]
        return points

    def encode(self, vectors: Floats, components: int | None = None) -> Codes:
        """The codes (n, m) of vectors (n, d); of so many leading components, if not of all."""
        codes = self.coordinates(vectors, components)
        codes /= self.scale[:components]
        np.rint(codes, out=codes)
        return np.clip(codes, -127, 127, out=codes).astype(np.int8)

    def decode(self, codes: Codes, out: Floats | None = None) -> Floats:
        """Where the graph has the rows of these codes (n, c) of leading components: (n, c), in
        `out` if given.
        """
        points: Floats = np.multiply(codes, self.scale[: codes.shape[1]], out=out, dtype=np.float32)
        return points

    def norms(self, codes: Codes) -> Floats:
        """Squared lengths (n,) of what codes (n, c) of leading components stand for."""
        squares = codes.astype(np.float32)
        squares *= squares
        # Not a product of matrices: that of a row would depend on how many others there are.
        return dots(squares, self.scale[: codes.shape[1]] ** 2)

    def first(self, dimensions: int, least: int) -> Projection:
        """The projection to so many of the components."""
        basis = np.ascontiguousarray(self.basis[:, :dimensions])
        offset, scale, stretch = (
            part[:dimensions] for part in (self.offset, self.scale, self.stretch)
        )
        return Projection(basis, offset, scale, stretch, least)


def products(vectors: Floats, basis: Floats) -> Floats:
    """Vectors (n, d) times a basis (d, m).

    Of several vectors as many small products: a larger one would run on threads of its own, which
    keep spinning for a while, in the way of those that walk the graph.
    """
    (n, d), m = vectors.shape, basis.shape[1]
    if n == 1 or n * d * m <= SMALL_PRODUCT:
        whole: Floats = vectors @ basis
        return whole
    columns = min(COLUMNS, m, max(1, SMALL_PRODUCT // d))
    rows = min(n, max(1, SMALL_PRODUCT // (d * columns)))
    out = np.empty((n, m), np.float32)
    for some in parts(n, rows):
        for part in parts(m, columns):
            height, width = min(rows, some.stop - some.start), min(columns, part.stop - part.start)
            # One call for all of them: (rows / height, columns / width) products of matrices.
            tiles = out[some, part].reshape(-1, height, (part.stop - part.start) // width, width)
            np.matmul(
                vectors[some].reshape(-1, 1, height, d),
                basis[:, part].reshape(d, -1, width).swapaxes(0, 1),
                out=tiles.swapaxes(1, 2),
            )
    return out


def parts(size: int, step: int) -> list[slice]:
    """What of `size` is a multiple of `step`, and the rest, if there is one."""
    whole = size - size % step
    return [slice(*ends) for ends in ((0, whole), (whole, size)) if ends[0] < ends[1]]
