"""Saved graphs: round trips around page edges, and that saving rewrites only what changed."""

import dataclasses
import functools

import msgspec
import numpy as np
import pytest
from unit_harness import PagedStore

from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.graph import Graph
from cyborg_embedded.model import PageKind
from cyborg_embedded.navigation import (
    SavedGraph,
    drop_graph,
    load_graph,
    rows_per_page,
    save_graph,
    stream_codes,
)
from cyborg_embedded.projection import MOST_STRETCH, Projection

PAGE_SIZE = 256
ROOM = PAGE_SIZE - OVERHEAD
D, M, WALKED = 20, 32, 16
PER_PAGE = ROOM // M
MOST = 6 * PER_PAGE
RANDOM = np.random.default_rng(6)
POINTS = RANDOM.standard_normal((MOST, WALKED)).astype(np.float32)
CODES = RANDOM.integers(-127, 128, (MOST, M)).astype(np.int8)
EDGE = [1, PER_PAGE - 1, PER_PAGE, PER_PAGE + 1, 3 * PER_PAGE - 1, 3 * PER_PAGE, 3 * PER_PAGE + 1]
DERIVED = (PageKind.GRAPH, PageKind.NAVIGATION, PageKind.PROJECTION)


def a_projection(seed=0):
    random = np.random.default_rng(seed)
    parts = [random.standard_normal(shape).astype(np.float32) for shape in ((D, M), M, M)]
    stretch = random.uniform(1, MOST_STRETCH, M).astype(np.float32)
    return Projection(*parts, stretch, WALKED)


PROJECTION = a_projection()


@functools.cache
def links(rows):
    """Links over the first rows, in any order; built once, since threads build them in any order."""
    graph = Graph.empty(rows, WALKED, "l2")
    order = np.random.default_rng(rows).permutation(rows)
    graph.add(order, rows, POINTS[order], 1)
    return graph.links()[0]


def saved(rows, projection=PROJECTION):
    """A graph over the first rows, as it is to be saved."""
    return SavedGraph(links(rows), rows, projection)


def write(store, graph, codes=CODES, first=0):
    """Save a graph, in an index that has its rows."""

    def given(row):
        return codes[row : graph.covered]

    def work(view):
        root = msgspec.structs.replace(view.root, rows=graph.covered, live=graph.covered)
        view.root = root
        save_graph(view, graph, None if graph.projection is None else given, first)

    store.write(work)


def read(store):
    """The saved graph and its codes."""
    with store.read() as view:
        graph = load_graph(view)
        if graph is None or graph.projection is None:
            return graph, None
        m = graph.projection.dimensions
        codes, seen = np.zeros((graph.covered, m), np.int8), np.zeros(graph.covered, int)

        def take(first, part):
            codes[first : first + len(part)] = part
            seen[first : first + len(part)] += 1

        stream_codes(view, m, graph.covered, take)
        assert (seen == 1).all()
        return graph, codes


def same(one, other):
    """Whether two dataclasses hold the same, arrays bit for bit."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a):
            same(a, b)
        else:
            assert np.array_equal(a, b), field.name


def sealed(store, kind):
    """The stored bytes of all pages of a kind."""
    with store.read() as view:
        pages = range(view.snapshot.pages(kind))
        return [bytes(view._txn.get(bytes([kind]) + number.to_bytes(8, "big"))) for number in pages]


@pytest.fixture
def store(tmp_path):
    with PagedStore(tmp_path / "x.cyb", page_size=PAGE_SIZE, dimension=D) as store:
        yield store


@pytest.mark.parametrize("rows", EDGE)
def test_round_trip(store, rows):
    """Links, projection, how many components do and codes come back, around the edges of pages."""
    write(store, saved(rows))
    graph, codes = read(store)
    same(graph, saved(rows))
    assert graph.projection.least == WALKED
    assert np.array_equal(codes, CODES[:rows])
    with store.read() as view:
        record = view.snapshot.root.graph
        assert (record.rows, record.dimensions, record.walked) == (rows, M, WALKED)
        assert view.snapshot.pages(PageKind.NAVIGATION) == -(-rows // PER_PAGE)


def test_bytes_of_a_projection(store):
    """A projection is saved as basis, offset, scale and stretch, row by row, and must have that length."""
    write(store, saved(5))
    names = ("basis", "offset", "scale", "stretch")
    parts = [getattr(PROJECTION, name) for name in names]
    wanted = np.concatenate([part.ravel() for part in parts]).astype("<f4").tobytes()
    with store.read() as view:
        pages = view.snapshot.pages(PageKind.PROJECTION)
        got = b"".join(bytes(view.open(PageKind.PROJECTION, page)) for page in range(pages))
    assert got == wanted
    last = wanted[(pages - 1) * ROOM :]
    for data in (last[:-4], last + bytes(4)):
        store.write(lambda view, data=data: view.seal(PageKind.PROJECTION, pages - 1, data))
        with store.read() as view, pytest.raises(IntegrityError) as caught:
            load_graph(view)
        assert caught.value.kind == "PROJECTION"


@pytest.mark.parametrize("rows", EDGE)
def test_over_the_vectors(store, rows):
    """A graph over vectors has no codes and no projection, and comes back."""
    write(store, saved(rows, None))
    graph, codes = read(store)
    same(graph, saved(rows, None))
    assert codes is None
    with store.read() as view:
        record = view.snapshot.root.graph
        assert (record.dimensions, record.walked) == (0, 0)
        assert view.snapshot.pages(PageKind.NAVIGATION) == 0
        assert view.snapshot.pages(PageKind.PROJECTION) == 0


def test_rows_per_page():
    """A page holds as many whole rows of codes as fit."""
    assert rows_per_page(PAGE_SIZE, M) == PER_PAGE
    assert rows_per_page(PAGE_SIZE, ROOM) == 1
    assert rows_per_page(PAGE_SIZE, ROOM // 2 + 1) == 1


def test_unused_bytes_are_zero(store):
    """What a page has beyond the last row is zero, and every page has the same length."""
    write(store, saved(PER_PAGE + 1))
    with store.read() as view:
        last = view.open(PageKind.NAVIGATION, 1)
        assert len(last) == len(view.open(PageKind.NAVIGATION, 0)) == PER_PAGE * M
    assert last[:M] == CODES[PER_PAGE].tobytes()
    assert not any(last[M:])


@pytest.mark.parametrize("more", [1, PER_PAGE, 2 * PER_PAGE + 1])
@pytest.mark.parametrize("rows", EDGE)
def test_extended_save_rewrites_what_changed(store, rows, more):
    """Saving more rows keeps pages that were full, and the projection, byte for byte."""
    write(store, saved(rows))
    navigation = sealed(store, PageKind.NAVIGATION)
    projection = sealed(store, PageKind.PROJECTION)
    write(store, saved(rows + more), first=rows)
    full = rows // PER_PAGE
    after = sealed(store, PageKind.NAVIGATION)
    assert after[:full] == navigation[:full]
    assert not set(after[full:]) & set(navigation)
    assert len(after) == -(-(rows + more) // PER_PAGE)
    assert sealed(store, PageKind.PROJECTION) == projection
    graph, codes = read(store)
    same(graph, saved(rows + more))
    assert np.array_equal(codes, CODES[: rows + more])


def test_extended_save_asks_for_no_earlier_codes(store):
    """Only the codes of new rows, and of those that share a page with them, are asked for."""
    rows = PER_PAGE + 2
    write(store, saved(rows))
    poisoned = CODES.copy()
    poisoned[:PER_PAGE] = 99
    write(store, saved(2 * PER_PAGE), codes=poisoned, first=rows)
    assert np.array_equal(read(store)[1], CODES[: 2 * PER_PAGE])


@pytest.mark.parametrize(("rows", "later"), [(MOST, 1), (1, MOST), (PER_PAGE, PER_PAGE)])
def test_another_graph_in_its_place(store, rows, later):
    """A graph saved from the first row on leaves nothing of the one before it."""
    write(store, saved(rows))
    other = a_projection(1)
    write(store, saved(later, other), codes=CODES[::-1])
    graph, codes = read(store)
    same(graph, saved(later, other))
    assert np.array_equal(codes, CODES[::-1][:later])
    assert len(sealed(store, PageKind.NAVIGATION)) == -(-later // PER_PAGE)


def test_from_a_projection_to_vectors(store):
    """A graph over vectors in place of a projected one removes codes and projection."""
    write(store, saved(MOST))
    write(store, saved(MOST, None))
    assert sealed(store, PageKind.NAVIGATION) == sealed(store, PageKind.PROJECTION) == []
    same(read(store)[0], saved(MOST, None))


def test_dropping(store):
    """A graph that is dropped leaves no page of any of its kinds."""
    assert read(store)[0] is None
    write(store, saved(MOST))
    store.write(drop_graph)
    assert read(store)[0] is None
    with store.read() as view:
        assert view.snapshot.root.graph is None
        assert [view.snapshot.pages(kind) for kind in DERIVED] == [0, 0, 0]


def change_record(store, **changes):
    """Have the root say something else of the graph."""

    def work(view):
        graph = msgspec.structs.replace(view.root.graph, **changes)
        view.root = msgspec.structs.replace(view.root, graph=graph)

    store.write(work)


@pytest.mark.parametrize(
    "changes",
    [
        {"walked": 0},
        {"walked": M + 1},
        {"dimensions": WALKED - 1},
        {"dimensions": M + 1},
        {"dimensions": ROOM + 1},
        {"bytes": 10},
        {"rows": 3},
    ],
    ids=str,
)
def test_a_root_that_contradicts_the_pages(store, changes):
    """A record of the graph that does not fit its pages, or itself, is IntegrityError."""
    write(store, saved(PER_PAGE + 1))
    change_record(store, **changes)
    with store.read() as view, pytest.raises(IntegrityError) as caught:
        load_graph(view)
    assert caught.value.kind in {"GRAPH", "NAVIGATION", "PROJECTION"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["basis", "offset", "scale", "stretch"])
def test_projections_that_are_not_finite(store, part, value):
    """A projection with a number that is not finite is IntegrityError."""
    array = getattr(PROJECTION, part).copy()
    array.reshape(-1)[-1] = value
    write(store, saved(5, dataclasses.replace(PROJECTION, **{part: array})))
    with store.read() as view, pytest.raises(IntegrityError) as caught:
        load_graph(view)
    assert caught.value.kind == "PROJECTION"


@pytest.mark.parametrize("value", [-1, 0, 0.99, 2.01, 1e30])
def test_stretches_that_are_none(store, value):
    """A stretch that is not from 1 to 2 is IntegrityError; either of these is one."""
    for stretch in (1, MOST_STRETCH, value):
        array = PROJECTION.stretch.copy()
        array[-1] = stretch
        write(store, saved(5, dataclasses.replace(PROJECTION, stretch=array)))
        with store.read() as view:
            if stretch != value:
                assert load_graph(view).projection.stretch[-1] == stretch
                continue
            with pytest.raises(IntegrityError) as caught:
                load_graph(view)
            assert caught.value.kind == "PROJECTION"


@pytest.mark.parametrize("length", [0, PER_PAGE * M - 1, PER_PAGE * M + 1])
def test_codes_of_another_length(store, length):
    """A page of codes of another length is IntegrityError."""
    write(store, saved(MOST))
    store.write(lambda view: view.seal(PageKind.NAVIGATION, 1, bytes(length)))
    with store.read() as view, pytest.raises(IntegrityError) as caught:
        stream_codes(view, M, MOST, lambda first, codes: None)
    assert (caught.value.kind, caught.value.number) == ("NAVIGATION", 1)
