"""What every method of a client promises."""

import datetime as dt
import os
import time

import pytest
from support import KEY, run_python

from cyborg_embedded import (
    Client,
    ClosedError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
    KeyRequiredError,
    LockedError,
    WrongKeyError,
)


def test_folder_is_made(tmp_path):
    """A missing folder is made, with those above it, for its owner alone; a given one is kept."""
    path = tmp_path / "a" / "b"
    Client(path).close()
    assert path.stat().st_mode & 0o777 == 0o700
    os.chmod(path, 0o750)  # noqa: S103 - what is given is kept
    Client(str(path)).close()
    Client(os.fsencode(path)).close()
    assert path.stat().st_mode & 0o777 == 0o750


def test_path_does_not_follow_the_working_folder(tmp_path, monkeypatch):
    """A client keeps to the folder that its path named at first."""
    monkeypatch.chdir(tmp_path)
    client = Client("relative")
    client.create_index("notes", index_key=KEY).close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert client.list_indexes() == ["notes"]


def test_generated_keys(client):
    """A key is 32 random bytes, new each time, and works."""
    keys = {client.generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(type(key) is bytes and len(key) == 32 for key in keys)
    key = Client.generate_key()
    client.create_index("notes", index_key=key).close()
    client.load_index("notes", index_key=key.hex()).close()


def test_saved_key(tmp_path, monkeypatch):
    """A key is saved once, loaded as it was, and never overwritten."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(KeyRequiredError):
        Client.load_key()
    Client.generate_key()
    assert not os.listdir(tmp_path)
    key = Client.generate_key(save=True)
    assert Client.load_key() == key
    with pytest.raises(InvalidInputError):
        Client.generate_key(save=True)
    assert Client.load_key() == key


def test_saved_key_that_others_can_read(tmp_path, monkeypatch):
    """A saved key that is not private any longer is refused, and so is a damaged one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    Client.generate_key(save=True)
    path = tmp_path / ".cyborgdb" / "index_key"
    os.chmod(path, 0o640)
    with pytest.raises(InvalidInputError):
        Client.load_key()
    os.chmod(path, 0o600)
    for damaged in (b"", b"00" * 31, b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInputError):
            Client.load_key()


def test_list_indexes(client, folder):
    """Indexes are listed by name, sorted, without a key; other files are not listed."""
    assert client.list_indexes() == []
    for name in ("b", "a", "C", "ä"):
        client.create_index(name, index_key=Client.generate_key()).close()
    for other in ("x.txt", ".hidden.cyb", ".new-0123456789abcdef.cyb", "b.cyb.bak", "CON.cyb"):
        (folder / other).write_bytes(b"")
    assert client.list_indexes() == ["C", "a", "b", "ä"]
    with Client(folder) as other:
        assert other.list_indexes() == ["C", "a", "b", "ä"]


def test_create_index_defaults(client):
    """An index is euclidean and of any dimension unless told otherwise, and is open at once."""
    with client.create_index("notes", index_key=KEY) as index:
        assert (index.name, index.metric, index.dimension) == ("notes", "euclidean", None)
        assert (len(index), index.sequence) == (0, 1)
    with client.create_index("other", index_key=KEY, dimension=7, metric="cosine") as index:
        assert (index.metric, index.dimension) == ("cosine", 7)


def test_create_index_never_replaces(client):
    """A name that is taken stays with its index, whatever the key."""
    with client.create_index("notes", index_key=KEY) as index:
        index.upsert(["a"], [[1.0]])
        for key in (KEY, bytes(32)):
            with pytest.raises(IndexExistsError):
                client.create_index("notes", index_key=key)
        assert index.list_ids() == ["a"]


def test_two_indexes_under_one_key_share_nothing(client, folder):
    """The same key and the same items give different files."""
    for name in ("a", "b"):
        with client.create_index(name, index_key=KEY) as index:
            index.upsert(["x"], [[1.0, 2.0]])
    assert (folder / "a.cyb").read_bytes() != (folder / "b.cyb").read_bytes()


def test_load_index_by_any_case(client):
    """An index is found by its name in any case."""
    client.create_index("Notes", index_key=KEY).close()
    for name in ("notes", "NOTES", "Notes"):
        client.load_index(name, index_key=KEY).close()
        assert client.describe_index(name)
    assert client.list_indexes() == ["Notes"]


def test_describe_index(client, folder):
    """Without a key an index tells its name, version, age, size and who holds its key, no more."""
    before = int(time.time())
    client.create_index("notes", index_key=KEY).close()
    after = time.time()
    info = client.describe_index("notes")
    created = info.pop("created")
    assert created.tzinfo is dt.timezone.utc
    assert before <= created.timestamp() <= after
    assert len(bytes.fromhex(info.pop("index_id"))) == 16
    size = os.stat(folder / "notes.cyb").st_size
    assert info == {
        "name": "notes",
        "format_version": 1,
        "file_bytes": size,
        "key_managers": {},
    }


def test_describe_index_beside_an_open_handle(client):
    """Describing an index disturbs no handle on it."""
    with client.create_index("notes", index_key=KEY) as index:
        client.describe_index("notes")
        index.upsert(["a"], [[1.0]])
        client.describe_index("notes")
        assert index.list_ids() == ["a"]


def test_delete_index(client, folder):
    """A deleted index is gone with all of its files; its handles are closed, others are not."""
    doomed = client.create_index("doomed", index_key=KEY)
    doomed.upsert(["a"], [[1.0]])
    again = client.load_index("doomed", index_key=KEY)
    with client.create_index("other", index_key=KEY) as other:
        other.upsert(["b"], [[1.0]])
        with pytest.raises(WrongKeyError):
            client.delete_index("doomed", index_key=bytes(32))
        assert doomed.list_ids() == ["a"]
        assert client.delete_index("doomed", index_key=KEY) is None
        for handle in (doomed, again):
            with pytest.raises(ClosedError):
                handle.list_ids()
            with pytest.raises(ClosedError):
                handle.upsert(["c"], [[1.0]])
            handle.close()
        assert client.list_indexes() == ["other"]
        assert not [file for file in os.listdir(folder) if file.startswith("doomed")]
        with pytest.raises(IndexNotFoundError):
            client.load_index("doomed", index_key=KEY)
        other.upsert(["c"], [[1.0]])
        assert other.list_ids() == ["b", "c"]
    with client.create_index("doomed", index_key=bytes(32)) as index:
        assert (len(index), index.sequence) == (0, 1)


HOLDER = """
import sys
from support import KEY
from cyborg_embedded import Client, LockedError
client = Client(sys.argv[1])
try:
    client.delete_index("notes", index_key=KEY, lock_timeout=0.05)
except LockedError:
    print("locked", client.load_index("notes", index_key=KEY).list_ids())
"""


def test_delete_index_that_another_process_has_open(folder, client, index):
    """An index that another process has open is not deleted: a LockedError, which is a
    TimeoutError, and both go on."""
    index.upsert(["a"], [[1.0] * 4])
    code, out, err = run_python(HOLDER, folder)
    assert (code, out) == (0, "locked ['a']\n"), err
    index.upsert(["b"], [[1.0] * 4])
    assert index.list_ids() == ["a", "b"]
    assert issubclass(LockedError, TimeoutError)
    client.delete_index("notes", index_key=KEY)
    assert client.list_indexes() == []


def test_context_manager_closes_the_client_alone(tmp_path):
    """Leaving the with block closes the client; its indexes stay open."""
    with Client(tmp_path) as client:
        index = client.create_index("notes", index_key=KEY)
    with pytest.raises(ClosedError):
        client.list_indexes()
    assert len(index) == 0
    index.close()


def test_clients_share_a_folder(folder):
    """Two clients of one folder, and a link to it, see the same indexes."""
    link = folder.parent / "link"
    with Client(folder) as one:
        link.symlink_to(folder)
        with Client(link) as other, one.create_index("notes", index_key=KEY) as index:
            with other.load_index("notes", index_key=KEY) as again:
                index.upsert(["a"], [[1.0]])
                assert again.list_ids() == ["a"]
            with pytest.raises(IndexExistsError):
                other.create_index("notes", index_key=KEY)
