"""Rows come into the graph after a rekey as they did before it, in each mode of indexing."""

import threading
import time

import numpy as np
import pytest
from rekey_harness import Custodian, key_number
from support import wait_until

from cyborg_embedded import ClosedError, LockedError, background, building, indexer, saving
from cyborg_embedded.navigator import Navigator

VECTORS = np.random.default_rng(3).standard_normal((1200, 8)).astype(np.float32)
MODES = ("background", "inline", "manual")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """An indexer that begins early, with little, in small bites."""
    monkeypatch.setattr(indexer, "FIRST_ROWS", 200)
    monkeypatch.setattr(indexer, "TAIL_ROWS", 40)
    monkeypatch.setattr(saving, "UNSAVED_ROWS", 40)
    monkeypatch.setattr(building, "BLOCK_ROWS", 50)
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(background, "POLL_SECONDS", 0.005)


@pytest.fixture
def custodian(folder):
    return Custodian(folder)


def put(index, first, last):
    index.upsert([f"{row}" for row in range(first, last)], VECTORS[first:last])


def settle(index, mode, rows):
    """Wait until so many rows are in the graph, by whatever brings them there."""
    if mode == "manual":
        index.optimize()
    if mode == "background":
        wait_until(lambda: index.describe()["indexed_rows"] == rows)
    assert index.describe()["indexed_rows"] == rows


def check(index, rows):
    found, _ = index.query_arrays(VECTORS[:rows], top_k=1)
    assert np.mean([ids == [f"{row}"] for row, ids in enumerate(found)]) > 0.99


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["rekey", "compact"])
def test_indexing_goes_on(folder, mode, way):
    """What is upserted later is indexed, through this handle and another one."""
    custodian = Custodian(folder, way)
    index = custodian.create(dimension=8, indexing=mode)
    put(index, 0, 300)
    settle(index, mode, 300)
    custodian.renew(index)
    assert index.describe()["indexed_rows"] == 300
    put(index, 300, 400)
    settle(index, mode, 400)
    custodian.renew(index)
    check(index, 400)
    index.close()
    with custodian.load(indexing=mode) as again:
        put(again, 400, 500)
        settle(again, mode, 500)
        check(again, 500)


@pytest.mark.parametrize("mode", MODES)
def test_a_graph_with_dead_nodes_is_made_anew(custodian, mode):
    """A graph that stays behind is made anew as soon as the mode wants it."""
    index = custodian.create(dimension=8, indexing=mode)
    put(index, 0, 400)
    settle(index, mode, 400)
    index.delete(["3"])
    custodian.renew(index)
    if mode == "inline":
        index.upsert(["0"], VECTORS[:1], [{"n": 1}])
    settle(index, mode, 399)
    index.close()


@pytest.fixture
def slow(monkeypatch):
    """Bringing rows into a graph takes its time."""
    add = Navigator.add_stored

    def slowly(*arguments):
        time.sleep(0.01)
        return add(*arguments)

    monkeypatch.setattr(Navigator, "add_stored", slowly)


def test_while_rows_are_being_indexed(custodian, slow):
    """A rekey breaks off what is under way in the background, whose rows have other numbers
    afterwards; it is done then.
    """
    index = custodian.create(dimension=8, indexing="background")
    put(index, 0, 1200)
    for doomed in (range(100), range(100, 200)):
        index.delete([f"{row}" for row in doomed])
        wait_until(index.is_training)
        custodian.renew(index)
        assert index.describe()["indexed_rows"] < 1000
    settle(index, "background", 1000)
    found, _ = index.query_arrays(VECTORS[200:], top_k=1)
    assert np.mean([ids == [f"{row}"] for row, ids in enumerate(found, 200)]) > 0.99
    index.close()
    assert not [thread for thread in threading.enumerate() if "indexer" in thread.name]


def test_a_rekey_that_fails_does_not_end_it(custodian, slow):
    """What a rekey has broken off in the background is taken up again also where it has failed."""
    index = custodian.create(dimension=8, indexing="background")

    def progress(*_):
        raise KeyboardInterrupt

    put(index, 0, 1000)
    wait_until(index.is_training)
    with pytest.raises(KeyboardInterrupt):
        index.rekey(key_number(1), progress=progress)
    settle(index, "background", 1000)
    index.close()


def test_optimize_meanwhile(custodian):
    """An `optimize` of another thread is before the rekey or after it: it ends, and is right."""
    index = custodian.create(dimension=8)
    put(index, 0, 600)
    errors = []

    def optimize():
        try:
            for _ in range(3):
                index.optimize()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=optimize)
    thread.start()
    for _ in range(3):
        custodian.renew(index)
    thread.join(60)
    assert not thread.is_alive()
    assert not errors
    assert index.describe()["indexed_rows"] == 600
    check(index, 600)
    index.close()


def test_a_file_that_is_in_place_is_no_failure(custodian, monkeypatch):
    """Once the new file is in its place, the rekey has succeeded: indexing that fails then does not
    make the caller throw away the key.
    """
    index = custodian.create(dimension=8, indexing="inline")
    put(index, 0, 300)

    def failing(*_, **__):
        message = "another process is writing"
        raise LockedError(message)

    monkeypatch.setattr(background, "optimize", failing)
    index.rekey(key_number(1))
    monkeypatch.undo()
    custodian.number = 1
    index.close()
    with custodian.load() as again:
        check(again, 300)


def test_other_handles_threads_end(custodian):
    """The background thread of a handle that was closed by a rekey ends; closing it is no error."""
    index = custodian.create(dimension=8, indexing="background")
    put(index, 0, 300)
    other = custodian.load(indexing="background")
    put(other, 300, 400)
    custodian.renew(index)
    with pytest.raises(ClosedError):
        put(other, 400, 410)
    other.close()
    settle(index, "background", 400)
    index.close()
    assert not [thread for thread in threading.enumerate() if "indexer" in thread.name]
