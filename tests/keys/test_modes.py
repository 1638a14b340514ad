"""Who holds the key of an index: what opens it, what does not, and what key managers may do to it."""

import pytest
from key_harness import (
    DIMENSION,
    HEADER,
    Vault,
    bytes_of,
    fill,
    key_file,
    open_files,
    outage,
    passphrase,
    refusal,
    told,
)
from leakguard import LeakGuard
from support import KEY, contents_of, read_pages

from cyborg_embedded import (
    Client,
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    WrongKeyError,
)
from cyborg_embedded.kms import Envelope, EnvironmentVariable

WRONG = bytes(range(50, 82))


@pytest.fixture
def vaults():
    return {slot: Vault() for slot in ("a", "b", "c")}


@pytest.fixture
def client(folder, vaults):
    with Client(folder, kms=vaults) as client:
        yield client
    assert not open_files(folder)


@pytest.fixture
def supplied(client):
    """An index whose key the application supplies; what it holds."""
    with client.create_index("notes", index_key=KEY, dimension=DIMENSION) as index:
        fill(index)
        return contents_of(index)


@pytest.fixture
def managed(client):
    """An index under the managers a and b; what it holds."""
    with client.create_index("notes", kms_name="a", dimension=DIMENSION) as index:
        fill(index)
        held = contents_of(index)
    client.add_key_manager("notes", "b")
    return held


def load(client, **options):
    """What an index holds, opened with these options."""
    with client.load_index("notes", **options) as index:
        return contents_of(index)


def test_create_wants_one_of_both(client, folder, vaults):
    """An index is made with its key or the name of a key manager: not without, and not with both."""
    with pytest.raises(KeyRequiredError):
        client.create_index("notes")
    with pytest.raises(InvalidInputError, match="not both"):
        client.create_index("notes", index_key=KEY, kms_name="a")
    assert bytes_of(folder) == {}
    assert not any(vault.wrapped or vault.asked for vault in vaults.values())


@pytest.mark.parametrize("kms_name", ["d", "A", "a ", "", "\n", "x" * 65, 7, b"a", ["a"]])
def test_create_with_a_manager_that_is_not_there(client, folder, vaults, kms_name):
    """A name that no key manager has is refused, by that name, before anything is made."""
    with pytest.raises(InvalidInputError) as caught:
        client.create_index("notes", kms_name=kms_name)
    if kms_name in ("d", "A", "a "):
        assert repr(kms_name) in str(caught.value)
        assert "'a', 'b', 'c'" in str(caught.value)
    assert bytes_of(folder) == {}
    assert not any(vault.wrapped or vault.asked for vault in vaults.values())


CALLS = {
    "load": lambda client, **given: client.load_index("notes", **given),
    "delete": lambda client, **given: client.delete_index("notes", **given),
    "rewrap": lambda client, **given: client.rewrap_index("notes", to_kms="c", **given),
    "rewrap to supplied": lambda client, **given: client.rewrap_index(
        "notes", to_supplied=True, **given
    ),
}
CHANGES = {
    "add": lambda client, **given: client.add_key_manager("notes", "c", **given),
    "add again": lambda client, **given: client.add_key_manager("notes", "a", **given),
    "remove": lambda client, **given: client.remove_key_manager("notes", "a", **given),
}


def refused(client, folder, error, call, **given):
    """A call is refused with an error of this very type, and the file stays as it is."""
    before = bytes_of(folder)
    with pytest.raises(error) as caught:
        call(client, **given)
    assert type(caught.value) is error
    assert bytes_of(folder) == before
    return caught.value


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_supplied_index_in_another_mode(client, folder, supplied, vaults, call):
    """An index under a supplied key is opened by that key, and by nothing else."""
    refused(client, folder, KeyRequiredError, call)
    refused(client, folder, InvalidInputError, call, kms_name="a")
    refused(client, folder, InvalidInputError, call, kms_name="d")
    refused(client, folder, InvalidInputError, call, index_key=KEY, kms_name="a")
    refused(client, folder, WrongKeyError, call, index_key=WRONG)
    refused(client, folder, InvalidInputError, call, index_key=KEY[:31])
    assert load(client, index_key=KEY) == supplied
    assert not any(vault.wrapped or vault.asked for vault in vaults.values())


@pytest.mark.parametrize("call", CHANGES.values(), ids=CHANGES)
def test_managers_of_a_supplied_index(client, folder, supplied, vaults, call):
    """A supplied index has no key managers to add to, or to remove."""
    refused(client, folder, KeyRequiredError, call)
    refused(client, folder, InvalidInputError, call, kms_name="a")
    assert load(client, index_key=KEY) == supplied
    assert not any(vault.wrapped or vault.asked for vault in vaults.values())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_managed_index_in_another_mode(client, folder, managed, vaults, call):
    """An index under key managers takes no key, not even its own, and no other manager."""
    key = next(iter(vaults["a"].kept.values()))[1]
    for given in (key, KEY):
        error = refused(client, folder, InvalidInputError, call, index_key=given)
        assert "'a', 'b'" in str(error)
    refused(client, folder, InvalidInputError, call, index_key=key, kms_name="a")
    refused(client, folder, InvalidInputError, call, kms_name="d")
    assert not refused(client, folder, KeyManagerError, call, kms_name="c").refused
    with Client(folder) as stranger:
        error = refused(stranger, folder, KeyManagerError, CALLS["load"])
        assert "'a', 'b'" in str(error)
        assert not error.refused
        refused(stranger, folder, KeyManagerError, CALLS["delete"])
    assert load(client) == managed


@pytest.mark.parametrize("call", [*CALLS.values(), *CHANGES.values()], ids=[*CALLS, *CHANGES])
def test_managed_index_without_access(client, folder, managed, vaults, call):
    """Without access to the key nothing about an index changes, whoever asks."""
    vaults["a"].trouble = vaults["b"].trouble = refusal
    assert refused(client, folder, KeyManagerError, call).refused
    for slot in ("a", "b"):
        error = refused(client, folder, KeyManagerError, call, kms_name=slot)
        assert error.refused
        assert error.slot == slot
    vaults["a"].trouble = vaults["b"].trouble = None
    assert load(client) == managed


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"to_kms": "a", "to_supplied": True},
        {"to_kms": "d"},
        {"to_kms": 7},
        {"to_kms": "a", "lock_timeout": -1},
    ],
    ids=repr,
)
def test_rewrap_with_arguments_that_make_no_sense(client, folder, supplied, given):
    """A rewrap says where to, once, by a name that there is."""
    before = bytes_of(folder)
    with pytest.raises(InvalidInputError):
        client.rewrap_index("notes", index_key=KEY, **given)
    assert bytes_of(folder) == before


def test_the_one_that_is_named_is_asked(client, managed, vaults):
    """Without a name the first manager is asked; with `kms_name` that one, and no other."""
    for given, asked in (({}, "a"), ({"kms_name": "a"}, "a"), ({"kms_name": "b"}, "b")):
        for vault in vaults.values():
            vault.asked.clear()
        assert load(client, **given) == managed
        assert {slot: len(vault.asked) for slot, vault in vaults.items()} == {
            slot: int(slot == asked) for slot in vaults
        }
    vaults["a"].trouble = outage
    with pytest.raises(KeyManagerError):
        load(client, kms_name="a")
    vaults["a"].asked.clear()
    client.delete_index("notes", kms_name="b")
    assert not vaults["a"].asked
    assert client.list_indexes() == []


def test_a_manager_is_asked_no_more_than_needed(client, folder, vaults):
    """Creating wraps once, and sees that it opens; loading unwraps once; the key is wrapped."""
    with client.create_index("notes", kms_name="a", dimension=DIMENSION) as index:
        fill(index)
        index.query([0.0] * DIMENSION)
    assert (vaults["a"].wrapped, len(vaults["a"].asked)) == (1, 1)
    with client.load_index("notes") as index:
        index.query([0.0] * DIMENSION)
        fill(index)
    assert (vaults["a"].wrapped, len(vaults["a"].asked)) == (1, 2)
    ((index_id, key),) = vaults["a"].kept.values()
    assert client.describe_index("notes")["index_id"] == index_id.hex()
    assert client.describe_index("notes")["key_managers"] == {"a": "vault"}
    assert client.rewrap_index("notes", to_supplied=True) == key
    assert client.describe_index("notes")["key_managers"] == {}


def test_every_index_has_a_key_of_its_own(client, folder, vaults):
    """Indexes that are made under one manager have different keys, and no file holds one."""
    for number in range(20):
        client.create_index(f"n{number}", kms_name="a", dimension=1).close()
    keys = {key for _, key in vaults["a"].kept.values()}
    assert len(keys) == 20
    for data in bytes_of(folder).values():
        assert not any(key in data for key in keys)


FAILOVERS = {
    "refuses": {"trouble": refusal},
    "is unreachable": {"trouble": outage},
    "fails": {"trouble": ValueError},
    "runs out of memory": {"trouble": lambda _: MemoryError()},
    "gives nothing": {"instead": lambda _: None},
    "gives text": {"instead": lambda key: key.hex()},
    "gives 31 bytes": {"instead": lambda key: key[:31]},
    "gives 33 bytes": {"instead": lambda key: bytearray(key + b"x")},
    "gives another key": {"instead": lambda _: bytes(range(32))},
    "is of another provider": {"provider": "safe"},
}


def spoil(vault, changes):
    for name, value in changes.items():
        setattr(vault, name, value)


@pytest.mark.parametrize("changes", FAILOVERS.values(), ids=FAILOVERS)
def test_the_next_manager_opens(client, folder, managed, vaults, changes):
    """When the first manager does not give the key, the second one does."""
    spoil(vaults["a"], changes)
    assert load(client) == managed
    with Client(folder, kms={"b": vaults["b"]}) as other:
        assert load(other) == managed


def failure_of(client, **given):
    with pytest.raises((KeyManagerError, WrongKeyError)) as caught:
        load(client, **given)
    return caught.value


@pytest.mark.parametrize("changes", FAILOVERS.values(), ids=FAILOVERS)
def test_what_no_manager_gives(client, folder, managed, vaults, changes):
    """When no manager gives the key, the error says so, tells refusals from outages, names the
    slots and shows no key; nothing stays open, and the file as it was.
    """
    before = bytes_of(folder)
    kind = WrongKeyError if changes is FAILOVERS["gives another key"] else KeyManagerError
    final = changes in (FAILOVERS["refuses"], FAILOVERS["is of another provider"])
    spoil(vaults["a"], changes)
    one = failure_of(client, kms_name="a")
    assert type(one) is kind
    spoil(vaults["b"], changes)
    both = failure_of(client)
    assert type(both) is kind
    if kind is KeyManagerError:
        assert (one.refused, one.slot) == (final, "a")
        assert both.refused is final
        assert "'a'" in str(both)
        assert "'b'" in str(both)
    vaults["b"].trouble, vaults["b"].instead = outage, None
    vaults["b"].provider = "vault"
    mixed = failure_of(client)
    assert type(mixed) is kind
    if kind is KeyManagerError:
        assert not mixed.refused
    guard = LeakGuard()
    for _, key in vaults["a"].kept.values():
        guard.saw(key)
    for error in (one, both, mixed):
        assert not guard.shows_key(told(error))
    assert bytes_of(folder) == before
    assert not open_files(folder)


def test_refusals_of_all(client, managed, vaults):
    """An index is refused where all managers refuse; one that cannot be reached may yet give it."""
    vaults["a"].trouble = vaults["b"].trouble = refusal
    assert failure_of(client).refused
    vaults["b"].trouble = outage
    assert not failure_of(client).refused
    vaults["a"].trouble, vaults["b"].trouble = outage, refusal
    assert not failure_of(client).refused


def test_interrupts_pass(client, folder, managed, vaults):
    """An interrupt while a manager is asked is not taken for an answer; nothing stays open."""
    for interrupt in (KeyboardInterrupt, SystemExit):
        vaults["a"].trouble = lambda _, interrupt=interrupt: interrupt()
        vaults["b"].asked.clear()
        for call in (*CALLS.values(), *CHANGES.values()):
            with pytest.raises(interrupt):
                call(client)
        assert not vaults["b"].asked
        assert not open_files(folder)
    vaults["a"].trouble = None
    assert load(client) == managed


class Careless(Vault):
    """Wraps a key into whatever `wrapped_into` makes of it."""

    def __init__(self, wrapped_into):
        super().__init__()
        self.wrapped_into = wrapped_into

    def wrap(self, index_key, context):
        return self.wrapped_into(index_key)


def failing(make):
    def wrapped_into(key):
        raise make(key)

    return wrapped_into


CARELESS = {
    "fails with the key": (
        failing(lambda key: ValueError(f"{key!r} {key.hex()}")),
        KeyManagerError,
    ),
    "refuses": (failing(refusal), KeyManagerError),
    "is unreachable": (failing(outage), KeyManagerError),
    "gives nothing": (lambda _: None, KeyManagerError),
    "gives bytes": (bytes, KeyManagerError),
    "gives the envelope of another": (lambda _: Envelope("safe", b"x"), KeyManagerError),
    "gives an empty envelope": (lambda _: Envelope("vault", b""), InvalidInputError),
    "gives a large envelope": (lambda _: Envelope("vault", bytes(8193)), InvalidInputError),
    "gives no bytes": (lambda _: Envelope("vault", "text"), InvalidInputError),
    "gives parameters with floats": (
        lambda _: Envelope("vault", b"x", {"a": 1.5}),
        KeyManagerError,
    ),
    "gives many parameters": (
        lambda _: Envelope("vault", b"x", {f"p{n}": n for n in range(17)}),
        InvalidInputError,
    ),
}


@pytest.mark.parametrize(("wrapped_into", "kind"), CARELESS.values(), ids=CARELESS)
def test_managers_that_do_not_wrap(folder, vaults, wrapped_into, kind):
    """What is no envelope of the manager's own makes no index, and takes none out of other hands."""
    with Client(folder, kms={**vaults, "d": Careless(wrapped_into)}) as client:
        with pytest.raises(kind) as caught:
            client.create_index("notes", kms_name="d")
        assert type(caught.value) is kind
        assert "\\x" not in told(caught.value)
        if kind is KeyManagerError:
            assert caught.value.slot == "d"
            assert caught.value.refused is ("access" in str(caught.value))
        assert bytes_of(folder) == {}
        client.create_index("notes", kms_name="a", dimension=DIMENSION).close()
        before = bytes_of(folder)
        for change in (
            lambda: client.rewrap_index("notes", to_kms="d"),
            lambda: client.add_key_manager("notes", "d"),
        ):
            with pytest.raises(kind) as caught:
                change()
            guard = LeakGuard()
            guard.saw(next(iter(vaults["a"].kept.values()))[1])
            assert not guard.shows_key(told(caught.value))
        assert bytes_of(folder) == before
        client.load_index("notes").close()


def test_interrupts_while_wrapping(folder):
    """An interrupt while the key of a new index is wrapped passes, and leaves no index."""
    with Client(folder, kms={"d": Careless(failing(lambda _: KeyboardInterrupt()))}) as client:
        with pytest.raises(KeyboardInterrupt):
            client.create_index("notes", kms_name="d")
        assert bytes_of(folder) == {}
        assert not open_files(folder)


def test_bytes_and_bytearrays(client, managed, vaults):
    """A manager gives a key as bytes, which stay, or as a bytearray, which is wiped."""
    given = []

    def give(kind):
        def instead(key):
            given.append(kind(key))
            return given[-1]

        return instead

    for kind in (bytes, bytearray):
        vaults["a"].instead = give(kind)
        assert load(client, kms_name="a") == managed
    assert given[0] == next(iter(vaults["a"].kept.values()))[1]
    assert given[1] == bytes(32)


def test_managers_that_keep_a_secret(tmp_path, folder, monkeypatch):
    """A passphrase, a key file and a variable each open the index in another client, and not with
    another secret.
    """
    secret, other = "12" * 16 + "ab" * 16, "34" * 16 + "cd" * 16
    monkeypatch.setenv("KEY_OF_TESTS", secret)
    monkeypatch.setenv("OTHER_KEY_OF_TESTS", other)
    right = {
        "phrase": passphrase(),
        "file": key_file(tmp_path),
        "variable": EnvironmentVariable("KEY_OF_TESTS"),
    }
    wrong = {
        "phrase": passphrase("correct house"),
        "file": key_file(tmp_path, "other"),
        "variable": EnvironmentVariable("OTHER_KEY_OF_TESTS"),
    }
    for slot, manager in right.items():
        with Client(folder, kms={slot: manager}) as client:
            with client.create_index(slot, kms_name=slot, dimension=DIMENSION) as index:
                fill(index)
                held = contents_of(index)
            assert client.describe_index(slot)["key_managers"] == {slot: manager.provider}
        with Client(folder, kms=right) as client, client.load_index(slot) as index:
            assert contents_of(index) == held
        with Client(folder, kms=wrong) as client, pytest.raises(KeyManagerError) as caught:
            client.load_index(slot)
        assert (caught.value.refused, caught.value.slot) == (True, slot)
    with Client(folder, kms=right) as client:
        monkeypatch.delenv("KEY_OF_TESTS")
        (tmp_path / "secret").unlink()
        for slot in ("variable", "file"):
            with pytest.raises(KeyManagerError) as caught:
                client.load_index(slot)
            assert (caught.value.refused, caught.value.slot) == (False, slot)


def test_the_header_tells_who_and_not_what(client, managed, folder, vaults):
    """The header holds the envelopes in their order, and the rest of the file no key."""
    header = read_pages(folder / "notes.cyb")[HEADER]
    tokens = [*vaults["a"].kept, *vaults["b"].kept]
    assert len(tokens) == 2
    assert 112 < header.index(tokens[0]) < header.index(tokens[1])
    data = bytes_of(folder)["notes.cyb"]
    key = vaults["a"].kept[tokens[0]][1]
    assert vaults["b"].kept[tokens[1]][1] == key
    assert key not in data
    assert key.hex().encode() not in data
