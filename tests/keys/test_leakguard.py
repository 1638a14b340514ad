"""The guard around all suites notices keys in errors and log records."""

import base64
import logging
import shutil

import pytest
from leakguard import LeakGuard
from support import KEY, TESTS, run_python

from cyborg_embedded import Client, InvalidInputError, KeyManagerError, keys

SECRET = bytes(range(7, 250, 7))[:32]
SPELLINGS = {
    "raw": SECRET.decode("latin-1"),
    "repr": repr(SECRET),
    "repr of a bytearray": repr(bytearray(SECRET)),
    "repr beside what is no escape": f"\\q {SECRET!r} \\",
    "hex": SECRET.hex(),
    "upper hex": SECRET.hex().upper(),
    "hex behind a digit": "0" + SECRET.hex(),
    "base64": base64.b64encode(SECRET).decode(),
    "base64 without padding": base64.b64encode(SECRET).decode().rstrip("="),
    "url-safe base64": base64.urlsafe_b64encode(SECRET).decode(),
    "base64 of more": base64.b64encode(b"x" + SECRET + b"yz").decode(),
    "base64 behind a word": "word" + base64.b64encode(b"xx" + SECRET).decode(),
    "base64 behind three letters": "abc" + base64.b64encode(SECRET).decode(),
}


@pytest.fixture
def guard():
    guard = LeakGuard()
    guard.saw(SECRET)
    return guard


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings(guard, text):
    """A key is found in a text, however it is spelled and whatever is around it."""
    for shown in (text, f"before {text} after"):
        assert guard.shows_key(shown)
        guard.texts.add(shown)
        with pytest.raises(AssertionError):
            guard.check()
    guard.check()


def test_what_is_no_leak(guard):
    """Other texts are none, nor are keys that are constants of tests."""
    guard.saw(bytes(32))
    guard.saw(b"k" * 32)
    other = bytes(reversed(SECRET))
    for text in ("", "a" * 500, other.hex(), repr(other), repr(bytes(32)), "0" * 64, "k" * 32):
        assert not guard.shows_key(text)


def test_log_records(guard):
    """What is logged is looked at, with its arguments and the error in it."""
    record = logging.LogRecord("any", logging.DEBUG, "", 0, "the %s", (SECRET.hex(),), None)
    guard.handle(record)
    with pytest.raises(AssertionError):
        guard.check()
    error = KeyError(SECRET)
    record = logging.LogRecord("any", logging.DEBUG, "", 0, "the", (), (KeyError, error, None))
    guard.handle(record)
    with pytest.raises(AssertionError):
        guard.check()


PLANTED = """
import logging
import pytest
from support import KEY
from cyborg_embedded import Client, FormatError, InvalidInputError, KeyManagerError
from cyborg_embedded.store import PageStore

def test_error_with_the_index_key(index):
    with pytest.raises(InvalidInputError):
        raise InvalidInputError(f"what is {KEY.hex()}?", item=3)

def test_error_of_the_system_with_the_index_key(index):
    with pytest.raises(OSError):
        raise FormatError("what is", KEY)

def test_log_record_with_a_derived_key(index):
    keys = index._session.store.cipher.keys
    logging.getLogger("cyborg_embedded.any").debug("keys: %r", keys.ids)

def test_thread_with_a_key(index):
    import threading
    keys = index._session.store.cipher.keys
    made = lambda: KeyManagerError(keys.pages.hex(), refused=True, slot="a")
    thread = threading.Thread(target=made)
    thread.start()
    thread.join()

@pytest.fixture
def late(index):
    yield
    logging.getLogger("other").warning("%s", KEY)

def test_fixture_with_a_key(late):
    pass

def test_sound(index):
    with pytest.raises(InvalidInputError):
        index.upsert([3], [[1]])
    logging.getLogger("cyborg_embedded").debug("sound")
"""
RUN = "import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-rA', '.']))"


def test_planted_leaks(tmp_path):
    """A test in whose run a key shows fails, whoever shows it; the tests around it do not."""
    shutil.copyfile(TESTS / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_planted.py").write_text(PLANTED)
    code, out, _ = run_python(RUN, cwd=tmp_path)
    lines = out.splitlines()
    assert code == 1, out
    failed = {line.split("::")[1].split()[0] for line in lines if line.startswith("FAILED")}
    assert failed == {
        "test_error_with_the_index_key",
        "test_error_of_the_system_with_the_index_key",
        "test_log_record_with_a_derived_key",
        "test_thread_with_a_key",
    }
    assert [line.split("::")[1].split()[0] for line in lines if line.startswith("ERROR ")] == [
        "test_fixture_with_a_key"
    ]
    assert [line for line in lines if line.startswith("PASSED") and "test_sound" in line]


def test_keys_that_are_seen(tmp_path):
    """Index keys, generated keys and derived keys of this process are known to its guard."""
    guard = next(each for each in logging.getLogger().handlers if isinstance(each, LeakGuard))
    made = Client.generate_key()
    with Client(tmp_path) as client, client.create_index("notes", index_key=made) as index:
        derived = index._session.store.cipher.keys
        assert {made, bytes(derived.pages), bytes(derived.ids)} <= guard.keys
    keys.parse_index_key(KEY)
    assert KEY in guard.keys


def test_errors_are_as_they_were():
    """The guard changes nothing about errors."""
    error = KeyManagerError("no", refused=True, slot="a")
    assert (str(error), error.args) == ("key manager 'a': no", ("key manager 'a': no",))
    assert str(InvalidInputError("bad", item=2)) == "item 2: bad"
