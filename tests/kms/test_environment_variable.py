"""Wrapping keys in environment variables: what is in them, and what is said where it is not."""

import pytest
from leaks import CONTEXT, INDEX_KEY, OTHER, SECRET, assert_keeps_to_itself, assert_untold, told

from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms import Envelope, EnvironmentVariable, environment_variable
from cyborg_embedded.kms.secret import parse_secret
from cyborg_embedded.kms.wrapping import open_key

NAME = "CYBORG_EMBEDDED_TEST_SECRET"


@pytest.fixture
def manager():
    return EnvironmentVariable(NAME)


def fails(manager, *, refused, match, envelope=None, context=CONTEXT):
    """Unwrapping fails, with the name of the variable at most, and wrapping does if it must."""
    uses = [
        lambda: manager.unwrap(envelope or Envelope("environment-variable", bytes(72)), context)
    ]
    if envelope is None:
        uses.append(lambda: manager.wrap(INDEX_KEY, context))
    for use in uses:
        with pytest.raises(KeyManagerError, match=match) as caught:
            use()
        assert caught.value.refused is refused
        assert_untold(told(caught.value), SECRET, INDEX_KEY)


@pytest.mark.parametrize(
    "text",
    [SECRET.hex(), SECRET.hex().upper(), f" {SECRET.hex()}\n"],
    ids=["lower", "upper", "space"],
)
def test_round_trip(manager, monkeypatch, text):
    """64 hex characters, with whitespace around them, are the wrapping key."""
    monkeypatch.setenv(NAME, text)
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    assert (envelope.provider, envelope.parameters) == ("environment-variable", {})
    assert open_key(SECRET, envelope.ciphertext, "environment-variable", CONTEXT) == INDEX_KEY
    key = EnvironmentVariable(NAME).unwrap(envelope, CONTEXT)
    assert type(key) is bytearray
    assert key == INDEX_KEY
    fails(manager, refused=True, match="does not open", envelope=envelope, context=OTHER)


@pytest.mark.parametrize("text", [None, ""])
def test_missing(manager, monkeypatch, text):
    """A variable that is not set, or empty, is no refusal, and is named."""
    monkeypatch.delenv(NAME, raising=False)
    if text is not None:
        monkeypatch.setenv(NAME, text)
    fails(manager, refused=False, match=f"'{NAME}' is not set")


@pytest.mark.parametrize(
    "text",
    [
        SECRET.hex()[:63],
        SECRET.hex() + "0",
        SECRET.hex()[:63] + "g",
        "x" * 32,
        "a" * 32,
        SECRET.hex()[:32],
        "\udcff" * 64,
        "０" * 64,  # noqa: RUF001 - digits, but not ASCII
        " ",
    ],
    ids=ascii,
)
def test_malformed(manager, monkeypatch, text):
    """Anything else is refused: 32 characters too, which are no raw bytes."""
    monkeypatch.setenv(NAME, text)
    fails(manager, refused=True, match=f"'{NAME}' must hold 64 hex characters")
    with pytest.raises(KeyManagerError) as caught:
        manager.wrap(INDEX_KEY, CONTEXT)
    if text.strip():
        assert_untold(told(caught.value), text)


def test_it_is_read_at_each_use(manager, monkeypatch):
    """Another value refuses what the former one wrapped; the former one opens it again."""
    monkeypatch.setenv(NAME, SECRET.hex())
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    monkeypatch.setenv(NAME, SECRET[::-1].hex())
    fails(manager, refused=True, match="does not open", envelope=envelope)
    monkeypatch.setenv(NAME, SECRET.hex())
    assert manager.unwrap(envelope, CONTEXT) == INDEX_KEY


def test_what_is_refused_of_envelopes(manager, monkeypatch):
    """Of another provider, or with parameters: refused."""
    monkeypatch.setenv(NAME, SECRET.hex())
    sealed = manager.wrap(INDEX_KEY, CONTEXT).ciphertext
    fails(manager, refused=True, match="is not one", envelope=Envelope("key-file", sealed))
    more = Envelope("environment-variable", sealed, {"salt": 1})
    fails(manager, refused=True, match="no parameters", envelope=more)


@pytest.mark.parametrize("bad", ["", "A=B", "A\0B", "A\nB", None, 5, b"A", ["A"]], ids=repr)
def test_what_is_no_name(bad):
    """What cannot be the name of a variable is InvalidInputError."""
    with pytest.raises(InvalidInputError, match="name of an environment variable"):
        EnvironmentVariable(bad)


def test_wrapping_key_is_wiped(manager, monkeypatch):
    """After each use nothing is left of the copy of the wrapping key."""
    parsed = []
    monkeypatch.setenv(NAME, SECRET.hex())
    monkeypatch.setattr(
        environment_variable,
        "parse_secret",
        lambda text: parsed.append(parse_secret(text)) or parsed[-1],
    )
    manager.unwrap(manager.wrap(INDEX_KEY, CONTEXT), CONTEXT)
    assert parsed == [bytearray(32)] * 2


def test_it_keeps_its_secret_to_itself(manager, monkeypatch):
    """The name of the variable is shown, its value is not, and the manager is not pickled."""
    monkeypatch.setenv(NAME, SECRET.hex())
    assert_keeps_to_itself(manager, SECRET)
    assert NAME in repr(manager)
    assert manager.key_ttl is None
