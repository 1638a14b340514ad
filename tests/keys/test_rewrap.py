"""Putting the key of an index into other hands: one commit, of the header and the root alone."""

import contextlib
import itertools
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from key_harness import (
    DIMENSION,
    HEADER,
    ROOT,
    Vault,
    bytes_of,
    fill,
    key_file,
    open_files,
    outage,
    passphrase,
    refusal,
)
from rewrap_worker import managers
from support import KEY, contents_of, plain, python, read_pages, run_python, wait_until

from cyborg_embedded import (
    Client,
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    LockedError,
    RollbackError,
    WrongKeyError,
)

ROWS = 10_000
WORKER = Path(__file__).with_name("rewrap_worker.py")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder with an index of many rows, with a graph; what it holds and answers."""
    folder = tmp_path_factory.mktemp("filled")
    with (
        Client(folder) as client,
        client.create_index(
            "notes", index_key=KEY, dimension=DIMENSION, indexing="manual"
        ) as index,
    ):
        fill(index, ROWS)
        index.optimize()
        return folder, answers_of(index)


@pytest.fixture
def copied(filled, folder):
    """A copy of it, to be changed; what it holds and answers."""
    shutil.copytree(filled[0], folder, dirs_exist_ok=True)
    return filled[1]


@pytest.fixture
def secrets(tmp_path):
    """A folder with the secrets of two key managers."""
    for slot in ("one", "two"):
        key_file(tmp_path, slot)
    return tmp_path


@pytest.fixture
def client(folder, secrets):
    kms = {**managers(secrets), "phrase": passphrase()}
    with Client(folder, kms=kms) as client:
        yield client
    assert not open_files(folder)


def answers_of(index):
    """What an index holds, and what it finds."""
    queries = np.random.default_rng(9).normal(size=(5, DIMENSION))
    found = index.query(queries, include=("distance", "metadata", "vector", "contents"))
    return contents_of(index), plain(found), index.count({"n": {"$lt": 77}})


def sequence_of(client, **given):
    with client.load_index("notes", read_only=True, **given) as index:
        return index.sequence


@contextlib.contextmanager
def one_commit(folder):
    """A with block that changes the header and the root of the index, and not a byte of another
    record.
    """
    before = read_pages(folder / "notes.cyb")
    yield
    after = read_pages(folder / "notes.cyb")
    assert after.keys() == before.keys()
    assert {record for record in before if before[record] != after[record]} == {HEADER, ROOT}
    assert after[HEADER][:112] == before[HEADER][:112]


MODES = {
    "supplied": (),
    "a key file": ("one",),
    "a passphrase": ("phrase",),
    "two managers": ("two", "phrase"),
}
PAIRS = list(itertools.permutations(MODES, 2))


def put(client, folder, slots, **given):
    """Rewrap an index into other hands; how many commits that took."""
    with one_commit(folder):
        if not slots:
            assert client.rewrap_index("notes", to_supplied=True, **given) == KEY
        else:
            assert client.rewrap_index("notes", to_kms=slots[0], **given) is None
    for slot in slots[1:]:
        with one_commit(folder):
            assert client.add_key_manager("notes", slot) is None
    assert list(client.describe_index("notes")["key_managers"]) == list(slots)
    return max(1, len(slots))


def opening(slots):
    return {} if slots else {"index_key": KEY}


def refused(client, slots):
    """The old way to open an index is refused, whatever has become of the index."""
    if not slots:
        with pytest.raises(InvalidInputError):
            client.load_index("notes", index_key=KEY)
        return
    held = client.describe_index("notes")["key_managers"]
    for slot in set(slots) - set(held):
        with pytest.raises(KeyManagerError if held else InvalidInputError):
            client.load_index("notes", kms_name=slot)
    if not held:
        with pytest.raises(KeyRequiredError):
            client.load_index("notes")


@pytest.mark.parametrize(("here", "there"), PAIRS, ids=map(" to ".join, PAIRS))
def test_there_and_back(client, folder, copied, here, there):
    """From every mode to every other one and back: each a commit of header and root, in which
    the key stays the same, the old way ends, and all data is there.
    """
    here, there = MODES[here], MODES[there]
    if here:
        put(client, folder, here, index_key=KEY)
    for old, new in ((here, there), (there, here)):
        sequence = sequence_of(client, **opening(old))
        commits = put(client, folder, new, **opening(old))
        assert sequence_of(client, **opening(new)) == sequence + commits
        refused(client, old)
        for slot in new:
            assert sequence_of(client, kms_name=slot) == sequence + commits
    with client.load_index("notes", **opening(here)) as index:
        assert answers_of(index) == copied
        index.upsert(["new"], [[1.0] * DIMENSION])
        assert len(index) == ROWS + 1


def test_by_one_manager_alone(client, folder, copied):
    """A rewrap asks the manager that is named for the key, and is refused where it has none."""
    put(client, folder, ("one", "phrase"), index_key=KEY)
    with pytest.raises(KeyManagerError):
        client.rewrap_index("notes", kms_name="two", to_supplied=True)
    with one_commit(folder):
        client.rewrap_index("notes", kms_name="phrase", to_kms="one")
    assert client.describe_index("notes")["key_managers"] == {"one": "key-file"}


def test_min_sequence_and_commit_id(client, folder, copied):
    """A rewrap is a commit like any other: its sequence can be remembered and asked for."""
    put(client, folder, ("one",), index_key=KEY)
    with client.load_index("notes") as index:
        sequence, commit_id = index.sequence, index.commit_id
    put(client, folder, ("two",))
    with client.load_index("notes", min_sequence=sequence + 1) as index:
        assert index.commit_id != commit_id
    with pytest.raises(RollbackError):
        client.load_index("notes", min_sequence=sequence + 2)


def steps(client):
    """Changes of who holds the key, from supplied to supplied."""
    yield client.rewrap_index("notes", index_key=KEY, to_kms="one")
    yield client.add_key_manager("notes", "two")
    yield client.remove_key_manager("notes", "one")
    yield client.add_key_manager("notes", "two")
    yield client.rewrap_index("notes", to_kms="phrase")
    yield client.rewrap_index("notes", to_supplied=True)


def test_open_handles_of_this_process(client, folder, copied):
    """Handles that are open read and write on through every change, and so do their threads."""
    with (
        client.load_index("notes", index_key=KEY) as index,
        client.load_index("notes", index_key=KEY) as other,
        client.load_index("notes", index_key=KEY, read_only=True, cache_bytes=1) as reader,
    ):
        done, failures, rounds = threading.Event(), [], [0, 0]

        def use(number):
            try:
                while not done.is_set():
                    assert plain(other.get(["i7"])) == [copied[0][7]]
                    other.upsert([f"t{number}"], [[9.0] * DIMENSION])
                    rounds[number] += 1
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for number, _ in enumerate(steps(client)):
            index.upsert([f"s{number}"], [[8.0] * DIMENSION])
            assert plain(reader.get([f"s{number}", "i7"]))[1] == copied[0][7]
            seen = list(rounds)
            wait_until(lambda seen=seen: failures or all(map(int.__gt__, rounds, seen)))
        done.set()
        for thread in threads:
            thread.join()
        assert not failures
        expected = {f"i{n}" for n in range(ROWS)} | {f"s{n}" for n in range(6)} | {"t0", "t1"}
        for handle in (index, other, reader):
            assert set(handle.list_ids()) == expected


@contextlib.contextmanager
def child(role, *arguments):
    with python(WORKER, role, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_open_handles_of_another_process(client, folder, copied, secrets):
    """A handle of another process reads and writes on, although its manager has the key no longer,
    and so does one that was opened here.
    """
    put(client, folder, ("one",), index_key=KEY)
    with (
        child("use", folder, secrets) as process,
        client.load_index("notes") as index,
    ):
        assert process.stdout.readline() == "ready\n"
        changes = (
            lambda: client.add_key_manager("notes", "two"),
            lambda: client.remove_key_manager("notes", "one"),
            lambda: client.rewrap_index("notes", to_kms="phrase"),
            lambda: client.rewrap_index("notes", to_supplied=True),
        )
        for number, change in enumerate(changes):
            change()
            process.stdin.write(f"c{number}\n")
            process.stdin.flush()
            count, sequence = map(int, process.stdout.readline().split())
            assert (count, sequence) == (len(index), index.sequence)
            assert index.get([f"c{number}"])
            assert len(index) == ROWS + number + 1


class Together(Vault):
    """Two of these wrap only once both of them have been asked to."""

    def __init__(self, barrier):
        super().__init__()
        self.barrier = barrier

    def wrap(self, index_key, context):
        self.barrier.wait(60)
        return super().wrap(index_key, context)


def rewrapping(client, slot, given, outcomes):
    try:
        outcomes[slot] = client.rewrap_index("notes", to_kms=slot, **given)
    except Exception as error:
        outcomes[slot] = error


def test_two_at_once(folder, copied):
    """Of two rewraps of the same state one wins, and the other one is told; there is nothing
    between.
    """
    for wanted in ({}, {"index_key": KEY}):
        barrier = threading.Barrier(2)
        kms = {"old": Vault(), "a": Together(barrier), "b": Together(barrier)}
        with Client(folder, kms=kms) as client:
            if not wanted:
                client.rewrap_index("notes", index_key=KEY, to_kms="old")
            outcomes = {}
            threads = [
                threading.Thread(target=rewrapping, args=(client, slot, wanted, outcomes))
                for slot in ("a", "b")
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            (winner,) = [slot for slot, error in outcomes.items() if error is None]
            (loser,) = set(outcomes) - {winner}
            assert type(outcomes[loser]) is LockedError
            assert client.describe_index("notes")["key_managers"] == {winner: "vault"}
            with client.load_index("notes") as index:
                assert answers_of(index) == copied
            assert client.rewrap_index("notes", to_supplied=True) == KEY


def test_a_write_meanwhile_is_no_conflict(folder, copied):
    """A commit of data between the reading of the header and the rewrap does not stop it."""
    kms = {"a": Vault()}
    with Client(folder, kms=kms) as client, client.load_index("notes", index_key=KEY) as index:
        wrap = kms["a"].wrap

        def slow(key, context):
            index.upsert(["meanwhile"], [[1.0] * DIMENSION])
            return wrap(key, context)

        kms["a"].wrap = slow
        client.rewrap_index("notes", index_key=KEY, to_kms="a")
    with Client(folder, kms=kms) as client, client.load_index("notes") as index:
        assert index.get(["meanwhile"])
        assert len(index) == ROWS + 1


def test_no_lock_is_held_while_a_manager_is_asked(client, folder, copied, secrets):
    """While a manager takes its time to wrap or to unwrap, others write."""
    slow = Vault()
    put(client, folder, ("one",), index_key=KEY)
    with (
        Client(folder, kms={**managers(secrets), "slow": slow}) as other,
        other.load_index("notes", lock_timeout=0) as index,
    ):

        def writing(ask):
            def asked(*arguments):
                index.upsert(["w"], [[1.0] * DIMENSION])
                return ask(*arguments)

            return asked

        slow.wrap, slow.unwrap = writing(slow.wrap), writing(slow.unwrap)
        before = index.sequence
        other.rewrap_index("notes", to_kms="slow")
        other.rewrap_index("notes", to_kms="one")
        assert index.sequence == before + 5


def test_a_writer_that_does_not_end(client, folder, copied, secrets):
    """While another process writes, a rewrap waits as long as it may, and changes nothing."""
    with client.load_index("notes", index_key=KEY) as index:
        before = read_header(folder)
        with index._session.writing(), pytest.raises(LockedError):
            client.rewrap_index("notes", index_key=KEY, to_kms="one", lock_timeout=0.05)
        assert read_header(folder) == before
        client.rewrap_index("notes", index_key=KEY, to_kms="one", lock_timeout=0.05)
        assert read_header(folder) != before


def read_header(folder):
    """The header of an index that may be open: of a copy of its file."""
    with tempfile.TemporaryDirectory() as place:
        copy = shutil.copyfile(folder / "notes.cyb", Path(place) / "copy")
        return read_pages(copy)[HEADER]


def kill_while_rewrapping(client, folder, secrets, rng, expected):
    """Kill a process that rewraps; the index opens as its header says, whole."""
    with child("rewrap", folder, secrets) as process:
        for _ in range(rng.randrange(1, 7)):
            assert process.stdout.readline()
        time.sleep(rng.random() * 0.02)
        assert process.poll() is None
        process.kill()
    held = client.describe_index("notes")["key_managers"]
    assert list(held) in ([], ["one"], ["one", "two"], ["two"])
    with client.load_index("notes", **opening(held)) as index:
        assert answers_of(index) == expected
    for slot in held:
        sequence_of(client, kms_name=slot)
    assert client.rewrap_index("notes", to_supplied=True, **opening(held)) == KEY


def kill_again_and_again(client, folder, secrets, expected, times):
    rng = random.Random(random.SystemRandom().randrange(1 << 30))
    for _ in range(times):
        kill_while_rewrapping(client, folder, secrets, rng, expected)


def test_killed(client, folder, copied, secrets):
    """A process that is killed at any moment of a rewrap leaves the old way to open the index, or
    the new one: never none, and nothing else has changed.
    """
    kill_again_and_again(client, folder, secrets, copied, 5)


@pytest.mark.slow
def test_killed_again_and_again(client, folder, copied, secrets):
    """So it is after many kills."""
    kill_again_and_again(client, folder, secrets, copied, 60)


def test_adding_and_removing(client, folder, copied):
    """Managers stand in the order in which they were added; each of them opens the index."""

    def slots():
        found = list(client.describe_index("notes")["key_managers"])
        for slot in found:
            sequence_of(client, kms_name=slot)
        return found

    put(client, folder, ("phrase",), index_key=KEY)
    for slot, after in (("two", ["phrase", "two"]), ("one", ["phrase", "two", "one"])):
        with one_commit(folder):
            client.add_key_manager("notes", slot)
        assert slots() == after
    with one_commit(folder):
        client.remove_key_manager("notes", "two")
    assert slots() == ["phrase", "one"]
    with one_commit(folder):
        client.remove_key_manager("notes", "phrase", kms_name="phrase")
    assert slots() == ["one"]
    before = bytes_of(folder)
    for slot in ("one", "two", "phrase", "no such manager", "", 7):
        with pytest.raises(InvalidInputError):
            client.remove_key_manager("notes", slot)
    with pytest.raises(InvalidInputError):
        client.add_key_manager("notes", "no such manager")
    assert bytes_of(folder) == before
    with client.load_index("notes") as index:
        assert answers_of(index) == copied


def test_removing_one_that_is_gone(folder, copied):
    """A manager that refuses, or that the client does not know, is removed by way of another."""
    kms = {"gone": Vault(), "left": Vault(), "third": Vault()}
    with Client(folder, kms=kms) as client:
        client.rewrap_index("notes", index_key=KEY, to_kms="gone")
        client.add_key_manager("notes", "left")
        client.add_key_manager("notes", "third")
        kms["gone"].trouble = refusal
        client.remove_key_manager("notes", "gone")
    with Client(folder, kms={"left": kms["left"]}) as client:
        client.remove_key_manager("notes", "third")
        assert client.describe_index("notes")["key_managers"] == {"left": "vault"}
        assert client.rewrap_index("notes", to_supplied=True) == KEY


def test_adding_one_that_is_there(client, folder, copied, secrets):
    """A manager that holds the key already wraps it anew, in its place, under its secret of now."""
    put(client, folder, ("one", "phrase"), index_key=KEY)
    header = read_pages(folder / "notes.cyb")[HEADER]
    with one_commit(folder):
        client.add_key_manager("notes", "one")
    assert list(client.describe_index("notes")["key_managers"]) == ["one", "phrase"]
    assert len(read_pages(folder / "notes.cyb")[HEADER]) == len(header)
    (secrets / "one").unlink()
    key_file(secrets, "one")
    with pytest.raises(KeyManagerError):
        client.load_index("notes", kms_name="one")
    client.add_key_manager("notes", "one")
    sequence_of(client, kms_name="one")
    assert list(client.describe_index("notes")["key_managers"]) == ["one", "phrase"]


def test_no_more_than_sixteen(folder, copied):
    """Sixteen managers may hold the key; one more is refused, and all sixteen still open it."""
    kms = {f"v{number}": Vault() for number in range(17)}
    with Client(folder, kms=kms) as client:
        client.rewrap_index("notes", index_key=KEY, to_kms="v0")
        for number in range(1, 16):
            client.add_key_manager("notes", f"v{number}")
        before = bytes_of(folder)
        with pytest.raises(InvalidInputError):
            client.add_key_manager("notes", "v16")
        assert bytes_of(folder) == before
        for number in range(16):
            sequence_of(client, kms_name=f"v{number}")


def test_to_a_manager_that_fails(client, folder, copied, secrets):
    """A manager that does not take the key takes it out of nobody's hands."""
    broken = Vault()
    with Client(folder, kms={**managers(secrets), "broken": broken}) as other:
        put(client, folder, ("one",), index_key=KEY)
        before = bytes_of(folder)

        def failing(*_):
            raise outage()

        broken.wrap = failing
        for change in (
            lambda: other.rewrap_index("notes", to_kms="broken"),
            lambda: other.add_key_manager("notes", "broken"),
        ):
            with pytest.raises(KeyManagerError) as caught:
                change()
            assert (caught.value.slot, caught.value.refused) == ("broken", False)
        assert bytes_of(folder) == before
        sequence_of(client)


UNPRIVILEGED = """
import os, sys
from support import KEY
from cyborg_embedded import Client, CyborgError
from cyborg_embedded.kms import Passphrase
kms = {"phrase": Passphrase("correct horse", memory_kib=64, passes=1, lanes=1)}
client = Client(sys.argv[1], kms=kms)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for name, given in (("notes", {"index_key": KEY}), ("managed", {})):
    for change in ({"to_kms": "phrase"}, {"to_supplied": True}):
        try:
            print(client.rewrap_index(name, **given, **change))
        except CyborgError as error:
            print(type(error).__name__)
try:
    print(client.add_key_manager("managed", "phrase"))
except CyborgError as error:
    print(type(error).__name__)
"""


def test_folder_without_permission():
    """Where nothing can be written no key changes hands, and none is returned."""
    folder = Path(tempfile.mkdtemp())
    try:
        with Client(folder, kms={"phrase": passphrase()}) as client:
            client.create_index("notes", index_key=KEY, dimension=2).close()
            client.create_index("managed", kms_name="phrase", dimension=2).close()
        for path in folder.iterdir():
            os.chmod(path, 0o444)
        os.chmod(folder, 0o555)  # noqa: S103 - or the other user could not enter
        before = bytes_of(folder)
        code, out, err = run_python(UNPRIVILEGED, folder)
        assert code == 0, err
        assert out.split() == ["ReadOnlyError"] * 5
        assert bytes_of(folder) == before
    finally:
        os.chmod(folder, 0o700)
        shutil.rmtree(folder)


def test_a_wrong_key_rewraps_nothing(client, folder, copied):
    """Who does not have the key cannot put it into any hands."""
    before = bytes_of(folder)
    for change in ({"to_kms": "one"}, {"to_supplied": True}):
        with pytest.raises(WrongKeyError):
            client.rewrap_index("notes", index_key=bytes(range(32)), **change)
    assert bytes_of(folder) == before
