"""Threads that share a handle, and other handles of the process, while an index is renewed."""

import threading
import time

import numpy as np
import pytest
from rekey_harness import LEFT, NAME, WAYS, Custodian, bytes_of, files, key_number, put, varied
from support import check_items, check_query

from cyborg_embedded import ClosedError, LockedError

DIMENSION = 16
ROUNDS = 12
PAUSE_SECONDS = 0.002
"""Between two calls of a thread. Threads that never pause leave the others a five hundredth of the
interpreter, and a test of seconds takes a minute.
"""


@pytest.fixture
def items():
    return varied(DIMENSION, 700)


@pytest.fixture
def custodian(folder):
    return Custodian(folder)


@pytest.fixture
def index(custodian, items):
    with custodian.create(dimension=DIMENSION, lock_timeout=20.0) as index:
        put(index, items, 350)
        yield index


def together(works):
    """Run each of some functions in a thread until the first of them, run here, is over."""
    over, errors = threading.Event(), []

    def run(work):
        number = 0
        try:
            while not over.is_set() or not number:
                work(number)
                number += 1
                over.wait(PAUSE_SECONDS)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works[1:]]
    for thread in threads:
        thread.start()
    try:
        works[0]()
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("optimized", [False, True])
def test_readers_see_nothing_of_it(custodian, index, items, optimized):
    """Queries, filters, gets and lists through the handle go on, and every answer is right."""
    gone = list(items)[1::2]
    expected = {name: item for name, item in items.items() if name not in set(gone)}
    index.delete(gone)
    if optimized:
        index.optimize()
    names = list(expected)
    matching = {
        least: [name for name in names if (expected[name][1] or {}).get("n", -1) >= least]
        for least in (0, 200, 650)
    }

    def query(number):
        name = names[number % len(names)]
        vector = expected[name][0]
        if optimized:
            assert index.query(vector, top_k=3, include=["metadata"])[0]["id"] == name
        else:
            include = ["distance", "vector", "metadata", "contents"]
            found = index.query(vector, top_k=7, include=include)
            check_query(found, vector, 7, "euclidean", expected)

    def get(number):
        asked = names[number % 60 :: 40]
        for item in index.get([*asked, gone[0]]):
            vector, metadata, contents = expected[item["id"]]
            assert item["vector"].tobytes() == vector.tobytes()
            assert (item["metadata"], item["contents"]) == (metadata, contents)

    def filtered(number):
        least = (0, 200, 650)[number % 3]
        filters = {"n": {"$gte": least}}
        assert index.count(filters) == len(matching[least])
        assert index.list_ids(filters) == matching[least]
        found = index.query(expected[names[number % 99]][0], top_k=4, filters=filters)
        assert all(result["metadata"]["n"] >= least for result in found)
        assert len(found) == min(4, len(matching[least]))

    def listed(_):
        assert index.list_ids() == names
        assert len(index) == len(names)
        assert index.describe()["rows"] == len(names)

    def renewed():
        for number in range(ROUNDS):
            custodian.renew(index)
            if number == 2:
                index.compact()

    together([renewed, query, get, filtered, listed])
    check_items(index, expected)


def test_writers_wait(custodian, index, items):
    """What a thread writes through the handle meanwhile is there afterwards, as it was told."""
    written = {}

    def upsert(number):
        rows = np.random.default_rng(number).standard_normal((3, DIMENSION)).astype(np.float32)
        batch = {f"later {number} {n}": (row, {"n": number}, "x") for n, row in enumerate(rows)}
        put(index, batch)
        written.update(batch)
        if number % 3 == 1:
            assert index.delete([f"later {number} 0", f"later {number - 1} 1"]) == 2
            del written[f"later {number} 0"], written[f"later {number - 1} 1"]

    def renewed():
        for number in range(ROUNDS):
            custodian.renew(index)
            if number % 2:
                index.compact()
            before = len(written)
            deadline = time.monotonic() + 10
            while len(written) == before and time.monotonic() < deadline:
                time.sleep(0.001)

    together([renewed, upsert])
    assert len(written) >= ROUNDS
    check_items(index, items | written)
    index.close()
    with custodian.load() as again:
        check_items(again, items | written)


def test_a_writer_does_not_wait_for_ever(custodian, index):
    """A writer that has waited long enough is told who holds it up; the index is as it was."""
    index._session._lock_timeout = 0.1
    caught = []

    def progress(*_):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()

    def write():
        try:
            index.upsert(["new"], np.ones((1, DIMENSION)))
        except LockedError as error:
            caught.append(error)

    custodian.renew(index, progress=progress)
    assert caught
    assert "new" not in index.list_ids()


@pytest.mark.parametrize("way", WAYS)
def test_other_handles_are_closed(folder, items, way):
    """Other handles of the process are closed, whatever they do next, and can be opened again."""
    custodian = Custodian(folder, way)
    with custodian.create(dimension=DIMENSION) as index:
        put(index, items)
        others = [custodian.load(), custodian.load(read_only=True), custodian.load(cache_bytes=0)]
        for other in others:
            assert len(other) == len(items)
        custodian.renew(index)
        for other in others:
            for call in (
                other.list_ids,
                lambda other=other: other.query(np.ones(DIMENSION)),
                lambda other=other: other.get(["a"]),
                other.describe,
            ):
                with pytest.raises(ClosedError):
                    call()
        for call in (others[0].compact, others[0].optimize, lambda: others[0].delete(["a"])):
            with pytest.raises(ClosedError):
                call()
        for other in others:
            other.close()
        check_items(index, items)
        with custodian.load() as again:
            check_items(again, items)
            again.delete(list(items)[:1])
        assert len(index) == len(items) - 1


def test_a_handle_that_is_opened_meanwhile(custodian, index, items):
    """A handle of this process that is opened during a rekey reads, and is closed at its end."""
    opened = []

    def progress(*_):
        other = custodian.client.load_index(NAME, index_key=key_number(0), indexing="manual")
        check_items(other, items)
        opened.append(other)

    custodian.renew(index, progress=progress)
    for other in opened:
        with pytest.raises(ClosedError):
            len(other)
        other.close()
    check_items(index, items)


def test_two_at_once(custodian, index, items):
    """Of two rekeys at once through one handle, one is first; no third state comes of it."""
    outcomes = []

    def rekey(number):
        try:
            index.rekey(key_number(number))
        except LockedError as error:
            outcomes.append(error)
        else:
            outcomes.append(number)

    threads = [threading.Thread(target=rekey, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    done = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(outcomes) == 3
    assert done
    custodian.number = done[-1]
    check_items(index, items)
    index.close()
    with custodian.load() as again:
        check_items(again, items)


def test_deleted_meanwhile(custodian, folder, index, items):
    """Nobody deletes an index that is being renewed: not another thread of the process."""
    refusals = []

    def delete():
        try:
            custodian.client.delete_index(NAME, index_key=key_number(0), lock_timeout=0.2)
        except LockedError as error:
            refusals.append(error)

    def progress(*_):
        thread = threading.Thread(target=delete)
        thread.start()
        thread.join()

    custodian.renew(index, progress=progress)
    assert len(refusals) == 2
    check_items(index, items)
    assert files(folder) == LEFT


def test_closed_meanwhile(custodian, folder, index, items):
    """A handle that is closed on the way ends the rekey, and the index is the old one."""
    before = bytes_of(folder)

    def progress(*_):
        thread = threading.Thread(target=index.close)
        thread.start()
        thread.join()

    with pytest.raises(ClosedError):
        index.rekey(key_number(1), progress=progress)
    assert bytes_of(folder) == before
    assert files(folder) == LEFT
    with custodian.load() as again:
        check_items(again, items)
