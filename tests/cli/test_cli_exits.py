"""Exit codes: what they say, that each of them happens, and the one line that goes with it."""

import errno
import io
import os

import pytest
from cli_harness import HEX
from support import KEY, python, read_pages, write_pages

import cyborg_embedded
from cyborg_embedded import Client, cli, errors
from cyborg_embedded.cli import exits
from cyborg_embedded.cli.commands import COMMANDS
from cyborg_embedded.folder import Folder

KMS = ("--kms", "kms.toml")
FILE = ("--key-file", "notes.key")


def made(kind):
    """An error of some kind."""
    if kind is errors.RollbackError:
        return kind("no", sequence=1, expected=2)
    return kind("no")


WANTED = {
    errors.CyborgError: 1,
    errors.ClosedError: 1,
    errors.InvalidInputError: 2,
    errors.IndexNotFoundError: 3,
    errors.IndexExistsError: 3,
    errors.KeyRequiredError: 4,
    errors.WrongKeyError: 4,
    errors.KeyManagerError: 5,
    errors.IntegrityError: 6,
    errors.RollbackError: 6,
    errors.FormatError: 6,
    errors.UnsupportedVersionError: 6,
    errors.LockedError: 7,
    errors.StorageFullError: 8,
    errors.ReadOnlyError: 9,
}


def failing(monkeypatch, error):
    """Let `list` end with an error."""

    def fail(_):
        raise error

    monkeypatch.setitem(COMMANDS, "list", fail)


def test_every_error_has_an_exit_code():
    """The table of this suite names every error that there is."""
    assert {kind.__name__ for kind in WANTED} == set(errors.__all__)


@pytest.mark.parametrize(("kind", "code"), WANTED.items(), ids=str)
def test_exit_code_of_each_error(shell, monkeypatch, kind, code):
    """Each error of the library ends a command with its exit code and its message."""
    failing(monkeypatch, made(kind))
    shell("list", ".", code=code)
    assert shell.err == "cyborg-embedded: no\n"


def test_a_manager_that_refuses(shell, monkeypatch):
    """A key manager that refused is another exit code than one that cannot be reached."""
    failing(monkeypatch, errors.KeyManagerError("no", refused=True))
    shell("list", ".", code=4)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *((errno.ENOENT, 2), (errno.ENOTDIR, 2), (errno.EEXIST, 3), (errno.ENOSPC, 8)),
        *((errno.EDQUOT, 8), (errno.EFBIG, 8), (errno.EACCES, 9), (errno.EROFS, 9)),
        *((errno.EPERM, 9), (errno.EIO, 1)),
    ],
)
def test_exit_code_of_errors_of_the_system(shell, monkeypatch, number, code):
    """An error of the system ends a command with the exit code that fits, and names the file."""
    failing(monkeypatch, OSError(number, os.strerror(number), "some file"))
    shell("list", ".", code=code)
    assert shell.err == f"cyborg-embedded: some file: {os.strerror(number)}\n"


def test_what_nobody_has_foreseen(shell, monkeypatch):
    """Any other error is told by its kind and place; its message, which may hold a key, is not."""
    failing(monkeypatch, RuntimeError(KEY))
    shell("list", ".", code=1)
    assert "RuntimeError in test_cli_exits.py, line " in shell.err
    failing(monkeypatch, MemoryError())
    shell("list", ".", code=1)
    failing(monkeypatch, KeyboardInterrupt())
    shell("list", ".", code=130)


def test_one_printable_line(shell):
    """Whatever stands in a name, a message is one line that does nothing to a terminal."""
    shell("list", "a\nb\x1b[2J\u202e", code=3)
    assert shell.err.rstrip("\n").isprintable()
    shell("keygen", "--out", "a\nb\x1b[2J\u202e/k", code=2)
    assert shell.err.rstrip("\n").isprintable()
    shell("list", b"\xff".decode(errors="surrogateescape"), code=3)
    shell("list", "a\0b", code=2)
    shell("list", "", code=2)


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("no-such-command",),
        ("list",),
        ("list", ".", "--jso"),
        ("info", ".", "notes", "--key-fil", "notes.key"),
        ("info", ".", "notes", "--lock-timeout", "soon"),
        ("rewrap", ".", "notes"),
        ("rewrap", ".", "notes", "--to-kms", "file", "--to-supplied"),
        ("create", ".", "notes", "--metric", "manhattan"),
        ("keygen", "--out", ""),
    ],
)
def test_wrong_usage(shell, wrong):
    """Wrong usage is exit code 2 and one line; abbreviations of options are wrong, too."""
    assert cli.main(wrong) == 2
    out, err = shell.capsys.readouterr()
    assert out == ""
    assert err.startswith("cyborg-embedded: ")
    assert err.count("\n") == 1


def test_help_lists_the_exit_codes(shell):
    """The help, the table and the docstring say the same of every exit code."""
    text = shell("--help")
    for code, meaning in exits.EXIT_CODES.items():
        assert f"{code:>5}  {meaning}\n" in text.replace("\n", "\n  ") + "\n"
        assert f"{code}  {meaning}\n" in cli.__doc__
    codes = {*WANTED.values(), 0, 4, exits.INTERRUPTED}
    assert codes == set(exits.EXIT_CODES)
    for command in COMMANDS:
        assert shell(command, "--help").startswith("usage: cyborg-embedded " + command)


def test_version(shell):
    """`--version` is that of the package."""
    assert shell("--version") == f"cyborg-embedded {cyborg_embedded.__version__}\n"


def test_a_wrong_key(supplied):
    """4: the key is not that of the index."""
    supplied.on("info", "--key-file", "other.key", code=4)


def test_key_managers_that_refuse_or_are_away(managed, monkeypatch):
    """4: the secret of the key manager is another one; 5: it is not there."""
    managed.on("remove-manager", "file", *KMS)
    monkeypatch.setenv("WRAPPING_KEY", HEX)
    managed.on("info", *KMS, code=4)
    monkeypatch.delenv("WRAPPING_KEY")
    managed.on("info", *KMS, code=5)


def test_damaged(supplied):
    """6: a page is not what was written, or the file is no index."""
    path = supplied.indexes / "notes.cyb"
    pages = read_pages(path)
    record = max(pages)
    damaged = bytes([pages[record][0] ^ 1]) + pages[record][1:]
    write_pages(path, dict.fromkeys(pages, None) | {b"\0": pages[b"\0"], record: damaged})
    supplied.on("info", *FILE, code=6)
    path.write_bytes(b"no index" * 1000)
    for more in ((), FILE):
        supplied.on("info", *more, code=6)
    path.write_bytes(b"")
    supplied.on("compact", *FILE, code=6)
    supplied.on("delete", "--yes", *FILE, code=6)
    assert supplied("list", supplied.indexes) == "notes\n"


def test_locked(supplied):
    """7: somebody else holds the lock of the folder for longer than `--lock-timeout`."""
    with Folder(supplied.indexes).changing(timeout=1.0):
        arguments = (supplied.indexes, "new", *FILE, "--lock-timeout", "0.05")
        supplied("create", *arguments, code=7)
    supplied("create", *arguments)


HOLD = """
import sys
from support import KEY
from cyborg_embedded import Client
with Client(sys.argv[1]).load_index("notes", index_key=KEY) as index:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_locked_by_a_process_that_has_it_open(supplied):
    """7: an index that another process has open is neither compacted, rekeyed nor deleted."""
    with python("-c", HOLD, supplied.indexes, stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == "open\n"
        short = ("--lock-timeout", "0.05")
        supplied.on("compact", *FILE, *short, code=7)
        supplied.on("rekey", *FILE, "--new-key-file", "other.key", *short, code=7)
        supplied.on("delete", "--yes", *FILE, *short, code=7)
        other.stdin.close()
    supplied.on("compact", *FILE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_not_allowed(supplied):
    """9: a folder that this user may not write to."""
    supplied.indexes.chmod(0o500)
    try:
        supplied("create", supplied.indexes, "new", *FILE, code=9)
        supplied("keygen", "--out", supplied.indexes / "k", code=9)
    finally:
        supplied.indexes.chmod(0o700)


def test_a_path_that_is_none(supplied):
    """2: the folder is a file, or the folder of a new file does not exist."""
    supplied("list", "notes.key", code=2)
    supplied("create", "notes.key", "new", *FILE, code=2)
    supplied("keygen", "--out", "nowhere/k", code=2)


def test_output_in_a_narrow_encoding(shell, monkeypatch):
    """A name that the encoding of the terminal does not have is shown by escapes."""
    Client(shell.indexes).create_index("größe", index_key=KEY).close()
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", narrow)
    assert cli.main(["list", str(shell.indexes)]) == 0
    assert narrow.buffer.getvalue() == b"gr\\xf6\\xdfe\n"
