"""Which of the candidates that a walk finds are ranked by their vectors, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.projection import Projection

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float32]
    Alive = NDArray[np.bool_]

__all__ = [
    "FEW",
    "MANY",
    "RANKED_EXTRA",
    "Ranked",
    "behind",
    "least_ranked",
    "left_out",
    "ranking_of",
]

RANKED_EXTRA = 5
"""Candidates beyond k, at least: so many of the first that a walk in all components finds include
the k nearest."""


class Ranked(NamedTuple):
    """How many candidates are ranked by their vectors."""

    each: float
    """So many times the candidates that a walk in all components would do with,"""
    share: float
    """and at least one in so many that the walk finds."""


MANY, FEW = Ranked(1.5, 6), Ranked(3, 3)
"""After a walk in many components, if queries are not stretched, and in just those that do."""


def ranking_of(projection: Projection | None, walked: int) -> Ranked | None:
    """How many candidates there are after a walk in so many components; None where it was one in
    vectors.
    """
    if projection is None:
        return None
    if walked <= projection.least:
        return FEW
    # The further queries are stretched, the more of a distance is guessed.
    more = min(float(projection.stretch[walked - 1]) ** 2, FEW.each / MANY.each)
    return Ranked(MANY.each * more, MANY.share / more)


def least_ranked(k: int, width: int) -> int:
    """How many candidates are ranked at least."""
    # A walk that looks for the last per cent is not to lose it where candidates are cut.
    return k + max(RANKED_EXTRA, k // 4, width // 32)


def left_out(rows: Rows, wanted: Alive, covered: int) -> Alive:
    """Which of `rows` are not wanted, or too new for whoever wants them."""
    out: Alive = ~wanted.take(rows, mode="clip")
    out |= rows >= min(covered, len(wanted))
    return out


def behind(rows: Rows, distances: Floats, out: Alive) -> Rows:
    """Rows (m, c) by their distances, with those that are left out as -1 behind the others."""
    order = np.where(out, np.float32(np.inf), distances).argsort(axis=1, kind="stable")
    return np.take_along_axis(np.where(out, -1, rows), order, 1)
