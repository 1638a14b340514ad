"""Key files: what is in them, who may have one, and how one is made."""

import contextlib
import os
import socket
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaks import CONTEXT, INDEX_KEY, OTHER, SECRET, assert_keeps_to_itself, assert_untold, told

from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms import Envelope, KeyFile, key_file, secret
from cyborg_embedded.kms.secret import parse_secret
from cyborg_embedded.kms.wrapping import open_key


@pytest.fixture
def path(tmp_path):
    return tmp_path / "wrapping.key"


def put(path, contents, mode=0o600):
    path.write_bytes(contents)
    path.chmod(mode)
    return KeyFile(path)


def fails(manager, *, refused, match=None, envelope=None):
    """Both ways through a manager fail alike, with its path and nothing of its contents."""
    envelope = envelope or Envelope("key-file", bytes(72))
    for use in (
        lambda: manager.wrap(INDEX_KEY, CONTEXT),
        lambda: manager.unwrap(envelope, CONTEXT),
    ):
        with pytest.raises(KeyManagerError, match=match) as caught:
            use()
        assert caught.value.refused is refused
        assert str(manager._path) in str(caught.value)
        assert_untold(told(caught.value), SECRET, INDEX_KEY)


FORMS = {
    "raw": SECRET,
    "hex": SECRET.hex().encode(),
    "upper": SECRET.hex().upper().encode(),
    "line": SECRET.hex().encode() + b"\n",
    "spaces": b"\t " + SECRET.hex().encode() + b" \r\n\n",
}


@pytest.mark.parametrize("contents", FORMS.values(), ids=FORMS)
def test_forms(path, contents):
    """32 bytes, and 64 hex characters with whitespace around them, are the wrapping key."""
    manager = put(path, contents)
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    assert (envelope.provider, envelope.parameters) == ("key-file", {})
    assert open_key(SECRET, envelope.ciphertext, "key-file", CONTEXT) == INDEX_KEY
    key = KeyFile(str(path)).unwrap(envelope, CONTEXT)
    assert type(key) is bytearray
    assert key == INDEX_KEY


MALFORMED = {
    "nothing": b"",
    "31 bytes": SECRET[:31],
    "33 bytes": SECRET + b"\n",
    "62 digits": SECRET.hex()[:62].encode(),
    "65 digits": SECRET.hex().encode() + b"0",
    "space inside": SECRET.hex()[:32].encode() + b" " + SECRET.hex()[33:].encode(),
    "no digit": SECRET.hex()[:63].encode() + b"g",
    "64 bytes": SECRET * 2,
    "0x": b"0x" + SECRET.hex()[2:].encode(),
}


@pytest.mark.parametrize("contents", MALFORMED.values(), ids=MALFORMED)
def test_malformed_contents(path, contents):
    """Anything else is refused, and the message says what it must be."""
    fails(put(path, contents), refused=True, match="must hold 32 bytes, or 64 hex characters")


@pytest.mark.parametrize("size", [257, 4096, 1 << 20])
def test_large_files(path, size):
    """A file of more than 256 bytes is refused, even if all beyond the key is whitespace."""
    fails(put(path, SECRET.hex().encode().ljust(size)), refused=True, match="larger than 256 bytes")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o620, 0o610, 0o601, 0o777])
def test_modes_of_files_that_others_may_use(path, mode):
    """A file that group or others may read, write or execute is refused; the message says why."""
    fails(put(path, SECRET, mode), refused=True, match="set its mode to 0600")


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_modes_of_private_files(path, mode):
    """A file that is its owner's alone is accepted."""
    assert put(path, SECRET, mode).wrap(INDEX_KEY, CONTEXT)


def test_files_of_other_users(path, monkeypatch):
    """A file that belongs to somebody else is refused, whatever its mode."""
    manager = put(path, SECRET)
    monkeypatch.setattr(secret.os, "geteuid", lambda: path.stat().st_uid + 1)
    fails(manager, refused=True, match="belongs to another user")


def test_what_is_no_file(tmp_path, path):
    """A folder, a pipe with nobody at its other end, a device: refused, and nothing hangs."""
    os.mkfifo(path, 0o600)
    for special in (tmp_path, path, "/dev/zero", "/dev/tty"):
        if special != "/dev/tty" or can_open(special):
            fails(KeyFile(special), refused=True, match="is not a regular file")


def can_open(path):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def test_symbolic_links(tmp_path, path):
    """A link to a private file is followed; one to a file that others may read is refused."""
    link = tmp_path / "link"
    link.symlink_to(path)
    manager = KeyFile(link)
    fails(manager, refused=False, match="cannot be read")
    put(path, SECRET)
    assert manager.wrap(INDEX_KEY, CONTEXT)
    path.chmod(0o644)
    fails(manager, refused=True, match="set its mode")


def test_missing_files(path, monkeypatch):
    """A file that is not there, or cannot be opened, is no refusal: it may come back."""
    fails(KeyFile(path), refused=False, match="No such file")
    monkeypatch.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
        fails(KeyFile(path), refused=False, match="cannot be read")


def test_the_file_is_read_at_each_use(path):
    """Another secret in the file refuses what the former one wrapped; the former one opens it."""
    manager = put(path, SECRET)
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    put(path, SECRET[::-1])
    with pytest.raises(KeyManagerError) as caught:
        manager.unwrap(envelope, CONTEXT)
    assert caught.value.refused
    assert_untold(told(caught.value), SECRET, SECRET[::-1], INDEX_KEY)
    put(path, SECRET)
    assert manager.unwrap(envelope, CONTEXT) == INDEX_KEY


def test_what_is_refused_of_envelopes(path):
    """Of another index, of another provider, with parameters, or altered: refused."""
    manager = put(path, SECRET)
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    altered = bytes([envelope.ciphertext[0] ^ 1]) + envelope.ciphertext[1:]
    for bad, context in (
        (envelope, OTHER),
        (Envelope("keychain", envelope.ciphertext), CONTEXT),
        (Envelope("key-file", envelope.ciphertext, {"salt": b"x"}), CONTEXT),
        (Envelope("key-file", envelope.ciphertext[:-1]), CONTEXT),
        (Envelope("key-file", altered), CONTEXT),
    ):
        with pytest.raises(KeyManagerError) as caught:
            manager.unwrap(bad, context)
        assert caught.value.refused
        assert_untold(told(caught.value), SECRET, INDEX_KEY)


def test_another_providers_envelope_is_not_even_tried(tmp_path):
    """The provider is looked at before the file is."""
    with pytest.raises(KeyManagerError, match="'key-file'") as caught:
        KeyFile(tmp_path / "missing").unwrap(Envelope("keychain", bytes(72)), CONTEXT)
    assert caught.value.refused


def test_relative_paths(path, monkeypatch, tmp_path):
    """A relative path is one from the folder that is current when the manager is made."""
    put(path, SECRET)
    monkeypatch.chdir(path.parent)
    manager = KeyFile(path.name)
    monkeypatch.chdir("/")
    assert manager.wrap(INDEX_KEY, CONTEXT)
    assert str(path) in repr(manager)


@pytest.mark.parametrize("bad", ["", b"", None, 5, "a\0b", ["x"]], ids=repr)
def test_what_is_no_path(bad):
    """What cannot be a path is InvalidInputError, for create too."""
    for make in (KeyFile, KeyFile.create):
        with pytest.raises(InvalidInputError, match="path"):
            make(bad)


def test_create(path, monkeypatch):
    """A new file has a random secret, for its owner alone; it and its folder reach the disk."""
    synced = []
    monkeypatch.setattr(
        key_file.os, "fsync", lambda fd: synced.append(stat.S_IFMT(os.fstat(fd).st_mode))
    )
    before = os.umask(0)
    try:
        manager = KeyFile.create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert synced == [stat.S_IFREG, stat.S_IFDIR]
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    assert KeyFile(path).unwrap(envelope, CONTEXT) == INDEX_KEY
    others = [path.with_name(f"key {number}") for number in range(9)]
    for other in others:
        KeyFile.create(other)
    made = {other.read_bytes() for other in others}
    assert len(made) == 9
    assert {len(each.strip()) for each in made} == {64}


@pytest.mark.parametrize("what", ["file", "empty", "folder", "link"])
def test_create_never_overwrites(path, what):
    """Whatever is at the path, a link that leads nowhere too, stays as it is."""
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to(path.with_name("elsewhere"))
    else:
        put(path, SECRET if what == "file" else b"")
    before = (os.lstat(path), path.read_bytes() if path.is_file() else None)
    with pytest.raises(InvalidInputError, match="never overwritten"):
        KeyFile.create(path)
    after = os.lstat(path)
    assert (after.st_ino, after.st_mtime_ns) == (before[0].st_ino, before[0].st_mtime_ns)
    assert before[1] == (path.read_bytes() if path.is_file() else None)
    assert not path.with_name("elsewhere").exists()


def test_create_fails_without_a_trace(path, monkeypatch):
    """No folder, or a disk that is full: KeyManagerError, and no half of a file is left."""
    with pytest.raises(KeyManagerError, match="No such file") as caught:
        KeyFile.create(path.parent / "no" / "folder")
    assert not caught.value.refused

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(key_file.os, "fsync", full)
    with pytest.raises(KeyManagerError, match="No space left"):
        KeyFile.create(path)
    assert not path.exists()


def test_wrapping_key_is_wiped(path, monkeypatch):
    """After each use nothing is left of the wrapping key in the memory that held it."""
    parsed = []

    def noted(data):
        parsed.append(parse_secret(data))
        assert parsed[-1] == SECRET
        return parsed[-1]

    monkeypatch.setattr(key_file, "parse_secret", noted)
    manager = put(path, SECRET)
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    manager.unwrap(envelope, CONTEXT)
    with pytest.raises(KeyManagerError):
        manager.unwrap(envelope, OTHER)
    assert parsed == [bytearray(32)] * 3


def test_no_descriptor_is_left_open(path):
    """Neither success nor any refusal keeps a descriptor."""
    before = len(os.listdir("/dev/fd"))
    for contents, mode in ((SECRET, 0o600), (SECRET, 0o644), (b"", 0o600)):
        manager = put(path, contents, mode)
        for _ in range(5):
            with contextlib.suppress(KeyManagerError):
                manager.wrap(INDEX_KEY, CONTEXT)
    KeyFile.create(path.with_name("new"))
    assert len(os.listdir("/dev/fd")) == before


def test_it_keeps_its_secret_to_itself(path):
    """The secret is in no repr and no description, and the manager is not pickled."""
    assert_keeps_to_itself(put(path, SECRET), SECRET)


def model(data):
    """What a secret is, said once more and differently."""
    if isinstance(data, bytes) and len(data) == 32:
        return data
    text = data if isinstance(data, str) else data.decode("latin-1")
    while text[:1] in {" ", "\t", "\r", "\n"}:
        text = text[1:]
    while text[-1:] in {" ", "\t", "\r", "\n"}:
        text = text[:-1]
    digits = [("0123456789abcdef".find(each.lower()) if each.isascii() else -1) for each in text]
    if len(digits) != 64 or -1 in digits:
        return None
    return bytes(high << 4 | low for high, low in zip(digits[::2], digits[1::2], strict=True))


NEARLY = st.builds(
    lambda before, digits, after: before + digits + after,
    st.text(" \t\r\n\x0b\x85\xa0x0", max_size=2),
    st.text("0123456789abcdefABCDEF", min_size=63, max_size=65),
    st.text(" \t\r\n\x0b\x85\xa0x0", max_size=2),
)


@settings(deadline=None, database=None)
@given(
    st.one_of(
        st.binary(min_size=30, max_size=66),
        st.text(min_size=30, max_size=66),
        NEARLY,
        NEARLY.map(lambda text: text.encode("latin-1")),
        st.text("0123456789０１２３４５６７８９", min_size=64, max_size=64),  # noqa: RUF001
    )
)
def test_parse_secret(data):
    """A secret is what the model says, of any input; and it never raises."""
    assert parse_secret(data) == model(data)
    if isinstance(data, bytes):
        assert parse_secret(bytearray(data)) == model(data)
