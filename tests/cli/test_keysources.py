"""Where keys come from: each source, what is refused, and that no key is ever an argument."""

import json
import os

import pytest
from cli_harness import HEX, OTHER, PASSPHRASE, SECRET, private
from support import KEY

from cyborg_embedded.cli import arguments, keysources
from cyborg_embedded.kms import passphrase

KMS = ("--kms", "kms.toml")
FILE = ("--key-file", "notes.key")


def rows(shell, *how, **options):
    out = shell.on("info", "--json", *how, **options)
    return json.loads(out)["rows"] if out else None


@pytest.mark.parametrize("text", [HEX, HEX + "\n", HEX.upper() + "\r\n", f"  {HEX}\n"])
def test_key_file(supplied, text):
    """A key file holds 64 hex digits, with whitespace around them or without."""
    private(supplied.folder / "k", text)
    assert rows(supplied, "--key-file", "k") == 2


def test_key_file_of_raw_bytes(supplied):
    """A key file may hold the 32 bytes themselves."""
    (supplied.folder / "k").write_bytes(KEY)
    (supplied.folder / "k").chmod(0o600)
    assert rows(supplied, "--key-file", "k") == 2


@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o644, 0o660, 0o602, 0o610, 0o601])
def test_key_file_of_others(supplied, permissions):
    """A key file that anybody else has a right on is not used."""
    (supplied.folder / "notes.key").chmod(permissions)
    supplied.on("info", *FILE, code=2)
    assert "0600" in supplied.err
    supplied.on("rekey", "--key-file", "other.key", "--new-key-file", "notes.key", code=2)


@pytest.mark.parametrize("text", ["", "\n", HEX[:-1], HEX + "0", "g" * 64, HEX * 5, HEX + HEX])
def test_key_file_without_a_key(supplied, text):
    """A key file that holds anything else is not used."""
    private(supplied.folder / "k", text)
    supplied.on("info", "--key-file", "k", code=2)


def test_key_file_that_is_none(supplied):
    """What is no file is not read, and nothing waits for a pipe."""
    os.mkfifo(supplied.folder / "pipe", 0o600)
    for path, code in (("missing", 4), ("home", 2), ("pipe", 2), ("notes.key/x", 2)):
        supplied.on("info", "--key-file", path, code=code)


def test_key_in_the_environment(supplied, monkeypatch):
    """A variable holds 64 hex digits; one that is missing or empty is no key."""
    for text, code in ((HEX, 0), (OTHER.hex(), 4), (HEX[1:], 2), ("", 4)):
        monkeypatch.setenv("NOTES_KEY", text)
        supplied.on("info", "--key-env", "NOTES_KEY", code=code)
    monkeypatch.delenv("NOTES_KEY")
    supplied.on("info", "--key-env", "NOTES_KEY", code=4)


def test_saved_key(supplied):
    """The development key is used where it is asked for, and only where nobody else may read it."""
    supplied.on("info", "--saved-key", code=4)
    (supplied.folder / "home" / ".cyborgdb").mkdir()
    saved = private(supplied.folder / "home" / ".cyborgdb" / "index_key", HEX)
    assert rows(supplied, "--saved-key") == 2
    saved.chmod(0o644)
    supplied.on("info", "--saved-key", code=2)


@pytest.mark.parametrize("slot", ["file", "variable", "known"])
def test_key_manager(supplied, slot):
    """A key manager of the TOML file opens what it holds."""
    supplied.on("rewrap", *FILE, *KMS, "--to-kms", slot)
    assert rows(supplied, *KMS) == 2
    assert rows(supplied, *KMS, "--kms-name", slot) == 2


def test_key_managers_of_the_environment(managed, monkeypatch):
    """A variable names the TOML file by default; the option goes before it."""
    managed.on("compact", code=4)
    monkeypatch.setenv("CYBORG_EMBEDDED_KMS", str(managed.folder / "kms.toml"))
    managed.on("compact")
    (managed.folder / "empty.toml").write_text("")
    managed.on("compact", "--kms", "empty.toml", code=4)
    monkeypatch.setenv("CYBORG_EMBEDDED_KMS", "missing.toml")
    managed.on("compact", code=2)
    managed.on("compact", *KMS)


def test_a_key_goes_before_the_environment(supplied, monkeypatch):
    """Key managers that only the environment names are not looked at where a key is supplied."""
    monkeypatch.setenv("CYBORG_EMBEDDED_KMS", "missing.toml")
    supplied.on("compact", *FILE)
    supplied.on("rewrap", *FILE, "--to-kms", "file", code=2)
    monkeypatch.setenv("CYBORG_EMBEDDED_KMS", "kms.toml")
    supplied.on("compact", *FILE, "--kms-name", "file", code=2)
    assert "--kms-name does not go" in supplied.err
    supplied.on("rewrap", *FILE, "--to-kms", "file")
    assert supplied.holders() == ["file"]


@pytest.mark.parametrize(
    "how",
    [
        (*FILE, "--key-env", "NOTES_KEY"),
        (*FILE, "--key-prompt"),
        ("--key-prompt", "--saved-key"),
        (*FILE, *KMS),
        ("--saved-key", *KMS),
        (*FILE, "--kms-name", "file"),
        ("--kms-name", "file"),
        (*KMS, "--kms-name", "nobody"),
    ],
)
@pytest.mark.parametrize("command", ["info", "compact", "create"])
def test_one_source_at_most(supplied, command, how):
    """More than one source, or half of one, is wrong usage."""
    if command == "create":
        supplied("create", supplied.indexes, "new", *how, code=2)
    else:
        supplied.on(command, *how, code=2)


def test_the_wrong_kind_of_source(supplied, managed):
    """A key for a managed index and a key manager for a supplied one are refused, without asking."""
    managed.on("compact", *FILE, code=2)
    assert "--kms" in managed.err
    managed.on("rewrap", *KMS, "--to-supplied", "--out", "out.key")
    managed.on("compact", *KMS, code=4)
    assert "--key-file" in managed.err


def test_none_of_the_managers_is_known(managed):
    """A TOML file without any manager of the index is no key."""
    (managed.folder / "few.toml").write_text(
        '[elsewhere]\nprovider = "key-file"\npath = "wrapping.key"\n'
    )
    managed.on("compact", "--kms", "few.toml", code=4)
    assert "'file', 'variable'" in managed.err


@pytest.mark.parametrize("text", ["not TOML " + SECRET, f'[file]\nprovider = "{SECRET}"\n'])
def test_a_malformed_file_of_managers(managed, text):
    """What is wrong with the TOML file is told without a value of it."""
    (managed.folder / "kms.toml").write_text(text)
    managed.on("compact", *KMS, code=2)
    assert "kms.toml" in managed.err


def parsers():
    whole = arguments.parser()
    yield whole
    for action in whole._actions:
        if isinstance(action.choices, dict):
            yield from action.choices.values()


STRAY = os.urandom(32).hex()
"""What has the form of a key, and stands where none belongs."""


def test_no_argument_takes_a_key(supplied):
    """There is no option or argument that takes a key: those that take a text name something."""
    taken = set()
    for parser in parsers():
        for action in parser._actions:
            if action.nargs is None and action.type in (None, arguments.text):
                taken |= {*action.option_strings} or {action.metavar}
    assert taken == {
        *("FOLDER", "NAME", "SLOT", "--out", "--key-file", "--key-env", "--kms", "--kms-name"),
        *("--new-key-file", "--new-key-env", "--to-kms", "--drop-manager"),
        *("--metric", "--storage-precision", "--to", "FILE"),
    }
    wrong = ("--kms", "--key", "--index-key", "--key-prompt", "--saved-key", "--kms-name")
    codes = {"--key-file": 4, "--key-env": 4} | dict.fromkeys(wrong, 2)
    for option, code in codes.items():
        for given in ((option, STRAY), (f"{option}={STRAY}",)):
            supplied.on("compact", *given, code=code)
            assert STRAY not in supplied.err


def test_a_key_in_the_wrong_place_is_not_repeated(supplied):
    """A key that is given in the place of a name, a folder or a number is in no message."""
    for given, code in (
        (("info", supplied.indexes, STRAY), 3),
        (("info", STRAY, "notes"), 3),
        (("create", supplied.indexes, "new", *FILE, "--dimension", STRAY), 2),
        (("create", supplied.indexes, "new", *FILE, "--metric", STRAY.upper()), 2),
        (("rewrap", supplied.indexes, "notes", *FILE, *KMS, "--to-kms", STRAY), 2),
        (("rekey", supplied.indexes, "notes", *FILE, "--new-key-env", STRAY), 4),
        ((STRAY,), 2),
        (("info", supplied.indexes, "notes", STRAY), 2),
    ):
        supplied(*given, code=code)
        assert STRAY not in supplied.err.casefold()


@pytest.fixture
def made(monkeypatch):
    """All keys that are read from a source while the test runs, as they are afterwards."""
    keys = []

    def noting(read):
        def noted(*arguments, **options):
            keys.append(read(*arguments, **options))
            assert any(keys[-1])
            return keys[-1]

        return noted

    for name in ("key_in_file", "key_in_variable"):
        monkeypatch.setattr(keysources, name, noting(getattr(keysources, name)))
    return keys


def test_keys_are_wiped(supplied, made, monkeypatch):
    """Whatever becomes of a command, the keys that it has read are zeros when it ends."""
    monkeypatch.setenv("NEW", OTHER.hex())
    supplied.on("rekey", *FILE, "--new-key-env", "NEW")
    supplied.on("compact", *FILE, code=4)
    supplied("create", supplied.indexes, "new", *FILE)
    assert len(made) == 4
    assert all(type(key) is bytearray and not any(key) for key in made)


def test_keys_that_leave_are_wiped(managed, monkeypatch):
    """So are those that a command hands out."""
    from cyborg_embedded.cli import destination

    delivered = []
    deliver = destination.Destination.deliver

    def noted(self, key):
        delivered.append(key)
        assert any(key)
        deliver(self, key)

    monkeypatch.setattr(destination.Destination, "deliver", noted)
    managed("keygen", "--out", "new.key")
    managed.on("rewrap", *KMS, "--to-supplied", "--out", "out.key")
    assert len(delivered) == 2
    assert not any(map(any, delivered))


def test_a_passphrase_of_the_file_is_not_asked_for(supplied, monkeypatch):
    """A passphrase that stands in the TOML file is used as it stands there."""
    asked = []
    normalised = passphrase.normalised

    def noted(text):
        asked.append(text)
        return normalised(text)

    monkeypatch.setattr(passphrase, "normalised", noted)
    supplied.on("rewrap", *FILE, *KMS, "--to-kms", "known")
    assert rows(supplied, *KMS) == 2
    assert set(asked) == {PASSPHRASE}


def test_nobody_is_asked_without_a_terminal(supplied, monkeypatch):
    """Where nobody can be asked without an echo, nobody is asked, and nothing is changed."""
    import getpass
    import io

    monkeypatch.setattr("getpass.getpass", getpass.fallback_getpass)
    monkeypatch.setattr("sys.stdin", io.StringIO(HEX + "\n"))
    supplied.on("compact", "--key-prompt", code=2)
    supplied.on("rewrap", *FILE, *KMS, "--to-kms", "person", code=4)
    supplied("create", supplied.indexes, "new", *KMS, "--kms-name", "person", code=4)
    assert supplied.holders() == []
    assert supplied("list", supplied.indexes) == "notes\n"
