"""The k smallest of many numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_embedded import smallest
from cyborg_embedded.smallest import kth_smallest, where_smallest

SHAPES = [(1, 1, 1), (3, 7, 7), (2, 640, 5), (2, 641, 5), (3, 5000, 16), (1, 9000, 70), (5, 300, 9)]
"""Lines, numbers in each, k: some below, some above what is worth a pass over groups."""


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_they_are_those_that_sorting_finds(m: int, n: int, k: int) -> None:
    lines = np.random.default_rng(n).standard_normal((m, n)).astype(np.float32)
    assert np.array_equal(kth_smallest(lines, k), np.sort(lines, axis=1)[:, k - 1])
    order = lines.argsort(axis=1, kind="stable")[:, :k]
    assert np.array_equal(where_smallest(lines, k), np.sort(order, axis=1))


@pytest.mark.parametrize("k", [1, 3, 8])
@given(seed=st.integers(0, 2**32), values=st.integers(1, 12), special=st.integers(0, 600))
def test_equal_ones_infinite_ones_and_none_at_all(
    k: int, seed: int, values: int, special: int
) -> None:
    """Few different numbers, in lines that are long enough for groups of them."""
    rng = np.random.default_rng(seed)
    n = smallest.GROUP * smallest.GROUPS * k + 17
    lines = rng.integers(0, values, (2, n)).astype(np.float32)
    for number in (np.inf, -np.inf, np.nan):
        lines.ravel()[rng.integers(0, lines.size, special)] = number
    expected = np.sort(lines, axis=1)[:, k - 1]
    assert np.array_equal(kth_smallest(lines, k), expected, equal_nan=True)
    order = lines.argsort(axis=1, kind="stable")[:, :k]
    assert np.array_equal(where_smallest(lines, k), np.sort(order, axis=1))


def test_nothing_is_changed() -> None:
    lines = np.random.default_rng(1).standard_normal((2, 4000)).astype(np.float32)
    before = lines.copy()
    where_smallest(lines, 3)
    assert np.array_equal(lines, before)


def test_nothing_but_nan() -> None:
    lines = np.full((2, 3000), np.nan, np.float32)
    assert np.isnan(kth_smallest(lines, 2)).all()
    assert where_smallest(lines, 2).tolist() == [[0, 1], [0, 1]]
