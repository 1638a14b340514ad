"""Memory that is taken from the system page by page, as it is touched."""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["lazy_zeros"]


def lazy_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros that takes memory only where it is written to.

    numpy asks for huge pages for a large array; then the first touch of every 2 MiB clears all of
    them, which is most of the time of a cold query that reads a few scattered rows.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not size:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)
