"""An index from a backup: whole, under its old key and identity, or not there at all."""

import os
import signal
import subprocess

import pytest
from support import KEY, check_items, contents_of, python, read_pages, wait_until
from verify_harness import NAME, file_of, flip, nothing_changes, opened

from cyborg_embedded import (
    Client,
    FormatError,
    IndexExistsError,
    IntegrityError,
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    WrongKeyError,
)
from cyborg_embedded.kms import Passphrase
from cyborg_embedded.model import PageKind


@pytest.fixture
def backup(case, tmp_path):
    path = tmp_path / "backup"
    with opened(case.folder) as index:
        index.backup(path)
    return path


@pytest.fixture
def fresh(tmp_path):
    """A client of a folder that has no index yet."""
    return Client(tmp_path / "fresh")


def empty(client):
    """Whether nothing came of it."""
    left = set(os.listdir(client._folder.path))
    return client.list_indexes() == [] and left <= {".lock"}


def refused(client, error, backup, *, match=None, **options):
    """Assert that a restoration fails, and leaves nothing behind."""
    options.setdefault("index_key", KEY)
    with pytest.raises(error, match=match):
        client.restore_index("again", backup, **options)
    assert empty(client)


def pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize("make", [pipe, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file(fresh, tmp_path, make):
    """Whatever else is at the path of a backup is refused, and not waited for."""
    make(tmp_path / "something")
    refused(fresh, InvalidInputError, tmp_path / "something", match="no file at the path")


def test_it_goes_on(case, backup, fresh):
    """A restored index is written to, and has nothing to do with the one that it is of."""
    with nothing_changes(case.path), nothing_changes(backup):
        fresh.restore_index("again", backup, index_key=KEY)
        with fresh.load_index("again", index_key=KEY, indexing="manual") as index:
            check_items(index, case.history.of(case.history.rows()))
            assert read_pages(backup) == case.pages
            sequence = index.sequence
            index.delete(["n3"])
            assert index.sequence == sequence + 1
            index.compact()
            assert index.verify().ok
    assert fresh.list_indexes() == ["again"]
    with fresh.load_index("again", index_key=KEY, min_sequence=sequence):
        pass


def test_wrong_key(backup, fresh):
    """Only the key of the backup opens it, and one is needed."""
    refused(fresh, WrongKeyError, backup, index_key=bytes(32))
    refused(fresh, KeyRequiredError, backup, index_key=None)
    refused(fresh, InvalidInputError, backup, index_key=None, kms_name="nobody")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated(backup, fresh, share, check):
    """A backup that lacks its end is none."""
    data = backup.read_bytes()
    backup.write_bytes(data[: int(len(data) * share)])
    refused(fresh, (FormatError, IntegrityError), backup, check=check)


def test_foreign(backup, fresh):
    """What is no backup is told so."""
    backup.write_bytes(b"something else" * 5000)
    refused(fresh, FormatError, backup)
    refused(fresh, InvalidInputError, backup.parent, match="no file")
    refused(fresh, InvalidInputError, backup.parent / "missing", match="no file")


@pytest.mark.parametrize(
    "kind",
    [PageKind.VECTORS, PageKind.ITEMS, PageKind.ITEM_IDS, PageKind.METADATA, PageKind.IDS],
    ids=lambda kind: kind.name,
)
def test_flipped(case, backup, fresh, kind):
    """A damaged page is found before there is an index; without check, when it is needed."""
    number = min(int.from_bytes(key[1:], "big") for key in case.pages if key[0] == kind)
    flip(backup, case.pages, kind, number)
    refused(fresh, IntegrityError, backup, match=f"{kind.name} page {number}")
    fresh.restore_index("again", backup, index_key=KEY, check=False)
    with fresh.load_index("again", index_key=KEY) as index:
        assert not index.verify().ok


@pytest.mark.parametrize("kind", [PageKind.ROOT, PageKind.TOMBSTONES], ids=lambda kind: kind.name)
@pytest.mark.parametrize("check", [True, False])
def test_not_even_opened(case, backup, fresh, kind, check):
    """What could not be opened is never an index."""
    flip(backup, case.pages, kind, 0)
    refused(fresh, IntegrityError, backup, check=check)


def test_taken(case, backup):
    """No index is overwritten, by any spelling of its name."""
    client = Client(case.folder)
    for name in (NAME, NAME.upper()):
        with nothing_changes(case.path), pytest.raises(IndexExistsError):
            client.restore_index(name, backup, index_key=KEY)
    with pytest.raises(InvalidInputError):
        client.restore_index("", backup, index_key=KEY)
    assert client.list_indexes() == [NAME]


def test_over_a_deleted_namesake(case, backup):
    """The name of an index that was deleted is free, whatever locks it left."""
    client = Client(case.folder)
    client.delete_index(NAME, index_key=KEY)
    for suffix in ("-lock", "-writer"):
        file = case.path.with_name(case.path.name + suffix)
        file.write_bytes(b"left by somebody" * 600)
    client.restore_index(NAME, backup, index_key=KEY)
    with opened(case.folder) as index:
        check_items(index, case.history.of(case.history.rows()))


def test_managed(folder, tmp_path, fresh):
    """A backup of an index under a key manager is opened by that."""
    manager = Passphrase("six words", memory_kib=64, passes=1)
    with Client(folder, kms={"owner": manager}).create_index("notes", kms_name="owner") as index:
        index.upsert(["a"], [[1, 2]], [{"n": 1}])
        index.backup(tmp_path / "backup", check=True)
        before = contents_of(index), index.describe()["index_id"]
    refused(fresh, KeyManagerError, tmp_path / "backup", index_key=None)
    refused(fresh, InvalidInputError, tmp_path / "backup")
    other = Client(tmp_path / "other", kms={"owner": manager})
    other.restore_index("again", tmp_path / "backup")
    with other.load_index("again") as index:
        assert (contents_of(index), index.describe()["index_id"]) == before
        assert index.verify().ok


KILLED = """
import sys, time
from support import KEY
from cyborg_embedded import Client, backups

folder, backup, step = sys.argv[1:]

def stop(*_, **__):
    print("now", flush=True)
    time.sleep(60)

if step == "copying":
    real = backups.shutil.copyfileobj
    def copied(source, target, length):
        target.write(source.read(20_000)); target.flush(); stop()
    backups.shutil.copyfileobj = copied
elif step == "looking":
    backups.raise_problems = stop
else:
    from cyborg_embedded import folder as folders
    folders.os.rename = stop
Client(folder).restore_index("again", backup, index_key=KEY)
"""


@pytest.mark.parametrize("step", ["copying", "looking", "naming"])
def test_killed(case, backup, fresh, step):
    """A process that is killed on the way leaves no index, and nothing that the next one minds."""
    place = fresh._folder.path
    with python("-c", KILLED, place, backup, step, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == "now\n"
        child.send_signal(signal.SIGKILL)
    assert fresh.list_indexes() == []
    wait_until(lambda: child.poll() is not None)
    fresh.restore_index("again", backup, index_key=KEY)
    assert fresh.list_indexes() == ["again"]
    assert not [file for file in os.listdir(place) if file.startswith(".new-")]
    with fresh.load_index("again", index_key=KEY) as index:
        assert index.verify().ok
    assert file_of(place, "again").stat().st_mode & 0o777 == 0o600
    assert len(case.pages) > 10
