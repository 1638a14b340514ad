"""A backup is one commit and nothing else, whole or not there; it overwrites nothing."""

import os
import shutil

import pytest
from support import KEY, check_items, contents_of, make_index, read_pages, run_python
from verify_harness import NAME, file_of, flip, nothing_changes, opened

from cyborg_embedded import (
    Client,
    ClosedError,
    IntegrityError,
    InvalidInputError,
    backups,
)
from cyborg_embedded.model import PageKind


@pytest.fixture
def backup(tmp_path):
    """Where a backup is to go: a folder that has nothing else."""
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "copy"


def alone(path):
    """Whether a file is all that its folder has."""
    return os.listdir(path.parent) == [path.name]


def state_of(index):
    return contents_of(index), index.sequence, index.commit_id, index.describe()["index_id"]


@pytest.mark.parametrize("check", [False, True])
def test_same_commit(case, backup, check):
    """What is restored is the same index at the same commit, item for item, graph and all."""
    with opened(case.folder) as index:
        with nothing_changes(case.path):
            index.backup(backup, check=check)
        before = state_of(index)
        assert index.delete(["n3"]) == 1
    assert alone(backup)
    assert read_pages(backup) == case.pages
    client = Client(case.folder)
    client.restore_index("again", backup, index_key=KEY)
    with client.load_index("again", index_key=KEY, indexing="manual") as index:
        assert state_of(index) == before
        check_items(index, case.history.of(case.history.rows()))
        assert index.is_trained()
        assert index.verify().ok


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_mode(case, backup, mask):
    """A backup is for its owner alone, whatever the umask; so is what is restored."""
    before = os.umask(mask)
    try:
        with opened(case.folder) as index:
            index.backup(str(backup))
        Client(case.folder).restore_index("again", os.fsencode(backup), index_key=KEY)
    finally:
        os.umask(before)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert file_of(case.folder, "again").stat().st_mode & 0o777 == 0o600


def test_no_free_space_goes_along(folder, backup):
    """What lies in free pages stays behind: the backup has no sealed page that the commit lacks,
    and no plaintext.
    """
    make_index(folder, NAME, KEY, dimension=4)
    with opened(folder) as index:
        index.upsert(["secret id"], [[1, 2, 3, 4]], [{"secret": "field"}], ["secret text " * 5000])
        shutil.copyfile(file_of(folder), backup.parent / "before")
        index.delete(["secret id"])
        for number in range(4):
            index.upsert([f"other {number}"], [[1, 2, 3, number]], None, ["x"])
        shutil.copyfile(file_of(folder), backup.parent / "after")
        index.backup(backup)
    old = [value for key, value in read_pages(backup.parent / "before").items() if key[0] == 5]
    current = set(read_pages(backup.parent / "after").values())
    assert len(old) == 1
    copy = backup.read_bytes()
    blocks = [old[0][at : at + 64] for at in range(0, len(old[0]) - 64, 2048)]
    assert any(block in file_of(folder).read_bytes() for block in blocks)
    assert not any(block in copy for block in blocks)
    assert set(read_pages(backup).values()) == current
    assert len(copy) < len(old[0])
    assert not any(word in copy for word in (b"secret", b"other 1"))


def test_nothing_is_overwritten(case, backup):
    """Whatever is at the path stays as it is: a file, a folder, a link that leads nowhere."""
    backup.write_bytes(b"precious")
    link = backup.parent / "link"
    link.symlink_to("nowhere")
    with opened(case.folder) as index:
        for path in (backup, backup.parent, link, case.path):
            with pytest.raises(InvalidInputError, match="overwritten"):
                index.backup(path)
    assert backup.read_bytes() == b"precious"
    assert sorted(os.listdir(backup.parent)) == ["copy", "link"]


@pytest.mark.parametrize("links", [True, False])
def test_nothing_that_appears_meanwhile(case, backup, monkeypatch, links):
    """Nor is what comes to be at the path while the copy is made, with hard links or without."""
    real = backups.sync

    def synced(path):
        backup.write_bytes(b"precious")
        real(path)

    def no_links(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(backups, "sync", synced)
    if not links:
        monkeypatch.setattr(backups.os, "link", no_links)
    with opened(case.folder) as index, pytest.raises(InvalidInputError, match="overwritten"):
        index.backup(backup)
    assert backup.read_bytes() == b"precious"
    assert alone(backup)


def test_without_hard_links(case, backup, monkeypatch):
    """A file system that has no hard links gets its backup too."""

    def no_links(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(backups.os, "link", no_links)
    with opened(case.folder) as index:
        index.backup(backup)
    assert alone(backup)
    assert read_pages(backup) == case.pages


def test_no_folder(case, backup):
    """A folder that is not there is not made."""
    with opened(case.folder) as index:
        with pytest.raises(InvalidInputError, match="folder"):
            index.backup(backup / "below")
        index.backup(backup)


@pytest.mark.parametrize("kind", [PageKind.VECTORS, PageKind.CONTENTS], ids=lambda kind: kind.name)
def test_damaged_source(case, backup, kind):
    """With check=True a damaged page is found, and there is no backup; the index goes on."""
    number = min(int.from_bytes(key[1:], "big") for key in case.pages if key[0] == kind)
    flip(case.path, case.pages, kind, number)
    with opened(case.folder) as index:
        with pytest.raises(IntegrityError, match=f"{kind.name} page {number}"):
            index.backup(backup, check=True)
        assert os.listdir(backup.parent) == []
        assert len(index) == len(case.history.rows())
        index.backup(backup)
    assert alone(backup)


def test_damaged_graph(case, backup):
    """What costs no data does not stand in the way of a backup."""
    flip(case.path, case.pages, PageKind.GRAPH, 0)
    with opened(case.folder) as index:
        index.backup(backup, check=True)
    Client(case.folder).restore_index("again", backup, index_key=KEY)
    assert alone(backup)


def test_other_handles(case, backup):
    """A handle that only reads makes a backup; one that is closed does not."""
    with opened(case.folder, read_only=True) as index:
        index.backup(backup, check=True)
    with pytest.raises(ClosedError):
        index.backup(backup.parent / "other")
    assert alone(backup)


FULL = """
import os, resource, sys
from support import KEY
from cyborg_embedded import Client, StorageFullError

folder, backup, check = sys.argv[1:]
with Client(folder).load_index("notes", index_key=KEY, indexing="manual") as index:
    size = os.path.getsize(os.path.join(folder, "notes.cyb"))
    for limit in (4096, size // 2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            index.backup(backup, check=bool(check))
        except StorageFullError:
            print("full")
        assert os.listdir(os.path.dirname(backup)) == [], os.listdir(os.path.dirname(backup))
        assert len(index) and index.query([1.0] * 64, top_k=3)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    index.delete(["n3"])
    index.backup(backup, check=bool(check))
    assert index.verify().ok
"""


@pytest.mark.parametrize("check", ["", "check"])
def test_no_room(case, backup, check):
    """Without room for it there is no backup, and no part of one; the index goes on."""
    code, out, err = run_python(FULL, case.folder, backup, check)
    assert (code, out.split()) == (0, ["full", "full"]), err
    assert alone(backup)
