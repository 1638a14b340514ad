"""Keys are shown by nothing, wiped when they are no longer needed, and never used after that."""

import base64
import copy
import pickle
import threading

import numpy as np
import pytest
from key_harness import (
    DIMENSION,
    Vault,
    bytes_of,
    fill,
    key_file,
    open_files,
    passphrase,
    refusal,
    told,
)
from leakguard import LeakGuard
from support import KEY, contents_of, plain, wait_until

from cyborg_embedded import (
    Client,
    ClosedError,
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    WrongKeyError,
    aead,
    custody,
    header,
    keys,
)
from cyborg_embedded import client as client_module
from cyborg_embedded.header import new_header
from cyborg_embedded.kms import EnvironmentVariable
from cyborg_embedded.kms.registry import KeyRegistry
from cyborg_embedded.store import PageStore

PHRASE = "a passphrase that nothing may show"
VARIABLE = bytes(range(0x81, 0xA1))


@pytest.fixture
def kms(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_OF_TESTS", VARIABLE.hex())
    return {
        "vault": Vault(key_ttl=60.0),
        "phrase": passphrase(PHRASE),
        "file": key_file(tmp_path),
        "variable": EnvironmentVariable("KEY_OF_TESTS"),
    }


@pytest.fixture
def client(folder, kms):
    with Client(folder, kms=kms) as client:
        yield client


@pytest.fixture
def objects(client, kms, tmp_path):
    """Everything that has a key, or leads to something that has one; and all those keys."""
    guard = LeakGuard()
    guard.saw(KEY)
    guard.saw(VARIABLE)
    guard.saw(bytes.fromhex((tmp_path / "secret").read_text()))
    with (
        client.create_index("notes", kms_name="vault", dimension=DIMENSION) as index,
        client.create_index("other", index_key=KEY, dimension=DIMENSION) as other,
    ):
        for handle in (index, other):
            fill(handle)
            guard.saw(handle._session.store.cipher.keys.pages)
            guard.saw(handle._session.store.cipher.keys.ids)
        for _, key in kms["vault"].kept.values():
            guard.saw(key)
        session = index._session
        made, derived = new_header(KEY)
        guard.saw(derived.pages)
        guard.saw(derived.ids)
        yield (
            guard,
            {
                "client": client,
                "index": index,
                "session": session,
                "store": session.store,
                "cipher": session.store.cipher,
                "opener": session.store.cipher.opener,
                "sealer": aead.Sealer(derived.pages),
                "derived keys": derived,
                "header": made,
                "custody": custody.Custody(KeyRegistry(kms), KEY),
                "lease": index._lease,
                "home": index._home,
                "registry": KeyRegistry(kms),
                "supplied index": other,
                "state": session.state,
                "snapshot": session.state.snapshot,
                **kms,
            },
        )


def shows(guard, text):
    return guard.shows_key(text) or PHRASE in text


def test_what_is_shown(objects):
    """No object shows a key when it is printed, and none does inside of a list or an f-string."""
    guard, things = objects
    assert len(guard.keys) >= 9
    for name, thing in things.items():
        for text in (repr(thing), str(thing), f"{thing}", repr([thing]), repr({1: (thing,)})):
            assert not shows(guard, text), name
    with pytest.raises(AssertionError):
        assert not shows(guard, repr(things["derived keys"].pages))


PUBLIC = ("client", "index", "supplied index", "registry", "vault", "phrase", "file", "variable")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_pickled(objects, protocol):
    """No object takes a key along when it is pickled; the public ones say why they refuse."""
    guard, things = objects
    for name, thing in things.items():
        data, error = pickled(thing, protocol)
        if error is None:
            assert name not in PUBLIC
            assert not any(key in data for key in guard.keys), name
            assert not shows(guard, data.decode("latin-1")), name
        else:
            assert not shows(guard, told(error)), name
            assert name not in PUBLIC or "cannot be pickled" in str(error)


def pickled(thing, protocol):
    """A pickle and None, or None and the error."""
    try:
        return pickle.dumps(thing, protocol), None
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        return None, error


def test_nothing_is_copied(objects):
    """What is public is not copied, and no copy of anything has keys that wiping would not reach."""
    _, things = objects
    for name, thing in things.items():
        for copying in (copy.copy, copy.deepcopy):
            if name in PUBLIC:
                with pytest.raises(TypeError, match="copied"):
                    copying(thing)
    names = ("session", "store", "derived keys", "custody", "lease", "home")
    assert [name for name in names if copied(things[name])] == []


def copied(thing):
    """Whether a deep copy of something is made."""
    try:
        copy.deepcopy(thing)
    except TypeError:
        return False
    return True


class Recorder:
    """Every key that a function of the package has made."""

    def __init__(self, monkeypatch):
        self.parsed, self.generated, self.unwrapped, self.derived = [], [], [], []
        for module, name, made in (
            (custody, "parse_index_key", self.parsed),
            (client_module, "parse_index_key", self.parsed),
            (custody, "unwrap", self.unwrapped),
            (client_module, "generate_index_key", self.generated),
            (header, "derive_keys", self.derived),
            (keys, "derive_keys", self.derived),
        ):
            monkeypatch.setattr(module, name, self._recording(getattr(module, name), made))

    @staticmethod
    def _recording(function, made):
        def recording(*arguments):
            made.append(function(*arguments))
            return made[-1]

        return recording

    @property
    def all_wiped(self):
        """Whether all of them are zeros; there is at least one."""
        found = [*self.parsed, *self.generated, *self.unwrapped]
        found += [part for each in self.derived for part in (each.pages, each.ids)]
        assert found
        return not any(map(any, found))


@pytest.fixture
def made(monkeypatch):
    return Recorder(monkeypatch)


@pytest.mark.parametrize("given", [KEY, bytearray(KEY), KEY.hex()], ids=["bytes", "array", "hex"])
def test_supplied_keys_are_copied_and_wiped(client, made, given):
    """A key that is supplied is copied, and the copy is wiped as soon as the index is open; the
    caller's own stays as it is. The keys in use are wiped when the index is closed.
    """
    index = client.create_index("notes", index_key=given, dimension=DIMENSION)
    assert made.parsed
    assert not any(map(any, made.parsed))
    fill(index)
    index.close()
    assert made.all_wiped
    index = client.load_index("notes", index_key=given)
    assert not any(map(any, made.parsed))
    assert any(made.derived[-1].pages)
    assert any(made.derived[-1].ids)
    index.get(["i1"])
    index.close()
    assert made.all_wiped
    client.rewrap_index("notes", index_key=given, to_kms="vault")
    assert made.all_wiped
    client.rewrap_index("notes", to_supplied=True)
    client.delete_index("notes", index_key=given)
    assert made.all_wiped
    assert len(made.parsed) == 4
    assert bytes(given, "ascii") == KEY.hex().encode() if isinstance(given, str) else given == KEY


def test_managed_keys_are_wiped(client, kms, made):
    """So are keys that are made, and those that managers give, whatever is done with them."""
    given, unwrap = [], Vault.unwrap

    def recording(*arguments):
        given.append(unwrap(kms["vault"], *arguments))
        return given[-1]

    kms["vault"].unwrap = recording
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    client.load_index("notes").close()
    client.add_key_manager("notes", "phrase")
    client.add_key_manager("notes", "file")
    client.remove_key_manager("notes", "file")
    client.rewrap_index("notes", to_kms="variable")
    client.rewrap_index("notes", to_kms="vault")
    client.delete_index("notes")
    assert (len(given), len(made.unwrapped)) == (8, 7)
    assert not any(map(any, given))
    assert len(made.generated) == 1
    assert made.all_wiped


WRONG = bytes(range(50, 82))
FAILURES = {
    "a wrong key": (WrongKeyError, {"index_key": WRONG}),
    "a bad mode": (InvalidInputError, {"index_key": KEY, "indexing": "never"}),
    "a bad timeout": (InvalidInputError, {"index_key": KEY, "lock_timeout": -1}),
    "a bad cache": (InvalidInputError, {"index_key": KEY, "cache_bytes": -1}),
    "a bad sequence": (InvalidInputError, {"index_key": KEY, "min_sequence": "1"}),
    "a later sequence": (OSError, {"index_key": KEY, "min_sequence": 1000}),
    "another name": (LookupError, {"index_key": KEY, "name": "other"}),
    "no name": (InvalidInputError, {"index_key": KEY, "name": ""}),
}


@pytest.mark.parametrize(("kind", "given"), FAILURES.values(), ids=FAILURES)
def test_keys_of_a_failure_are_wiped(client, made, kind, given):
    """A key that was supplied to a call that fails is wiped no less."""
    client.create_index("notes", index_key=KEY, dimension=DIMENSION).close()
    with pytest.raises(kind):
        client.load_index(**{"name": "notes", **given})
    assert made.all_wiped
    if given.keys() <= {"name", "index_key", "lock_timeout"}:
        with pytest.raises(kind):
            client.delete_index(**{"name": "notes", **given})
        with pytest.raises(kind):
            client.rewrap_index(**{"name": "notes", **given}, to_kms="vault")
        assert made.all_wiped


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (InvalidInputError, {"metric": "none"}),
        (InvalidInputError, {"dimension": 0}),
        (InvalidInputError, {"name": ""}),
        (FileExistsError, {"name": "notes"}),
    ],
    ids=["metric", "dimension", "name", "taken"],
)
@pytest.mark.parametrize(
    "mode", [{"index_key": KEY}, {"kms_name": "vault"}], ids=["supplied", "managed"]
)
def test_keys_of_a_failed_creation_are_wiped(client, made, mode, kind, given):
    """So is the key of an index that was not made."""
    client.create_index("notes", index_key=KEY, dimension=DIMENSION).close()
    with pytest.raises(kind):
        client.create_index(**{"name": "new", **mode, **given})
    assert made.all_wiped


def test_locking_wipes(client, kms, made):
    """A session that is locked has no keys, and one that is opened again has new copies."""
    with client.create_index("notes", kms_name="vault", dimension=DIMENSION) as index:
        fill(index)
        first = made.derived[-1]
        session = index._session
        with pytest.raises(KeyManagerError):
            session.lock(refusal())
            index.get(["i1"])
        assert not any(first.pages)
        assert not any(first.ids)
        assert made.all_wiped
        second = keys.derive_keys(key_of(kms), session.underlying.header.salt)
        session.unlock(second)
        assert index.get(["i1"])
        third = keys.derive_keys(key_of(kms), session.underlying.header.salt)
        session.unlock(third)
        assert not any(third.pages)
        assert index.get(["i1"])
    assert made.all_wiped


def key_of(kms):
    return next(iter(kms["vault"].kept.values()))[1]


ROUNDS = 30


def test_closing_beside_other_threads(folder):
    """While a handle is closed, calls through it and through another handle on the same file give
    right answers or, through the closed one alone, `ClosedError`: an item that is there is never
    said to be absent.
    """
    with (
        Client(folder) as client,
        client.create_index("notes", index_key=KEY, dimension=DIMENSION) as other,
    ):
        fill(other, 64)
        held = contents_of(other)
        queries = np.random.default_rng(4).normal(size=(2, DIMENSION))
        found = plain(other.query(queries))
        wrong = []

        def use(index, begun, closed, *, ends):
            """Ask until the handle is closed; the other one until it has answered after that."""
            number = 0
            while True:
                late = closed.is_set()
                try:
                    number = (number + 7) % len(held)
                    if plain(index.get([f"i{number}", "absent"])) != [held[number]]:
                        wrong.append("get")
                    if number % 4 == 0 and plain(index.query(queries)) != found:
                        wrong.append("query")
                    if number % 4 == 1 and index.count({"n": {"$lt": 9}}) != 9:
                        wrong.append("count")
                except ClosedError:
                    begun.set()
                    if not ends:
                        wrong.append("closed")
                    return
                except BaseException as error:
                    wrong.append(error)
                    return
                begun.set()
                if late:
                    if ends:
                        wrong.append("open")
                    return

        for _ in range(ROUNDS):
            index = client.load_index("notes", index_key=KEY)
            closed = threading.Event()
            begun = [threading.Event() for _ in range(5)]
            threads = [
                threading.Thread(
                    target=use,
                    args=(index if each < 4 else other, begun[each], closed),
                    kwargs={"ends": each < 4},
                )
                for each in range(5)
            ]
            for thread in threads:
                thread.start()
            for event in begun:
                assert event.wait(30)
            cipher = index._session.store.cipher
            index.close()
            closed.set()
            assert not any(cipher.keys.pages)
            assert not any(cipher.keys.ids)
            for thread in threads:
                thread.join(30)
            assert not wrong
        assert contents_of(other) == held


class Paused:
    """A method of page stores that one thread, named `late`, stops before or after."""

    def __init__(self, monkeypatch, name, *, after=False):
        self.reached, self.go = threading.Event(), threading.Event()
        real = getattr(PageStore, name)

        def paused(store, *arguments):
            late = threading.current_thread().name == "late"
            result = real(store, *arguments) if after or not late else None
            if late:
                self.reached.set()
                assert self.go.wait(30)
            return result if after or not late else real(store, *arguments)

        monkeypatch.setattr(PageStore, name, paused)

    def run(self, call, meanwhile):
        """The error of a call in the thread that stops, and what it returned."""
        outcome = []

        def late():
            try:
                outcome.extend((None, call()))
            except BaseException as error:
                outcome.extend((error, None))

        thread = threading.Thread(target=late, name="late")
        thread.start()
        assert self.reached.wait(30)
        try:
            meanwhile()
        finally:
            self.go.set()
            thread.join(30)
        return outcome


LATE = {
    "get": ("begin", lambda index: index.get(["i1"])),
    "query": ("begin", lambda index: index.query([0.0] * DIMENSION)),
    "count": ("begin", lambda index: index.count({"n": 1})),
    "upsert": ("begin", lambda index: index.upsert(["x"], [[0.0] * DIMENSION])),
    "writing of an upsert": ("write", lambda index: index.upsert(["x"], [[0.0] * DIMENSION])),
    "writing of a deletion": ("write", lambda index: index.delete(["i1"])),
}


@pytest.mark.parametrize("how", ["closed", "locked"])
@pytest.mark.parametrize(("name", "call"), LATE.values(), ids=LATE)
def test_keys_are_wiped_just_before_they_are_used(client, monkeypatch, name, call, how):
    """A call that has got hold of the file when its handle is closed or locked, and goes on only
    after that, is refused: it neither reads nor writes with keys that are wiped.
    """
    with client.create_index("notes", index_key=KEY, dimension=DIMENSION) as other:
        fill(other)
        held, sequence = contents_of(other), other.sequence
        index = client.load_index("notes", index_key=KEY, indexing="manual")
        index.get(["i1"])
        session = index._session
        change = index.close if how == "closed" else lambda: session.lock(refusal())
        error, _ = Paused(monkeypatch, name).run(lambda: call(index), change)
        assert type(error) is (ClosedError if how == "closed" else KeyManagerError)
        assert (contents_of(other), other.sequence) == (held, sequence)
        index.close()


def test_a_commit_stays_one(client, monkeypatch):
    """A write whose commit is made when its handle is locked has succeeded."""
    with client.create_index("notes", index_key=KEY, dimension=DIMENSION) as other:
        index = client.load_index("notes", index_key=KEY, indexing="manual")
        paused = Paused(monkeypatch, "write", after=True)
        outcome = paused.run(
            lambda: index.upsert(["x"], [[0.0] * DIMENSION]),
            lambda: index._session.lock(refusal()),
        )
        assert other.get(["x"])
        assert outcome == [None, None]
        index.close()


def test_no_state_comes_after_locking(client, monkeypatch):
    """A call that has just read the newest commit when its handle is locked leaves nothing of it."""
    client.create_index("notes", index_key=KEY, dimension=DIMENSION).close()
    with client.load_index("notes", index_key=KEY, indexing="manual") as index:
        session = index._session
        session._state = None
        locking = threading.Thread(target=session.lock, args=(refusal(),))

        def lock():
            locking.start()
            wait_until(lambda: session._locked is not None)

        error, _ = Paused(monkeypatch, "begin", after=True).run(lambda: index.get(["i1"]), lock)
        locking.join(30)
        assert type(error) is KeyManagerError
        assert session._state is None


def test_a_thousand_wrong_keys(client, folder, monkeypatch):
    """A wrong key is refused before any ciphertext is touched, and the file stays as it is."""
    with client.create_index("notes", index_key=KEY, dimension=DIMENSION) as index:
        fill(index)
    before = bytes_of(folder)
    opened = []

    def counting(name):
        real = getattr(aead.Opener, name)

        def call(*arguments):
            opened.append(name)
            return real(*arguments)

        return call

    for name in ("open", "open_each_into"):
        monkeypatch.setattr(aead.Opener, name, counting(name))
    rng = np.random.default_rng(11)
    for number in range(1000):
        wrong = bytearray(KEY if number % 2 else rng.bytes(32))
        wrong[number % 32] ^= 1 << number % 8
        call = (client.load_index, client.delete_index)[number % 3 == 2]
        with pytest.raises(WrongKeyError):
            call("notes", index_key=bytes(wrong))
    assert not opened
    assert bytes_of(folder) == before
    assert not open_files(folder)
    with pytest.raises(KeyRequiredError):
        client.load_index("notes")
    client.load_index("notes", index_key=KEY).close()
    assert opened


def test_keys_in_errors_of_the_whole_way(client, kms):
    """Errors of managers that have the key, and of keys that are wrong, show none of them."""
    guard = LeakGuard()
    client.create_index("notes", kms_name="vault", dimension=DIMENSION).close()
    key = key_of(kms)
    guard.saw(key)
    for given in (
        {"index_key": key},
        {"index_key": key.hex()},
        {"index_key": key, "kms_name": "vault"},
        {"index_key": key.hex() + "0"},
        {"index_key": base64.b64encode(key).decode()},
        {"kms_name": key.hex()[:60]},
        {"kms_name": "phrase"},
    ):
        with pytest.raises((InvalidInputError, KeyManagerError)) as caught:
            client.load_index("notes", **given)
        assert not guard.shows_key("".join(map(str, caught.value.args)))


def test_leases_do_not_keep_keys(client, kms, made):
    """What a lease unwraps and derives to see that it may go on is wiped."""
    kms["vault"].key_ttl = 0.05
    with client.create_index("notes", kms_name="vault", dimension=DIMENSION) as index:
        wait_until(lambda: len(made.unwrapped) >= 4)
        in_use = index._session.store.cipher.keys
        kept = [each for each in made.derived if any(each.pages) or any(each.ids)]
        assert any(each is in_use for each in kept)
        # The newest one may just be being made.
        assert all(each is in_use or each is made.derived[-1] for each in kept)
        assert not any(map(any, made.unwrapped[:-1]))
    wait_until(lambda: made.all_wiped)
