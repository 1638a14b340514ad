"""Passphrases: Argon2id as RFC 9106 has it, the bounds of its costs, and what counts as a text."""

import functools
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaks import CONTEXT, INDEX_KEY, OTHER, assert_keeps_to_itself, assert_untold, told

from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms import Envelope, Passphrase, passphrase
from cyborg_embedded.kms.passphrase import Parameters, derive
from cyborg_embedded.kms.wrapping import open_key

WORDS = "correct horse battery staple"
CHEAP = {"memory_kib": 8, "passes": 1, "lanes": 1}
WHOLE = {"salt": bytes(16), **CHEAP}


@pytest.fixture
def no_argon2(monkeypatch):
    """Whoever gets as far as Argon2id fails."""

    def refuse(**_):
        pytest.fail("Argon2id was reached")

    monkeypatch.setattr(passphrase, "Argon2id", refuse)


def wrapped(words=WORDS):
    return Passphrase(words, **CHEAP).wrap(INDEX_KEY, CONTEXT)


def refused(manager, envelope, context=CONTEXT):
    with pytest.raises(KeyManagerError) as caught:
        manager.unwrap(envelope, context)
    assert caught.value.refused
    assert_untold(told(caught.value), WORDS, INDEX_KEY)


def test_rfc_9106_vector(monkeypatch):
    """With the secret and associated data of RFC 9106, 5.3, derive gives the tag that it gives."""
    argon2 = functools.partial(passphrase.Argon2id, secret=b"\x03" * 8, ad=b"\x04" * 12)
    monkeypatch.setattr(passphrase, "Argon2id", argon2)
    parameters = Parameters(salt=b"\x02" * 16, memory_kib=32, passes=3, lanes=4)
    tag = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    assert derive(b"\x01" * 32, parameters).hex() == tag


def test_envelope_is_as_documented():
    """The parameters are salt and costs, and the formulas open the ciphertext."""
    costs = {"memory_kib": 40, "passes": 2, "lanes": 3}
    envelope = Passphrase("na\u0308he", **costs).wrap(INDEX_KEY, CONTEXT)
    salt = envelope.parameters["salt"]
    assert envelope.provider == "passphrase"
    assert envelope.parameters == {"salt": salt, **costs}
    assert len(salt) == 16
    argon2 = passphrase.Argon2id(salt=salt, length=32, iterations=2, lanes=3, memory_cost=40)
    wrapping_key = argon2.derive("nähe".encode())
    assert open_key(wrapping_key, envelope.ciphertext, "passphrase", CONTEXT) == INDEX_KEY


def test_defaults_are_the_second_recommended_option():
    """64 MiB, 3 passes, 4 lanes, unless told otherwise; and they work."""
    manager = Passphrase(WORDS)
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    expected = {"salt": envelope.parameters["salt"], "memory_kib": 65536, "passes": 3, "lanes": 4}
    assert envelope.parameters == expected
    assert manager.unwrap(envelope, CONTEXT) == INDEX_KEY
    assert manager.key_ttl is None


def test_round_trip():
    """Another object with the passphrase unwraps, whatever costs it has itself, to a bytearray."""
    key = Passphrase(WORDS, memory_kib=64, passes=2, lanes=2).unwrap(wrapped(), CONTEXT)
    assert type(key) is bytearray
    assert key == INDEX_KEY


def test_no_two_envelopes_are_alike():
    """Every wrap draws its own salt, and its own nonce."""
    envelopes = [wrapped() for _ in range(20)]
    assert len({each.parameters["salt"] for each in envelopes}) == 20
    assert len({each.ciphertext for each in envelopes}) == 20


@pytest.mark.parametrize("words", [WORDS + " ", " " + WORDS, WORDS.upper(), WORDS[:-1], "x"])
def test_other_passphrases_are_refused(words):
    """Nothing about a passphrase is ignored: not its case, not a space at its end."""
    refused(Passphrase(words, **CHEAP), wrapped())


def test_other_index_is_refused():
    """An envelope does not open for another index."""
    refused(Passphrase(WORDS), wrapped(), OTHER)


@pytest.mark.parametrize("cut", [slice(0), slice(1), slice(-1), slice(1, None)])
def test_damaged_ciphertext_is_refused(cut):
    """A ciphertext of another length is refused, as an altered one is."""
    envelope = wrapped()
    refused(
        Passphrase(WORDS), Envelope("passphrase", envelope.ciphertext[cut], envelope.parameters)
    )
    altered = bytes([envelope.ciphertext[0] ^ 1]) + envelope.ciphertext[1:]
    refused(Passphrase(WORDS), Envelope("passphrase", altered, envelope.parameters))


def test_unicode_forms():
    """Composed and decomposed are one passphrase; compatible but different characters are not."""
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    assert Passphrase(decomposed).unwrap(wrapped(composed), CONTEXT) == INDEX_KEY
    assert Passphrase(lambda: composed).unwrap(wrapped(decomposed), CONTEXT) == INDEX_KEY
    refused(Passphrase("file"), wrapped("\ufb01le"))


@pytest.mark.parametrize("words", ["", None, 5, b"bytes", ["x"], "\ud800secret"], ids=repr)
def test_what_is_no_passphrase(words, no_argon2):
    """Empty, no text, or no Unicode: refused when given, and when a callback returns it."""
    with pytest.raises(InvalidInputError) as caught:
        Passphrase(words)
    assert_untold(told(caught.value), "\ud800secret", "secret")
    manager = Passphrase(lambda: words, **CHEAP)
    for use in (lambda: manager.wrap(INDEX_KEY, CONTEXT), lambda: refused_envelope(manager)):
        with pytest.raises(KeyManagerError) as caught:
            use()
        assert caught.value.refused
        assert_untold(told(caught.value), "secret")


def refused_envelope(manager):
    manager.unwrap(Envelope("passphrase", bytes(72), WHOLE), CONTEXT)


def test_callback_is_asked_at_each_use():
    """What a callback returned is never used again."""
    answers = [WORDS, WORDS, "something else", WORDS]
    manager = Passphrase(lambda: answers.pop(0), **CHEAP)
    assert len(answers) == 4
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    assert manager.unwrap(envelope, CONTEXT) == INDEX_KEY
    refused(manager, envelope)
    assert manager.unwrap(envelope, CONTEXT) == INDEX_KEY
    assert not answers


BAD_COSTS = [
    {"memory_kib": 7},
    {"memory_kib": 0},
    {"memory_kib": -1},
    {"memory_kib": (1 << 20) + 1},
    {"memory_kib": 1 << 32},
    {"memory_kib": 31, "lanes": 4},
    {"passes": 0},
    {"passes": 17},
    {"lanes": 0},
    {"lanes": 17, "memory_kib": 1024},
    {"passes": True},
    {"passes": 3.0},
    {"passes": "3"},
    {"lanes": b"\x01"},
    {"memory_kib": None},
]


@pytest.mark.parametrize("costs", BAD_COSTS, ids=str)
def test_costs_out_of_bounds_are_not_accepted(costs):
    """Costs that cannot be right are InvalidInputError when a manager is made."""
    with pytest.raises(
        InvalidInputError, match="memory_kib must be from 8 for each lane"
    ) as caught:
        Passphrase(WORDS, **{**CHEAP, **costs})
    assert_untold(told(caught.value), WORDS)


@pytest.mark.parametrize(
    "costs",
    [{"memory_kib": 1 << 20}, {"passes": 16}, {"lanes": 16, "memory_kib": 128}],
    ids=str,
)
def test_costs_at_the_bounds_are_accepted(costs):
    """1 GiB, 16 passes and 16 lanes may be asked for."""
    assert str(max(costs.values())) in repr(Passphrase(WORDS, **{**CHEAP, **costs}))


def without(name):
    return {each: value for each, value in WHOLE.items() if each != name}


def fits_in_an_envelope(costs):
    return all(
        type(n) in {int, str, bytes} and (type(n) is not int or n >= 0) for n in costs.values()
    )


@pytest.mark.parametrize(
    "parameters",
    [
        *({**WHOLE, **costs} for costs in BAD_COSTS if fits_in_an_envelope(costs)),
        *(without(name) for name in WHOLE),
        {},
        {**WHOLE, "salt": bytes(15)},
        {**WHOLE, "salt": bytes(17)},
        {**WHOLE, "salt": b""},
        {**WHOLE, "salt": "0" * 16},
        {**WHOLE, "salt": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {**WHOLE, "salt": 16},
        {**WHOLE, "version": 19},
        {**WHOLE, "": 1},
    ],
    ids=str,
)
def test_parameters_of_a_header(parameters, no_argon2):
    """Missing, of another type, out of bounds, or too many: refused before Argon2id runs, and
    before anybody is asked for a passphrase.
    """
    envelope = Envelope("passphrase", bytes(72), parameters)
    refused(Passphrase(lambda: pytest.fail("asked for a passphrase")), envelope)


NAMES = st.sampled_from(["salt", "memory_kib", "passes", "lanes", "more"])
VALUES = st.one_of(
    st.integers(0, 1 << 32),
    st.integers(0, 40),
    st.text(max_size=20),
    st.just(bytes(16)),
    st.binary(),
)


@settings(deadline=None, database=None)
@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES, max_size=2), st.booleans())
def test_any_parameters(parameters, changes, from_whole):
    """Whatever the header says, what reaches Argon2id is in bounds; all else is refused."""
    if from_whole:
        parameters = {**WHOLE, **changes}
    reached = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            passphrase, "derive", lambda _, checked: reached.append(checked) or bytearray(32)
        )
        refused(Passphrase(WORDS), Envelope("passphrase", bytes(72), parameters))
    for checked in reached:
        assert set(parameters) == {"salt", "memory_kib", "passes", "lanes"}
        assert len(checked.salt) == 16
        assert 8 * checked.lanes <= checked.memory_kib <= 1 << 20
        assert 1 <= checked.passes <= 16
        assert 1 <= checked.lanes <= 16


@pytest.mark.parametrize(
    "change",
    [{"salt": bytes(16)}, {"memory_kib": 9}, {"passes": 2}, {"lanes": 2, "memory_kib": 16}],
)
def test_edited_parameters_are_refused(change):
    """Salt and costs that were changed within the bounds do not open the envelope."""
    envelope = wrapped()
    edited = Envelope("passphrase", envelope.ciphertext, {**envelope.parameters, **change})
    refused(Passphrase(WORDS), edited)


def test_envelope_of_another_provider_is_refused(no_argon2):
    """It is refused for its provider alone."""
    refused(Passphrase(WORDS), Envelope("key-file", bytes(72), WHOLE))


def test_too_little_memory():
    """Where the memory is not to be had, that is the error, and it is no refusal."""
    program = """
        import resource
        from cyborg_embedded.errors import KeyManagerError
        from cyborg_embedded.kms import KeyContext, Passphrase

        manager = Passphrase("correct horse battery staple", memory_kib=1 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
        try:
            manager.wrap(bytes(32), KeyContext(bytes(16)))
        except KeyManagerError as error:
            print(error.refused, error)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    expected = "False Argon2id found no 1048576 KiB of memory for the passphrase\n"
    assert (result.stdout, result.returncode) == (expected, 0), result.stderr


def test_threads_share_a_manager():
    """Wrapping and unwrapping from several threads at once gives each its own key."""
    manager = Passphrase(WORDS, **CHEAP)

    def there_and_back(number):
        key = bytes([number]) * 32
        return manager.unwrap(manager.wrap(key, CONTEXT), CONTEXT) == key

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(160)))


def test_wrapping_key_is_wiped(monkeypatch):
    """After each use nothing is left of the wrapping key in the memory that held it."""
    made = []

    def noted(*arguments):
        made.append(derive(*arguments))
        assert any(made[-1])
        return made[-1]

    monkeypatch.setattr(passphrase, "derive", noted)
    manager = Passphrase(WORDS, **CHEAP)
    envelope = manager.wrap(INDEX_KEY, CONTEXT)
    manager.unwrap(envelope, CONTEXT)
    refused(manager, envelope, OTHER)
    assert made == [bytearray(32)] * 3


def test_it_keeps_its_passphrase_to_itself():
    """The passphrase is in no repr and no description, and the manager is not pickled."""
    assert_keeps_to_itself(Passphrase(WORDS), WORDS)
    assert_untold(repr(wrapped()), WORDS)
