"""The navigator: one made, grown, saved and restored finds the same candidates, none of them dead."""

import dataclasses
import itertools
import threading

import msgspec
import numpy as np
import pytest
from support import wait_until
from unit_harness import PagedStore

from cyborg_embedded import graph as graph_module
from cyborg_embedded.components import choose_projection
from cyborg_embedded.distance import prepare
from cyborg_embedded.model import DEFAULT_PAGE_SIZE, METRICS
from cyborg_embedded.navigation import load_graph, save_graph
from cyborg_embedded.navigator import MORE_AT_REST, ONLY_BEAM, WIDER_LEAN, Navigator
from cyborg_embedded.precision import encode
from cyborg_embedded.ranking import FEW, MANY, RANKED_EXTRA
from cyborg_embedded.vectors import VectorLayout, append_vectors

D = 64
ROWS = 1500
MORE = 300
K = 10

SPREAD = 0.94 ** np.arange(D)
VECTORS = (np.random.default_rng(4).standard_normal((ROWS + MORE, D)) * SPREAD).astype(np.float32)
QUERIES = (np.random.default_rng(5).standard_normal((40, D)) * SPREAD).astype(np.float32)
DEAD = np.arange(3, ROWS, 10)
LIVE = np.setdiff1d(np.arange(ROWS), DEAD)
LATE = np.setdiff1d(np.arange(ROWS, ROWS + MORE), [ROWS + 4])


def projection_of(metric):
    """One of more components than do."""
    projection = choose_projection(prepare(VECTORS[LIVE], metric))
    assert 0 < projection.least < projection.dimensions < D
    return projection


def forced(metric, walked=32):
    """One of just so many components."""
    return choose_projection(prepare(VECTORS[LIVE], metric), walked)


def built(metric, projection, *, lean=False):
    """A navigator over the rows that are alive at first."""
    navigator = Navigator.empty(len(LIVE), projection, D, metric, lean=lean)
    navigator.add(LIVE, ROWS, prepare(VECTORS[LIVE], metric), 1, len(LIVE))
    return navigator


def shared(metric, projection, *, lean=False):
    """A navigator as `built` makes it, for who changes nothing of it."""
    known = (metric, projection and (projection.least, projection.dimensions), lean)
    if known not in SHARED:
        SHARED[known] = built(metric, projection, lean=lean)
    return SHARED[known]


SHARED = {}


def grow(navigator, metric, threads=1, step=70):
    """Add the rows that come later."""
    navigator.add(LATE, ROWS + MORE, prepare(VECTORS[LATE], metric), threads, step)


def grown(metric, projection):
    """A navigator that has got its last rows while it was in use."""
    navigator = built(metric, projection)
    grow(navigator, metric)
    return navigator


def alive_of(navigator):
    """That of the rows which a navigator covers all are alive that ever were."""
    alive = np.ones(navigator.graph.covered, bool)
    alive[DEAD] = False
    return alive


def codes_of(navigator, metric):
    """The codes of all covered rows, zeros for those that are not in the graph."""
    codes = np.zeros((navigator.graph.covered, navigator.projection.dimensions), np.int8)
    rows = navigator.graph.rows
    codes[rows] = navigator.projection.encode(prepare(VECTORS[rows], metric))
    return codes


def restored(navigator, metric, path, *, lean=False):
    """The navigator through the pages of a file."""
    covered = navigator.graph.covered
    layout = VectorLayout.of(D, DEFAULT_PAGE_SIZE)
    codes = None
    if navigator.projection is not None:
        codes = codes_of(navigator, metric).__getitem__

    def work(view):
        append_vectors(view, layout, 0, encode(VECTORS[:covered], "float32"))
        view.root = msgspec.structs.replace(view.root, rows=covered, live=covered)
        save_graph(
            view, navigator.graph_to_save(), codes and (lambda row: codes(slice(row, None))), 0
        )

    with PagedStore(path, page_size=DEFAULT_PAGE_SIZE, metric=metric, dimension=D) as store:
        store.write(work)
        with store.read() as view:
            return Navigator.restore(view, load_graph(view), layout, metric, lean=lean)


def number(ranked, k, beam=None, stretch=1.0, *, among=False):
    """How many candidates there are; or, of a walk of that width, among rows that are wanted."""
    width = max(ONLY_BEAM, 2 * k) if beam is None else beam
    least = k + max(RANKED_EXTRA, k // 4, width // 32)
    if ranked is None:
        return least
    more = min(stretch**2, 2) if ranked is MANY else 1
    count = max(int(ranked.each * more * least), int(width * more / ranked.share))
    if beam is None or ranked is FEW or among:
        return count
    return min(count, max(beam, least))


def ordered(navigator, metric, k=K, alive=None, beam=None, queries=QUERIES):
    """The candidates of queries as they come, (m, c)."""
    if alive is None:
        alive = alive_of(navigator)
    points = navigator.points(prepare(queries, metric))
    deaths = int((~alive).sum())
    answer = navigator.candidates(points, k, alive, deaths, beam)
    if answer is None:
        return None
    rows, covered = answer
    assert covered == min(navigator.graph.covered, len(alive))
    return rows


def candidates(navigator, metric, k=K, alive=None, beam=None, queries=QUERIES):
    """The candidates of queries, a list for each without what stands for none."""
    rows = ordered(navigator, metric, k, alive, beam, queries)
    if rows is None:
        return None
    return [sorted(line[line >= 0].tolist()) for line in rows]


def found(navigator, metric, k=K, alive=None):
    """The candidates, where there are some."""
    answer = candidates(navigator, metric, k, alive)
    assert answer is not None
    return answer


def true_recall(navigator, metric, rows, k=K, alive=None):
    """The share of the k nearest rows among the candidates."""
    points = prepare(VECTORS[rows], metric).astype(float)
    hits = 0
    queries = prepare(QUERIES, metric)
    answer = found(navigator, metric, k, alive)
    for query, near in zip(queries, answer, strict=True):
        distances = ((points - query) ** 2).sum(axis=1)
        if metric == "inner_product":
            distances = -(points @ query)
        hits += len(set(rows[np.argsort(distances)[:k]].tolist()) & set(near))
    return hits / (k * len(QUERIES))


CASES = [
    *((metric, True) for metric in METRICS if metric != "inner_product"),
    *((metric, False) for metric in METRICS),
]
# The roots of distances make no difference to a graph.
PARAMETERS = [
    pytest.param(case, marks=pytest.mark.slow) if case[0] == "squared_euclidean" else case
    for case in CASES
]


@pytest.fixture(
    params=PARAMETERS, ids=lambda case: f"{case[0]}-{'codes' if case[1] else 'vectors'}"
)
def case(request):
    """A metric, and a projection or None."""
    metric, projected = request.param
    return metric, projection_of(metric) if projected else None


@pytest.mark.parametrize("made", [pytest.param(built, marks=pytest.mark.slow), grown])
def test_restored_finds_the_same(case, made, tmp_path):
    """A navigator that was saved and restored finds the candidates that it found before."""
    metric, projection = case
    navigator = made(metric, projection)
    again = restored(navigator, metric, tmp_path / "x.cyb")
    assert again.graph.covered == navigator.graph.covered
    assert len(again.graph) == len(navigator.graph)
    again.graph.wake()
    for k in (1, K, 60):
        assert found(again, metric, k) == found(navigator, metric, k)


@pytest.mark.parametrize("made", [built, grown])
def test_restored_over_codes_lies_at_rest(made, tmp_path, monkeypatch):
    """A navigator over codes is restored at rest, where it finds as much as when it is awake; one
    over vectors is awake.
    """
    monkeypatch.setattr(graph_module, "PAYS_SHARE", 1)
    navigator = made("cosine", projection_of("cosine"))
    rows = LIVE if made is built else np.concatenate((LIVE, LATE))
    again = restored(navigator, "cosine", tmp_path / "x.cyb")
    assert again.graph.at_rest
    assert again.graph.covered == navigator.graph.covered
    assert np.array_equal(np.sort(again.graph.rows), rows)
    stretch = float(again.projection.stretch[-1])
    for k in (1, K, 60):
        for line in found(again, "cosine", k):
            assert len(line) == len(set(line)) == number(MANY, k, stretch=stretch)
            assert np.isin(line, rows).all()
    at_rest = true_recall(again, "cosine", rows)
    assert again.graph.at_rest
    again.graph.wake()
    assert at_rest > 0.97
    assert at_rest > true_recall(again, "cosine", rows) - 0.01
    assert not restored(built("cosine", None), "cosine", tmp_path / "y.cyb").graph.at_rest


@pytest.mark.parametrize("k", [K, 200])
@pytest.mark.parametrize("lean", [False, True])
def test_the_beam(k, lean, tmp_path, monkeypatch):
    """At rest the beam of a walk is narrower, and in fewer components than there are it is wider,
    but never is it narrower than what is to be ranked.
    """
    monkeypatch.setattr(graph_module, "PAYS_SHARE", 1)
    navigator = shared("euclidean", projection_of("euclidean"))
    again = restored(navigator, "euclidean", tmp_path / "x.cyb", lean=lean)
    real, widths = again.graph.search, []

    def search(points, width, wanted):
        widths.append((width, wanted))
        return real(points, width, wanted)

    monkeypatch.setattr(again.graph, "search", search)
    for at_rest in (True, False):
        if not at_rest:
            again.graph.wake()
        assert again.graph.at_rest == at_rest
        for beam in (None, 1, 512):
            ordered(again, "euclidean", k, beam=beam, queries=QUERIES[:1])
            width = max(ONLY_BEAM, 2 * k) if beam is None else beam
            if at_rest:
                width -= width // MORE_AT_REST
            if lean:
                width += width // WIDER_LEAN
            ranked = number(FEW if lean else MANY, k, beam)
            assert widths.pop() == (max(width, ranked), None)


def test_what_a_walk_gives(monkeypatch):
    """Where no row has died in the graph, no more is taken from a walk than is ranked."""
    navigator = built("euclidean", projection_of("euclidean"))
    navigator.spared = len(DEAD)
    real, seen = navigator.graph.search, []

    def search(points, width, wanted):
        seen.append((width, wanted))
        return real(points, width, wanted)

    monkeypatch.setattr(navigator.graph, "search", search)
    rows = ordered(navigator, "euclidean")
    assert rows.shape == (len(QUERIES), number(MANY, K))
    assert seen.pop() == (ONLY_BEAM, number(MANY, K))


def test_dead_rows_at_rest(tmp_path, monkeypatch):
    """Rows that died since it was saved are no candidates at rest either."""
    monkeypatch.setattr(graph_module, "PAYS_SHARE", 1)
    navigator = shared("euclidean", projection_of("euclidean"))
    again = restored(navigator, "euclidean", tmp_path / "x.cyb")
    alive = alive_of(again)
    alive[LIVE[::7]] = False
    for rows in found(again, "euclidean", K, alive):
        assert len(rows) >= K
        assert alive[rows].all()
    assert true_recall(again, "euclidean", np.flatnonzero(alive), alive=alive) > 0.95
    assert again.graph.at_rest


@pytest.mark.parametrize("made", [built, grown])
@pytest.mark.parametrize("lean", [False, True])
def test_points_at_rest(made, lean, tmp_path):
    """What a restored navigator walks on are the codes of its rows, and their lengths; a lean one
    has the first of them alone.
    """
    projection = projection_of("cosine")
    navigator = made("cosine", projection)
    again = restored(navigator, "cosine", tmp_path / "x.cyb", lean=lean)
    walked = projection.least if lean else projection.dimensions
    frontier = again.graph._frontier
    codes = codes_of(navigator, "cosine")[frontier.links.rows, :walked]
    assert np.array_equal(frontier.codes, codes)
    assert np.array_equal(frontier.scale, projection.scale[:walked])
    norms = ((codes * projection.scale[:walked].astype(float)) ** 2).sum(axis=1)
    assert np.allclose(frontier._norms, norms, rtol=1e-4)


@pytest.mark.parametrize("made_lean", [False, True])
@pytest.mark.parametrize("lean", [False, True])
def test_restored_in_other_components(made_lean, lean, tmp_path, monkeypatch):
    """Whether a graph was made in all components or in those that do, it is restored in the ones or
    the others, and nearly all of the nearest are found, at rest, awake and after it has grown.
    """
    monkeypatch.setattr(graph_module, "PAYS_SHARE", 1)
    projection = projection_of("euclidean")
    navigator = shared("euclidean", projection, lean=made_lean)
    again = restored(navigator, "euclidean", tmp_path / "x.cyb", lean=lean)
    walked = projection.least if lean else projection.dimensions
    assert again.graph.dimension == walked
    assert again.points(QUERIES).shape == (len(QUERIES), walked)
    assert again.projection.dimensions == projection.dimensions
    assert again.projection.least == projection.least
    for at_rest in (True, False):
        assert again.graph.at_rest == at_rest
        for line in found(again, "euclidean"):
            assert len(line) == len(set(line)) == number(FEW if lean else MANY, K)
        assert true_recall(again, "euclidean", LIVE) > 0.97
        assert again.graph.at_rest == at_rest
        again.graph.wake()
    grow(again, "euclidean")
    assert again.graph.dimension == walked
    assert true_recall(again, "euclidean", np.concatenate((LIVE, LATE))) > 0.97


def test_lean_walks_what_does():
    """A lean navigator walks the fewest components that do, in which its queries and its rows lie
    where a projection to just these has them; one that is not lean walks all.
    """
    projection = projection_of("euclidean")
    for lean, walked in ((False, projection.dimensions), (True, projection.least)):
        navigator = shared("euclidean", projection, lean=lean)
        assert navigator.graph.dimension == walked
        points = navigator.points(QUERIES)
        assert points.shape == (len(QUERIES), walked)
        whole = projection.coordinates(QUERIES)
        assert np.allclose(points, whole[:, :walked] * projection.stretch[walked - 1], atol=1e-5)
        assert np.array_equal(points, projection.points(QUERIES, walked))
        near, distances, _ = navigator.graph.search(points, ONLY_BEAM, 5)
        stored = codes_of(navigator, "euclidean")[:, :walked] * projection.scale[:walked]
        true = ((stored[near] - points[:, None].astype(float)) ** 2).sum(axis=2)
        assert np.allclose(distances, true, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_lean_finds_the_nearest(metric):
    """The few components of a lean navigator lead to nearly all of the nearest."""
    navigator = shared(metric, projection_of(metric), lean=True)
    assert true_recall(navigator, metric, LIVE) > 0.97


def test_lean_is_no_other_where_all_are_walked():
    """Where there are no more components than do, a lean navigator finds what any other does."""
    projection = forced("euclidean")
    assert projection.least == projection.dimensions == 32
    plain = shared("euclidean", projection)
    lean = shared("euclidean", projection, lean=True)
    assert lean.graph.dimension == plain.graph.dimension == 32
    for k, beam in itertools.product((1, K, 60), (None, 1, 512)):
        one = ordered(lean, "euclidean", k, beam=beam)
        assert np.array_equal(one, ordered(plain, "euclidean", k, beam=beam))


def test_restored_with_rows_in_any_order(tmp_path):
    """The nodes of a graph may be in any order: codes go to theirs, with a projection or without."""
    for projection in (projection_of("euclidean"), None):
        navigator = Navigator.empty(len(LIVE), projection, D, "euclidean")
        order = np.random.default_rng(6).permutation(LIVE)
        navigator.add(order, ROWS, prepare(VECTORS[order], "euclidean"), 1, len(order))
        path = tmp_path / f"{projection is None}.cyb"
        again = restored(navigator, "euclidean", path)
        assert again.graph.rows.tolist() == order.tolist()
        again.graph.wake()
        assert found(again, "euclidean") == found(navigator, "euclidean")
        assert true_recall(again, "euclidean", LIVE) > 0.97


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_restored_can_grow(case, tmp_path, threads):
    """A restored navigator that grows finds old rows and new ones, saved again or not."""
    metric, projection = case
    navigator = restored(built(metric, projection), metric, tmp_path / "x.cyb")
    grow(navigator, metric, threads)
    rows = np.concatenate((LIVE, LATE))
    assert navigator.graph.covered == ROWS + MORE
    assert np.sort(navigator.graph.rows).tolist() == rows.tolist()
    assert true_recall(navigator, metric, rows) > 0.95
    again = restored(navigator, metric, tmp_path / "y.cyb")
    again.graph.wake()
    assert found(again, metric) == found(navigator, metric)


@pytest.mark.parametrize("step", [1, 70, MORE])
def test_growing_in_steps(step, monkeypatch):
    """Whatever the steps in which rows are added, it ends with the same rows at the same places,
    and reaches no further at any time than the rows that it has.
    """
    projection = projection_of("euclidean")
    navigator = built("euclidean", projection)
    real, reached = navigator.graph.add, []

    def add(*arguments):
        real(*arguments)
        reached.append((navigator.graph.covered, int(navigator.graph.rows[-1])))

    monkeypatch.setattr(navigator.graph, "add", add)
    grow(navigator, "euclidean", step=step)
    assert len(reached) == -(-len(LATE) // step)
    assert all(covered == row + 1 for covered, row in reached[:-1])
    assert reached[-1] == (ROWS + MORE, LATE[-1])
    assert found(navigator, "euclidean") == found(grown("euclidean", projection), "euclidean")


def test_growing_by_nothing():
    """Told that rows beyond its own are dead, it adds none and reaches further."""
    navigator = built("euclidean", projection_of("euclidean"))
    navigator.add(LATE[:0], ROWS + MORE, VECTORS[:0], 1, 10)
    assert navigator.graph.covered == ROWS + MORE
    assert len(navigator.graph) == len(LIVE)


@pytest.mark.parametrize("lean", [False, True])
def test_without_a_projection(lean):
    """A navigator over vectors walks these, lean or not, and saves no projection."""
    navigator = shared("euclidean", None, lean=lean)
    assert navigator.graph.dimension == D
    assert navigator.points(QUERIES) is QUERIES
    assert navigator.graph_to_save().projection is None
    for beam in (None, 1, 512):
        rows = ordered(navigator, "euclidean", beam=beam)
        assert rows.shape == (len(QUERIES), number(None, K, beam))


def test_efforts_are_saved(tmp_path):
    """What was measured of walks goes along with the graph."""
    navigator = built("euclidean", projection_of("euclidean"))
    navigator.efforts, navigator.far = ((16, 9000), (24, 9985)), (1.5, 1.25)
    again = restored(navigator, "euclidean", tmp_path / "x.cyb")
    assert again.efforts == navigator.efforts
    assert again.far == navigator.far


# --- rows that are not to be found ----------------------------------------------------------


def test_dead_rows_are_no_candidates(case):
    """Rows that were dead when it was made are not in it, and those that died since are no
    candidates for who knows that they are dead; nearly all of the others are still found.
    """
    metric, projection = case
    navigator = shared(metric, projection)
    assert not np.isin(navigator.graph.rows, DEAD).any()
    alive = alive_of(navigator)
    alive[LIVE[::7]] = False
    for k in (1, K, 40):
        for rows in found(navigator, metric, k, alive):
            assert len(rows) >= k
            assert alive[rows].all()
    assert true_recall(navigator, metric, np.flatnonzero(alive), alive=alive) > 0.95
    assert found(navigator, metric) == found(shared(metric, projection), metric)


def test_rows_of_later_commits_are_no_candidates(case):
    """Who knows fewer rows than are in it gets those alone, and is told that all were walked."""
    metric, projection = case
    navigator = grown(metric, projection)
    for rows in (ROWS, ROWS + 10, ROWS + MORE - 1):
        alive = alive_of(navigator)[:rows]
        for line in found(navigator, metric, alive=alive):
            assert max(line) < rows
            assert alive[line].all()
    assert true_recall(navigator, metric, LIVE, alive=alive[:ROWS]) > 0.95


def test_the_last_row_that_is_known(case):
    """A row beyond those that are known is none, whether or not the last known one is alive."""
    metric, projection = case
    navigator = grown(metric, projection)
    row = ROWS + 5
    query = VECTORS[row : row + 1]
    for last in (True, False):
        alive = alive_of(navigator)[:row]
        alive[-1] = last
        (near,) = candidates(navigator, metric, 1, alive, queries=query)
        assert near
        assert max(near) < row
        assert alive[near].all()
    # It is there for who knows it.
    (near,) = candidates(navigator, metric, 1, alive_of(navigator)[: row + 1], queries=query)
    assert metric == "inner_product" or row in near


def test_a_neighbourhood_that_has_died(case):
    """Where so many of the nearest rows have died that a walk does not reach enough others, either
    a wider one does, or there is no answer; never fewer candidates than were asked for.
    """
    metric, projection = case
    navigator = shared(metric, projection)
    prepared = prepare(QUERIES[:1], metric)[0].astype(float)
    points = prepare(VECTORS[:ROWS], metric).astype(float)
    distances = ((points - prepared) ** 2).sum(axis=1)
    if metric == "inner_product":
        distances = -(points @ prepared)
    order = [row for row in np.argsort(distances) if row in set(LIVE.tolist())]
    scans = walks = 0
    for dead in (
        10,
        ONLY_BEAM,
        2 * ONLY_BEAM,
        4 * ONLY_BEAM,
        8 * ONLY_BEAM,
        len(order) - K,
        len(order) - 1,
    ):
        alive = alive_of(navigator)
        alive[order[:dead]] = False
        answer = candidates(navigator, metric, K, alive, queries=QUERIES[:1])
        if answer is None:
            scans += 1
            continue
        walks += 1
        assert len(answer[0]) >= K
        assert alive[answer[0]].all()
        assert order[dead] in answer[0]
    assert scans
    assert walks >= 2


def test_one_query_among_others_has_no_neighbours(case):
    """Queries that are answered together each get enough, or none gets an answer."""
    metric, projection = case
    navigator = shared(metric, projection)
    near = np.array(candidates(navigator, metric, 60, queries=QUERIES[:1])[0])
    alive = alive_of(navigator)
    alive[near] = False
    answer = candidates(navigator, metric, K, alive)
    assert answer is not None
    for line in answer:
        assert len(line) >= K
        assert alive[line].all()


# --- the candidates ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "lean", "ranked"),
    [
        (projection_of, False, MANY),
        (projection_of, True, FEW),
        (forced, False, FEW),
        (lambda _: None, False, None),
    ],
    ids=["many", "lean", "forced", "vectors"],
)
def test_number_of_candidates(made, lean, ranked):
    """Each query gets k candidates and some more, none of them twice, however narrow the beam: more
    after a walk in few components, and after a wide one.
    """
    navigator = shared("euclidean", made("euclidean"), lean=lean)
    for k, beam in itertools.product([1, 2, 10, 40], [None, 1, 500, 1200]):
        wanted = number(ranked, k, beam)
        assert wanted > k
        for rows in candidates(navigator, "euclidean", k, beam=beam):
            assert len(rows) == len(set(rows)) == wanted


def test_number_of_stretched_candidates():
    """The more queries are stretched, the more candidates there are; not after a walk in few
    components, which has many of them anyway.
    """
    made = projection_of("euclidean")
    for stretch, lean in itertools.product([1, 1.2, 1.5, 2], [False, True]):
        other = np.full_like(made.stretch, stretch)
        other[made.least - 1] = 1.1
        projection = dataclasses.replace(made, stretch=other)
        navigator = built("euclidean", projection, lean=lean)
        for k, beam in itertools.product([1, 10, 40], [None, 1200]):
            wanted = number(FEW if lean else MANY, k, beam, float(other[-1]))
            rows = ordered(navigator, "euclidean", k, beam=beam, queries=QUERIES[:3])
            assert rows.shape == (3, wanted)
            assert wanted <= number(FEW, k, beam)


def test_more_candidates():
    """There are more of them in few components than in many, and the wider a walk was."""
    counts = {}
    for name, projection in (("many", projection_of("euclidean")), ("few", forced("euclidean"))):
        navigator = shared("euclidean", projection)
        for beam in (None, 1000):
            counts[name, beam] = ordered(navigator, "euclidean", beam=beam).shape[1]
    for beam in (None, 1000):
        assert counts["many", beam] < counts["few", beam]
    for name, ranked in (("many", MANY), ("few", FEW)):
        assert counts[name, None] < counts[name, 1000] == 1000 // ranked.share


@pytest.mark.parametrize("dimensions", [16, 33, 48])
def test_forced_dimensions(dimensions):
    """As many components as were asked for are all there are, and walked by any navigator: few, as
    nobody knows whether they do.
    """
    projection = forced("euclidean", dimensions)
    assert projection.least == projection.dimensions == dimensions
    for lean in (False, True):
        navigator = built("euclidean", projection, lean=lean)
        assert navigator.graph.dimension == dimensions
        rows = ordered(navigator, "euclidean")
        assert rows.shape == (len(QUERIES), number(FEW, K))


@pytest.mark.parametrize("beam", [None, 900])
@pytest.mark.parametrize("kind", ["many", "few", "vectors"])
def test_candidates_are_the_first_of_the_walk(kind, beam):
    """The candidates are the first that a walk finds, in its order, dead rows aside."""
    projection = {"many": projection_of, "few": forced}.get(kind, lambda _: None)("euclidean")
    ranked = {"many": MANY, "few": FEW}.get(kind)
    navigator = shared("euclidean", projection)
    walk, distances, _ = navigator.graph.search(navigator.points(QUERIES), beam or ONLY_BEAM)
    assert (distances[:, 1:] >= distances[:, :-1]).all()
    wanted = number(ranked, K, beam)
    alive = alive_of(navigator)
    for dead in ([], LIVE[::9]):
        alive[dead] = False
        got = ordered(navigator, "euclidean", alive=alive, beam=beam)
        assert got.tolist() == [line[alive[line]][:wanted].tolist() for line in walk]


@pytest.mark.parametrize("kind", ["many", "few", "vectors"])
def test_candidates_among_those_wanted(kind):
    """Of the rows that are wanted the candidates are the first that a walk finds, in its order; as
    many as would do after a walk in all components are enough.
    """
    projection = {"many": projection_of, "few": forced}.get(kind, lambda _: None)("euclidean")
    ranked = {"many": MANY, "few": FEW}.get(kind)
    navigator = shared("euclidean", projection)
    points = navigator.points(QUERIES)
    told = set()
    for share, width in itertools.product((2, 4, 8), (1, ONLY_BEAM, 600)):
        wanted = alive_of(navigator)
        wanted[np.arange(ROWS) % share > 0] = False
        count = number(ranked, K, width, among=True)
        walk, _, _ = navigator.graph.search(points, max(width, count))
        rows, enough, covered = navigator.among(points, K, wanted, width)
        assert covered == ROWS
        assert rows.shape == (len(QUERIES), count)
        lines = [line[wanted[line]].tolist() for line in walk]
        assert [line[line >= 0].tolist() for line in rows] == [line[:count] for line in lines]
        assert enough.tolist() == [len(line) >= K + RANKED_EXTRA for line in lines]
        told |= set(enough.tolist())
    assert told == {False, True}


def test_recall(case):
    """The nearest rows are among the candidates, nearly always."""
    metric, projection = case
    assert true_recall(shared(metric, projection), metric, LIVE) > 0.97


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_recall_in_few_components(metric):
    """Also where few components were asked for."""
    assert true_recall(shared(metric, forced(metric)), metric, LIVE) > 0.97


@pytest.mark.parametrize("beam", [None, 512])
def test_one_query_is_as_many(case, beam):
    """A query finds the same alone and among others."""
    metric, projection = case
    navigator = shared(metric, projection)
    alone = [
        candidates(navigator, metric, beam=beam, queries=QUERIES[place : place + 1])[0]
        for place in range(len(QUERIES))
    ]
    assert candidates(navigator, metric, beam=beam) == alone


@pytest.mark.parametrize("lean", [False, True])
def test_one_query_is_as_many_at_rest(lean, tmp_path, monkeypatch):
    """So it does at rest, where it is walked by itself in any case."""
    monkeypatch.setattr(graph_module, "PAYS_SHARE", 1)
    navigator = shared("euclidean", projection_of("euclidean"))
    again = restored(navigator, "euclidean", tmp_path / "x.cyb", lean=lean)
    alone = [
        candidates(again, "euclidean", queries=QUERIES[place : place + 1])[0]
        for place in range(len(QUERIES))
    ]
    assert candidates(again, "euclidean") == alone
    assert again.graph.at_rest


def test_candidates_while_growing():
    """Threads that ask while it grows get candidates that are in it, and the row that they look for
    as soon as it is said to reach beyond it.
    """
    projection = projection_of("euclidean")
    navigator, wrong, done = built("euclidean", projection), [], threading.Event()
    alive = np.ones(ROWS + MORE, bool)
    alive[DEAD] = alive[ROWS + 4] = False
    points = navigator.points(VECTORS[LATE])
    reached = set()

    def ask(seed):
        random = np.random.default_rng(seed)
        try:
            while not done.is_set():
                place = int(random.integers(len(LATE)))
                rows, covered = navigator.candidates(
                    points[place : place + 1], K, alive, int((~alive).sum())
                )
                reached.add(covered)
                if not alive[rows].all() or rows.max() >= covered or len(set(rows[0])) < K:
                    wrong.append((rows, covered))
                if LATE[place] < covered and LATE[place] not in rows:
                    wrong.append((LATE[place], rows, covered))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for first in range(0, len(LATE), 30):
        part = LATE[first : first + 30]
        navigator.add(part, int(part[-1]) + 1, VECTORS[part], 1, 3)
        wait_until(lambda: wrong or navigator.graph.covered in reached)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
