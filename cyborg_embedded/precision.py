"""How a vector is stored: as it was given, or in fewer bytes.

    float32   d × f32                    what was given
    float16   d × f16                    rounded to nearest, ties to even (IEEE 754 binary16)
    int8      s (f32) ‖ d × i8           x ≈ s · c with s = max |x| / 127 and c = round(x / s);
                                         all zero where x is

Little-endian, one row after another. What is stored is what is searched and read back: distances
are those of the decoded vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cyborg_embedded.model import Precision

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]

__all__ = ["decode", "encode", "row_bytes"]

SCALE_BYTES = 4
HIGHEST = np.float32(127)


def row_bytes(dimension: int, precision: Precision) -> int:
    """Bytes that one vector takes."""
    if precision == "float32":
        return 4 * dimension
    return 2 * dimension if precision == "float16" else SCALE_BYTES + dimension


def encode(vectors: Floats, precision: Precision) -> Bytes:
    """Vectors (n, d) as rows of bytes. float16 gives infinity for what it cannot hold."""
    if precision == "float32":
        return np.ascontiguousarray(vectors).view(np.uint8)
    if precision == "float16":
        with np.errstate(over="ignore"):
            return vectors.astype("<f2").view(np.uint8)
    scales = np.abs(vectors).max(axis=1, keepdims=True) / HIGHEST
    codes = np.rint(vectors / np.where(scales > 0, scales, np.float32(1)))
    stored = np.empty((len(vectors), SCALE_BYTES + vectors.shape[1]), np.uint8)
    stored[:, :SCALE_BYTES] = scales.astype("<f4").view(np.uint8)
    stored[:, SCALE_BYTES:] = codes.clip(-HIGHEST, HIGHEST).astype(np.int8).view(np.uint8)
    return stored


def decode(stored: Bytes, precision: Precision) -> Floats:
    """The vectors (n, d) of rows of bytes; of float32, in the same memory."""
    if precision == "float32":
        return stored.view(np.float32)
    if precision == "float16":
        return stored.view("<f2").astype(np.float32)
    scales = np.ascontiguousarray(stored[:, :SCALE_BYTES]).view("<f4")
    codes = stored[:, SCALE_BYTES:].view(np.int8)
    vectors: Floats = np.multiply(codes, scales, dtype=np.float32)
    return vectors
