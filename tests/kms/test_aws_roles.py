"""Assumed roles: what STS is asked for, whose credentials sign, and when they are renewed."""

import time
from types import SimpleNamespace

import pytest
from aws_service import ACCOUNT, DROP, REGION, Error, Page, Proxy, admin, failed, refused

from cyborg_embedded.errors import InvalidInputError
from cyborg_embedded.kms import aws as module
from cyborg_embedded.kms.aws_kms import AwsKms
from cyborg_embedded.kms.aws_secrets_manager import AwsSecretsManager

ROLE = f"arn:aws:iam::{ACCOUNT}:role/vectors"
OTHER_ACCOUNT_ROLE = "arn:aws:iam::210987654321:role/vectors"
EXTERNAL_ID = "tenant-5f1c8e"
LIFETIME = 3600
ATTEMPTS = 3


@pytest.fixture
def role(aws):
    """A role that is given to who knows its external id."""
    aws.external_ids[ROLE] = EXTERNAL_ID
    return {"role_arn": ROLE, "external_id": EXTERNAL_ID}


@pytest.fixture
def manager(key_id, at_aws, role):
    return AwsKms(key_id, **role, **at_aws)


@pytest.fixture
def envelope(manager, index_key, context):
    return manager.wrap(index_key, context)


@pytest.fixture
def clock(monkeypatch):
    """The time as the managers see it."""
    clock = SimpleNamespace(ahead=0.0, time=lambda: time.time() + clock.ahead)
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_what_is_sent(aws, manager, envelope, index_key, context):
    """STS is asked once, with the external id; its credentials sign what goes to KMS."""
    assert manager.unwrap(envelope, context) == index_key
    assume, encrypt, decrypt = aws.sent()
    assert (assume.service, assume.operation, assume.access_key) == (
        "sts",
        "AssumeRole",
        "AKIATESTS",
    )
    assert assume.parameters == {
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "cyborg-embedded",
        "ExternalId": EXTERNAL_ID,
    }
    assert encrypt.access_key.startswith("ASIA")
    assert encrypt.access_key == decrypt.access_key


def test_session_name(aws, key_id, at_aws, role, index_key, context):
    """The name of the session, which CloudTrail shows, may be chosen."""
    AwsKms(key_id, role_session_name="search-1", **role, **at_aws).wrap(index_key, context)
    assert aws.sent("AssumeRole")[0].parameters["RoleSessionName"] == "search-1"


def test_secrets_manager(aws, secrets_manager, at_aws, role, index_key, context, key_id):
    """The other key manager does it in the same way."""
    name = f"role-{key_id}"
    secrets_manager.create_secret(Name=name, SecretBinary=bytes(32))
    manager = AwsSecretsManager(name, **role, **at_aws)
    assert manager.unwrap(manager.wrap(index_key, context), context) == index_key
    assert [each.operation for each in aws.sent()] == [
        "AssumeRole",
        "GetSecretValue",
        "GetSecretValue",
    ]
    assert aws.sent("AssumeRole")[0].parameters["ExternalId"] == EXTERNAL_ID
    assert {each.access_key[:4] for each in aws.sent("GetSecretValue")} == {"ASIA"}


def test_a_wrong_external_id(aws, key_id, at_aws, role, index_key, context):
    """Who does not know the external id is refused, and KMS is not even asked."""
    manager = AwsKms(key_id, **at_aws, **{**role, "external_id": "tenant-other"})
    error = refused(manager.wrap, index_key, context)
    assert str(error) == "AWS refused sts assume_role (AccessDenied)"
    assert [each.operation for each in aws.sent()] == ["AssumeRole"]


def test_the_external_id_is_wanted(aws, key_id, role):
    """A role without an external id, or the other way round, is refused when a manager is made."""
    for make in (AwsKms, AwsSecretsManager):
        with pytest.raises(InvalidInputError, match=r"^external_id is required with role_arn"):
            make(key_id, role_arn=ROLE)
        with pytest.raises(InvalidInputError, match=r"^external_id is of no use without role_arn"):
            make(key_id, external_id=EXTERNAL_ID)
        for field in ("role_arn", "external_id"):
            with pytest.raises(InvalidInputError, match=f"^{field} must be "):
                make(key_id, **{**role, field: ""})


def test_the_proxy_wants_the_external_id(aws, role):
    """These tests do tell: STS refuses who sends none."""
    sts = admin("sts", ("127.0.0.1", aws.server.server_port))
    with pytest.raises(sts.exceptions.ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=ROLE, RoleSessionName="tests")


def test_granted_later(aws, key_id, at_aws, role, index_key, context):
    """A role that was refused is asked for again by the next call."""
    manager = AwsKms(key_id, **role, **at_aws)
    aws.answer(Error("AccessDenied", 403), to="AssumeRole")
    refused(manager.wrap, index_key, context)
    manager.wrap(index_key, context)


def test_another_account(aws, at_aws, key_id, kms, index_key, context):
    """A role of another account does not see the key of this one; the role of this one does."""
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    foreign = AwsKms(arn, role_arn=OTHER_ACCOUNT_ROLE, external_id="any", **at_aws)
    assert "NotFoundException" in str(refused(foreign.wrap, index_key, context))
    AwsKms(arn, role_arn=ROLE, external_id="any", **at_aws).wrap(index_key, context)


def test_sts_elsewhere(aws, moto_address, key_id, at_aws, role, index_key, context):
    """STS may have an address of its own."""
    with Proxy(moto_address) as sts:
        manager = AwsKms(key_id, sts_endpoint_url=sts.url, **role, **at_aws)
        manager.wrap(index_key, context)
        assert [each.operation for each in sts.sent()] == ["AssumeRole"]
    assert [each.operation for each in aws.sent()] == ["Encrypt"]


def test_the_address_of_sts(loopback_only, environment, no_waiting, index_key, context):
    """With no address given it is that of AWS."""
    failed(AwsKms("k", region=REGION, role_arn=ROLE, external_id="any").wrap, index_key, context)
    assert len(set(loopback_only)) == 1
    assert loopback_only[0] in ("sts.eu-west-1.amazonaws.com", "sts.amazonaws.com")


def test_renewed_in_time(aws, clock, manager, envelope, context):
    """Credentials are used until a minute before they expire, and renewed then."""
    clock.ahead = LIFETIME - 60 - 10
    manager.unwrap(envelope, context)
    assert len(aws.sent("AssumeRole")) == 1
    clock.ahead = LIFETIME - 60 + 10
    manager.unwrap(envelope, context)
    assert len(aws.sent("AssumeRole")) == 2
    clock.ahead = 0
    manager.unwrap(envelope, context)
    assert len(aws.sent("AssumeRole")) == 2
    keys = [each.access_key for each in aws.sent() if each.service == "kms"]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert {each.access_key for each in aws.sent("AssumeRole")} == {"AKIATESTS"}


def test_renewed_early(aws, manager, envelope, index_key, context):
    """Where AWS says that they have expired before, the role is assumed anew; no error is seen."""
    aws.expired.add(aws.sent("Encrypt")[0].access_key)
    assert manager.unwrap(envelope, context) == index_key
    assert [each.operation for each in aws.sent()[2:]] == ["Decrypt", "AssumeRole", "Decrypt"]


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException"])
def test_renewed_once(code, aws, manager, envelope, index_key, context):
    """If the new ones are not taken either, that is a refusal, and the next call assumes anew."""
    aws.answer(Error(code), Error(code), to="Decrypt")
    assert code in str(refused(manager.unwrap, envelope, context))
    assert len(aws.sent("AssumeRole")) == 2
    assert manager.unwrap(envelope, context) == index_key
    assert len(aws.sent("AssumeRole")) == 3


def test_fresh_ones_are_not_renewed(aws, manager, index_key, context):
    """Credentials that were only just given and are not known are not asked for twice."""
    aws.answer(Error("UnrecognizedClientException"), to="Encrypt")
    refused(manager.wrap, index_key, context)
    assert len(aws.sent("AssumeRole")) == 1


def test_assumed_anew_after_a_refusal(aws, manager, envelope, index_key, context):
    """Sessions that were revoked are denied access: the next call has a session of its own."""
    aws.answer(Error("AccessDeniedException"), to="Decrypt")
    refused(manager.unwrap, envelope, context)
    assert manager.unwrap(envelope, context) == index_key
    assert len(aws.sent("AssumeRole")) == 2


def test_kept_after_a_failure(aws, manager, envelope, index_key, context):
    """A service that is busy says nothing about credentials."""
    aws.answer(*[Error("ThrottlingException")] * ATTEMPTS, to="Decrypt")
    failed(manager.unwrap, envelope, context)
    assert manager.unwrap(envelope, context) == index_key
    assert len(aws.sent("AssumeRole")) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Error("Throttling"),
        Error("ServiceUnavailable", 503),
        Page(403, b"<html></html>"),
        Page(200, b"<html></html>"),
        Page(200, b"log in first"),
        Page(200, b"<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>"),
        Page(
            200,
            b"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId>"
            b"</Credentials></AssumeRoleResult></AssumeRoleResponse>",
        ),
        DROP,
    ],
)
def test_sts_cannot(answer, aws, manager, index_key, context):
    """STS is busy, or somebody else answers: not refused, and KMS is not asked."""
    aws.answer(*[answer] * ATTEMPTS, to="AssumeRole")
    error = failed(manager.wrap, index_key, context)
    assert "sts assume_role" in str(error)
    assert error.__context__ is None
    assert {each.operation for each in aws.sent()} == {"AssumeRole"}


@pytest.mark.parametrize(
    "answer",
    [
        Error("AccessDenied", 403),
        Error("ExpiredTokenException"),
        Error("ExpiredToken", 403),
        Error("InvalidClientTokenId", 403),
        Error("SignatureDoesNotMatch", 403),
        Error("RegionDisabledException", 403),
        Error("ValidationError"),
    ],
    ids=lambda answer: answer.code,
)
def test_sts_refuses(answer, aws, manager, index_key, context):
    """STS says no: refused, with its code and without the external id."""
    text = f"the external id {EXTERNAL_ID} is wrong"
    aws.answer(Error(answer.code, answer.status, text=text), to="AssumeRole")
    error = refused(manager.wrap, index_key, context)
    assert str(error) == f"AWS refused sts assume_role ({answer.code})"
    assert EXTERNAL_ID not in repr(error) + repr(manager) + manager.describe()
    assert error.__context__ is None


@pytest.mark.parametrize("url", ["http://kms.example.com", "ftp://127.0.0.1", "127.0.0.1:4566", ""])
@pytest.mark.parametrize("name", ["endpoint_url", "sts_endpoint_url"])
def test_keys_never_go_over_the_network_in_plaintext(url, name):
    """An address that is not https is refused, but for one on this machine."""
    with pytest.raises(InvalidInputError, match=name):
        AwsKms("key", **{name: url})


@pytest.mark.parametrize("url", ["https://kms.example.com", "http://localhost:1", "http://[::1]:1"])
def test_addresses_that_are_accepted(url):
    """An address may be https anywhere, and http on this machine."""
    AwsKms("key", endpoint_url=url, sts_endpoint_url=url)
