"""The gate between threads and the file lock between processes."""

import fcntl
import os
import threading
import time

import pytest
from unit_harness import child

from cyborg_embedded import locks
from cyborg_embedded.errors import LockedError
from cyborg_embedded.gate import Gate
from cyborg_embedded.locks import FileLock

PATIENCE = 30
"""Seconds after which a test gives up on a thread; nothing is measured against it."""


def run_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.001)


def test_many_threads_share_the_gate():
    """As many threads as like are inside the gate at once when none wants it alone."""
    gate, together = Gate(), threading.Barrier(8, timeout=PATIENCE)

    def enter():
        with gate.shared():
            together.wait()

    threads = [run_thread(enter) for _ in range(8)]
    for thread in threads:
        thread.join(PATIENCE)
    assert not together.broken


def test_exclusive_is_alone():
    """While a thread is inside exclusively, nobody else is inside, in either form."""
    gate = Gate()
    shared, alone, wrong = [0], [0], []
    counting = threading.Lock()

    def reader():
        for _ in range(150):
            with gate.shared():
                with counting:
                    shared[0] += 1
                wrong.extend([1] * alone[0])
                with counting:
                    shared[0] -= 1

    def grower():
        for _ in range(50):
            with gate.exclusive():
                alone[0] += 1
                time.sleep(0)
                wrong.extend([2] * (shared[0] + alone[0] - 1))
                alone[0] -= 1

    threads = [run_thread(work) for work in (reader, grower) * 3]
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert wrong == []


def test_waiting_exclusive_goes_first():
    """Threads that come later do not overtake one that waits to be alone, so it cannot starve."""
    gate, order = Gate(), []

    def grow():
        with gate.exclusive():
            order.append("exclusive")

    def read():
        with gate.shared():
            order.append("shared")

    with gate.shared():
        grower = run_thread(grow)
        wait_until(lambda: gate._waiting == 1)
        readers = [run_thread(read) for _ in range(4)]
        time.sleep(0.05)
        assert order == []
    for thread in (grower, *readers):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert order == ["exclusive"] + ["shared"] * 4


@pytest.mark.parametrize("form", ["shared", "exclusive"])
def test_gate_is_left_on_an_error(form):
    """An exception inside the gate leaves it open to others."""
    gate = Gate()
    with pytest.raises(ZeroDivisionError), getattr(gate, form)():
        raise ZeroDivisionError
    entered = []

    def enter():
        with gate.exclusive():
            entered.append(1)
        with gate.shared():
            entered.append(2)

    run_thread(enter).join(PATIENCE)
    assert entered == [1, 2]


HOLDER = """
import sys
from cyborg_embedded.locks import FileLock
path, form, create = sys.argv[1:]
lock = FileLock(path, create=create == "create")
lock.acquire(exclusive=form == "exclusive", timeout=5)
print("ready", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "x.lock")


def free(lock, *, exclusive=True):
    """Whether the lock can be had at once."""
    try:
        with lock.held(exclusive=exclusive, timeout=0):
            return True
    except LockedError:
        return False


@pytest.mark.parametrize("timeout", [0, 0.03])
def test_exclusive_lock_between_processes(path, timeout):
    """While another process holds the lock, waiting in vain is LockedError with its process id."""
    with child(HOLDER, path, "exclusive", "create") as holder:
        for exclusive in (True, False):
            with pytest.raises(LockedError) as caught:
                FileLock(path, create=True).acquire(exclusive=exclusive, timeout=timeout)
            assert caught.value.pid == holder.pid
            assert str(holder.pid) in str(caught.value)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "released\n"
        assert free(FileLock(path, create=True))


def test_shared_lock_between_processes(path):
    """Processes share a shared lock, and keep an exclusive one out."""
    with child(HOLDER, path, "shared", "create"):
        assert free(FileLock(path, create=True), exclusive=False)
        assert not free(FileLock(path, create=True))


def test_lock_goes_with_the_process(path):
    """A process that is killed holds nothing any longer, and its lock file is no obstacle."""
    with child(HOLDER, path, "exclusive", "create") as holder:
        assert not free(FileLock(path, create=True))
        holder.kill()
        holder.wait()
        assert free(FileLock(path, create=True))


def test_waiting_ends_when_the_holder_lets_go(path):
    """A waiting acquire gets the lock once the other process has released it."""
    with child(HOLDER, path, "exclusive", "create") as holder:
        taken = []
        lock = FileLock(path, create=True)

        def wait():
            lock.acquire(exclusive=True, timeout=PATIENCE)
            taken.append(1)

        waiting = run_thread(wait)
        holder.stdin.write("\n")
        holder.stdin.flush()
        waiting.join(PATIENCE)
        assert taken == [1]
        assert not free(FileLock(path, create=True))
        lock.release()


def test_locks_of_one_process_exclude_each_other(path):
    """Two locks on one file in one process are strangers to each other, and release is its own."""
    first, second = FileLock(path, create=True), FileLock(path, create=True)
    with first.held(exclusive=True, timeout=0):
        with pytest.raises(LockedError) as caught:
            second.acquire(exclusive=True, timeout=0)
        assert caught.value.pid == os.getpid()
        second.release()
        assert not free(second)
    assert free(second)
    first.release()


def test_lock_on_a_file_that_it_does_not_make(tmp_path):
    """Without `create` the file must exist, is not written to, and its content is no process id."""
    data = tmp_path / "data"
    with pytest.raises(FileNotFoundError):
        FileLock(str(data), create=False).acquire(exclusive=False, timeout=0)
    assert not data.exists()
    data.write_bytes(b"12345")
    with FileLock(str(data), create=False).held(exclusive=True, timeout=0):
        with pytest.raises(LockedError) as caught:
            FileLock(str(data), create=False).acquire(exclusive=False, timeout=0)
        assert caught.value.pid is None
    assert data.read_bytes() == b"12345"


def test_unlinked_lock_file_does_not_count(path):
    """Whoever holds the lock on a file that was unlinked keeps nobody out of its successor."""
    old, new = FileLock(path, create=True), FileLock(path, create=True)
    old.acquire(exclusive=True, timeout=0)
    old.unlink()
    assert not os.path.exists(path)
    old.unlink()
    new.acquire(exclusive=True, timeout=0)
    old.release()
    assert not free(FileLock(path, create=True))
    new.release()


@pytest.mark.parametrize("replaced", [True, False])
def test_file_replaced_while_locking(path, monkeypatch, replaced):
    """A lock got on an inode that the path no longer names is given up for one on the new file."""
    swapped = []

    class Swapping:
        LOCK_EX, LOCK_SH, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB
        LOCK_UN = fcntl.LOCK_UN

        @staticmethod
        def flock(fd, operation):
            if not swapped:
                swapped.append(os.fstat(fd).st_ino)
                os.rename(path, path + ".old")
                if replaced:
                    with open(path, "xb"):
                        pass
            fcntl.flock(fd, operation)

    monkeypatch.setattr(locks, "fcntl", Swapping)
    lock = FileLock(path, create=True)
    lock.acquire(exclusive=True, timeout=PATIENCE)
    assert swapped == [os.stat(path + ".old").st_ino]
    assert free(FileLock(path + ".old", create=True)), "the old file is still locked"
    assert not free(FileLock(path, create=True)), "the new file is not locked"
    lock.release()


def test_symbolic_links_are_not_followed(tmp_path):
    """A lock file that is a symbolic link is refused, so nothing can be written through it."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    link = tmp_path / "link.lock"
    link.symlink_to(target)
    with pytest.raises(OSError):
        FileLock(str(link), create=True).acquire(exclusive=True, timeout=0)
    assert target.read_bytes() == b"precious"


def test_lock_file(path):
    """The lock file is for its owner alone and names the process that held it last."""
    with FileLock(path, create=True).held(exclusive=True, timeout=0):
        assert os.stat(path).st_mode & 0o777 == 0o600
        with open(path, encoding="ascii") as file:
            assert int(file.read()) == os.getpid()


def test_damaged_lock_file(path):
    """A lock file that holds garbage still locks; the holder is then unknown."""
    with open(path, "wb") as file:
        file.write(b"\xff garbage")
    with FileLock(path, create=True).held(exclusive=False, timeout=0):
        with pytest.raises(LockedError) as caught:
            FileLock(path, create=True).acquire(exclusive=True, timeout=0)
        assert caught.value.pid is None


def test_no_descriptor_is_left(path):
    """Failed and finished locking leaves no open descriptor behind."""
    holder = FileLock(path, create=True)
    before = len(os.listdir("/proc/self/fd"))
    holder.acquire(exclusive=True, timeout=0)
    for _ in range(20):
        assert not free(FileLock(path, create=True))
    holder.release()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_gate_lets_those_in_who_were_held_up():
    """One exclusive step after another does not shut out who wants to share: all who waited through
    a step are in and out again before the next one.
    """
    gate, entered, late = Gate(), [], []
    begun = threading.Event()

    def work():
        waiting = set()
        for _ in range(100):
            with gate.exclusive():
                late.extend(waiting - set(entered))
                begun.set()
                time.sleep(0.002)
                before = set(asked) - set(entered)
                held_up = gate._held_up
                # All who have asked wait by now, or nothing is said of them.
                sure = before == set(asked) - set(entered) and held_up == len(before)
                waiting = before if sure else set()

    asked = []

    def share(name):
        begun.wait()
        for turn in range(5):
            asked.append((name, turn))
            with gate.shared():
                entered.append((name, turn))

    threads = [
        threading.Thread(target=work),
        *(threading.Thread(target=share, args=(name,)) for name in range(3)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 15
    assert late == []
