"""Vectors made up so that searching them is about as hard as searching embeddings of sentences.

Unit vectors around cluster centres; centres and noise have a spectrum that falls off as that of
such embeddings does, in a basis turned at random. Any block of rows can be made by itself, again
and again the same, so that nobody has to keep them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BLOCK = 10_000
"""Rows that are made at once."""
ROWS_PER_CLUSTER = 50
FALL, BEND = 0.2, 0.4
"""Component i of 384 has the standard deviation exp(-FALL · i^BEND)."""
NOISE = 1.2
"""Of a row about its centre, as a share of the centres' spread."""
QUERY_NOISE = 2.3
"""Of a query likewise: nobody asks for just what is there."""


@dataclass
class Synthetic:
    """`rows` vectors (rows, dimension), float32."""

    rows: int
    dimension: int
    seed: int = 0
    _scale: np.ndarray = field(init=False)
    _basis: np.ndarray = field(init=False)
    _centres: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        components = np.arange(self.dimension) * (384 / self.dimension)
        self._scale = (np.exp(-FALL * components**BEND)).astype(np.float32)
        square = random.standard_normal((self.dimension, self.dimension))
        self._basis = np.linalg.qr(square)[0].astype(np.float32)
        clusters = max(1, self.rows // ROWS_PER_CLUSTER)
        self._centres = self._spread(random, clusters)

    def block(self, first: int) -> np.ndarray:
        """BLOCK rows from `first` on, a multiple of BLOCK, or as many as there are."""
        count = min(BLOCK, self.rows - first)
        return self._around_centres(np.random.default_rng((self.seed, first)), count, NOISE)

    def queries(self, count: int) -> np.ndarray:
        """Vectors (count, dimension) of another distribution than the rows."""
        random = np.random.default_rng((self.seed, self.rows, count))
        return self._around_centres(random, count, QUERY_NOISE)

    def _spread(self, random: np.random.Generator, count: int) -> np.ndarray:
        return random.standard_normal((count, self.dimension), np.float32) * self._scale

    def _around_centres(self, random: np.random.Generator, count: int, noise: float) -> np.ndarray:
        vectors = self._spread(random, count)
        vectors *= noise
        vectors += self._centres[random.integers(len(self._centres), size=count)]
        vectors = vectors @ self._basis
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
