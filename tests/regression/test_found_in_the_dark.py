"""Faults of the moments that nobody sees: after a commit, in the middle of an interrupt, between two
processes; each with the case that showed it.
"""

import errno
import os
import shutil
import signal
import sys
import threading

import hnswlib
import lmdb
import numpy as np
import pytest
from support import KEY, run_python, write_pages

from cyborg_embedded import (
    Client,
    ClosedError,
    IndexNotFoundError,
    InvalidInputError,
    LockedError,
    ReadOnlyError,
    StorageFullError,
    WrongKeyError,
    background,
    folder,
    pool,
    store,
)
from cyborg_embedded.environment import Environment
from cyborg_embedded.model import PageKind
from cyborg_embedded.root import chunk_number

OTHER = bytes(range(1, 33))
VECTORS = np.random.default_rng(0).standard_normal((9000, 16)).astype(np.float32)


@pytest.fixture
def client(tmp_path):
    with Client(tmp_path / "indexes") as client:
        yield client


def made(client, rows=100, **options):
    """An index of some rows."""
    options = {"indexing": "manual"} | options
    index = client.create_index("a", index_key=KEY, **options)
    index.upsert([f"i{row}" for row in range(rows)], VECTORS[:rows], [{"y": 1}] * rows)
    return index


def key_of(kind, number):
    return bytes([kind]) + number.to_bytes(8, "big")


# --- interrupts ----------------------------------------------------------------------------------


class Interrupted(hnswlib.Index):
    """hnswlib, with Ctrl-C pressed while it adds."""

    def add_items(self, *arguments, **options):
        super().add_items(*arguments, **options)
        raise KeyboardInterrupt


def test_a_graph_that_was_interrupted_is_not_used(client):
    """Rows that hnswlib has got and nobody knows of are never answers, and no graph is saved."""
    index = made(client, 600)
    index.optimize()
    index.upsert([f"j{row}" for row in range(100)], VECTORS[600:700])
    graph = index._session.state.navigator.known.graph
    interrupted = Interrupted(params=graph.wake().__getstate__()[0])
    interrupted.resize_index(1000)
    graph._index = interrupted
    with pytest.raises(KeyboardInterrupt):
        index.optimize()
    found = [each["id"] for each in index.query(VECTORS[650], top_k=10)]
    assert found[0] == "j50"
    assert len(set(found)) == 10
    index.delete([f"j{row}" for row in range(0, 100, 10)])
    index.optimize()
    assert index.describe()["indexed_rows"] == 690
    assert index.verify().ok
    assert index.query(VECTORS[651], top_k=1)[0]["id"] == "j51"


def test_a_graph_that_cannot_grow_can_grow_later(client, monkeypatch):
    """Where hnswlib had no memory, the graph is as large as it was."""
    index = made(client, 600)
    index.optimize()
    index.upsert([f"j{row}" for row in range(100)], VECTORS[600:700])

    class Full(hnswlib.Index):
        def resize_index(self, _):
            raise RuntimeError("Not enough memory")

    graph = index._session.state.navigator.known.graph
    state = graph.wake().__getstate__()[0]
    graph._index = Full(params=state)
    with pytest.raises(RuntimeError):
        index.optimize()
    graph._index = hnswlib.Index(params=state)
    index.optimize()
    assert index.describe()["indexed_rows"] == 700


def test_pages_of_an_interrupted_read(client):
    """A read that is interrupted at any of its lines leaves no row where there is none."""
    made(client, 300).close()
    for at in range(1, 60):
        index = client.load_index("a", index_key=KEY, indexing="manual")
        left = [at]

        def local(frame, event, _, left=left):
            if event == "line":
                left[0] -= 1
                if not left[0]:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return local

        def trace(frame, *_, local=local):
            ours = frame.f_code.co_filename == pool.__file__
            return local if ours and frame.f_code.co_name == "_fill" else None

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            index.get(["i7", "i200"])
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        for row in (7, 200, 8):
            (item,) = index.get([f"i{row}"], include=["vector"])
            assert (item["vector"] == VECTORS[row]).all(), at
        assert index.query(VECTORS[7], top_k=1)[0]["id"] == "i7"
        index.close()
        if left[0] > 0:
            break
    assert left[0] > 0


SIGNALLED = """
import random, signal, sys, time
from cyborg_embedded import Client, ClosedError, LockedError
client, key = Client(sys.argv[1]), bytes.fromhex(sys.argv[2])
signal.signal(signal.SIGALRM, lambda *_: index.close())
closed = 0
until = time.monotonic() + float(sys.argv[3])
while time.monotonic() < until:
    index = client.load_index("a", index_key=key, indexing="manual")
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.01))
    try:
        while True:
            index.get([f"i{n}" for n in random.sample(range(900), 200)], include=["vector"])
    except (ClosedError, LockedError):
        signal.setitimer(signal.ITIMER_REAL, 0)
        closed += 1
    index.close()
print(closed > 10)
"""


def test_a_signal_handler_that_closes(client):
    """A handler that closes an index in the middle of a call on it harms nobody: it is refused."""
    made(client, 900).close()
    answer = run_python(SIGNALLED, client._folder.path, KEY.hex(), 1.5)
    assert answer == (0, "True\n", "")


# --- after a commit ------------------------------------------------------------------------------


def fail(error):
    def call(*_, **__):
        raise error

    return call


@pytest.mark.parametrize("error", [MemoryError(), lmdb.Error("x"), OSError(errno.EMFILE, "x")])
@pytest.mark.parametrize("where", [(store.PageStore, "open_with"), (background.Indexing, "look")])
def test_a_rekey_that_is_done_raises_nothing(client, monkeypatch, error, where):
    """Or its caller would throw away the key that the file is under by now."""
    index = made(client)
    monkeypatch.setattr(*where, fail(error))
    index.rekey(OTHER)
    monkeypatch.undo()
    index.close()
    with pytest.raises(WrongKeyError):
        client.load_index("a", index_key=KEY)
    with client.load_index("a", index_key=OTHER) as index:
        assert len(index) == 100


@pytest.mark.parametrize("error", [LockedError("x"), StorageFullError("x"), RuntimeError("x")])
def test_a_write_that_is_done_is_no_failure(client, monkeypatch, error):
    """What fails afterwards, in bringing items into the graph, is raised by the next call, if at
    all.
    """
    index = made(client, 600, indexing="inline")
    index.optimize()
    monkeypatch.setattr(background, "optimize", fail(error))
    index.upsert(["new"], VECTORS[:1])
    assert len(index) == 601
    monkeypatch.undo()
    if isinstance(error, LockedError):
        index.delete(["new"])
    else:
        with pytest.raises(type(error)):
            index.delete(["new"])
        index.delete(["new"])
    assert len(index) == 600


def test_writing_while_told_of_progress(client):
    """A callback of `optimize` may write, also where each write brings its items into the graph."""
    index = made(client, 600, indexing="inline")
    told = []

    def progress(*_):
        if not told:
            told.append(1)
            index.upsert(["new"], VECTORS[:1])

    thread = threading.Thread(target=lambda: index.optimize(progress=progress), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert told
    assert index.get(["new"])


# --- files ---------------------------------------------------------------------------------------


def test_a_swap_that_fails_leaves_the_handles_open(client, monkeypatch):
    """A new file that does not get its place leaves everything as it was."""
    index = made(client)
    other = client.load_index("a", index_key=KEY, indexing="manual")
    monkeypatch.setattr(folder.os, "replace", fail(OSError(errno.ENOSPC, "x")))
    with pytest.raises(StorageFullError):
        index.compact()
    monkeypatch.undo()
    assert len(index) == len(other) == 100
    other.upsert(["new"], VECTORS[:1])
    assert len(index) == 101
    monkeypatch.setattr(folder, "remove_files", fail(OSError(errno.EPERM, "x")))
    with pytest.raises(ReadOnlyError):
        client.delete_index("a", index_key=KEY)
    monkeypatch.undo()
    assert len(index) == 101
    other.close()
    index.compact()


MAP = """
import os, resource, sys
import numpy as np
from cyborg_embedded import Client, StorageFullError
np.ones((64, 64)) @ np.ones((64, 64))
size = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmSize" in line)
resource.setrlimit(resource.RLIMIT_AS, ((size << 10) + (96 << 20), resource.RLIM_INFINITY))
client, key = Client(sys.argv[1]), bytes.fromhex(sys.argv[2])
index = client.create_index("b", index_key=key, dimension=2, indexing="manual")
other = client.load_index("b", index_key=key, indexing="manual")
written = 0
try:
    for n in range(500):
        index.upsert([f"{n}"], [[1.0, n]], None, [os.urandom(1 << 20)])
        written += 1
except StorageFullError:
    print(len(index) == len(other) == len(client.load_index("b", index_key=key)) == written > 10)
index.delete(["0"])
print(len(other) == written - 1)
"""


def test_a_map_that_cannot_grow(client):
    """Without address space for a larger map a write fails, and everything else goes on."""
    answer = run_python(MAP, client._folder.path, KEY.hex())
    assert answer == (0, "True\nTrue\n", "")


@pytest.mark.parametrize("what", ["close", "compact"])
def test_a_backup_while_its_keys_go(client, tmp_path, monkeypatch, what):
    """A copy is looked at with the keys that it was made under."""
    index = made(client)
    copy = Environment.copy

    def copied(self, path):
        copy(self, path)
        getattr(index, what)()

    monkeypatch.setattr(Environment, "copy", copied)
    index.backup(tmp_path / "backup", check=True)
    monkeypatch.undo()
    client.restore_index("again", tmp_path / "backup", index_key=KEY)


def test_a_backup_of_the_file_that_is_there_now(client, tmp_path, monkeypatch):
    """The file that has been replaced meanwhile is copied in place of the old one."""
    index = made(client)
    copy = Environment.copy

    def compact_first(self, path):
        monkeypatch.undo()
        thread = threading.Thread(target=index.compact)
        thread.start()
        thread.join()
        copy(self, path)

    monkeypatch.setattr(Environment, "copy", compact_first)
    index.backup(tmp_path / "backup", check=True)


@pytest.mark.parametrize("call", ["load", "describe"])
def test_replaced_while_it_is_opened(client, monkeypatch, call):
    """Whoever opens a file that is replaced before he has read it opens the new one."""
    index = made(client)
    acquire = store.acquire

    def compact_then(*arguments, **options):
        environment = acquire(*arguments, **options)
        monkeypatch.undo()
        thread = threading.Thread(target=index.compact)
        thread.start()
        thread.join()
        return environment

    monkeypatch.setattr(store, "acquire", compact_then)
    if call == "load":
        with client.load_index("a", index_key=KEY) as again:
            assert len(again) == 100
    else:
        assert client.describe_index("a")["name"] == "a"


# --- damage --------------------------------------------------------------------------------------


def test_repair_makes_columns_anew(client):
    """Columns that are behind are not taken for those of a page whose tag nobody knows."""
    index = made(client)
    index.optimize()
    index.upsert(["i3"], VECTORS[3:4], [{"y": 2}])
    index.compact()
    index.close()
    path = os.path.join(client._folder.path, "a.cyb")
    write_pages(path, {key_of(PageKind.TABLE, chunk_number(PageKind.ITEMS, 0)): bytes(60)})
    report = client.repair_index("a", to="b", index_key=KEY)
    assert report.maybe_old
    with client.load_index("b", index_key=KEY, indexing="manual") as index:
        assert index.count({"y": 2}) == 1
        assert index.verify().ok


def test_repair_tells_that_deleted_items_are_back(client):
    """Tombstones of an earlier commit, which open where the page table does not, are told of."""
    index = made(client)
    index.delete(["i1"])
    index.close()
    path = os.path.join(client._folder.path, "a.cyb")
    key = key_of(PageKind.TOMBSTONES, 0)
    with lmdb.Environment(path, subdir=False, lib_version=0) as env, env.begin() as txn:
        earlier = bytes(txn.get(key))
    with client.load_index("a", index_key=KEY, indexing="manual") as index:
        index.delete([f"i{row}" for row in range(2, 50)])
    table = key_of(PageKind.TABLE, chunk_number(PageKind.TOMBSTONES, 0))
    write_pages(path, {key: earlier, table: bytes(60)})
    report = client.repair_index("a", to="b", index_key=KEY)
    assert report.saved == 99
    assert report.maybe_deleted


def test_verify_does_not_cry_wolf(client):
    """Many equal items, which lead to each other alone, and more fields than columns, are sound."""
    index = client.create_index("a", index_key=KEY, indexing="manual")
    rows = np.repeat(VECTORS[:30], 50, axis=0)
    fields = [{f"f{row}_{n}": n for n in range(2)} for row in range(len(rows))]
    index.upsert([f"i{row}" for row in range(len(rows))], rows, fields)
    index.optimize()
    assert index.verify().ok
    index.delete(["i0"])
    assert index.verify().ok


# --- errors --------------------------------------------------------------------------------------


def test_a_folder_that_is_gone(client):
    """Whoever removes the folder of a client gets errors of this library from it."""
    index = made(client)
    shutil.rmtree(client._folder.path)
    for call in (
        client.list_indexes,
        lambda: client.load_index("a", index_key=KEY),
        lambda: client.create_index("b", index_key=KEY),
        lambda: client.delete_index("a", index_key=KEY),
        lambda: client.describe_index("a"),
    ):
        with pytest.raises(IndexNotFoundError):
            call()
    for call in (
        lambda: index.upsert(["new"], VECTORS[:1]),
        lambda: index.delete(["i1"]),
        index.verify,
        index.compact,
    ):
        with pytest.raises(ClosedError):
            call()
    assert len(index.query(VECTORS[0])) == 10


def test_odd_paths(client, tmp_path):
    """Paths through files, too long ones and those with NUL are bad input."""
    index = made(client)
    (tmp_path / "file").touch()
    long, nul = tmp_path / ("b" * 300), f"{tmp_path}/a\0b"
    for path in (tmp_path / "file" / "x", long, nul):
        with pytest.raises(InvalidInputError):
            index.backup(path)
        with pytest.raises(InvalidInputError):
            client.restore_index("b", path, index_key=KEY)
    for path in (long, nul):
        with pytest.raises(InvalidInputError):
            Client(path)
    index.backup(tmp_path / ("b" * 240))
    assert client.list_indexes() == ["a"]


DESCRIPTORS = """
import os, resource, sys
from cyborg_embedded import Client, CyborgError
client, key = Client(sys.argv[1]), bytes.fromhex(sys.argv[2])
client.load_index("a", index_key=key).close()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
while True:
    try:
        taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        break
refused = 0
while True:
    try:
        index = client.load_index("a", index_key=key, indexing="manual")
        break
    except CyborgError:
        refused += 1
        os.close(taken.pop())
print(refused > 0, len(index))
"""


def test_too_few_descriptors(client):
    """Where no more files can be opened, the error is one of this library, and nothing is kept."""
    made(client).close()
    answer = run_python(DESCRIPTORS, client._folder.path, KEY.hex())
    assert answer == (0, "True 100\n", "")


FORKED = """
import os, signal, sys, threading, time
from cyborg_embedded import Client, backups
client, key = Client(sys.argv[1]), bytes.fromhex(sys.argv[2])
inside = threading.Event()
backups.is_sound = lambda path: (inside.set(), time.sleep(60))
restore = lambda: client.restore_index("b", sys.argv[3], index_key=key)
threading.Thread(target=restore, daemon=True).start()
inside.wait()
child = os.fork()
if not child:
    os.closerange(0, 3)
    time.sleep(20)
    os._exit(0)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_keeps_no_lock_of_a_parent_that_is_dead(client, tmp_path):
    """A process that is forked in the middle of a restoration holds up nobody once that is gone."""
    made(client).backup(tmp_path / "backup")
    _, printed, _ = run_python(FORKED, client._folder.path, KEY.hex(), tmp_path / "backup")
    try:
        client.create_index("c", index_key=KEY, lock_timeout=1).close()
        assert client.list_indexes() == ["a", "c"]
    finally:
        os.kill(int(printed), signal.SIGKILL)
