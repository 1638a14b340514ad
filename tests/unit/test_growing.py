"""Arrays that grow at their end keep what they have, for everybody who holds them; others begin where
a cache line does.
"""

import numpy as np
import pytest

from cyborg_embedded.growing import CACHE_LINE, aligned, with_room


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 0), (0,), (0, 4)])
@pytest.mark.parametrize("rows", [0, 5, 6, 100])
def test_so_many_rows(shape, rows):
    """There are so many rows at least, the first as before, of the same type."""
    known = np.full(shape, 7, np.int8)
    grown = with_room(known, rows)
    assert len(grown) == max(rows, len(known))
    assert np.array_equal(grown[: len(known)], known)
    assert (grown.dtype, grown.shape[1:]) == (known.dtype, known.shape[1:])


def test_enough_room():
    """An array that is long enough is the answer itself."""
    known = np.arange(4)
    assert with_room(known, 4) is known
    assert with_room(known, 2) is known


def test_what_others_hold_stays():
    """What is written behind the end of an array does not show in it, nor does it get longer."""
    first = with_room(np.arange(4), 8)
    first[4:] = 7
    second = with_room(first, 9)
    second[8:] = 8
    third = with_room(second, 10)
    third[9] = 9
    assert first.tolist() == [0, 1, 2, 3, 7, 7, 7, 7]
    assert second.tolist() == [0, 1, 2, 3, 7, 7, 7, 7, 8]
    assert third.tolist() == [0, 1, 2, 3, 7, 7, 7, 7, 8, 9]


def test_copies_are_few():
    """An array that grows row by row is copied some times, not each time."""
    known, copies = np.zeros((0, 2), np.float32), 0
    for rows in range(1, 5000):
        grown = with_room(known, rows)
        copies += not np.shares_memory(grown, known)
        grown[-1] = rows
        known = grown
    assert copies < 60
    assert known[:, 0].tolist() == list(range(1, 5000))
    assert known.base.nbytes <= 1.3 * known.nbytes


def test_the_first_part_of_a_longer_one():
    """Of an array that is the first part of a longer one the rows behind it are room."""
    whole = np.arange(10)
    assert np.shares_memory(with_room(whole[:3], 10), whole)
    assert len(with_room(whole[:3], 5)) == 5
    assert not np.shares_memory(with_room(whole[:3], 11), whole)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(0,), (1,), (63,), (5, 3), (700, 48), (0, 4), (4, 0)])
def test_aligned(shape, dtype):
    """They have the shape and type that was asked for, and can be written to."""
    made = [aligned(shape, dtype) for _ in range(20)]
    for number, array in enumerate(made):
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.flags.c_contiguous
        assert array.__array_interface__["data"][0] % CACHE_LINE == 0 or not array.size
        array[:] = number
    assert all((array == number).all() for number, array in enumerate(made))
