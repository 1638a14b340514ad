"""Arrays that grow at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["with_room"]


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
