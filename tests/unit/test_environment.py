"""One LMDB file: growth, truncation, stale and foreign files, modes, and the end of a handle."""

import contextlib
import os
import random
import shutil
import threading

import pytest
from unit_harness import child, run_child

from cyborg_embedded import environment
from cyborg_embedded.environment import Environment
from cyborg_embedded.errors import ClosedError, FormatError, LockedError
from cyborg_embedded.lockfiles import remove_files
from cyborg_embedded.store import PageStore

SMALL_MAP = 1 << 17
VALUE = bytes(range(256)) * 100


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "x.cyb")


@pytest.fixture
def small_map(monkeypatch):
    monkeypatch.setattr(environment, "INITIAL_MAP_BYTES", SMALL_MAP)


@contextlib.contextmanager
def opened(path, *, create=False):
    made = Environment(path, create=create)
    try:
        yield made
    finally:
        made.close()


def put(env, values, timeout=5):
    def work(txn):
        for key, value in values.items():
            txn.put(key, value)

    with env.writer(timeout):
        env.write(work)


def get(env, key):
    with env.read() as txn:
        value = txn.get(key)
        return None if value is None else bytes(value)


def test_values_survive_reopening(path):
    """What one environment committed, the next one on the file reads."""
    with opened(path, create=True) as env:
        put(env, {b"a": b"1", b"b": VALUE})
        put(env, {b"a": b"2"})
    with opened(path) as env:
        assert (get(env, b"a"), get(env, b"b"), get(env, b"c")) == (b"2", VALUE, None)


def test_failed_work_changes_nothing(path):
    """An exception in the work of a write aborts all of it."""
    with opened(path, create=True) as env:
        put(env, {b"a": b"1"})

        def work(txn):
            txn.put(b"a", b"2")
            txn.delete(b"a")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), env.writer(5):
            env.write(work)
        assert get(env, b"a") == b"1"
        put(env, {b"a": b"3"})
        assert get(env, b"a") == b"3"


def test_deleting(path):
    """A deleted key is gone, and deleting one that is not there is no error."""
    with opened(path, create=True) as env:
        put(env, {b"a": b"1"})
        with env.writer(5):
            env.write(lambda txn: [txn.delete(key) for key in (b"a", b"b")])
        assert get(env, b"a") is None


def test_reads_are_snapshots(path):
    """A read keeps seeing its commit while another thread commits the next, whose id is one up."""
    with opened(path, create=True) as env:
        put(env, {b"a": b"1"})
        with env.read() as txn:
            writer = threading.Thread(target=put, args=(env, {b"a": b"2"}))
            writer.start()
            writer.join()
            assert bytes(txn.get(b"a")) == b"1"
            first = txn.id
        with env.read() as txn:
            assert bytes(txn.get(b"a")) == b"2"
            assert txn.id == first + 1


def test_growth_replays_the_batch(path, small_map):
    """When the map is full it grows and the work runs again from the start: nothing is lost."""
    runs = []

    def work(txn):
        runs.append(1)
        assert txn.get(b"0") is None, "the aborted attempt left something"
        for number in range(60):
            txn.put(b"%d" % number, VALUE)
        return "done"

    with opened(path, create=True) as env:
        put(env, {b"before": b"here"})
        with env.writer(5):
            assert env.write(work) == "done"
        assert len(runs) > 1
        assert all(get(env, b"%d" % number) == VALUE for number in range(60))
        assert get(env, b"before") == b"here"
    with opened(path) as env:
        assert get(env, b"59") == VALUE


def test_many_growths(path, small_map):
    """Growth happens as often as it takes, commit after commit."""
    with opened(path, create=True) as env:
        for number in range(40):
            put(env, {b"%d" % number: VALUE * 4})
        assert os.stat(path).st_size > 8 * SMALL_MAP
        assert all(get(env, b"%d" % number) == VALUE * 4 for number in range(40))


WRITER = """
import sys
from cyborg_embedded.environment import Environment
env = Environment(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    key, size = line.split()
    with env.writer(10):
        env.write(lambda txn: txn.put(key.encode(), key.encode() * int(size)))
    print("written", flush=True)
"""


def tell(process, key, size):
    process.stdin.write(f"{key} {size}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "written\n"


def test_growth_by_another_process(path, small_map):
    """A file that another process has grown beyond this one's map is read and written here."""
    with opened(path, create=True) as env:
        put(env, {b"a": b"1"})
        with child(WRITER, path) as writer:
            tell(writer, "k", 4 * SMALL_MAP)
            assert get(env, b"k") == b"k" * 4 * SMALL_MAP
            tell(writer, "l", 8 * SMALL_MAP)
            put(env, {b"b": b"2"})
            assert get(env, b"l") == b"l" * 8 * SMALL_MAP
            tell(writer, "m", 1)
            assert (get(env, b"a"), get(env, b"b"), get(env, b"m")) == (b"1", b"2", b"m")


GROWTH_UNDER_READERS = """
import sys, threading, time
from cyborg_embedded import environment
from cyborg_embedded.environment import Environment
environment.INITIAL_MAP_BYTES = 1 << 17
env = Environment(sys.argv[1], create=True)
expected = bytes(range(256)) * 64
with env.writer(5):
    env.write(lambda txn: [txn.put(b"r%d" % n, expected) for n in range(4)])
done, wrong, reads = threading.Event(), [], [0] * 4

def read(number):
    try:
        while not done.is_set():
            with env.read() as txn:
                view = txn.get(b"r%d" % number)
                for _ in range(5):
                    if bytes(view) != expected:
                        wrong.append(number)
                    time.sleep(0.0005)
            reads[number] += 1
    except BaseException as error:
        wrong.append(error)

threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
for thread in threads:
    thread.start()
sizes = []
for n in range(20):
    with env.writer(5):
        env.write(lambda txn: txn.put(b"w%d" % n, bytes(1 << 18)))
    sizes.append(env._live().info()["map_size"])
done.set()
for thread in threads:
    thread.join()
env.close()
assert not wrong, wrong
assert all(reads), reads
assert len(set(sizes)) > 3, sizes
print("fine")
"""


def test_growth_while_others_read(path):
    """Views that threads hold stay readable while the map grows: growth waits for them."""
    assert run_child(GROWTH_UNDER_READERS, path) == "fine"


TRUNCATIONS = """
import os, random, shutil, sys
from cyborg_embedded.environment import Environment
from cyborg_embedded.errors import FormatError
folder = sys.argv[1]
whole, cut = os.path.join(folder, "whole.cyb"), os.path.join(folder, "cut.cyb")
values = {b"%d" % n: bytes([n]) * (n * 997) for n in range(40)}
env = Environment(whole, create=True)
for part in range(4):
    with env.writer(5):
        env.write(lambda txn: [txn.put(k, v) for k, v in values.items() if int(k) % 4 == part])
env.close()
data = open(whole, "rb").read()
size = len(data)
lengths = {0, 1, 15, 16, 17, 100, 4095, 4096, 4097, 8191, 8192, 8193, 12288, size - 1, size - 4096}
lengths |= set(random.Random(1).sample(range(size), 100))
lengths |= set(range(0, size, 4 * 4096))
refused = 0
for length in sorted(lengths):
    with open(cut, "wb") as file:
        file.write(data[:length])
    try:
        env = Environment(cut)
    except FormatError:
        refused += 1
        continue
    # Only free pages may have been missing.
    with env.read() as txn:
        for key, value in values.items():
            assert bytes(txn.get(key)) == value, (length, key)
    env.close()
print(refused, len(lengths))
"""


def test_truncated_files(tmp_path):
    """A file cut at any length is FormatError, or lacks nothing: it never kills the process."""
    refused, tried = map(int, run_child(TRUNCATIONS, tmp_path).split())
    assert tried > 100
    assert refused >= tried - 3


def lmdb_like(version):
    return bytes(16) + (0xBEEFC0DE).to_bytes(4, "little") + version.to_bytes(4, "little")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"SQLite format 3\x00" + bytes(8192),
        bytes(16384),
        b"\xff" * 16384,
        random.Random(7).randbytes(20000),
        lmdb_like(1) + bytes(16384),
        lmdb_like(999) + bytes(16384),
    ],
    ids=["empty", "short", "sqlite", "zeros", "ones", "random", "blank meta", "other version"],
)
def test_files_of_others(path, data):
    """A file that is not LMDB's is FormatError, and stays as it is, without lock files."""
    with open(path, "wb") as file:
        file.write(data)
    with pytest.raises(FormatError):
        Environment(path)
    with open(path, "rb") as file:
        assert file.read() == data
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_lmdb_file_of_another_program(path):
    """An LMDB file without our header is FormatError, with any key."""
    with opened(path, create=True) as env:
        put(env, {b"somebody's": b"data"})
    with pytest.raises(FormatError):
        PageStore.open(path, bytes(32), timeout=1)
    with pytest.raises(FormatError):
        PageStore.peek(path, timeout=1)


def test_missing_and_existing_files(path):
    """Opening a missing file is FileNotFoundError; creation never takes an existing one."""
    with pytest.raises(FileNotFoundError):
        Environment(path)
    assert not os.path.exists(path)
    with open(path, "wb") as file:
        file.write(b"mine")
    with pytest.raises(FileExistsError):
        Environment(path, create=True)
    with open(path, "rb") as file:
        assert file.read() == b"mine"


@pytest.mark.parametrize("stale", ["garbage", "empty", "of an older commit", "of another file"])
def test_stale_lock_file(path, stale, tmp_path):
    """Whatever LMDB lock file a crash or a copy left there, the newest commit is what is read."""
    lock, kept = path + "-lock", str(tmp_path / "kept")
    with opened(path, create=True) as env:
        put(env, {b"a": b"1"})
        shutil.copy(lock, kept)
        for number in range(2, 8):
            put(env, {b"a": b"%d" % number})
    if stale == "garbage":
        with open(lock, "wb") as file:
            file.write(random.Random(3).randbytes(8192))
    elif stale == "empty":
        with open(lock, "wb"):
            pass
    elif stale == "of an older commit":
        shutil.copy(kept, lock)
    else:
        with opened(str(tmp_path / "other.cyb"), create=True) as env:
            put(env, {b"z": b"z"})
            shutil.copy(str(tmp_path / "other.cyb-lock"), lock)
    with opened(path) as env:
        assert get(env, b"a") == b"7"
        put(env, {b"a": b"8"})
        assert get(env, b"a") == b"8"
    with opened(path) as env:
        assert get(env, b"a") == b"8"


@pytest.mark.parametrize("umask", [0, 0o022, 0o077], ids=oct)
def test_modes(path, umask):
    """The data file and both lock files are readable by their owner alone, whatever the umask."""
    before = os.umask(umask)
    try:
        with opened(path, create=True) as env:
            put(env, {b"a": b"1"})
        with opened(path) as env:
            get(env, b"a")
    finally:
        os.umask(before)
    files = os.listdir(os.path.dirname(path))
    assert sorted(files) == ["x.cyb", "x.cyb-lock", "x.cyb-writer"]
    for file in files:
        mode = os.stat(os.path.join(os.path.dirname(path), file)).st_mode & 0o777
        assert mode == 0o600, file


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_file_swapped_under_a_handle(path, tmp_path, how):
    """A write through a handle whose file was replaced or deleted is ClosedError, and is nowhere."""
    with opened(str(tmp_path / "new.cyb"), create=True) as env:
        put(env, {b"a": b"new"})
    with opened(path, create=True) as env:
        put(env, {b"a": b"old"})
        if how == "replaced":
            os.rename(str(tmp_path / "new.cyb"), path)
        else:
            os.unlink(path)
        with pytest.raises(ClosedError):
            put(env, {b"a": b"lost"})
        assert get(env, b"a") == b"old"
    if how == "replaced":
        os.unlink(path + "-lock")
        with opened(path) as env:
            assert get(env, b"a") == b"new"
    else:
        assert not os.path.exists(path)


def test_closed(path):
    """After close every call is ClosedError, and closing again does nothing."""
    env = Environment(path, create=True)
    env.close()
    env.close()
    with pytest.raises(ClosedError), env.read():
        pass
    with pytest.raises(ClosedError), env.writer(0):
        pass
    with pytest.raises(ClosedError):
        env.write(lambda txn: None)


def test_close_waits_for_readers(path):
    """Closing waits until a read in another thread has ended, whose views stay good till then."""
    env = Environment(path, create=True)
    put(env, {b"a": VALUE})
    with env.read() as txn:
        closing = threading.Thread(target=env.close)
        closing.start()
        closing.join(0.05)
        assert closing.is_alive()
        assert bytes(txn.get(b"a")) == VALUE
    closing.join(30)
    assert not closing.is_alive()


def test_one_writer_among_threads(path):
    """While a thread is the writer, another's wait ends in LockedError; afterwards it gets in."""
    with opened(path, create=True) as env:
        failed = []

        def try_to_write():
            try:
                put(env, {b"a": b"2"}, timeout=0.01)
            except LockedError as error:
                failed.append(error.pid)

        with env.writer(5):
            other = threading.Thread(target=try_to_write)
            other.start()
            other.join()
        assert failed == [os.getpid()]
        try_to_write()
        assert get(env, b"a") == b"2"


def test_who_waits_to_write_what_is_removed(path):
    """Who still waited to be the writer when the file went makes none of its lock files again."""
    outcomes = []
    env = Environment(path, create=True)

    def wait():
        try:
            with env.writer(30):
                outcomes.append(None)
        except ClosedError as error:
            outcomes.append(error)

    with env.writer(5):
        other = threading.Thread(target=wait)
        other.start()
        while not env._writers._waiting:
            pass
        env.close()
        remove_files(path)
    other.join(30)
    assert [type(outcome) for outcome in outcomes] == [ClosedError]
    assert os.listdir(os.path.dirname(path)) == []


HOLDING_WRITER = """
import sys
from cyborg_embedded.environment import Environment
env = Environment(sys.argv[1])
with env.writer(5):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_one_writer_among_processes(path):
    """While another process writes, a writer's wait ends in LockedError with its id; reads go on."""
    with opened(path, create=True) as env:
        put(env, {b"a": b"1"})
        with child(HOLDING_WRITER, path) as holder:
            with pytest.raises(LockedError) as caught:
                put(env, {b"a": b"2"}, timeout=0.02)
            assert caught.value.pid == holder.pid
            assert get(env, b"a") == b"1"
            holder.kill()
            holder.wait()
            put(env, {b"a": b"3"})
            assert get(env, b"a") == b"3"


FILE_SIZE_LIMIT = """
import resource, sys
from cyborg_embedded.environment import Environment
from cyborg_embedded.errors import StorageFullError
env = Environment(sys.argv[1], create=True)
def put(key, size):
    with env.writer(5):
        env.write(lambda txn: txn.put(key, b"x" * size))
put(b"a", 10)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, hard))
for _ in range(3):
    try:
        put(b"a", 1 << 20)
    except StorageFullError:
        pass
    else:
        raise SystemExit("written beyond the limit")
    with env.read() as txn:
        assert bytes(txn.get(b"a")) == b"x" * 10
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
put(b"a", 1 << 20)
with env.read() as txn:
    assert len(txn.get(b"a")) == 1 << 20
env.close()
print("fine")
"""


def test_no_room(path):
    """Without room a write is StorageFullError and changes nothing; with room again it succeeds."""
    assert run_child(FILE_SIZE_LIMIT, path) == "fine"


LITTLE_ADDRESS_SPACE = """
import resource, sys
from cyborg_embedded.environment import Environment
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
env = Environment(sys.argv[1], create=True)
with env.writer(5):
    env.write(lambda txn: txn.put(b"a", b"1"))
with env.read() as txn:
    assert bytes(txn.get(b"a")) == b"1"
env.close()
print("fine")
"""


def test_little_address_space(path):
    """Under a limit on address space the map starts smaller instead of failing."""
    assert run_child(LITTLE_ADDRESS_SPACE, path) == "fine"


def test_removing(path):
    """Removing takes the file and both lock files, nothing else, and may be repeated."""
    with opened(path, create=True) as env:
        put(env, {b"a": b"1"})
    with open(path + ".other", "wb"):
        pass
    remove_files(path)
    remove_files(path)
    assert os.listdir(os.path.dirname(path)) == ["x.cyb.other"]
