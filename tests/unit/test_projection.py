"""The projection: principal components, their codes, and how many of them are chosen."""

import dataclasses

import numpy as np
import pytest

from cyborg_embedded import components as module
from cyborg_embedded.components import (
    AMONG,
    DRIFT,
    FEWEST_DIMENSIONS,
    FEWEST_ROWS,
    LARGEST,
    LEAST_RECALL,
    MOST_DIMENSIONS,
    MOST_SHARE,
    NEIGHBOURS,
    STEP,
    THINNED_ROWS,
    THINNED_TIMES,
    WANTED_RECALL,
    choose_projection,
    has_drifted,
    measured,
    thinned_out,
    train,
)
from cyborg_embedded.projection import MOST_STRETCH, SMALL_PRODUCT, products

D = 96
ROWS = 1500


def decaying(decay=0.95, rows=ROWS, d=D, seed=0):
    """Rows whose principal components lose length by a factor each, turned in every direction."""
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.standard_normal((d, d)))
    spread = random.standard_normal((rows, d)) * decay ** np.arange(d)
    return (spread @ turn + random.standard_normal(d)).astype(np.float32)


def of_one_length(rows=ROWS, inner=32):
    """Rows of length one of which different shares lie in the leading components."""
    random = np.random.default_rng(5)
    sides = []
    for d in (inner, D - inner):
        side = random.standard_normal((rows, d)) * 0.93 ** np.arange(d)
        sides.append(side / np.linalg.norm(side, axis=1, keepdims=True))
    angles = random.uniform(0.2, 1.2, (rows, 1))
    turn, _ = np.linalg.qr(random.standard_normal((D, D)))
    rows = np.concatenate((np.cos(angles) * sides[0], np.sin(angles) * sides[1]), axis=1)
    return (rows @ turn).astype(np.float32)


SAMPLE = decaying()
CHOSEN = choose_projection(SAMPLE)
UNIT = of_one_length()
UNIT_CHOSEN = choose_projection(UNIT)


def squared(points, queries):
    """Squared distances (m, n) in float64."""
    return ((points[None].astype(float) - queries[:, None].astype(float)) ** 2).sum(axis=2)


def nearest_others(points, queries, k):
    """The k rows nearest to each of the first rows, but for itself."""
    distances = squared(points, queries)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)[:, :k]


def recall(projection, sample, queries=100, components=None):
    """The share of true neighbours among the candidates in so many components, the fewest that do
    if not told, measured without the package's help.
    """
    used = projection.least if components is None else components
    stored = projection.encode(sample)[:, :used] * projection.scale[:used]
    asked = projection.coordinates(sample[:queries])[:, :used] * projection.stretch[used - 1]
    near = nearest_others(stored, asked, AMONG)
    true = nearest_others(sample, sample[:queries], NEIGHBOURS)
    hits = [len(set(a) & set(b)) for a, b in zip(true.tolist(), near.tolist(), strict=True)]
    return sum(hits) / true.size


def test_basis_is_orthonormal():
    """The columns of the basis have length one and stand at right angles."""
    assert CHOSEN.basis.shape == (D, CHOSEN.dimensions)
    assert np.allclose(CHOSEN.basis.T @ CHOSEN.basis, np.eye(CHOSEN.dimensions), atol=1e-5)


def test_components_are_the_principal_ones():
    """Components come by variance, the largest first, and have the largest variances there are."""
    points = CHOSEN.coordinates(SAMPLE).astype(float)
    assert np.allclose(points.mean(axis=0), 0, atol=1e-3)
    covariance = np.cov(SAMPLE.astype(float), rowvar=False, bias=True)
    wanted = np.linalg.eigvalsh(covariance)[::-1][: CHOSEN.dimensions]
    assert np.allclose(points.var(axis=0), wanted, rtol=1e-3)
    assert np.allclose(np.cov(points, rowvar=False, bias=True), np.diag(wanted), atol=1e-3)


def test_points_keep_distances():
    """Distances between points are those between vectors, less what the other components hold."""
    full = train(SAMPLE, D)
    queries = SAMPLE[:20]
    assert full.stretch[-1] == pytest.approx(1, abs=1e-5)
    whole = squared(full.points(SAMPLE), full.points(queries))
    assert np.allclose(whole, squared(SAMPLE, queries), rtol=1e-4, atol=1e-4)
    part = squared(CHOSEN.coordinates(SAMPLE), CHOSEN.coordinates(queries))
    assert (part <= squared(SAMPLE, queries) + 1e-4).all()


def test_deterministic():
    """The same rows give the same projection, bit for bit."""
    again = choose_projection(SAMPLE.copy())
    assert again.least == CHOSEN.least
    for name in ("basis", "offset", "scale", "stretch"):
        assert getattr(again, name).tobytes() == getattr(CHOSEN, name).tobytes()


@pytest.mark.parametrize(
    "sample", [SAMPLE, UNIT, SAMPLE * np.float32(1e12), UNIT * np.float32(1e-25), UNIT + 100]
)
def test_stretch_is_the_inverse_slope(sample):
    """What a query is multiplied by is one over the slope of the regression of whole squared lengths
    on those in some components, between 1 and the most there is.
    """
    full = train(sample, D)
    some = sample.astype(float)
    centred = some - sample.mean(axis=0, dtype=float)
    whole = (centred**2).sum(axis=1)
    for m in (1, 16, 40, 64, D):
        held = ((centred @ full.basis[:, :m].astype(float)) ** 2).sum(axis=1)
        (covariance, variance) = np.cov(whole, held)[1]
        wanted = 1 / np.clip(covariance / variance, 1 / MOST_STRETCH, 1)
        assert full.stretch[m - 1] == pytest.approx(wanted, rel=1e-3)


def test_stretch_counts():
    """Among rows of unit length, queries that are stretched find more of their neighbours among few
    candidates; what is nearest in all components stays so.
    """
    full = train(UNIT, D)
    plain = dataclasses.replace(full, stretch=np.ones_like(full.stretch))
    for components, gain in ((16, 0.05), (32, 0.01)):
        with_it = recall(full, UNIT, components=components)
        assert with_it > recall(plain, UNIT, components=components) + gain
        with_it = measured(full, UNIT)(components)
        assert with_it > measured(plain, UNIT)(components) + gain
    assert recall(full, UNIT, components=D) == 1


def test_stretch_where_lengths_say_nothing():
    """Rows that are all as long in the components that are looked at are not stretched."""
    for sample in (np.ones((ROWS, D), np.float32), np.zeros((ROWS, D), np.float32)):
        assert (train(sample, D).stretch == 1).all()
    signs = np.random.default_rng(4).choice(np.array([-1, 1], np.float32), (ROWS // 2, D))
    both = np.stack((signs, -signs), axis=1).reshape(-1, D)
    assert train(both, D).stretch[-1] == 1
    assert train(both + 1000, D).stretch[-1] == 1


def test_stretch_of_rows_that_alternate(monkeypatch):
    """Rows that tell the stretch are from all over the sample, not one in so many of it."""
    whole = decaying(0.97, rows=4 * ROWS)
    for step in (2, 3, 4, 8):
        monkeypatch.setattr(module, "REGRESSED", len(whole) // step)
        mixed = whole.copy()
        mixed[::step] /= np.linalg.norm(mixed[::step], axis=1, keepdims=True)
        shuffled = np.random.default_rng(6).permutation(mixed)
        for m in (16, 32, 64):
            one, other = train(mixed, D).stretch[m - 1], train(shuffled, D).stretch[m - 1]
            assert one == pytest.approx(other, abs=0.03)


def test_codes():
    """What a code stands for is within half a step of the point, and no code is -128."""
    codes = CHOSEN.encode(SAMPLE)
    assert codes.dtype == np.int8
    assert codes.min() >= -127
    assert (np.abs(codes).max(axis=0) == 127).all()
    error = np.abs(codes * CHOSEN.scale - CHOSEN.coordinates(SAMPLE))
    assert (error <= 0.501 * CHOSEN.scale).all()


def test_codes_of_vectors_beyond_the_sample():
    """The codes of vectors further out than any of the sample are cut, not wrapped around."""
    far = 1000 * (SAMPLE - SAMPLE.mean(axis=0))
    points, codes = CHOSEN.coordinates(far), CHOSEN.encode(far)
    beyond = np.abs(points) > 128 * CHOSEN.scale
    assert beyond.any()
    assert (codes[beyond] == np.where(points[beyond] > 0, 127, -127)).all()


def test_codes_of_few_components():
    """The codes of the leading components alone are those that all of them have there."""
    assert np.array_equal(CHOSEN.encode(SAMPLE, 7), CHOSEN.encode(SAMPLE)[:, :7])


@pytest.mark.parametrize("n", [0, 1, 21, 22, 500])
@pytest.mark.parametrize("m", [1, 31, 32, 33, 304])
@pytest.mark.parametrize("d", [1, 384, 9000])
def test_products(n, m, d):
    """Products in small parts are those of the whole matrices, of every shape."""
    random = np.random.default_rng(n + m + d)
    vectors = random.standard_normal((n, d)).astype(np.float32)
    basis = random.standard_normal((d, m + 5)).astype(np.float32)[:, :m]
    found = products(vectors, basis)
    assert (found.shape, found.dtype) == ((n, m), np.float32)
    wanted = vectors.astype(float) @ basis
    assert np.allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.sqrt(d))


def test_products_work_on_this_thread_alone():
    """No product is so large that OpenBLAS would have other threads take part."""
    seen = []

    def noted(*matrices, out):
        seen.append(matrices)
        return multiplied(*matrices, out=out)

    multiplied = np.matmul
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "matmul", noted)
        for d in (384, 9000):
            products(np.ones((99, d), np.float32), np.ones((d, 200), np.float32))
    assert seen
    for left, right in seen:
        assert left.shape[-2] * left.shape[-1] * right.shape[-1] <= SMALL_PRODUCT


@pytest.mark.parametrize("components", [1, 16, CHOSEN.least, CHOSEN.dimensions])
def test_points_in_few_components(components):
    """The points in some leading components are those of the whole ones, but for the stretch."""
    for chosen, sample in ((CHOSEN, SAMPLE), (UNIT_CHOSEN, UNIT)):
        used = min(components, chosen.dimensions)
        some, whole = chosen.points(sample[:9], used), chosen.points(sample[:9])
        assert whole.shape == (9, chosen.dimensions)
        assert some.shape == (9, used)
        wanted = chosen.coordinates(sample[:9])[:, :used] * chosen.stretch[used - 1]
        assert np.allclose(some, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("components", [1, 16, CHOSEN.least, CHOSEN.dimensions])
def test_lengths_of_what_is_walked(components):
    """Their squares are those of the decoded points, and the codes stay as they are."""
    codes = CHOSEN.encode(SAMPLE, components)
    before = codes.copy()
    true = (CHOSEN.decode(codes).astype(float) ** 2).sum(axis=1)
    assert np.allclose(CHOSEN.norms(codes), true, rtol=1e-5)
    assert np.array_equal(codes, before)


@pytest.mark.parametrize("components", [1, 16, CHOSEN.least, CHOSEN.dimensions])
def test_decoding_gives_what_is_walked(components):
    """The graph's points are what the codes stand for, in as many components as there are codes of,
    also where it says where they are to be written.
    """
    codes = CHOSEN.encode(SAMPLE[:50], components)
    wanted = (codes * CHOSEN.scale[:components]).astype(np.float32)
    points = CHOSEN.decode(codes)
    assert points.dtype == np.float32
    assert np.array_equal(points, wanted)
    out = np.zeros_like(wanted)
    assert CHOSEN.decode(codes, out) is out
    assert np.array_equal(out, wanted)


def test_the_first_components():
    """A projection to some of the components has those of the whole one, and says which of them do."""
    some = CHOSEN.first(32, 16)
    assert (some.dimensions, some.least) == (32, 16)
    assert some.basis.flags.c_contiguous
    assert np.array_equal(some.basis, CHOSEN.basis[:, :32])
    assert np.array_equal(some.encode(SAMPLE), CHOSEN.encode(SAMPLE, 32))
    for name in ("offset", "scale", "stretch"):
        assert np.array_equal(getattr(some, name), getattr(CHOSEN, name)[:32])


@pytest.mark.parametrize("walked", [1, 20, 64, D - 1])
def test_forced_dimensions(walked):
    """As many components as are asked for are the leading ones, and all of them are walked, however
    few do or how little it pays.
    """
    for sample in (SAMPLE, decaying(1.0, rows=200)):
        chosen = choose_projection(sample, walked)
        assert chosen.least == chosen.dimensions == walked
        assert chosen.basis.shape == (D, walked)
        assert np.array_equal(chosen.basis, train(sample, D).basis[:, :walked])
    assert recall(choose_projection(SAMPLE, D - 1), SAMPLE) == 1


def test_forced_dimensions_that_are_no_projection():
    """There is none to as many dimensions as vectors have, or of numbers too large to square."""
    for walked in (D, D + 1):
        assert choose_projection(SAMPLE, walked) is None
    large = SAMPLE * (2 * LARGEST / np.abs(SAMPLE).max())
    assert choose_projection(large, 32) is None
    assert choose_projection(large) is None


@pytest.mark.parametrize(
    ("decay", "d"),
    [
        *((decay, d) for d in (FEWEST_DIMENSIONS, 100, 130) for decay in (0.5, 0.9, 0.95, 0.97)),
        (0.985, 256),
    ],
)
def test_chosen_dimensions(decay, d):
    """Dimensions are multiples of 16 and at most three quarters, sixteen more than the fewest that
    do unless that is too many, and as few as find the neighbours of queries that are further away.
    """
    sample = decaying(decay, d=d)
    chosen = choose_projection(sample)
    least, m, most = chosen.least, chosen.dimensions, int(MOST_SHARE * d) // STEP * STEP
    assert STEP == 16
    assert least % STEP == m % STEP == 0
    assert 0 < least <= most
    lowest = min(least + STEP, most)
    assert lowest <= m <= most
    full = train(sample, d // STEP * STEP)
    recall_in = measured(full, sample)
    assert recall_in(least) >= LEAST_RECALL
    assert least == STEP or recall_in(least - STEP) < LEAST_RECALL
    thinned = [measured(full, part) for part in thinned_out(sample)]

    def mean(components):
        return np.mean([recall_in_some(components) for recall_in_some in thinned])

    assert m == most or mean(m) >= WANTED_RECALL
    assert m == lowest or mean(m - STEP) < WANTED_RECALL
    assert chosen.basis.shape == (d, m)
    parts = (chosen.offset, chosen.scale, chosen.stretch)
    assert {part.shape for part in parts} == {(m,)}
    assert {part.dtype for part in (chosen.basis, *parts)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("decay", "d", "wanted"),
    [(0.95, 96, (32, 48)), (0.9955, 512, (240, 272)), (0.97, 64, (48, 48))],
)
def test_dimensions_between_the_fewest_and_the_most(decay, d, wanted):
    """There is a sample for which sixteen more do, one that needs more than that, and one for which
    there are no more.
    """
    chosen = choose_projection(decaying(decay, d=d))
    assert (chosen.least, chosen.dimensions) == wanted


@pytest.mark.parametrize("more", [0.0005, -0.0005])
@pytest.mark.parametrize("first", [0, 0.005, -0.005])
def test_thinned_samples_count_alike(first, more, monkeypatch):
    """What counts is the mean of what thinned samples say, whichever says more."""
    recalls = (WANTED_RECALL + more + first, WANTED_RECALL + more - first)
    fewest, wide = 32, 64

    def measuring(_, sample):
        if len(sample) == 2 * THINNED_ROWS:
            return lambda components: float(components >= fewest)
        part = 0 if np.array_equal(sample, whole[::2]) else 1
        assert part == 0 or np.array_equal(sample, whole[1::2])
        return lambda components: 1.0 if components >= wide else recalls[part]

    whole = decaying(rows=2 * THINNED_ROWS)
    monkeypatch.setattr(module, "measured", measuring)
    chosen = choose_projection(whole)
    assert (chosen.least, chosen.dimensions) == (fewest, wide if more < 0 else fewest + STEP)


@pytest.mark.parametrize("rows", [1, 1000, THINNED_ROWS, 2 * THINNED_ROWS - 1])
def test_a_small_sample_is_not_thinned(rows):
    """Of a sample with hardly more rows than a thinned one there is a single one."""
    sample = np.arange(rows, dtype=np.float32)[:, None]
    (part,) = thinned_out(sample)
    assert np.array_equal(part, sample[:THINNED_ROWS])


@pytest.mark.parametrize("rows", [2 * THINNED_ROWS, 3 * THINNED_ROWS + 7, 5000, 16_384])
def test_thinned_samples(rows):
    """Each has as many rows as it is to have, from all over the sample, and none that another has;
    of many rows there are not more of them.
    """
    sample = np.arange(rows, dtype=np.float32)[:, None]
    thinned = thinned_out(sample)
    assert len(thinned) == min(rows // THINNED_ROWS, THINNED_TIMES) > 1
    for part in thinned:
        assert part.shape == (THINNED_ROWS, 1)
        places = part[:, 0]
        assert (np.diff(places) == rows // THINNED_ROWS).all()
        assert places[0] < rows // THINNED_ROWS
        assert places[-1] >= rows - 2 * THINNED_ROWS
    assert len(np.unique(np.concatenate(thinned))) == len(thinned) * THINNED_ROWS


@pytest.mark.parametrize("decay", [0.9, 0.95, 0.96])
def test_recall_of_candidates(decay):
    """The fewest components that do find the neighbours among few candidates, sixteen fewer would
    not, and those that are walked find nearly all.
    """
    sample = decaying(decay)
    chosen = choose_projection(sample)
    slack = 0.01
    assert recall(chosen, sample) >= LEAST_RECALL - slack
    if chosen.least > STEP:
        assert recall(chosen, sample, components=chosen.least - STEP) < LEAST_RECALL + slack / 2
    # Its own rows are nearer to each other than queries are to them.
    assert recall(chosen, sample, components=chosen.dimensions) >= WANTED_RECALL


@pytest.mark.parametrize(
    "components",
    [
        pytest.param(8, marks=pytest.mark.slow),
        pytest.param(16, marks=pytest.mark.slow),
        pytest.param(32, marks=pytest.mark.slow),
        CHOSEN.dimensions,
    ],
)
@pytest.mark.parametrize("unit", [False, True])
def test_measured(components, unit, monkeypatch):
    """What is measured is the share of the nearest others of rows that is among the nearest in so
    many components of their codes, to queries that are stretched as for a walk in just those.
    """
    monkeypatch.setattr(module, "MEASURED_QUERIES", ROWS)
    chosen, sample = (UNIT_CHOSEN, UNIT) if unit else (CHOSEN, SAMPLE)
    found = measured(chosen, sample)(components)
    assert found == pytest.approx(recall(chosen, sample, ROWS, components), abs=1e-3)


def test_a_faster_decay_needs_no_more():
    """The faster the components decay, the fewer do, and the fewer are walked."""
    chosen = [choose_projection(decaying(decay)) for decay in (0.8, 0.9, 0.95)]
    for name in ("least", "dimensions"):
        numbers = [getattr(projection, name) for projection in chosen]
        assert numbers == sorted(numbers)
        assert numbers[0] < numbers[-1]


@pytest.mark.parametrize(
    ("rows", "d"),
    [
        (FEWEST_ROWS - 1, D),
        (FEWEST_ROWS, FEWEST_DIMENSIONS - 1),
        (FEWEST_ROWS, MOST_DIMENSIONS + 1),
        (0, D),
        (1, D),
    ],
)
def test_too_small_or_too_large(rows, d):
    """Few rows, few dimensions or very many are not projected, whatever they hold."""
    sample = np.zeros((rows, d), np.float32)
    sample[:, :8] = np.random.default_rng(2).standard_normal((rows, 8))
    assert choose_projection(sample) is None


def test_smallest_that_is_projected():
    """The fewest rows and dimensions for which a projection may pay do get one."""
    assert choose_projection(decaying(0.8, FEWEST_ROWS, FEWEST_DIMENSIONS)) is not None


def test_flat_spectrum():
    """Rows that spread alike in all directions are not projected: it would need most of them."""
    assert choose_projection(decaying(1.0)) is None


def test_fewer_components_than_stored():
    """Rows of a few dimensions inside many are projected, and components of nothing do no harm."""
    random = np.random.default_rng(3)
    sample = random.standard_normal((ROWS, 5)) @ random.standard_normal((5, D))
    chosen = choose_projection(sample.astype(np.float32))
    assert (chosen.least, chosen.dimensions) == (STEP, 2 * STEP)
    assert np.isfinite(chosen.points(sample.astype(np.float32)) / chosen.scale).all()
    assert recall(chosen, sample.astype(np.float32)) >= LEAST_RECALL - 0.01


def test_drift():
    """Rows like those that it was chosen for are no drift, nor are fewer of them; rows that differ
    in other components, alone or among as many of the old ones, are.
    """
    whole, turned = decaying(rows=2 * ROWS), decaying(seed=1)
    chosen = choose_projection(whole[:ROWS])
    assert not has_drifted(chosen, whole[:ROWS])
    assert not has_drifted(chosen, whole[ROWS:])
    assert not has_drifted(chosen, whole)
    assert has_drifted(chosen, turned)
    assert has_drifted(chosen, np.stack((whole[:ROWS], turned), axis=1).reshape(-1, D))


def test_drift_of_the_fewest_that_do():
    """Drift is measured in the fewest components that did, whatever more of them would find."""
    sample, other = decaying(), decaying(0.97, seed=0)
    chosen = choose_projection(sample)
    recall_in = measured(chosen, other)
    limit = LEAST_RECALL - DRIFT
    assert recall_in(chosen.least) < limit < recall_in(chosen.dimensions)
    assert has_drifted(chosen, other)
    assert not has_drifted(chosen.first(chosen.dimensions, chosen.dimensions), other)
    assert not has_drifted(chosen, sample)
    assert has_drifted(chosen.first(chosen.dimensions, STEP), sample)


def test_drift_of_too_few_rows():
    """Of rows that are too few for a projection to be chosen, nothing is said."""
    assert not has_drifted(CHOSEN, decaying(seed=1)[: FEWEST_ROWS - 1])
    assert has_drifted(CHOSEN, decaying(seed=1)[:FEWEST_ROWS])
