"""Each command does what its help says, and says nothing else."""

import json
import os
import stat

import pytest
from cli_harness import HEX, OTHER, SECRET
from support import KEY

from cyborg_embedded import Client
from cyborg_embedded.cli.commands import COMMANDS

KMS = ("--kms", "kms.toml")
FILE = ("--key-file", "notes.key")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_keygen_to_a_file(shell):
    """A new key stands in a new file of mode 0600, as 64 hex digits, and nowhere else."""
    shell("keygen", "--out", "new.key")
    text = (shell.folder / "new.key").read_text()
    assert len(text) == 65
    assert len(bytes.fromhex(text)) == 32
    assert mode(shell.folder / "new.key") == 0o600
    shell("keygen", "--out", "newer.key")
    assert (shell.folder / "newer.key").read_text() != text


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_keygen_whatever_the_umask(shell, umask):
    """The file of a new key is its owner's alone, whatever the umask allows."""
    before = os.umask(umask)
    try:
        shell("keygen", "--out", "new.key")
    finally:
        os.umask(before)
    assert mode(shell.folder / "new.key") == 0o600


def test_keygen_overwrites_nothing(shell):
    """A file, a folder or a symbolic link that is there already stays as it is."""
    (shell.folder / "link").symlink_to(shell.folder / "elsewhere")
    for path in ("notes.key", "link", "home"):
        shell("keygen", "--out", path, code=3)
    assert (shell.folder / "notes.key").read_text() == HEX + "\n"
    assert not (shell.folder / "elsewhere").exists()


def test_keygen_to_standard_output(shell):
    """With `--out -` the key is all that standard output has; without --out there is no key."""
    assert len(bytes.fromhex(shell("keygen", "--out", "-"))) == 32
    assert shell("keygen", code=2) == ""
    assert "--out" in shell.err


def test_create(shell):
    """An index is made as the options say."""
    shell(
        *("create", shell.indexes, "notes", *FILE, "--dimension", "3", "--metric", "cosine"),
        *("--storage-precision", "int8"),
    )
    with Client(shell.indexes).load_index("notes", index_key=KEY) as index:
        told = index.describe()
    assert (told["dimension"], told["metric"]) == (3, "cosine")
    assert told["storage_precision"] == "int8"


def test_create_by_default(shell):
    """Without options an index is what `Client.create_index` makes."""
    shell("create", shell.indexes, "notes", *FILE)
    with Client(shell.indexes) as client:
        client.create_index("other", index_key=KEY).close()
        told = []
        for name in ("notes", "other"):
            with client.load_index(name, index_key=KEY) as index:
                told.append(index.describe())
    for name in ("dimension", "metric", "storage_precision", "rows"):
        assert told[0][name] == told[1][name]


def test_create_under_a_key_manager(shell):
    """An index can be made under a key manager, which has to be named."""
    shell("create", shell.indexes, "notes", *KMS, code=4)
    shell("create", shell.indexes, "notes", *KMS, "--kms-name", "nobody", code=2)
    assert not shell.indexes.exists()
    shell("create", shell.indexes, "notes", *KMS, "--kms-name", "file")
    assert shell.holders() == ["file"]


def test_create_makes_nothing_where_it_fails(shell):
    """Without a key no folder is made; a name that is taken, in any case, stays taken."""
    shell("create", shell.indexes, "notes", code=4)
    shell("create", shell.indexes, "notes", "--key-file", "missing.key", code=4)
    assert not shell.indexes.exists()
    shell("create", shell.indexes, "notes", *FILE)
    shell("create", shell.indexes, "NOTES", "--key-file", "other.key", code=3)
    shell("create", shell.indexes, "a/b", *FILE, code=2)
    assert shell("list", shell.indexes) == "notes\n"


def test_list(shell):
    """The names come sorted, one a line or as JSON; of a folder that is not there, an error."""
    shell("list", shell.indexes, code=3)
    assert not shell.indexes.exists()
    shell.indexes.mkdir()
    assert shell("list", shell.indexes) == ""
    assert json.loads(shell("list", shell.indexes, "--json")) == []
    for name in ("zebra", "an apple", "größe"):
        shell("create", shell.indexes, name, *FILE)
    assert shell("list", shell.indexes) == "an apple\ngröße\nzebra\n"
    assert json.loads(shell("list", shell.indexes, "--json")) == ["an apple", "größe", "zebra"]


def test_info_without_a_key(managed):
    """What `Client.describe_index` tells is told without a key."""
    with managed.client() as client:
        told = client.describe_index("notes")
    shown = json.loads(managed.on("info", "--json"))
    assert shown == {**told, "created": told["created"].isoformat()}
    text = managed.on("info")
    assert told["index_id"] in text
    assert "file (key-file), variable (environment-variable)" in text


@pytest.mark.parametrize("how", ["supplied", "managed"])
def test_info_with_a_key(how, request):
    """With a key, what is in the index is told as well."""
    shell = request.getfixturevalue(how)
    key = FILE if how == "supplied" else KMS
    with shell.client() as client:
        given = {"index_key": KEY} if how == "supplied" else {}
        with client.load_index("notes", **given) as index:
            inside = index.describe()
        told = {**client.describe_index("notes"), **inside}
    shown = json.loads(shell.on("info", *key, "--json"))
    assert shown == {**told, "created": told["created"].isoformat()}
    text = shell.on("info", *key)
    assert [line.split() for line in text.splitlines() if line.startswith("rows")] == [
        ["rows:", "2"]
    ]


def test_info_does_not_ask_managers_of_the_environment(managed, monkeypatch):
    """That a variable names key managers is no reason to ask one for what needs no key."""
    monkeypatch.setenv("CYBORG_EMBEDDED_KMS", "kms.toml")
    monkeypatch.delenv("WRAPPING_KEY")
    assert "rows" not in json.loads(managed.on("info", "--json"))
    assert json.loads(managed.on("info", "--json", "--kms-name", "file"))["rows"] == 2


def test_managers_come_and_go(managed):
    """A key manager can be added and removed, but for the last one."""
    managed.on("add-manager", "known", *KMS)
    assert managed.holders() == ["file", "variable", "known"]
    managed.on("remove-manager", "file", *KMS)
    managed.on("remove-manager", "variable", *KMS, "--kms-name", "known")
    assert managed.holders() == ["known"]
    managed.on("remove-manager", "known", *KMS, code=2)
    managed.on("remove-manager", "file", *KMS, code=2)
    managed.on("add-manager", "nobody", *KMS, code=2)
    managed.on("add-manager", "file", *KMS, "--kms-name", "variable", code=2)
    assert managed.holders() == ["known"]


def test_managers_of_a_supplied_index(supplied):
    """An index whose key is supplied has no key managers to add to, or to remove."""
    supplied.on("add-manager", "file", *KMS, code=2)
    supplied.on("remove-manager", "file", *KMS, code=2)
    assert supplied.holders() == []


def test_rekey_supplied(supplied):
    """A rekey seals the index under the new key, and the old one opens nothing any more."""
    supplied.on("rekey", *FILE, "--new-key-file", "other.key")
    assert supplied.opens(OTHER)
    supplied.on("info", *FILE, code=4)
    supplied.on("rekey", "--key-file", "other.key", "--new-key-file", "other.key", code=2)


def test_rekey_with_a_key_in_the_environment(supplied, monkeypatch):
    """The new key may be in an environment variable."""
    monkeypatch.setenv("NEW", OTHER.hex())
    supplied.on("rekey", *FILE, "--new-key-env", "NEW")
    assert supplied.opens(OTHER)


def test_rekey_needs_a_new_key_where_it_is_supplied(supplied):
    """Without a new key, or with one that is none, nothing is changed."""
    supplied.on("rekey", *FILE, code=4)
    supplied.on("rekey", *FILE, "--new-key-file", "missing.key", code=4)
    supplied.on("rekey", *FILE, "--new-key-file", "kms.toml", code=2)
    assert supplied.opens(KEY)


def test_rekey_managed(managed, monkeypatch):
    """A managed index gets a key that its managers hold, those that are dropped excepted."""
    managed.on("rekey", *KMS, "--new-key-file", "other.key", code=2)
    managed.on("rekey", *KMS)
    assert managed.holders() == ["file", "variable"]
    monkeypatch.delenv("WRAPPING_KEY")
    managed.on("rekey", *KMS, code=5)
    managed.on("rekey", *KMS, "--drop-manager", "nobody", code=2)
    managed.on("rekey", *KMS, "--drop-manager", "variable", "--quiet")
    assert managed.holders() == ["file"]
    assert managed.opens(slot="file")
    managed.on("rewrap", *KMS, "--to-supplied", "--out", "back.key")
    assert (managed.folder / "back.key").read_text() not in {HEX + "\n", SECRET + "\n"}


def test_compact(supplied):
    """Compacting removes deleted items for good."""
    assert json.loads(supplied.on("info", *FILE, "--json"))["deleted_rows"] == 1
    supplied.on("compact", *FILE)
    told = json.loads(supplied.on("info", *FILE, "--json"))
    assert (told["rows"], told["deleted_rows"]) == (2, 0)


def test_delete(supplied):
    """An index is deleted with its key and `--yes`; nobody can be asked without a terminal."""
    supplied.on("delete", *FILE, code=2)
    assert "--yes" in supplied.err
    supplied.on("delete", "--yes", code=4)
    supplied.on("delete", "--yes", "--key-file", "other.key", code=4)
    assert supplied.opens(KEY)
    supplied.on("delete", "--yes", *FILE)
    assert supplied("list", supplied.indexes) == ""


def test_delete_managed(managed):
    """An index under key managers is deleted by one of them."""
    managed.on("delete", "--yes", *KMS, "--kms-name", "variable")
    assert managed("list", managed.indexes) == ""


class Screen:
    """A standard error that is a terminal, and remembers."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.mark.parametrize("command", ["rekey", "compact"])
@pytest.mark.parametrize("quiet", [False, True])
def test_progress_bar(supplied, command, quiet, monkeypatch):
    """A terminal sees a bar that ends at 100%, on a line of its own, unless it is to be quiet."""
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    more = ("--new-key-file", "other.key") if command == "rekey" else ()
    supplied.on(command, *FILE, *more, *["--quiet"] * quiet)
    if quiet:
        assert screen.text == ""
    else:
        assert screen.text.startswith(f"\r{command} [")
        assert screen.text.endswith("] 100% of 2 items\n")


def test_progress_bar_is_not_in_the_way_of_an_error(supplied, monkeypatch):
    """What goes wrong under a progress bar is told on a line of its own."""
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("cyborg_embedded.rekeying.check_copy", interrupted)
    assert supplied.capsys.readouterr().err == ""
    arguments = ("compact", supplied.indexes, "notes", *FILE)
    assert main_of(arguments) == 130
    assert screen.text.endswith("items\ncyborg-embedded: interrupted\n")
    assert supplied.opens(KEY)
    assert not any(".new-" in name for name in os.listdir(supplied.indexes))


def interrupted(*_):
    raise KeyboardInterrupt


def main_of(arguments):
    from cyborg_embedded.cli import main

    return main([*map(str, arguments)])


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"keygen", "list", "create", "restore"}))
def test_what_is_not_there(shell, command):
    """No command but `create` and `restore` makes a folder, and none an index that is not there."""
    rest = {
        "rewrap": [*FILE, *KMS, "--to-kms", "file"],
        "add-manager": ["file", *KMS],
        "remove-manager": ["file", *KMS],
        "delete": ["--yes", *FILE],
        "rekey": [*FILE, "--new-key-file", "other.key"],
        "backup": ["copy.cyb", *FILE],
        "repair": ["--to", "saved", *FILE],
    }.get(command, FILE)
    shell(command, shell.indexes, "notes", *rest, code=3)
    assert not shell.indexes.exists()
    shell.indexes.mkdir()
    shell(command, shell.indexes, "notes", *rest, code=3)
    assert os.listdir(shell.indexes) == []
