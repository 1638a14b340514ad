"""A handle that is closed while threads are at work on it."""

import os
import random
import threading
import time

import numpy as np
import pytest
from support import KEY, check_items

from cyborg_embedded import ClosedError, LockedError, background, building, indexer

DIMENSION = 8
ROWS = np.random.default_rng(1).normal(size=(400, DIMENSION)).astype(np.float32)
BASE = 300
"""Items that are there all the time."""


def item(number):
    """An item of the model: its vector, metadata and contents."""
    return ROWS[number % len(ROWS)], {"n": number}, f"text {number}"


def put(index, numbers):
    vectors, metadata, contents = zip(*map(item, numbers), strict=True)
    index.upsert([f"i{number}" for number in numbers], np.array(vectors), metadata, contents)


class Thread(threading.Thread):
    """Makes calls until the handle is closed, and checks what each gives."""

    def __init__(self, index, work, number):
        super().__init__(daemon=True)
        self.index, self.work, self.number = index, work, number
        self.calls, self.error = 0, None
        self.acknowledged, self.under_way = set(), None

    def run(self):
        try:
            while True:
                self.work(self)
                self.calls += 1
        except BaseException as error:
            self.error = error

    def query(self):
        number = random.randrange(BASE)
        [first, *_] = self.index.query(ROWS[number], top_k=3, filters={"n": {"$lt": BASE}})
        assert first["metadata"] == {"n": number}

    def ask_many(self):
        ids, _ = self.index.query_arrays(ROWS[:20], top_k=5)
        assert all(len(each) == 5 for each in ids)

    def get(self):
        number = random.randrange(BASE)
        [found] = self.index.get([f"i{number}"])
        assert (found["metadata"], found["contents"]) == item(number)[1:]
        assert (found["vector"] == ROWS[number]).all()

    def list(self):
        assert self.index.count({"n": {"$lt": BASE}}) == BASE
        assert len(self.index.list_ids()) >= BASE

    def upsert(self):
        # Each of the writing threads has items of its own, with rows that no query is about.
        numbers = [1000 * self.number + 350 + self.calls % 40 for _ in range(2)]
        self.under_way = set(numbers)
        put(self.index, numbers)
        self.acknowledged |= self.under_way
        self.under_way = None

    def come_and_go(self):
        put(self.index, [900_000 + BASE])
        assert self.index.delete([f"i{900_000 + BASE}"]) == 1

    def optimize(self):
        self.index.optimize()
        time.sleep(0.01)


WORK = (
    *(Thread.query, Thread.ask_many, Thread.get, Thread.list),
    *(Thread.upsert, Thread.upsert, Thread.come_and_go, Thread.optimize),
)


def is_impatience(error):
    """Whether it says that another thread of this process is writing."""
    return type(error) is LockedError and error.pid == os.getpid()


def close_meanwhile(client, name, delay):
    """Eight threads on one handle, which is closed by a ninth."""
    with client.create_index(name, index_key=KEY) as index:
        put(index, range(BASE))
        threads = [Thread(index, work, number) for number, work in enumerate(WORK, 1)]
        for thread in threads:
            thread.start()
        time.sleep(delay)
        index.close()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a call waits for ever"
    for thread in threads:
        # Who closes waits for nobody for long, and who waited to write may be told that first.
        if type(thread.error) is not ClosedError and not is_impatience(thread.error):
            raise thread.error
    numbers = set(range(BASE)).union(*(thread.acknowledged for thread in threads))
    under_way = set().union(*(thread.under_way or () for thread in threads))
    with client.load_index(name, index_key=KEY, indexing="manual") as index:
        report = index.verify()
        assert report.ok, report
        held = {int(name[1:]) for name in index.list_ids()} - {900_000 + BASE}
        assert numbers <= held <= numbers | under_way
        index.delete([f"i{900_000 + BASE}"])
        check_items(index, {f"i{number}": item(number) for number in held})
    return sum(thread.calls for thread in threads)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """An indexer that is at work nearly all the time."""
    for name, value in (("FIRST_ROWS", 200), ("TAIL_ROWS", 10)):
        monkeypatch.setattr(indexer, name, value)
    monkeypatch.setattr(building, "BLOCK_ROWS", 32)
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(background, "POLL_SECONDS", 0.001)


def test_closing_meanwhile(client):
    """Every call gives its result, or is a ClosedError; what was acknowledged is there."""
    for number, delay in enumerate((0.0, 0.05, 0.3)):
        calls = close_meanwhile(client, f"index {number}", delay)
    assert calls > len(WORK)


@pytest.mark.slow
def test_closing_meanwhile_again_and_again(client):
    """So it is at many moments."""
    for number in range(100):
        close_meanwhile(client, f"index {number}", random.uniform(0, 0.2))
