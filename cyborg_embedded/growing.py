"""Memory for arrays: that grow at their end, or that begin where a line of the cache does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["aligned", "with_room"]

CACHE_LINE = 64
"""Bytes."""


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array whose memory begins where a line of the processor's cache does, so that rows of it
    in any order lie in as few lines as they can. Its contents are undefined. It does not grow.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def with_room(known: NDArray[Any], rows: int) -> NDArray[Any]:
    """An array with so many rows at least, of which the first are those of `known`.

    The others lie behind them in the same memory, or in new memory for a quarter more: so a growing
    array is copied O(log n) times. What others see of `known` stays as it is.
    """
    if len(known) >= rows:
        return known
    whole = known if known.base is None else known.base
    if len(whole) < rows:
        whole = np.zeros((rows + rows // 4, *known.shape[1:]), known.dtype)
        whole[: len(known)] = known
    return whole[:rows]
