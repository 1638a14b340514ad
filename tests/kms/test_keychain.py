"""Keychains, through the library that is used in earnest, `keyring`.

The keychain of an operating system wants somebody to log in. These tests run against backends of
`keyring` that do not: the one of keyrings.alt that keeps secrets in a plain file, here in a folder
of the test's own; keyring's own that always fails and that keeps nothing; and the first of them
made to fail in the ways in which a keychain does.
"""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import keyring
import keyring.backends.fail
import keyring.backends.null
import pytest
from keyring import errors
from keyrings.alt.file import PlaintextKeyring
from leaks import CONTEXT, INDEX_KEY, OTHER, SECRET, assert_keeps_to_itself, assert_untold, told

from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms import Envelope, Keychain, keychain
from cyborg_embedded.kms.secret import parse_secret
from cyborg_embedded.kms.wrapping import open_key

NAMES = ("cyborg-embedded", "wrapping-key")
NOTHING = Envelope("keychain", bytes(72))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder, with a keychain that is a file in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    use(monkeypatch, PlaintextKeyring())
    return tmp_path


def use(monkeypatch, backend):
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)


def fails(work, *, refused, match):
    with pytest.raises(KeyManagerError, match=match) as caught:
        work()
    assert caught.value.refused is refused
    assert_untold(told(caught.value), SECRET, INDEX_KEY, "what the backend says")


def test_first_wrap_makes_the_secret():
    """The first wrap leaves 64 hex characters in the keychain, which are the wrapping key."""
    assert keyring.get_password(*NAMES) is None
    envelope = Keychain().wrap(INDEX_KEY, CONTEXT)
    text = keyring.get_password(*NAMES)
    secret = bytes.fromhex(text)
    assert len(secret) == 32
    assert (envelope.provider, envelope.parameters) == ("keychain", {})
    assert open_key(secret, envelope.ciphertext, "keychain", CONTEXT) == INDEX_KEY
    Keychain().wrap(INDEX_KEY, OTHER)
    assert keyring.get_password(*NAMES) == text


def test_round_trip():
    """Another object of the same names unwraps, for the same index alone."""
    envelope = Keychain().wrap(INDEX_KEY, CONTEXT)
    key = Keychain().unwrap(envelope, CONTEXT)
    assert type(key) is bytearray
    assert key == INDEX_KEY
    fails(lambda: Keychain().unwrap(envelope, OTHER), refused=True, match="does not open")


def test_a_secret_that_is_there_is_used(home):
    """What the keychain has is the wrapping key; no lock file is needed then."""
    keyring.set_password(*NAMES, SECRET.hex())
    envelope = Keychain().wrap(INDEX_KEY, CONTEXT)
    assert open_key(SECRET, envelope.ciphertext, "keychain", CONTEXT) == INDEX_KEY
    assert not (home / ".cyborgdb").exists()


def test_unwrap_never_makes_a_secret():
    """Without a secret unwrap refuses, and there is none after it either."""
    fails(lambda: Keychain().unwrap(NOTHING, CONTEXT), refused=True, match="has no secret for")
    assert keyring.get_password(*NAMES) is None


def test_names_keep_secrets_apart():
    """Each account of each service has a secret of its own."""
    managers = [Keychain(), Keychain(account="other"), Keychain(service="other")]
    envelopes = [manager.wrap(INDEX_KEY, CONTEXT) for manager in managers]
    for manager in managers:
        for other, envelope in zip(managers, envelopes, strict=True):
            if manager is other:
                assert manager.unwrap(envelope, CONTEXT) == INDEX_KEY
            else:
                fails(
                    lambda m=manager, e=envelope: m.unwrap(e, CONTEXT),
                    refused=True,
                    match="not open",
                )


@pytest.mark.parametrize(
    "text",
    ["", "hunter2", SECRET.hex()[:63], "a" * 32, SECRET.hex() + "0", SECRET.hex()[:63] + "g"],
)
def test_what_is_no_secret(text):
    """Something else under that name is refused, stays there, and is not told."""
    keyring.set_password(*NAMES, text)
    for work in (
        lambda: Keychain().wrap(INDEX_KEY, CONTEXT),
        lambda: Keychain().unwrap(NOTHING, CONTEXT),
    ):
        fails(work, refused=True, match="'wrapping-key'.* is not 64 hex characters")
        with pytest.raises(KeyManagerError) as caught:
            work()
        if text:
            assert_untold(told(caught.value), text)
    assert keyring.get_password(*NAMES) == text


def test_what_is_refused_of_envelopes():
    """Of another provider, or with parameters: refused, before the keychain is asked."""
    fails(
        lambda: Keychain().unwrap(Envelope("key-file", bytes(72)), CONTEXT),
        refused=True,
        match="not one",
    )
    more = Envelope("keychain", bytes(72), {"salt": 1})
    fails(lambda: Keychain().unwrap(more, CONTEXT), refused=True, match="no parameters")


@pytest.mark.parametrize("backend", [keyring.backends.fail.Keyring, keyring.backends.null.Keyring])
def test_no_keychain(monkeypatch, backend):
    """Where there is no keychain, or one that keeps nothing, wrap says so; it is no refusal."""
    use(monkeypatch, backend())
    fails(
        lambda: Keychain().wrap(INDEX_KEY, CONTEXT),
        refused=False,
        match="there is no usable keychain",
    )


def test_no_keychain_to_unwrap(monkeypatch):
    """Where there is no keychain, unwrap says so; it is no refusal."""
    use(monkeypatch, keyring.backends.fail.Keyring())
    fails(
        lambda: Keychain().unwrap(NOTHING, CONTEXT),
        refused=False,
        match="there is no usable keychain",
    )


FAILURES = [
    errors.KeyringLocked,
    errors.InitError,
    errors.NoKeyringError,
    errors.PasswordSetError,
    errors.KeyringError,
    RuntimeError,
    OSError,
]


class Failing(PlaintextKeyring):
    """Fails in one of its functions, and tells what it must not tell."""

    def __init__(self, failure, function):
        super().__init__()
        self.failure, self.function = failure, function

    def get_password(self, *arguments):
        if self.function == "get":
            raise self.failure(f"what the backend says: {SECRET.hex()}")
        return super().get_password(*arguments)

    def set_password(self, *arguments):
        if self.function == "set":
            raise self.failure(f"what the backend says: {SECRET.hex()} {arguments}")
        super().set_password(*arguments)


@pytest.mark.parametrize("function", ["get", "set"])
@pytest.mark.parametrize("failure", FAILURES)
def test_keychains_that_fail(monkeypatch, failure, function):
    """Locked, broken, or whatever else: no refusal, and nothing of what the backend says."""
    use(monkeypatch, Failing(failure, function))
    match = f"no usable keychain, or it is locked .{failure.__name__}."
    fails(lambda: Keychain().wrap(INDEX_KEY, CONTEXT), refused=False, match=match)
    if function == "get":
        fails(lambda: Keychain().unwrap(NOTHING, CONTEXT), refused=False, match=match)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass(monkeypatch, error):
    """Who interrupts a question of the keychain is not held up."""
    use(monkeypatch, Failing(error, "get"))
    with pytest.raises(error):
        Keychain().wrap(INDEX_KEY, CONTEXT)


def test_library_missing(monkeypatch):
    """Without the library a manager can be made, and its use says what to install."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    match = r"pip install 'cyborg-embedded\[keychain\]'"
    fails(lambda: Keychain().wrap(INDEX_KEY, CONTEXT), refused=False, match=match)
    fails(lambda: Keychain().unwrap(NOTHING, CONTEXT), refused=False, match=match)


def test_library_is_imported_late():
    """Making a manager does not import the library."""
    program = (
        "import sys; from cyborg_embedded.kms import *; Keychain(); print('keyring' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr


# Waits, when it first finds nothing, until the other process has found nothing either; and the
# second process takes longer between finding nothing and setting, so that it sets last.
WORKER = """
    import os, sys, time
    import keyring
    from keyrings.alt.file import PlaintextKeyring
    from cyborg_embedded.kms import KeyContext, Keychain

    home, number = os.environ["HOME"], int(sys.argv[1])

    class Slow(PlaintextKeyring):
        def get_password(self, *arguments):
            found = super().get_password(*arguments)
            open(os.path.join(home, f"asked-{number}"), "w").close()
            end = time.monotonic() + 10
            while not os.path.exists(os.path.join(home, f"asked-{1 - number}")):
                assert time.monotonic() < end
                time.sleep(0.01)
            return found

        def set_password(self, *arguments):
            time.sleep(0.2 + 0.5 * number)
            super().set_password(*arguments)

    keyring.set_keyring(Slow())
    print(Keychain().wrap(bytes(range(100, 132)), KeyContext(bytes(range(16)))).ciphertext.hex())
"""


def test_two_processes_make_one_secret():
    """Two processes that find no secret at the same time go on with the same one."""
    commands = [[sys.executable, "-c", textwrap.dedent(WORKER), str(number)] for number in (0, 1)]
    workers = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True) for each in commands]
    for worker in workers:
        output, _ = worker.communicate(timeout=60)
        assert worker.returncode == 0
        envelope = Envelope("keychain", bytes.fromhex(output))
        assert Keychain().unwrap(envelope, CONTEXT) == INDEX_KEY


def test_threads_make_one_secret():
    """Threads that wrap for the first time at the same time go on with the same secret."""
    with ThreadPoolExecutor(8) as pool:
        envelopes = list(pool.map(lambda _: Keychain().wrap(INDEX_KEY, CONTEXT), range(8)))
    for envelope in envelopes:
        assert Keychain().unwrap(envelope, CONTEXT) == INDEX_KEY


def test_no_place_for_the_lock(home):
    """Where the lock file cannot be, no secret is made, and the error says where it was to be."""
    (home / ".cyborgdb").write_text("a file, not a folder")
    fails(
        lambda: Keychain().wrap(INDEX_KEY, CONTEXT),
        refused=False,
        match="lock file in '.*cyborgdb'",
    )
    assert keyring.get_password(*NAMES) is None


def test_lock_that_is_held(monkeypatch):
    """Somebody who makes a secret for too long is waited for, up to a time."""
    monkeypatch.setattr(keychain, "LOCK_SECONDS", 0.05)
    with keychain.making():
        fails(lambda: Keychain().wrap(INDEX_KEY, CONTEXT), refused=False, match="for too long")
    assert Keychain().wrap(INDEX_KEY, CONTEXT)


@pytest.mark.parametrize("bad", ["", "a\nb", "a\0b", None, 5, b"bytes"], ids=repr)
@pytest.mark.parametrize("name", ["service", "account"])
def test_what_is_no_name(name, bad):
    """Service and account are texts of printable characters; else InvalidInputError names it."""
    with pytest.raises(InvalidInputError, match=name):
        Keychain(**{name: bad})


def test_wrapping_key_is_wiped(monkeypatch):
    """After each use nothing is left of the copy of the wrapping key."""
    parsed = []
    monkeypatch.setattr(
        keychain, "parse_secret", lambda text: parsed.append(parse_secret(text)) or parsed[-1]
    )
    manager = Keychain()
    manager.unwrap(manager.wrap(INDEX_KEY, CONTEXT), CONTEXT)
    assert parsed == [bytearray(32)] * 2


def test_it_keeps_its_secret_to_itself():
    """Service and account are shown, the secret is not, and the manager is not pickled."""
    keyring.set_password(*NAMES, SECRET.hex())
    manager = Keychain()
    manager.wrap(INDEX_KEY, CONTEXT)
    assert_keeps_to_itself(manager, SECRET)
    assert "cyborg-embedded/wrapping-key" in repr(manager)
    assert manager.key_ttl is None
