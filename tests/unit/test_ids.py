"""From ids to rows, against a dict: inserts, moves, removals, merges, and ids that nearly agree."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_harness import PagedStore

from cyborg_embedded import ids as ids_module
from cyborg_embedded.aead import OVERHEAD
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.ids import ABSENT, Blinded, IdCache, record_ids
from cyborg_embedded.model import PageKind

PER_PAGE = (256 - OVERHEAD) // 20
ROWS = 1 << 20


class IdStore:
    """A page store with ids alone, a dict that says where they lead, and two caches."""

    def __init__(self, path):
        self.pages = PagedStore(path)
        self.oracle = {}
        self.cache = IdCache()
        self.seldom = IdCache()
        """Asked only now and then: it has to follow several commits at once."""

        def have_rows(view):
            view.root = msgspec.structs.replace(view.root, rows=ROWS, live=ROWS)

        self.pages.write(have_rows)

    def record(self, changes):
        """`changes`: blinded id to row, or to `ABSENT`."""
        ids = Blinded.of(b"".join(changes))
        rows = np.array(list(changes.values()), np.int64)

        def work(view):
            record_ids(view, self.cache.table(view), ids, rows)

        self.pages.write(work)
        self.oracle |= changes
        self.oracle = {key: row for key, row in self.oracle.items() if row != ABSENT}

    def check(self, others=(), *, cache=None):
        asked = list({*self.oracle, *others})
        np.random.default_rng(len(asked)).shuffle(asked)
        with self.pages.read() as view:
            found = (cache or self.cache).table(view).find(Blinded.of(b"".join(asked)))
        assert found.tolist() == [self.oracle.get(key, ABSENT) for key in asked]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.pages.close()


@pytest.fixture
def early_merges(monkeypatch):
    """Merge after a few entries rather than after thousands."""
    monkeypatch.setattr(ids_module, "FEWEST_UNSORTED", 12)


def blinded(number):
    """A blinded id spread over the whole range."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)).to_bytes(16, "big")


@pytest.mark.parametrize("first", [1, PER_PAGE - 1, PER_PAGE, PER_PAGE + 1])
@pytest.mark.parametrize("more", [1, PER_PAGE - 1, PER_PAGE, PER_PAGE + 1, 3 * PER_PAGE])
def test_around_page_edges(tmp_path, first, more):
    """Ids recorded in commits around the edges of pages are all found, fresh or followed."""
    with IdStore(tmp_path / "x.cyb") as store:
        store.record({blinded(n): n for n in range(first)})
        store.check([blinded(n) for n in range(1000, 1010)])
        store.record({blinded(n): n for n in range(first, first + more)})
        for cache in (store.cache, IdCache()):
            store.check([blinded(n) for n in range(1000, 1010)], cache=cache)


def test_no_ids(tmp_path):
    """An empty table finds nothing, and recording nothing is no commit."""
    with IdStore(tmp_path / "x.cyb") as store:
        sequence = store.pages.snapshot.root.sequence
        store.check([blinded(1)])
        store.record({})
        assert store.pages.snapshot.root.sequence == sequence
        store.record({blinded(1): 5})
        store.record({blinded(1): ABSENT})
        store.check([blinded(1)])


@pytest.mark.parametrize("count", [3, PER_PAGE, PER_PAGE + 3, 100])
def test_all_ids_moving_again_and_again(tmp_path, early_merges, count):
    """When all ids move to new rows commit after commit, they are found at the newest each time.

    Merges then give as many sorted entries as before, with other rows in them.
    """
    with IdStore(tmp_path / "x.cyb") as store:
        for version in range(20):
            store.record({blinded(n): version * count + n for n in range(count)})
            store.check()
            if version % 3 == 2:
                store.check(cache=store.seldom)
            store.check(cache=IdCache())


@pytest.mark.parametrize("count", [3, 40])
def test_a_handle_that_sleeps_through_merges(tmp_path, early_merges, count):
    """A cache that has seen one merge and then the next finds ids where they are now."""
    with IdStore(tmp_path / "x.cyb") as store:

        def merge_with(version):
            while True:
                store.record({blinded(n): version * count + n for n in range(count)})
                record = store.pages.snapshot.root.ids
                if record.entries == record.sorted:
                    return

        for version in range(4):
            merge_with(version)
            store.check(cache=store.seldom)


def test_moving_many_ids_through_the_default_merges(tmp_path):
    """With the thresholds as they are, a thousand ids that all move eight times are found."""
    with IdStore(tmp_path / "x.cyb") as store:
        for version in range(8):
            store.record({blinded(n): version * 1000 + n for n in range(1000)})
            store.check()
            store.check(cache=IdCache())


# Few ids, of which many share their first 64 bits, or all but the last bit.
halves = st.sampled_from([0, 1, 2, 1 << 63, (1 << 64) - 1])
keys = st.builds(lambda a, b: ((a << 64) | b).to_bytes(16, "big"), halves, halves)
commits = st.lists(
    st.dictionaries(keys, st.integers(-1, ROWS - 1), min_size=1, max_size=15), max_size=8
)


@given(commits, st.data())
@settings(max_examples=25)
def test_against_a_dict(tmp_path_factory, commits, data):
    """Through any commits and merges, every id leads where a dict says, equal halves or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids_module, "FEWEST_UNSORTED", data.draw(st.integers(0, 30)))
        with IdStore(tmp_path_factory.mktemp("i") / "x.cyb") as store:
            everything = {key for commit in commits for key in commit}
            for commit in commits:
                store.record(commit)
                store.check(everything)
                if data.draw(st.booleans()):
                    store.check(everything, cache=store.seldom)
            store.check(everything, cache=store.seldom)
            store.check(everything, cache=IdCache())


def test_equal_leading_halves(tmp_path, early_merges):
    """Ids that share their first 64 bits are told apart, sorted and unsorted, alone or together."""
    ids = [((7 << 64) | n).to_bytes(16, "big") for n in range(30)]
    ids += [((n << 64) | 7).to_bytes(16, "big") for n in range(30)]
    with IdStore(tmp_path / "x.cyb") as store:
        for start in range(0, 60, 5):
            store.record({key: start + n for n, key in enumerate(ids[start : start + 5])})
            store.check(ids)
            with store.pages.read() as view:
                table = store.cache.table(view)
                for key in ids:
                    assert table.find(Blinded.of(key)).tolist() == [store.oracle.get(key, ABSENT)]


def test_merging_keeps_no_dead_entries(tmp_path, early_merges):
    """Removed ids are gone from the file with the next merge, and pages that are left over too."""
    with IdStore(tmp_path / "x.cyb") as store:
        store.record({blinded(n): n for n in range(100)})
        before = store.pages.snapshot.pages(PageKind.IDS)
        store.record({blinded(n): ABSENT for n in range(95)})
        record = store.pages.snapshot.root.ids
        assert (record.entries, record.sorted) == (5, 5)
        assert store.pages.snapshot.pages(PageKind.IDS) == 1 < before
        store.check([blinded(n) for n in range(100)])


def test_writing_costs_what_is_added(tmp_path):
    """Recording one id more in a large table writes a page or two, not the table."""
    with IdStore(tmp_path / "x.cyb") as store:
        store.record({blinded(n): n for n in range(3000)})
        before = store.pages.snapshot
        store.record({blinded(3001): 3001})
        assert len(store.pages.snapshot.changed(before, PageKind.IDS)) <= 2


def entry(key, row):
    return key + row.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("data", "entries", "in_order"),
    [
        (entry(blinded(1), ROWS), 1, 0),
        (entry(blinded(1), ROWS), 1, 1),
        (entry(bytes(16), 0xFFFFFFFF), 1, 1),
        (entry(b"\x01" * 16, 1) + entry(bytes(16), 2), 2, 2),
        (entry(b"\x01" * 16, 1) + entry(b"\x01" * 16, 2), 2, 2),
        (entry(bytes(16), 1), 2, 0),
        (entry(bytes(16), 1) + entry(b"\x01" * 16, 1), 1, 0),
        (entry(bytes(16), 1), PER_PAGE + 1, 0),
        (b"", 1, 0),
    ],
    ids=["row", "sorted row", "gone", "order", "twice", "short", "long", "page missing", "empty"],
)
def test_contradictions(tmp_path, data, entries, in_order):
    """Entries that contradict the root, the rows or their order are IntegrityError."""
    with IdStore(tmp_path / "x.cyb") as store:

        def forge(view):
            view.seal(PageKind.IDS, 0, data)
            record = type(view.root.ids)(entries, in_order)
            view.root = msgspec.structs.replace(view.root, ids=record)

        store.pages.write(forge)
        with store.pages.read() as view, pytest.raises(IntegrityError):
            IdCache().table(view)


def test_ids_never_print(tmp_path):
    """The repr of a table shows none of its entries."""
    with IdStore(tmp_path / "x.cyb") as store:
        store.record({blinded(1): 1_034_567})
        with store.pages.read() as view:
            assert "1034567" not in repr(store.cache.table(view))
