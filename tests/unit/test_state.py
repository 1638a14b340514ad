"""From one commit to the next: which commits follow, and what of the state in memory is kept."""

import contextlib
import dataclasses
import os
import shutil
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from unit_harness import KEY, PagedStore

from cyborg_embedded.errors import IntegrityError, RollbackError
from cyborg_embedded.graph import Graph
from cyborg_embedded.itemids import IDS_PER_PAGE, append_item_ids
from cyborg_embedded.navigation import SavedGraph, drop_graph, save_graph
from cyborg_embedded.precision import encode
from cyborg_embedded.root import GraphRecord, IdRecord
from cyborg_embedded.state import DERIVED, State, advance, check_successor
from cyborg_embedded.store import PageStore
from cyborg_embedded.tombstones import bury
from cyborg_embedded.vectors import VectorLayout, append_vectors

PAGE_SIZE = 256
D = 13
LAYOUT = VectorLayout.of(D, PAGE_SIZE)
PER_PAGE = LAYOUT.rows_per_page
LONG = 130
"""A dimension whose rows take several pages."""


class Branch(PagedStore):
    """An index of vectors and ids alone, one commit at a time."""

    def __init__(self, path, dimension=D):
        super().__init__(path, page_size=PAGE_SIZE, dimension=dimension)
        self.layout = VectorLayout.of(dimension, PAGE_SIZE)

    def append(self, count, seed=0):
        """Add rows whose vectors and ids go by the seed."""
        random = np.random.default_rng(seed)
        vectors = random.standard_normal((count, self.layout.dimension)).astype(np.float32)

        def work(view):
            root = view.root
            append_vectors(view, self.layout, root.rows, encode(vectors, "float32"))
            ids = [b"%d-%d" % (seed, root.rows + number) for number in range(count)]
            append_item_ids(view, root.rows, ids)
            view.root = msgspec.structs.replace(
                root, rows=root.rows + count, live=root.live + count
            )

        self.write(work)

    def bury(self, rows):
        """Delete rows."""

        def work(view):
            bury(view, np.array(rows), PAGE_SIZE)
            view.root = msgspec.structs.replace(view.root, live=view.root.live - len(rows))

        self.write(work)

    def commit(self):
        """A commit that changes nothing that a state holds."""
        ids = self.snapshot.root.ids if self.snapshot else IdRecord()
        self.set_root(ids=IdRecord(ids.entries + 1))

    def set_root(self, **changes):
        """A commit that changes nothing but the root."""
        self.write(
            lambda view: setattr(view, "root", msgspec.structs.replace(view.root, **changes))
        )

    def state(self, older=None):
        """The state of the newest commit."""
        with self.read() as view:
            return advance(view, older, PAGE_SIZE, None)

    def diverged(self, path):
        """A copy of the file, to be written to on its own."""
        self.close()
        shutil.copyfile(self.path, path)
        self.store = PageStore.open(self.path, KEY, timeout=5)
        copy = object.__new__(Branch)
        copy.path, copy.layout, copy.snapshot = os.fspath(path), self.layout, None
        copy.store = PageStore.open(copy.path, KEY, timeout=5)
        return copy


@pytest.fixture
def branch(tmp_path):
    with Branch(tmp_path / "x.cyb") as branch:
        yield branch


@pytest.fixture
def other(branch, tmp_path):
    """A function that gives a diverged copy of the branch."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(branch.diverged(tmp_path / "y.cyb"))


EDGE = [1, PER_PAGE - 1, PER_PAGE, PER_PAGE + 1, 3 * PER_PAGE]


@pytest.mark.parametrize("first", [0, *EDGE])
@pytest.mark.parametrize("more", EDGE)
def test_appending_follows(branch, first, more):
    """A commit with more rows follows the one before it, around the edges of pages."""
    if first:
        branch.append(first)
    older = branch.state()
    branch.append(more, seed=1)
    newer = branch.state(older)
    assert newer.root.rows == first + more
    assert newer.pool is older.pool
    assert newer.alive.tolist() == [True] * (first + more)


@pytest.mark.parametrize("rows", [IDS_PER_PAGE - 1, IDS_PER_PAGE, IDS_PER_PAGE + 1])
def test_appending_follows_around_pages_of_ids(branch, rows):
    """A commit with more rows follows the one before it around the edges of pages of ids."""
    branch.append(rows)
    older = branch.state()
    branch.append(1, seed=1)
    assert branch.state(older).root.rows == rows + 1


def test_rows_over_several_pages(tmp_path):
    """Rows that take several pages each are followed, and refused, like any others."""
    with Branch(tmp_path / "x.cyb", LONG) as branch:
        assert branch.layout.pages_per_row == 3
        branch.append(2)
        with branch.diverged(tmp_path / "y.cyb") as copy:
            copy.append(1, seed=7)
            branch.append(1, seed=8)
            older = branch.state()
            branch.append(1, seed=9)
            assert branch.state(older).root.rows == 4
            copy.append(2, seed=9)
            with pytest.raises(RollbackError):
                copy.state(older)


def test_deleting_follows(branch):
    """A commit with fewer live rows follows, and its state says which are alive."""
    branch.append(5)
    older = branch.state()
    branch.bury([1, 3])
    newer = branch.state(older)
    assert newer.alive.tolist() == [True, False, True, False, True]
    assert newer.deaths == 2
    assert older.alive.all()
    assert older.deaths == 0


def test_a_commit_without_a_change_of_rows_follows(branch):
    """A commit that changes neither rows nor derived pages keeps pool and navigator."""
    branch.append(PER_PAGE + 1)
    older = branch.state()
    branch.commit()
    newer = branch.state(older)
    assert newer.snapshot.root.sequence == older.snapshot.root.sequence + 1
    assert newer.pool is older.pool
    assert newer.navigator is older.navigator


def test_skipped_commits_follow(branch):
    """A state follows over several commits at once."""
    branch.append(1)
    older = branch.state()
    for seed in range(1, 2 * PER_PAGE):
        branch.append(1, seed)
    branch.bury([0])
    assert branch.state(older).root.rows == 2 * PER_PAGE


def test_the_first_rows(tmp_path):
    """An index whose dimension was not set follows to one that has rows."""
    with Branch(tmp_path / "x.cyb") as branch:
        branch.set_root(dimension=0)
        older = branch.state()
        assert older.pool is None
        branch.set_root(dimension=D)
        branch.append(3)
        newer = branch.state(older)
        assert newer.pool is not None
        assert newer.root.rows == 3


@pytest.mark.parametrize("shared", [0, 1, PER_PAGE, PER_PAGE + 1])
def test_a_full_page_of_other_rows(branch, other, shared):
    """A commit whose full pages hold other rows than those read before is no successor."""
    if shared:
        branch.append(shared)
    copy = other()
    branch.append(PER_PAGE, seed=1)
    older = branch.state()
    copy.append(PER_PAGE, seed=2)
    copy.append(2 * PER_PAGE, seed=3)
    assert copy.state().root.sequence > older.root.sequence
    with pytest.raises(RollbackError) as caught:
        copy.state(older)
    assert caught.value.sequence == copy.snapshot.root.sequence
    assert caught.value.expected == older.root.sequence


def test_a_partial_page_of_other_rows(branch, other):
    """A commit of as many rows, of which those of the last page are other ones, is no successor."""
    branch.append(PER_PAGE)
    copy = other()
    branch.append(1, seed=1)
    older = branch.state()
    copy.append(1, seed=2)
    copy.commit()
    with pytest.raises(RollbackError):
        copy.state(older)


def test_fewer_rows(branch, other):
    """A commit of fewer rows than were there before is no successor, whatever its sequence."""
    branch.append(1)
    copy = other()
    branch.append(1, seed=1)
    older = branch.state()
    for _ in range(3):
        copy.commit()
    with pytest.raises(RollbackError):
        copy.state(older)


def test_other_ids_of_the_same_vectors(branch, other):
    """A commit whose ids of old rows are other ones is no successor, though vectors are the same."""
    copy = other()
    branch.append(2, seed=1)
    older = branch.state()

    def work(view):
        append_item_ids(view, 0, [b"another", b"one"])

    copy.append(2, seed=1)
    copy.write(work)
    with pytest.raises(RollbackError):
        copy.state(older)


def changed(snapshot, *, rows=None, tags=None):
    """A snapshot that says something else."""
    root = snapshot.root
    if rows is not None:
        root = msgspec.structs.replace(root, rows=rows, live=rows)
    tags = dict(snapshot.tags) | (tags or {})
    return dataclasses.replace(snapshot, root=root, tags=tags)


def test_every_full_page_counts(branch):
    """A changed tag of any full page is noticed; that of a page that has got rows since is not."""
    rows = 3 * PER_PAGE + 1
    branch.append(rows)
    older = branch.state()
    snapshot = older.snapshot
    for kind, tags in snapshot.tags.items():
        full = rows // (IDS_PER_PAGE if kind.name == "ITEM_IDS" else PER_PAGE)
        for page in range(len(tags) // 16):
            patched = bytearray(tags)
            patched[16 * page] ^= 1
            with pytest.raises(RollbackError):
                check_successor(changed(snapshot, tags={kind: bytes(patched)}), older)
            grown = changed(snapshot, rows=rows + 1, tags={kind: bytes(patched)})
            if page < full:
                with pytest.raises(RollbackError):
                    check_successor(grown, older)
            else:
                check_successor(grown, older)
        with pytest.raises(RollbackError):
            check_successor(changed(snapshot, tags={kind: tags[:-16]}), older)
    check_successor(snapshot, older)
    for fewer in (0, rows - 1):
        with pytest.raises(RollbackError):
            check_successor(changed(snapshot, rows=fewer), older)


def test_refused_commits_leave_the_state(branch, other):
    """A commit that was refused changes nothing of the state that was held."""
    copy = other()
    branch.append(PER_PAGE, seed=1)
    older = branch.state()
    copy.append(PER_PAGE, seed=2)
    copy.append(1, seed=2)
    with pytest.raises(RollbackError):
        copy.state(older)
    assert branch.state(older).root == older.root


def test_live_rows_that_do_not_add_up(branch):
    """A root with another number of live rows than the tombstones leave is IntegrityError."""
    branch.append(5)
    older = branch.state()
    branch.set_root(live=4)
    for before in (None, older):
        with pytest.raises(IntegrityError) as caught:
            branch.state(before)
        assert caught.value.kind == "TOMBSTONES"


def test_a_damaged_graph_is_none(branch):
    """A saved graph that cannot be read counts as none, and the slot says so."""
    branch.append(3)
    branch.set_root(graph=GraphRecord(rows=3, bytes=100))
    state = branch.state()
    assert isinstance(state, State)
    with branch.read() as view:
        assert state.navigator.get(view, state) is None
    assert state.navigator.damaged


# --- the navigator -----------------------------------------------------------------------------


def save(branch, rows):
    """Save a graph over the vectors of the first rows."""
    vectors = np.random.default_rng(rows).standard_normal((rows, D)).astype(np.float32)
    graph = Graph.empty(rows, D, "l2")
    graph.add(np.arange(rows), rows, vectors, 1)
    branch.write(lambda view: save_graph(view, SavedGraph(*graph.links(), None), None, 0))


def reaching(rows):
    """What stands for a navigator that has the first rows."""
    return SimpleNamespace(graph=SimpleNamespace(torn=False, covered=rows))


def test_a_navigator_is_restored_once(branch):
    """What is restored knows what it was restored from, and serves later commits too."""
    branch.append(20)
    branch.bury([3, 4])
    save(branch, 18)
    state = branch.state()
    assert state.navigator.known is None
    with branch.read() as view:
        navigator = state.navigator.get(view, state)
        assert state.navigator.get(view, state) is navigator
    assert state.navigator.known is navigator
    assert navigator.graph.covered == 18
    assert navigator.deaths == state.deaths == 2
    assert navigator.saved == ([state.snapshot.tags.get(kind, b"") for kind in DERIVED], 18)
    assert not state.navigator.damaged
    branch.append(5, seed=1)
    branch.bury([5])
    newer = branch.state(state)
    assert newer.navigator.known is navigator
    assert navigator.deaths == 2


def test_without_a_graph_there_is_no_navigator(branch):
    """Where the file has no graph, there is none, and that is not asked twice."""
    branch.append(3)
    state = branch.state()
    with branch.read() as view:
        assert state.navigator.get(view, state) is None
    assert state.navigator.get(None, state) is None
    assert not state.navigator.damaged


@pytest.mark.parametrize("saved", [False, True])
def test_adopting(branch, saved):
    """A navigator that was put in place is used instead of what the file has, until another is."""
    branch.append(20)
    if saved:
        save(branch, 10)
    state = branch.state()
    made = reaching(20)
    state.navigator.adopt(made)
    assert state.navigator.known is made
    assert state.navigator.get(None, state) is made
    branch.append(1, seed=1)
    assert branch.state(state).navigator.known is made
    state.navigator.adopt(None)
    assert state.navigator.known is None
    assert state.navigator.get(None, state) is None


@pytest.mark.parametrize(("known", "kept"), [(None, False), (11, False), (12, True), (20, True)])
def test_a_graph_that_another_has_saved(branch, known, kept):
    """When the file gets another graph, the one in memory is kept if it reaches as far at least."""
    branch.append(20)
    save(branch, 10)
    older = branch.state()
    if known is not None:
        older.navigator.adopt(reaching(known))
    save(branch, 12)
    newer = branch.state(older)
    assert (newer.navigator is older.navigator) == kept
    assert older.navigator.known is None or older.navigator.known.graph.covered == known
    with branch.read() as view:
        assert newer.navigator.get(view, newer).graph.covered == (known if kept else 12)


def test_a_graph_that_another_has_dropped(branch):
    """When the file's graph is gone, so is the one in memory; older states keep it."""
    branch.append(20)
    save(branch, 10)
    older = branch.state()
    older.navigator.adopt(reaching(20))
    branch.write(drop_graph)
    newer = branch.state(older)
    with branch.read() as view:
        assert newer.navigator.get(view, newer) is None
    assert older.navigator.known.graph.covered == 20
