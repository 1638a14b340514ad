"""Rows come into the graph by themselves: in the background, with each upsert, or on demand."""

import gc
import subprocess
import threading
import time

import numpy as np
import pytest
from support import KEY, check_query, python, run_python, wait_until

from cyborg_embedded import (
    ClosedError,
    InvalidInputError,
    ReadOnlyError,
    background,
    building,
    indexer,
    saving,
)
from cyborg_embedded.navigator import Navigator

D = 8
VECTORS = np.random.default_rng(3).standard_normal((2000, D)).astype(np.float32)
FIRST, TAIL, BLOCK = 300, 40, 50


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """An indexer that begins early, with little, in small bites."""
    monkeypatch.setattr(indexer, "FIRST_ROWS", FIRST)
    monkeypatch.setattr(indexer, "TAIL_ROWS", TAIL)
    monkeypatch.setattr(saving, "UNSAVED_ROWS", TAIL)
    monkeypatch.setattr(building, "BLOCK_ROWS", BLOCK)
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(background, "POLL_SECONDS", 0.005)


@pytest.fixture
def index(client):
    with client.create_index("notes", index_key=KEY) as index:
        yield index


def put(index, first, last):
    """Items that are named by the numbers of their vectors."""
    index.upsert([str(row) for row in range(first, last)], VECTORS[first:last])


def indexed(index):
    return index.describe()["indexed_rows"]


def saved(index):
    """How far the graph in the file reaches."""
    with index._session.read() as (state, _):
        return 0 if state.root.graph is None else state.root.graph.rows


def nodes(index):
    """How many rows are in the graph in memory, dead ones included."""
    with index._session.read() as (state, _):
        known = state.navigator.known
        return None if known is None else len(known.graph)


def idle(index):
    """Wait until the thread of the handle has nothing to do any more."""
    wake = index._indexing._wake
    wait_until(lambda: wake.empty() and not index.is_training())


def indexers():
    """The living threads that bring rows into graphs."""
    return [thread for thread in threading.enumerate() if "indexer" in thread.name]


def check_all(index, rows):
    """Assert that an index of so many rows finds each by its own vector, but for chance."""
    found, distances = index.query_arrays(VECTORS[:rows], top_k=1)
    assert np.mean([ids == [str(row)] for row, ids in enumerate(found)]) > 0.99
    assert len(index) == rows
    assert distances.shape == (rows, 1)


class Gate:
    """Lets the indexer add rows to graphs a number of times, and then holds it up."""

    def __init__(self, monkeypatch):
        self.inside = threading.Event()
        self._passes = threading.Semaphore(0)
        real = Navigator.add_stored

        def add(*arguments):
            if not self._passes.acquire(blocking=False):
                self.inside.set()
                self._passes.acquire()
            return real(*arguments)

        monkeypatch.setattr(Navigator, "add_stored", add)

    def let(self, times):
        """Let it add so many times more, and wait until it wants to once more."""
        self.inside.clear()
        self._passes.release(times)
        assert self.inside.wait(30)

    def open(self):
        self._passes.release(1_000_000)


@pytest.fixture
def hold(index, monkeypatch):
    """A function that holds up the indexer from then on."""
    gates = []

    def hold():
        gates.append(Gate(monkeypatch))
        return gates[0]

    yield hold
    for gate in gates:
        gate.open()


def slow(monkeypatch, seconds=0.05):
    """Make each block of rows take a while; what is returned is set when one has begun."""
    begun, real = threading.Event(), Navigator.add_stored

    def add(*arguments):
        begun.set()
        time.sleep(seconds)
        return real(*arguments)

    monkeypatch.setattr(Navigator, "add_stored", add)
    return begun


# --- in the background -------------------------------------------------------------------------


def test_rows_come_into_the_graph_by_themselves(index):
    """Once there are enough rows, they are indexed and the graph is saved; then each tail that is
    long enough; and many deleted rows leave it.
    """
    put(index, 0, FIRST - 1)
    assert indexers() == []
    assert not index.is_trained()
    put(index, FIRST - 1, FIRST)
    wait_until(lambda: indexed(index) == FIRST)
    wait_until(lambda: saved(index) == FIRST)
    assert index.is_trained()
    put(index, FIRST, FIRST + TAIL - 1)
    idle(index)
    assert indexed(index) == FIRST
    put(index, FIRST + TAIL - 1, FIRST + TAIL)
    wait_until(lambda: indexed(index) == FIRST + TAIL)
    assert nodes(index) == FIRST + TAIL
    check_all(index, FIRST + TAIL)
    index.delete([str(row) for row in range(100)])
    wait_until(lambda: nodes(index) == FIRST + TAIL - 100)
    assert len(indexers()) == 1


def test_one_row_at_a_time(index):
    """A stream of small writes ends in the graph as well, but for a tail that is short enough."""
    for row in range(FIRST + 3 * TAIL):
        put(index, row, row + 1)
    wait_until(lambda: indexed(index) > FIRST + 2 * TAIL)
    idle(index)
    check_all(index, FIRST + 3 * TAIL)


def test_it_waits_for_a_pause(index, monkeypatch):
    """While somebody writes, and until then for no longer than its patience, nothing is indexed."""
    monkeypatch.setattr(background, "PAUSE_SECONDS", 60.0)
    put(index, 0, FIRST)
    wait_until(lambda: indexers() and index._indexing._wake.empty())
    put(index, FIRST, FIRST + 5)
    assert indexed(index) == 0
    assert not index.is_training()
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 0.0)
    wait_until(lambda: indexed(index) == FIRST + 5)


def test_queries_while_the_first_graph_is_made(index, hold):
    """Until the first graph is there, answers are exact, and changes are seen at once; none of them
    is lost.
    """
    gate = hold()
    put(index, 0, 600)
    assert gate.inside.wait(30)
    model = {str(row): (VECTORS[row], None, None) for row in range(600)}

    def check(k=10):
        for query in VECTORS[1990:]:
            check_query(index.query(query, top_k=k), query, k, "euclidean", model)

    assert index.is_training()
    assert index.training_state == "training"
    check()
    gate.let(3)
    assert not index.is_trained()
    put(index, 600, 620)
    model |= {str(row): (VECTORS[row], None, None) for row in range(600, 620)}
    near = [result["id"] for result in index.query(VECTORS[1990], top_k=5)]
    assert index.delete(near) == 5
    for item in near:
        del model[item]
    index.upsert(["7"], VECTORS[1990:1991])
    model["7"] = (VECTORS[1990], None, None)
    check()
    check(k=700)
    gate.open()
    wait_until(lambda: saved(index) >= 600)
    idle(index)
    assert not index.is_training()
    assert index.training_state == "idle"
    found = index.query(VECTORS[1990])
    assert found[0]["id"] == "7"
    assert not {result["id"] for result in found} & (set(near) - {"7"})


def test_queries_while_a_graph_grows(index, hold):
    """Of a graph that grows, rows that it has and rows that are scanned are all rows, each once."""
    put(index, 0, 400)
    wait_until(lambda: saved(index) == 400)
    idle(index)
    gate = hold()
    put(index, 400, 600)
    assert gate.inside.wait(30)
    for done in (0, 1, 3):
        if done:
            gate.let(done - (indexed(index) - 400) // BLOCK)
        assert indexed(index) == 400 + done * BLOCK
        check_all(index, 600)
        found, _ = index.query_arrays(VECTORS[indexed(index) : 600], top_k=20)
        assert [ids[0] for ids in found] == [str(row) for row in range(indexed(index), 600)]
        assert all(len(set(ids)) == 20 for ids in found)
    index.delete(["599", "420"])
    found, _ = index.query_arrays(VECTORS[[599, 420]], top_k=5)
    assert not {"599", "420"} & {item for ids in found for item in ids}
    gate.open()
    wait_until(lambda: indexed(index) == 598)


def test_opening_goes_on(client, index):
    """A handle that finds rows without a graph brings them into one without being written to."""
    index.close()
    with client.load_index("notes", index_key=KEY, indexing="manual") as manual:
        put(manual, 0, 500)
    with client.load_index("notes", index_key=KEY) as again:
        wait_until(lambda: saved(again) == 500)


# --- the other modes ---------------------------------------------------------------------------


def test_inline(client):
    """Inline, rows are in the graph when upsert returns, once there are enough or there is one; no
    thread is started.
    """
    with client.create_index("inline", index_key=KEY, indexing="inline") as index:
        put(index, 0, FIRST - 1)
        assert indexed(index) == 0
        put(index, FIRST - 1, FIRST)
        assert indexed(index) == FIRST
        for row in range(FIRST, FIRST + 5):
            put(index, row, row + 1)
            assert indexed(index) == row + 1
        assert saved(index) == FIRST
        index.delete([str(row) for row in range(100)])
        assert nodes(index) == FIRST + 5 - 100
        assert indexers() == []
        check_all_but = index.query_arrays(VECTORS[100 : FIRST + 5], top_k=1)[0]
        assert np.mean([ids == [str(row)] for row, ids in enumerate(check_all_but, 100)]) > 0.99


def test_inline_of_a_graph_that_was_made_on_demand(client):
    """Inline, a graph that `optimize` has made is kept up, however small."""
    with client.create_index("inline", index_key=KEY, indexing="inline") as index:
        put(index, 0, 10)
        assert indexed(index) == 0
        index.optimize()
        put(index, 10, 20)
        assert indexed(index) == 20
        assert saved(index) == 10
    with client.load_index("inline", index_key=KEY, indexing="inline") as index:
        put(index, 20, 21)
        assert indexed(index) == 21


def test_manual(client):
    """On demand, nothing is indexed until `optimize` is called, or `train`."""
    with client.create_index("manual", index_key=KEY, indexing="manual") as index:
        put(index, 0, FIRST + 5 * TAIL)
        assert indexers() == []
        assert indexed(index) == 0
        assert index.training_state == "idle"
        index.optimize()
        assert indexed(index) == FIRST + 5 * TAIL
        put(index, FIRST + 5 * TAIL, FIRST + 10 * TAIL)
        index.delete([str(row) for row in range(200)])
        assert indexers() == []
        assert saved(index) == FIRST + 5 * TAIL
        index.train(n_lists=5)
        assert saved(index) == FIRST + 10 * TAIL


@pytest.mark.parametrize("mode", ["", "Background", "off", None, 1, True, b"inline", ["inline"]])
def test_unknown_modes(client, index, mode):
    """A mode that there is not is refused, and nothing is made."""
    with pytest.raises(InvalidInputError):
        client.create_index("other", index_key=KEY, indexing=mode)
    with pytest.raises(InvalidInputError):
        client.load_index("notes", index_key=KEY, indexing=mode)
    assert client.list_indexes() == ["notes"]


@pytest.mark.parametrize("mode", ["background", "inline"])
def test_read_only_handles_index_nothing(client, index, mode):
    """A handle that must not write makes no graph either, whatever mode it is opened in."""
    index.close()
    with client.load_index("notes", index_key=KEY, indexing="manual") as manual:
        put(manual, 0, 500)
        options = {"index_key": KEY, "read_only": True, "indexing": mode}
        with client.load_index("notes", **options) as reader:
            check_all(reader, 500)
            put(manual, 500, 600)
            check_all(reader, 600)
            assert indexers() == []
            assert not reader.is_trained()
            with pytest.raises(ReadOnlyError):
                reader.optimize()


# --- closing, and worse --------------------------------------------------------------------------


def test_closing_while_it_works(client, index, monkeypatch):
    """`close` does not wait for a graph that is being made; no item is lost, and a handle that is
    opened later makes it.
    """
    begun = slow(monkeypatch)
    put(index, 0, 2000)
    assert begun.wait(30)
    started = time.monotonic()
    index.close()
    took = time.monotonic() - started
    assert indexers() == []
    # The whole graph takes more than two seconds.
    assert took < 1
    with pytest.raises(ClosedError):
        index.query(VECTORS[0])
    monkeypatch.undo()
    with client.load_index("notes", index_key=KEY, indexing="manual") as again:
        assert indexed(again) == 0
        check_all(again, 2000)
    monkeypatch.setattr(indexer, "FIRST_ROWS", FIRST)
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.01)
    with client.load_index("notes", index_key=KEY) as again:
        wait_until(lambda: saved(again) == 2000)
        check_all(again, 2000)


@pytest.mark.parametrize(("more", "sure"), [(49, False), (60, True)])
def test_closing_saves_what_pays(client, index, monkeypatch, more, sure):
    """A graph that has got an eighth larger since it was saved is saved on closing; one that has
    got less is not, and its rows are scanned and indexed again.
    """
    put(index, 0, 400)
    wait_until(lambda: saved(index) == 400)
    idle(index)
    with monkeypatch.context() as patched:
        patched.setattr(indexer, "save", lambda *_: None)
        put(index, 400, 400 + more)
        wait_until(lambda: indexed(index) == 400 + more)
        idle(index)
    sequence = index.sequence
    index.close()
    index.close()
    with client.load_index("notes", index_key=KEY, indexing="manual") as again:
        assert saved(again) == (400 + more if sure else 400)
        assert again.sequence == sequence + sure
        check_all(again, 400 + more)


def failing(*_, **__):
    raise ArithmeticError("no graph today")


CALLS = {
    "query": lambda index: index.query(VECTORS[0]),
    "query_arrays": lambda index: index.query_arrays(VECTORS[:2]),
    "upsert": lambda index: put(index, 1990, 1991),
    "delete": lambda index: index.delete(["3"]),
    "optimize": lambda index: index.optimize(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_failure_is_raised_once(index, monkeypatch, call):
    """What the thread fails with is raised by the next call, which does nothing else, and by no
    later one. Rows are found meanwhile, and indexed with the next write.
    """
    with monkeypatch.context() as patched:
        patched.setattr(indexer, "rebuilt", failing)
        put(index, 0, 500)
        wait_until(lambda: index._indexing._error is not None)
        idle(index)
    sequence = index.sequence
    with pytest.raises(ArithmeticError, match="no graph today"):
        call(index)
    assert index.sequence == sequence
    assert len(index) == 500
    check_all(index, 500)
    put(index, 500, 510)
    wait_until(lambda: indexed(index) == 510)
    assert index.delete(["4"]) == 1
    assert len(indexers()) == 1


def test_a_failure_does_not_end_it(index, monkeypatch):
    """A thread that has failed works on, and fails again as long as there is a reason."""
    with monkeypatch.context() as patched:
        patched.setattr(indexer, "rebuilt", failing)
        put(index, 0, 500)
        for row in range(500, 503):
            wait_until(lambda: index._indexing._error is not None)
            with pytest.raises(ArithmeticError):
                index.query(VECTORS[0])
            index.query(VECTORS[0])
            put(index, row, row + 1)
        wait_until(lambda: index._indexing._error is not None)
        idle(index)
    with pytest.raises(ArithmeticError):
        index.optimize()
    index.optimize()
    assert indexed(index) == 503


def test_a_lock_that_is_held_is_no_failure(client, index):
    """Where somebody else is writing for long, the graph is used all the same, nothing is raised,
    and it is saved on closing.
    """
    index.close()
    with client.load_index("notes", index_key=KEY, indexing="manual") as manual:
        put(manual, 0, 500)
        with manual._session.store.environment.writer(1):
            hasty = client.load_index("notes", index_key=KEY, lock_timeout=0.01)
            wait_until(lambda: indexed(hasty) == 500)
            wait_until(lambda: not hasty.is_training())
            check_all(hasty, 500)
        assert saved(manual) == 0
        hasty.close()
        assert saved(manual) == 500


def test_dropping_an_index_ends_its_thread(client, monkeypatch):
    """An index that nobody holds any more takes its thread along, idle or at work."""

    def idle_one():
        index = client.create_index("a", index_key=KEY)
        put(index, 0, 400)
        wait_until(lambda: saved(index) == 400)
        assert len(indexers()) == 1

    idle_one()
    gc.collect()
    wait_until(lambda: indexers() == [])
    begun = slow(monkeypatch)
    index = client.create_index("b", index_key=KEY)
    put(index, 0, 2000)
    assert begun.wait(30)
    del index
    gc.collect()
    wait_until(lambda: indexers() == [], 1.0)
    with client.load_index("b", index_key=KEY, indexing="manual") as again:
        assert len(again) == 2000


def test_deleting_the_index_while_it_works(client, index, monkeypatch):
    """An index can be deleted while its graph is being made, and made anew; the old handle refuses,
    and closes.
    """
    begun = slow(monkeypatch)
    put(index, 0, 2000)
    assert begun.wait(30)
    client.delete_index("notes", index_key=KEY)
    wait_until(lambda: indexers() == [], 1.0)
    assert client.list_indexes() == []
    with pytest.raises(ClosedError):
        index.query(VECTORS[0])
    index.close()
    monkeypatch.undo()
    with client.create_index("notes", index_key=KEY) as again:
        put(again, 0, 10)
        check_all(again, 10)


def test_optimize_takes_over(index, hold):
    """`optimize` while the thread is at work waits for it, and then sees to the rest; its progress
    ends with all of it done.
    """
    gate, told = hold(), []
    put(index, 0, 600)
    assert gate.inside.wait(30)
    put(index, 600, 800)
    caller = threading.Thread(
        target=index.optimize, kwargs={"progress": lambda *numbers: told.append(numbers)}
    )
    caller.start()
    wait_until(lambda: told)
    assert caller.is_alive()
    gate.open()
    caller.join()
    assert saved(index) == 800
    wait_until(lambda: not index.is_training())
    assert all(0 <= done <= total for done, total in told)
    assert told[-1][0] == told[-1][1]


# --- other handles, other processes ----------------------------------------------------------------


def test_two_handles_of_one_process(client, index):
    """Two handles on one file that both write and both index see the same items, and end with a
    graph of all, each of its own.
    """
    with client.load_index("notes", index_key=KEY) as other:
        for first in range(0, 1000, 100):
            put(index, first, first + 60)
            put(other, first + 60, first + 100)
            check_all(index, first + 100)
            check_all(other, first + 100)
        index.delete([str(row) for row in range(0, 1000, 100)])
        for handle in (index, other):
            wait_until(lambda handle=handle: indexed(handle) > 900)
            idle(handle)
            handle.optimize()
            assert indexed(handle) == 990
            found, _ = handle.query_arrays(VECTORS[1:100], top_k=3)
            assert np.mean([ids[0] == str(row) for row, ids in enumerate(found, 1)]) > 0.98
    with client.load_index("notes", index_key=KEY, indexing="manual") as again:
        assert indexed(again) == 990
        assert len(again) == 990


SMALL = f"""
import os, sys, threading, time
import numpy as np
from support import KEY
from cyborg_embedded import Client, ClosedError, background, building, indexer, saving
from cyborg_embedded.navigator import Navigator
indexer.FIRST_ROWS, indexer.TAIL_ROWS, building.BLOCK_ROWS = {FIRST}, {TAIL}, {BLOCK}
background.PAUSE_SECONDS = 0.01
vectors = np.random.default_rng(3).standard_normal((2000, {D})).astype(np.float32)

def put(index, first, last):
    index.upsert([str(row) for row in range(first, last)], vectors[first:last])

def slow():
    begun, real = threading.Event(), Navigator.add_stored
    def add(*arguments):
        begun.set()
        time.sleep(0.1)
        return real(*arguments)
    Navigator.add_stored = add
    return begun
"""

WRITES = """
index = Client(sys.argv[1]).load_index("notes", index_key=KEY)
print("ready", flush=True)
sys.stdin.readline()
for first in range(1000, 1600, 50):
    put(index, first, first + 50)
    found, _ = index.query_arrays(vectors[first:first + 50], top_k=1)
    assert np.mean([ids == [str(row)] for row, ids in enumerate(found, first)]) > 0.9
index.close()
"""


def test_two_processes(folder, client, index):
    """Two processes that write and index at once lose nothing, and each sees the other's items."""
    put(index, 0, 500)
    wait_until(lambda: saved(index) == 500)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with python("-c", SMALL + WRITES, folder, **pipes) as child:
        assert child.stdout.readline() == "ready\n"
        print(file=child.stdin, flush=True)
        for first in range(500, 1000, 50):
            put(index, first, first + 50)
            found, _ = index.query_arrays(VECTORS[first : first + 50], top_k=1)
            assert np.mean([ids == [str(row)] for row, ids in enumerate(found, first)]) > 0.9
        assert child.wait(60) == 0
    check_all_of = [str(row) for row in range(1600)]
    assert sorted(index.list_ids()) == sorted(check_all_of)
    found, _ = index.query_arrays(VECTORS[:1600], top_k=1)
    assert np.mean([ids == [str(row)] for row, ids in enumerate(found)]) > 0.99
    idle(index)
    index.optimize()
    assert indexed(index) == saved(index) == 1600


# What is registered first runs last: when the thread has to be gone.
LAST = """
import atexit, threading
atexit.register(lambda: print(threading.active_count()))
"""
EXIT = """
begun = slow()
index = Client(sys.argv[1]).create_index("left", index_key=KEY)
put(index, 0, 2000)
assert begun.wait(30)
if sys.argv[2] == "raising":
    sys.exit(3)
"""


@pytest.mark.parametrize(("how", "code"), [("ending", 0), ("raising", 3)])
def test_exit_while_it_works(folder, client, how, code):
    """A program may end while a graph is being made: at once, without a word, losing nothing; the
    thread ends before the interpreter does.
    """
    started = time.monotonic()
    assert run_python(LAST + SMALL + EXIT, folder, how) == (code, "1\n", "")
    # The graph would take four seconds.
    assert time.monotonic() - started < 3
    with client.load_index("left", index_key=KEY, indexing="manual") as again:
        assert indexed(again) == 0
        check_all(again, 2000)


FORK = """
begun = slow()
index = Client(sys.argv[1]).create_index("forked", index_key=KEY)
put(index, 0, 500)
assert begun.wait(30)
started = time.monotonic()
child = os.fork()
if child == 0:
    refused = 0
    for call in (
        lambda: index.query(vectors[0]),
        lambda: index.get(["1"]),
        lambda: put(index, 500, 501),
        lambda: index.delete(["1"]),
        lambda: len(index),
    ):
        try:
            call()
        except ClosedError:
            refused += 1
    assert threading.active_count() == 1
    if sys.argv[2] == "closing":
        index.close()
    if sys.argv[2] == "opening":
        with Client(sys.argv[1]).load_index("forked", index_key=KEY, indexing="manual") as again:
            assert len(again) == 500
            put(again, 500, 501)
    sys.exit(10 + refused)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
took = time.monotonic() - started
more = sys.argv[2] == "opening"
deadline = time.monotonic() + 30
while index.describe()["indexed_rows"] < 500 and time.monotonic() < deadline:
    time.sleep(0.01)
print(status, took < 1.5, index.describe()["indexed_rows"] >= 500, len(index) - more)
index.close()
"""


@pytest.mark.parametrize("how", ["ending", "closing", "opening"])
def test_fork_while_it_works(folder, client, how):
    """A child that is forked meanwhile has no thread and no use of the handle, and ends as others
    do; the parent goes on.
    """
    code, out, err = run_python(SMALL + FORK, folder, how)
    assert (code, out, err) == (0, "15 True True 500\n", "")


HANG = """
begun = slow()
index = Client(sys.argv[1]).create_index("forked", index_key=KEY)
put(index, 0, 1000)
assert begun.wait(30)
child = os.fork()
if child == 0:
    signal.alarm(2)
    try:
        index.optimize()
    except ClosedError:
        os._exit(7)
    os._exit(8)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_optimize_in_a_child_that_was_forked_meanwhile(folder, client):
    """`optimize` in a forked child is a ClosedError too, and waits for nobody."""
    code, out, err = run_python("import signal\n" + SMALL + HANG, folder)
    assert (code, out, err) == (0, "7\n", "")


def test_a_closed_index_says_nothing_of_training(client):
    """After close these raise too, as every call does."""
    index = client.create_index("closed", index_key=KEY)
    assert (index.is_trained(), index.is_training(), index.training_state) == (False, False, "idle")
    index.close()
    for call in (index.is_trained, index.is_training, lambda: index.training_state):
        with pytest.raises(ClosedError):
            call()
