"""What the command line does so that nothing is lost: verify, backup, restore, repair."""

import json

import pytest
from support import KEY, read_pages, write_pages

from cyborg_embedded import Client
from cyborg_embedded.model import PageKind

KEY_FILE = ("--key-file", "notes.key")


def damage(shell, kind):
    """Change a byte of the first page of a kind, past the library."""
    path = shell.indexes / "notes.cyb"
    key = bytes([kind]) + bytes(8)
    value = bytearray(read_pages(path)[key])
    value[40] ^= 1
    write_pages(path, {key: bytes(value)})
    (shell.indexes / "notes.cyb-lock").unlink()


def items(shell, name="notes"):
    """The ids of an index."""
    with Client(shell.indexes) as client, client.load_index(name, index_key=KEY) as index:
        return index.list_ids()


@pytest.mark.parametrize("how", [(), ("--untrusted",)], ids=["plain", "untrusted"])
def test_verify(shell, supplied, how):
    """A sound index is said to be sound; a damaged one is told of, with exit code 6."""
    assert "2 items" in shell.on("verify", *KEY_FILE, *how)
    report = json.loads(shell.on("verify", *KEY_FILE, "--json", *how))
    assert (report["ok"], report["live_rows"], report["problems"]) == (True, 2, [])
    damage(shell, PageKind.ITEMS)
    report = json.loads(shell.on("verify", *KEY_FILE, "--json", *how, code=6))
    assert report["problems"][0]["kind"] == "ITEMS"
    assert not report["problems"][0]["derived"]
    assert "data is damaged" in shell.err


def test_verify_needs_the_key(shell, supplied):
    """Without the key, or with another one, nothing is told."""
    assert shell.on("verify", code=4) == ""
    assert shell.on("verify", "--key-file", "other.key", code=4) == ""


def test_backup_and_restore(shell, supplied, tmp_path):
    """A copy becomes an index; neither overwrites anything."""
    copy = tmp_path / "copy.cyb"
    assert shell.on("backup", copy, *KEY_FILE) == ""
    assert copy.stat().st_mode & 0o777 == 0o600
    shell.on("backup", copy, *KEY_FILE, code=2)
    shell("restore", shell.indexes, "again", copy, *KEY_FILE)
    assert items(shell, "again") == ["a", "b"]
    shell("restore", shell.indexes, "again", copy, *KEY_FILE, code=3)
    shell("restore", shell.indexes, "other", copy, "--key-file", "other.key", code=4)
    shell("restore", tmp_path / "elsewhere", "notes", tmp_path / "missing", *KEY_FILE, code=2)
    with Client(shell.indexes) as client:
        assert client.list_indexes() == ["again", "notes"]


def test_a_damaged_copy_is_not_restored(shell, supplied, tmp_path):
    """What is damaged is noticed when it is copied, and when a copy is restored."""
    copy = tmp_path / "copy.cyb"
    damage(shell, PageKind.ITEMS)
    shell.on("backup", copy, *KEY_FILE, code=6)
    assert not copy.exists()
    shell.on("backup", copy, *KEY_FILE, "--unchecked")
    shell("restore", shell.indexes, "again", copy, *KEY_FILE, code=6)
    shell("restore", shell.indexes, "again", copy, *KEY_FILE, "--unchecked")
    assert items(shell, "again") == ["a", "b"]


def test_repair(shell, supplied):
    """Of an index whose table of ids is damaged, everything is saved into a new one."""
    damage(shell, PageKind.IDS)
    assert shell.on("repair", "--to", "saved", *KEY_FILE) == "2 items saved\n"
    assert items(shell, "saved") == ["a", "b"]
    shell.on("repair", "--to", "saved", *KEY_FILE, code=3)


def test_repair_says_what_is_lost(shell, supplied):
    """What cannot be saved is named, with exit code 6."""
    damage(shell, PageKind.ITEMS)
    told = shell.on("repair", "--to", "saved", *KEY_FILE, code=6)
    assert told.splitlines() == ["0 items saved", "lost: 'a'", "lost: 'b'"]
    assert items(shell, "saved") == []
    damage(shell, PageKind.ITEM_IDS)
    told = shell.on("repair", "--to", "less", *KEY_FILE, code=6)
    assert told.splitlines() == ["0 items saved", "lost: 2 whose ids could not be read"]


def test_what_lmdb_would_not_survive(shell, supplied):
    """A file whose structure is damaged is refused before LMDB reads it."""
    path = shell.indexes / "notes.cyb"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + bytes(b ^ 0xFF for b in whole[8192:]))
    shell.on("verify", "--untrusted", *KEY_FILE, code=6)
    shell.on("repair", "--to", "saved", *KEY_FILE, code=6)
    assert sorted(each.name for each in shell.indexes.glob(".new-*")) == []
