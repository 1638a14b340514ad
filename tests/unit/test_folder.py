"""The folder of a client: names and files, creation all or nothing, and what a crash leaves."""

import os

import pytest
from unit_harness import child

from cyborg_embedded.errors import (
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
    LockedError,
)
from cyborg_embedded.folder import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "indexes")


def make(folder, name, data=b"data"):
    with folder.creating(name, timeout=1) as path, open(path, "xb") as file:
        file.write(data)


def files(folder):
    return sorted(os.listdir(folder.path))


def test_folder_is_made(tmp_path):
    """A missing folder is made, with its parents, for its owner alone; an existing one is taken."""
    before = os.umask(0)
    try:
        folder = Folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert os.stat(folder.path).st_mode & 0o777 == 0o700
    os.mkdir(tmp_path / "c", 0o740)
    Folder(str(tmp_path / "c"))
    assert os.stat(tmp_path / "c").st_mode & 0o777 == 0o740


def test_the_way_to_a_new_folder_is_on_the_disk(tmp_path, monkeypatch):
    """Each folder that is made has its name in the one above through to the disk."""
    synced = []
    monkeypatch.setattr("cyborg_embedded.folder.sync", synced.append)
    Folder(tmp_path / "a" / "b" / "c")
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    Folder(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3


def test_path_that_is_no_folder(tmp_path):
    """A path that is a file, or leads through one, is InvalidInputError."""
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInputError):
            Folder(path)


def test_creating_and_finding(folder):
    """A created index is listed under its name and found, in any case and any normal form."""
    for name in ("notes", "Zebra", "café", ".hidden", 'a "b"?'):
        make(folder, name)
    assert folder.names() == sorted(["notes", "Zebra", "café", ".hidden", 'a "b"?'])
    assert folder.find("NOTES") == os.path.join(folder.path, "notes.cyb")
    assert folder.find("CAFE\u0301") == os.path.join(folder.path, "café.cyb")
    assert folder.find(".HIDDEN") == os.path.join(folder.path, "%2Ehidden.cyb")


def test_not_found(folder):
    """A name that is not there is IndexNotFoundError, and one that is no name InvalidInputError."""
    make(folder, "notes")
    for name in ("note", "notes.cyb", "notes2"):
        with pytest.raises(IndexNotFoundError):
            folder.find(name)
    for name in ("../notes", "", None):
        with pytest.raises(InvalidInputError):
            folder.find(name)
        with pytest.raises(InvalidInputError), folder.creating(name, timeout=1):
            pytest.fail("a bad name got a path")


@pytest.mark.parametrize("name", ["notes", "NOTES", "Notes"])
def test_existing_names(folder, name):
    """A name that exists in any case is IndexExistsError, and the index stays as it was."""
    make(folder, "notes", b"first")
    with pytest.raises(IndexExistsError), folder.creating(name, timeout=1):
        pytest.fail("a taken name got a path")
    with open(folder.find("notes"), "rb") as file:
        assert file.read() == b"first"


def test_unnormalised_names_exist_too(folder):
    """A decomposed spelling of an existing name is the same name."""
    make(folder, "café")
    with pytest.raises(IndexExistsError), folder.creating("CAFE\u0301", timeout=1):
        pytest.fail("a taken name got a path")


def test_index_appears_only_when_whole(folder):
    """While a creation runs its file has a temporary name that is not listed."""
    with folder.creating("notes", timeout=1) as path:
        with open(path, "xb") as file:
            file.write(b"half")
        assert os.path.dirname(path) == folder.path
        assert folder.names() == []
        with pytest.raises(IndexNotFoundError):
            folder.find("notes")
    assert folder.names() == ["notes"]
    assert not os.path.exists(path)


def test_failed_creation_leaves_nothing(folder):
    """An error during creation takes the temporary file and its lock files with it."""
    with pytest.raises(ZeroDivisionError), folder.creating("notes", timeout=1) as path:
        for suffix in ("", "-lock", "-writer"):
            with open(path + suffix, "xb"):
                pass
        raise ZeroDivisionError
    assert files(folder) == [".lock"]
    make(folder, "notes")
    assert folder.names() == ["notes"]


def test_leftovers(folder):
    """What a killed creation left is never listed, and goes with the next creation."""
    with folder.creating("dead", timeout=1) as path, open(path, "xb"):
        pass
    for suffix in ("", "-lock", "-writer"):
        with open(os.path.join(folder.path, ".new-0123456789abcdef.cyb" + suffix), "xb"):
            pass
    assert folder.names() == ["dead"]
    make(folder, "notes")
    assert files(folder) == [".lock", "dead.cyb", "notes.cyb"]


def test_files_of_others(folder):
    """Files that are no index are neither listed nor touched by creating and removing."""
    strangers = ["readme.txt", "con.cyb", ".x.cyb", "notes.cyb.bak"]
    for file in strangers:
        with open(os.path.join(folder.path, file), "xb"):
            pass
    make(folder, "notes")
    assert folder.names() == ["notes"]
    with folder.changing(timeout=1):
        folder.remove(folder.find("notes"))
    assert files(folder) == sorted([".lock", *strangers])


def test_stale_lock_files_of_a_namesake(folder):
    """Lock files that a deleted index left are gone when a new index gets the name."""
    for suffix in ("-lock", "-writer"):
        with open(os.path.join(folder.path, "notes.cyb" + suffix), "xb") as file:
            file.write(b"stale")
    make(folder, "notes")
    assert files(folder) == [".lock", "notes.cyb"]


def test_removing(folder):
    """A removed index is gone with its lock files, and its name is free again."""
    make(folder, "notes")
    make(folder, "other")
    for suffix in ("-lock", "-writer"):
        with open(folder.find("notes") + suffix, "xb"):
            pass
    with folder.changing(timeout=1):
        folder.remove(folder.find("Notes"))
    assert files(folder) == [".lock", "other.cyb"]
    make(folder, "NOTES")
    assert folder.names() == ["NOTES", "other"]


CHANGING = """
import sys
from cyborg_embedded.folder import Folder
with Folder(sys.argv[1]).changing(timeout=5):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_one_process_changes_the_folder(folder):
    """While another process changes the folder, creating waits, then is LockedError."""
    make(folder, "notes")
    with child(CHANGING, folder.path) as holder:
        with pytest.raises(LockedError) as caught, folder.creating("more", timeout=0.01):
            pytest.fail("two at once")
        assert caught.value.pid == holder.pid
        assert folder.names() == ["notes"]
    make(folder, "more")
    assert folder.names() == ["more", "notes"]


def test_lock_file_mode(folder):
    """The folder's lock file is for its owner alone."""
    before = os.umask(0)
    try:
        make(folder, "notes")
    finally:
        os.umask(before)
    assert os.stat(os.path.join(folder.path, ".lock")).st_mode & 0o777 == 0o600
