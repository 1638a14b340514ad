"""Whoever may no longer unwrap the key of an index may no longer use it, also while it is open."""

import gc
import os
import threading
import time
import weakref

import numpy as np
import pytest
from key_harness import DIMENSION, Vault, fill, key_file, outage, passphrase, refusal
from support import KEY, contents_of, plain, run_python, wait_until

from cyborg_embedded import Client, ClosedError, KeyManagerError, lease
from cyborg_embedded.ids import EMPTY
from cyborg_embedded.root import IdRecord

TTL = 0.2
QUERY = [0.1] * DIMENSION


@pytest.fixture
def kms():
    return {"vault": Vault(key_ttl=TTL, key_grace=60.0)}


@pytest.fixture
def vault(kms):
    return kms["vault"]


@pytest.fixture
def client(folder, kms):
    with Client(folder, kms=kms) as client:
        yield client
    wait_until(lambda: not lease_threads())


@pytest.fixture
def leased(client):
    """An index that is opened through the vault, with everything that it can have in memory."""
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    with client.load_index("notes") as index:
        fill(index, 60)
        index.optimize()
        use_all(index)
        yield index


@pytest.fixture(autouse=True)
def earlier_threads(monkeypatch):
    """The threads of tests that have let go of an index without closing it are none of ours."""
    monkeypatch.setitem(globals(), "EARLIER", set(threading.enumerate()))


EARLIER = set()


def lease_threads():
    threads = set(threading.enumerate()) - EARLIER
    return [each for each in threads if each.name == "cyborg-embedded lease"]


def the_thread():
    """The one that there is, once those of handles that were closed have ended."""
    wait_until(lambda: len(lease_threads()) == 1)
    return lease_threads()[0]


READS = {
    "query": lambda index: index.query(QUERY),
    "query with a filter": lambda index: index.query(QUERY, filters={"n": 3}),
    "query_arrays": lambda index: index.query_arrays([QUERY]),
    "get": lambda index: index.get(["i1", "absent"]),
    "get of nothing": lambda index: index.get([]),
    "query_metadata": lambda index: index.query_metadata({"n": {"$gt": 3}}),
    "count": lambda index: index.count({"n": 3}),
    "count of all": lambda index: index.count(),
    "list_ids": lambda index: index.list_ids(),
    "list_ids with a filter": lambda index: index.list_ids({"n": 3}),
    "len": len,
    "dimension": lambda index: index.dimension,
    "metric": lambda index: index.metric,
    "sequence": lambda index: index.sequence,
    "commit_id": lambda index: index.commit_id,
    "warm": lambda index: index.warm(),
    "describe": lambda index: index.describe(),
    "is_trained": lambda index: index.is_trained(),
    "training_state": lambda index: index.training_state,
    "is_training": lambda index: index.is_training(),
}
WRITES = {
    "upsert": lambda index: index.upsert(["w"], [QUERY]),
    "upsert of nothing": lambda index: index.upsert([]),
    "delete": lambda index: index.delete(["w"]),
    "delete of nothing": lambda index: index.delete([]),
    "delete with a filter": lambda index: index.delete(filters={"n": "none such"}),
    "optimize": lambda index: index.optimize(),
    "train": lambda index: index.train(),
}


def use_all(index):
    for call in (*READS.values(), *WRITES.values()):
        call(index)


def refusals(index):
    """Every call is a `KeyManagerError`; the first of them."""
    errors = []
    for name, call in {**READS, **WRITES}.items():
        try:
            call(index)
        except KeyManagerError as error:
            errors.append(error)
        else:
            pytest.fail(f"{name} went on")
    return errors[0]


def locked(index):
    return index._session._locked is not None


def open_again(index):
    return index._session._store is not None


def forgotten(session):
    """Whether a session has neither state nor keys nor anything decrypted."""
    if session._locked is None or session._store is not None or session._state is not None:
        return False
    cipher = session._locked[0].cipher
    items, ids = session.items, session.ids
    return (
        not any(cipher.keys.pages)
        and not any(cipher.keys.ids)
        and not cipher.opener._derived
        and not items._pages._pages
        and not items._id_pages
        and not items._texts._texts
        and (ids._tags, ids._count, ids._table) == (b"", IdRecord(), EMPTY)
        and session.columns._columns is None
        and session.codes._coarse is None
    )


def test_refused(leased, vault):
    """Within the time that a key may be used without asking, a refusal locks the index: every call
    says why, and nothing of keys and plaintext is left. With access it goes on as if nothing had
    been.
    """
    session = leased._session
    held = contents_of(leased)
    keys = session._store.cipher.keys
    state = weakref.ref(session._state.navigator)
    vault.trouble = refusal
    wait_until(lambda: locked(leased))
    error = refusals(leased)
    assert error.refused
    assert "access was taken away" in str(error)
    wait_until(lambda: forgotten(session))
    assert (keys.pages, keys.ids) == (bytes(32), bytes(32))
    gc.collect()
    assert state() is None
    refusals(leased)
    assert forgotten(session)
    vault.trouble = None
    wait_until(lambda: open_again(leased))
    assert contents_of(leased) == held
    leased.upsert(["new"], [QUERY])
    assert leased.query(QUERY, top_k=1)[0]["id"] == "new"
    use_all(leased)
    for change in (refusal, None) * 2:
        vault.trouble = change
        wait_until(lambda change=change: locked(leased) == (change is not None))
    assert [item["id"] for item in leased.get(["new"])] == ["new"]


def test_a_wrong_key_is_a_refusal(leased, vault):
    """A manager that gives another key than that of the index has refused."""
    vault.instead = lambda _: bytes(range(32))
    wait_until(lambda: locked(leased))
    assert refusals(leased).refused
    vault.instead = None
    wait_until(lambda: open_again(leased))
    use_all(leased)


def test_unreachable(leased, vault):
    """While the manager cannot be reached an index goes on, until the grace is over; it is locked
    then, is no refusal, and opens when the manager is back.
    """
    vault.trouble = outage
    asked = len(vault.asked)
    wait_until(lambda: len(vault.asked) >= asked + 3)
    use_all(leased)
    assert not locked(leased)
    vault.key_grace = 0.1
    vault.trouble = None
    asked = len(vault.asked)
    wait_until(lambda: len(vault.asked) >= asked + 2)
    vault.trouble = outage
    wait_until(lambda: locked(leased))
    wait_until(lambda: forgotten(leased._session))
    assert not refusals(leased).refused
    vault.trouble = refusal
    asked = len(vault.asked)
    wait_until(lambda: len(vault.asked) >= asked + 2)
    refusals(leased)
    vault.trouble = None
    vault.key_grace = 60.0
    wait_until(lambda: open_again(leased))
    use_all(leased)


def test_a_manager_that_does_not_answer(client, vault, monkeypatch):
    """When the manager never answers, the call that comes after the grace is over is refused, with
    nobody else to lock the index.
    """
    vault.key_grace = 5.0
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    stuck, over = threading.Event(), threading.Event()

    def hang(_):
        stuck.set()
        over.wait(60)
        return outage()

    with client.load_index("notes") as index:
        fill(index)
        vault.trouble = hang
        assert stuck.wait(30)
        READS["get"](index)
        real = lease.now
        monkeypatch.setattr(lease, "now", lambda: real() + 5.0 + TTL)
        assert not refusals(index).refused
        assert forgotten(index._session)
        monkeypatch.setattr(lease, "now", real)
        vault.trouble = None
        over.set()
        wait_until(lambda: open_again(index))
        use_all(index)


def test_sleep_counts(monkeypatch):
    """The clock of leases goes on while the machine sleeps."""
    clocks = []
    monkeypatch.setattr(lease.time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(lease.time, "clock_gettime", lambda clock: clocks.append(clock) or 3.5)
    assert lease.now() == 3.5
    assert clocks == [7]
    monkeypatch.delattr(lease.time, "CLOCK_BOOTTIME")
    before = time.monotonic()
    assert before <= lease.now() <= time.monotonic()


def test_asked_before_the_time_is_over(client, vault):
    """The manager is asked again before its time is over, and soon again while it does not give the
    key, however long that time is.
    """
    vault.key_ttl = 1000.0
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    with client.load_index("notes") as index:
        renew = index._lease._renew
        assert 500.0 < renew(index._session) < 1000.0
        vault.trouble = outage
        assert 0.0 < renew(index._session) <= 5.0
        vault.trouble = refusal
        assert 0.0 < renew(index._session) <= 5.0
        assert locked(index)
        vault.trouble = None
        assert 500.0 < renew(index._session) < 1000.0
        use_all(index)
        vault.key_ttl = 1.0
        assert renew(index._session) < 1.0


def test_queries_beside_locking(client, vault):
    """While an index is locked and opened again and again, threads get right answers or
    `KeyManagerError`, and nothing else.
    """
    vault.key_ttl = 0.02
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    with client.load_index("notes") as index:
        fill(index, 200)
        queries = np.random.default_rng(3).normal(size=(8, DIMENSION))
        found, held = plain(index.query(queries)), contents_of(index)
        counted = index.count({"n": {"$lt": 9}})
        done, failures, outcomes = threading.Event(), [], [[0, 0] for _ in range(4)]

        def ask(number):
            while not done.is_set():
                try:
                    assert plain(index.query(queries)) == found
                    assert plain(index.get(["i7", "absent", "i150"])) == [held[7], held[150]]
                    assert index.count({"n": {"$lt": 9}}) == counted
                    outcomes[number][0] += 1
                except KeyManagerError:
                    outcomes[number][1] += 1
                    time.sleep(0.001)
                except BaseException as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(6):
            for change, place in ((None, 0), (refusal, 1)):
                vault.trouble = change
                seen = [outcome[place] for outcome in outcomes]
                wait_until(
                    lambda place=place, seen=seen: (
                        failures
                        or all(now[place] > was for now, was in zip(outcomes, seen, strict=True))
                    )
                )
        done.set()
        for thread in threads:
            thread.join()
        assert not failures


def test_writes_beside_locking(client, vault):
    """Every write that returned is there; one that was refused is not."""
    vault.key_ttl = 0.02
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    with client.load_index("notes") as index:
        written, refused = set(), set()
        for change in (None, refusal) * 4:
            vault.trouble = change
            outcome, seen = (written, refused)[change is not None], len(written) + len(refused)
            size = len(outcome)
            while len(outcome) < size + 3:
                name = f"i{seen}"
                seen += 1
                try:
                    index.upsert([name], [QUERY])
                    written.add(name)
                except KeyManagerError:
                    refused.add(name)
                    time.sleep(0.001)
        vault.trouble = None
        wait_until(lambda: open_again(index))
        assert set(index.list_ids()) == written


def test_closing_while_locked(client, vault):
    """A locked index is closed as any other: its thread ends, and calls say that it is closed."""
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    index = client.load_index("notes")
    fill(index)
    vault.trouble = refusal
    wait_until(lambda: locked(index))
    parked = index._session._locked[0]
    index.close()
    index.close()
    assert not any(parked.cipher.keys.pages)
    with pytest.raises(ClosedError):
        index.get(["i1"])
    wait_until(lambda: not lease_threads())
    vault.trouble = None
    with pytest.raises(ClosedError):
        index.get(["i1"])
    client.delete_index("notes")


def test_deleting_while_locked(client, vault, leased):
    """An index that is deleted while a handle on it is locked says so once it would be opened."""
    vault.trouble = refusal
    wait_until(lambda: locked(leased))
    with Client(client._folder.path, kms={"vault": twin(vault)}) as other:
        other.delete_index("notes")
    vault.trouble = None
    wait_until(lambda: not lease_threads())
    with pytest.raises((ClosedError, KeyManagerError)):
        leased.get(["i1"])


def twin(vault):
    """A manager that has what another one has."""
    other = Vault(key_ttl=vault.key_ttl)
    other.kept = vault.kept
    return other


def test_closing_ends_the_thread(client, leased):
    """A handle that is closed is not renewed any longer."""
    thread = the_thread()
    leased.close()
    wait_until(lambda: not thread.is_alive())


def test_dropping_ends_the_thread(client, vault):
    """So is one that is dropped without being closed."""
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    index = client.load_index("notes")
    session = weakref.ref(index._session)
    thread = the_thread()
    del index
    gc.collect()
    wait_until(lambda: not thread.is_alive())
    wait_until(lambda: gc.collect() is not None and session() is None)


def test_rewrapped_to_supplied(client, leased, vault):
    """Once the application holds the key there is nobody to ask: the handle goes on without."""
    thread = the_thread()
    client.rewrap_index("notes", to_supplied=True)
    wait_until(lambda: not thread.is_alive())
    vault.trouble = refusal
    asked = len(vault.asked)
    use_all(leased)
    assert len(vault.asked) == asked
    assert leased._session.expiry is None


def test_rewrapped_to_another_manager(folder, vault):
    """A handle follows its index into the hands of another manager, and asks that one."""
    other = Vault(key_ttl=TTL)
    with Client(folder, kms={"vault": vault, "other": other}) as client:
        client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
        with client.load_index("notes") as index:
            client.rewrap_index("notes", to_kms="other")
            vault.trouble = refusal
            wait_until(lambda: len(other.asked) >= 2)
            use_all(index)
            other.trouble = refusal
            wait_until(lambda: locked(index))
            refusals(index)


def test_rewrapped_to_a_manager_that_asks_for_nothing(folder, vault, tmp_path):
    """A handle goes on when its index goes into the hands of a manager of the same client that
    does not want to be asked again.
    """
    with Client(folder, kms={"vault": vault, "file": key_file(tmp_path)}) as client:
        client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
        with client.load_index("notes") as index:
            thread = the_thread()
            renewals = Renewals(index._lease)
            client.rewrap_index("notes", to_kms="file")
            renewals.wait(2, thread)
            use_all(index)


class Renewals:
    """Counts how often a lease has been renewed, or has tried to."""

    def __init__(self, lease):
        self.count, self._renew = 0, lease._renew
        lease._renew = self

    def __call__(self, session):
        pause = self._renew(session)
        self.count += 1
        return pause

    def wait(self, count, thread):
        wait_until(lambda: self.count >= count or not thread.is_alive())


def test_rewrapped_to_an_unknown_manager(folder, vault):
    """A handle whose index has gone into hands that its client does not know is locked."""
    kms = {"vault": vault, "elsewhere": Vault()}
    with Client(folder, kms={"vault": vault}) as client, Client(folder, kms=kms) as admin:
        client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
        with client.load_index("notes") as index:
            admin.rewrap_index("notes", to_kms="elsewhere")
            wait_until(lambda: locked(index))
            assert refusals(index).refused
            admin.rewrap_index("notes", to_kms="vault")
            wait_until(lambda: open_again(index))
            use_all(index)


def test_two_managers(folder, vault):
    """While the first manager cannot be reached the second one is asked, and its answer counts."""
    second = Vault(key_ttl=TTL)
    with Client(folder, kms={"vault": vault, "second": second}) as client:
        client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
        client.add_key_manager("notes", "second")
        with client.load_index("notes") as index:
            asked = len(second.asked)
            vault.trouble = outage
            wait_until(lambda: len(second.asked) >= asked + 2)
            use_all(index)
            second.trouble = refusal
            granted = index._lease._granted
            asked = len(second.asked)
            wait_until(lambda: len(second.asked) >= asked + 2)
            assert not locked(index)
            assert index._lease._granted <= granted + 60
            vault.trouble = refusal
            wait_until(lambda: locked(index))
            assert refusals(index).refused
            second.trouble = None
            wait_until(lambda: open_again(index))
            use_all(index)


def test_the_shortest_time_counts(folder):
    """Of two managers the one that wants to be asked sooner says when."""
    slow, quick = Vault(key_ttl=3600.0, key_grace=7.0), Vault(key_ttl=TTL, key_grace=9.0)
    with Client(folder, kms={"slow": slow, "quick": quick}) as client:
        client.create_index("notes", kms_name="slow", dimension=DIMENSION).close()
        client.add_key_manager("notes", "quick")
        with client.load_index("notes") as index:
            assert (index._lease._ttl, index._lease._grace) == (TTL, 7.0)
            asked = len(slow.asked)
            wait_until(lambda: len(slow.asked) >= asked + 2)


def test_without_a_time(client, vault):
    """A manager without a time of its own is asked when an index is opened, and never again."""
    vault.key_ttl = None
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    with client.load_index("notes") as index:
        assert not lease_threads()
        assert index._session.expiry is None
        vault.trouble = refusal
        fill(index)
        use_all(index)
    assert len(vault.asked) == 2


def test_supplied_keys_have_no_lease(client, vault):
    """A key that the application supplies is nobody's to renew."""
    with client.create_index("other", index_key=KEY, dimension=DIMENSION) as index:
        assert not lease_threads()
        use_all(index)
    assert not vault.asked


def test_a_created_index_has_a_lease(client, vault):
    """An index is renewed from its creation on."""
    with client.create_index("notes", kms_name="vault", dimension=DIMENSION) as index:
        wait_until(lambda: len(vault.asked) >= 2)
        vault.trouble = refusal
        wait_until(lambda: locked(index))


def test_no_call_waits_for_a_manager(leased, vault):
    """Managers are asked by the thread of the lease alone: never by a query, and never by a write."""
    asked = len(vault.asked)
    while len(vault.asked) < asked + 3:
        use_all(leased)
    vault.trouble = refusal
    wait_until(lambda: locked(leased))
    refusals(leased)
    vault.trouble = None
    wait_until(lambda: open_again(leased))
    use_all(leased)
    *first, rest = vault.asked[:2], vault.asked[2:]
    assert first == [[threading.current_thread()] * 2]
    assert {thread.name for thread in rest} == {"cyborg-embedded lease"}
    assert threading.current_thread() not in rest


FORK = """
import os, sys, time
from key_harness import Vault, DIMENSION, fill
from cyborg_embedded import Client, ClosedError
vault = Vault(key_ttl=0.05)
client = Client(sys.argv[1], kms={"vault": vault})
index = client.create_index("notes", kms_name="vault", dimension=DIMENSION)
fill(index)
while len(vault.asked) < 2:
    time.sleep(0.001)
pid = os.fork()
if pid == 0:
    status = 1
    try:
        before = len(vault.asked)
        time.sleep(0.2)
        assert len(vault.asked) == before
        for call in (lambda: index.get(["i1"]), lambda: index.upsert(["x"], [[0.0] * DIMENSION])):
            try:
                call()
            except ClosedError as error:
                assert "closed" in str(error) or "fork" in str(error), error
            else:
                raise SystemExit("an inherited handle went on")
        own = client.load_index("notes")
        asked = len(vault.asked)
        while len(vault.asked) < asked + 2:
            time.sleep(0.001)
        own.upsert(["c"], [[0.0] * DIMENSION])
        index.close()
        assert own.get(["c"])
        own.close()
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)
assert os.waitpid(pid, 0)[1] == 0
asked = len(vault.asked)
while len(vault.asked) < asked + 2:
    time.sleep(0.001)
assert index.get(["c", "i1"])
index.close()
print("fine")
"""


def test_fork(folder):
    """A forked child renews nothing that it inherited and may not use it; parent, and what the
    child opens itself, go on.
    """
    place = os.path.dirname(__file__)
    code, out, err = run_python(f"import sys; sys.path.append({place!r})\n" + FORK, folder)
    assert (code, out) == (0, "fine\n"), err


def test_a_passphrase_has_no_time(tmp_path):
    """Managers of secrets at hand are not asked again."""
    assert passphrase().key_ttl is None
    assert key_file(tmp_path).key_ttl is None
