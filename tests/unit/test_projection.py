"""The projection: principal components, their codes, and how many of them are chosen."""

import numpy as np
import pytest

from cyborg_embedded.components import (
    FEWEST_DIMENSIONS,
    FEWEST_ROWS,
    MORE,
    MOST_DIMENSIONS,
    MOST_SHARE,
    NEIGHBOURS,
    RANKED,
    RANKED_RECALL,
    STEP,
    WALKED_TO,
    WANTED_RECALL,
    choose_projection,
    has_drifted,
    measured,
    train,
)
from cyborg_embedded.projection import SMALL_PRODUCT, products

D = 96
ROWS = 1500


def decaying(decay=0.95, rows=ROWS, d=D, seed=0):
    """Rows whose principal components lose length by a factor each, turned in every direction."""
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.standard_normal((d, d)))
    spread = random.standard_normal((rows, d)) * decay ** np.arange(d)
    return (spread @ turn + random.standard_normal(d)).astype(np.float32)


SAMPLE = decaying()
CHOSEN = choose_projection(SAMPLE)


def squared(points, queries):
    """Squared distances (m, n) in float64."""
    return ((points[None].astype(float) - queries[:, None].astype(float)) ** 2).sum(axis=2)


def nearest_others(points, queries, k):
    """The k rows nearest to each of the first rows, but for itself."""
    distances = squared(points, queries)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)[:, :k]


def recall(projection, sample, queries=100):
    """The share of true neighbours among the candidates, measured without the package's help."""
    walked = projection.walked
    stored = projection.encode(sample)[:, :walked] * projection.scale[:walked]
    asked = projection.points(sample[:queries])[:, :walked]
    near = nearest_others(stored, asked, WALKED_TO)
    true = nearest_others(sample, sample[:queries], NEIGHBOURS)
    hits = [len(set(a) & set(b)) for a, b in zip(true.tolist(), near.tolist(), strict=True)]
    return sum(hits) / true.size


def test_basis_is_orthonormal():
    """The columns of the basis have length one and stand at right angles."""
    assert CHOSEN.basis.shape == (D, CHOSEN.dimensions)
    assert np.allclose(CHOSEN.basis.T @ CHOSEN.basis, np.eye(CHOSEN.dimensions), atol=1e-5)


def test_components_are_the_principal_ones():
    """Components come by variance, the largest first, and have the largest variances there are."""
    points = CHOSEN.points(SAMPLE).astype(float)
    assert np.allclose(points.mean(axis=0), 0, atol=1e-3)
    covariance = np.cov(SAMPLE.astype(float), rowvar=False, bias=True)
    wanted = np.linalg.eigvalsh(covariance)[::-1][: CHOSEN.dimensions]
    assert np.allclose(points.var(axis=0), wanted, rtol=1e-3)
    assert np.allclose(np.cov(points, rowvar=False, bias=True), np.diag(wanted), atol=1e-3)


def test_points_keep_distances():
    """Distances between points are those between vectors, less what the other components hold."""
    full = train(SAMPLE, D)
    queries = SAMPLE[:20]
    whole = squared(full.points(SAMPLE), full.points(queries))
    assert np.allclose(whole, squared(SAMPLE, queries), rtol=1e-4, atol=1e-4)
    part = squared(CHOSEN.points(SAMPLE), CHOSEN.points(queries))
    assert (part <= squared(SAMPLE, queries) + 1e-4).all()


def test_deterministic():
    """The same rows give the same projection, bit for bit."""
    again = choose_projection(SAMPLE.copy())
    assert again.walked == CHOSEN.walked
    for name in ("basis", "offset", "scale"):
        assert getattr(again, name).tobytes() == getattr(CHOSEN, name).tobytes()


def test_codes():
    """What a code stands for is within half a step of the point, and no code is -128."""
    codes = CHOSEN.encode(SAMPLE)
    assert codes.dtype == np.int8
    assert codes.min() >= -127
    assert (np.abs(codes).max(axis=0) == 127).all()
    error = np.abs(codes * CHOSEN.scale - CHOSEN.points(SAMPLE))
    assert (error <= 0.501 * CHOSEN.scale).all()


def test_codes_of_vectors_beyond_the_sample():
    """The codes of vectors further out than any of the sample are cut, not wrapped around."""
    far = 1000 * (SAMPLE - SAMPLE.mean(axis=0))
    points, codes = CHOSEN.points(far), CHOSEN.encode(far)
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


def test_points_that_are_walked():
    """The points in what is walked are the leading components of the whole ones."""
    walked, whole = CHOSEN.points(SAMPLE[:9], walked=True), CHOSEN.points(SAMPLE[:9])
    assert walked.shape == (9, CHOSEN.walked)
    assert np.allclose(walked, whole[:, : CHOSEN.walked], rtol=1e-5, atol=1e-5)


def test_lengths_of_what_is_walked():
    """Their squares are those of the decoded points, and the codes stay as they are."""
    codes = CHOSEN.encode(SAMPLE)
    before = codes.copy()
    true = (CHOSEN.decode(codes).astype(float) ** 2).sum(axis=1)
    assert np.allclose(CHOSEN.norms(codes[:, : CHOSEN.walked]), true, rtol=1e-5)
    assert np.array_equal(codes, before)


def test_decoding_gives_what_is_walked():
    """The graph's points are the first components of what the codes stand for."""
    codes = CHOSEN.encode(SAMPLE[:50])
    points = CHOSEN.decode(codes)
    assert points.dtype == np.float32
    assert np.array_equal(points, (codes * CHOSEN.scale)[:, : CHOSEN.walked].astype(np.float32))


def test_walked_and_rest_are_the_whole_distance():
    """What is walked and what is not add up to the distance in all components."""
    walked = CHOSEN.walked
    assert walked < CHOSEN.dimensions
    points = CHOSEN.points(SAMPLE[:7])
    rows = np.random.default_rng(1).integers(0, ROWS, (7, 30))
    codes = CHOSEN.encode(SAMPLE)[rows]
    rest = CHOSEN.rest_distances(codes[:, :, walked:], points)
    assert rest.shape == (7, 30)
    near = np.stack([CHOSEN.decode(part) for part in codes])
    inside = ((near - points[:, None, :walked]) ** 2).sum(axis=2)
    whole = ((codes * CHOSEN.scale - points[:, None]) ** 2).sum(axis=2)
    assert np.allclose(inside + rest, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("d", [FEWEST_DIMENSIONS, 100, 130])
@pytest.mark.parametrize("decay", [0.5, 0.9, 0.95, 0.97])
def test_chosen_dimensions(d, decay):
    """Dimensions are multiples of 16, walked ones at most three quarters, stored ones more."""
    chosen = choose_projection(decaying(decay, d=d))
    if chosen is None:
        assert decay == 0.97
        return
    walked, m = chosen.walked, chosen.dimensions
    assert walked % STEP == m % STEP == 0
    assert STEP == 16
    assert 0 < walked <= MOST_SHARE * d
    least, most = min(int(walked * MORE) // STEP * STEP, d // STEP * STEP), d // STEP * STEP
    assert least <= m <= most
    # As few as sort the neighbours well enough.
    recall_in = measured(train(decaying(decay, d=d), most), decaying(decay, d=d))
    assert m == most or recall_in(m, RANKED) >= RANKED_RECALL
    assert m == least or recall_in(m - STEP, RANKED) < RANKED_RECALL
    assert chosen.basis.shape == (d, m)
    assert chosen.offset.shape == chosen.scale.shape == (m,)
    assert {part.dtype for part in (chosen.basis, chosen.offset, chosen.scale)} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize("decay", [0.9, 0.95, 0.96])
def test_recall_of_candidates(decay):
    """What is chosen finds the neighbours among few candidates, and sixteen fewer would not."""
    sample = decaying(decay)
    chosen = choose_projection(sample)
    slack = 0.01
    assert recall(chosen, sample) >= WANTED_RECALL - slack
    if chosen.walked > STEP:
        fewer = chosen.first(chosen.walked - STEP, chosen.dimensions)
        assert recall(fewer, sample) < WANTED_RECALL + slack / 2


def test_a_faster_decay_needs_no_more():
    """The faster the components decay, the fewer are walked."""
    walked = [choose_projection(decaying(decay)).walked for decay in (0.8, 0.9, 0.95)]
    assert walked == sorted(walked)
    assert walked[0] < walked[-1]


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
    assert chosen.walked == STEP
    assert np.isfinite(chosen.points(sample.astype(np.float32)) / chosen.scale).all()
    assert recall(chosen, sample.astype(np.float32)) >= WANTED_RECALL - 0.01


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


def test_drift_of_too_few_rows():
    """Of rows that are too few for a projection to be chosen, nothing is said."""
    assert not has_drifted(CHOSEN, decaying(seed=1)[: FEWEST_ROWS - 1])
    assert has_drifted(CHOSEN, decaying(seed=1)[:FEWEST_ROWS])
