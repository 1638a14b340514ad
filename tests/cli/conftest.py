"""Fixtures of the command-line suites."""

import pytest
from cli_harness import HEX, OTHER, SECRET, TOML, Shell, private
from support import KEY

from cyborg_embedded import Client
from cyborg_embedded.cli.keysources import KMS_VARIABLE


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """A working folder and a home folder of the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WRAPPING_KEY", SECRET)
    monkeypatch.delenv(KMS_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    private(tmp_path / "notes.key", HEX + "\n")
    private(tmp_path / "other.key", OTHER.hex() + "\n")
    private(tmp_path / "wrapping.key", SECRET[::-1] + "\n")
    (tmp_path / "kms.toml").write_text(TOML)


@pytest.fixture
def shell(tmp_path, capsys, surroundings):
    """Commands to be run in this process; there is no index yet."""
    return Shell(tmp_path, capsys)


@pytest.fixture
def supplied(shell):
    """The index `notes` with two items, under a key that is supplied."""
    with (
        Client(shell.indexes) as client,
        client.create_index("notes", index_key=KEY, dimension=3) as index,
    ):
        index.upsert(["a", "b", "c"], [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
        index.delete(["c"])
    return shell


@pytest.fixture
def managed(supplied):
    """The same index under the key managers `file` and `variable`."""
    with supplied.client() as client:
        client.rewrap_index("notes", index_key=KEY, to_kms="file")
        client.add_key_manager("notes", "variable")
    return supplied
