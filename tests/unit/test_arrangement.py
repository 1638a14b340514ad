"""The order in which rows come into a new graph: all of them, near ones together."""

import itertools

import numpy as np
import pytest

from cyborg_embedded.arrangement import (
    LOOKED_AT,
    SHELLS,
    TOGETHER,
    by_neighbourhood,
    from_the_centre,
)

RANDOM = np.random.default_rng(8)
CENTRES = RANDOM.standard_normal((200, 12)) * 0.75 ** np.arange(12)


def clustered(rows, dtype=np.float32, seed=0):
    """Sketches of rows in clusters, in an order that says nothing of where they lie."""
    random = np.random.default_rng(seed)
    near = CENTRES[random.integers(len(CENTRES), size=rows)]
    sketches = near + 0.05 * random.standard_normal(near.shape)
    return (sketches * (25 if dtype == np.int8 else 1)).astype(dtype)


def check_whole(order, rows):
    """Assert that an order has every row once."""
    assert order.dtype == np.int64
    assert order.shape == (rows,)
    assert np.array_equal(np.sort(order), np.arange(rows))


def apart(sketches, order):
    """How far rows that follow each other are apart, on average."""
    steps = np.diff(sketches[order].astype(float), axis=0)
    return np.sqrt((steps**2).sum(axis=1)).mean()


SIZES = [0, 1, 2, TOGETHER, TOGETHER + 1, TOGETHER + 2, 2 * TOGETHER + 1, LOOKED_AT, 9001]


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("rows", SIZES)
def test_every_row_once(rows, dtype):
    """Each row is in the order once, however many there are; the sketches stay as they are."""
    sketches = clustered(rows, dtype)
    before = sketches.copy()
    check_whole(by_neighbourhood(sketches), rows)
    assert np.array_equal(sketches, before)


@pytest.mark.parametrize("rows", [0, 1, 2, TOGETHER])
def test_few_rows_keep_their_order(rows):
    """Rows that need not be halved stay as they are."""
    assert by_neighbourhood(clustered(rows)).tolist() == list(range(rows))


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_deterministic(dtype):
    """The same sketches give the same order."""
    sketches = clustered(7000, dtype)
    assert np.array_equal(by_neighbourhood(sketches), by_neighbourhood(sketches.copy()))


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_near_rows_stand_together(dtype):
    """Of many rows those that follow each other are much nearer than in any other order."""
    sketches = clustered(40_000, dtype)
    order = by_neighbourhood(sketches)
    assert apart(sketches, order) < 0.5 * apart(sketches, np.arange(len(sketches)))
    # What stands together fills a small part of the space.
    runs = np.array_split(sketches[order].astype(float), len(sketches) // TOGETHER)
    within = np.mean([run.var(axis=0).sum() for run in runs])
    assert within < 0.4 * sketches.astype(float).var(axis=0).sum()


def test_one_coordinate_is_sorted_roughly():
    """Rows along a line come in runs along it, and in each run in the order that they had."""
    line = np.random.default_rng(2).permutation(16 * TOGETHER).astype(np.float32)
    order = by_neighbourhood(line[:, None])
    for number, run in enumerate(order.reshape(16, TOGETHER)):
        assert (np.diff(run) > 0).all()
        wanted = np.arange(number * TOGETHER, (number + 1) * TOGETHER)
        assert np.array_equal(np.sort(line[run]), wanted)


def test_the_widest_coordinate_counts():
    """Rows are halved where they differ most, not where they differ a little."""
    random = np.random.default_rng(3)
    sketches = random.standard_normal((2 * TOGETHER, 3)).astype(np.float32)
    sketches[:, 1] *= 100
    first = by_neighbourhood(sketches)[:TOGETHER]
    assert sketches[first, 1].max() <= np.median(sketches[:, 1])


def test_each_half_by_its_own():
    """Parts that differ in different coordinates are each halved in their own."""
    random = np.random.default_rng(4)
    sketches = np.zeros((4 * TOGETHER, 3), np.float32)
    low = random.permutation(4 * TOGETHER) < 2 * TOGETHER
    sketches[:, 0] = np.where(low, -100, 100)
    sketches[low, 1] = random.standard_normal(low.sum())
    sketches[~low, 2] = random.standard_normal((~low).sum())
    runs = sketches[by_neighbourhood(sketches)].reshape(4, TOGETHER, 3)
    assert (runs[:2, :, 0] < 0).all()
    assert (runs[2:, :, 0] > 0).all()
    assert runs[0, :, 1].max() <= runs[1, :, 1].min()
    assert runs[2, :, 2].max() <= runs[3, :, 2].min()


@pytest.mark.parametrize("value", [0, 7, -127])
@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_rows_that_are_all_the_same(value, dtype):
    """Rows that cannot be told apart come once each all the same."""
    check_whole(by_neighbourhood(np.full((5000, 4), value, dtype)), 5000)


def test_two_values():
    """A coordinate of two values, one of them rare, is halved as well."""
    sketches = np.zeros((5000, 2), np.int8)
    sketches[::50, 1] = 100
    order = by_neighbourhood(sketches)
    check_whole(order, 5000)
    # The rare ones are all in what comes last.
    assert sketches[order[-TOGETHER:], 1].sum() == 100 * 100


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_no_coordinates(dtype):
    """Rows of which nothing is known keep their order."""
    assert by_neighbourhood(np.empty((3000, 0), dtype)).tolist() == list(range(3000))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("share", [1, 3, 1000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_are_not_finite(value, share):
    """Whatever numbers a sketch holds, every row comes once."""
    sketches = clustered(6000)
    sketches[::share, 3] = value
    sketches[::7, 5] = -value
    check_whole(by_neighbourhood(sketches), 6000)


@pytest.mark.parametrize("largest", [1e17, 2.0**61])
def test_large_numbers(largest):
    """Numbers as large as those of a vector may be are no reason for a warning."""
    sketches = clustered(6000)
    sketches *= np.float32(largest) / np.abs(sketches).max()
    assert apart(sketches, by_neighbourhood(sketches)) < 0.6 * apart(sketches, np.arange(6000))


def test_codes_at_both_ends():
    """Sketches of codes from one end to the other are not added up in one byte."""
    line = np.resize(np.arange(-127, 128), 6000).astype(np.int8)
    order = by_neighbourhood(np.stack((line, np.resize([1, -1], 6000).astype(np.int8)), axis=1))
    check_whole(order, 6000)
    assert (np.diff([part.mean() for part in np.array_split(line[order], 8)]) > 10).all()


@pytest.mark.parametrize("rows", SIZES)
def test_near_the_centre_first(rows):
    """Each row is in the order once, and none of a part is farther away than one of the next."""
    sketches = clustered(rows)
    away = np.random.default_rng(2).random(rows, np.float32)
    order = from_the_centre(sketches, away)
    check_whole(order, rows)
    shells = [away[part] for part in np.array_split(order, SHELLS)]
    for inner, outer in itertools.pairwise(part for part in shells if len(part)):
        assert inner.max() <= outer.min()


def test_near_ones_together_in_each_part():
    """Among rows about equally far from the centre, near ones stand together as without it."""
    sketches = clustered(24_000)
    away = np.random.default_rng(2).random(24_000, np.float32)
    order = from_the_centre(sketches, away)
    assert apart(sketches, order) < 0.6 * apart(sketches, np.arange(24_000))


def test_all_equally_far():
    """Where all rows are as far from the centre, parts are of rows as they came."""
    order = from_the_centre(clustered(6000), np.zeros(6000, np.float32))
    parts = np.array_split(order, SHELLS)
    assert all(np.ptp(part) < len(part) for part in parts)
    check_whole(order, 6000)
