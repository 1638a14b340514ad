"""An index on a file system that cannot be written to is read as any other."""

import subprocess

import pytest
from support import KEY, check_items, check_query, run_python
from verify_harness import NAME, fill, nothing_changes, opened, put

from cyborg_embedded import Client, ReadOnlyError


@pytest.fixture
def still(tmp_path):
    """A folder with an index, on a file system that is mounted for reading only; what it holds."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mounted]
    try:
        allowed = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("nothing may be mounted here")
    try:
        history = fill(mounted / "indexes")
        subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
        yield mounted / "indexes", history.of(history.rows())
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)


def test_reads(still, tmp_path):
    """Queries, filters, verify and a backup to elsewhere work, and nothing is written."""
    folder, items = still
    with nothing_changes(folder / "notes.cyb"), opened(folder, read_only=True) as index:
        check_items(index, items)
        query = items["n4"][0]
        check_query(index.query(query, top_k=5), query, 5, "cosine", items)
        odd = {name: item for name, item in items.items() if item[1]["tag"] == "b"}
        assert index.count({"tag": "b"}) == len(odd)
        check_query(index.query(query, top_k=5, filters={"tag": "b"}), query, 5, "cosine", odd)
        assert index.verify().ok
        index.backup(tmp_path / "backup", check=True)
    other = Client(tmp_path / "elsewhere")
    other.restore_index(NAME, tmp_path / "backup", index_key=KEY)
    with opened(tmp_path / "elsewhere") as index:
        check_items(index, items)
        put(index, {"new": items["n4"]})
    described = Client(folder).describe_index(NAME)
    assert described["file_bytes"] == (folder / "notes.cyb").stat().st_size


def test_writes(still, tmp_path):
    """A handle that is to write is refused, and so is every write."""
    folder, _ = still
    client = Client(folder)
    assert client.list_indexes() == [NAME]
    with nothing_changes(folder / "notes.cyb"):
        with pytest.raises(ReadOnlyError):
            opened(folder)
        with opened(folder, read_only=True) as index:
            index.backup(tmp_path / "backup")
            for write in (
                lambda: index.upsert(["new"], [[1.0] * 64]),
                lambda: index.delete(["n3"]),
                index.compact,
                lambda: index.rekey(bytes(32)),
                lambda: index.backup(folder / "backup"),
                lambda: client.create_index("new", index_key=KEY),
                lambda: client.delete_index(NAME, index_key=KEY),
                lambda: client.restore_index("new", tmp_path / "backup", index_key=KEY),
                lambda: client.repair_index(NAME, to="new", index_key=KEY),
            ):
                with pytest.raises(ReadOnlyError):
                    write()
            assert index.verify().ok
    assert client.list_indexes() == [NAME]


READER = """
import sys
from support import KEY
from cyborg_embedded import Client

with Client(sys.argv[1]).load_index("notes", index_key=KEY, read_only=True) as index:
    print(len(index), len(index.query([1.0] * 64, top_k=7)))
"""


def test_other_processes(still):
    """Another process reads it at the same time."""
    folder, items = still
    with opened(folder, read_only=True) as index:
        code, out, err = run_python(READER, folder)
        assert (code, out.split()) == (0, [str(len(items)), "7"]), err
        assert len(index) == len(items)
