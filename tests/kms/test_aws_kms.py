"""AWS KMS: what is sent, what comes back, what AWS refuses, and what it means if it cannot answer."""

import base64
import copy
import logging
import pickle
import socket
import sys
import threading
import traceback

import pytest
from aws_service import DROP, HANG, REGION, Error, Page, failed, forms, refused
from support import run_python

from cyborg_embedded.envelopes import Envelope
from cyborg_embedded.errors import InvalidInputError, KeyManagerError
from cyborg_embedded.kms.aws_kms import AwsKms

# What AWS answers where it says no, by its documentation: KMS, Secrets Manager, errors common to all.
REFUSALS = [
    Error("AccessDeniedException"),
    Error("AccessDenied", 403),
    Error("DisabledException"),
    Error("NotFoundException"),
    Error("ResourceNotFoundException"),
    Error("KMSInvalidStateException", 409),
    Error("InvalidCiphertextException"),
    Error("IncorrectKeyException"),
    Error("InvalidKeyUsageException"),
    Error("InvalidGrantTokenException"),
    Error("UnrecognizedClientException", 403),
    Error("InvalidClientTokenId", 403),
    Error("InvalidSignatureException"),
    Error("IncompleteSignature"),
    Error("ExpiredTokenException", 403),
    Error("InvalidRequestException"),
    Error("ValidationException"),
    Error("com.amazonaws.kms#NotAuthorized", 401),
    Error("OptInRequired", 403),
    Error("SomethingNewException", 418),
]
# And where it says: not now.
FAILURES = [
    Error("ThrottlingException"),
    Error("Throttling"),
    Error("TooManyRequestsException", 429),
    Error("RequestLimitExceeded", 503),
    Error("LimitExceededException"),
    Error("SlowDown", 503),
    Error("RequestTimeoutException", 408),
    Error("KMSInternalException", 500),
    Error("KMSInternalException", 400),
    Error("DependencyTimeoutException", 503),
    Error("DependencyTimeoutException", 400),
    Error("KeyUnavailableException", 500),
    Error("KeyUnavailableException", 400),
    Error("InternalServiceError", 400),
    Error("InternalFailure", 500),
    Error("ServiceUnavailable", 503),
    Error("SomethingNewException", 500),
    Error("SomethingNewException", 429),
]
# And where somebody else answers: a gateway, a proxy, the page on which guests log in.
STRANGERS = [
    Page(403, b"<html>log in first</html>"),
    Page(404, b""),
    Page(400, b"{}"),
    Page(400, b'{"__type": 7}'),
    Page(400, b'{"__type": "' + b"a" * 200 + b'"}'),
    Page(400, b'{"__type": "line\\nbreak"}'),
    Page(502, b"<html>bad gateway</html>"),
    Page(302, b""),
    Page(200, b"<html>log in first</html>"),
    Page(200, b"[]"),
    Page(200, b"{}"),
    Page(200, b'{"Plaintext": 7, "CiphertextBlob": ""}'),
    Page(200, b'{"Plaintext": "A", "CiphertextBlob": "A"}'),
    Page(200, b"\xff\xfe"),
]
ATTEMPTS = 3
ANY = Envelope("aws-kms", b"anything")


def name(answer):
    return f"{answer.code}-{answer.status}" if isinstance(answer, Error) else None


@pytest.fixture
def manager(key_id, at_aws):
    return AwsKms(key_id, **at_aws)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_round_trip(kind, manager, index_key, context):
    """What was wrapped is unwrapped, into memory that can be wiped; the envelope hides it."""
    given = kind(index_key)
    envelope = manager.wrap(given, context)
    assert given == index_key
    assert envelope.provider == "aws-kms"
    assert envelope.parameters == {}
    assert not any(form.encode() in envelope.ciphertext for form in forms(index_key))
    assert index_key not in envelope.ciphertext
    key = manager.unwrap(envelope, context)
    assert type(key) is bytearray
    assert key == index_key


def test_another_manager_unwraps(manager, envelope, at_aws, key_id, index_key, context):
    """An envelope needs nothing that its maker keeps: another process opens it."""
    assert AwsKms(key_id, **at_aws).unwrap(envelope, context) == index_key


def test_what_is_sent_to_wrap(manager, aws, key_id, index_key, context):
    """Encrypt, with the key of the manager and the index id as the encryption context."""
    manager.wrap(index_key, context)
    (sent,) = aws.sent()
    assert (sent.service, sent.operation, sent.access_key) == ("kms", "Encrypt", "AKIATESTS")
    assert sent.parameters == {
        "KeyId": key_id,
        "Plaintext": base64.b64encode(index_key).decode(),
        "EncryptionContext": {"cyborg-embedded:index-id": context.index_id.hex()},
    }


def test_what_is_sent_to_unwrap(manager, aws, envelope, key_id, context):
    """Decrypt, with the key of the manager named and the same encryption context."""
    manager.unwrap(envelope, context)
    (sent,) = aws.sent()
    assert (sent.service, sent.operation) == ("kms", "Decrypt")
    assert sent.parameters == {
        "KeyId": key_id,
        "CiphertextBlob": base64.b64encode(envelope.ciphertext).decode(),
        "EncryptionContext": {"cyborg-embedded:index-id": context.index_id.hex()},
    }


def test_an_envelope_names_no_key(manager, aws, envelope, key_id, kms, index_key, context):
    """Whatever an envelope says of keys, KMS is asked for the one of the manager."""
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    forged = Envelope("aws-kms", envelope.ciphertext, {"KeyId": other, "key_id": other})
    assert manager.unwrap(forged, context) == index_key
    assert aws.sent("Decrypt")[0].parameters["KeyId"] == key_id


def test_another_index(manager, envelope, other_context):
    """An envelope of one index does not open for another."""
    assert "InvalidCiphertextException" in str(refused(manager.unwrap, envelope, other_context))


def test_another_key(envelope, kms, at_aws, context):
    """An envelope does not open under another key, be it there or not."""
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    refused(AwsKms(other, **at_aws).unwrap, envelope, context)
    missing = AwsKms("11111111-2222-3333-4444-555555555555", **at_aws)
    assert "NotFoundException" in str(refused(missing.unwrap, envelope, context))


def test_a_changed_envelope(manager, envelope, context):
    """One changed byte, and it does not open."""
    data = bytearray(envelope.ciphertext)
    data[-1] ^= 1
    refused(manager.unwrap, Envelope("aws-kms", bytes(data)), context)


def test_an_envelope_of_another_provider(manager, aws, envelope, context):
    """It is refused without a word to AWS."""
    refused(manager.unwrap, Envelope("aws-secrets-manager", envelope.ciphertext), context)
    assert aws.sent() == []


def test_disabled_and_enabled(manager, envelope, kms, key_id, index_key, context):
    """A disabled key neither wraps nor unwraps; enabled again, it does at once."""
    kms.disable_key(KeyId=key_id)
    assert "DisabledException" in str(refused(manager.unwrap, envelope, context))
    refused(manager.wrap, index_key, context)
    kms.enable_key(KeyId=key_id)
    assert manager.unwrap(envelope, context) == index_key


def test_pending_deletion(manager, envelope, kms, key_id, index_key, context):
    """A key that waits for its deletion unwraps only once that has been cancelled."""
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    assert "KMSInvalidStateException" in str(refused(manager.unwrap, envelope, context))
    kms.cancel_key_deletion(KeyId=key_id)
    kms.enable_key(KeyId=key_id)
    assert manager.unwrap(envelope, context) == index_key


def test_an_alias(kms, key_id, at_aws, envelope, index_key, context):
    """A key may be named by an alias, and by its ARN."""
    kms.create_alias(AliasName=f"alias/{key_id}", TargetKeyId=key_id)
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    for other in (f"alias/{key_id}", arn):
        assert AwsKms(other, **at_aws).unwrap(envelope, context) == index_key


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_no_index_key(size, manager, aws, kms, key_id, context):
    """What is decrypted but is not of 32 bytes is no index key."""
    if size:
        encrypted = kms.encrypt(
            KeyId=key_id,
            Plaintext=bytes(size),
            EncryptionContext={"cyborg-embedded:index-id": context.text},
        )
        envelope = Envelope("aws-kms", encrypted["CiphertextBlob"])
    else:
        aws.answer(Page(200, b'{"Plaintext": ""}'))
        envelope = ANY
    refused(manager.unwrap, envelope, context)


@pytest.mark.parametrize("answer", REFUSALS, ids=name)
def test_refusals(answer, at_aws, aws, index_key, context):
    """AWS says no: refused, at the first time, with the code and nothing else of the answer."""
    aws.answer(Error(answer.code, answer.status, text=index_key.hex()))
    error = refused(AwsKms("any", **at_aws).unwrap, ANY, context)
    assert str(error) == f"AWS refused kms decrypt ({answer.code.rpartition('#')[2]})"
    assert len(aws.sent()) == 1


@pytest.mark.parametrize("answer", FAILURES, ids=name)
def test_failures(answer, at_aws, aws, context):
    """AWS cannot just now: not refused, with the code."""
    aws.answer(*[answer] * ATTEMPTS)
    error = failed(AwsKms("any", **at_aws).unwrap, ANY, context)
    assert str(error) == f"AWS did not carry out kms decrypt ({answer.code})"


@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
@pytest.mark.parametrize("page", STRANGERS, ids=lambda page: f"{page.status}-{page.body[:12]!r}")
def test_strangers(page, operation, at_aws, aws, index_key, context):
    """Who answers without a code of AWS has refused nothing, and their words are not repeated."""
    aws.answer(*[page] * ATTEMPTS)
    manager = AwsKms("any", **at_aws)
    call = {"wrap": (manager.wrap, index_key), "unwrap": (manager.unwrap, ANY)}[operation]
    text = str(failed(*call, context))
    assert text.isprintable()
    assert "log in" not in text
    assert len(text) < 100


@pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException"])
def test_throttled_and_tried_again(code, manager, aws, envelope, index_key, context):
    """Two of three attempts may fail; the third is the last."""
    busy = Error(code)
    aws.answer(busy, busy)
    assert manager.unwrap(envelope, context) == index_key
    assert len(aws.sent()) == ATTEMPTS
    aws.requests.clear()
    aws.answer(*[busy] * ATTEMPTS)
    assert code in str(failed(manager.unwrap, envelope, context))
    assert len(aws.sent()) == ATTEMPTS


def test_granted_again(manager, aws, envelope, index_key, context):
    """After a refusal the next call asks again."""
    aws.answer(Error("AccessDeniedException"))
    refused(manager.unwrap, envelope, context)
    assert manager.unwrap(envelope, context) == index_key


def test_hanging(key_id, at_aws, aws, index_key, context):
    """Who does not answer in time is given up, after the third time."""
    manager = AwsKms(key_id, timeout=0.15, **at_aws)
    aws.answer(*[HANG] * ATTEMPTS)
    assert "ReadTimeoutError" in str(failed(manager.wrap, index_key, context))
    assert len(aws.sent()) == ATTEMPTS


def test_dropped(manager, aws, envelope, index_key, context):
    """A connection that breaks is tried again, and given up after the third time."""
    aws.answer(DROP)
    assert manager.unwrap(envelope, context) == index_key
    aws.answer(*[DROP] * ATTEMPTS)
    failed(manager.unwrap, envelope, context)


def test_nobody_there(key_id, aws, index_key, context):
    """Nobody listens at the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        manager = AwsKms(key_id, region=REGION, endpoint_url=url, timeout=1)
        assert "EndpointConnectionError" in str(failed(manager.wrap, index_key, context))


def test_the_address_of_aws(loopback_only, environment, no_waiting, key_id, index_key, context):
    """With no address given it is that of AWS in the region."""
    failed(AwsKms(key_id, region=REGION).wrap, index_key, context)
    assert set(loopback_only) == {"kms.eu-west-1.amazonaws.com"}


def test_no_region(aws, key_id, index_key, context):
    """Without any region there is no address to go to."""
    error = failed(AwsKms(key_id).wrap, index_key, context)
    assert str(error) == "a client for AWS kms cannot be made (NoRegionError)"


def test_the_default_region(aws, key_id, index_key, context, monkeypatch):
    """The region may come from the environment."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    manager = AwsKms(key_id, endpoint_url=aws.url)
    assert manager.unwrap(manager.wrap(index_key, context), context) == index_key


def test_no_credentials(key_id, at_aws, aws, index_key, context, monkeypatch):
    """Without credentials nothing is sent; once there are some, the same manager goes on."""
    manager = AwsKms(key_id, **at_aws)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "NoCredentialsError" in str(failed(manager.wrap, index_key, context))
    assert aws.sent() == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALATE")
    manager.wrap(index_key, context)
    assert aws.sent()[0].access_key == "AKIALATE"


def test_new_credentials(manager, aws, envelope, index_key, context, monkeypatch):
    """Credentials that AWS no longer takes are fetched again, and no error is seen."""
    aws.expired.add("AKIATESTS")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIARENEWED")
    assert manager.unwrap(envelope, context) == index_key
    assert [each.access_key for each in aws.sent()] == ["AKIATESTS", "AKIARENEWED"]


def test_a_profile(key_id, at_aws, aws, index_key, context, tmp_path):
    """Credentials come from the profile that is named."""
    (tmp_path / "aws-credentials").write_text(
        "[vectors]\naws_access_key_id = AKIAVECTORS\naws_secret_access_key = other\n"
    )
    AwsKms(key_id, profile="vectors", **at_aws).wrap(index_key, context)
    assert aws.sent()[0].access_key == "AKIAVECTORS"
    missing = AwsKms(key_id, profile="nowhere", **at_aws)
    assert "ProfileNotFound" in str(failed(missing.wrap, index_key, context))


def test_no_boto3(key_id, at_aws, aws, index_key, context, monkeypatch):
    """Without boto3 the error says how to install it; with it, the same manager goes on."""
    manager = AwsKms(key_id, **at_aws)
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "boto3", None)
        error = failed(manager.wrap, index_key, context)
    assert "pip install 'cyborg-embedded[aws]'" in str(error)
    manager.wrap(index_key, context)


def test_boto3_is_not_imported_before_it_is_needed():
    """Neither the package nor a key manager that was made imports boto3."""
    source = (
        "import sys, cyborg_embedded.kms as kms; kms.AwsKms('k'); kms.AwsSecretsManager('s');"
        "assert not {'boto3', 'botocore'} & sys.modules.keys()"
    )
    code, _, errors = run_python(source)
    assert code == 0, errors


def test_one_client_is_kept(manager, envelope, aws, context, monkeypatch):
    """A client is made once, not for each call."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    for _ in range(3):
        manager.unwrap(envelope, context)


def test_threads(key_id, at_aws, aws, index_key, context):
    """Threads share a manager, from its first use on."""
    manager = AwsKms(key_id, **at_aws)
    start, keys = threading.Barrier(8), []

    def work():
        start.wait()
        keys.append(manager.unwrap(manager.wrap(index_key, context), context))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == [index_key] * 8


def test_a_fork_has_its_own_client(manager, envelope, index_key, context, monkeypatch):
    """After a fork the connections of the parent are not used, and the parent still has its own."""
    from cyborg_embedded.kms import aws as module

    used = []
    ask = module.ask
    monkeypatch.setattr(
        module, "ask", lambda client, *rest: used.append(client) or ask(client, *rest)
    )
    manager.unwrap(envelope, context)
    with monkeypatch.context() as child:
        child.setattr(module.os, "getpid", lambda: -1)
        assert manager.unwrap(envelope, context) == index_key
    manager.unwrap(envelope, context)
    assert used[0] is used[2]
    assert used[0] is not used[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("key_id", value) for value in ("", None, 7, b"id")],
        *[
            (field, value)
            for field in (
                "region",
                "endpoint_url",
                "sts_endpoint_url",
                "profile",
                "role_session_name",
            )
            for value in ("", 7, b"x")
        ],
        ("role_session_name", None),
        *[
            (field, value)
            for field in ("timeout", "key_ttl", "key_grace")
            for value in (0, -1, float("nan"), float("inf"), "5", True, 1j)
        ],
        ("timeout", None),
        ("key_grace", None),
    ],
)
def test_arguments_that_are_refused(field, value):
    """The error names the field, and not the value."""
    with pytest.raises(InvalidInputError, match=f"^{field} must be "):
        AwsKms(**{"key_id": "k", field: value})


def test_arguments_that_are_kept():
    """Lifetimes are where an index looks for them; without one it never asks again."""
    manager = AwsKms("k", key_ttl=7, key_grace=8.5)
    assert (manager.key_ttl, manager.key_grace) == (7, 8.5)
    manager = AwsKms("k")
    assert (manager.key_ttl, manager.key_grace) == (60.0, 3600.0)
    assert AwsKms("k", key_ttl=None).key_ttl is None


def test_description():
    """It says which key, and where; it does not say the external id."""
    role = {"role_arn": "arn:aws:iam::1:role/r", "external_id": "hidden-from-you"}
    manager = AwsKms("alias/vectors", region=REGION, **role)
    assert manager.describe() == "aws-kms alias/vectors in eu-west-1"
    assert repr(manager) == "<AwsKms 'aws-kms alias/vectors in eu-west-1'>"
    assert AwsKms("k").describe() == "aws-kms k in the default region"
    assert "hidden-from-you" not in repr(manager) + repr(manager._access)


def test_no_copies(manager, envelope):
    """A manager cannot be pickled or copied, whether it has been used or not."""
    for each in (manager, AwsKms("k")):
        for make in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled"):
                make(each)


@pytest.mark.parametrize("wrong", [list, bytes.hex, lambda key: key.decode("latin-1"), memoryview])
def test_parameters_are_not_shown(wrong, manager, aws, index_key, context):
    """boto3 shows parameters that it does not take; here nobody sees them."""
    given = wrong(index_key)
    aws.answer(*[Error("ValidationException", text=repr(given))] * ATTEMPTS)
    with pytest.raises(KeyManagerError) as caught:
        manager.wrap(given, context)
    check_clean(caught.value, manager, index_key)


@pytest.mark.parametrize(
    "answers",
    [
        [Error("AccessDeniedException", text="{key}")],
        [Error("KMSInternalException", 500, text="{key}")] * ATTEMPTS,
        [Page(403, b"{key}")],
        [Page(200, b"{key}")],
        [DROP] * ATTEMPTS,
    ],
    ids=["refused", "failed", "stranger", "no JSON", "dropped"],
)
def test_nothing_shows_a_key(answers, manager, aws, index_key, context, caplog):
    """No error, nothing behind it, no repr and no log record of ours holds the key."""
    caplog.set_level(logging.DEBUG)
    for answer in answers:
        if isinstance(answer, Error):
            aws.answer(Error(answer.code, answer.status, text=index_key.hex()))
        else:
            aws.answer(answer if answer is DROP else Page(answer.status, index_key.hex().encode()))
    with pytest.raises(KeyManagerError) as caught:
        manager.wrap(index_key, context)
    check_clean(caught.value, manager, index_key)
    ours = [each for each in caplog.records if each.name.startswith("cyborg_embedded")]
    check_hidden("".join(each.getMessage() for each in ours), index_key)


def check_clean(error, manager, key):
    assert error.__context__ is None
    assert error.__cause__ is None
    check_hidden(repr(error) + repr(vars(error)) + repr(error.args), key)
    check_hidden("".join(traceback.format_exception(error)), key)
    check_hidden(repr(manager) + manager.describe(), key)


def check_hidden(text, key):
    assert not [form for form in forms(key) if form in text]
