"""Vectors in fewer bytes: what is stored, what comes back, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cyborg_embedded.model import PRECISIONS
from cyborg_embedded.precision import decode, encode, row_bytes

FLOATS = st.floats(-(2.0**99), 2.0**99, width=32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dimension", [1, 3, 16, 385])
def test_length(precision, dimension):
    """Rows are as long as `row_bytes` says."""
    stored = encode(np.ones((5, dimension), np.float32), precision)
    assert stored.shape == (5, row_bytes(dimension, precision))
    assert stored.dtype == np.uint8
    assert decode(stored, precision).shape == (5, dimension)
    assert decode(stored, precision).dtype == np.float32


@given(arrays(np.float32, (3, 5), elements=FLOATS))
@settings(max_examples=30)
def test_float32_is_what_was_given(vectors):
    """Bit for bit, -0.0 included."""
    assert decode(encode(vectors, "float32"), "float32").tobytes() == vectors.tobytes()


@given(arrays(np.float32, (3, 5), elements=st.floats(-60_000, 60_000, width=32)))
@settings(max_examples=30)
def test_float16_rounds_to_nearest(vectors):
    """As numpy rounds, and once rounded it stays the same."""
    once = decode(encode(vectors, "float16"), "float16")
    assert np.array_equal(once, vectors.astype(np.float16).astype(np.float32))
    assert np.array_equal(encode(once, "float16"), encode(vectors, "float16"))


def test_float16_has_no_room():
    """What float16 cannot hold becomes infinite, which is refused by whoever checks."""
    assert np.isinf(decode(encode(np.full((1, 2), 70_000, np.float32), "float16"), "float16")).all()


@given(arrays(np.float32, (4, 6), elements=FLOATS))
@settings(max_examples=50)
def test_int8_is_within_half_a_step(vectors):
    """Each number is off by half of the row's step at most, and a step is its largest / 127."""
    back = decode(encode(vectors, "int8"), "int8").astype(np.float64)
    step = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float64) / 127
    assert (np.abs(back - vectors) <= 0.5001 * step + 1e-43).all()


def test_int8_keeps_zero_and_the_largest():
    """A row of zeros stays one; the largest number of a row keeps its value and sign."""
    vectors = np.array([[0, 0, 0], [1, -2, 0.5], [-3, 3, 0]], np.float32)
    back = decode(encode(vectors, "int8"), "int8")
    assert (back[0] == 0).all()
    assert back[1, 1] == pytest.approx(-2, rel=1e-6)
    assert back[2, :2] == pytest.approx([-3, 3], rel=1e-6)
