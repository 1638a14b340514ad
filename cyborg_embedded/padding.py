"""Lengths that tell little."""

from __future__ import annotations

__all__ = ["pad", "padded_length"]

SMALLEST = 256


def padded_length(length: int) -> int:
    """PADMÉ: `length` rounded up so that only the top log2(log2(length)) bits vary.

    K. Nikitin et al., Reducing Metadata Leakage from Encrypted Files and Communication with
    PURBs, PoPETs 2019, 4.4. At most 12 % more; never below 256.
    """
    if length <= SMALLEST:
        return SMALLEST
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def pad(data: bytes) -> bytes:
    """`data` followed by zeros up to its padded length."""
    return data + bytes(padded_length(len(data)) - len(data))
