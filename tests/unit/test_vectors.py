"""Vector pages: every bit of every row, at any dimension, page size and number of commits."""

import threading

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import in_threads
from unit_harness import PagedStore

from cyborg_embedded.aead import OVERHEAD, Opener
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import DEFAULT_PAGE_SIZE, MAX_DIMENSION, PageKind
from cyborg_embedded.pool import VectorPool
from cyborg_embedded.precision import decode, encode
from cyborg_embedded.vectors import (
    VectorLayout,
    append_vectors,
    read_stored,
    stream_vectors,
)


class VectorStore:
    """A page store that holds vectors alone, and what they should be."""

    def __init__(self, path, dimension, page_size=256):
        self.pages = PagedStore(path, page_size=page_size, dimension=dimension)
        self.layout = VectorLayout.of(dimension, page_size)
        self.expected = np.empty((0, dimension), np.float32)
        self.random = np.random.default_rng(dimension)

    def append(self, count):
        """Any bit patterns at all: NaN payloads, subnormals, negative zeros."""
        bits = self.random.integers(0, 1 << 32, (count, self.layout.dimension), np.uint32)
        vectors = bits.view(np.float32)
        first = len(self.expected)

        def work(view):
            append_vectors(view, self.layout, first, encode(vectors, "float32"))
            view.root = msgspec.structs.replace(view.root, rows=first + count, live=first + count)

        self.pages.write(work)
        self.expected = np.concatenate((self.expected, vectors))

    def check(self, rows, found):
        assert found.dtype == np.float32
        assert (found.view(np.uint32) == self.expected[rows].view(np.uint32)).all()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.pages.close()


def read_vectors(view, layout, rows):
    return decode(read_stored(view, layout, rows), "float32")


def streamed(store, view, rows):
    got = np.zeros((rows, store.layout.dimension), np.float32)
    seen = np.zeros(rows, np.int64)

    def consume(first, vectors):
        got[first : first + len(vectors)] = vectors
        seen[first : first + len(vectors)] += 1

    stream_vectors(view, store.layout, rows, consume)
    assert (seen == 1).all(), "not every row came exactly once"
    return got


def check_everything(store):
    """All ways to read all rows."""
    total = len(store.expected)
    rows = np.arange(total)
    shuffled = np.random.default_rng(1).permutation(total)
    pool = VectorPool(store.layout)
    with store.pages.read() as view:
        store.check(shuffled, read_vectors(view, store.layout, shuffled))
        store.check(shuffled, pool.rows(view, shuffled))
        with pool.block(view, 0, total) as (vectors, _):
            store.check(rows, vectors)
        store.check(rows, streamed(store, view, total))
        if total > 1:
            store.check(rows[: total - 1], streamed(store, view, total - 1))


# With pages of 256 bytes, 54 floats fit into one.
DIMENSIONS = [1, 2, 3, 13, 26, 27, 28, 53, 54, 55, 108, 109, 200]


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_around_page_edges(tmp_path, dimension, difference):
    """Two commits around the edges of a page, and rows cut over pages, come back bit for bit."""
    with VectorStore(tmp_path / "x.cyb", dimension) as store:
        per_page = store.layout.rows_per_page
        store.append(max(per_page + difference, 1))
        check_everything(store)
        store.append(max(per_page - difference, 1))
        check_everything(store)
        store.append(2 * per_page + 1)
        check_everything(store)


@pytest.mark.parametrize("page_size", [257, 258, 259, 260, 300])
@pytest.mark.parametrize("dimension", [1, 54, 55, 130])
def test_page_sizes_that_no_float_divides(tmp_path, dimension, page_size):
    """A page size that is no multiple of four still cuts rows at whole floats."""
    with VectorStore(tmp_path / "x.cyb", dimension, page_size) as store:
        for count in (1, 2, 60):
            store.append(count)
        check_everything(store)


@pytest.mark.parametrize("page_size", [256, 4096, DEFAULT_PAGE_SIZE])
@pytest.mark.parametrize("dimension", [MAX_DIMENSION - 1, MAX_DIMENSION])
def test_longest_rows(tmp_path, dimension, page_size):
    """Rows of 16,384 dimensions are cut over as many pages as they need."""
    with VectorStore(tmp_path / "x.cyb", dimension, page_size) as store:
        assert store.layout.rows_per_page == 1
        assert store.layout.pages_per_row > 1
        store.append(1)
        store.append(3)
        check_everything(store)


@pytest.mark.parametrize("dimension", [1, 54, 55, 384, 1536, MAX_DIMENSION])
@pytest.mark.parametrize("page_size", [256, 4096, DEFAULT_PAGE_SIZE])
def test_pages_fit(tmp_path, dimension, page_size):
    """No sealed vector page is longer than the page size of the index."""
    with VectorStore(tmp_path / "x.cyb", dimension, page_size) as store:
        store.append(store.layout.rows_per_page + 1)
        with store.pages.read() as view:
            pages = view.snapshot.pages(PageKind.VECTORS)
            assert pages == store.layout.pages(len(store.expected))
            lengths = [len(view.open(PageKind.VECTORS, page)) for page in range(pages)]
            assert max(lengths) + OVERHEAD <= page_size


@given(
    st.sampled_from([1, 5, 27, 54, 55, 120]),
    st.lists(st.integers(1, 130), min_size=1, max_size=6),
    st.data(),
)
@settings(max_examples=25)
def test_one_pool_through_commits(tmp_path_factory, dimension, counts, data):
    """A pool that lives through many commits, asked for any rows, gives them and their norms."""
    with VectorStore(tmp_path_factory.mktemp("v") / "x.cyb", dimension) as store:
        pool = VectorPool(store.layout)
        for count in counts:
            store.append(count)
            total = len(store.expected)
            with store.pages.read() as view:
                rows = np.array(
                    data.draw(st.lists(st.integers(0, total - 1), max_size=10)), np.int64
                )
                store.check(rows, pool.rows(view, rows))
                first = data.draw(st.integers(0, total - 1))
                last = data.draw(st.integers(first, total))
                with pool.block(view, first, last) as (vectors, norms):
                    store.check(np.arange(first, last), vectors)
                    with np.errstate(all="ignore"):
                        expected = np.einsum("ij,ij->i", vectors, vectors)
                    assert np.allclose(norms, expected, rtol=1e-5, equal_nan=True)


def test_returned_rows_are_a_copy(tmp_path):
    """Writing into rows that the pool returned does not change what it returns next."""
    with VectorStore(tmp_path / "x.cyb", 8) as store:
        store.append(5)
        pool = VectorPool(store.layout)
        with store.pages.read() as view:
            rows = np.arange(5)
            pool.rows(view, rows)[:] = 0
            store.check(rows, pool.rows(view, rows))


def test_pool_opens_a_page_once(tmp_path, monkeypatch):
    """Pages that the pool holds already are not decrypted again."""
    with VectorStore(tmp_path / "x.cyb", 8) as store:
        store.append(40)
        pool = VectorPool(store.layout)
        opened = []
        open_each_into = Opener.open_each_into

        def counting(self, get, keys, *rest):
            opened.extend(keys)
            open_each_into(self, get, keys, *rest)

        monkeypatch.setattr(Opener, "open_each_into", counting)
        with store.pages.read() as view:
            for _ in range(3):
                pool.rows(view, np.arange(40))
                with pool.block(view, 0, 40):
                    pass
        assert len(opened) == store.layout.pages(40)


def test_threads_share_a_pool(tmp_path):
    """Threads that ask one pool for random rows at once all get the right ones."""
    with VectorStore(tmp_path / "x.cyb", 20) as store:
        store.append(500)
        pool, wrong = VectorPool(store.layout), []

        def ask(seed):
            random = np.random.default_rng(seed)
            try:
                for _ in range(40):
                    rows = random.integers(0, 500, 7)
                    with store.pages.store.read(None) as view:
                        store.check(rows, pool.rows(view, rows))
                        low, high = sorted(random.integers(0, 500, 2).tolist())
                        with pool.block(view, low, high) as (vectors, _):
                            store.check(np.arange(low, high), vectors)
            except BaseException as error:
                wrong.append(error)

        in_threads(ask, range(4))
        assert wrong == []


def test_older_views_use_the_pool(tmp_path):
    """A view of an older commit gets its rows although the pool has grown by a newer one since."""
    with VectorStore(tmp_path / "x.cyb", 8) as store:
        store.append(3)
        pool = VectorPool(store.layout)
        with store.pages.store.read(None) as old:
            adding = threading.Thread(target=store.append, args=(30,))
            adding.start()
            adding.join()

            def read_newer():
                with store.pages.store.read(None) as new:
                    store.check(np.arange(33), pool.rows(new, np.arange(33)))

            reading = threading.Thread(target=read_newer)
            reading.start()
            reading.join()
            store.check(np.arange(3), pool.rows(old, np.arange(3)))


@pytest.mark.parametrize("length", [0, 3, 215, 217])
def test_wrong_length(tmp_path, length):
    """A vector page of another length is IntegrityError by every way of reading it."""
    with VectorStore(tmp_path / "x.cyb", 54) as store:
        store.append(2)
        store.pages.write(lambda view: view.seal(PageKind.VECTORS, 1, bytes(length)))
        with store.pages.read() as view:
            for read in (
                lambda: read_stored(view, store.layout, np.array([1])),
                lambda: VectorPool(store.layout).rows(view, np.array([1])),
                lambda: VectorPool(store.layout).block(view, 0, 2).__enter__(),
                lambda: stream_vectors(view, store.layout, 2, lambda first, vectors: None),
            ):
                with pytest.raises(IntegrityError):
                    read()
            store.check(np.array([0]), read_vectors(view, store.layout, np.array([0])))


def test_missing_page(tmp_path):
    """A row whose page the page table does not have is IntegrityError."""
    with VectorStore(tmp_path / "x.cyb", 54) as store:
        store.append(2)
        with store.pages.read() as view, pytest.raises(IntegrityError):
            read_stored(view, store.layout, np.array([2]))


@pytest.mark.parametrize("dimension", [1, 4, 16, 96, 100, 384, 768, 1024, 1536, 3072])
def test_little_room_is_lost(dimension):
    """At the default page size, pages of usual dimensions are at least 75 % vectors."""
    layout = VectorLayout.of(dimension, DEFAULT_PAGE_SIZE)
    rows = 100 * layout.rows_per_page
    assert layout.pages_per_row == 1
    assert rows * dimension * 4 >= 0.75 * layout.pages(rows) * layout.page_bytes
