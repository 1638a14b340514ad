"""`rewrap`: the key of an index is in somebody's hands at every moment, whatever happens."""

import errno
import json
import os
import resource
import shutil
import stat

import pytest
from cli_harness import HEX, OTHER, SCRIPT, run
from support import KEY, TESTS, run_python

from cyborg_embedded import Client, KeyManagerError, LockedError, StorageFullError
from cyborg_embedded.cli import rewrap

KMS = ("--kms", "kms.toml")
FILE = ("--key-file", "notes.key")
BACK = (*KMS, "--to-supplied", "--out")


def test_there_and_back(supplied):
    """To a key manager, to another one, and back into a new file of mode 0600."""
    supplied.on("rewrap", *FILE, *KMS, "--to-kms", "file")
    assert supplied.holders() == ["file"]
    supplied.on("rewrap", *KMS, "--to-kms", "known")
    assert supplied.holders() == ["known"]
    supplied.on("rewrap", *BACK, "back.key")
    assert supplied.holders() == []
    assert (supplied.folder / "back.key").read_text() == HEX + "\n"
    assert stat.S_IMODE((supplied.folder / "back.key").stat().st_mode) == 0o600
    assert supplied.opens(KEY)


def test_to_standard_output(managed):
    """With `--out -` the key is all that standard output has."""
    assert managed.on("rewrap", *BACK, "-", key=KEY) == HEX + "\n"
    assert managed.holders() == []


def test_from_the_manager_that_is_named(managed, monkeypatch):
    """`--kms-name` is the manager that is asked, and no other one."""
    monkeypatch.delenv("WRAPPING_KEY")
    managed.on("rewrap", *BACK, "back.key", "--kms-name", "variable", code=5)
    managed.on("rewrap", *BACK, "back.key", "--kms-name", "file")
    assert managed.opens(KEY)


def test_a_manager_is_asked_once(managed, monkeypatch):
    """On the way back a manager is asked once, though the index is opened twice."""
    from cyborg_embedded.kms import KeyFile

    asked = []
    unwrap = KeyFile.unwrap

    def noted(self, envelope, context):
        asked.append(self)
        return unwrap(self, envelope, context)

    monkeypatch.setattr(KeyFile, "unwrap", noted)
    managed.on("rewrap", *BACK, "back.key")
    assert len(asked) == 1


def test_past_a_manager_that_gives_nothing(managed):
    """The key that is written down is that of the manager that has it, not of the first one."""
    (managed.folder / "wrapping.key").write_text(OTHER.hex())
    managed.on("rewrap", *BACK, "back.key")
    assert (managed.folder / "back.key").read_text() == HEX + "\n"


def test_past_a_manager_that_gives_another_key(managed, monkeypatch):
    """Nor is it a wrong key that the first manager gave."""
    from cyborg_embedded.kms import KeyFile

    monkeypatch.setattr(KeyFile, "unwrap", lambda *_: bytearray(OTHER))
    managed.on("rewrap", *BACK, "back.key")
    assert (managed.folder / "back.key").read_text() == HEX + "\n"
    assert managed.opens(KEY)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((*KMS, "--to-supplied"), 2),
        ((*BACK, "notes.key"), 3),
        ((*BACK, "nowhere/back.key"), 2),
        ((*BACK, "home"), 3),
        ((*BACK, "back.key", "--key-file", "notes.key"), 2),
        (("--to-supplied", "--out", "back.key"), 4),
        ((*KMS, "--to-kms", "nobody"), 2),
        ((*KMS, "--to-kms", "file", "--out", "back.key"), 2),
        (("--to-kms", "file"), 2),
        ((*FILE, *KMS, "--to-kms", "file"), 2),
        ((*BACK, "back.key", "--kms-name", "known"), 2),
    ],
)
def test_refused(managed, arguments, code):
    """What cannot be done changes nothing, and leaves no file behind."""
    before = sorted(os.listdir(managed.folder))
    managed.on("rewrap", *arguments, code=code)
    assert managed.holders() == ["file", "variable"]
    assert sorted(os.listdir(managed.folder)) == before
    assert (managed.folder / "notes.key").read_text() == HEX + "\n"


def test_of_a_supplied_index(supplied):
    """There is nothing to hand out where the caller has the key."""
    supplied.on("rewrap", *BACK, "back.key", code=2)
    supplied.on("rewrap", *KMS, "--to-kms", "file", code=4)
    supplied.on("rewrap", "--key-file", "other.key", *KMS, "--to-kms", "file", code=4)
    assert not (supplied.folder / "back.key").exists()
    assert supplied.opens(KEY)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LockedError("busy"), 7),
        (StorageFullError("full"), 8),
        (KeyManagerError("gone"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_change_that_fails(managed, monkeypatch, error, code):
    """Where the managers have the key still, the file goes again."""

    def fail(*_, **__):
        assert (managed.folder / "back.key").read_text() == HEX + "\n"
        raise error

    monkeypatch.setattr(Client, "rewrap_index", fail)
    managed.on("rewrap", *BACK, "back.key", code=code)
    assert managed.holders() == ["file", "variable"]
    assert not (managed.folder / "back.key").exists()


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), LockedError("busy"), OSError(errno.EIO, "")]
)
def test_a_failure_after_the_change(managed, monkeypatch, error):
    """Where they do not have it any more, the file stays."""
    change = Client.rewrap_index

    def fail(*arguments, **options):
        change(*arguments, **options)
        raise error

    monkeypatch.setattr(Client, "rewrap_index", fail)
    managed.on("rewrap", *BACK, "back.key", code=rewrap_code(error))
    assert managed.holders() == []
    assert (managed.folder / "back.key").read_text() == HEX + "\n"


def rewrap_code(error):
    return {KeyboardInterrupt: 130, LockedError: 7}.get(type(error), 1)


def test_what_nobody_has_foreseen_keeps_the_file(managed, monkeypatch):
    """After an error that says nothing about the change, the file stays in any case."""

    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Client, "rewrap_index", fail)
    managed.on("rewrap", *BACK, "back.key", code=1)
    assert (managed.folder / "back.key").read_text() == HEX + "\n"


def test_the_key_is_on_the_disk_first(managed, monkeypatch):
    """File and folder are synced before the header is changed."""
    told = []
    sync, change = os.fsync, rewrap.let_go

    def noted(fd):
        told.append(stat.S_IFMT(os.fstat(fd).st_mode))
        sync(fd)

    def checked(*arguments):
        assert told[-2:] == [stat.S_IFREG, stat.S_IFDIR]
        told.append("change")
        change(*arguments)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(rewrap, "let_go", checked)
    managed.on("rewrap", *BACK, "back.key")
    assert "change" in told


@pytest.mark.parametrize("command", ["rewrap", "keygen"])
def test_no_room_for_the_key(managed, command):
    """8: a key that cannot be written leaves everything as it was."""

    def little():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))

    place = {"rewrap": ("indexes", "notes", *KMS, "--to-supplied"), "keygen": ()}[command]
    code, out, err = run(SCRIPT, command, *place, "--out", "back.key", preexec_fn=little)
    assert (code, out) == (8, "")
    assert err == "cyborg-embedded: back.key: File too large\n"
    assert managed.holders() == ["file", "variable"]
    assert not (managed.folder / "back.key").exists()


def test_nobody_reads_the_key(managed):
    """A key that cannot be written to standard output leaves everything as it was."""
    with open("/dev/full", "w") as full:
        code, _, err = run(SCRIPT, "rewrap", managed.indexes, "notes", *BACK, "-", stdout=full)
    assert code == 8
    assert err == "cyborg-embedded: standard output: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    code, _, err = run(SCRIPT, "rewrap", managed.indexes, "notes", *BACK, "-", stdout=writer)
    os.close(writer)
    assert code == 1
    assert err == "cyborg-embedded: standard output: Broken pipe\n"
    assert managed.holders() == ["file", "variable"]


# A step is a line of these modules, as the interpreter comes to it: every other one is tried by each
# of the two ways.
STEPS = """
import json, os, shutil, signal, sys
from cyborg_embedded.cli import main

way, whole, step = sys.argv[1], "whole", 0
MODULES = ("rewrap.py", "destination.py", "keychanges.py")
COMMAND = ["rewrap", "indexes", "notes", "--kms", "kms.toml", "--to-supplied", "--out", "back.key"]


def traced(frame, event, argument):
    if os.path.basename(frame.f_code.co_filename) not in MODULES:
        return None
    return at_line

def at_line(frame, event, argument):
    global step
    if event == "line":
        step -= 1
        if step == 0:
            if way == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
    return at_line

ended = 0
while True:
    ended += 1
    os.mkdir(str(ended))
    os.chdir(str(ended))
    shutil.copytree(f"../{whole}", "indexes")
    for name in ("kms.toml", "wrapping.key"):
        shutil.copy(f"../{name}", name)
    child = os.fork()
    if child == 0:
        step = 2 * ended - (way == "kill")
        sys.settrace(traced)
        code = 99
        try:
            code = main(COMMAND)
        except KeyboardInterrupt:
            code = 130  # it came when all was over
        finally:
            sys.settrace(None)
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.chdir("..")
    print(status, flush=True)
    if status == 0:
        break
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["kill", "interrupt"])
def test_stopped_at_any_line(managed, way):
    """Killed or interrupted at any line, it leaves the key with the managers, or in the file."""
    shutil.copytree(managed.indexes, managed.folder / "whole")
    code, out, err = run_python(STEPS, way, cwd=managed.folder, env={"HOME": str(TESTS)})
    assert code == 0, err
    codes = [int(line) for line in out.split()]
    assert len(codes) > 50
    assert set(codes) == {0, -9 if way == "kill" else 130}
    seen = set()
    for number in range(1, len(codes) + 1):
        managed.indexes = managed.folder / str(number) / "indexes"
        written = managed.folder / str(number) / "back.key"
        held = bool(managed.holders())
        complete = written.exists() and written.read_text() == HEX + "\n"
        seen.add((held, complete))
        if held:
            assert managed.opens(slot="file")
        else:
            assert complete, f"step {number}"
            assert managed.opens(KEY)
        if written.exists():
            assert stat.S_IMODE(written.stat().st_mode) == 0o600
    wanted = {(True, False), (False, True)}
    assert seen - {(True, True)} == wanted


def test_told_as_json_afterwards(managed):
    """Who holds the key is what `info` says."""
    assert list(json.loads(managed.on("info", "--json"))["key_managers"]) == ["file", "variable"]
    managed.on("rewrap", *BACK, "back.key")
    assert json.loads(managed.on("info", "--json"))["key_managers"] == {}
