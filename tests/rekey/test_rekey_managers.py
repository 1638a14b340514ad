"""A rekey under key managers: all of them hold the new key, or nothing has changed."""

import pytest
from rekey_harness import (
    LEFT,
    NAME,
    REFUSED,
    Custodian,
    Kept,
    bytes_of,
    files,
    passphrase,
    put,
    varied,
)
from support import check_items, contents_of, wait_until

from cyborg_embedded import (
    Client,
    InvalidInputError,
    KeyManagerError,
    LockedError,
    WrongKeyError,
)


@pytest.fixture
def custodian(folder):
    return Custodian(folder, "rekey managed by two")


@pytest.fixture
def spare(custodian):
    """The second manager."""
    return custodian.client._kms.get("spare")


@pytest.fixture
def items():
    return varied(4, 40)


@pytest.fixture
def index(custodian, items):
    with custodian.create(dimension=4) as index:
        put(index, items)
        yield index


def managers(client):
    return list(client.describe_index(NAME)["key_managers"])


def refused(folder, index, call, error):
    """A call fails, and nothing at all has changed."""
    before, contents = bytes_of(folder), contents_of(index)
    with pytest.raises(error) as caught:
        call()
    assert bytes_of(folder) == before
    assert files(folder) == LEFT
    assert contents_of(index) == contents
    return caught.value


def test_each_manager_opens_it(custodian, spare, index, items):
    """Every manager holds the new key: another one than before, and each time another one."""
    for _ in range(2):
        index.rekey()
    assert len(set(spare.wrapped)) == len(spare.wrapped) == 3
    assert managers(custodian.client) == ["owner", "spare"]
    index.close()
    for slot in ("owner", "spare"):
        with custodian.client.load_index(NAME, kms_name=slot) as again:
            check_items(again, items)


def test_the_old_key_opens_nothing(custodian, spare, index):
    """Who has unwrapped the key before has nothing of it: it is not the key of the index."""
    index.rekey()
    index.close()
    client = custodian.client
    newest = client.rewrap_index(NAME, to_supplied=True)
    assert newest == spare.wrapped[-1]
    with pytest.raises(WrongKeyError):
        client.load_index(NAME, index_key=spare.wrapped[0])
    client.load_index(NAME, index_key=newest).close()


def test_old_envelopes_open_nothing(custodian, spare, index):
    """A manager that gives the old key is refused."""
    index.rekey()
    index.close()
    spare.wrapped[-1] = spare.wrapped[0]
    with pytest.raises(WrongKeyError):
        custodian.client.load_index(NAME, kms_name="spare")


def test_no_key_is_given(folder, index):
    """Under key managers the key is made here."""
    refused(folder, index, lambda: index.rekey(bytes(range(32))), InvalidInputError)


@pytest.mark.parametrize("error", [REFUSED, KeyManagerError("unreachable"), OSError("down")])
def test_one_manager_fails(folder, custodian, spare, index, items, error):
    """One manager that refuses or cannot be reached fails the rekey, and nothing has changed; named
    in drop_managers it is not asked, and loses the index.
    """
    spare.error = error
    caught = refused(folder, index, index.rekey, KeyManagerError)
    assert caught.slot == "spare"
    assert caught.refused == (error is REFUSED)
    index.rekey(drop_managers=["spare"])
    check_items(index, items)
    assert managers(custodian.client) == ["owner"]
    spare.error = None
    index.close()
    with pytest.raises(KeyManagerError):
        custodian.client.load_index(NAME, kms_name="spare")
    assert len(spare.wrapped) == 1
    with custodian.load() as again:
        check_items(again, items)


def test_what_is_no_envelope(folder, spare, index, monkeypatch):
    """A manager that gives something else fails the rekey too."""
    monkeypatch.setattr(spare, "wrap", lambda *_: b"key")
    refused(folder, index, index.rekey, KeyManagerError)


def test_a_manager_that_the_client_does_not_have(folder, custodian, index, items):
    """A manager of the index that is not in the registry fails the rekey, until it is dropped."""
    index.close()
    with Client(folder, kms={"owner": passphrase("six words")}) as client:
        with client.load_index(NAME, indexing="manual") as alone:
            caught = refused(folder, alone, alone.rekey, InvalidInputError)
            assert "spare" in str(caught)
            alone.rekey(drop_managers=("spare",))
            check_items(alone, items)
        assert managers(client) == ["owner"]


def test_another_passphrase_under_the_same_slot(folder, custodian, index, items):
    """What the registry has under the slot now is what holds the new key."""
    index.close()
    kms = {"owner": passphrase("other words"), "spare": custodian.client._kms.get("spare")}
    with Client(folder, kms=kms) as client:
        with client.load_index(NAME, indexing="manual") as again:
            again.rekey()
        client.load_index(NAME, kms_name="owner").close()
    with pytest.raises(KeyManagerError):
        custodian.client.load_index(NAME, kms_name="owner")


@pytest.mark.parametrize(
    ("dropped", "hint"),
    [
        (["else"], "else"),
        (["spare", "else"], "else"),
        (["owner", "spare"], "last"),
        ("spare", "list"),
        ("", "list"),
        (None, ""),
        (7, ""),
        ([["spare"]], ""),
    ],
)
def test_what_cannot_be_dropped(folder, spare, index, dropped, hint):
    """Unknown managers, the last one, and what is no list are refused; no manager is asked."""
    caught = refused(folder, index, lambda: index.rekey(drop_managers=dropped), InvalidInputError)
    assert hint in str(caught)
    assert len(spare.wrapped) == 1


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, dict.fromkeys, iter])
def test_forms_of_dropping(custodian, spare, index, kind):
    """A manager that is dropped has no envelope afterwards, in whatever form it was named; the form
    is refused, or heeded.
    """
    try:
        index.rekey(drop_managers=kind(["spare"]))
    except InvalidInputError:
        assert managers(custodian.client) == ["owner", "spare"]
    else:
        assert managers(custodian.client) == ["owner"]
        assert len(spare.wrapped) == 1


def test_somebody_changes_hands_at_the_same_time(folder, custodian, spare, index, items):
    """Who was added as a manager between is not shut out: the rekey is refused, and can be tried
    again.
    """
    client = custodian.client
    client.remove_key_manager(NAME, "spare")
    owner = client._kms.get("owner")
    real = owner.wrap

    def wrap(index_key, context):
        del owner.wrap
        client.add_key_manager(NAME, "spare")
        return real(index_key, context)

    owner.wrap = wrap
    with pytest.raises(LockedError):
        index.rekey()
    assert managers(client) == ["owner", "spare"]
    index.rekey()
    index.close()
    for slot in ("owner", "spare"):
        with client.load_index(NAME, kms_name=slot) as again:
            check_items(again, items)


def test_compact_asks_nobody(folder, custodian, spare, index, items):
    """The key stays, and so does who holds it."""
    spare.error = REFUSED
    index.delete([next(iter(items))])
    index.compact()
    spare.error = None
    index.close()
    for slot in ("owner", "spare"):
        with custodian.client.load_index(NAME, kms_name=slot) as again:
            assert len(again) == len(items) - 1


class Leased(Kept):
    """Wants to be asked again and again."""

    key_ttl = 0.1


def test_an_index_goes_on_under_the_managers_that_are_left(folder, items):
    """A handle that was opened by a manager that is dropped goes on under the others, whether or not
    they want to be asked again.
    """
    kms = {"leased": Leased(), "owner": passphrase("six words")}
    with Client(folder, kms=kms) as client:
        index = client.create_index(NAME, kms_name="leased", dimension=4, indexing="manual")
        client.add_key_manager(NAME, "owner")
        put(index, items)
        index.rekey(drop_managers=["leased"])
        wait_until(lambda: index._session.expiry is None)
        check_items(index, items)
        index.close()


def test_a_lease_goes_on_after_a_rekey(folder, items):
    """A manager that is asked again and again is asked for the new key; refusal locks as before."""
    manager = Leased()
    with Client(folder, kms={"leased": manager}) as client:
        index = client.create_index(NAME, kms_name="leased", dimension=4, indexing="manual")
        put(index, items)
        index.rekey()
        granted = index._lease._granted
        wait_until(lambda: index._lease._granted > granted)
        check_items(index, items)
        manager.error = REFUSED
        wait_until(lambda: index._session._locked is not None)
        with pytest.raises(KeyManagerError):
            index.compact()
        assert files(folder) == LEFT
        manager.error = None
        wait_until(lambda: index._session._locked is None)
        index.compact()
        check_items(index, items)
        index.close()
