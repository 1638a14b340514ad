"""AWS Secrets Manager: the wrapping key is a secret, and an envelope says which version of it."""

import base64
import copy
import pickle
import traceback
import uuid

import pytest
from aws_service import HANG, REGION, Error, Page, failed, forms, refused

from cyborg_embedded.envelopes import Envelope
from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.kms import aws_secrets_manager as module
from cyborg_embedded.kms.aws_secrets_manager import AwsSecretsManager
from cyborg_embedded.kms.wrapping import open_key, seal_key

SECRET = bytes(range(60, 92))
SECOND = bytes(range(190, 222))
ATTEMPTS = 3


def halves(text):
    return text[:20], text[20:]


WRONG = {
    "empty text": {"SecretString": " "},
    "a password": {"SecretString": "correct horse battery staple, and so on"},
    "JSON": {"SecretString": f'{{"key": "{SECRET.hex()}"}}'},
    "short hex": {"SecretString": SECRET.hex()[:-2]},
    "long hex": {"SecretString": SECRET.hex() + "00"},
    "hex with a gap": {"SecretString": "{} {}".format(*halves(SECRET.hex()))},
    "short base64": {"SecretString": base64.b64encode(SECRET[:-1]).decode()},
    "long base64": {"SecretString": base64.b64encode(SECRET + b"x").decode()},
    "base64 without its end": {"SecretString": base64.b64encode(SECRET).decode().rstrip("=")},
    "base64 with a gap": {
        "SecretString": "{} {}".format(*halves(base64.b64encode(SECRET).decode()))
    },
    "raw text": {"SecretString": "x" * 32},
    "other digits": {"SecretString": "０" * 64},  # noqa: RUF001 - digits, but not ASCII
    "short": {"SecretBinary": SECRET[:-1]},
    "long": {"SecretBinary": SECRET + b"x"},
}
RIGHT = {
    "binary": {"SecretBinary": SECRET},
    "hex": {"SecretString": SECRET.hex()},
    "upper hex": {"SecretString": SECRET.hex().upper()},
    "base64": {"SecretString": base64.b64encode(SECRET).decode()},
    "base64 in a line": {"SecretString": base64.b64encode(SECRET).decode() + "\n"},
    "hex in a line": {"SecretString": SECRET.hex() + "\n"},
}


@pytest.fixture
def secret_id(secrets_manager):
    secret = f"vectors-{uuid.uuid4()}"
    secrets_manager.create_secret(Name=secret, SecretBinary=SECRET)
    return secret


@pytest.fixture
def manager(secret_id, at_aws):
    return AwsSecretsManager(secret_id, **at_aws)


def test_round_trip(manager, secrets_manager, secret_id, index_key, context):
    """What was wrapped is unwrapped, into memory that can be wiped; sealed as the format says."""
    envelope = manager.wrap(index_key, context)
    version = secrets_manager.get_secret_value(SecretId=secret_id)["VersionId"]
    assert envelope.provider == "aws-secrets-manager"
    assert envelope.parameters == {"version": version}
    opened = open_key(SECRET, envelope.ciphertext, "aws-secrets-manager", context)
    assert opened == index_key
    key = manager.unwrap(envelope, context)
    assert type(key) is bytearray
    assert key == index_key


@pytest.mark.parametrize("form", RIGHT.values(), ids=RIGHT)
def test_forms_of_a_secret(form, manager, secrets_manager, secret_id, index_key, context):
    """Binary, hex and base64 of 32 bytes are the same wrapping key."""
    secrets_manager.put_secret_value(SecretId=secret_id, **form)
    envelope = manager.wrap(index_key, context)
    opened = open_key(SECRET, envelope.ciphertext, "aws-secrets-manager", context)
    assert opened == index_key
    assert manager.unwrap(envelope, context) == index_key


@pytest.mark.parametrize("form", WRONG.values(), ids=WRONG)
def test_secrets_that_are_none(form, manager, secrets_manager, secret_id, index_key, context):
    """Whatever else a secret is, the error says what it has to be, and not what it is."""
    version = secrets_manager.put_secret_value(SecretId=secret_id, **form)["VersionId"]
    sealed = seal_key(SECRET, index_key, "aws-secrets-manager", context)
    for call in (
        (manager.wrap, index_key, context),
        (manager.unwrap, Envelope("aws-secrets-manager", sealed, {"version": version}), context),
    ):
        error = refused(*call)
        assert "32 bytes" in str(error)
        assert "64 hex" in str(error)
        assert "base64" in str(error)
        check_clean(error, [*form.values(), SECRET, index_key])


def test_what_is_sent(manager, aws, secret_id, index_key, context):
    """Wrapping asks for the current version, unwrapping for the one that the envelope names."""
    envelope = manager.wrap(index_key, context)
    manager.unwrap(envelope, context)
    wrap, unwrap = aws.sent()
    assert (wrap.service, wrap.operation) == ("secretsmanager", "GetSecretValue")
    assert wrap.parameters == {"SecretId": secret_id}
    assert unwrap.operation == "GetSecretValue"
    assert unwrap.parameters == {
        "SecretId": secret_id,
        "VersionId": envelope.parameters["version"],
    }


def test_the_index_key_is_not_sent(manager, aws, index_key, context):
    """AWS sees neither the index key nor what it was wrapped into."""
    envelope = manager.wrap(index_key, context)
    manager.unwrap(envelope, context)
    text = repr([each.parameters for each in aws.sent()])
    assert not [
        form for key in (index_key, envelope.ciphertext) for form in forms(key) if form in text
    ]


def test_rotation(manager, envelope, secrets_manager, secret_id, index_key, context):
    """After rotations old envelopes still open, and new ones use the new version."""
    old = envelope.parameters["version"]
    for value in (SECOND, bytes(32), SECOND):
        new = secrets_manager.put_secret_value(SecretId=secret_id, SecretBinary=value)["VersionId"]
    assert manager.unwrap(envelope, context) == index_key
    renewed = manager.wrap(index_key, context)
    assert renewed.parameters == {"version": new} != {"version": old}
    assert open_key(SECOND, renewed.ciphertext, "aws-secrets-manager", context) == index_key
    assert manager.unwrap(renewed, context) == index_key
    assert manager.unwrap(envelope, context) == index_key


def test_another_version(manager, envelope, secrets_manager, secret_id, context):
    """An envelope that names another version does not open, nor one whose version is gone."""
    new = secrets_manager.put_secret_value(SecretId=secret_id, SecretBinary=SECOND)["VersionId"]
    for version in (new, str(uuid.uuid4())):
        forged = Envelope("aws-secrets-manager", envelope.ciphertext, {"version": version})
        refused(manager.unwrap, forged, context)


@pytest.mark.parametrize("parameters", [{}, {"version": ""}, {"version": 1}, {"version": b"x"}])
def test_an_envelope_without_a_version(parameters, manager, aws, envelope, context):
    """It is refused without a word to AWS, which would take it for the current version."""
    forged = Envelope("aws-secrets-manager", envelope.ciphertext, parameters)
    refused(manager.unwrap, forged, context)
    assert aws.sent() == []


def test_an_envelope_of_another_provider(manager, aws, envelope, context):
    """It is refused without a word to AWS."""
    refused(manager.unwrap, Envelope("aws-kms", envelope.ciphertext, envelope.parameters), context)
    assert aws.sent() == []


def test_another_index(manager, envelope, other_context):
    """An envelope of one index does not open for another."""
    refused(manager.unwrap, envelope, other_context)


def test_a_changed_envelope(manager, envelope, context):
    """One changed byte, or one that is missing, and it does not open."""
    data = bytearray(envelope.ciphertext)
    data[40] ^= 1
    for ciphertext in (bytes(data), envelope.ciphertext[:-1]):
        forged = Envelope("aws-secrets-manager", ciphertext, envelope.parameters)
        refused(manager.unwrap, forged, context)


def test_deleted_and_restored(manager, envelope, secrets_manager, secret_id, index_key, context):
    """A secret marked for deletion neither wraps nor unwraps; restored, it does at once."""
    secrets_manager.delete_secret(SecretId=secret_id)
    assert "InvalidRequestException" in str(refused(manager.unwrap, envelope, context))
    refused(manager.wrap, index_key, context)
    secrets_manager.restore_secret(SecretId=secret_id)
    assert manager.unwrap(envelope, context) == index_key


def test_deleted_for_good(manager, envelope, secrets_manager, secret_id, context):
    """A secret that is gone is refused."""
    secrets_manager.delete_secret(SecretId=secret_id, ForceDeleteWithoutRecovery=True)
    assert "ResourceNotFoundException" in str(refused(manager.unwrap, envelope, context))


@pytest.mark.parametrize(
    "code",
    [
        "AccessDeniedException",
        "DecryptionFailure",
        "InvalidParameterException",
        "InvalidRequestException",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
    ],
)
def test_refusals(code, manager, aws, envelope, index_key, context):
    """AWS says no: refused, with the code and nothing else of the answer."""
    aws.answer(*[Error(code, text=SECRET.hex())] * 2)
    error = refused(manager.unwrap, envelope, context)
    assert str(error) == f"AWS refused secretsmanager get_secret_value ({code})"
    check_clean(error, [SECRET, index_key])
    aws.plans.clear()
    assert manager.unwrap(envelope, context) == index_key


@pytest.mark.parametrize(
    "answer",
    [
        Error("ThrottlingException"),
        Error("InternalServiceError", 400),
        Error("InternalServiceError", 500),
        Page(403, b"<html></html>"),
        Page(200, b"<html></html>"),
        HANG,
    ],
    ids=["throttled", "internal 400", "internal 500", "stranger", "no JSON", "hanging"],
)
def test_failures(answer, secret_id, at_aws, aws, index_key, context):
    """AWS cannot just now, or somebody else answers: not refused."""
    manager = AwsSecretsManager(secret_id, timeout=0.15, **at_aws)
    aws.answer(*[answer] * ATTEMPTS)
    failed(manager.wrap, index_key, context)


@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
def test_no_value(operation, manager, aws, envelope, index_key, context):
    """A version without a value is not a wrapping key."""
    aws.answer(Page(200, b'{"VersionId": "11111111-2222-3333-4444-555555555555"}'))
    call = {"wrap": (manager.wrap, index_key), "unwrap": (manager.unwrap, envelope)}[operation]
    refused(*call, context)


def test_wrapping_keys_are_wiped(manager, index_key, context, other_context, monkeypatch):
    """The wrapping key is overwritten after each use, also after one that failed."""
    seen = []

    def spy(function):
        def spied(wrapping_key, *arguments):
            assert wrapping_key == SECRET
            seen.append(wrapping_key)
            return function(wrapping_key, *arguments)

        return spied

    monkeypatch.setattr(module, "seal_key", spy(seal_key))
    monkeypatch.setattr(module, "open_key", spy(open_key))
    envelope = manager.wrap(index_key, context)
    manager.unwrap(envelope, context)
    refused(manager.unwrap, envelope, other_context)
    with pytest.raises(TypeError):
        manager.wrap(None, context)
    assert seen == [bytearray(32)] * 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("secret_id", value) for value in ("", None, 7, b"id")],
        ("region", ""),
        ("profile", 7),
        ("timeout", 0),
        ("timeout", float("nan")),
        ("key_ttl", -1.0),
        ("key_grace", 0),
        ("key_grace", None),
    ],
)
def test_arguments_that_are_refused(field, value):
    """The error names the field."""
    with pytest.raises(InvalidInputError, match=f"^{field} must be "):
        AwsSecretsManager(**{"secret_id": "s", field: value})


def test_arguments_that_are_kept():
    """Lifetimes are where an index looks for them; without one it never asks again."""
    manager = AwsSecretsManager("s", key_ttl=7, key_grace=8.5)
    assert (manager.key_ttl, manager.key_grace) == (7, 8.5)
    manager = AwsSecretsManager("s")
    assert (manager.key_ttl, manager.key_grace) == (60.0, 3600.0)
    assert AwsSecretsManager("s", key_ttl=None).key_ttl is None


def test_description():
    """It says which secret, and where."""
    manager = AwsSecretsManager("vectors", region=REGION)
    assert manager.describe() == "aws-secrets-manager vectors in eu-west-1"
    assert repr(manager) == f"<AwsSecretsManager {manager.describe()!r}>"


def test_no_copies(manager, envelope):
    """A manager cannot be pickled or copied."""
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            make(manager)


def check_clean(error, values):
    """Nothing that an error carries shows one of these."""
    assert error.__context__ is None
    assert error.__cause__ is None
    text = repr(error) + repr(vars(error)) + "".join(traceback.format_exception(error))
    for value in values:
        shown = forms(value) if isinstance(value, bytes) else {value, repr(value)}
        assert not [form for form in shown if form.strip() and form in text]
