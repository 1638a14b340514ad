"""The key in the home folder: for its owner alone, never overwritten, refused if others may read."""

import os
import stat

import pytest

from cyborg_embedded.errors import InvalidInputError, KeyRequiredError
from cyborg_embedded.savedkey import load_saved_key, save_key

KEY = bytes(range(32))
OTHER = bytes(range(32, 64))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def keep(home, data, permissions=0o600):
    """A key file that somebody else has written."""
    path = home / ".cyborgdb" / "index_key"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(data)
    path.chmod(permissions)
    return path


def test_round_trip(home):
    """A saved key is loaded again, and stands in its file as hex digits."""
    save_key(KEY)
    assert load_saved_key() == KEY
    assert (home / ".cyborgdb" / "index_key").read_text() == KEY.hex() + "\n"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes(home, umask):
    """File and folder are for their owner alone, whatever the umask allows."""
    before = os.umask(umask)
    try:
        save_key(KEY)
    finally:
        os.umask(before)
    assert mode(home / ".cyborgdb" / "index_key") == 0o600
    assert mode(home / ".cyborgdb") == 0o700


def test_never_overwritten(home):
    """Saving a second key, or the same one, is InvalidInputError, and the first stays."""
    save_key(KEY)
    for key in (OTHER, KEY):
        with pytest.raises(InvalidInputError):
            save_key(key)
    assert load_saved_key() == KEY
    assert os.listdir(home / ".cyborgdb") == ["index_key"]


@pytest.mark.parametrize("dangling", [True, False])
def test_symbolic_links_are_not_written_through(home, tmp_path, dangling):
    """A symbolic link in the place of the key counts as a key that is kept, and is left alone."""
    target = tmp_path / "target"
    if not dangling:
        target.write_text("precious")
    (home / ".cyborgdb").mkdir()
    (home / ".cyborgdb" / "index_key").symlink_to(target)
    with pytest.raises(InvalidInputError):
        save_key(KEY)
    assert target.exists() is not dangling
    assert dangling or target.read_text() == "precious"


def test_nothing_saved(home):
    """Loading where no key was saved is KeyRequiredError, and makes nothing."""
    with pytest.raises(KeyRequiredError):
        load_saved_key()
    (home / ".cyborgdb").mkdir()
    with pytest.raises(KeyRequiredError):
        load_saved_key()
    assert os.listdir(home / ".cyborgdb") == []


@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o644, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_others_may_use_it(home, permissions):
    """A key file on which anybody else has any right is refused, without a word of the key."""
    keep(home, KEY.hex().encode(), permissions)
    with pytest.raises(InvalidInputError) as caught:
        load_saved_key()
    assert KEY.hex()[:8] not in str(caught.value)


@pytest.mark.parametrize("permissions", [0o600, 0o400, 0o700])
def test_owner_alone(home, permissions):
    """A key file that only its owner may use is read, with or without a newline behind the key."""
    path = keep(home, KEY.hex().encode(), permissions)
    assert load_saved_key() == KEY
    path.chmod(0o600)
    path.write_bytes(b" " + KEY.hex().upper().encode() + b"\r\n")
    path.chmod(permissions)
    assert load_saved_key() == KEY


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        KEY.hex()[:-1].encode(),
        KEY.hex().encode() + b"00",
        b"g" * 64,
        b"\xff" * 64,
        bytes(1000),
        KEY.hex().encode() * 4,
    ],
)
def test_files_that_hold_no_key(home, data):
    """A file that holds anything but a key is refused, and its content is in no message."""
    keep(home, data)
    with pytest.raises((InvalidInputError, KeyRequiredError)) as caught:
        load_saved_key()
    assert KEY.hex()[:8] not in str(caught.value)
