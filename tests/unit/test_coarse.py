"""Short codes: what they call near holds the nearest, and they keep up with commits."""

import numpy as np
import pytest
from support import KEY

from cyborg_embedded import coarse as module
from cyborg_embedded.coarse import Coarse
from cyborg_embedded.components import train
from cyborg_embedded.model import PageKind

D, ROWS, STORED = 64, 1500, 1200
RANDOM = np.random.default_rng(11)
SCALES = 0.93 ** np.arange(D)
CENTRES = RANDOM.normal(size=(40, D)) * SCALES


def drawn(count):
    """Clustered vectors."""
    noise = 0.4 * SCALES * RANDOM.normal(size=(count, D))
    return (CENTRES[RANDOM.integers(40, size=count)] + noise).astype(np.float32)


VECTORS, QUERIES = drawn(ROWS), drawn(30)
PROJECTION = train(VECTORS, D).first(48, 32)
ENCODED = PROJECTION.encode(VECTORS)
NORMS = PROJECTION.norms(ENCODED)
CODES = Coarse(PROJECTION, ENCODED[:, :16], ENCODED[:, 16:32], NORMS, 0, b"")


def true_nearest(query, rows, k):
    """The k nearest of some rows, in float64."""
    squares = ((VECTORS[rows].astype(float) - query.astype(float)) ** 2).sum(axis=1)
    return set(rows[squares.argsort()[:k]].tolist())


def some(size):
    """So many of all rows, in order."""
    return np.sort(np.random.default_rng(0).choice(ROWS, size, replace=False))


@pytest.mark.parametrize("size", [60, 400, ROWS])
@pytest.mark.parametrize("together", [False, True])
def test_what_is_near_holds_the_nearest(size, together):
    """Among some of the rows that seem near are nearly all of the truly nearest, one query at a time
    and many at once.
    """
    rows, points = some(size), PROJECTION.points(QUERIES)
    if together:
        found = CODES.nearest(points, rows, 50)
    else:
        found = np.concatenate([CODES.nearest(point[None], rows, 50) for point in points])
    assert found.shape == (len(QUERIES), 50)
    hits = 0
    for query, line in zip(QUERIES, found, strict=True):
        assert len(set(line.tolist())) == 50
        assert np.isin(line, rows).all()
        hits += len(true_nearest(query, rows, 10) & set(line.tolist()))
    assert hits >= 0.98 * 10 * len(QUERIES)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("size", [0, 1, 49, 50])
def test_fewer_rows_than_asked_for(m, size):
    """Where there are not more rows than are asked for, all of them are near."""
    rows = some(size)
    found = CODES.nearest(PROJECTION.points(QUERIES[:m]), rows, 50)
    assert found.tolist() == [rows.tolist()] * m


def test_in_parts(monkeypatch):
    """However few codes are multiplied at once, the same rows are near."""
    rows, points = some(1111), PROJECTION.points(QUERIES)
    wanted = np.sort(CODES.nearest(points, rows, 20))
    single = np.sort(CODES.nearest(points[:1], rows, 20))
    for product in (1, 32 * 7, 32 * 1000):
        monkeypatch.setattr(module, "PRODUCT", product)
        assert (np.sort(CODES.nearest(points, rows, 20)) == wanted).mean() > 0.99
        assert (np.sort(CODES.nearest(points[:1], rows, 20)) == single).mean() > 0.9


def test_equal_rows():
    """Of rows that are all the same as many are found as are asked for."""
    codes = np.repeat(ENCODED[:1], 500, axis=0)
    norms = PROJECTION.norms(codes)
    same = Coarse(PROJECTION, codes[:, :16], codes[:, 16:32], norms, 0, b"")
    for m in (1, 2):
        found = same.nearest(PROJECTION.points(QUERIES[:m]), np.arange(500), 17)
        assert [len(set(line)) for line in found.tolist()] == [17] * m


def test_norms():
    """The squared norms are those of all stored components, as the codes have them."""
    scale = PROJECTION.scale.astype(float)
    assert np.allclose(NORMS, ((ENCODED * scale) ** 2).sum(axis=1), rtol=1e-5)
    lowest = np.full((3, PROJECTION.dimensions), -127, np.int8)
    assert np.allclose(PROJECTION.norms(lowest), (127.0**2 * scale**2).sum(), rtol=1e-5)


# --- of a handle ----------------------------------------------------------------------------


def slot_of(index):
    """The codes of a handle, brought up to the newest commit."""
    with index._session.read() as (state, view):
        return index._session.codes.get(view, state)


def names(start, stop):
    """Ids."""
    return [f"{number:04}" for number in range(start, stop)]


@pytest.fixture(params=[32, None], ids=["forced", "chosen"])
def coded(request, client):
    """An index with a graph over the first rows, in as many components as do, or in more."""
    with client.create_index(
        "coded", index_key=KEY, dimension=D, navigator_dimensions=request.param, indexing="manual"
    ) as index:
        index.upsert(names(0, STORED), VECTORS[:STORED])
        index.optimize()
        record = index._session.state.root.graph
        wanted = (16, 32) if request.param is None else (32, 32)
        assert (record.walked, record.dimensions) == wanted
        yield index


def test_codes_of_a_handle(client, coded):
    """They are made when they are first asked for, of every row, also of those that the graph does
    not have; the same as if those had been saved with it.
    """
    coded.upsert(names(STORED, ROWS), VECTORS[STORED:])
    assert not coded._session.codes.known
    made = slot_of(coded)
    assert coded._session.codes.known
    assert slot_of(coded) is made
    coded.optimize()
    with client.load_index("coded", index_key=KEY) as again:
        saved = slot_of(again)
    for part in ("first", "second", "norms"):
        one, other = getattr(made, part), getattr(saved, part)
        assert len(one) == len(other) == ROWS
        assert np.array_equal(one, other), part
    projection = saved.projection
    assert saved.first.shape[1] + saved.second.shape[1] == projection.least
    whole = projection.encode(VECTORS)
    assert whole.shape[1] == projection.dimensions
    codes = np.concatenate((saved.first, saved.second), axis=1)
    assert np.array_equal(codes, whole[:, : projection.least])
    assert np.array_equal(saved.norms, projection.norms(whole))


def test_codes_grow(coded):
    """A commit adds the codes of its rows, and leaves those that others hold as they are."""
    before = slot_of(coded)
    for stop in (STORED + 1, STORED + 5, ROWS):
        have = coded._session.state.root.rows
        coded.upsert(names(have, stop), VECTORS[have:stop])
        after = slot_of(coded)
        assert len(after.norms) == stop
        assert np.array_equal(after.first[: len(before.first)], before.first)
    assert len(before.norms) == STORED
    wanted = after.projection.norms(after.projection.encode(VECTORS[-9:]))
    assert np.array_equal(after.norms[-9:], wanted)


def test_no_codes_without_a_projection(client):
    """There are none without a graph, nor of one that walks the vectors themselves."""
    with client.create_index("none", index_key=KEY, dimension=D, indexing="manual") as index:
        assert slot_of(index) is None
        index.upsert(names(0, 200), VECTORS[:200])
        assert slot_of(index) is None
        index.optimize()
        assert index.is_trained()
        assert slot_of(index) is None


@pytest.mark.parametrize("kind", [PageKind.NAVIGATION, PageKind.PROJECTION])
def test_no_codes_of_damaged_pages(client, coded, kind):
    """Damaged pages count as none: no error, and no codes."""
    coded._session.write(lambda view, _: view.truncate(kind, 0))
    with client.load_index("coded", index_key=KEY, indexing="manual") as again:
        assert slot_of(again) is None


def test_no_codes_for_who_knows_fewer_deletions(coded):
    """Codes that were made when more rows had died are not for an older commit: it may mean them."""
    coded.delete(names(0, 10))
    with coded._session.read() as (state, view):
        made = coded._session.codes.get(view, state)
        assert made.deaths == state.deaths == 10

        class Older:
            root, deaths, pool = state.root, 9, state.pool

        assert coded._session.codes.get(view, Older) is None
        assert coded._session.codes.get(view, state) is made


def test_cleared(coded):
    """What is cleared is forgotten, and made again."""
    first = slot_of(coded)
    coded._session.codes.clear()
    assert not coded._session.codes.known
    assert np.array_equal(slot_of(coded).norms, first.norms)
