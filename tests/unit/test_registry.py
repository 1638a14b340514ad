"""One environment for each open file of a process, through handles, forks and removal."""

import os
import threading
import warnings

import pytest
from unit_harness import KEY, PagedStore, child, run_child

from cyborg_embedded import registry
from cyborg_embedded.errors import ClosedError, CyborgError, FormatError, LockedError
from cyborg_embedded.locks import FileLock
from cyborg_embedded.root import Root
from cyborg_embedded.store import PageStore


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "x.cyb")
    PageStore.create(path, KEY, Root(sequence=1, metric="euclidean", dimension=2))
    return path


def sequence(environment_or_store):
    with environment_or_store.read(None) as view:
        return view.snapshot.root.sequence


def readable(environment):
    with environment.read() as txn:
        return txn.get(b"\x00") is not None


def test_handles_share_an_environment(path):
    """Two handles of a process on one file share its environment; the last one closes it."""
    first = registry.acquire(path, timeout=1)
    second = registry.acquire(path, timeout=1)
    assert first is second
    registry.release(first)
    assert readable(second)
    registry.release(second)
    with pytest.raises(ClosedError):
        readable(second)
    registry.release(second)
    third = registry.acquire(path, timeout=1)
    assert third is not first
    assert readable(third)
    registry.release(third)


def test_handles_share_by_inode(path, tmp_path):
    """Another path to the same file is the same file: LMDB must not open it twice."""
    linked = str(tmp_path / "linked.cyb")
    os.link(path, linked)
    first = registry.acquire(path, timeout=1)
    second = registry.acquire(linked, timeout=1)
    assert first is second
    registry.release(first)
    registry.release(second)


def test_failed_acquire_leaves_nothing(tmp_path):
    """A file that cannot be opened is not remembered, and its lock is not kept."""
    path = str(tmp_path / "bad.cyb")
    with open(path, "wb") as file:
        file.write(bytes(20000))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(FormatError):
            registry.acquire(path, timeout=0)
    assert len(os.listdir("/proc/self/fd")) == before
    with FileLock(path, create=False).held(exclusive=True, timeout=0):
        pass
    with pytest.raises(FileNotFoundError):
        registry.acquire(path + ".missing", timeout=0)


OPENER = """
import sys
from cyborg_embedded import registry
environment = registry.acquire(sys.argv[1], timeout=5)
print("ready", flush=True)
sys.stdin.readline()
registry.release(environment)
print("closed", flush=True)
sys.stdin.readline()
"""


def test_alone_refuses_while_another_process_has_the_file(path):
    """While another process has the file open, nobody gets it alone; own handles stay usable."""
    ours = registry.acquire(path, timeout=1)
    with child(OPENER, path) as other:
        with pytest.raises(LockedError), registry.alone(ours, timeout=0.01):
            pytest.fail("got the file alone")
        assert readable(ours)
        with ours.writer(1):
            ours.write(lambda txn: txn.put(b"\xff", b"still works"))
        again = registry.acquire(path, timeout=1)
        assert again is ours
        registry.release(again)
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "closed\n"
        with registry.alone(ours, timeout=1):
            assert readable(ours)
    registry.release(ours)


def test_refused_exclusive_keeps_the_presence(path):
    """After a refusal this process still counts as having the file open, to other processes."""
    ours = registry.acquire(path, timeout=1)
    with child(OPENER, path), pytest.raises(LockedError), registry.alone(ours, timeout=0):
        pass
    script = """
    import sys
    from cyborg_embedded import registry
    from cyborg_embedded.errors import LockedError
    environment = registry.acquire(sys.argv[1], timeout=5)
    try:
        with registry.alone(environment, timeout=0.01):
            print("alone")
    except LockedError:
        print("locked")
    """
    assert run_child(script, path) == "locked"
    registry.release(ours)
    assert run_child(script, path) == "alone"


ALONE = """
import sys
from cyborg_embedded import registry
environment = registry.acquire(sys.argv[1], timeout=5)
with registry.alone(environment, timeout=5):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("wait", ["open", "alone"])
def test_who_waits_holds_up_nobody_else(path, tmp_path, wait):
    """While one thread waits for a file, others of the process open and close other files, and fork."""
    PagedStore(tmp_path / "other.cyb").close()
    with child(ALONE if wait == "open" else OPENER, path) as other:
        waits = threading.Thread(target=WAITS[wait], args=(path,))
        waits.start()
        for _ in range(20):
            registry.release(registry.acquire(str(tmp_path / "other.cyb"), timeout=1))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a fork beside threads
                pid = os.fork()
            if not pid:
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        assert waits.is_alive()
        other.stdin.write("\n")
        other.stdin.flush()
        waits.join(timeout=30)
        assert not waits.is_alive()


def open_and_close(path):
    registry.release(registry.acquire(path, timeout=60))


def have_alone(path):
    environment = registry.acquire(path, timeout=60)
    with registry.alone(environment, timeout=60):
        pass
    registry.release(environment)


WAITS = {"open": open_and_close, "alone": have_alone}


def test_own_handles_are_closed_with_the_file(path):
    """Whoever has the file alone goes on with it until he replaces it; others wait outside."""
    ours = registry.acquire(path, timeout=1)
    script = """
    import sys
    from cyborg_embedded import registry
    from cyborg_embedded.errors import LockedError
    try:
        registry.acquire(sys.argv[1], timeout=0.01)
        print("opened")
    except LockedError:
        print("locked")
    """
    with registry.alone(ours, timeout=1) as swap:
        assert readable(ours)
        assert run_child(script, path) == "locked"
        swap(lambda: None)
        with pytest.raises(ClosedError):
            readable(ours)
        assert run_child(script, path) == "locked"
    registry.release(ours)
    assert run_child(script, path) == "opened"
    again = registry.acquire(path, timeout=1)
    assert readable(again)
    registry.release(ours)
    assert readable(again), "releasing a dead handle closed a living one"
    registry.release(again)


def test_nobody_is_alone_with_a_file_that_is_gone(path):
    """A file that was deleted while it was open is ClosedError."""
    ours = registry.acquire(path, timeout=1)
    os.unlink(path)
    with pytest.raises(ClosedError), registry.alone(ours, timeout=0):
        pytest.fail("got it alone")
    registry.release(ours)


def test_replaced_file_is_another_file(path, tmp_path):
    """After the file at a path was replaced, opening gives the new one or says why it cannot yet."""
    ours = registry.acquire(path, timeout=1)
    other = str(tmp_path / "other.cyb")
    PageStore.create(other, KEY, Root(sequence=1, metric="cosine", dimension=3))
    os.rename(other, path)
    try:
        store = PageStore.open(path, KEY, timeout=1)
    except CyborgError:
        # A clear refusal will do as long as the old handle is there.
        registry.release(ours)
        store = PageStore.open(path, KEY, timeout=1)
    assert store.environment is not ours
    with store.read(None) as view:
        assert view.snapshot.root.metric == "cosine"
    store.close()
    registry.release(ours)


FORK = """
import os, sys
from cyborg_embedded import Client, ClosedError
client, key = Client(sys.argv[1]), bytes(32)
index = client.create_index("notes", index_key=key, dimension=2)
index.upsert(["a"], [[1, 2]])
second = client.load_index("notes", index_key=key)
pid = os.fork()
if pid == 0:
    status = 1
    try:
        for inherited in (index, second):
            for call in (
                lambda: inherited.get(["a"]),
                lambda: inherited.query([1, 2]),
                lambda: inherited.upsert(["x"], [[0, 0]]),
                lambda: inherited.delete(["a"]),
            ):
                try:
                    call()
                except ClosedError as error:
                    assert "fork" in str(error), error
                else:
                    raise SystemExit("an inherited handle went on")
        own = client.load_index("notes", index_key=key)
        own.upsert(["b"], [[3, 4]])
        assert own.list_ids() == ["a", "b"]
        index.close()
        assert own.list_ids() == ["a", "b"]
        second.close()
        own.upsert(["c"], [[5, 6]])
        own.close()
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)
assert os.waitpid(pid, 0)[1] == 0
assert index.list_ids() == ["a", "b", "c"]
index.upsert(["d"], [[7, 8]])
assert second.list_ids() == ["a", "b", "c", "d"]
index.close()
assert second.list_ids() == ["a", "b", "c", "d"]
second.close()
client.delete_index("notes", index_key=key)
print("fine")
"""


def test_fork(tmp_path):
    """A forked child's inherited handles refuse and say why; its own work, and the parent's too."""
    assert run_child(FORK, tmp_path / "folder") == "fine"


FORK_WHILE_OPEN = """
import os, sys
from cyborg_embedded import Client, LockedError
client, key = Client(sys.argv[1]), bytes(32)
index = client.create_index("notes", index_key=key, dimension=2)
to_child, from_parent = os.pipe()
to_parent, from_child = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(from_parent)
    os.close(to_parent)
    own = client.load_index("notes", index_key=key) if sys.argv[2] == "opens" else None
    os.write(from_child, b"x")
    os.read(to_child, 1)
    os._exit(0)
os.close(to_child)
assert os.read(to_parent, 1) == b"x"
try:
    client.delete_index("notes", index_key=key, lock_timeout=0.01)
    print("deleted")
except LockedError:
    index.upsert(["a"], [[1, 2]])
    assert index.list_ids() == ["a"]
    print("locked")
os.close(from_parent)
os.waitpid(pid, 0)
"""


@pytest.mark.parametrize(("what", "outcome"), [("opens", "locked"), ("idles", "deleted")])
def test_a_living_child_and_the_parents_lock(tmp_path, what, outcome):
    """A child that opened the index keeps it from being deleted; one that merely lives does not."""
    assert run_child(FORK_WHILE_OPEN, tmp_path / "folder", what) == outcome


FORK_BESIDE_THREADS = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")
from cyborg_embedded import Client
client, key = Client(sys.argv[1]), bytes(32)
index = client.create_index("notes", index_key=key, dimension=2)
index.upsert(["a"], [[1, 2]])
done = threading.Event()

def read():
    while not done.is_set():
        index.query([1, 2])
        time.sleep(0.0005)

def write():
    while not done.is_set():
        index.upsert(["w"], [[1, 3]], metadata=[{"n": 1}])
        time.sleep(0.0005)

threads = [threading.Thread(target=work, daemon=True) for work in (read, read, write)]
for thread in threads:
    thread.start()
for _ in range(6):
    pid = os.fork()
    if pid == 0:
        signal.alarm(15)
        status = 1
        try:
            own = client.load_index("notes", index_key=key, lock_timeout=30)
            own.upsert(["c"], [[3, 4]])
            assert set(own.list_ids()) >= {"a", "c"}
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
done.set()
for thread in threads:
    thread.join()
assert set(index.list_ids()) == {"a", "w", "c"}
print("fine")
"""


def test_fork_beside_threads(tmp_path):
    """A child forked while threads read and write opens the index anew and never hangs."""
    assert run_child(FORK_BESIDE_THREADS, tmp_path / "folder") == "fine"


FORK_DURING_A_TRANSACTION = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")
from cyborg_embedded import registry
environment = registry.acquire(sys.argv[1], timeout=5)
inside, leave, order = threading.Event(), threading.Event(), []

def read():
    with environment.read() as txn:
        inside.set()
        leave.wait()
        order.append(txn.get(bytes(1)) is not None)

def write():
    def work(txn):
        inside.set()
        leave.wait()
        txn.put(b"written", b"while another thread forks")
    with environment.writer(5):
        environment.write(work)
    order.append(True)

def fork():
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            own = registry.acquire(sys.argv[1], timeout=5)
            with own.read() as txn:
                status = 0 if (txn.get(b"written") is not None) == (sys.argv[2] == "write") else 2
        finally:
            os._exit(status)
    order.append("forked")
    order.append(os.waitpid(pid, 0)[1])

busy = threading.Thread(target=read if sys.argv[2] == "read" else write)
busy.start()
inside.wait()
forking = threading.Thread(target=fork)
forking.start()
forking.join(0.3)
assert forking.is_alive() and order == [], order
leave.set()
busy.join()
forking.join()
assert sorted(map(str, order)) == ["0", "True", "forked"], order
with environment.read() as txn:
    assert txn.get(bytes(1)) is not None
print("waited")
"""


@pytest.mark.parametrize("what", ["read", "write"])
def test_fork_waits_for_a_running_transaction(path, what):
    """A fork waits until a transaction of another thread has ended; parent and child go on."""
    assert run_child(FORK_DURING_A_TRANSACTION, path, what) == "waited"


FORK_WHILE_OPENING_A_LOCK = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
from cyborg_embedded import locks, registry
environment = registry.acquire(sys.argv[1], timeout=5)
real, inside, leave, forked = locks.fcntl.flock, threading.Event(), threading.Event(), []

def slow(fd, operation):
    inside.set()
    leave.wait()
    real(fd, operation)

def write():
    with environment.writer(5):
        done.wait()

def fork():
    before = set(os.listdir("/proc/self/fd"))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            names = [os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")
                     if os.path.exists("/proc/self/fd/" + fd)]
            status = int(any(name.startswith(sys.argv[1]) for name in names))
        finally:
            os._exit(status)
    forked.append(os.waitpid(pid, 0)[1])

done = threading.Event()
locks.fcntl.flock = slow
busy = threading.Thread(target=write)
busy.start()
inside.wait()
forking = threading.Thread(target=fork)
forking.start()
forking.join(0.3)
assert forking.is_alive() and forked == []
leave.set()
forking.join()
done.set()
busy.join()
print(forked)
"""


def test_a_child_inherits_no_descriptor_of_an_index(path):
    """A fork waits while a lock file is being opened, and its child keeps no file of the index."""
    assert run_child(FORK_WHILE_OPENING_A_LOCK, path) == "[0]"


LINKS = {
    "a symbolic link": lambda path, target: os.symlink(target, path),
    "a dangling link": lambda path, target: os.symlink(target + ".missing", path),
    "a folder": lambda path, target: os.mkdir(path),
    "a pipe": lambda path, target: os.mkfifo(path),
}


@pytest.mark.parametrize("make", LINKS.values(), ids=LINKS)
def test_what_is_no_file(path, tmp_path, make):
    """A link, a folder or a pipe is FormatError, at once, and nothing is opened through it."""
    other = str(tmp_path / "other.cyb")
    make(other, path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(FormatError):
        registry.acquire(other, timeout=0)
    assert sorted(os.listdir(tmp_path)) == before


def test_stores_share_and_close(tmp_path):
    """Closing one store leaves another on the same file at work, and both see all commits."""
    with PagedStore(tmp_path / "y.cyb") as paged:
        other = PageStore.open(paged.path, KEY, timeout=1)
        assert sequence(other) == 1
        other.close()
        with paged.read() as view:
            assert view.snapshot.root.sequence == 1
