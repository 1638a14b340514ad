"""Streaming pages: all of them, each once, in blocks, and nothing left behind by a failure."""

import contextlib
import threading

import numpy as np
import pytest
from support import wait_until
from unit_harness import PagedStore

from cyborg_embedded import streaming
from cyborg_embedded.errors import IntegrityError
from cyborg_embedded.model import PageKind
from cyborg_embedded.streaming import made_ahead, stream_pages

KIND = PageKind.VECTORS
FLOATS = 54
"""In a page, where pages are alike."""
PARTS = (54, 54, 20)
"""In the pages of a unit of three."""


def alike(page):
    return slice(page * FLOATS, (page + 1) * FLOATS)


def in_threes(page):
    unit, part = divmod(page, 3)
    start = unit * sum(PARTS) + sum(PARTS[:part])
    return slice(start, start + PARTS[part])


SPANS = {1: alike, 3: in_threes}


@pytest.fixture
def store(tmp_path):
    with PagedStore(tmp_path / "x.cyb", page_size=256) as store:
        yield store


def fill(store, pages, unit):
    """Write pages of numbers that all differ; the numbers."""
    span = SPANS[unit]
    floats = np.arange(span(pages - 1).stop, dtype=np.float32)

    def work(view):
        for page in range(pages):
            view.seal(KIND, page, floats[span(page)])

    store.write(work)
    return floats


def threads():
    return {thread for thread in threading.enumerate() if thread.is_alive()}


@pytest.mark.parametrize("unit", [1, 3])
@pytest.mark.parametrize("units", [1, 2, 3, 7, 8, 9, 40])
@pytest.mark.parametrize("block", [1, 2, 5, 1000])
@pytest.mark.parametrize("consumers", [0, 2])
def test_every_page_once(store, monkeypatch, unit, units, block, consumers):
    """Every element of every page comes exactly once, in blocks of whole units."""
    span = SPANS[unit]
    monkeypatch.setattr(streaming, "STREAM_BYTES", block * 4 * span(unit - 1).stop)
    pages = units * unit
    wanted = fill(store, pages, unit)
    got, calls = np.zeros(len(wanted), np.float32), []

    def consume(first, floats):
        start = span(first).start
        got[start : start + len(floats)] += floats
        calls.append((first, len(floats)))

    before = threads()
    with store.read() as view:
        stream_pages(view, KIND, pages, unit, span, np.float32, consume, consumers)
    assert np.array_equal(got, wanted)
    firsts = [first for first, _ in calls]
    assert (sorted(firsts) if consumers else firsts) == list(range(0, pages, unit * block))
    whole = span(unit - 1).stop
    assert all(length % whole == 0 and 0 < length <= block * whole for _, length in calls)
    assert threads() == before


def test_pages_behind_are_not_opened(store):
    """Only as many pages as were asked for are opened."""
    fill(store, 10, 1)
    store.write(lambda view: view.seal(KIND, 7, b"short"))
    got = []
    with store.read() as view:
        stream_pages(view, KIND, 7, 1, alike, np.float32, lambda _, part: got.append(len(part)))
    assert sum(got) == 7 * FLOATS


def test_no_pages(store):
    """Nothing is opened, and nobody called, where there are no pages."""
    with store.read() as view:
        stream_pages(view, KIND, 0, 1, alike, np.float32, lambda *_: pytest.fail("called"))


def test_other_types(store):
    """Pages are given as elements of the type that was asked for."""
    data = np.arange(-50, 50, dtype=np.int8)
    store.write(lambda view: [view.seal(KIND, page, data) for page in range(3)])
    got = {}
    with store.read() as view:
        stream_pages(
            view,
            KIND,
            3,
            1,
            lambda page: slice(100 * page, 100 * page + 100),
            np.int8,
            lambda first, part: got.update({first: part.copy()}),
        )
    assert np.array_equal(np.concatenate([got[first] for first in sorted(got)]), np.tile(data, 3))


@pytest.mark.parametrize("consumers", [0, 1, 2, 5])
def test_memory_is_used_again(store, monkeypatch, consumers):
    """However many pages there are, they come in a few blocks of memory."""
    monkeypatch.setattr(streaming, "STREAM_BYTES", 4 * FLOATS)
    fill(store, 60, 1)
    places = set()
    with store.read() as view:
        stream_pages(
            view,
            KIND,
            60,
            1,
            alike,
            np.float32,
            lambda _, part: places.add(part.__array_interface__["data"][0]),
            consumers,
        )
    assert len(places) <= consumers + 1


DAMAGE = {
    "of another length": lambda view: view.seal(KIND, 30, bytes(12)),
    "missing": lambda view: view.drop_bound(KIND, 30),
    "another page": lambda view: view.seal_bound(KIND, 30, bytes(4 * FLOATS)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("consumers", [0, 2])
def test_a_damaged_page_in_the_middle(store, monkeypatch, damage, slow, consumers):
    """A damaged page is IntegrityError with its number, and no thread is left behind."""
    monkeypatch.setattr(streaming, "STREAM_BYTES", 4 * FLOATS)
    fill(store, 60, 1)

    def work(view):
        damage(view)
        view.seal(PageKind.IDS, 0, b"so that there is a commit")

    store.write(work)
    before, seen, pause = threads(), [], threading.Event()

    def consume(first, _):
        if slow:
            pause.wait(0.002)
        seen.append(first)

    with store.read() as view, pytest.raises(IntegrityError) as caught:
        stream_pages(view, KIND, 60, 1, alike, np.float32, consume, consumers)
    assert (caught.value.kind, caught.value.number) == (KIND.name, 30)
    assert threads() == before
    assert set(seen) <= set(range(30))
    with store.read() as view:
        stream_pages(view, KIND, 30, 1, alike, np.float32, consume, consumers)


@pytest.mark.parametrize("consumers", [0, 2])
def test_an_error_of_the_consumer(store, monkeypatch, consumers):
    """An exception of the one who takes the pages comes out, and no thread is left behind."""
    monkeypatch.setattr(streaming, "STREAM_BYTES", 4 * FLOATS)
    fill(store, 60, 1)
    before = threads()

    def consume(first, _):
        if first == 20:
            message = "enough"
            raise ValueError(message)

    with store.read() as view, pytest.raises(ValueError, match="enough"):
        stream_pages(view, KIND, 60, 1, alike, np.float32, consume, consumers)
    assert threads() == before


def test_the_next_is_made_meanwhile():
    """While the caller is busy with one thing, the next is being made, and no more than one beside
    it: on another thread, in their order, which ends with the last.
    """
    begun, go_on, before = [], threading.Semaphore(0), threads()

    def make(number):
        begun.append((number, threading.current_thread() is threading.main_thread()))
        go_on.acquire()
        return number * number

    made = made_ahead(make, range(4))
    go_on.release()
    assert next(made) == 0
    wait_until(lambda: len(begun) == 2)
    go_on.release(3)
    assert list(made) == [1, 4, 9]
    assert begun == [(number, False) for number in range(4)]
    assert threads() == before
    assert list(made_ahead(make, [])) == []


def test_what_fails_ahead_fails_at_its_place():
    before = threads()

    def make(number):
        return 1 // (2 - number)

    made = made_ahead(make, range(5))
    assert next(made) == 0
    assert next(made) == 1
    with pytest.raises(ZeroDivisionError):
        next(made)
    assert threads() == before


def test_leaving_early():
    """Whoever closes it waits for what is being made, and nothing is begun after that."""
    begun, before = [], threads()
    with contextlib.closing(made_ahead(begun.append, range(50))) as made:
        next(made)
    assert len(begun) <= 3
    assert threads() == before
